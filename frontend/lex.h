/* lex.h - tokens of XanoScript, on demand: the parser holds one token and may copy the lexer to
 * look further. */
#ifndef FRONTEND_LEX_H
#define FRONTEND_LEX_H

#include "frontend/front.h"

typedef enum TokKind {
    TOK_EOF,
    TOK_ERROR, /* already reported */
    TOK_IDENT,
    TOK_VAR, /* text without the first '$'; "$$" has text "$" */
    TOK_INT,
    TOK_DEC,
    TOK_TIME, /* i = epoch ms */
    TOK_TEXT, /* text = value */
    TOK_EXPR, /* text = the source between the backticks */
    TOK_SEQ,
    TOK_SNE,
    TOK_EQ,
    TOK_NE,
    TOK_GE,
    TOK_LE,
    TOK_GT,
    TOK_LT,
    TOK_AND,
    TOK_OR,
    TOK_NULLISH,
    TOK_RANGE,
    TOK_HAS, /* && || ?? .. @> */
    TOK_NMATCH,
    TOK_SPREAD, /* !~ ... */
    TOK_LBRACE,
    TOK_RBRACE,
    TOK_LPAREN,
    TOK_RPAREN,
    TOK_LBRACKET,
    TOK_RBRACKET,
    TOK_ASSIGN,
    TOK_COLON,
    TOK_COMMA,
    TOK_DOT,
    TOK_PIPE,
    TOK_QUESTION,
    TOK_BANG,
    TOK_PLUS,
    TOK_MINUS,
    TOK_STAR,
    TOK_SLASH,
    TOK_PERCENT,
    TOK_TILDE,
    TOK_AT,
    TOK_KIND_COUNT
} TokKind;

typedef struct Token {
    TokKind kind;
    uint32_t off, end; /* bytes of the source */
    Pos pos;
    bool nl;      /* a newline stands before it */
    bool glued;   /* no blank before it */
    bool comment; /* comment lines stand before it */
    bool single;  /* TOK_TEXT written with ' */
    bool fence;   /* TOK_EXPR written with three backticks */
    bool escaped; /* TOK_EXPR had escapes: text is a copy */
    Text text;
    Text doc; /* comment lines directly above */
    int64_t i;
    double d;
} Token;

typedef struct Lexer {
    Comp *c;
    Text src;
    uint32_t at, line, col;
    uint32_t base; /* offset of src in its file */
    TokKind last;  /* kind of the token before: after '.' no decimal is formed */
} Lexer;

void lex_init(Lexer *lx, Comp *c, Text src);
/** A lexer of a part of a source, positions of the whole kept. */
void lex_init_at(Lexer *lx, Comp *c, Text src, Pos start);
Token lex_next(Lexer *lx);
/** Move to a byte offset ahead on the same line (bare names, raw arguments). */
void lex_seek(Lexer *lx, uint32_t off);
/** A token in words, for "found …". */
Text token_text(Comp *c, const Token *t);
const char *tok_name(TokKind kind);

#endif
