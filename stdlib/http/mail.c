/* mail.c - util.send_email: one message to the mail server of option smtp.url, by libcurl, while
 * the fiber waits. Specification: runtime.md §4.6. */
#include <stdio.h>
#include <time.h>

#include "core/mem.h"
#include "core/tables.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/http/client.h"
#include "stdlib/outside.h"

enum { MAIL_MS = 30000, RECIPIENTS_MAX = 100, LINE_CHARS = 76, ENCODED_BYTES = 42 };

/* Clauses. */
enum { M_PROVIDER, M_SUBJECT, M_MESSAGE, M_TO, M_FROM, M_CC, M_BCC, M_REPLY_TO, M_SCHEDULED };

typedef struct Mail {
    Transfer t;
    struct curl_slist *to;
    size_t nto, sent;
    char id[37];
} Mail;

/* ---- addresses ---- */

/* "a@b.c" or "Name <a@b.c>", printable, on one line. */
static bool bare_address(Text t, Text *out)
{
    t = text_trim(t, TEXT(" \t"));
    size_t open = text_find(t, TEXT("<"), 0);
    if (open != SIZE_MAX) {
        if (!text_ends(t, TEXT(">")))
            return false;
        *out = text_slice(t, open + 1, t.len - 1);
    } else {
        *out = t;
    }
    size_t at = text_find(*out, TEXT("@"), 0);
    bool ok = at != SIZE_MAX && at > 0 && at + 1 < out->len;
    for (size_t i = 0; ok && i < t.len; i++)
        ok = (unsigned char)t.ptr[i] >= ' ' && t.ptr[i] != 127;
    for (size_t i = 0; ok && i < out->len; i++)
        ok = !strchr(" <>,;\"\\()", out->ptr[i]) && out->ptr[i];
    return ok;
}

static bool add_recipient(Mail *m, Text address)
{
    char z[340];
    int n = snprintf(z, sizeof z, "<" TEXT_FMT ">", TEXT_ARG(address));
    struct curl_slist *list = n > 0 && (size_t)n < sizeof z && m->nto < RECIPIENTS_MAX
                                  ? curl_slist_append(m->to, z)
                                  : NULL;
    if (list) {
        m->to = list;
        m->nto++;
    }
    return list != NULL;
}

static void header_text(Buf *out, Text t);

/* The address as it stands in a header, its name encoded. */
static void write_address(Buf *out, Text whole, Text bare)
{
    size_t open = text_find(whole, TEXT("<"), 0);
    if (open != SIZE_MAX) {
        header_text(out, text_trim(text_slice(whole, 0, open), TEXT(" \t\"")));
        buf_char(out, ' ');
    }
    buf_printf(out, "<" TEXT_FMT ">", TEXT_ARG(bare));
}

static bool one_address(Call *c, Mail *m, uint32_t i, Text t, Buf *header, bool recipient)
{
    Text bare;
    t = text_trim(t, TEXT(" \t"));
    if (!t.len)
        return true;
    if (!bare_address(t, &bare) || (recipient && !add_recipient(m, bare)))
        return call_bad_arg(c, i);
    if (header) {
        if (header->len)
            buf_cstr(header, ",\r\n ");
        write_address(header, t, bare);
    }
    return true;
}

/* A text of addresses between commas, or a list of such. */
static bool addresses(Call *c, Mail *m, uint32_t i, Buf *header, bool recipient)
{
    Value v = call_arg(c, i);
    uint32_t n = v.kind == V_LIST ? v.list->len : 1;
    for (uint32_t k = 0; k < n && !val_is_null(v); k++) {
        Value item = v.kind == V_LIST ? list_at(v.list, k) : v;
        if (val_is_null(item))
            continue;
        if (item.kind != V_TEXT)
            return call_bad_arg(c, i);
        Text t = val_text_view(item);
        for (size_t from = 0; from < t.len;) {
            size_t end = text_find(t, TEXT(","), from);
            if (!one_address(c, m, i, text_slice(t, from, end), header, recipient))
                return false;
            from = end == SIZE_MAX ? t.len : end + 1;
        }
    }
    return true;
}

