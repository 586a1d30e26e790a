/* openapi.c - written from the bundle's metadata at each request: nobody asks for it often. */
#include "host/openapi.h"

#include "core/json.h"
#include "core/text.h"
#include "host/openapi_page.h"

enum { SCHEMA_MAX_DEPTH = 16 };

/* ---- JSON ---- */

/* "name":  with a comma unless it is the first of its object. */
static void key(Buf *out, const char *name)
{
    char last = out->len ? out->ptr[out->len - 1] : '{';
    if (last != '{' && last != '[')
        buf_char(out, ',');
    json_write_text(out, text_from(name));
    buf_char(out, ':');
}

static void key_text(Buf *out, const char *name, Text value)
{
    key(out, name);
    json_write_text(out, value);
}

static void key_const(Buf *out, const char *name, const Const *value)
{
    key(out, name);
    json_write_const(out, value);
}

static void item(Buf *out)
{
    char last = out->len ? out->ptr[out->len - 1] : '[';
    if (last != '{' && last != '[')
        buf_char(out, ',');
}

/* ---- schemas ---- */

typedef struct TypeInfo {
    const char *name, *type, *format;
} TypeInfo;

static const TypeInfo types[] = {
    {"int", "integer", "int64"},
    {"decimal", "number", "double"},
    {"bool", "boolean", NULL},
    {"text", "string", NULL},
    {"email", "string", "email"},
    {"password", "string", "password"},
    {"uuid", "string", "uuid"},
    {"timestamp", "integer", "int64"},
    {"date", "string", "date"},
    {"enum", "string", NULL},
    {"object", "object", NULL},
    {"file", "string", "binary"},
    {"image", "object", NULL},
    {"video", "object", NULL},
    {"audio", "object", NULL},
    {"attachment", "object", NULL},
    {"geo_point", "object", NULL},
    {"geo_linestring", "object", NULL},
    {"geo_polygon", "object", NULL},
    {"geo_multipoint", "object", NULL},
    {"vector", "array", NULL},
    {"geo_multilinestring", "object", NULL},
    {"geo_multipolygon", "object", NULL},
};

static const TypeInfo *type_of(const Const *field)
{
    Text name = const_get_text(field, "type");
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (text_eq(name, text_from(types[i].name)))
            return &types[i];
    return NULL; /* json: anything */
}

static bool flag(const Const *field, const char *name)
{
    return const_bool_of(const_get(field, name), false);
}

static void write_type(const Const *field, const char *type, Buf *out)
{
    key(out, "type");
    buf_printf(out, flag(field, "nullable") ? "[\"%s\",\"null\"]" : "\"%s\"", type);
}

/* min and max mean the number, the characters or the elements. */
static void write_filters(const Const *field, const char *type, bool list, Buf *out)
{
    const Const *filters = const_get(field, "filters");
    for (uint32_t i = 0; filters && filters->kind == C_LIST && i < filters->count; i++) {
        const Const *f = filters->items[i];
        if (f->kind != C_LIST || f->count < 2)
            continue;
        Text name = const_text_of(f->items[0], TEXT(""));
        bool min = text_eq(name, TEXT("min")), max = text_eq(name, TEXT("max"));
        bool number = !strcmp(type, "integer") || !strcmp(type, "number");
        if (min || max)
            key_const(out,
                      list     ? (min ? "minItems" : "maxItems")
                      : number ? (min ? "minimum" : "maximum")
                               : (min ? "minLength" : "maxLength"),
                      f->items[1]);
        else if (!list && text_eq(name, TEXT("pattern")) && f->items[1]->kind == C_TEXT)
            key_const(out, "pattern", f->items[1]);
    }
}

static void write_object(const Const *fields, unsigned depth, const Text *skip, uint32_t nskip,
                         Buf *out);

