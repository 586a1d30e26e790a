/* thread.h - how a thread shares its processor. */
#ifndef CORE_THREAD_H
#define CORE_THREAD_H

#include <pthread.h>
#include <sched.h>

/** The calling thread works in bulk: woken while another one runs on its processor, it waits for
 * the end of that one's turn instead of pushing it aside, so that what it is woken for gathers.
 * Where the system refuses, nothing changes. */
static inline void thread_in_bulk(void)
{
    struct sched_param p = {0};
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &p);
}

#endif
