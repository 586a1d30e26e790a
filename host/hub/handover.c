/* handover.c - the file: a head, then chunks, each a length and one MessagePack list: a space, or a
 * channel of the space before with its ring. */
#include "host/hub/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/bundle.h"
#include "core/fd.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/channel.h"
#include "host/hub/l2_store.h"
#include "host/hub/shard.h"

enum {
    VERSION = 1,
    FILE_MAX = 256 << 20,
    SPACE_PARTS = 6,
    CHANNEL_PARTS = 5,
    EVENT_PARTS = 15,
    PER_EVENT = 128, /* bytes beside its texts, at most */
    PATH_BYTES = 4096
};

typedef struct FileHead {
    char magic[8];
    uint32_t version, checksum; /* of the body */
    uint64_t bytes;
    uint64_t inode; /* of the file: a copy of it is of no use, the original may have been used */
    int64_t written_ms;
} FileHead;

static const char magic[8] = "xs-rings";

/* ---- writing ---- */

typedef struct Writer {
    int fd;
    FileHead head;
    Buf chunk;
    bool failed;
} Writer;

static int to_chunk(void *data, const char *bytes, size_t len)
{
    return buf_append(data, bytes, len) ? 0 : -1;
}

static void pack_text(msgpack_packer *pk, Text t)
{
    msgpack_pack_str(pk, t.len);
    msgpack_pack_str_body(pk, t.len ? t.ptr : "", t.len);
}

static void pack_word(msgpack_packer *pk, uint64_t n)
{
    msgpack_pack_int64(pk, (int64_t)n);
}

static void put(Writer *w, const void *bytes, size_t len)
{
    w->failed = w->failed || !fd_write_all(w->fd, bytes, len);
    w->head.checksum = (uint32_t)crc32_z(w->head.checksum, bytes, len);
    w->head.bytes += len;
}

static void end_chunk(Writer *w)
{
    uint32_t len = (uint32_t)w->chunk.len;
    w->failed = w->failed || w->chunk.failed || w->chunk.len > FILE_MAX;
    if (!w->failed) {
        put(w, &len, sizeof len);
        put(w, w->chunk.ptr, len);
    }
    w->chunk.len = 0;
}

static void pack_event(msgpack_packer *pk, const Event *ev)
{
    msgpack_pack_array(pk, EVENT_PARTS);
    pack_word(pk, ev->frame.seq);
    pack_word(pk, ev->frame.off);
    pack_word(pk, (uint64_t)ev->frame.ts);
    pack_word(pk, ev->frame.flags);
    pack_word(pk, (uint64_t)ev->dbo_id);
    pack_text(pk, ev->row_id);
    pack_text(pk, text_from(ev->exclude));
    pack_text(pk, text_from(ev->target));
    pack_text(pk, text_from(ev->sender));
    pack_word(pk, ev->frame.topic);
    pack_word(pk, ev->log_id);
    pack_word(pk, ev->payload_at);
    pack_word(pk, ev->payload_len);
    pack_text(pk, event_sender(ev));
    pack_text(pk, (Text){ev->frame.json.ptr, ev->frame.json.len});
}

static void write_channel(Writer *w, const Channel *ch)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, &w->chunk, to_chunk);
    msgpack_pack_array(&pk, CHANNEL_PARTS);
    pack_text(&pk, ch->name);
    pack_word(&pk, ch->off);
    pack_word(&pk, ch->last_seq);
    pack_word(&pk, ch->ring.evicted_seq);
    msgpack_pack_array(&pk, ch->ring.count);
    for (size_t i = 0; i < ch->ring.count; i++)
        pack_event(&pk, ring_at(&ch->ring, i));
    end_chunk(w);
}

