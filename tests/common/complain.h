/* complain.h - for test programs: what is wrong goes to stderr and is counted. */
#ifndef TESTS_COMMON_COMPLAIN_H
#define TESTS_COMMON_COMPLAIN_H

#include <stdarg.h>
#include <stdio.h>

static int failures;

static inline void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void complain(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    failures++;
}

#endif
