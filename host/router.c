/* router.c - static segments win over digits-only parameters, those over others; a dead end tries
 * the next. */
#include "host/router.h"

#include "core/map.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "core/vec.h"
#include "host/http.h"

typedef struct Node Node;
struct Node {
    Map statics;      /* segment → Node */
    Node *digits;     /* {name} whose input is an int */
    Node *any;        /* other {name} */
    const Route *end; /* a query ends here */
};

typedef struct Group {
    Text canonical;
    bool active;
    GroupCors cors;
    const Const *middleware; /* {"pre": [...], "post": [...]} or NULL */
    const Const *history;
    Map verbs; /* verb → Node */
} Group;

struct Router {
    Arena arena;
    Text branch;
    VEC(Group *) groups;
    VEC(const Route *) routes;
    VEC(Node *) nodes; /* all, to free their maps */
};

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

static Node *new_node(Router *r)
{
    Node *n = ARENA_NEW(&r->arena, Node);
    return n && VEC_PUSH(&r->nodes, n) ? n : NULL;
}

static Group *find_group(const Router *r, Text canonical)
{
    for (size_t i = 0; i < r->groups.len; i++)
        if (text_eq(r->groups.ptr[i]->canonical, canonical))
            return r->groups.ptr[i];
    return NULL;
}

static void read_cors(GroupCors *out, const Const *cors)
{
    Text mode = const_get_text(cors, "mode");
    out->disabled = text_eq(mode, TEXT("disabled"));
    out->custom = text_eq(mode, TEXT("custom"));
    out->origins = const_get(cors, "origins");
    out->methods = const_get(cors, "methods");
    out->headers = const_get(cors, "headers");
    out->credentials = const_bool_of(const_get(cors, "credentials"), false);
    out->max_age = const_int_of(const_get(cors, "max_age"), 86400);
}

static Group *add_group(Router *r, Text canonical, const Const *row)
{
    Group *g = ARENA_NEW(&r->arena, Group);
    if (!g)
        return NULL;
    g->canonical = canonical;
    g->active = const_bool_of(const_get(row, "active"), true);
    g->middleware = const_get(row, "middleware");
    g->history = const_get(row, "history");
    read_cors(&g->cors, const_get(row, "cors"));
    return VEC_PUSH(&r->groups, g) ? g : NULL;
}

/* Queries name their group; one without a declaration gets "default". */
static Group *group_of_query(Router *r, const Const *groups, Text name)
{
    for (uint32_t i = 0; groups && groups->kind == C_LIST && i < groups->count; i++) {
        const Const *row = groups->items[i];
        Text canonical = const_get_text(row, "canonical");
        if (text_eq(const_get_text(row, "name"), name) || text_eq(canonical, name)) {
            Group *g = find_group(r, canonical.len ? canonical : name);
            return g ? g : add_group(r, canonical.len ? canonical : name, row);
        }
    }
    Text canonical = name.len ? name : TEXT("default");
    Group *g = find_group(r, canonical);
    return g ? g : add_group(r, canonical, NULL);
}

static bool param_is_int(const ProcImage *proc, Text name)
{
    for (uint32_t i = 0; proc->inputs && proc->inputs->kind == C_LIST && i < proc->inputs->count;
         i++) {
        const Const *f = proc->inputs->items[i];
        if (text_eq(const_get_text(f, "name"), name))
            return text_eq(const_get_text(f, "type"), TEXT("int")) &&
                   !const_bool_of(const_get(f, "optional"), false);
    }
    return false;
}

static bool next_segment(Text path, size_t *at, Text *segment)
{
    while (*at < path.len && path.ptr[*at] == '/')
        (*at)++;
    if (*at >= path.len)
        return false;
    size_t end = text_find(path, TEXT("/"), *at);
    *segment = text_slice(path, *at, end);
    *at = end == SIZE_MAX ? path.len : end + 1;
    return true;
}

static Node *step_in(Router *r, Node *n, Route *route, const ProcImage *proc, Text segment,
                     xs_error *err)
{
    Node **child = NULL;
    if (segment.len > 2 && segment.ptr[0] == '{' && segment.ptr[segment.len - 1] == '}') {
        Text name = text_slice(segment, 1, segment.len - 1);
        if (route->nparams == ROUTE_MAX_PARAMS) {
            xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS,
                    "query '" TEXT_FMT "' has too many path parameters", TEXT_ARG(route->name));
            return NULL;
        }
        route->params[route->nparams++] = name;
        child = param_is_int(proc, name) ? &n->digits : &n->any;
        if (!*child && !(*child = new_node(r)))
            no_memory(err);
        return *child;
    }
    Node *next = map_get(&n->statics, segment);
    if (next)
        return next;
    next = new_node(r);
    if (!next || !map_put(&n->statics, segment, next)) {
        no_memory(err);
        return NULL;
    }
    return next;
}

