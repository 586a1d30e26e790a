/* handover_test.c - an orderly end and the start behind it: positions go on, rings are whole, and
 * whatever is wrong with the file makes positions begin anew, never a hole. */
#include "host/hub/handover.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "host/hub/channel.h"
#include "host/hub/test_world.h"

enum { NOW = 1000, DAY_MS = 24 * 60 * 60 * 1000, FLIPS = 150 };

static const char open_channels[] =
    "[{\"pattern\":\"a\",\"active\":true,\"settings\":{\"anonymous_clients\":true}},"
    "{\"pattern\":\"b\",\"active\":true,\"settings\":{\"anonymous_clients\":true,"
    "\"message_history\":50}}]";
static const char only_a[] =
    "[{\"pattern\":\"a\",\"active\":true,\"settings\":{\"anonymous_clients\":true}}]";

static char file[64];

static int make_folder(void **state)
{
    static char folder[] = "/tmp/xs-handover-XXXXXX";
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/x.db.handover", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(file);
    *strrchr(file, '/') = '\0';
    return rmdir(file);
}

static bool there(void)
{
    return access(file, F_OK) == 0;
}

static void hand_over(World *w)
{
    xs_error err = {0};
    if (!hub_hand_over(w->hub, file, NOW, &err))
        fail_msg("%s", err.message);
}

/* Events taken; the reason why not is in *why. */
static uint64_t take_over(World *w, int64_t now_ms, const char **why)
{
    static xs_error err;
    uint64_t events = 99;
    *why = hub_take_over(w->hub, file, true, now_ms, &events, &err) ? NULL : err.message;
    assert_false(there());
    return events;
}

static uint64_t take_over_well(World *w)
{
    const char *why;
    uint64_t events = take_over(w, NOW + 5000, &why);
    if (why)
        fail_msg("%s", why);
    return events;
}

/* A client of both channels with a position; how it is resumed. */
static Peer *back(World *w, uint64_t epoch, uint64_t seq, int64_t user, xs_resume_state expected)
{
    char query[128];
    snprintf(query, sizeof query, "{\"channel\":[\"a\",\"b\"],\"cursor\":[\"%016llx.%llu\"]}",
             (unsigned long long)epoch, (unsigned long long)seq);
    xs_request *r = make_request(w, user, query);
    Peer *p = connect_with(w, 0, r);
    assert_int_equal(p->shard->host.resume_state(p->conn, r), expected);
    p->shard->host.join_listed(p->conn, r);
    request_unref(r);
    pump(w);
    return p;
}

/* Numbers of the stored events it got, as text. */
static void expect_numbers(const Peer *p, const char *expected)
{
    char text[256] = "";
    for (size_t i = 0; i < p->count; i++)
        if (p->flags[i] & XS_FRAME_STORED)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%llu ",
                     (unsigned long long)p->seq[i]);
    assert_string_equal(text, expected);
}

static bool got(const Peer *p, const char *part)
{
    for (size_t i = 0; i < p->count; i++)
        if (strstr(p->got[i], part))
            return true;
    return false;
}

static void publish_for(World *w, const char *channel, int64_t dbo_id, const char *row_id)
{
    xs_error err = {0};
    HubPublished out = {0};
    HubPublish p = {.channel = text_from(channel),
                    .event = TEXT("own"),
                    .data = TEXT("{}"),
                    .dbo_id = dbo_id,
                    .row_id = text_from(row_id)};
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
}

/* 1: a, 2: b, 3: a for user 7, 4: b. The epoch. */
static uint64_t first_run(void)
{
    World w;
    open_world(&w, open_channels, NULL);
    (void)publish(&w, "a", "e", "1");
    (void)publish(&w, "b", "e", "\"zwei\"");
    publish_for(&w, "a", 5, "7");
    uint64_t epoch = publish(&w, "b", "e", "4").epoch;
    hand_over(&w);
    close_world(&w);
    assert_true(there());
    return epoch;
}

static void goes_on(void **state)
{
    (void)state;
    World w;
    uint64_t epoch = first_run();
    open_world(&w, open_channels, NULL);
    assert_int_equal(take_over_well(&w), 4);
    assert_int_equal(w.space->epoch, epoch);
    expect_numbers(back(&w, epoch, 1, 0, XS_RESUME_OK), "2 4 ");
    expect_numbers(back(&w, epoch, 0, 7, XS_RESUME_OK), "1 2 3 4 ");
    expect_numbers(back(&w, epoch, 4, 7, XS_RESUME_OK), "");
    Peer *ahead = back(&w, epoch, 5, 0, XS_RESUME_GAP);
    assert_true(got(ahead, "\"reason\":\"future\""));
    Peer *p = back(&w, epoch, 3, 0, XS_RESUME_OK);
    HubPublished next = publish(&w, "a", "e", "5");
    assert_int_equal(next.seq, 5);
    assert_int_equal(next.off, 3);
    pump(&w);
    expect_numbers(p, "4 5 ");
    assert_true(got(p, "\"data\":4"));
    hand_over(&w); /* and once more */
    close_world(&w);
    open_world(&w, open_channels, NULL);
    assert_int_equal(take_over_well(&w), 5);
    expect_numbers(back(&w, epoch, 2, 0, XS_RESUME_OK), "4 5 ");
    close_world(&w);
}

