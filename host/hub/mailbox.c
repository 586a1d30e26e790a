/* mailbox.c - a locked array that the consumer swaps for an empty one; eventfd for the wake. */
#include "host/hub/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mem.h"

enum {
    MAX_ITEMS = 1 << 20,
    KEEP_ITEMS = 4096 /* a larger array is given back when it was emptied */
};

bool mailbox_init(Mailbox *m, xs_error *err)
{
    *m = (Mailbox){.max = MAX_ITEMS};
    m->links_end = &m->links;
    m->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->wake_fd < 0)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "eventfd: %s", strerror(errno));
    if (pthread_mutex_init(&m->lock, NULL) != 0) {
        close(m->wake_fd);
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    }
    pthread_cond_init(&m->enough, NULL);
    return true;
}

void mailbox_deinit(Mailbox *m)
{
    close(m->wake_fd);
    pthread_cond_destroy(&m->enough);
    pthread_mutex_destroy(&m->lock);
    mem_free(m->items);
    mem_free(m->batch);
}

static bool has_mail(const Mailbox *m)
{
    return m->count || m->links || m->lost;
}

static void wake(const Mailbox *m)
{
    uint64_t one = 1;
    ssize_t n =
        write(m->wake_fd, &one, sizeof one); /* cannot block: a full counter is awake already */
    (void)n;
}

bool mailbox_push(Mailbox *m, Mail mail)
{
    pthread_mutex_lock(&m->lock);
    bool first = !has_mail(m);
    bool ok = !m->closed;
    if (ok) {
        void *items = m->items;
        ok = m->count < m->max && mem_grow(&items, &m->cap, m->count + 1, sizeof *m->items);
        m->items = items;
        if (ok)
            m->items[m->count++] = mail;
        else
            m->lost = true;
    }
    first = first && has_mail(m);
    pthread_mutex_unlock(&m->lock);
    if (first)
        wake(m);
    return ok;
}

bool mailbox_push_link(Mailbox *m, MailLink *link)
{
    link->next = NULL;
    pthread_mutex_lock(&m->lock);
    bool ok = !m->closed, first = !has_mail(m);
    if (ok) {
        *m->links_end = link;
        m->links_end = &link->next;
        if (++m->nlinks == m->awaited)
            pthread_cond_signal(&m->enough);
    }
    pthread_mutex_unlock(&m->lock);
    if (ok && first)
        wake(m);
    return ok;
}

void mailbox_lose(Mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    bool first = !has_mail(m);
    m->lost = true;
    pthread_mutex_unlock(&m->lock);
    if (first)
        wake(m);
}

bool mailbox_is_empty(Mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    bool empty = !has_mail(m);
    pthread_mutex_unlock(&m->lock);
    return empty;
}

MailBatch mailbox_take(Mailbox *m)
{
    uint64_t seen;
    /* Cleared first: a producer that comes after the swap finds the mailbox empty and wakes again.
     */
    ssize_t n = read(m->wake_fd, &seen, sizeof seen);
    (void)n;
    if (m->batch_cap > KEEP_ITEMS) {
        mem_free(m->batch);
        m->batch = NULL;
        m->batch_cap = 0;
    }
    pthread_mutex_lock(&m->lock);
    MailBatch b = {m->items, m->count, m->links, m->lost};
    Mail *spare = m->batch;
    size_t spare_cap = m->batch_cap;
    m->batch = m->items;
    m->batch_cap = m->cap;
    m->items = spare;
    m->cap = spare_cap;
    m->count = 0;
    m->links = NULL;
    m->links_end = &m->links;
    m->nlinks = 0;
    m->lost = false;
    pthread_mutex_unlock(&m->lock);
    return b;
}

uint32_t mailbox_await(Mailbox *m, uint32_t links, int64_t us)
{
    int64_t end = clock_mono_us() + us;
    struct timespec until = {.tv_sec = end / 1000000, .tv_nsec = end % 1000000 * 1000};
    pthread_mutex_lock(&m->lock);
    m->awaited = links;
    for (int rc = 0; m->nlinks < links && rc == 0;)
        rc = pthread_cond_clockwait(&m->enough, &m->lock, CLOCK_MONOTONIC, &until);
    m->awaited = 0;
    uint32_t n = m->nlinks;
    pthread_mutex_unlock(&m->lock);
    return n;
}

void mailbox_close(Mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    m->closed = true;
    pthread_mutex_unlock(&m->lock);
}
