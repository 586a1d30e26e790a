/* compile.h - .xs sources to a bundle image. All memory comes from the caller's arena; the file
 * texts must outlive the diagnostics and the image. Thread: any, one compilation per arena. */
#ifndef FRONTEND_COMPILE_H
#define FRONTEND_COMPILE_H

#include "core/bundle.h"
#include "core/diag.h"

/* One source file. Arrays of them end with an entry whose path.ptr is NULL. */
typedef struct SourceFile {
    Text path; /* as shown in diagnostics; NUL-terminated */
    Text text;
} SourceFile;

/**
 * A single file (any extension), or every .xs file below a folder, sorted by path in byte order.
 * Hidden entries and node_modules are skipped. Errors: XS_E_IO; XS_E_TOO_LARGE (file over 16 MiB);
 * XS_E_NOMEM.
 */
XS_MUST_CHECK bool source_load(Arena *a, const char *path_or_dir, SourceFile **files, size_t *count,
                               xs_error *err);

typedef struct CompileOptions {
    bool strict;                /* report every extension as an error */
    bool allow_bare_statements; /* a file may be a list of statements */
    bool no_opt;                /* plain code: no folding, no fused or specialised instructions */
    bool tests;                 /* also compile tests and mocks; only xs test asks for them */
    bool scoped; /* of an expression: its variables are members of its input as well */
    Text program_name;
} CompileOptions;

/**
 * Compile a whole program. Every mistake of every file is collected; false when there are errors,
 * *out is then unset. The same files give the same image.
 */
XS_MUST_CHECK bool compile_program(Arena *a, const SourceFile *files, size_t count,
                                   const CompileOptions *options, DiagList *diags,
                                   BundleImage *out);

/**
 * One expression as procedure 0 (PROC_EXPR). Register 0 holds the input; element references that no
 * filter binds are members of it ("$$", "$0", …), with scoped also variables and "$input".
 */
XS_MUST_CHECK bool compile_expr(Arena *a, Text source, const CompileOptions *options,
                                DiagList *diags, BundleImage *out);

/**
 * Compile every ```xs block of a markdown text on its own; positions are those of the text. Names
 * of tables and functions may be unknown (warnings). *blocks counts them, also those with errors.
 */
XS_MUST_CHECK bool compile_markdown(Arena *a, Text path, Text text, const CompileOptions *options,
                                    DiagList *diags, size_t *blocks);

/**
 * Append the source in canonical layout: same tree, same comments. One construct, several, or bare
 * statements. False when the source has errors (reported, warnings too) and nothing was appended.
 */
XS_MUST_CHECK bool format_source(Arena *a, Text path, Text source, DiagList *diags, Buf *out);

/** Append what of the language tables is supported, per tier, and the rest by name: text or JSON.
 */
void language_coverage(bool json, Buf *out);

/** Append the statements, filters and constructs this engine does not support yet, with count and
 * positions: lines of text, or a JSON list [{"kind","name","count","at":["file:line:col"]}]. Files
 * with syntax errors contribute what parses. */
void compile_coverage(Arena *a, const SourceFile *files, size_t count, bool json, Buf *out);

#endif
