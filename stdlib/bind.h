/* bind.h - input binding: absent/null rules, coercion, input filters, nested schemas. runtime.md
 * §1.4. */
#ifndef STDLIB_BIND_H
#define STDLIB_BIND_H

#include "vm/vm.h"

/** NativeTable.bind. Errors: XS_E_INPUTERROR; *payload gets {"param": "lines.0.qty"} (owned). */
bool bind_inputs(Heap *h, const Services *s, const Const *inputs, Value *regs, uint32_t ninputs,
                 xs_error *err, Value *payload);
/** NativeTable.bind_passes. */
uint32_t bind_passes(const Const *field);
/** One value by one FIELD, also for table columns (write = true: defaults of absent values are the
 * caller's). *v is replaced. path names the field in errors. */
bool bind_field(Heap *h, const Services *s, const Const *field, Value *v, Text path, xs_error *err,
                Value *payload);

#endif
