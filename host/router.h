/* router.h - which query answers a request: one segment trie per (group, verb), built from the
 * bundle metadata. Immutable after new, any thread. Specification: runtime.md §5.2. */
#ifndef HOST_ROUTER_H
#define HOST_ROUTER_H

#include "vm/vm.h"

enum { ROUTE_MAX_PARAMS = 16, ROUTE_MAX_SEGMENTS = 64 };

typedef enum StepPolicy { STEP_RETHROW, STEP_SILENT, STEP_CRITICAL } StepPolicy;

/* A middleware before or behind a query. runtime.md §6.4 */
typedef struct RouteStep {
    uint32_t proc;
    StepPolicy policy;
    bool replace; /* its response replaces, else it is merged */
} RouteStep;

typedef struct RouteSteps {
    const RouteStep *pre, *post;
    uint32_t npre, npost;
} RouteSteps;

typedef struct Route {
    Text name; /* "orders/{id}" */
    Text verb;
    Text group; /* canonical */
    Text auth;  /* auth table; len 0 = none */
    uint32_t proc;
    uint32_t nparams;
    Text params[ROUTE_MAX_PARAMS]; /* names, in path order */
    RouteSteps steps;
    const Const *meta; /* row of "queries" */
    uint32_t history;  /* statements recorded of a request; 0 = it is not recorded */
} Route;

/* The cors block of a group, or the default. */
typedef struct GroupCors {
    bool disabled, custom;
    const Const *origins, *methods, *headers; /* lists; custom only */
    bool credentials;
    int64_t max_age;
} GroupCors;

typedef struct RouteMatch {
    const Route *route;
    Text values[ROUTE_MAX_PARAMS]; /* percent-decoded, in the arena */
} RouteMatch;

typedef struct Router Router;

/** Errors: XS_E_BAD_BUNDLE (two queries of one shape, too many parameters, unknown middleware),
 * XS_E_NOMEM. */
XS_MUST_CHECK Router *router_new(const Program *program, Text branch, xs_error *err);
void router_free(Router *r);

/* "/api:<canonical>[:<branch>]/<path>" */
typedef struct ApiPath {
    Text canonical;
    Text rest; /* undecoded, without the leading slash */
} ApiPath;
/** False: not under /api:, or another branch. */
bool router_split(const Router *r, Text raw_path, ApiPath *out);

/** The group's CORS rules; NULL = no such active group. */
const GroupCors *router_group(const Router *r, Text canonical);
/** verb HEAD finds GET. False = no such route. */
bool router_find(const Router *r, Arena *a, Text verb, const ApiPath *path, RouteMatch *out);
/** How many statements the history records of a construct by its row, its group's setting (NULL =
 * none) and the branch's for its kind; 0 = it is not recorded. */
uint32_t route_history(const Program *program, const Const *row, const Const *group,
                       const char *kind);
/** The branch's middleware lists for a kind of construct; NULL = none. */
const Const *route_branch_middleware(const Program *program, const char *kind);
/** Read {"pre": [...], "post": [...]} (NULL = none). Errors: XS_E_BAD_BUNDLE (no such
 * middleware), XS_E_NOMEM. */
XS_MUST_CHECK bool route_read_steps(Arena *a, const Program *program, const Const *lists,
                                    RouteSteps *out, xs_error *err);
/** Every route, in the order of the bundle; NULL past the end. */
const Route *router_at(const Router *r, size_t index);

#endif
