/* cmd_eval.c - xs eval: one expression, or a file of expressions with expected results. */
#include "cli/cli.h"

#include <math.h>

#include <sodium.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/text.h"
#include "stdlib/registry.h"

typedef struct Outcome {
    bool ok;
    const char *symbol; /* of the error */
    Text json;          /* in the arena */
    xs_error err;
} Outcome;

static int64_t now_ms(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

static bool random_bytes(void *ctx, void *out, size_t n)
{
    (void)ctx;
    randombytes_buf(out, n);
    return true;
}

static const Services optimised = {
    .now_ms = now_ms, .random = random_bytes, .compile_expr = cli_compile_expr};
static const Services plain = {
    .now_ms = now_ms, .random = random_bytes, .compile_expr = cli_compile_expr_no_opt};

static bool outcome_error(Outcome *o, const xs_error *err)
{
    o->ok = false;
    o->err = *err;
    o->symbol = xs_code_get(err->code)->symbol;
    return false;
}

static bool run_image(Arena *arena, const Services *services, const BundleImage *image, Outcome *o)
{
    xs_error err = {0};
    Program *p = program_load(image, &stdlib_natives, &err);
    if (!p)
        return outcome_error(o, &err);
    static const RunContext run = {0};
    Fiber *f = fiber_new(p, services, &run, &limits_default);
    if (!f)
        xs_fail(&err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    o->ok = f && fiber_call(f, 0, val_null(), &err);
    if (!o->ok) {
        outcome_error(o, &err);
    } else if (fiber_run(f) == FIBER_DONE) {
        Buf out = BUF_INIT;
        val_write_json(fiber_result(f), &out);
        o->json = arena_text(arena, buf_view(&out));
        buf_deinit(&out);
    } else {
        outcome_error(o, fiber_error(f, NULL, NULL));
    }
    fiber_free(f);
    program_unref(p);
    return o->ok;
}

static bool evaluate(Arena *arena, const Services *services, Text source, Outcome *o)
{
    BundleImage image;
    xs_error err = {0};
    *o = (Outcome){0};
    if (!services->compile_expr(NULL, arena, source, false, &image, &err))
        return outcome_error(o, &err);
    return run_image(arena, services, &image, o);
}

static bool number_equal(double a, double b)
{
    double scale = fmax(1.0, fmax(fabs(a), fabs(b)));
    return fabs(a - b) <= 1e-9 * scale;
}

static bool json_equal(const Const *a, const Const *b)
{
    bool numbers = (a->kind == C_INT || a->kind == C_DEC) && (b->kind == C_INT || b->kind == C_DEC);
    if (numbers && a->kind == C_INT && b->kind == C_INT)
        return a->i == b->i;
    if (numbers)
        return number_equal(const_dec_of(a, 0), const_dec_of(b, 0));
    if (a->kind != b->kind)
        return false;
    if (a->kind != C_LIST && a->kind != C_MAP)
        return const_equal(a, b);
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const Const *left = a->kind == C_LIST ? a->items[i] : a->pairs[i].value;
        const Const *right = a->kind == C_LIST ? b->items[i] : const_find(b, a->pairs[i].key);
        if (!right || !json_equal(left, right))
            return false;
    }
    return true;
}

static bool expectation_met(Arena *arena, Text expected, const Outcome *o)
{
    if (text_starts(expected, TEXT("error:"))) {
        Text name = text_slice(expected, 6, expected.len);
        return !o->ok && text_eq(name, text_from(o->symbol));
    }
    if (!o->ok)
        return false;
    const Const *want = json_parse(arena, expected, NULL);
    const Const *got = json_parse(arena, o->json, NULL);
    return want && got && json_equal(want, got);
}

static void print_row_failure(const char *path, size_t line, Text source, Text expected,
                              const Outcome *o)
{
    printf("%s:%zu: " TEXT_FMT "\n    expected " TEXT_FMT "\n", path, line, TEXT_ARG(source),
           TEXT_ARG(expected));
    if (o->ok)
        printf("    found    " TEXT_FMT "\n", TEXT_ARG(o->json));
    else
        printf("    found    error:%s (%s)\n", o->symbol, o->err.message);
}

static int eval_tsv(const char *path, const Services *services)
{
    Arena arena;
    arena_init(&arena, 0);
    xs_error err;
    Text file;
    if (!cli_read_file(&arena, path, &file, &err)) {
        arena_deinit(&arena);
        return cli_error(&err);
    }
    size_t line = 0, rows = 0, failed = 0;
    for (size_t at = 0; at < file.len;) {
        size_t end = text_find(file, TEXT("\n"), at);
        end = end == SIZE_MAX ? file.len : end;
        Text row = text_slice(file, at, end);
        at = end + 1;
        line++;
        size_t tab = text_find(row, TEXT("\t"), 0);
        if (row.len == 0 || row.ptr[0] == '#' || tab == SIZE_MAX)
            continue;
        Arena scratch;
        arena_init(&scratch, 0);
        Text source = text_slice(row, 0, tab), expected = text_slice(row, tab + 1, row.len);
        Outcome o;
        evaluate(&scratch, services, source, &o);
        rows++;
        if (!expectation_met(&scratch, expected, &o)) {
            failed++;
            print_row_failure(path, line, source, expected, &o);
        }
        arena_deinit(&scratch);
    }
    printf("%s: %zu rows, %zu passed, %zu failed\n", path, rows, rows - failed, failed);
    arena_deinit(&arena);
    return failed || !rows ? EXIT_PROBLEM : EXIT_OK;
}

static int eval_one(const char *source, const Services *services)
{
    Arena arena;
    arena_init(&arena, 0);
    Outcome o;
    if (evaluate(&arena, services, text_from(source), &o))
        printf(TEXT_FMT "\n", TEXT_ARG(o.json));
    else
        fprintf(stderr, "error:%s: %s\n", o.symbol, o.err.message);
    arena_deinit(&arena);
    return o.ok ? EXIT_OK : EXIT_PROBLEM;
}

int cmd_eval(int argc, char **argv)
{
    const char *tsv = NULL;
    bool no_opt = false;
    const CliOption options[] = {
        {"--tsv", "FILE",
         "rows of expression TAB expected JSON or error:NAME; prints failures and counts", NULL,
         &tsv},
        CLI_NO_OPT(&no_opt),
        {0},
    };
    int done = cli_options(&argc, argv, "eval EXPR | --tsv FILE",
                           "Evaluates an expression and prints its value as JSON.", options);
    if (done >= 0)
        return done;
    const Services *services = no_opt ? &plain : &optimised;
    if (sodium_init() < 0)
        return cli_usage("eval", "no source of random numbers");
    if (tsv)
        return argc > 1 ? cli_usage("eval", "--tsv takes no EXPR") : eval_tsv(tsv, services);
    if (argc != 2)
        return cli_usage("eval", argc < 2 ? "give an expression" : "give one expression; quote it");
    return eval_one(argv[1], services);
}
