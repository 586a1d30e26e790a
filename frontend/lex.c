/* lex.c - source text to tokens. Language specification, section 1. */
#include "frontend/lex.h"

#include "core/num.h"

static const char *const names[TOK_KIND_COUNT] = {
    [TOK_EOF] = "the end of the file",
    [TOK_ERROR] = "a mistake",
    [TOK_IDENT] = "a name",
    [TOK_VAR] = "a variable",
    [TOK_INT] = "a number",
    [TOK_DEC] = "a number",
    [TOK_TIME] = "a timestamp",
    [TOK_TEXT] = "a text",
    [TOK_EXPR] = "an expression in backticks",
    [TOK_SEQ] = "'==='",
    [TOK_SNE] = "'!=='",
    [TOK_EQ] = "'=='",
    [TOK_NE] = "'!='",
    [TOK_GE] = "'>='",
    [TOK_LE] = "'<='",
    [TOK_GT] = "'>'",
    [TOK_LT] = "'<'",
    [TOK_AND] = "'&&'",
    [TOK_OR] = "'||'",
    [TOK_NULLISH] = "'?\?'",
    [TOK_RANGE] = "'..'",
    [TOK_HAS] = "'@>'",
    [TOK_NMATCH] = "'!~'",
    [TOK_SPREAD] = "'...'",
    [TOK_LBRACE] = "'{'",
    [TOK_RBRACE] = "'}'",
    [TOK_LPAREN] = "'('",
    [TOK_RPAREN] = "')'",
    [TOK_LBRACKET] = "'['",
    [TOK_RBRACKET] = "']'",
    [TOK_ASSIGN] = "'='",
    [TOK_COLON] = "':'",
    [TOK_COMMA] = "','",
    [TOK_DOT] = "'.'",
    [TOK_PIPE] = "'|'",
    [TOK_QUESTION] = "'?'",
    [TOK_BANG] = "'!'",
    [TOK_PLUS] = "'+'",
    [TOK_MINUS] = "'-'",
    [TOK_STAR] = "'*'",
    [TOK_SLASH] = "'/'",
    [TOK_PERCENT] = "'%'",
    [TOK_TILDE] = "'~'",
    [TOK_AT] = "'@'",
};

const char *tok_name(TokKind kind)
{
    return names[kind];
}

Text token_text(Comp *c, const Token *t)
{
    if (t->kind == TOK_IDENT)
        return arena_printf(c->a, "'" TEXT_FMT "'", TEXT_ARG(t->text));
    if (t->kind == TOK_VAR)
        return arena_printf(c->a, "'$" TEXT_FMT "'", TEXT_ARG(t->text));
    if (t->kind == TOK_INT || t->kind == TOK_DEC)
        return arena_printf(c->a, "'" TEXT_FMT "'", TEXT_ARG(t->text));
    return t->kind == TOK_EOF && t->text.len ? t->text : text_from(names[t->kind]);
}

void lex_init(Lexer *lx, Comp *c, Text src)
{
    *lx = (Lexer){.c = c, .src = src, .line = 1, .col = 1};
    if (text_starts(src, TEXT("\xEF\xBB\xBF")))
        lx->at = 3;
}

void lex_init_at(Lexer *lx, Comp *c, Text src, Pos start)
{
    *lx = (Lexer){.c = c, .src = src, .line = start.line, .col = start.col, .base = start.off};
}

static int peek(const Lexer *lx, size_t ahead)
{
    size_t i = (size_t)lx->at + ahead;
    return i < lx->src.len ? (unsigned char)lx->src.ptr[i] : -1;
}

static void skip(Lexer *lx, size_t n)
{
    for (; n && lx->at < lx->src.len; n--) {
        unsigned char ch = (unsigned char)lx->src.ptr[lx->at++];
        if (ch == '\n') {
            lx->line++;
            lx->col = 1;
        } else if ((ch & 0xC0) != 0x80) {
            lx->col++;
        }
    }
}

void lex_seek(Lexer *lx, uint32_t off)
{
    if (off > lx->at)
        skip(lx, off - lx->at);
}

static bool is_alpha(int ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
}

