/* const_test.c - the data tree, and the arena, buffer, map and memory counters under it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/const.h"
#include "core/map.h"
#include "core/mem.h"
#include "core/vec.h"

static void builds_and_reads(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    Const *list = const_list(&a, 0), *map = const_map(&a, 2);
    for (int64_t i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", (int)i % 50);
        assert_true(const_push(&a, list, const_int(&a, i)));
        assert_true(const_set(&a, map, text_from(key), const_int(&a, i)));
    }
    assert_int_equal(list->count, 100);
    assert_int_equal(list->items[99]->i, 99);
    assert_int_equal(map->count, 50);
    assert_int_equal(const_int_of(const_get(map, "k7"), 0), 57);
    assert_true(text_eq(map->pairs[7].key, TEXT("k7")));
    assert_true(const_set_text(&a, map, "t", TEXT("x")));
    assert_true(const_set_bool(&a, map, "b", true));
    assert_true(text_eq(const_get_text(map, "t"), TEXT("x")));
    assert_true(const_bool_of(const_get(map, "b"), false));
    assert_null(const_get(map, "missing"));
    assert_null(const_get(list, "k"));
    assert_null(const_get(NULL, "k"));
    assert_int_equal(const_int_of(const_dec(&a, 4), 9), 4);
    assert_int_equal(const_int_of(const_dec(&a, 4.5), 9), 9);
    assert_int_equal(const_int_of(const_dec(&a, 1e300), 9), 9);
    assert_true(const_dec_of(const_int(&a, 4), 9) <= 4);
    assert_true(const_bool_of(NULL, true));
    assert_false(const_push(&a, list, NULL));
    arena_deinit(&a);
}

static void compares(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    Const *one = const_map(&a, 0), *two = const_map(&a, 0);
    assert_true(const_set_int(&a, one, "a", 1) && const_set_text(&a, one, "b", TEXT("x")));
    assert_true(const_set_text(&a, two, "b", TEXT("x")) && const_set_int(&a, two, "a", 1));
    assert_true(const_equal(one, two));
    assert_true(const_set_int(&a, two, "a", 2));
    assert_false(const_equal(one, two));
    assert_false(const_equal(const_int(&a, 1), const_dec(&a, 1)));
    assert_true(const_equal(&const_null, &const_null));
    assert_false(const_equal(&const_null, NULL));
    arena_deinit(&a);
}

static void arena_is_capped(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 1000);
    assert_non_null(arena_alloc(&a, 500));
    assert_null(arena_alloc(&a, 500));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_non_null(arena_alloc(&a, 0));
    arena_deinit(&a);
    arena_init(&a, 0);
    for (size_t n = 1; n < 3000000; n *= 3) {
        unsigned char *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_int_equal(p[0] | p[n - 1], 0);
        memset(p, 0xFF, n);
    }
    Text t = arena_printf(&a, "%d-%s", 7, "x");
    assert_string_equal(t.ptr, "7-x");
    assert_int_equal(arena_text(&a, TEXT("abc")).ptr[3], 0);
    arena_deinit(&a);
    assert_int_equal(mem_in_use(), 0);
}

static void buffer_grows_and_fails(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i);
    buf_printf(&b, "%0*d", 500, 1);
    size_t len = 0;
    char *text = buf_take(&b, &len);
    assert_non_null(text);
    assert_int_equal(len, 3890 + 500);
    assert_int_equal(text[len], 0);
    mem_free(text);
    b = (Buf){.max = 10};
    assert_true(buf_cstr(&b, "12345678"));
    assert_false(buf_cstr(&b, "901"));
    assert_false(buf_char(&b, 'x'));
    assert_true(b.failed);
    assert_null(buf_take(&b, &len));
    assert_int_equal(mem_in_use(), 0);
}

static void map_keeps_its_keys(void **state)
{
    (void)state;
    enum { N = 5000 };
    static char names[N][16];
    static int values[N];
    Map m = {0};
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        assert_true(map_put(&m, text_from(names[i]), &values[i]));
    }
    assert_true(map_put(&m, (Text){0}, &values[0]));
    assert_ptr_equal(map_get(&m, TEXT("")), &values[0]);
    assert_ptr_equal(map_take(&m, TEXT("")), &values[0]);
    for (int i = 0; i < N; i += 2)
        assert_ptr_equal(map_take(&m, text_from(names[i])), &values[i]);
    assert_null(map_take(&m, TEXT("n0")));
    for (int i = 0; i < N; i++)
        assert_ptr_equal(map_get(&m, text_from(names[i])), i % 2 ? &values[i] : NULL);
    size_t at = 0, seen = 0;
    while (map_next(&m, &at))
        seen++;
    assert_int_equal(seen, N / 2);
    assert_int_equal(m.count, N / 2);
    map_deinit(&m);
    assert_null(map_get(&m, TEXT("n1")));
    assert_int_equal(mem_in_use(), 0);
}

static void memory_fails_on_request(void **state)
{
    (void)state;
    mem_fail_after(2);
    void *p = mem_alloc(8);
    assert_non_null(p);
    assert_null(mem_alloc(8));
    assert_null(mem_realloc(p, 100));
    assert_null(mem_zalloc(1, 1));
    mem_fail_after(0);
    assert_true(mem_in_use() >= 8);
    mem_free(p);
    assert_null(mem_zalloc(SIZE_MAX, 2));
    assert_null(mem_alloc(SIZE_MAX));
    VEC(int) v = {0};
    for (int i = 0; i < 100; i++)
        assert_true(VEC_PUSH(&v, i));
    assert_int_equal(v.ptr[99], 99);
    VEC_DEINIT(&v);
    assert_int_equal(mem_in_use(), 0);
}

static void errors_have_rows(void **state)
{
    (void)state;
    xs_error err = {0};
    assert_false(xs_fail(&err, XS_E_IO, XS_NO_POS, "%s: %d", "file", 7));
    assert_string_equal(err.message, "file: 7");
    assert_false(xs_fail(&err, XS_E_IO, err.pos, "again %s", err.message));
    assert_string_equal(err.message, "again file: 7");
    assert_false(xs_fail(NULL, XS_E_IO, XS_NO_POS, "nobody reads this"));
    assert_string_equal(xs_code_get(XS_E_NOTFOUND)->symbol, "notfound");
    assert_int_equal(xs_code_get(XS_E_NOTFOUND)->status, 404);
    assert_string_equal(xs_code_get((xs_code)12345)->name, "BUG");
    char text[300];
    memset(text, 'a', 238);
    memcpy(text + 238, "\xC3\xA9 and more", 12);
    assert_false(xs_fail(&err, XS_E_IO, XS_NO_POS, "%s", text));
    assert_int_equal(strlen(err.message), 238); /* no half of a code point */
    assert_false(xs_fail(&err, XS_E_IO, XS_NO_POS, "%s", text + 1));
    assert_int_equal(strlen(err.message), 239);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builds_and_reads),   cmocka_unit_test(compares),
        cmocka_unit_test(arena_is_capped),    cmocka_unit_test(buffer_grows_and_fails),
        cmocka_unit_test(map_keeps_its_keys), cmocka_unit_test(memory_fails_on_request),
        cmocka_unit_test(errors_have_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
