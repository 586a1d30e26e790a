/* results.c - results as lines of JSON. */
#include "bench/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"

static void take_name(char *to, size_t size, const Const *line, const char *key)
{
    Text t = const_get_text(line, key);
    snprintf(to, size, TEXT_FMT, TEXT_ARG(t));
}

static uint32_t take_numbers(double *to, const Const *line, const char *key)
{
    const Const *list = const_get(line, key);
    uint32_t n = list && list->kind == C_LIST ? list->count : 0;
    n = n < RESULT_VALUES ? n : RESULT_VALUES;
    for (uint32_t i = 0; i < n; i++)
        to[i] = const_dec_of(list->items[i], 0);
    return n;
}

static bool take_line(Results *r, Text text)
{
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    const Const *line = json_parse(&a, text, &err);
    Result *one = line ? (Result *)mem_zalloc(1, sizeof *one) : NULL;
    bool ok = one && VEC_PUSH(&r->all, one);
    if (ok) {
        take_name(one->id, sizeof one->id, line, "case");
        take_name(one->target, sizeof one->target, line, "target");
        take_name(one->date, sizeof one->date, line, "date");
        take_name(one->why, sizeof one->why, line, "why");
        one->count = take_numbers(one->value, line, "value");
        ok = take_numbers(one->p50, line, "p50") == one->count &&
             take_numbers(one->p99, line, "p99") == one->count &&
             take_numbers(one->rate, line, "rate") == one->count;
    } else {
        mem_free(one);
    }
    arena_deinit(&a);
    return ok;
}

bool results_load(Results *r, const char *path)
{
    *r = (Results){0};
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    bool ok = true;
    while (ok && file && (n = getline(&line, &cap, file)) > 0)
        ok = n == 1 || take_line(r, text_trim((Text){line, (size_t)n}, TEXT("\n")));
    free(line);
    if (file)
        fclose(file);
    if (!ok)
        fprintf(stderr, "xs bench: %s: line %zu is no result\n", path, r->all.len + 1);
    return ok;
}

static void put_text(Buf *b, const char *key, const char *value)
{
    buf_printf(b, "%s\"%s\":", b->len && b->ptr[b->len - 1] != '\n' ? "," : "{", key);
    json_write_text(b, text_from(value));
}

static void put_numbers(Buf *b, const char *key, const double *values, uint32_t n)
{
    buf_printf(b, ",\"%s\":[", key);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(b, "%s%.6g", i ? "," : "", values[i]);
    buf_char(b, ']');
}

bool results_write_file(const char *path, const Buf *bytes)
{
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *file = bytes->failed ? NULL : fopen(temporary, "w");
    bool ok = file && fwrite(bytes->ptr, 1, bytes->len, file) == bytes->len;
    ok = file && fclose(file) == 0 && ok;
    ok = ok && rename(temporary, path) == 0;
    if (!ok)
        fprintf(stderr, "xs bench: cannot write %s\n", path);
    return ok;
}

bool results_save(const Results *r, const char *path)
{
    Buf b = BUF_INIT;
    for (size_t i = 0; i < r->all.len; i++) {
        const Result *one = r->all.ptr[i];
        put_text(&b, "case", one->id);
        put_text(&b, "target", one->target);
        put_text(&b, "date", one->date);
        if (*one->why)
            put_text(&b, "why", one->why);
        put_numbers(&b, "value", one->value, one->count);
        put_numbers(&b, "p50", one->p50, one->count);
        put_numbers(&b, "p99", one->p99, one->count);
        put_numbers(&b, "rate", one->rate, one->count);
        buf_cstr(&b, "}\n");
    }
    bool ok = results_write_file(path, &b);
    buf_deinit(&b);
    return ok;
}

void results_free(Results *r)
{
    for (size_t i = 0; i < r->all.len; i++)
        mem_free(r->all.ptr[i]);
    VEC_DEINIT(&r->all);
}

const Result *results_find(const Results *r, const char *id, const char *target)
{
    for (size_t i = 0; i < r->all.len; i++)
        if (strcmp(r->all.ptr[i]->id, id) == 0 && strcmp(r->all.ptr[i]->target, target) == 0)
            return r->all.ptr[i];
    return NULL;
}

void results_drop(Results *r, const char *id)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->all.len; i++) {
        Result *one = r->all.ptr[i];
        if (strcmp(one->id, id) == 0)
            mem_free(one);
        else
            r->all.ptr[kept++] = one;
    }
    r->all.len = kept;
}

Result *results_add(Results *r, const char *id, const char *target)
{
    Result *one = (Result *)mem_zalloc(1, sizeof *one);
    if (!one || !VEC_PUSH(&r->all, one)) {
        mem_free(one);
        return NULL;
    }
    time_t now = time(NULL);
    struct tm tm;
    snprintf(one->id, sizeof one->id, "%s", id);
    snprintf(one->target, sizeof one->target, "%s", target);
    if (gmtime_r(&now, &tm))
        strftime(one->date, sizeof one->date, "%Y-%m-%d", &tm);
    return one;
}
