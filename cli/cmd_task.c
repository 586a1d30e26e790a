/* cmd_task.c - xs task: what is scheduled, and one task run now. */
#include "cli/cli.h"
#include "core/clock.h"

#include <time.h>

#include "core/text.h"
#include "host/run.h"
#include "host/schedule.h"

extern char **environ;

static void print_time(int64_t ms)
{
    char text[32];
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    fputs(text, stdout);
}

/* NAME  every 86400 s from …, next … */
static void print_task(const Const *row, int64_t now)
{
    const Const *list = const_get(row, "schedule");
    bool active = const_bool_of(const_get(row, "active"), true);
    printf(TEXT_FMT "%s\n", TEXT_ARG(const_get_text(row, "name")), active ? "" : " (not active)");
    for (uint32_t i = 0; list && list->kind == C_LIST && i < list->count; i++) {
        TaskTimes t;
        if (!task_times_read(list->items[i], &t))
            continue;
        fputs("  from ", stdout);
        print_time(t.starts_ms);
        if (t.freq_ms)
            printf(" every %lld s", (long long)(t.freq_ms / 1000));
        else
            fputs(" once", stdout);
        if (t.ends_ms != INT64_MAX) {
            fputs(" until ", stdout);
            print_time(t.ends_ms);
        }
        int64_t next = task_times_next(&t, now);
        if (next >= 0 && active) {
            fputs(", next ", stdout);
            print_time(next);
        } else {
            fputs(", over", stdout);
        }
        fputc('\n', stdout);
    }
}

static int list_tasks(const Program *p)
{
    const Const *tasks = const_get(program_meta(p), "tasks");
    for (uint32_t i = 0; tasks && tasks->kind == C_LIST && i < tasks->count; i++)
        print_task(tasks->items[i], clock_wall_ms());
    if (!tasks || !tasks->count)
        fputs("The program has no tasks.\n", stderr);
    return EXIT_OK;
}

static int run_one(Program *p, const Config *config, Text name)
{
    if (program_find(p, PROC_TASK, name) == UINT32_MAX)
        return cli_unknown_proc(p, PROC_TASK, "task", name);
    RunOptions options = {.config = config, .compile_expr = cli_compile_expr, .env = environ};
    Buf problem = BUF_INIT;
    xs_error err;
    bool ok = run_task(p, &options, name, &problem, &err);
    if (!ok && problem.len)
        fprintf(stderr, "%s:%u:%u: " TEXT_FMT "\n", err.pos.file ? err.pos.file : "?", err.pos.line,
                err.pos.col, TEXT_ARG(buf_view(&problem)));
    else if (!ok)
        cli_error(&err);
    buf_deinit(&problem);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}

static int with_program(const Config *config, int argc, char **argv)
{
    bool run = argc > 1 && strcmp(argv[1], "run") == 0;
    bool list = argc > 1 && strcmp(argv[1], "list") == 0;
    int first = run ? 3 : 2;
    if (!run && !list)
        return cli_usage("task", "say 'list PATH...' or 'run NAME PATH...'");
    if (argc <= first)
        return cli_usage("task", run ? "say 'run NAME PATH...'" : "name the program");
    Arena arena;
    arena_init(&arena, 0);
    Program *p = cli_load_program(&arena, argv + first, argc - first, false);
    int code = !p ? EXIT_PROBLEM : list ? list_tasks(p) : run_one(p, config, text_from(argv[2]));
    if (p)
        program_unref(p);
    arena_deinit(&arena);
    return code;
}

int cmd_task(int argc, char **argv)
{
    static const char *const others[] = {"--help", "-h", NULL};
    const CliOption none[] = {{0}};
    Config config;
    xs_error err;
    if (!config_init(&config, &err))
        return cli_error(&err);
    int code = -1;
    if (!config_load(&config, &argc, argv, others, environ, &err))
        code = cli_usage("task", "%s", err.message);
    else
        code =
            cli_options(&argc, argv, "task list PATH... | task run NAME PATH...",
                        "list: every task with its schedule and its next time. run: the task "
                        "now, to its end, in this\n"
                        "process; options of xs serve (--db, --task-timeout-ms …) apply, without "
                        "--db the tables live in memory.",
                        none);
    if (code < 0)
        code = with_program(&config, argc, argv);
    config_deinit(&config);
    return code;
}
