/* storage_test.c - stored files: names, paths that lead elsewhere, signatures; storage.* on them;
 * uploads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "core/tables.h"
#include "core/text.h"
#include "stdlib/outside.h"
#include "stdlib/registry.h"
#include "stdlib/storage/file.h"
#include "stdlib/storage/store.h"

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *given, *kept;
    } rows[] = {
        {"a.png", "a.png"},
        {"../../etc/passwd", "passwd"},
        {"C:\\x\\y z.txt", "y_z.txt"},
        {".hidden", "_hidden"},
        {"", "file"},
        {"a/", "file"},
        {"..", "_."},
        {"\xff.txt", "file"},
        {"Ü.txt", "Ü.txt"},
        {"a\nb\"<c>", "a_b__c_"},
    };
    xs_error err = {0};
    Vault *s = vault_new((Text){0}, &err);
    assert_non_null(s);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Buf path = BUF_INIT, data = BUF_INIT;
        assert_true(vault_put(s, false, text_from(rows[i].given), TEXT("x\0y"), &path, &err));
        if (!text_eq(vault_name(buf_view(&path)), text_from(rows[i].kept)))
            fail_msg("%s became " TEXT_FMT, rows[i].given, TEXT_ARG(buf_view(&path)));
        assert_true(vault_read(s, buf_view(&path), 100, &data, &err));
        assert_true(text_eq(buf_view(&data), TEXT("x\0y")));
        data.len = 0;
        assert_false(vault_read(s, buf_view(&path), 2, &data, &err));
        assert_int_equal(err.code, XS_E_LIMIT);
        assert_true(vault_delete(s, buf_view(&path), &err));
        assert_false(vault_read(s, buf_view(&path), 100, &data, &err));
        assert_int_equal(err.code, XS_E_NOTFOUND);
        buf_deinit(&path);
        buf_deinit(&data);
    }
    vault_free(s);
}

/* Nothing but a stored file can be read, deleted or signed, whatever the path says. */
static void traversal(void **state)
{
    (void)state;
    char dir[] = "/tmp/xs-store-test-XXXXXX", outside[64], link[200], stored[300];
    assert_non_null(mkdtemp(dir));
    snprintf(outside, sizeof outside, "%s.secret", dir);
    FILE *f = fopen(outside, "w");
    fputs("secret", f);
    fclose(f);
    xs_error err = {0};
    Vault *s = vault_new(text_from(dir), &err);
    Buf path = BUF_INIT, out = BUF_INIT;
    assert_true(vault_put(s, true, TEXT("a.txt"), TEXT("data"), &path, &err));
    Text good = buf_view(&path);
    /* a link beside the file */
    snprintf(stored, sizeof stored, "%s/private/%.26s", dir, good.ptr + 7);
    snprintf(link, sizeof link, "%s/private/%.26s/link", dir, good.ptr + 7);
    assert_int_equal(symlink(outside, link), 0);
    char random[64], bad[12][200];
    snprintf(random, sizeof random, "%.26s", good.ptr + 7);
    int n = 0;
    snprintf(bad[n++], 200, "/vault/%s/link", random);
    snprintf(bad[n++], 200, "/vault/%s/../../.key", random);
    snprintf(bad[n++], 200, "/vault/%s/..", random);
    snprintf(bad[n++], 200, "/vault/../../../../etc/passwd");
    snprintf(bad[n++], 200, "%s", outside);
    snprintf(bad[n++], 200, "/vault/.key");
    snprintf(bad[n++], 200, "../vault/%s/a.txt", random);
    snprintf(bad[n++], 200, "/x/vault/%s/a.txt", random);
    snprintf(bad[n++], 200, "/vault/%s", random);
    snprintf(bad[n++], 200, "/vault/%s/", random);
    snprintf(bad[n++], 200, "/vault/%s/a.txt/b", random);
    snprintf(bad[n++], 200, "/vault/AAAAAAAAAAAAAAAAAAAAAAAAAA/a.txt");
    for (int i = 0; i < n; i++) {
        if (vault_read(s, text_from(bad[i]), 100, &out, &err) || err.code != XS_E_NOTFOUND)
            fail_msg("%s was read", bad[i]);
        assert_false(vault_delete(s, text_from(bad[i]), &err));
    }
    assert_false(vault_read(s, (Text){good.ptr, good.len - 2}, 100, &out, &err));
    assert_true(vault_read(s, good, 100, &out, &err));
    assert_int_equal(access(outside, F_OK), 0);

    /* signatures hold for their file and time, also for another server of the folder */
    Buf url = BUF_INIT;
    assert_true(vault_sign(s, good, 1000, &url, &err));
    Text sig = text_slice(buf_view(&url), url.len - 64, url.len);
    Vault *other = vault_new(text_from(dir), &err);
    assert_true(vault_check(other, good, TEXT("1000"), sig, 1000));
    assert_false(vault_check(s, good, TEXT("1000"), sig, 1001));
    assert_false(vault_check(s, good, TEXT("2000"), sig, 1000));
    assert_false(vault_check(s, text_slice(good, 0, good.len - 1), TEXT("1000"), sig, 1));
    assert_false(vault_check(s, good, TEXT("1000"), text_slice(sig, 1, 64), 1));
    assert_false(vault_check(s, good, TEXT(""), TEXT(""), 1));
    vault_free(other);
    buf_deinit(&url);
    buf_deinit(&out);
    assert_int_equal(unlink(link), 0);
    assert_true(vault_delete(s, good, &err));
    assert_int_not_equal(access(stored, F_OK), 0); /* its folder is gone too */
    buf_deinit(&path);
    vault_free(s);
    snprintf(link, sizeof link, "%s/.key", dir);
    struct stat st;
    assert_int_equal(stat(link, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    unlink(link);
    snprintf(link, sizeof link, "%s/public", dir);
    rmdir(link);
    snprintf(link, sizeof link, "%s/private", dir);
    rmdir(link);
    assert_int_equal(rmdir(dir), 0);
    unlink(outside);
}

/* ---- statements ---- */

static Value call(Outside *o, Heap *h, const char *statement, Value *args, uint32_t n,
                  xs_error *err)
{
    static const RunContext rc;
    Services services = {.outside = o};
    const void *row = NULL;
    void *site = NULL;
    StatementFn fn = stdlib_natives.statement(text_from(statement), &row);
    *err = (xs_error){0};
    Call c = {.heap = h,
              .services = &services,
              .run = &rc,
              .name = statement,
              .row = row,
              .args = args,
              .nargs = n,
              .site = &const_null,
              .site_data = &site,
              .ret = val_null(),
              .err = err};
    NativeResult r = fn(&c);
    call_end(&c);
    return r == NATIVE_OK ? c.ret : val_unset();
}

static void expect_json(Value v, const char *want)
{
    Buf out = BUF_INIT;
    assert_true(val_write_json(v, &out));
    if (!text_eq(buf_view(&out), text_from(want)))
        fail_msg("want %s, got " TEXT_FMT, want, TEXT_ARG(buf_view(&out)));
    buf_deinit(&out);
}

static void pictures(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *meta; /* NULL: refused */
    } rows[] = {
#define BYTES(s) s, sizeof(s) - 1
        {BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x20"),
         "{\"width\":64,\"height\":32}"},
        {BYTES("GIF89a\x05\0\x07\0"), "{\"width\":5,\"height\":7}"},
        {BYTES("\xff\xd8\xff\xe0\0\x04zz\xff\xc0\0\x11\x08\0\x10\0\x30\3"),
         "{\"width\":48,\"height\":16}"},
        {BYTES("RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x0f\0\0\x1f\0\0"),
         "{\"width\":16,\"height\":32}"},
        {BYTES("\xff\xd8\xff\xe0\0\x04zz"), NULL},
        {BYTES("\x89PNG\r\n\x1a\n"), NULL},
        {BYTES("<svg/>"), NULL},
        {BYTES(""), NULL},
#undef BYTES
    };
    xs_error err = {0};
    OutsideOptions opt = {.cache_bytes = 1 << 16, .http_max_bytes = 1000};
    Outside *o = outside_new(&opt, &err);
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Value args[3] = {
            file_new(h, TEXT("p.png"), (Text){0}, text_new(h, (Text){rows[i].bytes, rows[i].len})),
            val_unset(), val_unset()};
        Value v = call(o, h, "storage.create_image", args, 3, &err);
        if (rows[i].meta)
            expect_json(map_get_cstr(v, "meta"), rows[i].meta);
        else if (v.kind != V_UNSET || strcmp(err.message, "Invalid file extension.") != 0)
            fail_msg("row %zu was stored", i);
        val_unref(h, v);
        val_unref(h, args[0]);
    }
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
    outside_free(o);
}