/* What is used up does not come again: a crash begins anew. */
static void only_once(void **state)
{
    (void)state;
    World w;
    uint64_t epoch = first_run();
    open_world(&w, open_channels, NULL);
    assert_int_equal(take_over_well(&w), 4);
    close_world(&w);
    open_world(&w, open_channels, NULL);
    assert_int_equal(take_over_well(&w), 0);
    assert_int_not_equal(w.space->epoch, epoch);
    assert_true(got(back(&w, epoch, 4, 0, XS_RESUME_GAP), "\"reason\":\"epoch\""));
    close_world(&w);
    epoch = first_run();
    open_world(&w, open_channels, NULL);
    uint64_t events = 1;
    xs_error err = {0};
    assert_true(hub_take_over(w.hub, file, false, NOW, &events, &err)); /* switched off */
    assert_int_equal(events, 0);
    assert_false(there());
    assert_int_not_equal(w.space->epoch, epoch);
    close_world(&w);
}

/* What the rings had forgotten stays forgotten, also of channels that are gone. */
static void forgotten(void **state)
{
    (void)state;
    World w;
    const HubOptions small = {.ring_events = 2};
    open_world(&w, only_a, &small);
    uint64_t epoch = 0;
    for (int i = 0; i < 5; i++)
        epoch = publish(&w, "a", "e", "1").epoch;
    hand_over(&w);
    close_world(&w);
    open_world(&w, only_a, &small);
    assert_int_equal(take_over_well(&w), 2);
    assert_true(got(back(&w, epoch, 2, 0, XS_RESUME_GAP), "\"reason\":\"evicted\""));
    expect_numbers(back(&w, epoch, 3, 0, XS_RESUME_OK), "4 5 ");
    close_world(&w);

    (void)first_run();
    open_world(&w, only_a, NULL);
    assert_int_equal(take_over_well(&w), 2);
    assert_int_equal(w.space->reaped_seq, 4); /* b */
    close_world(&w);

    (void)first_run(); /* smaller rings than before */
    const HubOptions tiny = {.ring_events = 1};
    open_world(&w, open_channels, &tiny);
    (void)take_over_well(&w);
    assert_int_equal(space_find(w.space, TEXT("a"))->ring.evicted_seq, 1);
    assert_int_equal(space_find(w.space, TEXT("b"))->ring.evicted_seq, 0); /* keeps 50 */
    close_world(&w);
}

/* ---- files that are of no use ---- */

static void expect_anew(int64_t now_ms, const char *reason)
{
    World w;
    const char *why;
    open_world(&w, open_channels, NULL);
    uint64_t epoch = w.space->epoch;
    assert_int_equal(take_over(&w, now_ms, &why), 0);
    if (!why || (reason && !strstr(why, reason)))
        fail_msg("expected '%s', got '%s'", reason ? reason : "a reason", why ? why : "nothing");
    assert_int_equal(w.space->epoch, epoch);
    assert_int_equal(w.space->seq, 0);
    assert_int_equal(w.space->channels.count, 0);
    assert_int_equal(publish(&w, "a", "e", "1").seq, 1);
    close_world(&w);
}

static size_t size_of_file(void)
{
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    return (size_t)st.st_size;
}

