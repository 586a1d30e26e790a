/* xs/redisurl.h - where a Redis server is, for whatever speaks to one: the cache and the backplane.
 * Header only; its users link libevent_extra. */
#ifndef XS_REDISURL_H
#define XS_REDISURL_H

#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#include "include/xs/error.h"

typedef struct xs_redis_url {
    char *host, *user, *password; /* user, password: NULL = none */
    int port, number;             /* number: of the database */
} xs_redis_url;

static inline void xs_redis_url_free(xs_redis_url *u)
{
    free(u->host);
    free(u->user);
    free(u->password);
    *u = (xs_redis_url){0};
}

/* "user:password", or the password alone. */
static inline bool xs_redis_url_login(xs_redis_url *u, const char *login)
{
    const char *colon = login ? strchr(login, ':') : NULL;
    char *user = colon && colon > login ? strndup(login, (size_t)(colon - login)) : NULL;
    if (user)
        u->user = evhttp_uridecode(user, 0, NULL);
    free(user);
    if (login)
        u->password = evhttp_uridecode(colon ? colon + 1 : login, 0, NULL);
    return !login || (u->password && (!user || u->user));
}

static inline bool xs_redis_url_place(xs_redis_url *u, const struct evhttp_uri *uri)
{
    const char *host = evhttp_uri_get_host(uri), *path = evhttp_uri_get_path(uri);
    int port = evhttp_uri_get_port(uri);
    if (!host || !*host || port == 0 || port > 65535 || evhttp_uri_get_query(uri) ||
        evhttp_uri_get_fragment(uri))
        return false;
    size_t len = strlen(host);
    bool v6 = host[0] == '[';
    u->host = strndup(host + v6, len - 2 * v6);
    u->port = port < 0 ? 6379 : port;
    char *end = NULL;
    long number = path && *path ? strtol(path + 1, &end, 10) : 0;
    u->number = (int)number;
    return u->host && (!end || *end == '\0') && number >= 0 && number <= 65535;
}

/**
 * redis://[user:password@]host[:port][/number]; %XX in user and password.
 * @param option  that holds it, for the message
 * @return false: XS_E_CONFIG; *u is empty
 */
static inline bool xs_redis_url_read(xs_redis_url *u, const char *url, size_t len,
                                     const char *option, xs_error *err)
{
    *u = (xs_redis_url){0};
    char *text = strndup(url, len);
    struct evhttp_uri *uri = text ? evhttp_uri_parse(text) : NULL;
    const char *scheme = uri ? evhttp_uri_get_scheme(uri) : NULL;
    bool tls = scheme && strcmp(scheme, "rediss") == 0;
    bool ok = scheme && strcmp(scheme, "redis") == 0 && xs_redis_url_place(u, uri) &&
              xs_redis_url_login(u, evhttp_uri_get_userinfo(uri));
    free(text);
    if (uri)
        evhttp_uri_free(uri);
    if (ok)
        return true;
    xs_redis_url_free(u);
    return tls ? xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                         "%s: rediss:// (TLS) is not supported: use a tunnel on this machine",
                         option)
               : xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                         "%s: expected redis://[user:password@]host[:port][/number], with %%XX for "
                         "special characters",
                         option);
}

#endif
