/* tables.c - the rows of core/lang as C structures. The argument and clause columns are parsed once
 * into static storage whose size comes from the rows themselves; nothing is allocated. */
#include "core/tables.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/text.h"

const OpInfo op_info[256] = {
#define OP(num, name, a_, b_, c_, x_, flags_, syn, doc_)                                           \
    [num] = {#name, OPND_##a_, OPND_##b_, OPND_##c_, OPND_##x_, flags_, syn, doc_},
#include "core/lang/opcodes.def"
#undef OP
};

const FastFilter fast_filters[] = {
#define FAST_FILTER(op_, name_, least_, most_) {#name_, OP_##op_, least_, most_},
#include "core/lang/fastfilters.def"
#undef FAST_FILTER
    {0},
};

const char *const sys_spelling[SYS_COUNT] = {
#define SYS(num, name, spelling, doc) [num] = spelling,
#include "core/lang/sysvars.def"
#undef SYS
};

#define EX(expr, result) expr "\t" result "\n"

typedef struct FilterRow {
    const char *name, *fn, *in, *args, *out;
    uint8_t tier, flags;
    const char *doc, *examples;
} FilterRow;

static const FilterRow filter_rows[] = {
#define FILTER(name_, fn_, in_, args_, out_, tier_, flags_, doc_, examples_)                       \
    {#name_, #fn_, #in_, args_, #out_, tier_, flags_, doc_, "" examples_},
#define ALIAS(name_, of_)
#include "core/lang/filters.def"
#undef FILTER
#undef ALIAS
    {0},
};

typedef struct AliasRow {
    const char *name, *of;
} AliasRow;

static const AliasRow filter_aliases[] = {
#define FILTER(name_, fn_, in_, args_, out_, tier_, flags_, doc_, examples_)
#define ALIAS(name_, of_) {#name_, #of_},
#include "core/lang/filters.def"
#undef FILTER
#undef ALIAS
    {0},
};

typedef struct StatementRow {
    const char *name, *op;
    OperandSpec operand;
    const char *clauses;
    ResultSpec result;
    uint8_t flags, tier;
    const char *doc;
} StatementRow;

static const StatementRow statement_rows[] = {
#define STATEMENT(name_, op_, operand_, clauses_, result_, flags_, tier_, doc_)                    \
    {name_, #op_, operand_, clauses_, result_, flags_, tier_, doc_},
#define STATEMENT_ALIAS(name_, of_)
#include "core/lang/statements.def"
#undef STATEMENT
#undef STATEMENT_ALIAS
    {0},
};

static const AliasRow statement_aliases[] = {
#define STATEMENT(name_, op_, operand_, clauses_, result_, flags_, tier_, doc_)
#define STATEMENT_ALIAS(name_, of_) {name_, of_},
#include "core/lang/statements.def"
#undef STATEMENT
#undef STATEMENT_ALIAS
    {0},
};

/* Bytes for NUL-terminated copies of argument names and defaults: a column never needs more. */
enum {
    NAME_POOL = 1
#define FILTER(name_, fn_, in_, args_, out_, tier_, flags_, doc_, examples_) +sizeof(args_)
#define ALIAS(name_, of_)
#include "core/lang/filters.def"
#undef FILTER
#undef ALIAS
};

enum {
    NFILTERS = COUNT_OF(filter_rows) - 1,
    NFILTER_ALIASES = COUNT_OF(filter_aliases) - 1,
    NFILTER_NAMES = NFILTERS + NFILTER_ALIASES,
    NSTATEMENTS = COUNT_OF(statement_rows) - 1,
    NSTATEMENT_ALIASES = COUNT_OF(statement_aliases) - 1,
    NSTATEMENT_NAMES = NSTATEMENTS + NSTATEMENT_ALIASES
};

/* A name and its row, sorted by name for bsearch. */
typedef struct Name {
    Text name;
    const void *row;
} Name;

/* Written once under pthread_once, constant afterwards. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static FilterInfo filters[NFILTERS + 1];
static StatementInfo statements[NSTATEMENTS + 1];
static Name filter_names[NFILTER_NAMES + 1], statement_names[NSTATEMENT_NAMES + 1];
static char name_pool[NAME_POOL];

/* The next blank-separated word of a column; false at its end. */
static bool next_word(Text *rest, Text *word)
{
    size_t from = 0;
    while (from < rest->len && rest->ptr[from] == ' ')
        from++;
    size_t to = from;
    while (to < rest->len && rest->ptr[to] != ' ')
        to++;
    *word = text_slice(*rest, from, to);
    *rest = text_slice(*rest, to, rest->len);
    return word->len > 0;
}

static size_t index_of(Text t, char c)
{
    const char *hit = t.len ? memchr(t.ptr, c, t.len) : NULL;
    return hit ? (size_t)(hit - t.ptr) : t.len;
}

static const char *keep(Text t, size_t *pool_at)
{
    assert(*pool_at + t.len + 1 <= sizeof name_pool);
    char *copy = name_pool + *pool_at;
    memcpy(copy, t.ptr, t.len);
    *pool_at += t.len + 1; /* the NUL is there already */
    return copy;
}

/* "search:T", "path:P?", "asc:B=true", "values:V..." */
static ArgSpec parse_arg(Text word, size_t *pool_at)
{
    size_t colon = index_of(word, ':');
    ArgSpec arg = {.name = keep(text_slice(word, 0, colon), pool_at)};
    Text rest = text_slice(word, colon + 1, word.len);
    if (rest.len)
        arg.cls = rest.ptr[0];
    rest = text_slice(rest, 1, rest.len);
    if (text_starts(rest, TEXT("..."))) {
        arg.variadic = true;
        rest = text_slice(rest, 3, rest.len);
    }
    if (text_starts(rest, TEXT("?"))) {
        arg.optional = true;
        rest = text_slice(rest, 1, rest.len);
    }
    if (text_starts(rest, TEXT("="))) {
        arg.optional = true;
        arg.def = keep(text_slice(rest, 1, rest.len), pool_at);
    }
    return arg;
}

static void parse_filter(const FilterRow *row, FilterInfo *out, size_t *pool_at)
{
    *out = (FilterInfo){.name = row->name,
                        .in = row->in[0],
                        .out = row->out[0],
                        .tier = row->tier,
                        .flags = row->flags,
                        .todo = strcmp(row->fn, "native_todo") == 0,
                        .inlined = strcmp(row->fn, "flt_inline") == 0,
                        .args_spec = row->args,
                        .doc = row->doc,
                        .examples = row->examples};
    Text rest = text_from(row->args), word;
    while (next_word(&rest, &word)) {
        assert(out->nargs < FILTER_MAX_ARGS);
        ArgSpec arg = parse_arg(word, pool_at);
        if (!arg.optional && !arg.variadic)
            out->min_args = (uint8_t)(out->nargs + 1);
        out->args[out->nargs++] = arg;
    }
}

/* "where:q", "name|alias:e*", "isolation:{a|b}+=json", "when:S..." */
static ClauseSpec parse_clause(Text word)
{
    size_t colon = index_of(word, ':');
    Text names = text_slice(word, 0, colon), rest = text_slice(word, colon + 1, word.len);
    size_t bar = index_of(names, '|'), kind = 0;
    ClauseSpec clause = {.name = text_slice(names, 0, bar),
                         .aliases = text_slice(names, bar + 1, names.len)};
    if (rest.len && (rest.ptr[0] == '{' || rest.ptr[0] == '[')) {
        kind = index_of(rest, rest.ptr[0] == '{' ? '}' : ']') + 1;
    } else {
        while (kind < rest.len && (text_is_ident(text_slice(rest, kind, kind + 1))))
            kind++;
    }
    clause.kind = text_slice(rest, 0, kind);
    rest = text_slice(rest, kind, rest.len);
    while (rest.len) {
        size_t step = 1;
        if (rest.ptr[0] == '=') {
            clause.def = text_slice(rest, 1, rest.len);
            break;
        }
        if (rest.ptr[0] == '*') {
            clause.required = true;
        } else if (rest.ptr[0] == '+') {
            clause.strict = true;
        } else if (rest.ptr[0] == '~') {
            clause.extension = true;
        } else if (text_starts(rest, TEXT("..."))) {
            clause.repeatable = true;
            step = 3;
        } else {
            assert(false && "unknown suffix in a clause column of statements.def");
        }
        rest = text_slice(rest, step, rest.len);
    }
    return clause;
}

static void parse_statement(const StatementRow *row, StatementInfo *out)
{
    *out = (StatementInfo){.name = row->name,
                           .operand = row->operand,
                           .result = row->result,
                           .flags = row->flags,
                           .tier = row->tier,
                           .todo = strcmp(row->op, "native_todo") == 0,
                           .clauses_spec = row->clauses,
                           .doc = row->doc};
    Text rest = text_from(row->clauses), word;
    while (next_word(&rest, &word)) {
        assert(out->nclauses < STATEMENT_MAX_CLAUSES);
        out->clauses[out->nclauses++] = parse_clause(word);
    }
}

static int by_name(const void *a, const void *b)
{
    return text_cmp(((const Name *)a)->name, ((const Name *)b)->name);
}

static const void *find(const Name *names, size_t count, Text name)
{
    Name key = {.name = name};
    const Name *hit = count ? bsearch(&key, names, count, sizeof *names, by_name) : NULL;
    return hit ? hit->row : NULL;
}

/* Appends the aliases behind the sorted rows, then sorts all. An alias of nothing is our mistake.
 */
static void add_aliases(Name *names, size_t rows, const AliasRow *aliases, size_t count)
{
    qsort(names, rows, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        const void *row = find(names, rows, text_from(aliases[i].of));
        names[rows + i] = (Name){text_from(aliases[i].name), row};
    }
    qsort(names, rows + count, sizeof *names, by_name);
}

static void build(void)
{
    size_t pool_at = 0;
    for (size_t i = 0; i < NFILTERS; i++) {
        parse_filter(&filter_rows[i], &filters[i], &pool_at);
        filter_names[i] = (Name){text_from(filters[i].name), &filters[i]};
    }
    add_aliases(filter_names, NFILTERS, filter_aliases, NFILTER_ALIASES);
    for (size_t i = 0; i < NSTATEMENTS; i++) {
        parse_statement(&statement_rows[i], &statements[i]);
        statement_names[i] = (Name){text_from(statements[i].name), &statements[i]};
    }
    add_aliases(statement_names, NSTATEMENTS, statement_aliases, NSTATEMENT_ALIASES);
}

void tables_init(void)
{
    pthread_once(&once, build);
}

const FilterInfo *filter_find(Text name)
{
    tables_init();
    return find(filter_names, NFILTER_NAMES, name);
}

const FilterInfo *filter_at(size_t index)
{
    tables_init();
    return index < NFILTERS ? &filters[index] : NULL;
}

const char *filter_alias_at(size_t index, const FilterInfo **of)
{
    if (index >= NFILTER_ALIASES)
        return NULL;
    *of = filter_find(text_from(filter_aliases[index].of));
    return filter_aliases[index].name;
}

/* text_nearest over a name index, without copying the names out. */
static Text nearest(const Name *names, size_t count, Text name)
{
    Text best = {0};
    for (size_t i = 0; i < count; i++) {
        Text pair[2] = {best, names[i].name};
        Text winner = text_nearest(name, pair, 2); /* the earlier wins a tie */
        if (winner.ptr)
            best = winner;
    }
    return best;
}

Text filter_nearest(Text name)
{
    tables_init();
    return nearest(filter_names, NFILTER_NAMES, name);
}

const StatementInfo *statement_find(Text name)
{
    tables_init();
    return find(statement_names, NSTATEMENT_NAMES, name);
}

const StatementInfo *statement_at(size_t index)
{
    tables_init();
    return index < NSTATEMENTS ? &statements[index] : NULL;
}

Text statement_nearest(Text name)
{
    tables_init();
    return nearest(statement_names, NSTATEMENT_NAMES, name);
}

static bool listed(Text aliases, Text name)
{
    while (aliases.len) {
        size_t bar = index_of(aliases, '|');
        if (text_eq(text_slice(aliases, 0, bar), name))
            return true;
        aliases = text_slice(aliases, bar + 1, aliases.len);
    }
    return false;
}

const ClauseSpec *statement_clause(const StatementInfo *s, Text name, uint32_t *index)
{
    for (uint32_t i = 0; s && i < s->nclauses; i++) {
        if (text_eq(s->clauses[i].name, name) || listed(s->clauses[i].aliases, name)) {
            if (index)
                *index = i;
            return &s->clauses[i];
        }
    }
    return NULL;
}
