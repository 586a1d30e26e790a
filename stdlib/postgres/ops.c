/* ops.c - db.external.postgres.direct_query: clauses to one statement with numbered parameters.
 * Specification: runtime.md §3.9. */
#include "stdlib/db/ops.h"
#include "core/text.h"
#include "stdlib/outside.h"
#include "stdlib/postgres/postgres_i.h"

/* The args as one list, owned: each clause one, or the list of the only one. */
static Value args_of(Call *c)
{
    Value arg = clause_arg(c, "arg");
    if (arg.kind == V_LIST && arg.list->len == 1 && list_at(arg.list, 0).kind == V_LIST)
        arg = list_at(arg.list, 0);
    return arg.kind == V_LIST ? val_ref(arg) : list_new(c->heap, 0);
}

static bool from_template(Call *c, Text source, Buf *sql, Value *args)
{
    Arena a;
    Sql out;
    uint32_t scope = ((const StatementInfo *)c->row)->nclauses; /* variables, input, auth */
    arena_init(&a, 0);
    sql_init(&out, &a);
    *args = list_new(c->heap, 8);
    bool ok = (args->kind != V_UNSET || fail_memory(c)) &&
              sql_template(c, &out, source, call_arg(c, scope), call_arg(c, scope + 1),
                           call_arg(c, scope + 2), args);
    if (ok)
        buf_text(sql, buf_view(&out.text));
    sql->failed = sql->failed || out.text.failed;
    sql_deinit(&out);
    arena_deinit(&a);
    return ok;
}

static bool from_params(Call *c, Text source, Buf *sql, Value *args)
{
    uint32_t wanted;
    *args = args_of(c);
    pg_number_params(source, sql, &wanted);
    if (args->kind == V_UNSET)
        return fail_memory(c);
    return val_count(*args) == wanted ||
           call_fail(c, XS_E_DATABASE, "the statement has %u parameters, %u were given", wanted,
                     val_count(*args));
}

NativeResult op_db_external_postgres(Call *c)
{
    Outside *o = call_outside(c);
    Value connection = clause_arg(c, "connection_string"), source = clause_arg(c, "sql"),
          type = clause_arg(c, "response_type"), parser = clause_arg(c, "parser"), args;
    if (!o)
        return NATIVE_ERROR;
    if (connection.kind != V_TEXT || source.kind != V_TEXT) {
        call_fail(c, XS_E_NOT_TEXT, "%s: %s is not a text", c->name,
                  source.kind != V_TEXT ? "sql" : "connection_string");
        return NATIVE_ERROR;
    }
    bool single = type.kind == V_TEXT && text_eq(val_text_view(type), TEXT("single"));
    bool template =
        parser.kind == V_TEXT && text_eq(val_text_view(parser), TEXT("template_engine"));
    Buf sql = BUF_INIT;
    bool ok = (template ? from_template : from_params)(c, val_text_view(source), &sql, &args) &&
              (!sql.failed || fail_memory(c));
    NativeResult result =
        ok ? postgres_run(c, o->postgres, val_text_view(connection), buf_view(&sql), args, single)
           : NATIVE_ERROR;
    buf_deinit(&sql);
    val_unref(c->heap, args);
    return result;
}
