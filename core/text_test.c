/* text_test.c - UTF-8 and byte-string helpers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/text.h"

static void validates(void **state)
{
    (void)state;
    static const struct {
        Text text;
        size_t valid;
    } cases[] = {
        {{"", 0}, 0},
        {{"plain ascii text", 16}, 16},
        {{"\xC3\xA9", 2}, 2},
        {{"12345678\xC3", 9}, 8},
        {{"\xC0\x80", 2}, 0},          /* overlong */
        {{"\xE0\x80\x80", 3}, 0},      /* overlong */
        {{"\xED\xA0\x80", 3}, 0},      /* surrogate */
        {{"a\xF4\x90\x80\x80", 5}, 1}, /* past U+10FFFF */
        {{"\xF0\x9F\x98\x80", 4}, 4},
        {{"\xF0\x8F\x80\x80", 4}, 0}, /* overlong */
        {{"\x80", 1}, 0},
        {{"\xFF", 1}, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(utf8_valid_len(cases[i].text), cases[i].valid);
}

static void counts_and_decodes(void **state)
{
    (void)state;
    Text t = TEXT("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z");
    static const uint32_t points[] = {'a', 0xE9, 0x20AC, 0x1F600, 'z'};
    assert_int_equal(utf8_count(t), 5);
    assert_int_equal(utf8_offset(t, 0), 0);
    assert_int_equal(utf8_offset(t, 2), 3);
    assert_int_equal(utf8_offset(t, 4), 10);
    assert_int_equal(utf8_offset(t, 9), t.len);
    size_t at = 0;
    for (size_t i = 0; i < COUNT_OF(points); i++) {
        char bytes[4];
        size_t from = at;
        assert_int_equal(utf8_next(t, &at), points[i]);
        assert_int_equal(utf8_encode(points[i], bytes), at - from);
        assert_memory_equal(bytes, t.ptr + from, at - from);
    }
    at = 0;
    assert_int_equal(utf8_next(TEXT("\xFFz"), &at), 0xFFFD);
    assert_int_equal(at, 1);
    char bytes[4];
    assert_int_equal(utf8_encode(0xD800, bytes), 0);
    assert_int_equal(utf8_encode(0x110000, bytes), 0);
}

static void compares_and_cuts(void **state)
{
    (void)state;
    assert_true(text_cmp(TEXT("a"), TEXT("b")) < 0);
    assert_true(text_cmp(TEXT("ab"), TEXT("a")) > 0);
    assert_int_equal(text_cmp((Text){0}, TEXT("")), 0);
    assert_true(text_starts(TEXT("room:1"), TEXT("room:")));
    assert_false(text_starts(TEXT("ro"), TEXT("room")));
    assert_true(text_ends(TEXT("a.xs"), TEXT(".xs")));
    assert_false(text_ends(TEXT("s"), TEXT(".xs")));
    assert_int_equal(text_find(TEXT("abcabc"), TEXT("ca"), 0), 2);
    assert_int_equal(text_find(TEXT("abcabc"), TEXT("bc"), 2), 4);
    assert_true(text_find(TEXT("abc"), TEXT("x"), 0) == SIZE_MAX);
    assert_int_equal(text_find(TEXT("abc"), TEXT(""), 3), 3);
    assert_true(text_eq(text_slice(TEXT("abcdef"), 2, 4), TEXT("cd")));
    assert_true(text_eq(text_slice(TEXT("abc"), 2, 99), TEXT("c")));
    assert_int_equal(text_slice(TEXT("abc"), 9, 1).len, 0);
    assert_true(text_eq(text_trim(TEXT("  a b \n"), TEXT(" \n")), TEXT("a b")));
    assert_int_equal(text_trim(TEXT("   "), TEXT(" ")).len, 0);
    assert_true(text_is_ident(TEXT("_a9")));
    assert_false(text_is_ident(TEXT("9a")));
    assert_false(text_is_ident(TEXT("")));
}

static void matches_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool match;
    } cases[] = {
        {"room:*", "room:1", true},
        {"room:*", "room:1:typing", true},
        {"room:*", "room:", false},
        {"room:*", "rooms", false},
        {"lobby", "lobby", true},
        {"lobby", "lobby:1", false},
        {"*", "x", true},
        {"*", "", false},
        {"", "", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(text_match_pattern(text_from(cases[i].pattern), text_from(cases[i].name)),
                         cases[i].match);
}

static void suggests(void **state)
{
    (void)state;
    static const Text names[] = {{"length", 6}, {"trim", 4}, {"to_upper", 8}, {"db.query", 8}};
    static const struct {
        const char *wrong, *right;
    } cases[] = {
        {"lenght", "length"},
        {"trm", "trim"},
        {"to_uper", "to_upper"},
        {"db.qurey", "db.query"},
        {"zzz", NULL},
        {"something", NULL},
        {"x", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Text got = text_nearest(text_from(cases[i].wrong), names, COUNT_OF(names));
        assert_true(text_eq(got, text_from(cases[i].right)));
        assert_int_equal(got.ptr != NULL, cases[i].right != NULL);
    }
    assert_int_equal(text_distance(TEXT("ab"), TEXT("ba"), 3), 1);
    assert_int_equal(text_distance(TEXT("kitten"), TEXT("sitting"), 3), 3);
    assert_int_equal(text_distance(TEXT("kitten"), TEXT("sitting"), 2), 3);
    assert_int_equal(text_distance(TEXT("a"), TEXT("a"), 0), 0);
}

static void hashes(void **state)
{
    (void)state;
    char bytes[64];
    memset(bytes, 'a', sizeof bytes);
    for (size_t n = 0; n + 1 < sizeof bytes; n++) {
        assert_true(text_hash((Text){bytes, n}) != text_hash((Text){bytes, n + 1}));
        uint64_t before = text_hash((Text){bytes, n + 1});
        bytes[n] = 'b';
        assert_true(text_hash((Text){bytes, n + 1}) != before);
        bytes[n] = 'a';
        assert_true(text_hash((Text){bytes, n + 1}) == before);
    }
}

static void test_lists(void **state)
{
    (void)state;
    static const char *const items[] = {"a", "", "b c", "d"};
    Text rest = TEXT(" a,, \tb c ,d");
    for (size_t i = 0; i < COUNT_OF(items); i++)
        assert_true(rest.len && text_eq(text_next(&rest), text_from(items[i])));
    assert_int_equal(rest.len, 0);
    assert_int_equal(text_next(&rest).len, 0);
    rest = TEXT("a,");
    assert_true(text_eq(text_next(&rest), TEXT("a")) && !rest.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(validates),
        cmocka_unit_test(counts_and_decodes),
        cmocka_unit_test(compares_and_cuts),
        cmocka_unit_test(matches_patterns),
        cmocka_unit_test(suggests),
        cmocka_unit_test(hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
