/* expect.c - what tests expect, and the other statements only tests have. runtime.md §1.9, §7.
 * A failed expectation is the error XS_E_EXPECT, which nothing catches. Its payload tells more than
 * the message: {"expect", "message", "expected"?, "actual"?}. */
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/filters/regex.h"
#include "vm/obj.h"

enum { SHOWN_MAX = 120 /* bytes of an operand in a message */ };

/* ---- failing ---- */

/* An operand for a message: JSON, cut when it is long. */
static void show(Value v, Buf *out)
{
    Buf json = BUF_INIT;
    if (!val_write_json(v.kind == V_UNSET ? val_null() : v, &json))
        buf_cstr(&json, "(nested too deeply)");
    Text t = buf_view(&json);
    if (t.len > SHOWN_MAX) {
        buf_text(out, text_slice(t, 0, utf8_valid_len(text_slice(t, 0, SHOWN_MAX))));
        buf_cstr(out, "…");
    } else {
        buf_text(out, t);
    }
    buf_deinit(&json);
}

static Text short_name(const Call *c)
{
    Text name = text_from(c->name);
    return text_starts(name, TEXT("expect.")) ? text_slice(name, 7, name.len) : name;
}

/* expected, actual: V_UNSET = the message says all. text: behind "<expect> failed - ". */
static NativeResult failed(Call *c, Value expected, Value actual, Buf *text)
{
    Buf message = BUF_INIT;
    buf_printf(&message, TEXT_FMT " failed - ", TEXT_ARG(short_name(c)));
    buf_text(&message, buf_view(text));
    Value m = map_new(c->heap, 4);
    bool ok =
        m.kind == V_MAP && !message.failed && !text->failed &&
        map_set_text(c->heap, &m, TEXT("expect"), text_new(c->heap, short_name(c))) &&
        map_set_text(c->heap, &m, TEXT("message"), text_new(c->heap, buf_view(&message))) &&
        (expected.kind == V_UNSET ||
         map_set_text(c->heap, &m, TEXT("expected"), val_ref(expected))) &&
        (actual.kind == V_UNSET || map_set_text(c->heap, &m, TEXT("actual"), val_ref(actual)));
    Text cut = text_slice(buf_view(&message), 0, 200);
    cut.len = utf8_valid_len(cut);
    call_fail(c, XS_E_EXPECT, TEXT_FMT, TEXT_ARG(cut));
    if (ok)
        c->thrown = m;
    else
        val_unref(c->heap, m);
    buf_deinit(&message);
    buf_deinit(text);
    return NATIVE_ERROR;
}

/* "… %s …" with the operands in place of the marks: %w expected, %a actual. */
static NativeResult fail_with(Call *c, const char *form, Value expected, Value actual)
{
    Buf text = BUF_INIT;
    for (const char *at = form; *at; at++) {
        if (*at == '%' && (at[1] == 'w' || at[1] == 'a'))
            show(*++at == 'w' ? expected : actual, &text);
        else
            buf_char(&text, *at);
    }
    return failed(c, expected, actual, &text);
}

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* ---- equality: numbers by value, everything else by kind ---- */

static bool equal_at(Value a, Value b, unsigned depth);

static bool lists_equal(const ListObj *a, const ListObj *b, unsigned depth)
{
    if (a->len != b->len)
        return false;
    for (uint32_t i = 0; i < a->len; i++)
        if (!equal_at(list_at(a, i), list_at(b, i), depth))
            return false;
    return true;
}

/* Every member of a is in b. */
static bool members_in(const MapObj *a, const MapObj *b, unsigned depth)
{
    const MapEntry *e;
    for (uint32_t at = 0; (e = map_walk(a, &at));) {
        const Value *other = map_find(b, (Text){e->key->data, e->key->len});
        if (!other || !equal_at(e->value, *other, depth))
            return false;
    }
    return true;
}