static void write_value(const Const *field, unsigned depth, bool in_list, Buf *out)
{
    const TypeInfo *t = type_of(field);
    const Const *fields = const_get(field, "fields"), *values = const_get(field, "values");
    if (!t)
        return;
    if (in_list) {
        key(out, "type");
        json_write_text(out, text_from(t->type));
    } else {
        write_type(field, t->type, out);
    }
    if (t->format)
        key_text(out, "format", text_from(t->format));
    if (!strcmp(t->type, "array"))
        buf_cstr(out, ",\"items\":{\"type\":\"number\"}");
    if (values && values->count)
        key_const(out, "enum", values);
    if (!in_list)
        write_filters(field, t->type, false, out);
    if (fields && depth < SCHEMA_MAX_DEPTH)
        write_object(fields, depth + 1, NULL, 0, out);
}

static void write_schema(const Const *field, unsigned depth, Buf *out)
{
    const Const *def = const_get(field, "default");
    Text about = const_get_text(field, "description");
    buf_char(out, '{');
    if (flag(field, "list")) {
        write_type(field, "array", out);
        if (const_get(field, "min"))
            key_const(out, "minItems", const_get(field, "min"));
        if (const_get(field, "max"))
            key_const(out, "maxItems", const_get(field, "max"));
        write_filters(field, "array", true, out);
        key(out, "items");
        buf_char(out, '{');
        write_value(field, depth, true, out);
        buf_char(out, '}');
    } else {
        write_value(field, depth, false, out);
    }
    if (def && def->kind != C_MAP) /* {"now": true} is no constant */
        key_const(out, "default", def);
    if (about.len)
        key_text(out, "description", about);
    else if (text_eq(const_get_text(field, "type"), TEXT("timestamp")))
        key_text(out, "description", TEXT("Epoch milliseconds; texts of ISO 8601 are read too"));
    if (flag(field, "sensitive") || text_eq(const_get_text(field, "type"), TEXT("password")))
        buf_cstr(out, ",\"writeOnly\":true");
    buf_char(out, '}');
}

static bool skipped(Text name, const Text *skip, uint32_t nskip)
{
    for (uint32_t i = 0; i < nskip; i++)
        if (text_eq(skip[i], name))
            return true;
    return false;
}

/* properties and required of an object's fields. */
static void write_object(const Const *fields, unsigned depth, const Text *skip, uint32_t nskip,
                         Buf *out)
{
    key(out, "properties");
    buf_char(out, '{');
    for (uint32_t i = 0; fields->kind == C_LIST && i < fields->count; i++) {
        Text name = const_get_text(fields->items[i], "name");
        if (!name.len || skipped(name, skip, nskip))
            continue;
        item(out);
        json_write_text(out, name);
        buf_char(out, ':');
        write_schema(fields->items[i], depth, out);
    }
    buf_cstr(out, "},\"required\":[");
    for (uint32_t i = 0; fields->kind == C_LIST && i < fields->count; i++) {
        Text name = const_get_text(fields->items[i], "name");
        if (!name.len || flag(fields->items[i], "optional") || skipped(name, skip, nskip))
            continue;
        item(out);
        json_write_text(out, name);
    }
    buf_char(out, ']');
}

/* ---- operations ---- */

static void write_parameter(const Const *field, const char *in, bool required, Buf *out)
{
    item(out);
    buf_char(out, '{');
    Text name = const_get_text(field, "name");
    bool list = flag(field, "list") && !strcmp(in, "query");
    key(out, "name");
    Buf with = BUF_INIT;
    buf_text(&with, name);
    buf_cstr(&with, list ? "[]" : "");
    json_write_text(out, buf_view(&with));
    buf_deinit(&with);
    key_text(out, "in", text_from(in));
    key(out, "required");
    buf_cstr(out, required ? "true" : "false");
    key(out, "schema");
    write_schema(field, 0, out);
    buf_char(out, '}');
}

