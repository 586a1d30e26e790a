/* num.h - text to number and back, locale-free. Doubles print their shortest round-trip form. */
#ifndef CORE_NUM_H
#define CORE_NUM_H

#include "core/base.h"

enum { NUM_TEXT_MAX = 32 };

/** Whole text is an optional sign and digits and fits int64. */
bool num_parse_int(Text t, int64_t *out);
/** Whole text is a decimal number: sign, digits, fraction, exponent. Not inf, nan, hex; false also
 * when it is too large for a double. */
bool num_parse_dec(Text t, double *out);
size_t num_write_int(int64_t n, char out[NUM_TEXT_MAX]);
/** Text form of filters.md §1.7: shortest digits that read back the same; a whole number prints
 * without
 * ".0"; plain notation while the first digit is in 1e-4..1e16, else "1.5e-7", "1.0e+20". NaN and
 * infinities: "null". */
size_t num_write_dec(double d, char out[NUM_TEXT_MAX]);

#endif
