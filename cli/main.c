/* main.c - the xs command: finds the sub-command and runs it. */
#include "cli/cli.h"

#include "core/tables.h"
#include "core/text.h"

typedef struct Command {
    const char *name;
    CommandFn fn;
    const char *args, *doc;
} Command;

static const Command commands[] = {
#define COMMAND(name, fn, args, doc) {#name, fn, args, doc},
#include "cli/commands.def"
#undef COMMAND
};

static void print_help(FILE *to)
{
    fputs("xs runs XanoScript programs on your own machine.\n\nusage: xs COMMAND [ARGUMENTS]\n\n",
          to);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(to, "  %-11s %-24s %s\n", commands[i].name, commands[i].args, commands[i].doc);
    fputs("\nxs COMMAND --help tells more. Exit codes: 0 ok, 1 the program or a check failed, 2 "
          "wrong usage.\n",
          to);
}

static int unknown_command(const char *name)
{
    Text names[COUNT_OF(commands)];
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        names[i] = text_from(commands[i].name);
    Text near = text_nearest(text_from(name), names, COUNT_OF(commands));
    fprintf(stderr, "xs: unknown command '%s'", name);
    if (near.ptr)
        fprintf(stderr, "; did you mean '" TEXT_FMT "'?", TEXT_ARG(near));
    fputs("\nRun xs --help for the list.\n", stderr);
    return EXIT_USAGE;
}

int cmd_completion(int argc, char **argv)
{
    const CliOption options[] = {{0}};
    int done = cli_options(&argc, argv, "completion bash",
                           "Prints a completion script. Bash: source <(xs completion bash).\n"
                           "Zsh reads it too, after: autoload -U compinit bashcompinit; compinit; "
                           "bashcompinit.",
                           options);
    if (done >= 0)
        return done;
    if (argc != 2 || strcmp(argv[1], "bash") != 0)
        return cli_usage("completion", "name the shell: bash");
    fputs("_xs() {\n    local cur=${COMP_WORDS[COMP_CWORD]}\n    if [ \"$COMP_CWORD\" = 1 ]; then\n"
          "        COMPREPLY=($(compgen -W \"",
          stdout);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        printf("%s%s", i ? " " : "", commands[i].name);
    fputs(" --help --version\" -- \"$cur\"))\n"
          "    elif [ \"${cur#-}\" != \"$cur\" ]; then\n"
          "        COMPREPLY=($(compgen -W \"$(xs \"${COMP_WORDS[1]}\" --help |\n"
          "            grep -o -e '--[a-z][a-z0-9-]*')\" -- \"$cur\"))\n"
          "    else\n        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\ncomplete -o "
          "filenames -F _xs xs\n",
          stdout);
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    tables_init();
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("xs %s (bundle format %d)\n", XS_VERSION, BUNDLE_FORMAT);
        return EXIT_OK;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].fn(argc - 1, argv + 1);
    return unknown_command(name);
}
