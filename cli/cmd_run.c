/* cmd_run.c - xs run: a job or one function, its response as one line of JSON. A service is served.
 */
#include "cli/cli.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/diag.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "core/vec.h"
#include "host/run.h"

extern char **environ;

typedef VEC(char *) Env;

typedef struct RunArgs {
    const char *function, *job, *input, *auth;
    bool no_opt, trace, timing;
    Env env; /* the process environment, then --env, NULL-terminated */
} RunArgs;

/* ---- tracing ---- */

typedef struct Trace {
    const Program *program;
    const SourceFile *sources; /* NULL for a bundle */
    double start;
    uint32_t proc, line, pc; /* of the statement told last */
} Trace;

static double seconds(void)
{
    return (double)clock_mono_us() / 1e6;
}

/* The first instruction of a line, and again when a loop or a call comes back to it. */
static void on_step(void *ctx, uint32_t proc, uint32_t pc, uint32_t depth)
{
    Trace *t = (Trace *)ctx;
    uint32_t entry;
    if (!program_place(t->program, proc, pc, &entry))
        return;
    const ProcImage *p = program_proc(t->program, proc);
    const LineImage *l = &p->lines[entry];
    bool again = pc <= t->pc && pc == l->pc;
    bool same = proc == t->proc && l->line == t->line && !again;
    t->pc = pc;
    if (same || (proc == t->proc && l->line == t->line && pc != l->pc))
        return;
    t->proc = proc;
    t->line = l->line;
    Text source = t->sources ? cli_source_text(&t->sources, p->file.ptr) : (Text){0};
    Text line = text_trim(source.ptr ? diag_line(source, l->line) : (Text){"", 0}, TEXT(" \t"));
    fprintf(stderr, "%10.3f ms %*s" TEXT_FMT ":%u  " TEXT_FMT "\n", (seconds() - t->start) * 1000,
            (int)(depth > 20 ? 40 : 2 * (depth - 1)), "", TEXT_ARG(p->file), l->line,
            TEXT_ARG(line));
}

/* ---- results ---- */

static void print_problem(const xs_error *err, const Buf *problem)
{
    if (!problem->len) {
        cli_error(err);
        return;
    }
    if (err->pos.file && err->pos.line)
        fprintf(stderr, "%s:%u:%u: %s\n", err->pos.file, err->pos.line, err->pos.col, err->message);
    fprintf(stderr, TEXT_FMT "\n", TEXT_ARG(buf_view(problem)));
}

static void print_times(const Const *job, const RunTimes *t, Text response)
{
    Buf out = BUF_INIT;
    buf_cstr(&out, "{\"job\":");
    json_write_text(&out, const_get_text(job, "name"));
    buf_printf(&out,
               ",\"response\":" TEXT_FMT
               ",\"total_time\":%.6f,\"boot_time\":%.6f,\"pre_time\":%.6f,"
               "\"main_time\":%.6f,\"post_time\":%.6f}\n",
               TEXT_ARG(response), t->total_s, t->boot_s, t->pre_s, t->main_s, t->post_s);
    fwrite(out.ptr, 1, out.len, stdout);
    buf_deinit(&out);
}

static bool call(Program *p, const RunArgs *args, const RunOptions *options, Text function,
                 const Const *job, const Const *input, xs_error *err)
{
    Buf out = BUF_INIT, problem = BUF_INIT;
    RunTimes times;
    *err = (xs_error){0};
    bool ok = job ? run_job(p, options, job, input, &times, &out, &problem, err)
                  : run_function(p, options, function, input, &out, &problem, err);
    if (!ok)
        print_problem(err, &problem);
    else if (job && args->timing)
        print_times(job, &times, buf_view(&out));
    else
        printf(TEXT_FMT "\n", TEXT_ARG(buf_view(&out)));
    buf_deinit(&out);
    buf_deinit(&problem);
    return ok;
}

