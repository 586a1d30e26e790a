/* registry.c - finds the C function of a filter or statement by its name, from the rows of the
 * tables. Constant after tables_init; any thread. */
#include "stdlib/registry.h"

#include "core/tables.h"
#include "stdlib/bind.h"
#include "stdlib/natives.h"

typedef struct FilterEntry {
    const char *name;
    FilterFn fn;
} FilterEntry;

typedef struct StatementEntry {
    const char *name;
    StatementFn fn;
} StatementEntry;

/* Looked up once per import, when a program is loaded. */
#define native_todo flt_todo
static const FilterEntry filters[] = {
#define EX(expr, result)
#define FILTER(name, fn, in, args, out, tier, flags, doc, examples) {#name, fn},
#define ALIAS(name, of)
#include "core/lang/filters.def"
#undef FILTER
#undef ALIAS
#undef EX
};
#undef native_todo

#define native_todo op_todo
static const StatementEntry statements[] = {
#define STATEMENT(name, op, operand, clauses, result, flags, tier, doc) {name, op},
#define STATEMENT_ALIAS(name, of)
#include "core/lang/statements.def"
#undef STATEMENT
#undef STATEMENT_ALIAS
};
#undef native_todo

static bool fail_todo(Call *c)
{
    return call_fail(c, XS_E_UNSUPPORTED, "'%s' is not supported by this engine", c->name);
}

bool flt_todo(Call *c)
{
    return fail_todo(c);
}

NativeResult op_todo(Call *c)
{
    fail_todo(c);
    return NATIVE_ERROR;
}

/* Rows the front end compiles itself: a call means a bundle from elsewhere. */
bool flt_inline(Call *c)
{
    return call_fail(c, XS_E_BUG, "'%s' is compiled in place and cannot be called", c->name);
}

NativeResult op_inline(Call *c)
{
    call_fail(c, XS_E_BUG, "'%s' is compiled in place and cannot be called", c->name);
    return NATIVE_ERROR;
}

static FilterFn find_filter(Text name, const void **row)
{
    const FilterInfo *info = filter_find(name);
    if (!info)
        return NULL;
    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        if (strcmp(filters[i].name, info->name) == 0) {
            *row = info;
            return filters[i].fn;
        }
    }
    return NULL;
}

static StatementFn find_statement(Text name, const void **row)
{
    const StatementInfo *info = statement_find(name);
    if (!info)
        return NULL;
    for (size_t i = 0; i < COUNT_OF(statements); i++) {
        if (strcmp(statements[i].name, info->name) == 0) {
            *row = info;
            return statements[i].fn;
        }
    }
    return NULL;
}

const NativeTable stdlib_natives = {
    .filter = find_filter,
    .statement = find_statement,
    .bind = bind_inputs,
    .bind_passes = bind_passes,
};
