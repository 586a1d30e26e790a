/* exchange.h - what the HTTP-carried transports share: error bodies and position tokens. */
#ifndef TRANSPORTS_COMMON_EXCHANGE_H
#define TRANSPORTS_COMMON_EXCHANGE_H

#include "transports/common/wire.h"

/** Answer {"code","message"}; retry_after in seconds, 0 = no such header. */
static inline void reply_json(const xs_host *host, xs_http *x, int status, const char *message,
                              uint32_t retry_after)
{
    static const struct {
        int status;
        const char *code;
    } codes[] = {
        {400, "bad_request"}, {401, "unauthorized"},       {403, "forbidden"},
        {404, "not_found"},   {405, "method_not_allowed"}, {429, "rate_limited"},
    };
    const char *code = "unavailable";
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].status == status)
            code = codes[i].code;
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", retry_after);
    const xs_header headers[] = {{"Content-Type", "application/json"}, {"Retry-After", seconds}};
    Out body = {0};
    out_printf(&body, "{\"code\":\"%s\",\"message\":", code);
    out_json(&body, str_from(message));
    out_text(&body, "}");
    host->http->reply(x, status, headers, retry_after ? 2 : 1,
                      body.failed ? (xs_str){"", 0} : (xs_str){body.ptr, body.len});
    free(body.ptr);
}

/** Digits of a base from *at on; false: none, or more than fit. */
static inline bool parse_digits(xs_str s, size_t *at, unsigned base, uint64_t *out)
{
    uint64_t n = 0;
    size_t from = *at;
    for (; *at < s.len; ++*at) {
        char c = s.ptr[*at];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digit >= base)
            break;
        if (n > (UINT64_MAX - digit) / base)
            return false;
        n = n * base + digit;
    }
    *out = n;
    return *at > from;
}

/** "<epoch, hex>.<seq>[.<m>[.<the host's>]]"; m is 0 when absent; NULL: "<epoch, hex>.<seq>". */
static inline bool parse_position(xs_str s, uint64_t *epoch, uint64_t *seq, uint64_t *m)
{
    size_t at = 0;
    if (m)
        *m = 0;
    if (!parse_digits(s, &at, 16, epoch) || at != 16 || at == s.len || s.ptr[at++] != '.' ||
        !parse_digits(s, &at, 10, seq))
        return false;
    if (m && at < s.len && s.ptr[at] == '.') {
        at++;
        uint64_t hosts;
        if (!parse_digits(s, &at, 10, m))
            return false;
        if (at < s.len && s.ptr[at] == '.' && (at++, !parse_digits(s, &at, 10, &hosts)))
            return false;
    }
    return at == s.len;
}

#endif