static int run(Program *p, Arena *arena, const Config *config, const RunArgs *args,
               const SourceFile *sources, Text function, const Const *job)
{
    xs_error err;
    Trace trace = {p, sources, seconds(), UINT32_MAX, 0, 0};
    RunOptions options = {.config = config,
                          .compile_expr = args->no_opt ? cli_compile_expr_no_opt : cli_compile_expr,
                          .env = args->env.ptr,
                          .trace = args->trace ? on_step : NULL,
                          .trace_ctx = &trace};
    if (args->auth && !(options.auth = json_parse(arena, text_from(args->auth), &err)))
        return cli_usage("run", "--auth: %s", err.message);
    Text json = text_from(args->input ? args->input : "");
    if (args->input && args->input[0] == '@' && !cli_read_file(arena, args->input + 1, &json, &err))
        return cli_error(&err);
    const Const *input = json.len ? json_parse(arena, json, &err) : NULL;
    if (json.len && (!input || input->kind != C_MAP))
        return cli_usage("run", "--input: %s", input ? "it must be a JSON object" : err.message);
    if (call(p, args, &options, function, job, input, &err))
        return EXIT_OK;
    return job && err.code == XS_E_CONFIG ? EXIT_USAGE : EXIT_PROBLEM;
}

/* ---- what to run ---- */

/* The only function of a program may be left unnamed. */
static Text only_function(const Program *p)
{
    Text only = {0};
    for (uint32_t i = 0; i < program_proc_count(p); i++) {
        const ProcImage *proc = program_proc(p, i);
        if (proc->kind != PROC_FUNCTION)
            continue;
        if (only.ptr && !text_eq(only, proc->name))
            return (Text){0};
        only = proc->name;
    }
    return only;
}

/* The job of that name or of that file, or the only one; NULL when there is none. */
static const Const *find_job(const Const *jobs, const char *name, const char *file)
{
    const Const *found = NULL;
    for (uint32_t i = 0; jobs && jobs->kind == C_LIST && i < jobs->count; i++) {
        const Const *job = jobs->items[i];
        if (name   ? text_eq(const_get_text(job, "name"), text_from(name))
            : file ? text_eq(const_get_text(job, "file"), text_from(file))
                   : jobs->count == 1)
            found = job;
    }
    return found;
}

static int choose_job(const Const *jobs, const char *name)
{
    Text names[64];
    size_t count = 0;
    for (uint32_t i = 0; i < jobs->count && count < COUNT_OF(names); i++)
        names[count++] = const_get_text(jobs->items[i], "name");
    if (name)
        return cli_unknown("job", text_from(name), names, count);
    return cli_usage("run", "there are %zu jobs; choose one with --job '" TEXT_FMT "' or another",
                     count, TEXT_ARG(names[0]));
}

static int run_program(Program *p, Arena *arena, const Config *config, const RunArgs *args,
                       const SourceFile *sources, const char *job_file)
{
    const Const *jobs = const_get(program_meta(p), "jobs");
    const Const *job = args->function ? NULL : find_job(jobs, args->job, job_file);
    if (job && const_bool_of(const_get(job, "service"), false))
        return cli_serve(p, config, args->env.ptr);
    if (job)
        return run(p, arena, config, args, sources, (Text){0}, job);
    if (!args->function && jobs && jobs->count)
        return choose_job(jobs, args->job);
    if (args->job)
        return cli_usage("run", "the program has no jobs");
    Text name = args->function ? text_from(args->function) : only_function(p);
    if (!name.ptr)
        return cli_usage("run", "name the function with --function NAME");
    return program_find(p, PROC_FUNCTION, name) == UINT32_MAX
               ? cli_unknown_proc(p, PROC_FUNCTION, "function", name)
               : run(p, arena, config, args, sources, name, NULL);
}

/* ---- loading ---- */

/* A file that begins with a job stands for its folder: the job needs what lies beside it. */
static bool is_job_file(Arena *a, const char *path)
{
    Text text, line;
    xs_error err;
    if (!text_ends(text_from(path), TEXT(".xs")) || !cli_read_file(a, path, &text, &err))
        return false;
    for (uint32_t n = 1; n < 1000; n++) {
        line = text_trim(diag_line(text, n), TEXT(" \t\r"));
        if (line.len && !text_starts(line, TEXT("//")))
            break;
    }
    return text_starts(line, TEXT("run.job")) || text_starts(line, TEXT("run.service"));
}

static char *folder_of(Arena *a, char *path)
{
    char *slash = strrchr(path, '/');
    static char here[] = ".";
    Text t = slash ? arena_text(a, (Text){path, (size_t)(slash - path)}) : TEXT("");
    static char root[] = "/";
    char *copy = slash && t.len ? arena_alloc(a, t.len + 1) : NULL;
    if (copy)
        memcpy(copy, t.ptr, t.len);
    return !slash ? here : copy ? copy : root;
}

