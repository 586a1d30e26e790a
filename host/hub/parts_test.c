/* parts_test.c - the hub's smaller parts: patterns, ring, frames and their wires, mailbox, D1
 * texts. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <zlib.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "host/hub/channel.h"
#include "host/hub/event.h"

static void names_and_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool name_ok, pattern_ok;
    } cases[] = {
        {"berth:12", true, true},  {"harbor/north", true, true}, {"a", true, true},
        {"", false, false},        {"a b", false, false},        {"a,b", false, false},
        {"a\"", false, false},     {"{x}", false, false},        {"berth:*", false, true},
        {"harbor/*", false, true}, {"*", false, true},           {"berth*", false, false},
        {"a*b", false, false},     {"**", false, false},         {"\xC3\xA9", false, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (channel_name_valid(text_from(cases[i].name)) != cases[i].name_ok ||
            channel_pattern_valid(text_from(cases[i].name)) != cases[i].pattern_ok)
            fail_msg("%s", cases[i].name);
    }
    char name[CHANNEL_NAME_MAX + 2];
    memset(name, 'a', sizeof name);
    assert_true(channel_name_valid((Text){name, CHANNEL_NAME_MAX}));
    assert_false(channel_name_valid((Text){name, CHANNEL_NAME_MAX + 1}));
    assert_true(channel_tenant_ok(TEXT("tenant:t1:x"), TEXT("t1")));
    assert_false(channel_tenant_ok(TEXT("tenant:t1:x"), TEXT("t2")));
    assert_true(channel_tenant_ok(TEXT("tenant:t1"), TEXT("t2"))); /* no such convention */
}

static void resolves(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"harbor", "harbor"},
        {"harbor/north", "harbor"},
        {"harbor/a/b", "harbor"},
        {"harbor:1", "*"},
        {"berth:12", "berth:*"},
        {"berth:a:b", "berth:a:*"},
        {"berth:", "*"},
        {"berth:vip", NULL /* inactive literal */},
        {"x", "*"},
        {"dock/1", "dock/*"},
        {"dock", "*"},
    };
    Arena a;
    xs_error err = {0};
    Patterns p;
    arena_init(&a, 0);
    const Const *list = json_parse(
        &a,
        TEXT("[{\"pattern\":\"*\",\"active\":true},{\"pattern\":\"berth:*\",\"active\":true},"
             "{\"pattern\":\"harbor\",\"active\":true,\"settings\":{\"nested_channels\":true}},"
             "{\"pattern\":\"berth:a:*\",\"active\":true},{\"pattern\":\"berth:vip\"},"
             "{\"pattern\":\"dock/*\",\"active\":true,\"nested\":true},"
             "{\"pattern\":\"dock/*\",\"active\":false}]"),
        &err);
    assert_true(patterns_init(&p, list, (Text){0}, &err));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const ChannelConfig *c = patterns_resolve(&p, text_from(cases[i][0]));
        if (!c != !cases[i][1] || (c && !text_eq(c->pattern, text_from(cases[i][1]))))
            fail_msg("%s: " TEXT_FMT, cases[i][0], TEXT_ARG(c ? c->pattern : TEXT("none")));
    }
    patterns_deinit(&p);
    list = json_parse(&a, TEXT("[{\"pattern\":\"a*b\"}]"), &err);
    assert_false(patterns_init(&p, list, (Text){0}, &err));
    assert_int_equal(err.code, XS_E_CONFIG);
    for (uint64_t n = 1; n < 8; n++) {
        mem_fail_after(n);
        if (patterns_init(&p, json_parse(&a, TEXT("[]"), NULL), (Text){0}, &err))
            patterns_deinit(&p);
        mem_fail_after(0);
    }
    arena_deinit(&a);
    assert_int_equal(mem_in_use(), 0);
}

