/* test_report.c - the three forms of a result, and coverage by file. */
#include "cli/test_report.h"

#include "cli/cli.h"

#include <stdlib.h>

#include "core/diag.h"
#include "core/json.h"
#include "core/linediff.h"
#include "core/mem.h"
#include "core/text.h"

enum {
    SHORT_MAX = 40,  /* bytes of a value that the message shows well enough */
    LINES_MAX = 60,  /* of a difference or a value that are shown */
    EVENTS_MAX = 20, /* published events that are listed */
};

static size_t count(const TestReport *r, bool ok)
{
    size_t n = 0;
    for (size_t i = 0; i < testrun_count(r->run); i++) {
        TestStatus s = testrun_result(r->run, i)->status;
        n += ok ? s == TEST_OK : s == TEST_FAIL || s == TEST_EXCEPTION;
    }
    return n;
}

size_t report_passed(const TestReport *r)
{
    return count(r, true);
}

size_t report_failed(const TestReport *r)
{
    return count(r, false);
}

/* ---- values ---- */

static int by_key(const void *a, const void *b)
{
    return text_cmp(((const ConstPair *)a)->key, ((const ConstPair *)b)->key);
}

/* Members in order of their keys: their order means nothing to an expectation. */
static const Const *sorted(Arena *a, const Const *c)
{
    if (c->kind != C_LIST && c->kind != C_MAP)
        return c;
    Const *out = c->kind == C_LIST ? const_list(a, c->count) : const_map(a, c->count);
    bool ok = out != NULL;
    for (uint32_t i = 0; ok && i < c->count; i++) {
        const Const *item = sorted(a, c->kind == C_LIST ? c->items[i] : c->pairs[i].value);
        ok = item && (c->kind == C_LIST ? const_push(a, out, item)
                                        : const_append(a, out, c->pairs[i].key, item));
    }
    if (ok && c->kind == C_MAP && out->count)
        qsort(out->pairs, out->count, sizeof *out->pairs, by_key);
    return ok ? out : NULL;
}

/* A value with one line per member; a text of several lines is shown as it is when plain. */
static Text pretty(Arena *a, Text json, bool plain)
{
    const Const *c = json.ptr ? json_parse(a, json, NULL) : NULL;
    if (c && plain && c->kind == C_TEXT)
        return c->text;
    const Const *s = c ? sorted(a, c) : NULL;
    Buf b = BUF_INIT;
    if (s)
        json_write_const_pretty(&b, s, 2);
    Text t = arena_text(a, buf_view(&b));
    buf_deinit(&b);
    return t.ptr ? t : TEXT("");
}

static bool is_text(Text json)
{
    return json.len && json.ptr[0] == '"';
}

static void put_lines(Text t, const char *prefix, Buf *out)
{
    size_t at = 0, lines = 0;
    while (at < t.len && lines++ < LINES_MAX) {
        size_t end = text_find(t, TEXT("\n"), at);
        end = end == SIZE_MAX ? t.len : end;
        buf_cstr(out, prefix);
        buf_text(out, text_slice(t, at, end));
        buf_char(out, '\n');
        at = end + 1;
    }
    if (at < t.len)
        buf_printf(out, "%s…\n", prefix);
}

static void put_difference(const TestReport *r, const TestResult *t, Arena *a, Buf *out)
{
    bool texts = is_text(t->expected) && is_text(t->actual),
         scalar = t->expected.len < SHORT_MAX && t->actual.len < SHORT_MAX;
    if (scalar && t->expected.ptr[0] != '{' && t->expected.ptr[0] != '[')
        return;
    Buf diff = BUF_INIT;
    line_diff(pretty(a, t->expected, texts), pretty(a, t->actual, texts), "", r->colour, &diff);
    buf_cstr(out, "      difference (- expected, + got):\n");
    put_lines(buf_view(&diff), "        ", out);
    buf_deinit(&diff);
}