/* What is not in the file counts as forgotten. */
static uint64_t forgotten(const Space *s, size_t *bytes)
{
    uint64_t seq = s->reaped_seq;
    size_t at = 0;
    const MapSlot *slot;
    while ((slot = map_next(&s->channels, &at))) {
        const Channel *ch = slot->value;
        *bytes += ch->ring.bytes + ch->ring.count * PER_EVENT;
        if (!ch->ring.count && ch->last_seq > seq)
            seq = ch->last_seq;
    }
    return seq;
}

static void write_space(Writer *w, Space *s)
{
    msgpack_packer pk;
    size_t bytes = 0, at = 0;
    const MapSlot *slot;
    space_lock(s);
    uint64_t reaped = forgotten(s, &bytes);
    if (w->head.bytes + bytes > FILE_MAX) {
        hub_log(1, "realtime: " TEXT_FMT " is too large to be handed over", TEXT_ARG(s->key));
        space_unlock(s);
        return;
    }
    msgpack_packer_init(&pk, &w->chunk, to_chunk);
    msgpack_pack_array(&pk, SPACE_PARTS);
    pack_text(&pk, s->tenant);
    pack_text(&pk, s->canonical);
    pack_word(&pk, s->server != NULL);
    pack_word(&pk, s->epoch);
    pack_word(&pk, s->seq);
    pack_word(&pk, reaped);
    end_chunk(w);
    while ((slot = map_next(&s->channels, &at)))
        if (((const Channel *)slot->value)->ring.count)
            write_channel(w, slot->value);
    space_unlock(s);
}

static bool write_file(Hub *h, int fd, int64_t now_ms)
{
    struct stat st;
    Writer w = {.fd = fd, .head = {.version = VERSION, .written_ms = now_ms}};
    size_t at = 0;
    const MapSlot *slot;
    if (fstat(fd, &st) != 0 || lseek(fd, sizeof w.head, SEEK_SET) < 0)
        return false;
    while ((slot = map_next(&h->spaces, &at)))
        write_space(&w, slot->value);
    buf_deinit(&w.chunk);
    memcpy(w.head.magic, magic, sizeof magic);
    w.head.inode = (uint64_t)st.st_ino;
    return !w.failed && lseek(fd, 0, SEEK_SET) == 0 && fd_write_all(fd, &w.head, sizeof w.head) &&
           fsync(fd) == 0;
}