/* ---- the message ---- */

/* RFC 2047 words where it is not plain ASCII; line breaks become blanks. */
static void header_text(Buf *out, Text t)
{
    bool plain = true;
    for (size_t i = 0; i < t.len && plain; i++)
        plain = (unsigned char)t.ptr[i] >= ' ' && (unsigned char)t.ptr[i] < 127;
    if (plain) {
        buf_text(out, t);
        return;
    }
    for (size_t from = 0; from < t.len;) {
        size_t end = from + ENCODED_BYTES < t.len ? from + ENCODED_BYTES : t.len;
        while (end < t.len && end > from + 1 && ((unsigned char)t.ptr[end] & 0xc0) == 0x80)
            end--;
        if (from)
            buf_cstr(out, "\r\n ");
        buf_cstr(out, "=?UTF-8?B?");
        base64_write(text_slice(t, from, end), false, '=', out);
        buf_cstr(out, "?=");
        from = end;
    }
}

static void body(Buf *out, Text message)
{
    Buf b = flt_buf();
    bool html = message.len && message.ptr[0] == '<';
    buf_printf(out,
               "MIME-Version: 1.0\r\nContent-Type: text/%s; charset=utf-8\r\n"
               "Content-Transfer-Encoding: base64\r\n\r\n",
               html ? "html" : "plain");
    base64_write(message, false, '=', &b);
    for (size_t at = 0; at < b.len; at += LINE_CHARS) {
        buf_text(out, text_slice(buf_view(&b), at, at + LINE_CHARS));
        buf_cstr(out, "\r\n");
    }
    out->failed = out->failed || b.failed;
    buf_deinit(&b);
}

static void named(Buf *out, const char *name, const Buf *value)
{
    if (value->len)
        buf_printf(out, "%s: " TEXT_FMT "\r\n", name, TEXT_ARG(buf_view(value)));
}

static bool write_mail(Call *c, Outside *o, Mail *m, Buf *sender)
{
    Text subject = TEXT(""), message = TEXT(""), from = o->opt.smtp_from, bare;
    Buf to = flt_buf(), cc = flt_buf(), reply = flt_buf(), who = flt_buf(), *out = &m->t.send;
    char date[64];
    time_t now = time(NULL);
    struct tm tm;
    bool ok = call_text_opt(c, M_SUBJECT, &subject) && call_text_opt(c, M_MESSAGE, &message);
    if (ok && call_has(c, M_FROM))
        ok = call_text(c, M_FROM, &from);
    ok = ok && (bare_address(from, &bare) || call_bad_arg(c, M_FROM)) &&
         addresses(c, m, M_TO, &to, true) && addresses(c, m, M_CC, &cc, true) &&
         addresses(c, m, M_BCC, NULL, true) && addresses(c, m, M_REPLY_TO, &reply, false) &&
         (m->nto || call_bad_arg(c, M_TO)) && uuid_make(c->services, m->id, c->err);
    if (ok) {
        size_t at = text_find(bare, TEXT("@"), 0);
        write_address(&who, from, bare);
        named(out, "From", &who);
        named(out, "To", &to);
        named(out, "Cc", &cc);
        named(out, "Reply-To", &reply);
        buf_cstr(out, "Subject: ");
        header_text(out, subject);
        gmtime_r(&now, &tm);
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
        buf_printf(out, "\r\nDate: %s\r\nMessage-ID: <%s" TEXT_FMT ">\r\n", date, m->id,
                   TEXT_ARG(text_slice(bare, at, bare.len)));
        body(out, message);
        buf_printf(sender, "<" TEXT_FMT ">", TEXT_ARG(bare));
        buf_char(sender, '\0');
        ok = !(out->failed || to.failed || cc.failed || reply.failed || sender->failed) ||
             call_fail(c, XS_E_NOMEM, NULL);
    }
    buf_deinit(&to);
    buf_deinit(&cc);
    buf_deinit(&reply);
    buf_deinit(&who);
    return ok;
}

/* ---- sending ---- */