static void put_events(const TestResult *t, Arena *a, Buf *out)
{
    const Const *list = json_parse(a, t->actual, NULL);
    uint32_t n = list && list->kind == C_LIST ? list->count : 0;
    buf_printf(out, "      %u event%s published%s\n", n, n == 1 ? "" : "s", n ? ":" : "");
    for (uint32_t i = 0; i < n && i < EVENTS_MAX; i++) {
        buf_cstr(out, "        ");
        json_write_const(out, list->items[i]);
        buf_char(out, '\n');
    }
    if (n > EVENTS_MAX)
        buf_cstr(out, "        …\n");
}

static void put_details(const TestReport *r, const TestResult *t, Buf *out)
{
    Arena a;
    arena_init(&a, 0);
    if (t->expect.ptr && text_ends(t->expect, TEXT("_have_published")))
        put_events(t, &a, out);
    else if (t->expected.ptr && t->actual.ptr && text_eq(t->expect, TEXT("to_equal")))
        put_difference(r, t, &a, out);
    else if (t->actual.ptr && text_find(t->message, TEXT("…"), 0) != SIZE_MAX) {
        buf_cstr(out, "      got:\n");
        put_lines(pretty(&a, t->actual, false), "        ", out);
    }
    arena_deinit(&a);
}

/* ---- text ---- */

static Text source_of(const TestReport *r, const char *file)
{
    return cli_source_text(&(const SourceFile *){r->sources}, file);
}

static void put_place(const TestReport *r, const TestResult *t, Buf *out)
{
    if (!t->pos.file || !t->pos.line)
        return;
    Buf lines = BUF_INIT;
    Text source = source_of(r, t->pos.file);
    buf_printf(out, "      at %s:%u:%u\n", t->pos.file, t->pos.line, t->pos.col ? t->pos.col : 1);
    if (source.ptr)
        diag_print_place(source, t->pos, r->colour, &lines);
    put_lines(buf_view(&lines), "      ", out);
    buf_deinit(&lines);
}

static void put_head(const TestReport *r, const TestCase *t, const TestResult *result, Buf *out)
{
    bool ok = result->status == TEST_OK;
    if (r->colour)
        buf_cstr(out, ok ? "\x1b[32m" : "\x1b[1;31m");
    buf_cstr(out, ok ? "PASS" : "FAIL");
    if (r->colour)
        buf_cstr(out, "\x1b[0m");
    buf_printf(out, "  " TEXT_FMT " [" TEXT_FMT ": " TEXT_FMT "] %.1f ms\n", TEXT_ARG(t->name),
               TEXT_ARG(t->obj_type), TEXT_ARG(t->obj_name), result->ms);
}

static void put_result(const TestReport *r, size_t i, Buf *out)
{
    const TestResult *t = testrun_result(r->run, i);
    if (t->status == TEST_NOT_RUN || (t->status == TEST_OK && r->quiet))
        return;
    put_head(r, testrun_case(r->run, i), t, out);
    if (t->status == TEST_OK)
        return;
    buf_printf(out, "      Error: " TEXT_FMT "\n", TEXT_ARG(t->message));
    put_place(r, t, out);
    put_details(r, t, out);
    if (t->log.len) {
        buf_cstr(out, "      log:\n");
        put_lines(t->log, "        ", out);
    }
}

