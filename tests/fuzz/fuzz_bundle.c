/* fuzz_bundle.c - any bytes as a bundle: refused, or accepted and then run without harm. The
 * checksum is repaired first, so that the decoder behind it is reached. */
#include <stdlib.h>

#include "core/bundle.h"
#include "core/tables.h"
#include "stdlib/registry.h"
#include "tests/fuzz/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tables_init();
    char *bytes = (char *)malloc(size + 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    bundle_seal(bytes, size);
    xs_error err;
    Program *p = program_open((Text){bytes, size}, &stdlib_natives, &err);
    if (p) {
        fuzz_run_all(p);
        Buf listing = BUF_INIT;
        program_disasm(p, NULL, NULL, &listing);
        buf_deinit(&listing);
    }
    program_unref(p);
    free(bytes);
    return 0;
}
