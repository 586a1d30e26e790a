/* stmttrace.c - entries are written as they come; the list is bounded in number and in bytes. */
#include "host/stmttrace.h"

#include "core/clock.h"
#include "core/json.h"
#include "core/text.h"

enum { TRACE_BYTES = 256 << 10, MESSAGE_BYTES = 200 };

static void close_entry(StmtTrace *t, Text error)
{
    buf_printf(&t->json, ",\"ms\":%.3f", (double)(clock_mono_us() - t->began_us) / 1000);
    if (error.ptr) {
        buf_cstr(&t->json, ",\"error\":");
        json_write_text(&t->json, text_slice(error, 0, MESSAGE_BYTES));
    }
    buf_char(&t->json, '}');
    t->open = false;
}

/* "function total:12" as its two parts. */
static void write_place(StmtTrace *t, const Fiber *f)
{
    Buf place = BUF_INIT;
    fiber_write_place(f, &place);
    size_t colon = place.len;
    while (colon && place.ptr[colon - 1] != ':')
        colon--;
    if (colon) {
        buf_cstr(&t->json, ",\"in\":");
        json_write_text(&t->json, text_slice(buf_view(&place), 0, colon - 1));
        buf_cstr(&t->json, ",\"line\":");
        buf_text(&t->json, text_slice(buf_view(&place), colon, place.len));
    }
    buf_deinit(&place);
}

static void begin(void *ctx, const Fiber *f, const char *name)
{
    StmtTrace *t = ctx;
    if (t->count >= t->max || t->json.len > TRACE_BYTES || t->json.failed)
        return;
    if (t->open)
        close_entry(t, (Text){0});
    buf_printf(&t->json, "%c{\"n\":%u,\"stmt\":\"%s\"", t->count ? ',' : '[', t->count + 1, name);
    write_place(t, f);
    t->count++;
    t->open = true;
    t->began_us = clock_mono_us();
}

static void end(void *ctx, const xs_error *err)
{
    StmtTrace *t = ctx;
    if (t->open)
        close_entry(t, err ? text_from(err->message) : (Text){0});
}

void stmttrace_init(StmtTrace *t, uint32_t max)
{
    *t = (StmtTrace){.watch = {t, begin, end}, .json = BUF_INIT, .max = max};
}

void stmttrace_deinit(StmtTrace *t)
{
    buf_deinit(&t->json);
}

Text stmttrace_end(StmtTrace *t)
{
    if (t->open)
        close_entry(t, TEXT("not finished"));
    if (!t->count)
        buf_char(&t->json, '[');
    buf_char(&t->json, ']');
    t->max = 0;
    return t->json.failed ? (Text){0} : buf_view(&t->json);
}
