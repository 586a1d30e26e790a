/* log.c - builds a whole line and writes it with one call, so that lines of threads never mix. */
#include "host/log.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/json.h"

static const char *const level_names[] = {"error", "warning", "info", "debug"};

bool log_parse_level(Text name, LogLevel *out)
{
    for (size_t i = 0; i < COUNT_OF(level_names); i++)
        if (text_eq(name, text_from(level_names[i]))) {
            *out = (LogLevel)i;
            return true;
        }
    return false;
}

static void write_time(Buf *b)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (!gmtime_r(&ts.tv_sec, &tm))
        return;
    buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ts.tv_nsec / 1000000));
}

static void emit(Buf *line)
{
    buf_char(line, '\n');
    const char *at = line->ptr;
    size_t left = line->failed ? 0 : line->len;
    while (left) {
        ssize_t n = write(STDERR_FILENO, at, left);
        if (n <= 0)
            break; /* nobody reads the log: there is no better place to complain */
        at += n;
        left -= (size_t)n;
    }
    buf_deinit(line);
}

static void begin(Buf *line, const Log *log, LogLevel level, const char *key)
{
    if (log->json) {
        buf_cstr(line, "{\"ts\":\"");
        write_time(line);
        buf_printf(line, "\",\"level\":\"%s\",\"%s\":", level_names[level], key);
    } else {
        write_time(line);
        buf_printf(line, " %s ", level_names[level]);
    }
}

void log_line(const Log *log, LogLevel level, const char *fmt, ...)
{
    if (level > log->level)
        return;
    Buf line = BUF_INIT, text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    begin(&line, log, level, "message");
    if (log->json) {
        json_write_text(&line, buf_view(&text));
        buf_char(&line, '}');
    } else {
        for (size_t i = 0; i < text.len; i++) /* one event stays one line */
            buf_char(&line, (unsigned char)text.ptr[i] < ' ' ? ' ' : text.ptr[i]);
    }
    buf_deinit(&text);
    emit(&line);
}

void log_json(const Log *log, LogLevel level, const char *kind, Text json)
{
    if (level > log->level)
        return;
    Buf line = BUF_INIT;
    begin(&line, log, level, kind);
    if (!log->json)
        buf_printf(&line, "%s ", kind);
    buf_text(&line, json);
    if (log->json)
        buf_char(&line, '}');
    emit(&line);
}
