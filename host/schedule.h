/* schedule.h - tasks at their times. The next time follows from the schedule alone, and what was
 * missed while the server was down is skipped. Of several processes on one database file one runs
 * each time: the first that takes it there. runtime.md §6.1. */
#ifndef HOST_SCHEDULE_H
#define HOST_SCHEDULE_H

#include "host/history.h"
#include "host/router.h"
#include "host/worker.h"

/* One entry of a task's schedule; epoch ms. */
typedef struct TaskTimes {
    int64_t starts_ms;
    int64_t freq_ms; /* 0 = once */
    int64_t ends_ms; /* INT64_MAX = never */
} TaskTimes;

/** False: the entry has no usable starts_on. */
bool task_times_read(const Const *entry, TaskTimes *out);
/** The first time later than now_ms; -1 = none. */
int64_t task_times_next(const TaskTimes *t, int64_t now_ms);

typedef struct Schedule Schedule;

/**
 * Arm a timer for every entry of every active task.
 * @param history  what ran is recorded there; NULL = nowhere.
 * Errors: XS_E_BAD_BUNDLE (a task without procedure, unknown middleware), XS_E_NOMEM.
 * Thread: the loop's, for everything.
 */
XS_MUST_CHECK Schedule *schedule_new(Pool *pool, Space *space, History *history,
                                     struct event_base *base, xs_error *err);
/** Begin no more tasks; those that run go on. */
void schedule_stop(Schedule *s);
void schedule_free(Schedule *s); /* after pool_stop; NULL is fine */

#endif
