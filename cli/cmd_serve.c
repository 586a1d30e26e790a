/* cmd_serve.c - xs serve: loads a program, reads the settings and runs the server until a signal
 * ends it. */
#include "cli/cli.h"

#include <ftw.h>
#include <pthread.h>

#include "core/mem.h"
#include "core/text.h"
#include "host/server.h"

extern char **environ;

#ifdef XS_STATIC_ws
extern const xs_plugin xs_plugin_ws;
#endif
#ifdef XS_STATIC_sse
extern const xs_plugin xs_plugin_sse;
#endif
#ifdef XS_STATIC_longpoll
extern const xs_plugin xs_plugin_longpoll;
#endif
#ifdef XS_STATIC_mem
extern const xs_plugin xs_plugin_mem;
#endif
#ifdef XS_STATIC_redis
extern const xs_plugin xs_plugin_redis;
#endif

static const xs_plugin *const static_plugins[] = {
#ifdef XS_STATIC_ws
    &xs_plugin_ws,
#endif
#ifdef XS_STATIC_sse
    &xs_plugin_sse,
#endif
#ifdef XS_STATIC_longpoll
    &xs_plugin_longpoll,
#endif
#ifdef XS_STATIC_mem
    &xs_plugin_mem,
#endif
#ifdef XS_STATIC_redis
    &xs_plugin_redis,
#endif
    NULL,
};

static void print_help(void)
{
    fputs("usage: xs serve [OPTIONS] PATH...\n\n"
          "Serves the program of folders, .xs files or one bundle: its HTTP API under "
          "/api:<group>/ and its\n"
          "realtime channels under /rt/<name>. SIGTERM ends it after running work is finished. "
          "SIGHUP loads the\n"
          "program anew without dropping a connection; --watch does it whenever its files change."
          "\n\n",
          stdout);
    Buf out = BUF_INIT;
    config_help(&out);
    fwrite(out.ptr, 1, out.len, stdout);
    buf_deinit(&out);
}

static void print_ready(void *ctx, const ServerReady *ready)
{
    (void)ctx;
    printf("xs: listening on http://" TEXT_FMT "\n", TEXT_ARG(ready->address));
    printf("xs: realtime at /rt/" TEXT_FMT "\n", TEXT_ARG(ready->canonical));
    if (ready->admin_address.len)
        printf("xs: admin on http://" TEXT_FMT "\n", TEXT_ARG(ready->admin_address));
    fflush(stdout);
}

/* A program that was loaded while the server runs, and its sources. */
typedef struct Loaded {
    struct Loaded *next;
    Arena arena;
    Program *program;
} Loaded;

typedef struct Serving {
    char *const *paths;
    int count;
    Loaded *loaded;
    pthread_mutex_t lock; /* loaded */
} Serving;

static Program *load_again(void *ctx, xs_error *err)
{
    Serving *s = ctx;
    Loaded *l = mem_zalloc(1, sizeof *l);
    if (!l) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    arena_init(&l->arena, 0);
    l->program = cli_load_program(&l->arena, s->paths, s->count, false);
    if (!l->program) {
        arena_deinit(&l->arena);
        mem_free(l);
        xs_fail(err, XS_E_PARSE, XS_NO_POS, "the program has mistakes, see above");
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    l->next = s->loaded;
    s->loaded = l;
    pthread_mutex_unlock(&s->lock);
    return l->program;
}

static void unload(void *ctx, Program *program)
{
    Serving *s = ctx;
    pthread_mutex_lock(&s->lock);
    Loaded **at = &s->loaded;
    while (*at && (*at)->program != program)
        at = &(*at)->next;
    Loaded *l = *at;
    if (l)
        *at = l->next;
    pthread_mutex_unlock(&s->lock);
    if (!l)
        return;
    program_unref(l->program);
    arena_deinit(&l->arena);
    mem_free(l);
}

/* nftw has no context; only the loop's thread walks. */
static uint64_t walk_stamp;

static int add_stamp(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)at;
    if (type != FTW_F)
        return 0;
    const uint64_t facts[] = {text_hash(text_from(path)), (uint64_t)st->st_size,
                              (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec};
    walk_stamp += text_hash((Text){(const char *)facts, sizeof facts}); /* in any order */
    return 0;
}

static uint64_t stamp(void *ctx)
{
    enum { OPEN_FOLDERS = 16 };
    const Serving *s = ctx;
    walk_stamp = 1;
    for (int i = 0; i < s->count; i++)
        if (nftw(s->paths[i], add_stamp, OPEN_FOLDERS, FTW_PHYS) != 0)
            walk_stamp++; /* it may be on its way */
    return walk_stamp;
}

static int run_server(Serving *serving, Program *program, const Config *config, char *const *env)
{
    ServerOptions options = {.config = config,
                             .program = program,
                             .static_plugins = static_plugins,
                             .compile_expr = cli_compile_expr,
                             .env = env,
                             .on_ready = print_ready,
                             .ctx = serving};
    if (serving) {
        options.load = load_again;
        options.unload = unload;
        options.stamp = stamp;
    }
    xs_error err;
    if (server_run(&options, &err))
        return EXIT_OK;
    cli_error(&err);
    return err.code == XS_E_CONFIG ? EXIT_USAGE : EXIT_PROBLEM;
}

int cli_serve(Program *program, const Config *config, char *const *env)
{
    return run_server(NULL, program, config, env);
}

static int serve(const Config *config, char *const *paths, int count)
{
    Arena arena;
    arena_init(&arena, 0);
    Serving serving = {.paths = paths, .count = count};
    pthread_mutex_init(&serving.lock, NULL);
    Program *program = cli_load_program(&arena, paths, count, false);
    int code = program ? run_server(&serving, program, config, environ) : EXIT_PROBLEM;
    program_unref(program);
    arena_deinit(&arena);
    pthread_mutex_destroy(&serving.lock);
    return code;
}

int cmd_serve(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_OK;
        }
    Config config;
    xs_error err;
    if (!config_init(&config, &err))
        return cli_error(&err);
    int code;
    if (!config_load(&config, &argc, argv, NULL, environ, &err))
        code = err.code == XS_E_IO ? cli_error(&err) : cli_usage("serve", "%s", err.message);
    else if (argc < 2)
        code = cli_usage("serve", "name the program to serve: a folder or an .xsb bundle");
    else
        code = serve(&config, argv + 1, argc - 1);
    config_deinit(&config);
    return code;
}
