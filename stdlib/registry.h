/* registry.h - binds the rows of filters.def and statements.def to their C functions. Constant, any
 * thread. */
#ifndef STDLIB_REGISTRY_H
#define STDLIB_REGISTRY_H

#include "vm/vm.h"

extern const NativeTable stdlib_natives;

#endif
