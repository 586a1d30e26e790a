/* obj_test.c - objects and the heap they live in. */
#include "vm/test_util.h"

#include "core/mem.h"
#include "core/num.h"

static void lists_work_at_both_ends(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    Value l = list_new(h, 0);
    for (int i = 0; i < 1000; i++) {
        assert_true(list_push(h, &l, val_int(i)));
        assert_true(list_unshift(h, &l, val_int(-i)));
    }
    assert_int_equal(l.list->len, 2000);
    assert_int_equal(list_at(l.list, 0).i, -999);
    assert_int_equal(list_at(l.list, 1999).i, 999);
    for (int i = 999; i >= 0; i--) {
        assert_int_equal(list_pop(h, &l).i, i);
        assert_int_equal(list_shift(h, &l).i, -i);
    }
    assert_int_equal(list_pop(h, &l).kind, V_NULL);
    val_unref(h, l);
    check_empty("lists", h);
    heap_free(h);
}

static void queue_stays_small(void **state)
{
    (void)state;
    Heap *h = heap_new(64 << 10);
    Value l = list_new(h, 0);
    for (int i = 0; i < 100000; i++) {
        assert_true(list_push(h, &l, val_int(i)));
        if (i >= 10)
            assert_int_equal(list_shift(h, &l).i, i - 10);
    }
    val_unref(h, l);
    heap_free(h);
}

typedef struct ListCase {
    const char *name, *before;
    int op; /* 0 set, 1 remove, 2 cut */
    uint32_t a, b;
    const char *after;
} ListCase;

static void list_changes(void **state)
{
    (void)state;
    static const ListCase cases[] = {
        {"set", "[1,2,3]", 0, 1, 0, "[1,\"x\",3]"},
        {"set at the end appends", "[1]", 0, 1, 0, "[1,\"x\"]"},
        {"remove first", "[1,2,3]", 1, 0, 0, "[2,3]"},
        {"remove middle", "[1,2,3]", 1, 1, 0, "[1,3]"},
        {"remove last", "[1,2,3]", 1, 2, 0, "[1,2]"},
        {"remove outside", "[1]", 1, 5, 0, "[1]"},
        {"cut middle", "[1,[2],3,[4]]", 2, 1, 2, "[[2],3]"},
        {"cut past the end", "[1,2]", 2, 1, 99, "[2]"},
        {"cut outside", "[1,2]", 2, 7, 1, "[]"},
    };
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (int shared = 0; shared < 2; shared++) {
            const ListCase *c = &cases[i];
            Value v = from_json(h, c->before);
            Value other = shared ? val_ref(v) : val_null();
            bool ok = c->op == 0   ? list_set(h, &v, c->a, text_new(h, TEXT("x")))
                      : c->op == 1 ? list_remove(h, &v, c->a)
                                   : list_cut(h, &v, c->a, c->b);
            assert_true(ok);
            check_json(c->name, v, c->after);
            if (shared)
                check_json(c->name, other, c->before);
            val_unref(h, v);
            val_unref(h, other);
            check_empty(c->name, h);
        }
    }
    heap_free(h);
}

static void maps_keep_order_and_find_keys(void **state)
{
    (void)state;
    enum { N = 3000 };
    Heap *h = heap_new(0);
    Value m = map_new(h, 0);
    char key[NUM_TEXT_MAX];
    for (int i = 0; i < N; i++) {
        size_t len = num_write_int(i, key);
        assert_true(map_set_text(h, &m, (Text){key, len}, val_int(i)));
        assert_true(map_set_text(h, &m, (Text){key, len}, val_int(i * 2)));
    }
    assert_int_equal(m.map->count, N);
    Value copy = val_ref(m);
    for (int i = 0; i < N; i += 3) {
        size_t len = num_write_int(i, key);
        assert_true(map_remove(h, &m, (Text){key, len}));
        assert_false(map_remove(h, &m, (Text){key, len}));
    }
    assert_int_equal(copy.map->count, N);
    int expected = 1;
    const MapEntry *e;
    for (uint32_t at = 0; (e = map_walk(m.map, &at));) {
        assert_int_equal(e->value.i, expected * 2);
        expected += expected % 3 == 1 ? 1 : 2;
    }
    for (int i = 0; i < N; i++) {
        size_t len = num_write_int(i, key);
        const Value *v = map_find(m.map, (Text){key, len});
        assert_true((v != NULL) == (i % 3 != 0));
        assert_true(map_set_text(h, &m, (Text){key, len}, val_int(7)));
    }
    assert_int_equal(m.map->count, N);
    for (int round = 0; round < 20000; round++) { /* holes are reused */
        assert_true(map_set_text(h, &m, TEXT("x"), val_null()));
        assert_true(map_remove(h, &m, TEXT("x")));
    }
    assert_true(m.map->cap < 4 * N);
    val_unref(h, m);
    val_unref(h, copy);
    check_empty("maps", h);
    heap_free(h);
}

/* Keys made to collide under a hash that is not keyed: a difference in the highest bit of one word
 * is undone by two bits of the next. */