static bool is_digit(int ch)
{
    return ch >= '0' && ch <= '9';
}

static bool is_word(int ch)
{
    return is_alpha(ch) || is_digit(ch);
}

static bool is_hex(int ch)
{
    return is_digit(ch) || (ch >= 'a' && ch <= 'f') || (ch >= 'A' && ch <= 'F');
}

static unsigned hex_value(int ch)
{
    return (unsigned)(is_digit(ch) ? ch - '0' : (ch | 32) - 'a' + 10);
}

static Pos here(const Lexer *lx)
{
    return (Pos){lx->line, lx->col, 1, lx->base + lx->at};
}

/* Lookahead reads the same comments again: only those behind the last one are new. */
static void keep_comment(Lexer *lx, uint32_t from, bool own_line, bool blank_before)
{
    Comp *c = lx->c;
    uint32_t off = lx->base + from;
    if (!c->keep || (c->comments.len && c->comments.ptr[c->comments.len - 1].off >= off))
        return;
    PUSH(c, &c->comments, ((Comment){off, lx->base + lx->at, own_line, blank_before}));
}

/* Blanks, newlines and comments. The doc text is the run of comment lines that ends directly above
 * the token. */
static void skip_space(Lexer *lx, Token *t)
{
    uint32_t doc_from = 0, doc_to = 0, breaks = 0;
    bool own_line = lx->at == 0 || lx->last == TOK_EOF, docs = false;
    for (;;) {
        int ch = peek(lx, 0);
        if (ch == ' ' || ch == '\t' || (ch == '\r' && (peek(lx, 1) == '\n' || peek(lx, 1) < 0))) {
            skip(lx, 1);
            t->glued = false;
        } else if (ch == '\n') {
            skip(lx, 1);
            t->nl = true;
            t->glued = false;
            own_line = true;
            if (++breaks > 1)
                docs = false;
        } else if (ch == '/' && peek(lx, 1) == '/') {
            if (!own_line)
                report_extension(lx->c, here(lx), 1, "a comment behind code");
            t->comment |= own_line;
            if (own_line && !docs) {
                docs = true;
                doc_from = lx->at;
            }
            uint32_t from = lx->at;
            while (lx->at < lx->src.len && lx->src.ptr[lx->at] != '\n')
                skip(lx, 1);
            keep_comment(lx, from, own_line, breaks > 1);
            doc_to = lx->at;
            breaks = 0;
            t->glued = false;
        } else {
            break;
        }
    }
    if (docs && doc_to > doc_from)
        t->doc = text_slice(lx->src, doc_from, doc_to);
}

static void bad_utf8(Lexer *lx, Pos pos, const Buf *b)
{
    report(lx->c, D_INVALID_TEXT, pos, NO_HINT, "text is not valid UTF-8 at byte %zu",
           utf8_valid_len(buf_view(b)));
}

static void escape_unicode(Lexer *lx, Buf *b)
{
    uint32_t cp = 0;
    for (size_t i = 0; i < 4; i++)
        cp = cp << 4 | hex_value(peek(lx, i));
    skip(lx, 4);
    if (cp >= 0xD800 && cp < 0xDC00 && peek(lx, 0) == '\\' && peek(lx, 1) == 'u' &&
        is_hex(peek(lx, 2)) && is_hex(peek(lx, 3)) && is_hex(peek(lx, 4)) && is_hex(peek(lx, 5))) {
        uint32_t low = 0;
        for (size_t i = 2; i < 6; i++)
            low = low << 4 | hex_value(peek(lx, i));
        if (low >= 0xDC00 && low < 0xE000) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
            skip(lx, 6);
        }
    }
    char out[4];
    size_t n = utf8_encode(cp, out);
    if (n == 0)
        n = utf8_encode(0xFFFD, out);
    buf_append(b, out, n);
}

/* At the character behind a backslash. Pairs the language does not define are kept as written, so
 * that regular expressions need no doubled backslashes. */
