/* address.c - connection strings. libpq reads them; here only what it may see is let through, and
 * what it would take from elsewhere is filled in. */
#include <netinet/in.h>

#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "stdlib/postgres/postgres_i.h"

enum { CONNECT_MS = 10000, CONNECT_MAX_S = 600, ADDRESSES_MAX = 8 };

/* Setting, and its value when the program gives none; NULL = libpq's own. */
static const struct {
    const char *name, *otherwise;
} allowed[] = {
    {"application_name", "xs"},
    {"channel_binding", NULL},
    {"dbname", NULL},
    {"gssencmode", "disable"},
    {"keepalives", NULL},
    {"keepalives_count", NULL},
    {"keepalives_idle", NULL},
    {"keepalives_interval", NULL},
    {"options", ""},
    {"password", ""},
    {"sslcert", NULL},
    {"sslcrl", NULL},
    {"sslkey", NULL},
    {"sslmode", "prefer"},
    {"sslpassword", NULL},
    {"sslrootcert", NULL},
    {"sslsni", NULL},
    {"ssl_max_protocol_version", NULL},
    {"ssl_min_protocol_version", NULL},
    {"tcp_user_timeout", NULL},
    {"user", NULL},
};

static void setting(Buf *out, const char *name, Text value)
{
    buf_printf(out, "%s='", name);
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '\'' || value.ptr[i] == '\\')
            buf_char(out, '\\');
        buf_char(out, value.ptr[i]);
    }
    buf_cstr(out, "' ");
}

static bool refuse(xs_error *err, const char *why)
{
    return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "connection_string: %s", why);
}

static const char *given(const PQconninfoOption *all, const char *name)
{
    for (const PQconninfoOption *o = all; o->keyword; o++)
        if (strcmp(o->keyword, name) == 0)
            return o->val && *o->val ? o->val : NULL;
    return NULL;
}

static bool is_allowed(const char *name)
{
    static const char *const placed[] = {"host", "hostaddr", "port", "connect_timeout",
                                         "client_encoding"};
    for (size_t i = 0; i < COUNT_OF(placed); i++)
        if (strcmp(placed[i], name) == 0)
            return true;
    for (size_t i = 0; i < COUNT_OF(allowed); i++)
        if (strcmp(allowed[i].name, name) == 0)
            return true;
    return false;
}

/* A password with @ or / in it that was not written as %40 ends up in these. */
static bool host_is_plain(const char *host)
{
    if (*host == '/')
        return true;
    for (const char *c = host; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              strchr("._:-", *c)))
            return false;
    return true;
}

static bool check(const PQconninfoOption *all, bool uri, xs_error *err)
{
    const char *host = given(all, "host"), *address = given(all, "hostaddr"),
               *port = given(all, "port"), *db = given(all, "dbname");
    int64_t n = 5432;
    for (const PQconninfoOption *o = all; o->keyword; o++)
        if (o->val && *o->val && !is_allowed(o->keyword))
            return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "connection_string: '%s' is not supported",
                           o->keyword);
    if ((!host && !address) || !given(all, "user"))
        return refuse(err, "it has to name host and user");
    if ((host && !host_is_plain(host)) || (address && !host_is_plain(address)) ||
        (uri && db && strpbrk(db, "@/")))
        return refuse(err, "one host, and in a URI %40 for @ and %2F for / of user and password");
    if (port && (!num_parse_int(text_from(port), &n) || n < 1 || n > 65535))
        return refuse(err, "the port is a number from 1 to 65535");
    return true;
}

