/* front.h - what the stages of one compilation share: memory, positions, reporting. */
#ifndef FRONTEND_FRONT_H
#define FRONTEND_FRONT_H

#include "core/arena.h"
#include "core/const.h"
#include "core/diag.h"
#include "core/map.h"
#include "core/tables.h"
#include "core/text.h"
#include "frontend/compile.h"

typedef enum DiagId {
#define DIAG(id, text, severity, doc) D_##id,
#include "core/lang/diags.def"
#undef DIAG
    DIAG_ID_COUNT
} DiagId;

enum {
    MAX_NESTING = 200,    /* levels of brackets, operators and blocks */
    MAX_FILE_ERRORS = 20, /* reported per file */
    MAX_FILE_WARNINGS = 200,
    /* Kept back for unwinding when memory runs out: no new level is entered then, and a level makes
       a few nodes at most. */
    RESERVE_BYTES = MAX_NESTING * 600,
    MAX_NODE_BYTES = 512,
};

typedef struct Pos {
    uint32_t line, col, len; /* from 1, in code points */
    uint32_t off;            /* byte of the file */
} Pos;

#define LIST(T)                                                                                    \
    struct {                                                                                       \
        T *ptr;                                                                                    \
        size_t len, cap;                                                                           \
    }

/* A comment, kept for the formatter. */
typedef struct Comment {
    uint32_t off, end; /* bytes of the file, the line end excluded */
    bool own_line;     /* nothing but blanks in front of it */
    bool blank_before; /* an empty line stands above it */
} Comment;

/* What was reported of one file: errors of all passes count together. */
typedef struct FileState {
    const char *file;
    uint32_t errors, warnings;
    uint32_t lines[MAX_FILE_ERRORS]; /* with an error */
    bool open_text; /* a string without end took the rest of the file, closing braces included */
} FileState;

/* One compilation. When memory runs out, `oom` is set, nodes come from the reserve so that no
 * caller needs a branch, the lexer ends its file, and nothing behind the parser runs. */
typedef struct Comp {
    Arena *a;
    DiagList *diags;
    const CompileOptions *opt;
    FileState *file; /* in work */
    bool keep;       /* collect comments */
    bool skipped;    /* a construct was recognised and ignored */
    LIST(Comment) comments;
    FileState nowhere;
    bool loose; /* unresolved references are warnings */
    bool oom;
    char *reserve; /* RESERVE_BYTES */
    size_t reserve_used;
} Comp;

/** false when not even the reserve is there; reported. */
bool comp_init(Comp *c, Arena *a, DiagList *diags, const CompileOptions *opt);
FileState *comp_file(Comp *c,
                     const char *file); /* begin a file; assign Comp.file to return to it */
/** Zeroed memory for one node of at most MAX_NODE_BYTES; never NULL once comp_init succeeded. */
void *comp_new(Comp *c, size_t size);
Text comp_text(Comp *c, Text t);
/** Room for one more item in a list in the arena. */
bool comp_grow(Comp *c, void **items, size_t *cap, size_t len, size_t item);

#define NEW(c, T) ((T *)comp_new((c), sizeof(T)))
#define PUSH(c, l, x)                                                                              \
    (comp_grow((c), (void **)&(l)->ptr, &(l)->cap, (l)->len, sizeof *(l)->ptr)                     \
         ? ((l)->ptr[(l)->len++] = (x), true)                                                      \
         : false)

/** Report at a place of the file in work. Errors: at most one per line and MAX_FILE_ERRORS per
 * file. */
void report(Comp *c, DiagId id, Pos pos, Text hint, const char *fmt, ...) XS_PRINTF(5, 6);
#define NO_HINT ((Text){0})
/** Use of extension E<number>: an error in strict mode. */
void report_extension(Comp *c, Pos pos, int number, const char *what);
/** "did you mean 'x'?" in the arena; ptr NULL when near is. */
Text hint_near(Comp *c, Text near);

/* Const builders that tolerate lack of memory. */
Const *k_map(Comp *c);
Const *k_list(Comp *c);
const Const *k_text(Comp *c, Text t);
const Const *k_int(Comp *c, int64_t n);
const Const *k_dec(Comp *c, double d);
void k_set(Comp *c, Const *map, Text key, const Const *value);
void k_push(Comp *c, Const *list, const Const *value);
void k_set_text(Comp *c, Const *map, const char *key, Text value);
void k_set_bool(Comp *c, Const *map, const char *key, bool value);

#endif