static size_t give(char *into, size_t one, size_t n, void *arg)
{
    Mail *m = arg;
    size_t left = m->t.send.len - m->sent, room = one * n;
    size_t count = left < room ? left : room;
    memcpy(into, m->t.send.ptr + m->sent, count);
    m->sent += count;
    return count;
}

static bool result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)thrown;
    Mail *m = (Mail *)w;
    Text problem = transfer_problem(&m->t);
    if (problem.ptr)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "The mail could not be sent: " TEXT_FMT,
                       TEXT_ARG(text_slice(problem, 0, 180)));
    Value v = map_new(h, 2);
    bool ok = v.kind == V_MAP && map_set_text(h, &v, TEXT("status"), text_new(h, TEXT("sent"))) &&
              map_set_text(h, &v, TEXT("id"), text_new(h, text_from(m->id)));
    if (ok) {
        *out = v;
        return true;
    }
    val_unref(h, v);
    return heap_fail(h, err);
}

static void mail_free(Wait *w)
{
    Mail *m = (Mail *)w;
    transfer_deinit(&m->t);
    curl_slist_free_all(m->to);
    mem_free(m);
}

static const WaitOps ops = {transfer_start, transfer_cancel, result, mail_free};

static bool set_up(Call *c, Outside *o, Mail *m, const Buf *sender)
{
    CURL *e = m->t.easy;
    Buf url = BUF_INIT;
    buf_text(&url, o->opt.smtp_url);
    buf_char(&url, '\0');
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(e, CURLOPT_USE_SSL, (long)CURLUSESSL_TRY);
    curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(e, CURLOPT_READDATA, m);
    curl_easy_setopt(e, CURLOPT_MAIL_RCPT, m->to);
    bool ok = !url.failed && curl_easy_setopt(e, CURLOPT_URL, url.ptr) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_MAIL_FROM, sender->ptr) == CURLE_OK;
    buf_deinit(&url);
    return ok || call_fail(c, XS_E_NOMEM, NULL);
}

/* Without a mail server: what would have gone, but for keys. */
static bool log_mail(Call *c)
{
    const StatementInfo *info = c->row;
    Value mail = map_new(c->heap, 8), line = map_new(c->heap, 1), answer = map_new(c->heap, 1);
    bool ok = mail.kind == V_MAP && line.kind == V_MAP && answer.kind == V_MAP;
    for (uint32_t i = 0; ok && i < info->nclauses && i <= M_REPLY_TO; i++)
        if (call_has(c, i))
            ok = map_set_text(c->heap, &mail, info->clauses[i].name, val_ref(call_arg(c, i)));
    ok = ok && map_set_text(c->heap, &line, TEXT("email"), val_ref(mail)) &&
         map_set_text(c->heap, &answer, TEXT("status"), text_new(c->heap, TEXT("logged")));
    ok = ok ? call_log(c, line) : flt_memory(c);
    val_unref(c->heap, mail);
    val_unref(c->heap, line);
    if (ok)
        return call_return(c, answer);
    val_unref(c->heap, answer);
    return false;
}

NativeResult op_util_send_email(Call *c)
{
    Outside *o = call_outside(c);
    if (!o)
        return NATIVE_ERROR;
    if (call_has(c, M_SCHEDULED) && val_truthy(call_arg(c, M_SCHEDULED))) {
        call_fail(c, XS_E_UNSUPPORTED, "util.send_email: scheduled_at is not supported");
        return NATIVE_ERROR;
    }
    if (!o->opt.smtp_url.len)
        return log_mail(c) ? NATIVE_OK : NATIVE_ERROR;
    Mail *m = (Mail *)transfer_new(o->http, sizeof *m);
    if (!m) {
        call_fail(c, XS_E_NOMEM, NULL);
        return NATIVE_ERROR;
    }
    m->t.wait.ops = &ops;
    m->t.wait.timeout_ms = MAIL_MS;
    Buf sender = BUF_INIT;
    bool ok = write_mail(c, o, m, &sender) && set_up(c, o, m, &sender);
    buf_deinit(&sender);
    if (ok)
        return wait_for(c, o->io, &m->t.wait);
    mail_free(&m->t.wait);
    return NATIVE_ERROR;
}