static void escape(Lexer *lx, Buf *b)
{
    static const char from[] = "ntrabvf\\\"'", to[] = "\n\t\r\a\b\v\f\\\"'";
    int ch = peek(lx, 0);
    if (ch < 0)
        return;
    const char *known = ch ? strchr(from, ch) : NULL;
    if (known) {
        buf_char(b, to[known - from]);
        skip(lx, 1);
    } else if (ch == 'u' && is_hex(peek(lx, 1)) && is_hex(peek(lx, 2)) && is_hex(peek(lx, 3)) &&
               is_hex(peek(lx, 4))) {
        skip(lx, 1);
        escape_unicode(lx, b);
    } else if (ch == 'x' && is_hex(peek(lx, 1))) {
        unsigned v = hex_value(peek(lx, 1));
        size_t n = 2;
        if (is_hex(peek(lx, 2)))
            v = v << 4 | hex_value(peek(lx, n++));
        buf_char(b, (char)(unsigned char)v);
        skip(lx, n);
    } else if (ch >= '0' && ch <= '7') {
        unsigned v = 0;
        for (int n = 0; n < 3 && peek(lx, 0) >= '0' && peek(lx, 0) <= '7'; n++) {
            v = v << 3 | (unsigned)(peek(lx, 0) - '0');
            skip(lx, 1);
        }
        buf_char(b, (char)(unsigned char)v);
    } else {
        buf_char(b, '\\');
        buf_char(b, (char)ch);
        skip(lx, 1);
    }
}

static void unterminated(Lexer *lx, Token *t)
{
    report(lx->c, D_UNTERMINATED_STRING, t->pos, NO_HINT, "string starting here is never closed");
    lx->c->file->open_text = true;
    t->kind = TOK_ERROR;
}

static void finish_text(Lexer *lx, Token *t, Buf *b)
{
    if (b->failed)
        lx->c->oom = true;
    if (!utf8_valid(buf_view(b))) {
        bad_utf8(lx, t->pos, b);
        t->kind = TOK_ERROR;
    } else {
        t->text = comp_text(lx->c, buf_view(b));
    }
    buf_deinit(b);
}

static void lex_line_text(Lexer *lx, Token *t, char quote)
{
    t->kind = TOK_TEXT;
    t->single = quote == '\'';
    skip(lx, 1);
    uint32_t from = lx->at;
    while (peek(lx, 0) >= 0 && peek(lx, 0) != quote && peek(lx, 0) != '\\')
        skip(lx, 1);
    if (peek(lx, 0) == quote) {
        t->text = text_slice(lx->src, from, lx->at);
        skip(lx, 1);
        return;
    }
    Buf b = BUF_INIT;
    buf_text(&b, text_slice(lx->src, from, lx->at));
    while (peek(lx, 0) >= 0 && peek(lx, 0) != quote) {
        int ch = peek(lx, 0);
        skip(lx, 1);
        if (ch != '\\') {
            buf_char(&b, (char)ch);
        } else if (!t->single) {
            escape(lx, &b);
        } else {
            int next = peek(lx, 0);
            if (next == '\'' || next == '\\')
                skip(lx, 1);
            else
                next = '\\';
            buf_char(&b, (char)next);
        }
    }
    if (peek(lx, 0) < 0) {
        buf_deinit(&b);
        unterminated(lx, t);
        return;
    }
    skip(lx, 1);
    finish_text(lx, t, &b);
}

/* Lines between opener and closer, less the closer's indentation. */
static Text dedent(Lexer *lx, Text body, size_t indent)
{
    Buf b = BUF_INIT;
    bool first = true;
    for (size_t at = 0; at < body.len;) {
        size_t end = text_find(body, TEXT("\n"), at);
        size_t stop = end == SIZE_MAX ? body.len : end;
        size_t next = end == SIZE_MAX ? body.len : end + 1;
        size_t cut = 0;
        while (cut < indent && at < stop && (body.ptr[at] == ' ' || body.ptr[at] == '\t')) {
            at++;
            cut++;
        }
        if (stop > at && body.ptr[stop - 1] == '\r')
            stop--;
        if (!first)
            buf_char(&b, '\n');
        first = false;
        buf_text(&b, text_slice(body, at, stop));
        at = next;
    }
    if (b.failed)
        lx->c->oom = true;
    Text t = comp_text(lx->c, buf_view(&b));
    buf_deinit(&b);
    return t;
}