static void compressed_wires(void **state)
{
    (void)state;
    for (int noise = 0; noise < 2; noise++) {
        for (size_t size = 0; size < 4000; size = size * 2 + 1) {
            Buf data = BUF_INIT;
            buf_char(&data, '"');
            for (size_t i = 0; i < size; i++)
                buf_char(&data, (char)(noise ? 33 + (i * i * 7919 + i / 3 * 31) % 90 : 'a'));
            buf_char(&data, '"');
            Event *ev = d1_event(TEXT("c"), (Text){0}, buf_view(&data), 0, (Text){0});
            buf_deinit(&data);
            const xs_wire *w = frame_wire(&ev->frame, XS_WIRE_WS_DEFLATE);
            assert_non_null(w);
            assert_ptr_equal(frame_wire(&ev->frame, XS_WIRE_WS_DEFLATE), w);
            if (ev->frame.json.len < XS_DEFLATE_MIN) {
                assert_ptr_equal(frame_wire(&ev->frame, XS_WIRE_WS_TEXT), w);
            } else if ((unsigned char)w->bytes[0] == 0xc1) {
                char text[8192], packed[8192];
                size_t head = w->bytes[1] < 126 ? 2 : 4, len = w->len - head;
                memcpy(packed, w->bytes + head, len);
                memcpy(packed + len, "\0\0\xff\xff", 4);
                z_stream z = {.next_in = (Bytef *)packed,
                              .avail_in = (uInt)len + 4,
                              .next_out = (Bytef *)text,
                              .avail_out = sizeof text};
                assert_int_equal(inflateInit2(&z, -15), Z_OK);
                assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
                assert_int_equal(sizeof text - z.avail_out, ev->frame.json.len);
                assert_memory_equal(text, ev->frame.json.ptr, ev->frame.json.len);
                inflateEnd(&z);
                assert_true(w->len < ev->frame.json.len);
            } else {
                assert_true(noise); /* only what does not get smaller stays as it is */
                assert_int_equal((unsigned char)w->bytes[0], 0x81);
            }
            frame_unref(&ev->frame);
        }
    }
}

static void wires(void **state)
{
    (void)state;
    static const size_t sizes[] = {2, 125, 126, 65535, 65536};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        Buf b;
        frame_begin(&b, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            buf_char(&b, '7');
        Event *ev = frame_end(&b, 0);
        assert_non_null(ev);
        const xs_wire *w = frame_wire(&ev->frame, XS_WIRE_WS_TEXT);
        size_t head = sizes[i] < 126 ? 2 : sizes[i] < 65536 ? 4 : 10;
        assert_int_equal(w->len, head + sizes[i]);
        assert_int_equal((unsigned char)w->bytes[0], 0x81);
        assert_int_equal((unsigned char)w->bytes[1], sizes[i] < 126 ? sizes[i]
                                                     : head == 4    ? 126
                                                                    : 127);
        assert_int_equal(w->bytes[head], '7');
        assert_ptr_equal(frame_wire(&ev->frame, XS_WIRE_WS_TEXT), w);
        frame_unref(&ev->frame);
    }
    Event *ev = d1_event(TEXT("c"), (Text){0}, TEXT("1"), 0, (Text){0});
    ev->frame.seq = 58114;
    ev->frame.epoch = 0x9f02c41be77a3d10;
    const xs_wire *w = frame_wire(&ev->frame, XS_WIRE_SSE_CHUNK);
    static const char payload[] =
        "id: 9f02c41be77a3d10.58114\ndata: {\"action\":\"event\",\"options\":"
        "{\"channel\":\"c\"},\"payload\":{\"data\":1}}\n\n";
    char expected[256];
    int n = snprintf(expected, sizeof expected, "%zx\r\n%s\r\n", sizeof payload - 1, payload);
    assert_int_equal(w->len, n);
    assert_memory_equal(w->bytes, expected, (size_t)n);
    frame_unref(&ev->frame);
    ev = d1_resync(TEXT("\"c\""), TEXT("epoch"));
    w = frame_wire(&ev->frame, XS_WIRE_SSE_CHUNK);
    assert_non_null(
        memmem(w->bytes, w->len, "\r\nevent: resync\ndata: {\"channels\":[\"c\"],", 40));
    mem_fail_after(1);
    assert_null(frame_wire(&ev->frame, XS_WIRE_WS_TEXT));
    assert_null(d1_pong());
    mem_fail_after(0);
    frame_unref(&ev->frame);
    frame_unref(NULL);
    assert_int_equal(mem_in_use(), 0);
}

static Event *stored(uint64_t seq, int64_t ts)
{
    Event *ev = d1_event(TEXT("c"), (Text){0}, TEXT("1"), 0, (Text){0});
    assert_non_null(ev);
    ev->frame.seq = seq;
    ev->frame.ts = ts;
    return ev;
}

static void ring_keeps_its_limits(void **state)
{
    (void)state;
    const int64_t now = 1000000000;
    RingLimits limits = {.max_events = 10, .keep_events = 3, .max_bytes = 1 << 20};
    Ring r = {0};
    for (uint64_t seq = 1; seq <= 25; seq++) {
        Event *ev = stored(seq * 2, now);
        assert_true(ring_reserve(&r));
        ring_push(&r, ev);
        frame_unref(&ev->frame);
        ring_trim(&r, &limits, now);
    }
    assert_int_equal(r.count, 10);
    assert_int_equal(r.evicted_seq, 30);
    assert_int_equal(ring_at(&r, 0)->frame.seq, 32);
    assert_int_equal(ring_after(&r, 0), 0);
    assert_int_equal(ring_after(&r, 32), 1);
    assert_int_equal(ring_after(&r, 33), 1);
    assert_int_equal(ring_after(&r, 50), 10);
    ring_trim(&r, &limits, now + RECOVERY_MS + 1);
    assert_int_equal(r.count, 3);
    limits.max_bytes = 1;
    ring_trim(&r, &limits, now);
    assert_int_equal(r.count, 0);
    Event *ev = stored(52, now);
    assert_true(ring_reserve(&r));
    ring_push(&r, ev);
    frame_unref(&ev->frame);
    limits.max_bytes = 1 << 20;
    ring_trim(&r, &limits, now + HISTORY_MS + 1);
    assert_int_equal(r.count, 0);
    assert_int_equal(r.evicted_seq, 52);
    assert_int_equal(r.bytes, 0);
    ring_deinit(&r);
    assert_int_equal(mem_in_use(), 0);
}

