/* diag_export.c - diagnostics for other tools: annotations of GitHub's workflows, SARIF 2.1.0. */
#include <string.h>

#include "core/diag.h"
#include "core/json.h"
#include "core/text.h"

static const struct {
    const char *id, *doc;
} rules[] = {
#define DIAG(id, text, severity, doc) {text, doc},
#include "core/lang/diags.def"
#undef DIAG
};

/* Values of a workflow command: '%' and line ends are escaped, in properties ':' and ',' too. */
static void put_escaped(Buf *out, Text t, bool property)
{
    for (size_t i = 0; i < t.len; i++) {
        char ch = t.ptr[i];
        bool control = (unsigned char)ch < 0x20 || ch == '%';
        if (control || (property && (ch == ':' || ch == ',')))
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)ch);
        else
            buf_char(out, ch);
    }
}

void diag_github(const DiagList *d, Buf *out)
{
    for (size_t i = 0; i < d->count; i++) {
        const Diag *item = &d->items[i];
        buf_cstr(out, item->severity == SEV_ERROR ? "::error " : "::warning ");
        if (item->pos.file) {
            buf_cstr(out, "file=");
            put_escaped(out, text_from(item->pos.file), true);
            buf_char(out, ',');
        }
        if (item->pos.line)
            buf_printf(out, "line=%u,col=%u,endColumn=%u,", item->pos.line, item->pos.col,
                       item->pos.col + (item->pos.len ? item->pos.len : 1));
        buf_printf(out, "title=%s::", item->id);
        put_escaped(out, item->message, false);
        if (item->hint.ptr) {
            buf_cstr(out, "%0Ahint: ");
            put_escaped(out, item->hint, false);
        }
        buf_char(out, '\n');
    }
}

/* Each id once: rows that differ only in severity share it. */
static bool first_of_id(size_t row)
{
    for (size_t i = 0; i < row; i++)
        if (strcmp(rules[i].id, rules[row].id) == 0)
            return false;
    return true;
}

static void sarif_result(const Diag *item, Buf *out)
{
    buf_printf(out, "{\"ruleId\":\"%s\",\"level\":\"%s\",\"message\":{\"text\":", item->id,
               item->severity == SEV_ERROR ? "error" : "warning");
    Buf message = BUF_INIT;
    buf_text(&message, item->message);
    if (item->hint.ptr) {
        buf_cstr(&message, "; ");
        buf_text(&message, item->hint);
    }
    json_write_text(out, buf_view(&message));
    out->failed |= message.failed;
    buf_deinit(&message);
    buf_char(out, '}');
    if (item->pos.file) {
        buf_cstr(out, ",\"locations\":[{\"physicalLocation\":{\"artifactLocation\":{\"uri\":");
        json_write_text(out, text_from(item->pos.file));
        buf_char(out, '}');
        if (item->pos.line)
            buf_printf(out, ",\"region\":{\"startLine\":%u,\"startColumn\":%u,\"endColumn\":%u}",
                       item->pos.line, item->pos.col,
                       item->pos.col + (item->pos.len ? item->pos.len : 1));
        buf_cstr(out, "}}]");
    }
    buf_char(out, '}');
}

void diag_sarif(const DiagList *d, Buf *out)
{
    buf_cstr(out, "{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":"
                  "\"2.1.0\",\"runs\":[{\"columnKind\":\"unicodeCodePoints\",\"tool\":{\"driver\":"
                  "{\"name\":\"xs\",\"version\":\"" XS_VERSION "\",\"rules\":[");
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (!first_of_id(i))
            continue;
        buf_printf(out, "%s{\"id\":\"%s\",\"shortDescription\":{\"text\":", i ? "," : "",
                   rules[i].id);
        json_write_text(out, text_from(rules[i].doc));
        buf_cstr(out, "}}");
    }
    buf_cstr(out, "]}},\"results\":[");
    for (size_t i = 0; i < d->count; i++) {
        if (i)
            buf_char(out, ',');
        sarif_result(&d->items[i], out);
    }
    buf_cstr(out, "]}]}\n");
}
