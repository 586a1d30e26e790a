/* receipt.h - somebody waits until an event is on disk. */
#ifndef CORE_RECEIPT_H
#define CORE_RECEIPT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Receipt Receipt;
struct Receipt {
    /** Any thread, once, when `pending` was set: it is there and posted, or ok is false. */
    void (*ready)(Receipt *r, bool ok);
    bool pending;                        /* publishing returned before it was known */
    uint64_t epoch, seq, off, delivered; /* before ready(r, true) */
};

#endif