static bool sync_folder(const char *path)
{
    char folder[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 1;
    snprintf(folder, sizeof folder, "%.*s", (int)len, slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

bool hub_hand_over(Hub *h, const char *path, int64_t now_ms, xs_error *err)
{
    char temporary[PATH_BYTES];
    store_close(h->store);
    h->store = NULL;
    if (h->plane.ops)
        return true;
    if (snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid()) >= PATH_BYTES)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: the path is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", temporary, strerror(errno));
    pthread_mutex_lock(&h->lock);
    bool ok = write_file(h, fd, now_ms);
    pthread_mutex_unlock(&h->lock);
    ok = ok && rename(temporary, path) == 0 && sync_folder(path);
    if (!ok) {
        xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
        (void)unlink(temporary);
    }
    close(fd);
    return ok;
}

/* ---- reading ---- */

typedef struct Taken {
    Space *space;
    uint64_t epoch;
} Taken;

typedef struct Reader {
    Hub *hub;
    VEC(Taken) taken;
    Space *space; /* of the channels that follow; NULL: not of this program */
    uint64_t epoch, events;
} Reader;

static bool is_list(const Const *c, uint32_t parts)
{
    return c && c->kind == C_LIST && c->count == parts;
}

/* Words from..parts-1 of the list, texts where mask has a bit. */
static bool shaped(const Const *c, uint32_t parts, uint32_t texts)
{
    for (uint32_t i = 0; i < parts; i++)
        if (c->items[i]->kind != (texts >> i & 1 ? C_TEXT : C_INT))
            return false;
    return true;
}

static uint64_t word(const Const *list, uint32_t i)
{
    return (uint64_t)list->items[i]->i;
}

static Event *read_event(const Const *c, const Space *s, uint64_t epoch)
{
    enum { TEXTS = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14 };
    Buf b;
    if (!is_list(c, EVENT_PARTS) || !shaped(c, EVENT_PARTS, TEXTS))
        return NULL;
    Text json = c->items[14]->text;
    uint64_t payload_at = word(c, 11), payload_len = word(c, 12);
    if (word(c, 0) > s->seq || json.len < 2 || payload_at > json.len ||
        payload_len > json.len - payload_at)
        return NULL;
    frame_begin(&b, json.len);
    buf_text(&b, json);
    Event *ev = frame_end_from(&b, (uint32_t)word(c, 3) | XS_FRAME_STORED, (int64_t)word(c, 4),
                               c->items[5]->text, c->items[13]->text);
    if (!ev)
        return NULL;
    ev->frame.seq = word(c, 0);
    ev->frame.off = word(c, 1);
    ev->frame.ts = (int64_t)word(c, 2);
    ev->frame.epoch = epoch;
    ev->frame.topic = word(c, 9);
    event_set_socket(ev->exclude, c->items[6]->text);
    event_set_socket(ev->target, c->items[7]->text);
    event_set_socket(ev->sender, c->items[8]->text);
    ev->log_id = word(c, 10);
    ev->payload_at = (uint32_t)payload_at;
    ev->payload_len = (uint32_t)payload_len;
    return ev;
}

/* NULL: not a channel of the program any more. */
static const ChannelConfig *config_of(const Hub *h, const Space *s, Text name)
{
    if (!s->server)
        return channel_name_valid(name) ? patterns_resolve(h->patterns, name) : NULL;
    const L2Channel *ch = l2_path_valid(name) ? l2_match(s->server, name) : NULL;
    return ch ? &ch->config : NULL;
}

static bool read_ring(Reader *r, Channel *ch, const Const *events)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < events->count; i++) {
        Event *ev = read_event(events->items[i], r->space, r->epoch);
        bool ok = ev && ev->frame.seq > last && channel_restore(ch, ev);
        last = ev ? ev->frame.seq : 0;
        if (ev)
            frame_unref(&ev->frame);
        if (!ok)
            return false;
        r->events++;
    }
    return true;
}

static bool read_channel(Reader *r, const Const *c)
{
    Space *s = r->space;
    if (!shaped(c, CHANNEL_PARTS - 1, 1) || c->items[4]->kind != C_LIST)
        return false;
    if (!s)
        return true;
    Text name = c->items[0]->text;
    const ChannelConfig *config = config_of(r->hub, s, name);
    uint64_t last_seq = word(c, 2), evicted = word(c, 3);
    if (last_seq > s->seq || evicted > last_seq)
        return false;
    if (!config) {
        s->reaped_seq = last_seq > s->reaped_seq ? last_seq : s->reaped_seq;
        return true;
    }
    Channel *ch = space_find(s, name) ? NULL : space_channel(s, name, config);
    if (!ch)
        return false;
    ch->ring.evicted_seq = evicted;
    bool ok = read_ring(r, ch, c->items[4]) && ch->last_seq == last_seq;
    ch->off = word(c, 1);
    channel_settle(ch);
    return ok;
}

static bool read_space(Reader *r, const Const *c)
{
    if (!shaped(c, SPACE_PARTS, 3))
        return false;
    Space *s = hub_find_space(r->hub, c->items[0]->text, c->items[1]->text);
    r->space = s && space_is_server(s) == (word(c, 2) != 0) ? s : NULL;
    r->epoch = word(c, 3);
    if (!r->space)
        return true;
    if (s->seq || s->channels.count || word(c, 4) > INT64_MAX || word(c, 5) > word(c, 4) ||
        !VEC_PUSH(&r->taken, ((Taken){s, r->epoch})))
        return false;
    s->seq = word(c, 4);
    s->reaped_seq = word(c, 5);
    return true;
}

