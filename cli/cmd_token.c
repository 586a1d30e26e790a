/* cmd_token.c - xs token: make and read login tokens with a server's own key. */
#include "cli/cli.h"
#include "core/clock.h"

#include "core/json.h"
#include "core/num.h"
#include "core/text.h"
#include "host/auth.h"
#include "host/service.h"

extern char **environ;

typedef struct TokenArgs {
    const char *table, *id, *extras, *ttl;
} TokenArgs;

static int mint(const Auth *auth, const TokenArgs *args)
{
    xs_error err = {0};
    int64_t ttl = 0, number;
    Buf id = BUF_INIT, token = BUF_INIT;
    Arena a;
    if (!args->table || !args->id)
        return cli_usage("token", "mint needs --table NAME and --id ID");
    if (args->ttl && (!num_parse_int(text_from(args->ttl), &ttl) || ttl < 0))
        return cli_usage("token", "--ttl: expected seconds, 0 = never ends");
    arena_init(&a, 0);
    Text extras = text_from(args->extras ? args->extras : "{}");
    const Const *map = json_parse(&a, extras, &err);
    bool ok = map && map->kind == C_MAP;
    arena_deinit(&a);
    if (!ok)
        return cli_usage("token", "--extras: expected a JSON object");
    if (num_parse_int(text_from(args->id), &number))
        json_write_int(&id, number);
    else
        json_write_text(&id, text_from(args->id));
    ok = auth_make_token(auth, text_from(args->table), buf_view(&id), extras, clock_wall_ms(), ttl,
                         &token, &err);
    if (ok)
        printf("%.*s\n", (int)token.len, token.ptr);
    buf_deinit(&id);
    buf_deinit(&token);
    return ok ? EXIT_OK : cli_error(&err);
}

static int inspect(const Auth *auth, const char *token)
{
    Arena a;
    Claims claims;
    Buf out = BUF_INIT;
    arena_init(&a, 0);
    bool ok = auth_verify(auth, &a, text_from(token), 0, &claims);
    if (ok) {
        int64_t left = claims.expires_ms - clock_wall_ms();
        buf_cstr(&out, "{\"table\":");
        json_write_text(&out, claims.table);
        buf_printf(&out, ",\"dbo_id\":%lld,\"id\":", (long long)auth_table_id(auth, claims.table));
        json_write_const(&out, claims.id);
        buf_cstr(&out, ",\"extras\":");
        json_write_const(&out, claims.extras);
        if (claims.expires_ms)
            buf_printf(&out, ",\"expires_at\":%lld,\"valid\":%s}", (long long)claims.expires_ms,
                       left > 0 ? "true" : "false");
        else
            buf_cstr(&out, ",\"expires_at\":null,\"valid\":true}");
        printf("%.*s\n", (int)out.len, out.ptr);
        ok = !claims.expires_ms || left > 0;
        if (!ok)
            fputs("xs: the token has ended\n", stderr);
    } else {
        fputs("xs: the token was not made with this key, for this tenant, or for a table of this "
              "program\n",
              stderr);
    }
    buf_deinit(&out);
    arena_deinit(&a);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}

static int with_auth(const Config *config, const TokenArgs *args, int argc, char **argv)
{
    bool minting = strcmp(argv[1], "mint") == 0;
    if (!minting && strcmp(argv[1], "inspect") != 0)
        return cli_usage("token", "unknown verb '%s'; there are: mint, inspect", argv[1]);
    if (argc != (minting ? 3 : 4))
        return cli_usage("token", minting ? "mint needs the program"
                                          : "inspect needs the program and the token");
    Arena arena;
    xs_error err;
    int code = EXIT_PROBLEM;
    arena_init(&arena, 0);
    Program *program = cli_load_program(&arena, argv + 2, 1, false);
    Auth *auth = NULL;
    if (program) {
        auth = auth_new(config, const_get(program_meta(program), "tables"), &err);
        code = !auth ? cli_error(&err) : minting ? mint(auth, args) : inspect(auth, argv[3]);
        auth_free(auth);
        program_unref(program);
    }
    arena_deinit(&arena);
    return code;
}

int cmd_token(int argc, char **argv)
{
    TokenArgs args = {0};
    const CliOption options[] = {
        {"--table", "NAME", "mint: the auth table", NULL, &args.table},
        {"--id", "ID", "mint: the row's id", NULL, &args.id},
        {"--extras", "JSON", "mint: an object that $auth and other clients see", NULL,
         &args.extras},
        {"--ttl", "SECONDS", "mint: life of the token; without it it never ends", NULL, &args.ttl},
        {0},
    };
    static const char *const others[] = {"--table", "--id", "--extras", "--ttl",
                                         "--help",  "-h",   NULL};
    Config config;
    xs_error err;
    if (!config_init(&config, &err))
        return cli_error(&err);
    int code;
    if (!config_load(&config, &argc, argv, others, environ, &err)) {
        code = cli_usage("token", "%s", err.message);
    } else {
        code = cli_options(&argc, argv, "token mint|inspect [OPTIONS] PATH [TOKEN]",
                           "Makes a login token of a program, or says what one holds. The key is "
                           "that of the server:\n"
                           "--auth-secret, --auth-secret-file, or the file beside --db.",
                           options);
        if (code < 0)
            code = argc < 2 ? cli_usage("token", "say mint or inspect")
                            : with_auth(&config, &args, argc, argv);
    }
    config_deinit(&config);
    return code;
}
