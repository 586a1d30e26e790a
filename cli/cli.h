/* cli.h - what the commands share: options, loading a program, printing errors. Main thread only.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdio.h>

#include "core/buf.h"
#include "frontend/compile.h"
#include "host/config.h"
#include "vm/vm.h"

enum { EXIT_OK = 0, EXIT_PROBLEM = 1, EXIT_USAGE = 2 };

typedef int (*CommandFn)(int argc, char **argv); /* argv[0] is the command's name */

#define COMMAND(name, fn, args, doc) int fn(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

/* One option of a command; a table of them ends with name NULL. Exactly one target is set. */
typedef struct CliOption {
    const char *name;  /* "--json", or "-o" */
    const char *value; /* "FILE": takes a value; NULL = flag */
    const char *doc;
    bool *flag;
    const char **text; /* the value */
} CliOption;

/**
 * Take the options out of argv; the rest stays, in order, argc updated. "--" ends options. --help
 * prints `usage`, `about` and the table to stdout.
 * @return -1 = go on, else the exit code to end with
 */
int cli_options(int *argc, char **argv, const char *usage, const char *about,
                const CliOption *options);

/** Print "xs NAME: message" and a pointer to --help on stderr; returns EXIT_USAGE. */
int cli_usage(const char *command, const char *fmt, ...) XS_PRINTF(2, 3);
/** Print that there is no such thing, and which of the names is meant perhaps; returns EXIT_USAGE.
 */
int cli_unknown(const char *what, Text name, const Text *names, size_t count);
/** The same for what a program declares. */
int cli_unknown_proc(const Program *p, ProcKind kind, const char *what, Text name);
/** Print an error with its place on stderr; returns EXIT_PROBLEM. */
int cli_error(const xs_error *err);

bool cli_colour(FILE *to); /* a terminal, and NO_COLOR is not set */

/**
 * Load programs: folders and .xs files are compiled together, one .xsb is decoded. Diagnostics are
 * printed on stderr. The arena must outlive the image. no_opt: sources become plain code.
 */
XS_MUST_CHECK bool cli_load_image(Arena *arena, char *const *paths, int count, bool no_opt,
                                  BundleImage *out);
/** Same, verified and bound. NULL: the error was printed. */
XS_MUST_CHECK Program *cli_load_program(Arena *arena, char *const *paths, int count, bool no_opt);

/**
 * Folders and .xs files as one image; diagnostics are printed.
 * @param how      the name of the program is filled in
 * @param sources  the files, ended by one without path; they live in the arena
 */
XS_MUST_CHECK bool cli_compile(Arena *arena, char *const *paths, int count,
                               const CompileOptions *how, SourceFile **sources, BundleImage *out);
/** Verify an image and bind its natives. NULL: the error was printed. */
XS_MUST_CHECK Program *cli_bind(const BundleImage *image);

/** Serve until a signal; errors are printed. Returns the exit code. */
int cli_serve(Program *program, const Config *config, char *const *env);

/** Sources of every path, in the order given, each file once. The array ends with path.ptr NULL. */
XS_MUST_CHECK bool cli_load_sources(Arena *arena, char *const *paths, int count, SourceFile **files,
                                    size_t *nfiles, xs_error *err);

/** DiagSource over a SourceFile array: ctx is the address of the pointer to its first entry. */
Text cli_source_text(void *ctx, const char *file);

/** Row of a CliOption table that switches optimisations off. */
#define CLI_NO_OPT(target)                                                                         \
    {                                                                                              \
        "--no-opt", NULL, "compile sources without optimisations", target, NULL                    \
    }

/** Services.compile_expr: expressions that only exist at run time. */
bool cli_compile_expr(void *ctx, Arena *arena, Text source, bool scoped, void *bundle_image_out,
                      xs_error *err);
/** The same as plain code. */
bool cli_compile_expr_no_opt(void *ctx, Arena *arena, Text source, bool scoped,
                             void *bundle_image_out, xs_error *err);

/** Read a whole file ("-" = stdin) into the arena. */
XS_MUST_CHECK bool cli_read_file(Arena *arena, const char *path, Text *out, xs_error *err);

#endif
