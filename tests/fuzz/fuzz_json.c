/* fuzz_json.c - any bytes as JSON: what parses must write and parse again to the same value. */
#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena;
    arena_init(&arena, 64 << 20);
    xs_error err;
    const Const *first = json_parse(&arena, (Text){(const char *)data, size}, &err);
    if (first) {
        Buf out = BUF_INIT;
        json_write_const(&out, first);
        const Const *second = json_parse(&arena, buf_view(&out), &err);
        if (!second || !const_equal(first, second))
            __builtin_trap();
        buf_deinit(&out);
    }
    arena_deinit(&arena);
    return 0;
}
