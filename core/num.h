/* num.h - text to number and back, locale-free. Doubles print their shortest round-trip form. */
#ifndef CORE_NUM_H
#define CORE_NUM_H

#include "core/base.h"

enum { NUM_TEXT_MAX = 32 };

/** Whole text is an optional sign and digits and fits int64. */
bool num_parse_int(Text t, int64_t *out);
/** Whole text is a decimal number: sign, digits, fraction, exponent. Not inf, nan, hex. */
bool num_parse_dec(Text t, double *out);
size_t num_write_int(int64_t n, char out[NUM_TEXT_MAX]);
/** Text form of filters.md §1: shortest digits that read back the same; a whole number prints without
 * ".0"; no exponent between 1e-7 and 1e21 (as JSON.stringify writes it). NaN and infinities: "null". */
size_t num_write_dec(double d, char out[NUM_TEXT_MAX]);

#endif