static bool read_chunk(Reader *r, Text chunk)
{
    Arena a;
    arena_init(&a, 0);
    const Const *c = msgpack_read_const(&a, chunk);
    bool ok = is_list(c, SPACE_PARTS)     ? read_space(r, c)
              : is_list(c, CHANNEL_PARTS) ? read_channel(r, c)
                                          : false;
    arena_deinit(&a);
    return ok;
}

/* As if nothing had been read: the numbers of the file are of no use without the rest of it. */
static void begin_anew(Space *s)
{
    MapSlot *slot;
    size_t at = 0;
    while ((slot = map_next(&s->channels, &at))) {
        channel_free(slot->value);
        at = 0;
    }
    s->seq = s->reaped_seq = 0;
}

bool handover_apply(Hub *h, Text body, uint64_t *events)
{
    Reader r = {.hub = h};
    bool ok = true;
    for (size_t at = 0; ok && at < body.len;) {
        uint32_t len;
        ok = body.len - at >= sizeof len;
        if (!ok)
            break;
        memcpy(&len, body.ptr + at, sizeof len);
        at += sizeof len;
        ok = len <= body.len - at && read_chunk(&r, text_slice(body, at, at + len));
        at += len;
    }
    for (size_t i = 0; i < r.taken.len; i++) {
        const Taken *t = &r.taken.ptr[i];
        if (ok)
            t->space->epoch = t->epoch;
        else
            begin_anew(t->space);
    }
    *events = ok ? r.events : 0;
    VEC_DEINIT(&r.taken);
    return ok;
}

/* The bytes of the file behind its head. */
static bool read_file(int fd, const struct stat *st, int64_t now_ms, Buf *body, xs_error *err)
{
    FileHead head;
    size_t len = (size_t)st->st_size - sizeof head; /* looked at when it is not less */
    if (st->st_size < (off_t)sizeof head ||
        st->st_size > (off_t)sizeof head + 2 * (off_t)FILE_MAX ||
        pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        memcmp(head.magic, magic, sizeof magic) != 0 || head.version != VERSION)
        return xs_fail(err, XS_E_STANDARD, XS_NO_POS, "it is not such a file");
    if (head.inode != (uint64_t)st->st_ino)
        return xs_fail(err, XS_E_STANDARD, XS_NO_POS, "it is a copy");
    if (now_ms - head.written_ms > HISTORY_MS || head.written_ms - now_ms > RECOVERY_MS)
        return xs_fail(err, XS_E_STANDARD, XS_NO_POS, "it is too old");
    if (head.bytes != len || !buf_reserve(body, len + 1))
        return xs_fail(err, XS_E_STANDARD, XS_NO_POS, "it is cut");
    while (body->len < len) {
        ssize_t n =
            pread(fd, body->ptr + body->len, len - body->len, (off_t)(sizeof head + body->len));
        if (n <= 0)
            return xs_fail(err, XS_E_IO, XS_NO_POS, "%s", strerror(errno));
        body->len += (size_t)n;
    }
    return (uint32_t)crc32_z(0, (const Bytef *)body->ptr, len) == head.checksum ||
           xs_fail(err, XS_E_STANDARD, XS_NO_POS, "it is damaged");
}

bool hub_take_over(Hub *h, const char *path, bool use, int64_t now_ms, uint64_t *events,
                   xs_error *err)
{
    struct stat st;
    Buf body = BUF_INIT;
    *events = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT || xs_fail(err, XS_E_IO, XS_NO_POS, "%s", strerror(errno));
    /* Of several that start at once one gets it: the others find it without a name. */
    bool mine = flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1;
    bool ok = !mine || !use || h->plane.ops || read_file(fd, &st, now_ms, &body, err);
    if (mine && (unlink(path) != 0 || !sync_folder(path)))
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "it cannot be removed: %s", strerror(errno));
    if (ok && body.len && !handover_apply(h, buf_view(&body), events))
        ok = xs_fail(err, XS_E_STANDARD, XS_NO_POS, "it cannot be understood");
    buf_deinit(&body);
    close(fd);
    return ok;
}