static bool is_awake(const Mailbox *m)
{
    struct pollfd p = {.fd = m->wake_fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void mailbox_wakes_once(void **state)
{
    (void)state;
    Mailbox m;
    MailLink one, two;
    xs_error err = {0};
    assert_true(mailbox_init(&m, &err));
    assert_true(mailbox_is_empty(&m));
    assert_false(is_awake(&m));
    for (int i = 0; i < 100; i++)
        assert_true(mailbox_push(&m, (Mail){.kind = MAIL_CALL}));
    assert_true(mailbox_push_link(&m, &one) && mailbox_push_link(&m, &two));
    assert_true(is_awake(&m));
    MailBatch b = mailbox_take(&m);
    assert_int_equal(b.count, 100);
    assert_ptr_equal(b.links, &one);
    assert_ptr_equal(one.next, &two);
    assert_null(two.next);
    assert_false(is_awake(&m));
    m.max = 2;
    assert_true(mailbox_push(&m, (Mail){.kind = MAIL_CALL}) &&
                mailbox_push(&m, (Mail){.kind = MAIL_CALL}));
    assert_false(mailbox_push(&m, (Mail){.kind = MAIL_CALL}));
    b = mailbox_take(&m);
    assert_int_equal(b.count, 2);
    assert_true(b.lost);
    mem_fail_after(1);
    m.cap = m.batch_cap = 0;
    mem_free(m.items);
    mem_free(m.batch);
    m.items = m.batch = NULL;
    assert_false(mailbox_push(&m, (Mail){.kind = MAIL_CALL}));
    mem_fail_after(0);
    assert_true(is_awake(&m));
    b = mailbox_take(&m);
    assert_true(b.lost && b.count == 0);
    mailbox_close(&m);
    assert_false(mailbox_push(&m, (Mail){.kind = MAIL_CALL}));
    assert_false(mailbox_push_link(&m, &one));
    mailbox_deinit(&m);
    assert_int_equal(mem_in_use(), 0);
}

enum { WAIT_US = 20 * 1000, LONG_US = 20 * 1000 * 1000 };

typedef struct Late {
    Mailbox box;
    MailLink links[3];
} Late;

static void *push_late(void *arg)
{
    Late *l = arg;
    for (size_t i = 0; i < COUNT_OF(l->links); i++) {
        poll(NULL, 0, 5);
        assert_true(mailbox_push_link(&l->box, &l->links[i]));
    }
    return NULL;
}

static void mailbox_waits_for_links(void **state)
{
    (void)state;
    static Late l;
    pthread_t thread;
    xs_error err = {0};
    assert_true(mailbox_init(&l.box, &err));
    int64_t began = clock_mono_us();
    assert_int_equal(mailbox_await(&l.box, 1, WAIT_US), 0);
    assert_true(clock_mono_us() - began >= WAIT_US);
    assert_int_equal(pthread_create(&thread, NULL, push_late, &l), 0);
    assert_true(mailbox_await(&l.box, 2, LONG_US) >= 2);
    assert_int_equal(mailbox_await(&l.box, 3, LONG_US), 3);
    assert_int_equal(mailbox_await(&l.box, 1, LONG_US), 3); /* there already */
    assert_true(clock_mono_us() - began < LONG_US / 2);
    pthread_join(thread, NULL);
    assert_ptr_equal(mailbox_take(&l.box).links, &l.links[0]);
    assert_int_equal(mailbox_await(&l.box, 1, 0), 0);
    mailbox_deinit(&l.box);
}

static void positions(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool given;
        uint64_t epoch, seq;
        uint32_t to_list;
    } cases[] = {
        {"9f02c41be77a3d10.58113", true, 0x9f02c41be77a3d10, 58113, 0},
        {"9f02c41be77a3d10.58113.4", true, 0x9f02c41be77a3d10, 58113, 0},
        {"9f02c41be77a3d10.58113.4.12", true, 0x9f02c41be77a3d10, 58113, 12},
        {"9f02c41be77a3d10.58113..", true, 0x9f02c41be77a3d10, 58113, 0},
        {"9f02c41be77a3d10.58113.4.99999999999999", true, 0x9f02c41be77a3d10, 58113, 9999999},
        {"9f02c41be77a3d10.0", true, 0x9f02c41be77a3d10, 0, 0},
        {"9f02c41be77a3d10.", false, 0, 0, 0},
        {"9f02c41be77a3d10", false, 0, 0, 0},
        {"9f02c41be77a3d1g.1", false, 0, 0, 0},
        {"9f02c41be77a3d10.1x", false, 0, 0, 0},
        {"9f02c41be77a3d10.99999999999999999999", false, 0, 0, 0},
        {"latest", false, 0, 0, 0},
        {"", false, 0, 0, 0},
        {"earliest", true, 0, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Position p = position_parse(text_from(cases[i].text));
        if (p.given != cases[i].given || p.epoch != cases[i].epoch || p.seq != cases[i].seq ||
            p.to_list != cases[i].to_list)
            fail_msg("%s", cases[i].text);
    }
}

static const Const *parsed(Arena *a, const char *json)
{
    xs_error err;
    const Const *c = json_parse(a, text_from(json), &err);
    assert_non_null(c);
    return c;
}

/* What a connection keeps of its request. */
static void visits(void **state)
{
    (void)state;
    char large[1200], headers[1400];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    snprintf(headers, sizeof headers,
             "{\"Host\":\"h:80\",\"Upgrade\":\"websocket\",\"Cookie\":\"%s\",\"Empty\":\"\","
             "\"Sec-Websocket-Key\":\"abc\",\"Connection\":\"Upgrade\"}",
             large);
    xs_request *r = request_new();
    Identity *who = identity_anonymous();
    assert_true(r && who);
    r->identity = identity_ref(who);
    r->method = TEXT("GET");
    r->uri = TEXT("/rt/a?channel=b&channel=c");
    r->remote_ip = TEXT("203.0.113.9");
    r->query = parsed(&r->arena, "{\"channel\":[\"b\",\"c\"]}");
    r->headers = parsed(&r->arena, headers);
    Visit *v = visit_new(r);
    request_unref(r);
    assert_non_null(v);
    for (int again = 0; again < 2; again++) {
        r = visit_open(v, NULL, who);
        assert_non_null(r);
        assert_ptr_equal(r->identity, who);
        assert_true(text_eq(r->method, TEXT("GET")));
        assert_true(text_eq(r->uri, TEXT("/rt/a?channel=b&channel=c")));
        assert_true(text_eq(r->querystring, TEXT("channel=b&channel=c")));
        assert_true(text_eq(r->remote_ip, TEXT("203.0.113.9")));
        assert_true(const_equal(r->query, parsed(&r->arena, "{\"channel\":[\"b\",\"c\"]}")));
        assert_int_equal(r->headers->count, 3);
        assert_true(text_eq(const_get_text(r->headers, "Host"), TEXT("h:80")));
        assert_true(text_eq(const_get_text(r->headers, "Cookie"), text_from(large)));
        assert_int_equal(const_get_text(r->headers, "Empty").len, 0);
        request_unref(r);
    }
    visit_free(v);
    identity_unref(who);
}

static void identities(void **state)
{
    (void)state;
    Arena a;
    xs_error err = {0};
    Buf out = BUF_INIT;
    arena_init(&a, 0);
    const Const *extras =
        json_parse(&a, TEXT("{\"role\":\"x\",\"id\":1,\"list\":[1,null,2.5,true]}"), &err);
    Identity *id = identity_new(TEXT("user"), 5, const_text(&a, TEXT("u-1")), extras);
    arena_deinit(&a);
    assert_non_null(id);
    json_write_const(&out, id->auth);
    buf_char(&out, '\0');
    assert_string_equal(out.ptr, "{\"id\":\"u-1\",\"role\":\"x\",\"list\":[1,null,2.5,true]}");
    assert_true(text_eq(id->row_id, TEXT("\"u-1\"")));
    assert_ptr_equal(identity_ref(id), id);
    identity_unref(id);
    identity_unref(id);
    for (uint64_t n = 1; n < 10; n++) {
        mem_fail_after(n);
        identity_unref(identity_new(TEXT("user"), 5, &const_null, NULL));
        request_unref(request_new());
        mem_fail_after(0);
    }
    buf_deinit(&out);
    assert_int_equal(mem_in_use(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_patterns),
        cmocka_unit_test(resolves),
        cmocka_unit_test(wires),
        cmocka_unit_test(compressed_wires),
        cmocka_unit_test(ring_keeps_its_limits),
        cmocka_unit_test(mailbox_wakes_once),
        cmocka_unit_test(mailbox_waits_for_links),
        cmocka_unit_test(positions),
        cmocka_unit_test(visits),
        cmocka_unit_test(identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
