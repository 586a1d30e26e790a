/* path_test.c - paths of filters.md §1.6. */
#include "vm/test_util.h"

typedef struct ReadCase {
    const char *value, *path, *result; /* result "missing", or "error:symbol" */
} ReadCase;

static void reading(void **state)
{
    (void)state;
    static const ReadCase cases[] = {
        {"{\"a\":{\"b\":[10,20]}}", "a.b[-1]", "20"},
        {"{\"a\":{\"b\":[10,20]}}", "a.b.0", "10"},
        {"{\"a\":{\"b\":[10,20]}}", "a.b[5]", "missing"},
        {"{\"a\":{\"b\":[10,20]}}", "a['b'][ 1 ]", "20"},
        {"{\"a\":{\"b\":[10,20]}}", "a[b]", "[10,20]"},
        {"[{\"t\":[1,2]},{\"t\":[3]},7,{\"u\":1}]", "t", "[1,2,3]"},
        {"[{\"t\":{\"v\":1}},{\"t\":{\"v\":2}}]", "t.v", "[1,2]"},
        {"[[1],[2]]", "x", "[]"},
        {"[]", "x", "missing"},
        {"{\"a\":[]}", "a.x", "[]"},
        {"{\"mail@x.org\":1}", "mail@x.org", "1"},
        {"{\"x.y\":{\"z\":2}}", "[\"x.y\"].z", "2"},
        {"{\"a\\\"b\":3}", "[\"a\\\"b\"]", "3"},
        {"{\"7\":\"x\"}", "7", "\"x\""},
        {"{\"7\":\"x\"}", "[7]", "\"x\""},
        {"{\"a\":null}", "a", "null"},
        {"{\"a\":null}", "a.b", "missing"},
        {"5", "a", "missing"},
        {"null", "a", "missing"},
        {"{\"\":1}", "", "1"},
        {"{\"a\":1}", "a[", "error:bad_arg"},
        {"{\"a\":{}}", "a[\"x", "error:bad_arg"},
        {"{\"a\":{}}", "a[]", "error:bad_arg"},
        {"{\"a\":{}}", "a[0]x", "missing"},
        {"{\"a\":[1]}", "a[0]x", "error:bad_arg"},
        {"{\"a\":[1]}", "a[$$.x > 1]", "error:unsupported"},
    };
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const ReadCase *c = &cases[i];
        xs_error err = {0};
        Value root = from_json(h, c->value);
        Value v = val_path(h, root, text_from(c->path), &err);
        if (v.kind == V_UNSET) {
            const char *got = err.code ? xs_code_get(err.code)->symbol : "missing";
            const char *want = strncmp(c->result, "error:", 6) == 0 ? c->result + 6 : c->result;
            if (strcmp(got, want) != 0)
                fail_msg("%s of %s: %s, expected %s", c->path, c->value, got, want);
        } else {
            check_json(c->path, v, c->result);
        }
        val_unref(h, v);
        val_unref(h, root);
        check_empty(c->path, h);
    }
    heap_free(h);
}

typedef enum Change { SET, SET_OVER, TAKE, DELETE } Change;

typedef struct ChangeCase {
    Change change;
    const char *before, *path, *after; /* after "error:symbol" */
    const char *taken;
} ChangeCase;

static void changing(void **state)
{
    (void)state;
    static const ChangeCase cases[] = {
        {SET, "null", "a.b", "{\"a\":{\"b\":9}}", NULL},
        {SET, "{\"a\":1}", "b", "{\"a\":1,\"b\":9}", NULL},
        {SET, "{\"a\":1}", "a.b", "error:not_object", NULL},
        {SET_OVER, "{\"a\":1}", "a.b", "{\"a\":{\"b\":9}}", NULL},
        {SET, "{\"a\":[1,2]}", "a[1]", "{\"a\":[1,9]}", NULL},
        {SET, "{\"a\":[1,2]}", "a.-1", "{\"a\":[1,9]}", NULL},
        {SET, "{\"a\":[1,2]}", "a[2]", "{\"a\":[1,2,9]}", NULL},
        {SET, "[1]", "[3]", "{\"0\":1,\"3\":9}", NULL},
        {SET, "[1]", "[-5]", "error:bad_arg", NULL},
        {SET, "[]", "k", "{\"k\":9}", NULL},
        {SET, "null", "[0]", "[9]", NULL},
        {SET, "{}", "a[0].b", "{\"a\":[{\"b\":9}]}", NULL},
        {SET, "[{\"a\":1},{}]", "a", "[{\"a\":9},{\"a\":9}]", NULL},
        {TAKE, "{\"a\":{\"b\":[1]}}", "a.b", "{\"a\":{\"b\":null}}", "[1]"},
        {TAKE, "{\"a\":{}}", "a.b", "{\"a\":{}}", "null"},
        {TAKE, "[1,2]", "[1]", "[1,null]", "2"},
        {TAKE, "[{\"a\":1},{\"a\":2}]", "a", "[{\"a\":1},{\"a\":2}]", "[1,2]"},
        {DELETE, "{\"a\":1,\"b\":2}", "a", "{\"b\":2}", NULL},
        {DELETE, "{\"a\":[1,2,3]}", "a[1]", "{\"a\":[1,3]}", NULL},
        {DELETE, "{\"a\":1}", "x.y", "{\"a\":1}", NULL},
        {DELETE, "[{\"a\":1,\"b\":1},{\"a\":2}]", "a", "[{\"b\":1},{}]", NULL},
        {DELETE, "null", "a", "null", NULL},
    };
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(cases) * 2; i++) {
        const ChangeCase *c = &cases[i / 2];
        bool shared = i % 2;
        xs_error err = {0};
        Value root = from_json(h, c->before);
        Value other = shared ? val_ref(root) : val_null();
        Value keys = val_split_path(h, text_from(c->path), &err), taken = val_null();
        assert_int_equal(keys.kind, V_LIST);
        const Value *k = keys.list->items + keys.list->start;
        uint32_t n = keys.list->len;
        bool ok = true;
        if (c->change == SET)
            ok = val_set_path(h, &root, k, n, val_int(9), &err);
        else if (c->change == SET_OVER)
            ok = val_set_path_over(h, &root, k, n, val_int(9), &err);
        else if (c->change == TAKE)
            taken = val_take_path(h, &root, k, n, &err);
        else
            ok = val_delete_path(h, &root, k, n, &err);
        if (strncmp(c->after, "error:", 6) == 0) {
            if (ok || strcmp(xs_code_get(err.code)->symbol, c->after + 6) != 0)
                fail_msg("%s in %s: no error", c->path, c->before);
        } else {
            assert_true(ok);
            check_json(c->path, root, c->after);
        }
        if (c->taken)
            check_json(c->path, taken, c->taken);
        if (shared)
            check_json("the other owner", other, c->before);
        val_unref(h, taken);
        val_unref(h, keys);
        val_unref(h, root);
        val_unref(h, other);
        check_empty(c->path, h);
    }
    heap_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reading), cmocka_unit_test(changing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
