/* error.c - the error type's two functions: fill one, look a code up in errors.def. */
#include "core/base.h"

#include <stdarg.h>
#include <stdio.h>

bool xs_fail(xs_error *err, xs_code code, xs_pos pos, const char *fmt, ...)
{
    if (!err)
        return false;
    /* Formatted aside first: the arguments may point into err->message. */
    char message[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (n < 0)
        message[0] = '\0';
    if (n >= (int)sizeof message) { /* do not leave half a code point at the cut */
        size_t cut = sizeof message - 1;
        while (cut > 0 && ((unsigned char)message[cut - 1] & 0xC0) == 0x80)
            cut--;
        unsigned char lead = cut ? (unsigned char)message[cut - 1] : 0;
        size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
        if (cut && cut - 1 + need > sizeof message - 1)
            message[cut - 1] = '\0';
    }
    err->code = code;
    err->pos = pos;
    memcpy(err->message, message, sizeof message);
    return false;
}

const xs_code_info *xs_code_get(xs_code code)
{
    static const xs_code_info ok = {"OK", "ok", 200, "OK", ""};
    switch (code) {
    case XS_OK: return &ok;
#define ERR(name, number, symbol, status, wire, text)                                              \
    case XS_E_##name: {                                                                            \
        static const xs_code_info info = {#name, symbol, status, wire, text};                      \
        return &info;                                                                              \
    }
#include "core/lang/errors.def"
#undef ERR
    }
    return xs_code_get(XS_E_BUG);
}
