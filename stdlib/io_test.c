/* io_test.c - waiting natives: parked, in place, given up, cut at the deadline, stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <time.h>

#include "core/clock.h"
#include "core/lang/opcodes.h"
#include "core/tables.h"
#include "stdlib/outside.h"
#include "stdlib/registry.h"

enum { WOKEN_MAX = 16, WAIT_S = 20 };

typedef struct Woken {
    pthread_mutex_t lock;
    pthread_cond_t some;
    Fiber *fibers[WOKEN_MAX];
    size_t n;
} Woken;

static Woken woken = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

static void on_wake(void *ctx, Fiber *fiber)
{
    (void)ctx;
    pthread_mutex_lock(&woken.lock);
    if (woken.n < WOKEN_MAX)
        woken.fibers[woken.n++] = fiber;
    pthread_cond_signal(&woken.some);
    pthread_mutex_unlock(&woken.lock);
}

static Fiber *next_woken(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&woken.lock);
    while (!woken.n)
        assert_int_equal(pthread_cond_timedwait(&woken.some, &woken.lock, &until), 0);
    Fiber *f = woken.fibers[0];
    memmove(woken.fibers, woken.fibers + 1, --woken.n * sizeof *woken.fibers);
    pthread_mutex_unlock(&woken.lock);
    return f;
}

static int64_t clock_ms(void *ctx)
{
    (void)ctx;
    return clock_mono_ms();
}

static const xs_error no_error;

/* util.sleep of its input, then 7. */
static Program *make_program(Arena *a)
{
    static const uint32_t code[] = {INS_ABC(OP_CALLN, 0, 1, 0), 0, INS_ABX(OP_LOADK, 0, 0),
                                    INS_ABC(OP_RET, 0, 0, 0)};
    ImportImage import = {IMPORT_STATEMENT, TEXT("util.sleep")};
    SiteImage site = {0, NULL};
    const Const *consts[] = {const_int(a, 7)};
    Const *field = const_map(a, 2), *inputs = const_list(a, 1);
    assert_true(const_set_text(a, field, "name", TEXT("s")) &&
                const_set_text(a, field, "type", TEXT("json")) && const_push(a, inputs, field));
    ProcImage proc = {.kind = PROC_FUNCTION,
                      .name = TEXT("p"),
                      .file = TEXT("p.xs"),
                      .nregs = 1,
                      .ninputs = 1,
                      .inputs = inputs,
                      .code = code,
                      .ncode = COUNT_OF(code)};
    BundleImage image = {.consts = consts,
                         .nconsts = 1,
                         .imports = &import,
                         .nimports = 1,
                         .sites = &site,
                         .nsites = 1,
                         .procs = &proc,
                         .nprocs = 1,
                         .meta = const_map(a, 0)};
    Buf bytes = BUF_INIT;
    xs_error err = no_error;
    assert_true(bundle_encode(&image, &bytes, &err));
    Program *p = program_open(buf_view(&bytes), &stdlib_natives, &err);
    buf_deinit(&bytes);
    if (!p)
        fail_msg("%s", err.message);
    return p;
}

static Fiber *start(Program *p, const Services *s, double seconds, int64_t deadline_ms)
{
    static const RunContext rc;
    Limits limits = {.deadline_ms = deadline_ms};
    xs_error err = no_error;
    Fiber *f = fiber_new(p, s, &rc, &limits);
    assert_non_null(f);
    fiber_set_owner(f, f);
    Value input = map_new(fiber_heap(f), 1);
    assert_true(map_set_text(fiber_heap(f), &input, TEXT("s"), val_dec(seconds)));
    assert_true(fiber_call(f, 0, input, &err));
    return f;
}

static void sleeping(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    xs_error err = no_error;
    OutsideOptions opt = {.cache_bytes = 1 << 20};
    Outside *o = outside_new(&opt, &err);
    assert_non_null(o);
    Services s = {.now_ms = clock_ms, .wake = on_wake, .outside = o};
    Program *p = make_program(&a);
    int64_t begin = clock_ms(NULL);

    Fiber *longer = start(p, &s, 0.08, 0), *shorter = start(p, &s, 0.02, 0),
          *gone = start(p, &s, 60, 0), *late = start(p, &s, 60, begin + 150);
    Fiber *all[] = {longer, shorter, gone, late};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        assert_int_equal(fiber_run(all[i]), FIBER_PARKED);
    fiber_free(gone);
    Fiber *order[] = {shorter, longer, late};
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        Fiber *f = next_woken();
        assert_ptr_equal(f, order[i]);
        assert_true(fiber_finish(f));
        FiberState st = fiber_run(f);
        assert_int_equal(st, f == late ? FIBER_ERROR : FIBER_DONE);
        if (f == late)
            assert_int_equal(fiber_error(f, NULL, NULL)->code, XS_E_DEADLINE);
        else
            assert_int_equal(fiber_result(f).i, 7);
        fiber_free(f);
    }
    assert_true(clock_ms(NULL) - begin >= 80);

    /* in place */
    Services here = {.now_ms = clock_ms, .outside = o};
    begin = clock_ms(NULL);
    Fiber *f = start(p, &here, 0.03, 0);
    assert_int_equal(fiber_run(f), FIBER_DONE);
    assert_true(clock_ms(NULL) - begin >= 30);
    fiber_free(f);

    /* the end of the process */
    f = start(p, &s, 60, 0);
    assert_int_equal(fiber_run(f), FIBER_PARKED);
    outside_stop(o);
    assert_ptr_equal(next_woken(), f);
    assert_true(fiber_finish(f));
    assert_int_equal(fiber_run(f), FIBER_DONE);
    fiber_free(f);
    f = start(p, &s, 60, 0);
    assert_int_equal(fiber_run(f), FIBER_ERROR);
    assert_int_equal(fiber_error(f, NULL, NULL)->code, XS_E_DEADLINE);
    fiber_free(f);

    /* nobody outside */
    Services none = {.now_ms = clock_ms};
    f = start(p, &none, 1, 0);
    assert_int_equal(fiber_run(f), FIBER_ERROR);
    assert_int_equal(fiber_error(f, NULL, NULL)->code, XS_E_UNSUPPORTED);
    fiber_free(f);

    outside_free(o);
    program_unref(p);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sleeping)};
    tables_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
