/* linediff.h - what differs between two texts, line by line, for people. */
#ifndef CORE_LINEDIFF_H
#define CORE_LINEDIFF_H

#include "core/buf.h"

/**
 * Append the difference: "- line" only in a, "+ line" only in b, "  line" in both. Lines in both
 * are shown next to a difference only, "  …" stands for others. Texts with thousands of different
 * lines are listed one after the other. Every line begins with `prefix`.
 */
void line_diff(Text a, Text b, const char *prefix, bool colour, Buf *out);

#endif