static void chosen_keys_do_not_collide(void **state)
{
    (void)state;
    enum { BLOCKS = 14, KEYS = 1 << BLOCKS };
    Heap *h = heap_new(0);
    Value m = map_new(h, 0);
    uint64_t words[BLOCKS * 2], plain = 0, keyed = 0;
    uint32_t same = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        for (unsigned b = 0; b < BLOCKS; b++) {
            uint64_t flip = i >> b & 1;
            words[2 * b] = 0x0101010101010101u ^ flip << 63;
            words[2 * b + 1] = 0x0202020202020202u ^ flip << 63 ^ flip << 31;
        }
        Text key = {(const char *)words, sizeof words};
        plain = i ? plain : text_hash(key);
        keyed = i ? keyed : key_hash(key);
        assert_true(text_hash(key) == plain); /* the attack works where nothing is secret */
        same += key_hash(key) == keyed;
        assert_true(map_set_text(h, &m, key, val_int(i)));
    }
    assert_int_equal(m.map->count, KEYS);
    assert_int_equal(same, 1);
    val_unref(h, m);
    check_empty("chosen keys", h);
    heap_free(h);
}

static void text_appends_in_place_when_unshared(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    Value t = text_new(h, TEXT("ab"));
    for (int i = 0; i < 12; i++)
        assert_true(text_append(h, &t, val_text_view(t))); /* of itself */
    assert_int_equal(t.text->len, 2 << 12);
    Value other = val_ref(t);
    assert_true(text_append(h, &t, TEXT("!")));
    assert_int_equal(other.text->len, 2 << 12);
    assert_int_equal(t.text->data[2 << 12], '!');
    assert_int_equal(t.text->data[(2 << 12) + 1], '\0');
    val_unref(h, t);
    val_unref(h, other);
    check_empty("text", h);
    heap_free(h);
}

static void deep_nesting_is_freed_without_recursion(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    Value v = list_new(h, 0);
    for (int i = 0; i < 200000; i++) {
        Value outer = i % 2 ? list_new(h, 1) : map_new(h, 1);
        if (i % 2)
            assert_true(list_push(h, &outer, v));
        else
            assert_true(map_set_text(h, &outer, TEXT("k"), v));
        v = outer;
    }
    Value same = val_ref(v);
    assert_true(val_make_unique(h, &v));
    assert_false(val_same(v, from_json(h, "[1]"))); /* bounded */
    val_unref(h, same);
    val_unref(h, v);
    heap_free(h);
}

static void cap_is_kept(void **state)
{
    (void)state;
    Heap *h = heap_new(100000);
    Value l = list_new(h, 0);
    int n = 0;
    while (list_push(h, &l, text_new(h, TEXT("some text of a length"))))
        n++;
    assert_true(n > 500 && n < 3000);
    assert_int_equal(heap_error(h), XS_E_MEMORY);
    assert_true(heap_bytes(h) <= 100000);
    val_unref(h, l);
    check_empty("cap", h);
    assert_int_equal(text_new_raw(h, (size_t)1 << 40).kind, V_UNSET);
    assert_int_equal(text_new_raw(h, SIZE_MAX).kind, V_UNSET);
    heap_free(h);
}

static void count_free(Heap *h, HandleObj *self)
{
    (void)h;
    ++*(int *)self->ptr;
}

static void handles_end_once(void **state)
{
    (void)state;
    int ended = 0;
    Heap *h = heap_new(0);
    Value a = handle_new(h, "file", &ended, count_free),
          b = handle_new(h, "file", &ended, count_free);
    Value c = handle_new(h, "file", &ended, count_free);
    b.handle->value = c; /* c dies with b */
    val_unref(h, a);
    assert_int_equal(ended, 1);
    val_ref(c);
    val_unref(h, c);
    assert_int_equal(ended, 1);
    heap_free(h); /* b and c are still there */
    assert_int_equal(ended, 3);
}

static void failing_allocation_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 30; n++) {
        Heap *h = heap_new(0);
        Value l = list_new(h, 0), m = map_new(h, 0);
        mem_fail_after(n);
        char key[NUM_TEXT_MAX];
        for (int i = 0; i < 20000; i++) {
            size_t len = num_write_int(i, key);
            if (!list_push(h, &l, val_int(i)) || !map_set_text(h, &m, (Text){key, len}, val_int(i)))
                break;
        }
        mem_fail_after(0);
        const MapEntry *e;
        int64_t i = 0;
        for (uint32_t at = 0; (e = map_walk(m.map, &at));)
            assert_int_equal(e->value.i, i++);
        assert_true(l.list->len == i || l.list->len == i + 1);
        val_unref(h, l);
        val_unref(h, m);
        check_empty("failing", h);
        heap_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_work_at_both_ends),
        cmocka_unit_test(queue_stays_small),
        cmocka_unit_test(list_changes),
        cmocka_unit_test(maps_keep_order_and_find_keys),
        cmocka_unit_test(chosen_keys_do_not_collide),
        cmocka_unit_test(text_appends_in_place_when_unshared),
        cmocka_unit_test(deep_nesting_is_freed_without_recursion),
        cmocka_unit_test(cap_is_kept),
        cmocka_unit_test(handles_end_once),
        cmocka_unit_test(failing_allocation_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