static void statements(void **state)
{
    (void)state;
    xs_error err = {0};
    OutsideOptions opt = {.cache_bytes = 1 << 16, .http_max_bytes = 1000};
    Outside *o = outside_new(&opt, &err);
    Heap *h = heap_new(0);
    Value file_args[2] = {text_new(h, TEXT("n.txt")), text_new(h, TEXT("abc"))};
    Value file = call(o, h, "storage.create_file_resource", file_args, 2, &err);
    expect_json(file, "{\"name\":\"n.txt\",\"size\":3,\"mime\":\"text/plain\"}");
    Value v = call(o, h, "storage.read_file_resource", &file, 1, &err);
    expect_json(v, "{\"name\":\"n.txt\",\"size\":3,\"mime\":\"text/plain\",\"data\":\"abc\"}");
    val_unref(h, v);

    Value args[3] = {file, text_new(h, TEXT("private")), text_new(h, TEXT("kept.csv"))};
    Value stored = call(o, h, "storage.create_attachment", args, 3, &err);
    expect_json(map_get_cstr(stored, "access"), "\"private\"");
    expect_json(map_get_cstr(stored, "name"), "\"kept.csv\"");
    expect_json(map_get_cstr(stored, "mime"), "\"text/csv\"");
    expect_json(map_get_cstr(stored, "size"), "3");
    v = call(o, h, "storage.read_file_resource", &stored, 1, &err);
    expect_json(map_get_cstr(v, "data"), "\"abc\"");
    val_unref(h, v);
    v = call(o, h, "storage.sign_private_url", &stored, 1, &err);
    assert_true(v.kind == V_TEXT && text_find(val_text_view(v), TEXT("?exp="), 0) != SIZE_MAX);
    Value again = call(o, h, "storage.read_file_resource", &v, 1, &err); /* signed addresses too */
    expect_json(map_get_cstr(again, "data"), "\"abc\"");
    val_unref(h, again);
    val_unref(h, v);
    v = call(o, h, "storage.delete_file", &stored, 1, &err);
    assert_int_equal(v.kind, V_NULL);
    v = call(o, h, "storage.delete_file", &stored, 1, &err);
    assert_int_equal(v.kind, V_UNSET);
    assert_int_equal(err.code, XS_E_NOTFOUND);

    Value bad = text_new(h, TEXT("public!"));
    Value args2[3] = {text_new(h, TEXT("data:text/plain;base64,aGk=")), val_unset(), val_unset()};
    v = call(o, h, "storage.create_attachment", args2, 3, &err);
    expect_json(map_get_cstr(v, "size"), "2");
    val_unref(h, v);
    val_unref(h, args2[0]);
    args2[0] = text_new(h, TEXT("http://127.0.0.1:1/x")); /* private: not fetched */
    v = call(o, h, "storage.create_attachment", args2, 3, &err);
    assert_int_equal(v.kind, V_UNSET);
    assert_non_null(strstr(err.message, "http.allow_private"));
    val_unref(h, args2[0]);
    args2[0] = file;
    args2[1] = bad;
    v = call(o, h, "storage.create_attachment", args2, 3, &err);
    assert_int_equal(err.code, XS_E_BAD_ARG);
    args2[0] = val_int(5);
    v = call(o, h, "storage.create_attachment", args2, 1, &err);
    assert_int_equal(err.code, XS_E_BAD_ARG);
    val_unref(h, bad);
    val_unref(h, stored);
    val_unref(h, file);
    val_unref(h, args[1]);
    val_unref(h, args[2]);
    val_unref(h, file_args[0]);
    val_unref(h, file_args[1]);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
    outside_free(o);
}

