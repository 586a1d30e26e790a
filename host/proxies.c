/* proxies.c - networks as bits of IPv6 addresses; an IPv4 address is ::ffff:a.b.c.d. */
#include "host/proxies.h"

#include <arpa/inet.h>

#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "core/vec.h"

enum { BITS = 128, V4_BITS = 96 };

typedef struct Network {
    struct in6_addr address;
    uint32_t bits;
} Network;

struct Proxies {
    VEC(Network) nets;
};

/* The port behind it, and brackets, are left out. */
static Text bare(Text t)
{
    t = text_trim(t, TEXT(" \t"));
    if (text_starts(t, TEXT("[")))
        return text_slice(t, 1, text_find(t, TEXT("]"), 0));
    size_t colon = text_find(t, TEXT(":"), 0);
    bool port = colon != SIZE_MAX && text_find(t, TEXT(":"), colon + 1) == SIZE_MAX;
    return port ? text_slice(t, 0, colon) : t;
}

/* Without bits: all of them. */
static bool read_network(Text t, Network *out)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    if (!t.len || t.len >= sizeof text)
        return false;
    memcpy(text, t.ptr, t.len);
    text[t.len] = '\0';
    *out = (Network){.bits = 0};
    if (inet_pton(AF_INET6, text, &out->address) == 1)
        return true;
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    out->address.s6_addr[10] = out->address.s6_addr[11] = 0xff;
    memcpy(&out->address.s6_addr[12], &v4, sizeof v4);
    out->bits = V4_BITS;
    return true;
}

/* "10.0.0.0/8", "::1" */
static bool read_rule(Text t, Network *out)
{
    size_t slash = text_find(t, TEXT("/"), 0);
    int64_t bits = BITS;
    if (!read_network(text_slice(t, 0, slash), out))
        return false;
    if (slash != SIZE_MAX) {
        if (!num_parse_int(text_slice(t, slash + 1, t.len), &bits) || bits < 0)
            return false;
        bits += out->bits;
    }
    out->bits = (uint32_t)bits;
    return bits <= BITS;
}

Proxies *proxies_new(Text list, xs_error *err)
{
    Proxies *p = mem_zalloc(1, sizeof *p);
    bool ok = p || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    while (ok && list.len) {
        Text rule = text_next(&list);
        Network net;
        if (!read_rule(rule, &net))
            ok = xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                         "proxies: '" TEXT_FMT "' is no address or network such as 10.0.0.0/8",
                         TEXT_ARG(rule));
        else
            ok = VEC_PUSH(&p->nets, net) || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    }
    if (ok)
        return p;
    proxies_free(p);
    return NULL;
}

void proxies_free(Proxies *p)
{
    if (!p)
        return;
    VEC_DEINIT(&p->nets);
    mem_free(p);
}

static bool is_in(const struct in6_addr *a, const Network *net)
{
    uint32_t whole = net->bits / 8, rest = net->bits % 8;
    return memcmp(a, &net->address, whole) == 0 &&
           (!rest || (a->s6_addr[whole] ^ net->address.s6_addr[whole]) >> (8 - rest) == 0);
}

bool proxies_has(const Proxies *p, Text address)
{
    Network at;
    if (!p->nets.len || !read_network(address, &at))
        return false;
    for (size_t i = 0; i < p->nets.len; i++)
        if (is_in(&at.address, &p->nets.ptr[i]))
            return true;
    return false;
}

Text proxies_client(const Proxies *p, Arena *a, Text peer, Text forwarded)
{
    Text client = peer;
    Network ignored;
    for (size_t end = forwarded.len; end > 0 && proxies_has(p, client);) {
        size_t begin = end;
        while (begin > 0 && forwarded.ptr[begin - 1] != ',')
            begin--;
        Text at = bare(text_slice(forwarded, begin, end));
        if (!read_network(at, &ignored))
            break; /* "unknown", or a name: whoever said so is the last one that is known */
        client = at;
        end = begin ? begin - 1 : 0;
    }
    return arena_text(a, client);
}
