/* bind_i.h - shared by bind.c and bind_geo.c. */
#ifndef STDLIB_BIND_I_H
#define STDLIB_BIND_I_H

#include "vm/vm.h"

/**
 * Check and normalise a value of a geo_* type: {"type","data"} or WKT text; rings are closed.
 * *v is replaced. false: not that shape, or no memory (heap_error says so).
 */
XS_MUST_CHECK bool bind_geo(Heap *h, Text type, Value *v);

#endif
