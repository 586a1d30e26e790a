/* rows.h - streams of rows: lines, JSON values or rows of CSV, out of a text or of bytes that come
 * by and by. Thread: the fiber's. Specification: runtime.md §4.8. */
#ifndef STDLIB_ROWS_H
#define STDLIB_ROWS_H

#include "stdlib/filters/codec.h"
#include "vm/stream.h"

typedef enum RowKind { ROWS_LINES, ROWS_JSONL, ROWS_CSV } RowKind;

typedef struct RowFormat {
    RowKind kind;
    CsvDialect csv;
    bool lists;   /* of CSV: a row is the list of its cells */
    Value header; /* of CSV: names of the columns; V_NULL = the first row has them */
} RowFormat;

/** "" and "raw": lines; "jsonl"; "csv". Errors: XS_E_BAD_ARG. */
XS_MUST_CHECK bool row_format(Text name, RowFormat *out, xs_error *err);

typedef struct ByteOps {
    /** Append what there is: 1; 0: the end; -1: err is set; STREAM_LATER. */
    int (*read)(void *from, Buf *into, xs_error *err);
    NativeResult (*wait)(void *from, Call *c); /* as StreamOps.wait */
    void (*free)(void *from);
} ByteOps;

/** A stream of the rows. What it reads and f->header are consumed. V_UNSET: memory. */
Value rows_of_text(Heap *h, const RowFormat *f, Value text);
Value rows_of_bytes(Heap *h, const RowFormat *f, const ByteOps *ops, void *from);

#endif
