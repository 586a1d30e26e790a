/* cmd_run.c - xs run: one function, its response as one line of JSON. */
#include "cli/cli.h"

#include "core/json.h"
#include "core/text.h"
#include "host/run.h"

extern char **environ;

typedef struct RunArgs {
    const char *function, *input, *auth;
    bool no_opt;
} RunArgs;

/* The only function of a program may be left unnamed. */
static Text pick_function(const Program *p, const char *name)
{
    if (name)
        return text_from(name);
    Text only = {0};
    for (uint32_t i = 0; i < program_proc_count(p); i++) {
        const ProcImage *proc = program_proc(p, i);
        if (proc->kind != PROC_FUNCTION)
            continue;
        if (only.ptr)
            return (Text){0};
        only = proc->name;
    }
    return only;
}

static void report_unknown(const Program *p, Text name)
{
    Text names[512];
    size_t count = 0;
    for (uint32_t i = 0; i < program_proc_count(p) && count < COUNT_OF(names); i++)
        if (program_proc(p, i)->kind == PROC_FUNCTION)
            names[count++] = program_proc(p, i)->name;
    Text near = text_nearest(name, names, count);
    if (!near.ptr && count == 1)
        near = names[0];
    fprintf(stderr, "xs: there is no function '" TEXT_FMT "'", TEXT_ARG(name));
    if (near.ptr)
        fprintf(stderr, "; did you mean '" TEXT_FMT "'?", TEXT_ARG(near));
    fputc('\n', stderr);
}

static int run(Program *p, Arena *arena, const Config *config, const RunArgs *args)
{
    Text name = pick_function(p, args->function);
    if (!name.ptr)
        return cli_usage("run", "name the function with --function NAME");
    if (program_find(p, PROC_FUNCTION, name) == UINT32_MAX) {
        report_unknown(p, name);
        return EXIT_PROBLEM;
    }
    xs_error err;
    RunOptions options = {.config = config, .compile_expr = cli_compile_expr, .env = environ};
    if (args->auth && !(options.auth = json_parse(arena, text_from(args->auth), &err))) {
        fprintf(stderr, "xs: --auth: %s\n", err.message);
        return EXIT_PROBLEM;
    }
    Text input = text_from(args->input ? args->input : "");
    if (args->input && args->input[0] == '@' &&
        !cli_read_file(arena, args->input + 1, &input, &err))
        return cli_error(&err);
    Buf out = BUF_INIT, problem = BUF_INIT;
    bool ok = run_function(p, &options, name, input, &out, &problem, &err);
    if (ok) {
        printf(TEXT_FMT "\n", TEXT_ARG(buf_view(&out)));
    } else if (problem.len) {
        if (err.pos.file && err.pos.line)
            fprintf(stderr, "%s:%u:%u: %s\n", err.pos.file, err.pos.line, err.pos.col, err.message);
        fprintf(stderr, TEXT_FMT "\n", TEXT_ARG(buf_view(&problem)));
    } else {
        cli_error(&err);
    }
    buf_deinit(&out);
    buf_deinit(&problem);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}

static int load_and_run(const Config *config, char *const *paths, int count, const RunArgs *args)
{
    Arena arena;
    arena_init(&arena, 0);
    Program *p = cli_load_program(&arena, paths, count, args->no_opt);
    int code = EXIT_PROBLEM;
    if (p) {
        code = run(p, &arena, config, args);
        program_unref(p);
    }
    arena_deinit(&arena);
    return code;
}

int cmd_run(int argc, char **argv)
{
    RunArgs args = {0};
    const CliOption options[] = {
        {"--function", "NAME", "the function to call; not needed when there is only one", NULL,
         &args.function},
        {"--input", "JSON", "its input object, or @FILE (@- reads stdin)", NULL, &args.input},
        {"--auth", "JSON", "$auth, such as {\"id\": 1}", NULL, &args.auth},
        CLI_NO_OPT(&args.no_opt),
        {0},
    };
    static const char *const others[] = {"--function", "--input", "--auth", "--no-opt",
                                         "--help",     "-h",      NULL};
    Config config;
    xs_error err;
    if (!config_init(&config, &err))
        return cli_error(&err);
    int code;
    if (!config_load(&config, &argc, argv, others, environ, &err)) {
        code = cli_usage("run", "%s", err.message);
    } else {
        code = cli_options(&argc, argv, "run [OPTIONS] PATH... --function NAME [--input JSON]",
                           "Runs one function and prints its response as one line of JSON. An "
                           "error of the program goes\n"
                           "to stderr as {\"code\",\"message\",\"payload\"}. Options of xs serve "
                           "(--db, --steps …) apply;\n"
                           "without --db the tables live in memory.",
                           options);
        if (code < 0)
            code = argc < 2 ? cli_usage("run", "name the program: a folder, a file or a bundle")
                            : load_and_run(&config, argv + 1, argc - 1, &args);
    }
    config_deinit(&config);
    return code;
}