static void uploads(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    Value v = val_parse_json(
        h,
        TEXT("{\"f\":{\"name\":\"a.txt\",\"size\":1,\"mime\":\"text/x\",\"\\u0000data\":\"zz\"},"
             "\"l\":[1,{\"\\u0000data\":\"\"}],\"o\":{\"name\":\"n\"}}"),
        &err);
    Value before = val_ref(v);
    assert_true(uploads_to_files(h, &v));
    expect_json(v, "{\"f\":{\"name\":\"a.txt\",\"size\":2,\"mime\":\"text/x\"},\"l\":[1,{\"name\":"
                   "\"\",\"size\":0,\"mime\":\"text/plain\"}],\"o\":{\"name\":\"n\"}}");
    FileView file;
    assert_true(file_view(map_get_cstr(v, "f"), &file));
    assert_true(text_eq(file.data, TEXT("zz")));
    assert_int_equal(map_get_cstr(before, "f").kind, V_MAP); /* the shared original is as it was */
    val_unref(h, before);
    val_unref(h, v);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
}

/* ---- archives from strangers ---- */

enum { BOMB_BYTES = 20 << 20 };

/* An archive made by other means: one file. */
static Value stranger(Heap *h, const char *name, const char *data, size_t len)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *out = zip_source_buffer_create(NULL, 0, 0, &error);
    zip_source_keep(out);
    zip_t *z = zip_open_from_source(out, ZIP_TRUNCATE, &error);
    assert_non_null(z);
    assert_true(zip_file_add(z, name, zip_source_buffer(z, data, len, 0), 0) >= 0);
    assert_int_equal(zip_close(z), 0);
    zip_stat_t st;
    assert_int_equal(zip_source_stat(out, &st), 0);
    assert_int_equal(zip_source_open(out), 0);
    Value bytes = text_new_raw(h, (size_t)st.size);
    assert_int_equal(zip_source_read(out, bytes.text->data, st.size), st.size);
    zip_source_close(out);
    zip_source_free(out);
    return file_new(h, TEXT("a.zip"), (Text){0}, bytes);
}

