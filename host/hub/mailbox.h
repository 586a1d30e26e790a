/* mailbox.h - what other threads hand to a shard: many producers, one consumer, one wake per burst.
 * Lock: its own, the last in the order. */
#ifndef HOST_HUB_MAILBOX_H
#define HOST_HUB_MAILBOX_H

#include <pthread.h>

#include "core/base.h"
#include "include/xs/event.h"

typedef enum MailKind {
    MAIL_EVENT,  /* frame for every subscriber of local; local->pending counts it */
    MAIL_DIRECT, /* frame for the socket named in it */
    MAIL_CALL,   /* call(shard, arg) */
    MAIL_SEND    /* arg: a SendBatch */
} MailKind;

struct xs_shard;
struct ShardChannel;

typedef struct Mail {
    MailKind kind;
    xs_frame *frame; /* one reference */
    union {
        struct ShardChannel *local;
        void (*call)(struct xs_shard *shard, void *arg);
    };
    void *arg;
} Mail;

/* A node that its owner brings along, so that posting it cannot fail. */
typedef struct MailLink {
    struct MailLink *next;
    void (*handle)(struct MailLink *link); /* on the shard's thread; consumes it */
} MailLink;

typedef struct Mailbox {
    pthread_mutex_t lock;
    int wake_fd;
    Mail *items;
    size_t count, cap;
    size_t max; /* items; past it the shard has stalled and its connections are cut */
    MailLink *links, **links_end;
    uint32_t nlinks;
    uint32_t awaited; /* links that the consumer waits for; 0 = it does not wait */
    pthread_cond_t enough;
    bool lost;   /* an item could not be kept: every connection of the shard has a hole */
    bool closed; /* the shard is gone: nothing is taken */
    /* the consumer's own */
    Mail *batch;
    size_t batch_cap;
} Mailbox;

XS_MUST_CHECK bool mailbox_init(Mailbox *m, xs_error *err);
void mailbox_deinit(Mailbox *m); /* empty by then */
/** false: not taken (out of memory, full: marked lost; or closed). The caller keeps the item's
 * references. */
bool mailbox_push(Mailbox *m, Mail mail);
/** Always taken, unless closed (false). */
bool mailbox_push_link(Mailbox *m, MailLink *link);
/** Mark it lost: the shard has a hole that nobody can fill. */
void mailbox_lose(Mailbox *m);
bool mailbox_is_empty(Mailbox *m);

typedef struct MailBatch {
    const Mail *items; /* valid until the next take */
    size_t count;
    MailLink *links; /* oldest first */
    bool lost;
} MailBatch;
/** Consumer: everything posted so far; clears the wake. */
MailBatch mailbox_take(Mailbox *m);
/** Consumer: wait until so many links are there, at most us microseconds. @return how many are */
uint32_t mailbox_await(Mailbox *m, uint32_t links, int64_t us);
void mailbox_close(Mailbox *m);

#endif