static bool equal_at(Value a, Value b, unsigned depth)
{
    bool number_a = a.kind == V_INT || a.kind == V_DEC;
    if (depth > VALUE_MAX_DEPTH)
        return false;
    if (number_a && (b.kind == V_INT || b.kind == V_DEC))
        return val_same(a, b);
    if (a.kind == V_LIST && b.kind == V_LIST)
        return lists_equal(a.list, b.list, depth + 1);
    if (a.kind == V_MAP && b.kind == V_MAP)
        return a.map->count == b.map->count && members_in(a.map, b.map, depth + 1);
    if ((a.kind == V_LIST || a.kind == V_MAP) && (b.kind == V_LIST || b.kind == V_MAP))
        return val_count(a) == 0 && val_count(b) == 0; /* [] stands for {} too */
    return val_strict_eq(a, b);
}

static bool equal(Value a, Value b)
{
    return equal_at(a, b, 0);
}

NativeResult op_expect_to_equal(Call *c)
{
    Value actual = call_arg(c, 0), expected = call_arg(c, 1);
    return equal(actual, expected)
               ? NATIVE_OK
               : fail_with(c, "expected value %w does not equal %a", expected, actual);
}

NativeResult op_expect_to_not_equal(Call *c)
{
    Value actual = call_arg(c, 0), other = call_arg(c, 1);
    return equal(actual, other)
               ? fail_with(c, "expected a value other than %a", val_unset(), actual)
               : NATIVE_OK;
}

/* ---- single values ---- */

static NativeResult be(Call *c, Value wanted)
{
    Value actual = call_arg(c, 0);
    bool ok = wanted.kind == V_NULL ? val_is_null(actual) : val_strict_eq(actual, wanted);
    return ok ? NATIVE_OK : fail_with(c, "expected value %w does not equal %a", wanted, actual);
}

NativeResult op_expect_to_be_true(Call *c)
{
    return be(c, val_bool(true));
}

NativeResult op_expect_to_be_false(Call *c)
{
    return be(c, val_bool(false));
}

NativeResult op_expect_to_be_null(Call *c)
{
    return be(c, val_null());
}

NativeResult op_expect_to_not_be_null(Call *c)
{
    return val_is_null(call_arg(c, 0))
               ? fail_with(c, "expected a value other than null", val_unset(), val_null())
               : NATIVE_OK;
}

NativeResult op_expect_to_be_defined(Call *c)
{
    return call_bool(c, 1, false)
               ? NATIVE_OK
               : fail_with(c, "expected a value but it is not defined", val_unset(), val_unset());
}

NativeResult op_expect_to_not_be_defined(Call *c)
{
    return call_bool(c, 1, false)
               ? fail_with(c, "expected no value but %a is defined", val_unset(), call_arg(c, 0))
               : NATIVE_OK;
}

NativeResult op_expect_to_be_empty(Call *c)
{
    Value v = call_arg(c, 0);
    bool empty = val_is_null(v) || (v.kind == V_TEXT && v.text->len == 0) ||
                 ((v.kind == V_LIST || v.kind == V_MAP) && val_count(v) == 0);
    return empty ? NATIVE_OK : fail_with(c, "expected an empty value but got %a", val_unset(), v);
}

/* ---- order ---- */

/* Both numbers or both texts; everything else has no order here. */
static bool ordered(Value a, Value b, int *order)
{
    bool numbers = (a.kind == V_INT || a.kind == V_DEC) && (b.kind == V_INT || b.kind == V_DEC);
    if (!numbers && (a.kind != V_TEXT || b.kind != V_TEXT))
        return false;
    *order = val_compare(a, b);
    return true;
}

NativeResult op_expect_to_be_greater_than(Call *c)
{
    Value actual = call_arg(c, 0), limit = call_arg(c, 1);
    int order;
    return ordered(actual, limit, &order) && order > 0
               ? NATIVE_OK
               : fail_with(c, "expected a value greater than %w but got %a", limit, actual);
}

