/* cmd_serve.c - xs serve: loads a program, reads the settings and runs the server until a signal
 * ends it. */
#include "cli/cli.h"

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
    NULL,
};

static void print_help(void)
{
    fputs("usage: xs serve [OPTIONS] PATH...\n\n"
          "Serves the program of folders, .xs files or one bundle: its HTTP API under "
          "/api:<group>/ and its\n"
          "realtime channels under /rt/<name>. SIGTERM ends it after running work is finished.\n\n"
          "options (also as environment variables XS_NAME and as lines `name = value` of the "
          "config file):\n"
          "  --config FILE            read settings from a file\n",
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

int cli_serve(Program *program, const Config *config, char *const *env)
{
    ServerOptions options = {.config = config,
                             .program = program,
                             .static_plugins = static_plugins,
                             .compile_expr = cli_compile_expr,
                             .env = env,
                             .on_ready = print_ready};
    xs_error err;
    if (server_run(&options, &err))
        return EXIT_OK;
    cli_error(&err);
    return err.code == XS_E_CONFIG ? EXIT_USAGE : EXIT_PROBLEM;
}

static int serve(const Config *config, char *const *paths, int count)
{
    Arena arena;
    arena_init(&arena, 0);
    Program *program = cli_load_program(&arena, paths, count, false);
    int code = program ? cli_serve(program, config, environ) : EXIT_PROBLEM;
    program_unref(program);
    arena_deinit(&arena);
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