static void useless(void **state)
{
    (void)state;
    (void)first_run();
    size_t size = size_of_file();
    expect_anew(NOW + DAY_MS + 1, "too old");
    (void)first_run();
    expect_anew(NOW - DAY_MS, "too old"); /* a clock that went back by far */
    for (size_t len = 0; len < size; len += 1 + len / 8) {
        (void)first_run();
        assert_int_equal(truncate(file, (off_t)len), 0);
        expect_anew(NOW, NULL);
    }
    for (size_t i = 0; i < FLIPS; i++) {
        (void)first_run();
        unsigned char byte;
        off_t at = (off_t)(i < 32 ? i : i * 7919 % size);
        int fd = open(file, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (unsigned char)(1 << i % 8);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        if (at >= 32 && at < 40)
            assert_int_equal(unlink(file), 0); /* the time: it may still be a good one */
        else
            expect_anew(NOW, NULL);
    }
    (void)first_run();
    char copy[80], command[512];
    snprintf(copy, sizeof copy, "%s.copy", file);
    snprintf(command, sizeof command, "cp -p %s %s && mv %s %s", file, copy, copy, file);
    assert_int_equal(system(command), 0);
    expect_anew(NOW, "copy");
}

/* Another program's spaces are left alone. */
static void foreign(void **state)
{
    (void)state;
    World w;
    open_world(&w, open_channels, NULL);
    Space *other = hub_space(w.hub, TEXT("t"), TEXT("other"));
    xs_error err = {0};
    HubPublished out = {0};
    HubPublish p = {.channel = TEXT("a"), .event = TEXT("e"), .data = TEXT("1")};
    assert_true(hub_publish(w.hub, other, &p, &out, &err));
    uint64_t epoch = publish(&w, "a", "e", "1").epoch;
    hand_over(&w);
    close_world(&w);
    open_world(&w, open_channels, NULL);
    assert_int_equal(take_over_well(&w), 1);
    assert_int_equal(w.space->epoch, epoch);
    assert_null(hub_find_space(w.hub, TEXT("t"), TEXT("other")));
    close_world(&w);
}

/* Chunks that a checksum would not have let through. */
static void chunks(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\x01", 1}, {"\x05\0\0\0\x91", 5}, {"\x01\0\0\0\xc0", 5}, {"\xff\xff\xff\xff", 4}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        World w;
        uint64_t events;
        open_world(&w, open_channels, NULL);
        assert_false(handover_apply(w.hub, (Text){bad[i].bytes, bad[i].len}, &events));
        close_world(&w);
    }
}

/* ---- realtime servers ---- */

static const char servers[] =
    "{\"servers\":[{\"name\":\"port\",\"canonical\":\"p1\",\"active\":true}],"
    "\"server_channels\":[{\"server\":\"port\",\"path\":\"piers/{pier_id}\",\"active\":true,"
    "\"access\":{\"anonymous\":true},\"publish\":{\"who\":\"nobody\"}}]}";

static void of_servers(void **state)
{
    (void)state;
    uint64_t epoch = 0;
    world_meta = servers;
    for (int run = 0; run < 2; run++) {
        World w;
        xs_error err = {0};
        HubPublished out = {0};
        HubPublish p = {.channel = TEXT("piers/7"), .event = TEXT("n"), .data = TEXT("{\"k\":1}")};
        open_world(&w, NULL, NULL);
        w.space = hub_server_space(w.hub, TEXT(""), TEXT("port"));
        assert_int_equal(take_over_well(&w), run);
        assert_true(hub_publish(w.hub, w.space, &p, &out, &err));
        assert_int_equal(out.seq, run + 1);
        assert_true(run == 0 || out.epoch == epoch);
        epoch = out.epoch;
        const Ring *ring = &space_find(w.space, TEXT("piers/7"))->ring;
        Event *ev = ring_at(ring, 0);
        assert_int_equal(ring->count, run + 1);
        assert_int_equal(ev->frame.flags & EVENT_SAID, EVENT_SAID);
        assert_true(text_eq(event_payload(ev), TEXT("{\"k\":1}")));
        if (run == 0)
            hand_over(&w);
        close_world(&w);
    }
    world_meta = NULL;
}

/* The policy for slow clients is that of the new run. */
static void slow_policy(void **state)
{
    (void)state;
    World w;
    const HubOptions conflates = {.slow_policy = TEXT("a=conflate")};
    open_world(&w, open_channels, &conflates);
    (void)publish(&w, "a", "e", "1");
    hand_over(&w);
    close_world(&w);
    const HubOptions drops = {.slow_policy = TEXT("a=drop_oldest")};
    open_world(&w, open_channels, &drops);
    assert_int_equal(take_over_well(&w), 1);
    const Channel *ch = space_find(w.space, TEXT("a"));
    const Event *ev = ring_at(&ch->ring, 0);
    assert_int_equal(ev->frame.flags & (XS_FRAME_CONFLATE | XS_FRAME_DROP_OLDEST),
                     XS_FRAME_DROP_OLDEST);
    assert_int_equal(ev->frame.channel, ch->number);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on),    cmocka_unit_test(only_once),   cmocka_unit_test(forgotten),
        cmocka_unit_test(useless),    cmocka_unit_test(foreign),     cmocka_unit_test(chunks),
        cmocka_unit_test(of_servers), cmocka_unit_test(slow_policy),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