static int load_and_run(const Config *config, char **paths, int count, const RunArgs *args)
{
    Arena arena;
    arena_init(&arena, 0);
    const char *job_file = NULL;
    char *folder[1];
    BundleImage image;
    SourceFile *sources = NULL;
    const CompileOptions how = {.no_opt = args->no_opt};
    if (count == 1 && !args->function && is_job_file(&arena, paths[0])) {
        job_file = paths[0];
        folder[0] = folder_of(&arena, paths[0]);
        paths = folder;
        if (!strchr(job_file, '/')) {
            Text full = arena_printf(&arena, "./%s", job_file);
            job_file = full.ptr;
        }
    }
    bool bundle = text_ends(text_from(paths[0]), TEXT(".xsb"));
    bool ok = bundle ? cli_load_image(&arena, paths, count, args->no_opt, &image)
                     : cli_compile(&arena, paths, count, &how, &sources, &image);
    Program *p = ok ? cli_bind(&image) : NULL;
    int code = p ? run_program(p, &arena, config, args, sources, job_file) : EXIT_PROBLEM;
    program_unref(p);
    arena_deinit(&arena);
    return code;
}

/* ---- arguments ---- */

/* Take every --env NAME=value out of argv. NULL, or what is wrong. */
static const char *take_env(int *argc, char **argv, Env *env)
{
    int kept = 1;
    bool ok = true;
    for (char **e = environ; e && *e && ok; e++)
        ok = VEC_PUSH(env, *e);
    for (int i = 1; i < *argc; i++) {
        bool joined = strncmp(argv[i], "--env=", 6) == 0;
        if (!joined && strcmp(argv[i], "--env") != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        char *pair = joined ? argv[i] + 6 : ++i < *argc ? argv[i] : NULL;
        if (!pair || !strchr(pair, '=') || *pair == '=')
            return "--env: expected NAME=value";
        ok = ok && VEC_PUSH(env, pair);
    }
    *argc = kept;
    argv[kept] = NULL;
    ok = ok && VEC_PUSH(env, NULL);
    return ok ? NULL : "out of memory";
}

int cmd_run(int argc, char **argv)
{
    RunArgs args = {0};
    const char *unused = NULL;
    const CliOption options[] = {
        {"--function", "NAME", "the function to call; not needed when there is only one", NULL,
         &args.function},
        {"--job", "NAME", "the job to run; not needed when there is only one", NULL, &args.job},
        {"--input", "JSON", "the input object, or @FILE (@- reads stdin)", NULL, &args.input},
        {"--auth", "JSON", "$auth, such as {\"id\": 1}", NULL, &args.auth},
        {"--env", "NAME=VALUE", "a value of $env; may be given again", NULL, &unused},
        {"--trace", NULL, "tell every statement, its place and time on stderr", &args.trace, NULL},
        {"--timing", NULL, "print a job's response together with its times in seconds",
         &args.timing, NULL},
        CLI_NO_OPT(&args.no_opt),
        {0},
    };
    static const char *const others[] = {"--function", "--job",    "--input", "--auth", "--trace",
                                         "--timing",   "--no-opt", "--help",  "-h",     NULL};
    Config config;
    xs_error err;
    const char *wrong = take_env(&argc, argv, &args.env);
    if (wrong || !config_init(&config, &err)) {
        VEC_DEINIT(&args.env);
        return wrong ? cli_usage("run", "%s", wrong) : cli_error(&err);
    }
    int code;
    if (!config_load(&config, &argc, argv, others, environ, &err)) {
        code = cli_usage("run", "%s", err.message);
    } else {
        code = cli_options(
            &argc, argv, "run [OPTIONS] PATH...",
            "Runs the job of a program (run.job), or one of its functions, and prints its response "
            "as one\nline of JSON. An error of the program goes to stderr as "
            "{\"code\",\"message\",\"payload\"}. The file\nof a job stands for its folder. A "
            "run.service is served until a signal ends it. Options of\nxs serve (--db, --steps …) "
            "apply; without --db the tables live in memory. Exit codes: 0 ok,\n1 the program "
            "failed, 2 wrong usage or a missing environment value of the job.",
            options);
        if (code < 0)
            code = argc < 2 ? cli_usage("run", "name the program: a folder, a file or a bundle")
                            : load_and_run(&config, argv + 1, argc - 1, &args);
    }
    config_deinit(&config);
    VEC_DEINIT(&args.env);
    return code;
}