static int by_time(const void *a, const void *b)
{
    double x = (*(const TestResult *const *)a)->ms, y = (*(const TestResult *const *)b)->ms;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void put_slowest(const TestReport *r, Buf *out)
{
    size_t n = testrun_count(r->run);
    const TestResult **order = mem_zalloc(n ? n : 1, sizeof(TestResult *));
    if (!order)
        return;
    for (size_t i = 0; i < n; i++)
        order[i] = testrun_result(r->run, i);
    qsort(order, n, sizeof *order, by_time);
    buf_cstr(out, "Slowest:\n");
    for (size_t i = 0; i < n && i < r->slowest && order[i]->status != TEST_NOT_RUN; i++) {
        const TestCase *t = testrun_case(r->run, (size_t)(order[i] - testrun_result(r->run, 0)));
        buf_printf(out, "  %8.1f ms  " TEXT_FMT " [" TEXT_FMT ": " TEXT_FMT "]\n", order[i]->ms,
                   TEXT_ARG(t->name), TEXT_ARG(t->obj_type), TEXT_ARG(t->obj_name));
    }
    mem_free(order);
}

/* ---- coverage ---- */

enum { LINE_EXISTS = 1, LINE_REACHED = 2 };

typedef struct FileCover {
    const SourceFile *source;
    uint8_t *lines; /* from 1 */
    size_t nlines, statements, reached;
} FileCover;

typedef struct Cover {
    FileCover *files;
    size_t count;
} Cover;

static void cover_place(void *ctx, xs_pos place, bool hit)
{
    Cover *c = (Cover *)ctx;
    for (size_t i = 0; i < c->count; i++) {
        FileCover *f = &c->files[i];
        if (!text_eq(f->source->path, text_from(place.file)) || place.line > f->nlines)
            continue;
        f->lines[place.line] |= (uint8_t)(LINE_EXISTS | (hit ? LINE_REACHED : 0));
        f->statements++;
        f->reached += hit;
        return;
    }
}

static bool cover_init(Cover *c, const TestReport *r)
{
    size_t n = 0;
    while (r->sources[n].path.ptr)
        n++;
    *c = (Cover){mem_zalloc(n ? n : 1, sizeof *c->files), 0};
    for (size_t i = 0; c->files && i < n; i++) {
        FileCover *f = &c->files[c->count++];
        f->source = &r->sources[i];
        f->nlines = 1;
        for (size_t k = 0; k < f->source->text.len; k++)
            f->nlines += f->source->text.ptr[k] == '\n';
        f->lines = mem_zalloc(f->nlines + 1, 1);
        if (!f->lines)
            return false;
    }
    if (c->files)
        testrun_coverage(r->run, cover_place, c);
    return c->files != NULL;
}

static void cover_deinit(Cover *c)
{
    for (size_t i = 0; i < c->count; i++)
        mem_free(c->files[i].lines);
    mem_free(c->files);
}

static void cover_count(const FileCover *f, size_t *lines, size_t *reached)
{
    *lines = *reached = 0;
    for (size_t i = 1; i <= f->nlines; i++) {
        *lines += (f->lines[i] & LINE_EXISTS) != 0;
        *reached += (f->lines[i] & LINE_REACHED) != 0;
    }
}

static bool missed(const FileCover *f, size_t line)
{
    return f->lines[line] == LINE_EXISTS;
}

static void put_missed(const FileCover *f, Buf *out)
{
    const char *before = "  not reached: ";
    for (size_t i = 1; i <= f->nlines; i++) {
        size_t from = i;
        if (!missed(f, i))
            continue;
        while (i < f->nlines && missed(f, i + 1))
            i++;
        buf_printf(out, from == i ? "%s%zu" : "%s%zu-%zu", before, from, i);
        before = ", ";
    }
}

static double percent(size_t part, size_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 100.0;
}

static void put_coverage(const TestReport *r, Buf *out)
{
    Cover c;
    size_t all = 0, all_reached = 0, statements = 0, statements_reached = 0;
    buf_cstr(out, "Coverage:\n");
    bool ok = cover_init(&c, r);
    for (size_t i = 0; ok && i < c.count; i++) {
        const FileCover *f = &c.files[i];
        size_t lines, reached;
        cover_count(f, &lines, &reached);
        if (!lines)
            continue;
        buf_printf(out, "  %5.1f %%  %4zu of %4zu lines  " TEXT_FMT, percent(reached, lines),
                   reached, lines, TEXT_ARG(f->source->path));
        put_missed(f, out);
        buf_char(out, '\n');
        all += lines;
        all_reached += reached;
        statements += f->statements;
        statements_reached += f->reached;
    }
    buf_printf(out, "  %5.1f %%  %4zu of %4zu lines, %zu of %zu statements\n",
               percent(all_reached, all), all_reached, all, statements_reached, statements);
    cover_deinit(&c);
}

static void json_coverage(const TestReport *r, Buf *out)
{
    Cover c;
    bool ok = cover_init(&c, r);
    const char *before = "";
    buf_cstr(out, ",\"coverage\":[");
    for (size_t i = 0; ok && i < c.count; i++) {
        const FileCover *f = &c.files[i];
        size_t lines, reached;
        cover_count(f, &lines, &reached);
        if (!lines)
            continue;
        buf_printf(out, "%s{\"file\":", before);
        json_write_text(out, f->source->path);
        buf_printf(out,
                   ",\"lines\":%zu,\"reached\":%zu,\"statements\":%zu,\"statements_reached\":%zu,"
                   "\"missed\":[",
                   lines, reached, f->statements, f->reached);
        before = "";
        for (size_t k = 1; k <= f->nlines; k++)
            if (missed(f, k)) {
                buf_printf(out, "%s%zu", before, k);
                before = ",";
            }
        buf_cstr(out, "]}");
        before = ",";
    }
    buf_char(out, ']');
    cover_deinit(&c);
}

void report_text(const TestReport *r, Buf *out)
{
    size_t n = testrun_count(r->run), passed = report_passed(r), failed = report_failed(r);
    for (size_t i = 0; i < n; i++)
        put_result(r, i, out);
    if (r->slowest && n > r->slowest)
        put_slowest(r, out);
    if (r->coverage)
        put_coverage(r, out);
    buf_printf(out, "Results: %zu passed, %zu failed", passed, failed);
    if (passed + failed < n)
        buf_printf(out, ", %zu not run", n - passed - failed);
    buf_printf(out, " in %.1f ms\n", r->ms);
    if (failed)
        buf_printf(out, "To repeat: --seed %llu --now %lld\n", (unsigned long long)r->seed,
                   (long long)r->now_ms);
}

/* ---- JSON ---- */

static void json_result(const TestReport *r, size_t i, Buf *out)
{
    static const char *const words[] = {"skipped", "ok", "fail", "exception"};
    const TestCase *t = testrun_case(r->run, i);
    const TestResult *result = testrun_result(r->run, i);
    buf_cstr(out, "{\"name\":");
    json_write_text(out, t->name);
    buf_cstr(out, ",\"obj_type\":");
    json_write_text(out, t->obj_type);
    buf_cstr(out, ",\"obj_name\":");
    json_write_text(out, t->obj_name);
    buf_printf(out, ",\"status\":\"%s\",\"ms\":%.3f,\"message\":", words[result->status],
               result->ms);
    if (result->message.ptr)
        json_write_text(out, result->message);
    else
        buf_cstr(out, "null");
    buf_cstr(out, ",\"file\":");
    json_write_text(out, text_from(result->pos.file ? result->pos.file : t->file.ptr));
    buf_printf(out, ",\"line\":%u,\"column\":%u", result->pos.line, result->pos.col);
    if (result->expected.ptr)
        buf_printf(out, ",\"expected\":" TEXT_FMT, TEXT_ARG(result->expected));
    if (result->actual.ptr)
        buf_printf(out, ",\"actual\":" TEXT_FMT, TEXT_ARG(result->actual));
    if (result->log.ptr) {
        buf_cstr(out, ",\"log\":");
        json_write_text(out, result->log);
    }
    buf_char(out, '}');
}

void report_json(const TestReport *r, Buf *out)
{
    buf_printf(out, "{\"passed\":%zu,\"failed\":%zu,\"ms\":%.3f,\"seed\":%llu,\"now\":%lld,",
               report_passed(r), report_failed(r), r->ms, (unsigned long long)r->seed,
               (long long)r->now_ms);
    buf_cstr(out, "\"results\":[");
    for (size_t i = 0; i < testrun_count(r->run); i++) {
        if (i)
            buf_char(out, ',');
        json_result(r, i, out);
    }
    buf_char(out, ']');
    if (r->coverage)
        json_coverage(r, out);
    buf_cstr(out, "}\n");
}

/* ---- JUnit ---- */

/* Characters XML cannot hold are shown as question marks. */
static void xml_text(Buf *out, Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        switch (c) {
        case '<': buf_cstr(out, "&lt;"); break;
        case '>': buf_cstr(out, "&gt;"); break;
        case '&': buf_cstr(out, "&amp;"); break;
        case '"': buf_cstr(out, "&quot;"); break;
        case '\n': buf_cstr(out, "&#10;"); break;
        default: buf_char(out, c < ' ' && c != '\t' ? '?' : (char)c);
        }
    }
}