static bool read_step(const Program *program, Text name, RouteStep *out, xs_error *err)
{
    const Const *row = const_find(const_get(program_meta(program), "middleware"), name);
    int64_t proc = const_int_of(row, const_int_of(const_get(row, "proc"), -1));
    Text policy = const_get_text(row, "exception_policy");
    if (proc < 0 || proc >= program_proc_count(program))
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "there is no middleware '" TEXT_FMT "'",
                       TEXT_ARG(name));
    out->proc = (uint32_t)proc;
    out->policy = text_eq(policy, TEXT("silent"))     ? STEP_SILENT
                  : text_eq(policy, TEXT("critical")) ? STEP_CRITICAL
                                                      : STEP_RETHROW;
    out->replace = text_eq(const_get_text(row, "response_strategy"), TEXT("replace"));
    return true;
}

/* Entries are {"name", "active"?} or names. */
static bool read_steps(Arena *a, const Program *program, const Const *list, const RouteStep **out,
                       uint32_t *count, xs_error *err)
{
    uint32_t n = list && list->kind == C_LIST ? list->count : 0;
    RouteStep *steps = n ? ARENA_ARRAY(a, RouteStep, n) : NULL;
    if (n && !steps)
        return no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        const Const *entry = list->items[i];
        Text name = const_text_of(entry, const_get_text(entry, "name"));
        if (!const_bool_of(const_get(entry, "active"), true))
            continue;
        if (!read_step(program, name, &steps[*count], err))
            return false;
        (*count)++;
    }
    *out = steps;
    return true;
}

bool route_read_steps(Arena *a, const Program *program, const Const *lists, RouteSteps *out,
                      xs_error *err)
{
    return read_steps(a, program, const_get(lists, "pre"), &out->pre, &out->npre, err) &&
           read_steps(a, program, const_get(lists, "post"), &out->post, &out->npost, err);
}

const Const *route_branch_middleware(const Program *program, const char *kind)
{
    const Const *branch = const_get(program_meta(program), "branch");
    return const_get(const_get(branch, "middleware"), kind);
}

/* A query's own lists, else its group's, else the branch's; they do not merge. */
static bool read_middleware(Router *r, const Program *program, const Const *own, const Group *g,
                            Route *route, xs_error *err)
{
    const Const *lists = own && own->kind == C_MAP ? own
                         : g->middleware           ? g->middleware
                                                   : route_branch_middleware(program, "query");
    return route_read_steps(&r->arena, program, lists, &route->steps, err);
}

enum { HISTORY_DEFAULT = 100, HISTORY_ALL = 10000 };

/* A history setting: so many statements, 0 = off, -1 = says nothing. */
static int64_t history_of(const Const *setting)
{
    int64_t n = HISTORY_DEFAULT;
    if (!setting)
        return -1;
    switch (setting->kind) {
    case C_BOOL: return setting->b ? HISTORY_DEFAULT : 0;
    case C_INT: n = setting->i; break;
    case C_TEXT:
        if (text_eq(setting->text, TEXT("inherit")))
            return -1;
        if (text_eq(setting->text, TEXT("all")) || !num_parse_int(setting->text, &n))
            return HISTORY_ALL;
        break;
    default: break;
    }
    return n <= 0 ? 0 : n < HISTORY_ALL ? n : HISTORY_ALL;
}

uint32_t route_history(const Program *program, const Const *row, const Const *group,
                       const char *kind)
{
    const Const *branch = const_get(program_meta(program), "branch");
    const Const *settings[] = {const_get(row, "history"), group,
                               const_get(const_get(branch, "history"), kind)};
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        int64_t n = history_of(settings[i]);
        if (n >= 0)
            return (uint32_t)n;
    }
    return HISTORY_DEFAULT;
}

static bool add_query(Router *r, const Program *program, const Const *row, const Const *groups,
                      xs_error *err)
{
    int64_t index = const_int_of(const_get(row, "proc"), -1);
    if (!const_bool_of(const_get(row, "active"), true))
        return true;
    if (index < 0 || index >= program_proc_count(program))
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "a query refers to no procedure");
    Group *g = group_of_query(r, groups, const_get_text(row, "group"));
    Route *route = ARENA_NEW(&r->arena, Route);
    if (!g || !route)
        return no_memory(err);
    if (!g->active)
        return true;
    route->name = const_get_text(row, "name");
    route->verb = const_text_of(const_get(row, "verb"), TEXT("GET"));
    route->group = g->canonical;
    route->auth = const_text_of(const_get(row, "auth"), (Text){"", 0});
    route->proc = (uint32_t)index;
    route->meta = row;
    route->history = route_history(program, row, g->history, "query");
    if (!read_middleware(r, program, const_get(row, "middleware"), g, route, err))
        return false;
    Node *n = map_get(&g->verbs, route->verb);
    if (!n) {
        n = new_node(r);
        if (!n || !map_put(&g->verbs, route->verb, n))
            return no_memory(err);
    }
    Text segment;
    unsigned count = 0;
    for (size_t at = 0; next_segment(route->name, &at, &segment); count++) {
        n = step_in(r, n, route, program_proc(program, route->proc), segment, err);
        if (!n)
            return false;
    }
    if (n->end || count > ROUTE_MAX_SEGMENTS)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "query '" TEXT_FMT "' %s",
                       TEXT_ARG(route->name),
                       n->end ? "has the shape of another one" : "has too many segments");
    n->end = route;
    return VEC_PUSH(&r->routes, route) || no_memory(err);
}

