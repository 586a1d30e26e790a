/* regex.h - PCRE2 patterns, compiled once per thread. Limits keep a hostile pattern from running
 * away. */
#ifndef STDLIB_FILTERS_REGEX_H
#define STDLIB_FILTERS_REGEX_H

#include "core/base.h"

typedef struct Regex
    Regex; /* of the calling thread's cache; dies with the 64th other pattern after it */

/** "/…/flags" or a bare pattern. Errors: XS_E_BAD_REGEX, XS_E_NOMEM. NULL then. */
XS_MUST_CHECK Regex *regex_get(Text pattern, xs_error *err);
uint32_t regex_group_count(const Regex *r);

typedef enum RegexResult { REGEX_ERROR, REGEX_MISS, REGEX_HIT } RegexResult;
/**
 * First match at or after `from`.
 * @param after_empty  the previous match ended at `from` and was empty: want a different one there
 * or later.
 * @param ovector  pairs of offsets, 2 * (groups + 1); SIZE_MAX for an unset group; valid until the
 * next match.
 */
RegexResult regex_match(Regex *r, Text subject, size_t from, bool after_empty,
                        const size_t **ovector, xs_error *err);
/** Whether the text has delimiters and known flags behind them. */
bool regex_delimited(Text t);

#endif