static void xml_attr(Buf *out, const char *name, Text value)
{
    buf_printf(out, " %s=\"", name);
    xml_text(out, value);
    buf_char(out, '"');
}

static void junit_case(const TestReport *r, size_t i, Buf *out)
{
    const TestCase *t = testrun_case(r->run, i);
    const TestResult *result = testrun_result(r->run, i);
    Buf class_name = BUF_INIT, details = BUF_INIT;
    buf_printf(&class_name, TEXT_FMT ": " TEXT_FMT, TEXT_ARG(t->obj_type), TEXT_ARG(t->obj_name));
    buf_cstr(out, "    <testcase");
    xml_attr(out, "classname", buf_view(&class_name));
    xml_attr(out, "name", t->name);
    buf_printf(out, " time=\"%.6f\"", result->ms / 1000);
    xml_attr(out, "file", t->file);
    buf_printf(out, " line=\"%u\"", t->line);
    if (result->status == TEST_OK) {
        buf_cstr(out, "/>\n");
    } else if (result->status == TEST_NOT_RUN) {
        buf_cstr(out, "><skipped/></testcase>\n");
    } else {
        TestReport plain = *r;
        plain.colour = false;
        put_place(&plain, result, &details);
        put_details(&plain, result, &details);
        buf_printf(out, ">\n      <%s", result->status == TEST_FAIL ? "failure" : "error");
        xml_attr(out, "message", result->message);
        buf_char(out, '>');
        xml_text(out, buf_view(&details));
        buf_printf(out, "</%s>\n", result->status == TEST_FAIL ? "failure" : "error");
        if (result->log.len) {
            buf_cstr(out, "      <system-out>");
            xml_text(out, result->log);
            buf_cstr(out, "</system-out>\n");
        }
        buf_cstr(out, "    </testcase>\n");
    }
    buf_deinit(&class_name);
    buf_deinit(&details);
}