static void write_parameters(const Route *route, const Const *fields, bool in_query, Buf *out)
{
    key(out, "parameters");
    buf_char(out, '[');
    for (uint32_t i = 0; i < route->nparams; i++) {
        const Const *found = NULL;
        for (uint32_t k = 0; fields && k < fields->count; k++)
            if (text_eq(const_get_text(fields->items[k], "name"), route->params[i]))
                found = fields->items[k];
        if (found) {
            write_parameter(found, "path", true, out);
            continue;
        }
        item(out);
        buf_char(out, '{');
        key_text(out, "name", route->params[i]);
        buf_cstr(out, ",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}");
    }
    for (uint32_t k = 0; in_query && fields && k < fields->count; k++)
        if (!skipped(const_get_text(fields->items[k], "name"), route->params, route->nparams))
            write_parameter(fields->items[k], "query", !flag(fields->items[k], "optional"), out);
    buf_char(out, ']');
}

static void write_body(const Route *route, const Const *fields, Buf *out)
{
    bool file = false, any = false;
    for (uint32_t i = 0; i < fields->count; i++) {
        file = file || text_eq(const_get_text(fields->items[i], "type"), TEXT("file"));
        any = any ||
              !skipped(const_get_text(fields->items[i], "name"), route->params, route->nparams);
    }
    if (!any)
        return;
    key(out, "requestBody");
    buf_printf(out, "{\"content\":{\"%s\":{\"schema\":{\"type\":\"object\"",
               file ? "multipart/form-data" : "application/json");
    write_object(fields, 0, route->params, route->nparams, out);
    buf_cstr(out, "}}}}");
}

static void write_responses(const Route *route, const Const *fields, Buf *out)
{
    static const struct {
        const char *status, *text;
    } errors[] = {{"400", "An input is missing or wrong"},
                  {"401", "Authentication is required"},
                  {"404", "Not found"},
                  {"500", "The program failed"}};
    bool stream = text_eq(const_get_text(route->meta, "response_type"), TEXT("stream"));
    key(out, "responses");
    buf_printf(out, "{\"200\":{\"description\":\"Success\",\"content\":{\"%s\":{}}}",
               stream ? "application/x-ndjson" : "application/json");
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        if ((i == 0 && (!fields || !fields->count)) || (i == 1 && !route->auth.len))
            continue;
        buf_printf(out,
                   ",\"%s\":{\"description\":\"%s\",\"content\":{\"application/json\":{\"schema\":"
                   "{\"$ref\":\"#/components/schemas/Error\"}}}}",
                   errors[i].status, errors[i].text);
    }
    buf_char(out, '}');
}

static void write_operation(const Route *route, const Program *program, Buf *out)
{
    const Const *fields = program_proc(program, route->proc)->inputs;
    Text about = const_get_text(route->meta, "description"),
         docs = const_get_text(route->meta, "docs");
    const Const *tags = const_get(route->meta, "tags");
    bool in_query = text_eq(route->verb, TEXT("GET")) || text_eq(route->verb, TEXT("DELETE"));
    char verb[16] = "";
    for (size_t i = 0; i < route->verb.len && i < sizeof verb - 1; i++)
        verb[i] = (char)(route->verb.ptr[i] | 32);
    key(out, verb);
    buf_char(out, '{');
    Buf id = BUF_INIT;
    buf_printf(&id, TEXT_FMT " " TEXT_FMT, TEXT_ARG(route->verb), TEXT_ARG(route->name));
    key_text(out, "operationId", buf_view(&id));
    buf_deinit(&id);
    if (about.len)
        key_text(out, "summary", about);
    if (docs.len)
        key_text(out, "description", docs);
    if (tags && tags->kind == C_LIST && tags->count)
        key_const(out, "tags", tags);
    if (fields && fields->kind != C_LIST)
        fields = NULL;
    write_parameters(route, fields, in_query, out);
    if (!in_query && fields)
        write_body(route, fields, out);
    write_responses(route, fields, out);
    if (route->auth.len)
        buf_cstr(out, ",\"security\":[{\"bearer\":[]}]");
    buf_char(out, '}');
}