Router *router_new(const Program *program, Text branch, xs_error *err)
{
    Router *r = mem_zalloc(1, sizeof *r);
    if (!r) {
        no_memory(err);
        return NULL;
    }
    arena_init(&r->arena, 0);
    r->branch = arena_text(&r->arena, branch);
    const Const *meta = program_meta(program);
    const Const *queries = const_get(meta, "queries"), *groups = const_get(meta, "groups");
    bool ok = r->branch.ptr || no_memory(err);
    for (uint32_t i = 0; ok && queries && queries->kind == C_LIST && i < queries->count; i++)
        ok = add_query(r, program, queries->items[i], groups, err);
    if (ok)
        return r;
    router_free(r);
    return NULL;
}

void router_free(Router *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->nodes.len; i++)
        map_deinit(&r->nodes.ptr[i]->statics);
    for (size_t i = 0; i < r->groups.len; i++)
        map_deinit(&r->groups.ptr[i]->verbs);
    VEC_DEINIT(&r->nodes);
    VEC_DEINIT(&r->groups);
    VEC_DEINIT(&r->routes);
    arena_deinit(&r->arena);
    mem_free(r);
}

bool router_split(const Router *r, Text raw, ApiPath *out)
{
    static const Text prefix = {"/api:", 5};
    if (!text_starts(raw, prefix))
        return false;
    size_t slash = text_find(raw, TEXT("/"), prefix.len);
    Text name = text_slice(raw, prefix.len, slash);
    size_t colon = text_find(name, TEXT(":"), 0);
    out->canonical = text_slice(name, 0, colon);
    out->rest = slash == SIZE_MAX ? (Text){"", 0} : text_slice(raw, slash + 1, raw.len);
    return colon == SIZE_MAX || text_eq(text_slice(name, colon + 1, name.len), r->branch);
}

const GroupCors *router_group(const Router *r, Text canonical)
{
    const Group *g = find_group(r, canonical);
    return g && g->active ? &g->cors : NULL;
}

static bool all_digits(Text t)
{
    for (size_t i = 0; i < t.len; i++)
        if (t.ptr[i] < '0' || t.ptr[i] > '9')
            return false;
    return t.len > 0;
}

typedef struct Walk {
    Text segments[ROUTE_MAX_SEGMENTS];
    size_t count;
    Text *values;
} Walk;

/* Depth is bounded by the depth of the trie; each level tries at most three children. */
static const Route *descend(const Node *n, const Walk *w, size_t at, size_t nvalues)
{
    if (at == w->count)
        return n->end;
    Text s = w->segments[at];
    const Node *next = map_get(&n->statics, s);
    const Route *found = next ? descend(next, w, at + 1, nvalues) : NULL;
    if (found || nvalues == ROUTE_MAX_PARAMS)
        return found;
    if (n->digits && all_digits(s))
        found = descend(n->digits, w, at + 1, nvalues + 1);
    if (!found && n->any)
        found = descend(n->any, w, at + 1, nvalues + 1);
    if (found)
        w->values[nvalues] = s;
    return found;
}

bool router_find(const Router *r, Arena *a, Text verb, const ApiPath *path, RouteMatch *out)
{
    Group *g = find_group(r, path->canonical);
    Walk w = {.values = out->values};
    if (!g || !g->active)
        return false;
    if (text_eq(verb, TEXT("HEAD")))
        verb = TEXT("GET");
    const Node *root = map_get(&g->verbs, verb);
    Text segment;
    for (size_t at = 0; next_segment(path->rest, &at, &segment);) {
        if (w.count == ROUTE_MAX_SEGMENTS)
            return false;
        w.segments[w.count] = http_decode(a, segment, false);
        if (!w.segments[w.count].ptr || !utf8_valid(w.segments[w.count]))
            return false;
        w.count++;
    }
    out->route = root ? descend(root, &w, 0, 0) : NULL;
    return out->route != NULL;
}

const Route *router_at(const Router *r, size_t index)
{
    return index < r->routes.len ? r->routes.ptr[index] : NULL;
}