/* The tests of one file, from i on; returns the next file's first. */
static size_t junit_suite(const TestReport *r, size_t i, Buf *out)
{
    Buf cases = BUF_INIT;
    Text file = testrun_case(r->run, i)->file;
    size_t tests = 0, failures = 0, errors = 0, skipped = 0;
    double ms = 0;
    for (; i < testrun_count(r->run) && text_eq(testrun_case(r->run, i)->file, file); i++) {
        const TestResult *result = testrun_result(r->run, i);
        tests++;
        failures += result->status == TEST_FAIL;
        errors += result->status == TEST_EXCEPTION;
        skipped += result->status == TEST_NOT_RUN;
        ms += result->ms;
        junit_case(r, i, &cases);
    }
    buf_cstr(out, "  <testsuite");
    xml_attr(out, "name", file);
    buf_printf(out,
               " tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"%.6f\">\n",
               tests, failures, errors, skipped, ms / 1000);
    buf_text(out, buf_view(&cases));
    buf_cstr(out, "  </testsuite>\n");
    out->failed |= cases.failed;
    buf_deinit(&cases);
    return i;
}

void report_junit(const TestReport *r, Buf *out)
{
    buf_cstr(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    buf_printf(out, "<testsuites tests=\"%zu\" failures=\"%zu\" time=\"%.6f\">\n",
               testrun_count(r->run), report_failed(r), r->ms / 1000);
    for (size_t i = 0; i < testrun_count(r->run);)
        i = junit_suite(r, i, out);
    buf_cstr(out, "</testsuites>\n");
}