NativeResult op_expect_to_be_less_than(Call *c)
{
    Value actual = call_arg(c, 0), limit = call_arg(c, 1);
    int order;
    return ordered(actual, limit, &order) && order < 0
               ? NATIVE_OK
               : fail_with(c, "expected a value less than %w but got %a", limit, actual);
}

NativeResult op_expect_to_be_within(Call *c)
{
    Value actual = call_arg(c, 0), min = call_arg(c, 1), max = call_arg(c, 2);
    int low, high;
    if (ordered(actual, min, &low) && ordered(actual, max, &high) && low >= 0 && high <= 0)
        return NATIVE_OK;
    Buf text = BUF_INIT;
    buf_cstr(&text, "expected a value between ");
    show(min, &text);
    buf_cstr(&text, " and ");
    show(max, &text);
    buf_cstr(&text, " but got ");
    show(actual, &text);
    return failed(c, val_unset(), actual, &text);
}

static NativeResult time_test(Call *c, bool future)
{
    Value actual = call_arg(c, 0);
    int64_t now, t;
    if (!services_now(c->services, &now, c->err))
        return NATIVE_ERROR;
    xs_error ignored = {0};
    bool ok = !val_is_null(actual) && timestamp_from(actual, &zone_utc, c->services, &t, &ignored);
    if (ok && (t > now) == future)
        return NATIVE_OK;
    Buf text = BUF_INIT;
    buf_printf(&text, "expected a time in the %s but got ", future ? "future" : "past");
    show(actual, &text);
    buf_printf(&text, ", now is %lld", (long long)now);
    return failed(c, val_unset(), actual, &text);
}

NativeResult op_expect_to_be_in_the_past(Call *c)
{
    return time_test(c, false);
}

NativeResult op_expect_to_be_in_the_future(Call *c)
{
    return time_test(c, true);
}

/* ---- texts and lists ---- */

static bool both_texts(Call *c, Text *actual, Text *part)
{
    Value a = call_arg(c, 0);
    if (a.kind != V_TEXT)
        return false;
    *actual = val_text_view(a);
    return call_has(c, 1) && call_text(c, 1, part);
}

NativeResult op_expect_to_start_with(Call *c)
{
    Text actual, part;
    if (both_texts(c, &actual, &part) && text_starts(actual, part))
        return NATIVE_OK;
    return fail_with(c, "expected a text that starts with %w but got %a", call_arg(c, 1),
                     call_arg(c, 0));
}

NativeResult op_expect_to_end_with(Call *c)
{
    Text actual, part;
    if (both_texts(c, &actual, &part) && text_ends(actual, part))
        return NATIVE_OK;
    return fail_with(c, "expected a text that ends with %w but got %a", call_arg(c, 1),
                     call_arg(c, 0));
}

NativeResult op_expect_to_match(Call *c)
{
    Text actual, pattern;
    if (!call_text(c, 1, &pattern))
        return NATIVE_ERROR;
    Regex *r = regex_get(pattern, c->err);
    if (!r)
        return NATIVE_ERROR;
    if (both_texts(c, &actual, &pattern)) {
        const size_t *groups;
        RegexResult found = regex_match(r, actual, 0, false, &groups, c->err);
        if (found != REGEX_MISS)
            return result_of(found == REGEX_HIT);
    }
    return fail_with(c, "expected a text that matches %w but got %a", call_arg(c, 1),
                     call_arg(c, 0));
}

NativeResult op_expect_to_contain(Call *c)
{
    Value actual = call_arg(c, 0), part = call_arg(c, 1);
    Text t, p;
    bool found = both_texts(c, &t, &p) && text_find(t, p, 0) != SIZE_MAX;
    for (uint32_t i = 0; actual.kind == V_LIST && i < actual.list->len && !found; i++)
        found = equal(list_at(actual.list, i), part);
    return found ? NATIVE_OK
                 : fail_with(c, "expected a value that contains %w but got %a", part, actual);
}