/* At the opening triple quotes. The closer is the first later line that starts with them. */
static void lex_block_text(Lexer *lx, Token *t, char quote)
{
    t->kind = quote == '`' ? TOK_EXPR : TOK_TEXT;
    t->single = quote == '\'';
    t->fence = true;
    skip(lx, 3);
    while (peek(lx, 0) == ' ' || peek(lx, 0) == '\t' || peek(lx, 0) == '\r')
        skip(lx, 1);
    if (peek(lx, 0) != '\n') {
        report(lx->c, D_HEREDOC_OPEN, t->pos, NO_HINT,
               "a multi-line string must start on a new line");
        t->kind = TOK_ERROR;
        while (peek(lx, 0) >= 0 && peek(lx, 0) != '\n')
            skip(lx, 1);
        return;
    }
    skip(lx, 1);
    uint32_t from = lx->at;
    Pos body_pos = here(lx);
    while (peek(lx, 0) >= 0) {
        uint32_t line = lx->at;
        while (peek(lx, 0) == ' ' || peek(lx, 0) == '\t')
            skip(lx, 1);
        if (peek(lx, 0) == quote && peek(lx, 1) == quote && peek(lx, 2) == quote) {
            uint32_t indent = lx->at - line;
            if (indent && memchr(lx->src.ptr + line, '\t', indent))
                report_extension(lx->c, here(lx), 2, "a tab in front of closing quotes");
            skip(lx, 3);
            Text body = text_slice(lx->src, from, line);
            if (t->kind == TOK_EXPR) {
                t->text = body;
                t->i = body_pos.line;
            } else {
                t->text = dedent(lx, body, indent);
            }
            return;
        }
        while (peek(lx, 0) >= 0 && peek(lx, 0) != '\n')
            skip(lx, 1);
        skip(lx, 1);
    }
    report(lx->c, D_HEREDOC_CLOSE, t->pos, NO_HINT,
           "no line starting with %c%c%c closes this string", quote, quote, quote);
    lx->c->file->open_text = true;
    t->kind = TOK_ERROR;
}

static void lex_backtick(Lexer *lx, Token *t)
{
    t->kind = TOK_EXPR;
    skip(lx, 1);
    uint32_t from = lx->at;
    t->i = lx->line;
    while (peek(lx, 0) >= 0 && peek(lx, 0) != '`') {
        if (peek(lx, 0) == '\\' && (peek(lx, 1) == '`' || peek(lx, 1) == '\\')) {
            t->escaped = true;
            skip(lx, 1);
        }
        skip(lx, 1);
    }
    if (peek(lx, 0) < 0) {
        unterminated(lx, t);
        return;
    }
    Text body = text_slice(lx->src, from, lx->at);
    skip(lx, 1);
    t->text = body;
    if (!t->escaped)
        return;
    Buf b = BUF_INIT;
    for (size_t i = 0; i < body.len; i++) {
        if (body.ptr[i] == '\\' && i + 1 < body.len &&
            (body.ptr[i + 1] == '`' || body.ptr[i + 1] == '\\'))
            i++;
        buf_char(&b, body.ptr[i]);
    }
    finish_text(lx, t, &b);
}

/* Days from 1970-01-01 of a proleptic Gregorian date. */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static int64_t digits(const char *p, int n)
{
    int64_t v = 0;
    for (int i = 0; i < n; i++)
        v = v * 10 + (p[i] - '0');
    return v;
}

