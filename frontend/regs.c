/* regs.c - registers of a procedure: inputs and variables have fixed ones, temporaries form a stack
 * above. Also which variables are certainly set at a point of the code. */
#include "frontend/gen.h"

int gen_temps(Gen *g, size_t n)
{
    if (g->top + n > MAX_TEMP) {
        if (!g->failed)
            report(g->c, D_TOO_COMPLEX, g->pos, NO_HINT,
                   "this statement needs more than %d registers", MAX_TEMP);
        g->failed = true;
        return g->top < MAX_TEMP ? g->top : MAX_TEMP - 1;
    }
    int first = g->top;
    g->top += (int)n;
    if (g->top > g->most)
        g->most = g->top;
    return first;
}

int gen_temp(Gen *g)
{
    return gen_temps(g, 1);
}

Var *gen_var(Gen *g, Text name)
{
    Var *v = map_get(&g->vars, name);
    if (v)
        return v;
    /* A variable that is only read: it has no register of its own and is never set. */
    v = NEW(g->c, Var);
    v->name = name;
    v->index = (uint32_t)g->var_list.len;
    v->reg = -1;
    v->far_slot = g->nfar++;
    if (g->c->oom || !PUSH(g->c, &g->var_list, v) || !map_put(&g->vars, name, v))
        g->c->oom = true;
    size_t words = g->var_list.len / 64 + 1;
    if (words > g->set_words) {
        uint64_t *set = arena_alloc(g->c->a, words * sizeof *set);
        if (!set) {
            g->c->oom = true;
            return v;
        }
        if (g->set_words)
            memcpy(set, g->set, g->set_words * sizeof *set);
        g->set = set;
        g->set_words = words;
    }
    return v;
}

bool gen_is_set(const Gen *g, const Var *v)
{
    return g->dead ||
           (v->index / 64 < g->set_words && (g->set[v->index / 64] >> v->index % 64 & 1));
}

void gen_mark_set(Gen *g, const Var *v)
{
    if (v->index / 64 < g->set_words)
        g->set[v->index / 64] |= (uint64_t)1 << v->index % 64;
}

uint64_t *set_copy(Gen *g)
{
    uint64_t *copy = arena_alloc(g->c->a, (g->set_words + 1) * sizeof *copy);
    if (!copy) {
        g->c->oom = true;
        return g->set;
    }
    copy[0] = g->set_words;
    memcpy(copy + 1, g->set, g->set_words * sizeof *copy);
    if (g->dead)
        memset(copy + 1, 0xFF, g->set_words * sizeof *copy);
    return copy;
}

void set_meet(Gen *g, uint64_t *into, const uint64_t *with)
{
    if (g->c->oom)
        return;
    uint64_t n = into[0] < with[0] ? into[0] : with[0];
    for (uint64_t i = 1; i <= n; i++)
        into[i] &= with[i];
    for (uint64_t i = n + 1; i <= into[0]; i++)
        into[i] = 0;
}

void gen_live(Gen *g, const uint64_t *set)
{
    g->dead = false;
    if (g->c->oom)
        return;
    for (size_t i = 0; i < g->set_words; i++)
        g->set[i] = i < set[0] ? set[i + 1] : 0;
}

void gen_dead(Gen *g)
{
    g->dead = true;
}