/* ---- errors ---- */

static bool contains_folded(Text t, Text part)
{
    Buf a = BUF_INIT, b = BUF_INIT;
    text_write_lower(&a, t);
    text_write_lower(&b, part);
    bool found = text_find(buf_view(&a), buf_view(&b), 0) != SIZE_MAX;
    buf_deinit(&a);
    buf_deinit(&b);
    return found;
}

/* The text is part of the message, or the code, the name or the error_type of the error. */
static bool error_is(Value error, Text text)
{
    Value code = map_get_cstr(error, "code"), name = map_get_cstr(error, "name"),
          message = map_get_cstr(error, "message");
    if (message.kind == V_TEXT && contains_folded(val_text_view(message), text))
        return true;
    if (name.kind == V_TEXT && text_eq(val_text_view(name), text))
        return true;
    if (code.kind != V_TEXT)
        return false;
    if (text_eq(val_text_view(code), text))
        return true;
    for (int i = XS_E_STANDARD; i <= XS_E_TOOMANYREQUESTS; i++) {
        const xs_code_info *row = xs_code_get((xs_code)i);
        if (text_eq(text_from(row->wire), val_text_view(code)) &&
            text_eq(text_from(row->symbol), text))
            return true;
    }
    return false;
}

static bool error_fits(Value error, Value wanted)
{
    if (val_is_null(wanted))
        return true;
    return wanted.kind == V_TEXT ? error_is(error, val_text_view(wanted))
                                 : equal(map_get_cstr(error, "result"), wanted);
}

NativeResult op_expect_to_throw(Call *c)
{
    Value exception = call_arg(c, 0), value = call_arg(c, 2), error = call_arg(c, 3);
    Value wanted = call_has(c, 0) ? exception : value;
    if (error.kind != V_MAP)
        return fail_with(c, "response is ok", wanted, val_unset());
    if (error_fits(error, exception) && error_fits(error, value))
        return NATIVE_OK;
    return fail_with(c, "expected error %w but got %a", wanted, error);
}

/* ---- published events ---- */

static bool data_fits(Value wanted, Value data)
{
    if (wanted.kind == V_MAP && data.kind == V_MAP)
        return members_in(wanted.map, data.map, 1);
    return equal(wanted, data);
}

/* {"channel", "event"?, "auth_id"?, "data"}; V_UNSET: memory. */
static Value event_value(Call *c, const PublishReq *e)
{
    Heap *h = c->heap;
    Value v = map_new(h, 4);
    if (v.kind == V_MAP && map_set_text(h, &v, TEXT("channel"), text_new(h, e->channel)) &&
        (!e->event.ptr || map_set_text(h, &v, TEXT("event"), text_new(h, e->event))) &&
        (!e->auth_table.len ||
         map_set_text(h, &v, TEXT("auth_id"), val_parse_json(h, e->auth_id_json, c->err))) &&
        map_set_text(h, &v, TEXT("data"), val_parse_json(h, e->data_json, c->err)))
        return v;
    val_unref(h, v);
    return val_unset();
}

static bool event_fits(Call *c, Text channel, Value event)
{
    Value name = map_get_cstr(event, "event"), to = map_get_cstr(event, "auth_id");
    return text_match_pattern(channel, val_text_view(map_get_cstr(event, "channel"))) &&
           (!call_has(c, 1) || val_strict_eq(call_arg(c, 1), name)) &&
           (call_arg(c, 2).kind == V_UNSET ||
            data_fits(call_arg(c, 2), map_get_cstr(event, "data"))) &&
           (!call_has(c, 3) || val_same(call_arg(c, 3), to));
}

