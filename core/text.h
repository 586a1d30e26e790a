/* text.h - UTF-8 and byte-string helpers. No allocation. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include "core/base.h"

/** First byte offset that is not valid UTF-8, or t.len when all of it is. */
size_t utf8_valid_len(Text t);
static inline bool utf8_valid(Text t)
{
    return utf8_valid_len(t) == t.len;
}
/** Code points in valid UTF-8. */
size_t utf8_count(Text t);
/** Offset behind n more characters from offset `from`, at most the length. */
size_t text_skip(Text t, size_t from, uint64_t n);
/** Byte offset of code point number `index` (clamped to t.len). */
size_t utf8_offset(Text t, size_t index);
/** Decode one code point at *at and advance; 0xFFFD and one byte on a bad sequence. */
uint32_t utf8_next(Text t, size_t *at);
/** Encode; returns 1..4, or 0 for a surrogate or a value past 0x10FFFF. */
size_t utf8_encode(uint32_t cp, char out[4]);

int text_cmp(Text a, Text b); /* bytewise: <0, 0, >0 */
bool text_starts(Text t, Text prefix);
bool text_ends(Text t, Text suffix);
/** Byte offset of needle at or after `from`, or SIZE_MAX. */
size_t text_find(Text t, Text needle, size_t from);
Text text_slice(Text t, size_t from, size_t to); /* clamped */
/** Strip bytes contained in `chars` from both ends. */
Text text_trim(Text t, Text chars);
/** The next of a list with commas, without the blanks around it; *rest becomes what follows. */
Text text_next(Text *rest);
bool text_is_ident(Text t); /* [A-Za-z_][A-Za-z0-9_]* */
/** Wildcard match of a channel pattern: literal, or literal ending in one `*` (one or more bytes).
 */
bool text_match_pattern(Text pattern, Text name);
/** Damerau-Levenshtein distance, at most `max`; max + 1 when larger. */
unsigned text_distance(Text a, Text b, unsigned max);
/** Nearest of names within a distance that suggests a typo; ptr NULL when none is close. */
Text text_nearest(Text name, const Text *names, size_t count);
/** The same in every process: for what is compared with an earlier run. */
uint64_t text_hash(Text t);
/** Keyed anew in every process: for tables whose keys a client may choose. Never 0. */
uint64_t text_hash_keyed(Text t);

#endif