static void archives(void **state)
{
    (void)state;
    static const char *const names[] = {"../x",  "/etc/passwd", "a/../../b",
                                        "c:\\x", "a\\..\\b",    "."};
    Heap *h = heap_new(0);
    xs_error err = {0};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Value args[2] = {stranger(h, names[i], "x", 1), val_unset()};
        if (call(NULL, h, "zip.extract", args, 2, &err).kind != V_UNSET)
            fail_msg("%s was unpacked", names[i]);
        assert_int_equal(call(NULL, h, "zip.view_contents", args, 2, &err).kind, V_UNSET);
        val_unref(h, args[0]);
    }
    char *zeros = calloc(1, BOMB_BYTES);
    Value args[2] = {stranger(h, "bomb", zeros, BOMB_BYTES), val_unset()};
    assert_int_equal(call(NULL, h, "zip.extract", args, 2, &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_LIMIT);
    Value list = call(NULL, h, "zip.view_contents", args, 2, &err);
    expect_json(list, "[{\"name\":\"bomb\",\"size\":20971520}]");
    val_unref(h, list);
    free(zeros);

    /* cut and changed archives end in an error or in files, never worse */
    FileView file;
    assert_true(file_view(args[0], &file));
    for (size_t cut = 97; cut < file.data.len; cut += 97) {
        Value half[2] = {
            file_new(h, TEXT("b.zip"), (Text){0}, text_new(h, text_slice(file.data, 0, cut))),
            val_unset()};
        assert_int_equal(call(NULL, h, "zip.view_contents", half, 2, &err).kind, V_UNSET);
        val_unref(h, half[0]);
    }
    val_unref(h, args[0]);
    args[0] = text_new(h, TEXT("no file"));
    assert_int_equal(call(NULL, h, "zip.extract", args, 2, &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_BAD_ARG);
    val_unref(h, args[0]);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names),    cmocka_unit_test(traversal),
                                       cmocka_unit_test(pictures), cmocka_unit_test(statements),
                                       cmocka_unit_test(uploads),  cmocka_unit_test(archives)};
    tables_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
