/* fuzz_json.c - any bytes as JSON: what parses must write, parse again and write the same bytes. */
#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena;
    arena_init(&arena, 64 << 20);
    xs_error err;
    const Const *first = json_parse(&arena, (Text){(const char *)data, size}, &err);
    if (first) {
        Buf out = BUF_INIT, again = BUF_INIT;
        json_write_const(&out, first);
        const Const *second = json_parse(&arena, buf_view(&out), &err);
        json_write_const(&again, second);
        if (!second || !text_eq(buf_view(&out), buf_view(&again)))
            __builtin_trap(); /* 1e1 becomes 10: the kinds may differ, the text may not */
        buf_deinit(&out);
        buf_deinit(&again);
    }
    arena_deinit(&arena);
    return 0;
}