/* YYYY-MM-DD HH:MM:SS+HHMM */
static bool lex_timestamp(Lexer *lx, Token *t)
{
    static const char pattern[] = "dddd-dd-dd dd:dd:ddsdddd";
    enum { N = sizeof pattern - 1 };
    for (size_t i = 0; i < N; i++) {
        int ch = peek(lx, i);
        bool ok = pattern[i] == 'd'   ? is_digit(ch)
                  : pattern[i] == 's' ? ch == '+' || ch == '-'
                                      : ch == pattern[i];
        if (!ok)
            return false;
    }
    if (is_word(peek(lx, N)))
        return false;
    const char *p = lx->src.ptr + lx->at;
    int64_t year = digits(p, 4), month = digits(p + 5, 2), day = digits(p + 8, 2);
    int64_t hour = digits(p + 11, 2), minute = digits(p + 14, 2), second = digits(p + 17, 2);
    int64_t zone = digits(p + 20, 2) * 60 + digits(p + 22, 2);
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59)
        return false;
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    t->kind = TOK_TIME;
    t->text = text_slice(lx->src, lx->at, lx->at + N);
    if (day > month_days[month - 1] + (month == 2 && leap))
        report(lx->c, D_BAD_TIMESTAMP, (Pos){t->pos.line, t->pos.col, N, t->pos.off}, NO_HINT,
               "no such date " TEXT_FMT, TEXT_ARG(t->text));
    int64_t seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    seconds -= (p[19] == '-' ? -zone : zone) * 60;
    t->i = seconds * 1000;
    skip(lx, N);
    return true;
}

static void bad_number(Lexer *lx, Token *t)
{
    while (is_word(peek(lx, 0)) || (peek(lx, 0) == '.' && is_digit(peek(lx, 1))))
        skip(lx, 1);
    Text text = text_slice(lx->src, t->off, lx->at);
    report(lx->c, D_BAD_NUMBER, t->pos, NO_HINT, TEXT_FMT " is not a number", TEXT_ARG(text));
    t->kind = TOK_INT;
    t->text = text;
}

static void lex_number(Lexer *lx, Token *t)
{
    bool after_dot = lx->last == TOK_DOT;
    if (!after_dot && lex_timestamp(lx, t))
        return;
    t->kind = TOK_INT;
    while (is_digit(peek(lx, 0)))
        skip(lx, 1);
    if (!after_dot && peek(lx, 0) == '.' && peek(lx, 1) != '.') {
        if (is_digit(peek(lx, 1))) {
            t->kind = TOK_DEC;
            skip(lx, 1);
            while (is_digit(peek(lx, 0)))
                skip(lx, 1);
        } else if (!is_alpha(peek(lx, 1)) && peek(lx, 1) != '[' && peek(lx, 1) != '$' &&
                   peek(lx, 1) != '"') {
            skip(lx, 1);
            bad_number(lx, t);
            return;
        }
    }
    size_t sign = peek(lx, 1) == '+' || peek(lx, 1) == '-';
    if (!after_dot && (peek(lx, 0) == 'e' || peek(lx, 0) == 'E') && is_digit(peek(lx, 1 + sign))) {
        t->kind = TOK_DEC;
        skip(lx, 1 + sign);
        while (is_digit(peek(lx, 0)))
            skip(lx, 1);
        report_extension(lx->c, t->pos, 10, "an exponent");
    }
    if (is_word(peek(lx, 0))) {
        bad_number(lx, t);
        return;
    }
    t->text = text_slice(lx->src, t->off, lx->at);
    if (t->kind == TOK_INT && num_parse_int(t->text, &t->i))
        return;
    /* The sign of a negative literal is applied by the parser, which also tests
     * -9223372036854775808. */
    if (!num_parse_dec(t->text, &t->d))
        t->d = 0;
}

static TokKind operator_at(const Lexer *lx, size_t *len)
{
    static const struct {
        const char *text;
        TokKind kind;
    } table[] = {
        {"===", TOK_SEQ},    {"!==", TOK_SNE},     {"...", TOK_SPREAD}, {"==", TOK_EQ},
        {"!=", TOK_NE},      {">=", TOK_GE},       {"<=", TOK_LE},      {"&&", TOK_AND},
        {"||", TOK_OR},      {"?\?", TOK_NULLISH}, {"..", TOK_RANGE},   {"@>", TOK_HAS},
        {"!~", TOK_NMATCH},  {"{", TOK_LBRACE},    {"}", TOK_RBRACE},   {"(", TOK_LPAREN},
        {")", TOK_RPAREN},   {"[", TOK_LBRACKET},  {"]", TOK_RBRACKET}, {"=", TOK_ASSIGN},
        {":", TOK_COLON},    {",", TOK_COMMA},     {".", TOK_DOT},      {"|", TOK_PIPE},
        {"?", TOK_QUESTION}, {"!", TOK_BANG},      {"+", TOK_PLUS},     {"-", TOK_MINUS},
        {"*", TOK_STAR},     {"/", TOK_SLASH},     {"%", TOK_PERCENT},  {"<", TOK_LT},
        {">", TOK_GT},       {"~", TOK_TILDE},     {"@", TOK_AT},
    };
    Text rest = text_slice(lx->src, lx->at, lx->at + 3);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        Text op = text_from(table[i].text);
        if (text_starts(rest, op)) {
            *len = op.len;
            return table[i].kind;
        }
    }
    return TOK_ERROR;
}

