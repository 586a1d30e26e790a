/* fuzz_filter.c - any operand and arguments for any filter. The first two bytes pick the filter,
 * NULs part operand and arguments; a part that is JSON is that value, another one a text. */
#include "core/tables.h"
#include "core/text.h"
#include "stdlib/registry.h"
#include "vm/heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t fixed_now(void *ctx)
{
    (void)ctx;
    return 1709296200000;
}

static bool fixed_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    memset(out, 7, n);
    return true;
}

static Value part_value(Heap *h, Text t)
{
    xs_error err;
    Value v = val_parse_json(h, t, &err);
    return v.kind == V_UNSET ? text_new(h, t) : v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Services services = {.now_ms = fixed_now, .random = fixed_random};
    tables_init();
    size_t count = 0, nargs = 0;
    while (filter_at(count))
        count++;
    if (size < 2 || !count)
        return 0;
    const FilterInfo *info = filter_at((size_t)(data[0] << 8 | data[1]) % count);
    const void *row = NULL;
    FilterFn fn = stdlib_natives.filter(text_from(info->name), &row);
    if (!fn || info->inlined)
        return 0;

    Heap *h = heap_new(32 << 20);
    if (!h)
        return 0;
    Text rest = {(const char *)data + 2, size - 2};
    Value parts[1 + FILTER_MAX_ARGS];
    do {
        size_t end = text_find(rest, (Text){"", 1}, 0);
        parts[nargs++] = part_value(h, text_slice(rest, 0, end == SIZE_MAX ? rest.len : end));
        rest = text_slice(rest, end == SIZE_MAX ? rest.len : end + 1, rest.len);
    } while (rest.len && nargs < 1 + FILTER_MAX_ARGS);

    xs_error err = {0};
    Call call = {.heap = h,
                 .services = &services,
                 .name = info->name,
                 .row = row,
                 .in = parts[0],
                 .in_slot = &parts[0],
                 .args = parts + 1,
                 .nargs = (uint32_t)(nargs - 1),
                 .ret = val_null(),
                 .err = &err};
    if (!fn(&call) && err.code == XS_OK)
        __builtin_trap(); /* a failure says why */
    call_end(&call);
    heap_free(h);
    return 0;
}