/* All verbs of one path; paths appear where their first query does. */
static void write_paths(const Router *r, const Program *program, Text canonical, Buf *out)
{
    const Route *a, *b;
    key(out, "paths");
    buf_char(out, '{');
    for (size_t i = 0; (a = router_at(r, i)); i++) {
        bool first = text_eq(a->group, canonical);
        for (size_t k = 0; first && k < i; k++)
            first = !(text_eq(router_at(r, k)->group, canonical) &&
                      text_eq(router_at(r, k)->name, a->name));
        if (!first)
            continue;
        item(out);
        Buf path = BUF_INIT;
        buf_char(&path, '/');
        buf_text(&path, text_trim(a->name, TEXT("/")));
        json_write_text(out, buf_view(&path));
        buf_deinit(&path);
        buf_cstr(out, ":{");
        for (size_t k = i; (b = router_at(r, k)); k++)
            if (text_eq(b->group, canonical) && text_eq(b->name, a->name))
                write_operation(b, program, out);
        buf_char(out, '}');
    }
    buf_char(out, '}');
}

static const Const *group_row(const Program *program, Text canonical)
{
    const Const *groups = const_get(program_meta(program), "groups");
    for (uint32_t i = 0; groups && groups->kind == C_LIST && i < groups->count; i++)
        if (text_eq(const_get_text(groups->items[i], "canonical"), canonical))
            return groups->items[i];
    return NULL;
}

void openapi_write(const Router *r, const Program *program, Text canonical, Text branch, Buf *out)
{
    const Const *group = group_row(program, canonical);
    Text title = const_text_of(const_get(group, "name"), canonical),
         about = const_get_text(group, "description");
    buf_cstr(out, "{\"openapi\":\"3.1.0\",\"info\":{");
    key_text(out, "title", title);
    if (about.len)
        key_text(out, "description", about);
    key_text(out, "version", branch);
    buf_cstr(out, "},\"servers\":[{\"url\":");
    Buf url = BUF_INIT;
    buf_printf(&url, "/api:" TEXT_FMT, TEXT_ARG(canonical));
    json_write_text(out, buf_view(&url));
    buf_deinit(&url);
    buf_cstr(out, "}]");
    write_paths(r, program, canonical, out);
    buf_cstr(out,
             ",\"components\":{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":"
             "\"bearer\"}},\"schemas\":{\"Error\":{\"type\":\"object\",\"properties\":{\"code\":"
             "{\"type\":\"string\"},\"message\":{\"type\":\"string\"},\"payload\":{}},"
             "\"required\":[\"code\",\"message\",\"payload\"]}}}}");
}

/* ---- requests ---- */

/* swagger: {active, token}. */
static bool allowed(const Const *group, xs_http *x)
{
    const Const *swagger = const_get(group, "swagger");
    Text token = const_get_text(swagger, "token");
    xs_str given = http_api.query(x, "token", 0);
    return const_bool_of(const_get(swagger, "active"), true) &&
           (!token.len || text_eq(token, (Text){given.ptr ? given.ptr : "", given.len}));
}

bool openapi_handle(const Router *r, const Program *program, Text branch, const ApiPath *path,
                    xs_http *x)
{
    const char *method = http_api.method(x);
    bool page = !path->rest.len, document = text_eq(path->rest, TEXT("openapi.json"));
    if ((!page && !document) || (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) ||
        !router_group(r, path->canonical) || !allowed(group_row(program, path->canonical), x))
        return false;
    if (page) {
        const xs_header headers[] = {{"Content-Type", "text/html; charset=utf-8"},
                                     {"Content-Security-Policy",
                                      "default-src 'none'; style-src 'unsafe-inline'; script-src "
                                      "'unsafe-inline'; connect-src 'self'"},
                                     {"X-Content-Type-Options", "nosniff"}};
        http_api.reply(x, 200, headers, COUNT_OF(headers),
                       (xs_str){openapi_page, sizeof openapi_page - 1});
        return true;
    }
    Buf out = BUF_INIT;
    const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
    openapi_write(r, program, path->canonical, branch, &out);
    http_reply_take(x, 200, &type, 1, &out);
    return true;
}