static bool copy(char **out, const char *text, xs_error *err)
{
    *out = mem_strndup(text, strlen(text));
    return *out || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static bool take(const PQconninfoOption *all, PgAddress *out, xs_error *err)
{
    const char *host = given(all, "host"), *address = given(all, "hostaddr"),
               *port = given(all, "port"), *wait = given(all, "connect_timeout");
    Buf b = BUF_INIT;
    int64_t s = 0;
    for (size_t i = 0; i < COUNT_OF(allowed); i++) {
        const char *value = given(all, allowed[i].name);
        if (!value && strcmp(allowed[i].name, "dbname") == 0)
            value = given(all, "user");
        value = value ? value : allowed[i].otherwise;
        if (value)
            setting(&b, allowed[i].name, text_from(value));
    }
    setting(&b, "passfile", TEXT("/dev/null/none")); /* an empty one would mean the home folder's */
    setting(&b, "client_encoding", TEXT("UTF8"));
    setting(&b, "target_session_attrs", TEXT("any"));
    out->connect_ms = CONNECT_MS;
    if (wait && num_parse_int(text_from(wait), &s) && s > 0 && s <= CONNECT_MAX_S)
        out->connect_ms = s * 1000;
    out->settings = buf_take(&b, NULL);
    return (out->settings || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.")) &&
           copy(&out->host, address ? address : host, err) &&
           copy(&out->name, host ? host : address, err) &&
           copy(&out->port, port ? port : "5432", err);
}

bool pg_address_parse(Text connection, PgAddress *out, xs_error *err)
{
    *out = (PgAddress){0};
    char *text = mem_strndup(connection.ptr, connection.len), *message = NULL;
    if (!text)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    bool whole = strlen(text) == connection.len;
    PQconninfoOption *all = whole ? PQconninfoParse(text, &message) : NULL;
    bool uri = text_starts(connection, TEXT("postgres://")) ||
               text_starts(connection, TEXT("postgresql://"));
    bool ok = all || refuse(err, "expected postgresql://user:password@host/database or "
                                 "key=value pairs");
    ok = ok && check(all, uri, err) && take(all, out, err);
    PQfreemem(message);
    PQconninfoFree(all);
    mem_free(text);
    if (!ok)
        pg_address_deinit(out);
    return ok;
}

void pg_address_deinit(PgAddress *a)
{
    mem_free(a->settings);
    mem_free(a->host);
    mem_free(a->name);
    mem_free(a->port);
    *a = (PgAddress){0};
}

bool pg_address_eq(const PgAddress *a, const PgAddress *b)
{
    return strcmp(a->settings, b->settings) == 0 && strcmp(a->host, b->host) == 0 &&
           strcmp(a->name, b->name) == 0 && strcmp(a->port, b->port) == 0;
}

bool pg_address_is_socket(const PgAddress *a)
{
    return *a->host == '/';
}

static bool print_address(const struct sockaddr *a, char *out, socklen_t size)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (a->sa_family == AF_INET) {
        memcpy(&in, a, sizeof in);
        return evutil_inet_ntop(AF_INET, &in.sin_addr, out, size) != NULL;
    }
    if (a->sa_family != AF_INET6)
        return false;
    memcpy(&in6, a, sizeof in6);
    return evutil_inet_ntop(AF_INET6, &in6.sin6_addr, out, size) != NULL;
}

char *pg_address_conninfo(const PgAddress *a, const struct evutil_addrinfo *found)
{
    Buf b = BUF_INIT, hosts = BUF_INIT, addresses = BUF_INIT, ports = BUF_INIT;
    char printed[64];
    int n = 0;
    for (const struct evutil_addrinfo *f = found; f && n < ADDRESSES_MAX; f = f->ai_next) {
        if (!print_address(f->ai_addr, printed, sizeof printed))
            continue;
        buf_printf(&hosts, "%s%s", n ? "," : "", a->name);
        buf_printf(&addresses, "%s%s", n ? "," : "", printed);
        buf_printf(&ports, "%s%s", n ? "," : "", a->port);
        n++;
    }
    buf_cstr(&b, a->settings);
    setting(&b, "host", n ? buf_view(&hosts) : text_from(a->host));
    setting(&b, "hostaddr", buf_view(&addresses));
    setting(&b, "port", n ? buf_view(&ports) : text_from(a->port));
    b.failed = b.failed || hosts.failed || addresses.failed || ports.failed;
    buf_deinit(&hosts);
    buf_deinit(&addresses);
    buf_deinit(&ports);
    return buf_take(&b, NULL);
}