/* All published events as a list, and how many of them fit the clauses. */
static bool published(Call *c, Text channel, Value *all, int64_t *fit)
{
    const Services *s = c->services;
    PublishReq e;
    *all = list_new(c->heap, 0);
    *fit = 0;
    for (size_t i = 0; all->kind == V_LIST && s->test->event(s->ctx, i, &e); i++) {
        Value v = event_value(c, &e);
        *fit += v.kind == V_MAP && event_fits(c, channel, v);
        if (!list_push(c->heap, all, v))
            break;
    }
    return (all->kind == V_LIST && heap_error(c->heap) == XS_OK) || flt_memory(c);
}

static Value wanted_event(Call *c, Text channel)
{
    Heap *h = c->heap;
    Value v = map_new(h, 4);
    if (v.kind == V_MAP && map_set_text(h, &v, TEXT("channel"), text_new(h, channel)) &&
        (!call_has(c, 1) || map_set_text(h, &v, TEXT("event"), val_ref(call_arg(c, 1)))) &&
        (!call_has(c, 3) || map_set_text(h, &v, TEXT("auth_id"), val_ref(call_arg(c, 3)))) &&
        (call_arg(c, 2).kind == V_UNSET ||
         map_set_text(h, &v, TEXT("data"), val_ref(call_arg(c, 2)))))
        return v;
    val_unref(h, v);
    return val_unset();
}

static NativeResult outside(Call *c)
{
    return result_of(call_fail(c, XS_E_UNSUPPORTED, "'%s' works in tests only", c->name));
}

static NativeResult publish_test(Call *c, bool wanted)
{
    Text channel;
    Value all;
    int64_t fit, count = -1;
    if (!c->services || !c->services->test)
        return outside(c);
    if (!call_text(c, 0, &channel) || !call_int_opt(c, 4, &count))
        return NATIVE_ERROR;
    bool ok = published(c, channel, &all, &fit);
    Value expected = ok ? wanted_event(c, channel) : val_unset();
    NativeResult result = NATIVE_ERROR;
    if (ok && (wanted ? (count < 0 ? fit > 0 : fit == count) : fit == 0)) {
        result = NATIVE_OK;
    } else if (ok) {
        Buf text = BUF_INIT;
        buf_cstr(&text, wanted ? "expected event " : "expected no event ");
        show(expected, &text);
        if (wanted && count >= 0)
            buf_printf(&text, " %lld time%s, it", (long long)count, count == 1 ? "" : "s");
        else
            buf_cstr(&text, wanted ? ", it" : " but it");
        buf_printf(&text, " was published %lld time%s", (long long)fit, fit == 1 ? "" : "s");
        result = failed(c, expected, all, &text);
    }
    val_unref(c->heap, expected);
    val_unref(c->heap, all);
    return result;
}

NativeResult op_expect_to_have_published(Call *c)
{
    return publish_test(c, true);
}

NativeResult op_expect_to_not_have_published(Call *c)
{
    return publish_test(c, false);
}

/* ---- the run of a test ---- */

NativeResult op_test_set_time(Call *c)
{
    int64_t ms;
    const Services *s = c->services;
    if (!s || !s->test)
        return outside(c);
    if (!timestamp_from(call_arg(c, 0), &zone_utc, s, &ms, c->err))
        return NATIVE_ERROR;
    s->test->set_time(s->ctx, ms);
    return NATIVE_OK;
}

NativeResult op_test_settle(Call *c)
{
    const Services *s = c->services;
    if (s && s->test)
        s->test->settle(s->ctx);
    return NATIVE_OK;
}

NativeResult op_test_running(Call *c)
{
    const Services *s = c->services;
    return result_of(
        call_return_bool(c, s && s->test &&
                                s->test->running(s->ctx, const_get_text(c->site, "name"),
                                                 const_int_of(const_get(c->site, "of"), -1))));
}

NativeResult op_test_call(Call *c)
{
    const Services *s = c->services;
    return s && s->test ? (NativeResult)s->test->call(s->ctx, c) : outside(c);
}