static void lex_other(Lexer *lx, Token *t)
{
    size_t len;
    t->kind = operator_at(lx, &len);
    if (t->kind != TOK_ERROR) {
        skip(lx, len);
        return;
    }
    size_t at = lx->at;
    utf8_next(lx->src, &at);
    Text ch = text_slice(lx->src, lx->at, at);
    Text hint = NO_HINT;
    switch (ch.ptr[0]) {
    case ';': hint = TEXT("statements end at the line end"); break;
    case '&': hint = TEXT("use &&"); break;
    case '^': hint = TEXT("use |bitwise_xor"); break;
    case '#': hint = TEXT("use //"); break;
    default: break;
    }
    if ((unsigned char)ch.ptr[0] < 0x20 || ch.ptr[0] == 0x7F)
        report(lx->c, D_UNEXPECTED_CHAR, t->pos, hint, "unexpected control character 0x%02x",
               (unsigned)ch.ptr[0]);
    else
        report(lx->c, D_UNEXPECTED_CHAR, t->pos, hint, "unexpected character '" TEXT_FMT "'",
               TEXT_ARG(ch));
    skip(lx, at - lx->at);
}

static void lex_var(Lexer *lx, Token *t)
{
    skip(lx, 1);
    uint32_t from = lx->at;
    if (peek(lx, 0) == '$') {
        skip(lx, 1);
    } else {
        bool number = is_digit(peek(lx, 0));
        while (number ? is_digit(peek(lx, 0)) : is_word(peek(lx, 0)))
            skip(lx, 1);
    }
    t->text = text_slice(lx->src, from, lx->at);
    t->kind = TOK_VAR;
    if (t->text.len == 0) {
        report(lx->c, D_UNEXPECTED_CHAR, t->pos, TEXT("write a name behind it"),
               "unexpected character '$'");
        t->kind = TOK_ERROR;
    }
}

Token lex_next(Lexer *lx)
{
    Token t = {.glued = true};
    skip_space(lx, &t);
    t.off = lx->at;
    t.pos = here(lx);
    int ch = lx->c->oom ? -1 : peek(lx, 0);
    bool triple = ch >= 0 && peek(lx, 1) == ch && peek(lx, 2) == ch;
    if (ch < 0) {
        t.kind = TOK_EOF;
        t.text = lx->base ? TEXT("the end of the expression") : t.text;
    } else if (is_alpha(ch)) {
        t.kind = TOK_IDENT;
        while (is_word(peek(lx, 0)))
            skip(lx, 1);
        t.text = text_slice(lx->src, t.off, lx->at);
    } else if (is_digit(ch)) {
        lex_number(lx, &t);
    } else if (ch == '$') {
        lex_var(lx, &t);
    } else if (ch == '"' || ch == '\'') {
        if (triple)
            lex_block_text(lx, &t, (char)ch);
        else
            lex_line_text(lx, &t, (char)ch);
    } else if (ch == '`') {
        if (triple)
            lex_block_text(lx, &t, '`');
        else
            lex_backtick(lx, &t);
    } else {
        lex_other(lx, &t);
    }
    t.end = lx->at;
    t.pos.len = lx->line == t.pos.line && lx->col > t.pos.col ? lx->col - t.pos.col : 1;
    lx->last = t.kind;
    return t;
}
