/* opcodes.h - the instruction set as an enum and a table, from opcodes.def. */
#ifndef CORE_LANG_OPCODES_H
#define CORE_LANG_OPCODES_H

#include "core/base.h"

typedef enum Op {
#define OP(num, name, a, b, c, x, flags, syn, doc) OP_##name = num,
#include "core/lang/opcodes.def"
#undef OP
    OP_COUNT
} Op;

typedef enum OperandKind {
    OPND_NO,
    OPND_WR,
    OPND_RD,
    OPND_RW,
    OPND_IM,
    OPND_SI,
    OPND_K16,
    OPND_I16,
    OPND_U16,
    OPND_J24,
    OPND_WIN,
    OPND_XN = OPND_NO,
    OPND_XJ = 16,
    OPND_XK,
    OPND_XP,
    OPND_XS,
    OPND_XF,
    OPND_XC,
    OPND_XR,
    OPND_XKJ
} OperandKind;

enum { F_THROWS = 1, F_JUMPS = 2, F_STOPS = 4, F_CALLS = 8 };

typedef struct OpInfo {
    const char *name;   /* NULL: number not in use */
    uint8_t a, b, c, x; /* OperandKind */
    uint8_t flags;
    const char *synopsis, *doc;
} OpInfo;

extern const OpInfo op_info[256]; /* core/tables.c */

static inline uint32_t op_words(const OpInfo *op)
{
    return op->x == OPND_XN ? 1 : op->x == OPND_XKJ ? 3 : 2;
}

/* A filter with an instruction of its own. */
typedef struct FastFilter {
    const char *name; /* NULL ends the table */
    uint8_t op, least, most;
} FastFilter;
extern const FastFilter fast_filters[]; /* core/tables.c */

typedef enum SysVar {
#define SYS(num, name, spelling, doc) SYS_##name = num,
#include "core/lang/sysvars.def"
#undef SYS
    SYS_COUNT
} SysVar;
extern const char *const sys_spelling[SYS_COUNT];

/* Argument count of an XF word, and whether the last argument may be moved out. */
#define XF_COUNT(x) ((x) >> 16 & 0xff)
#define XF_MOVE     (1u << 24)

#define INS_OP(w)  ((uint8_t)(w))
#define INS_A(w)   ((uint8_t)((w) >> 8))
#define INS_B(w)   ((uint8_t)((w) >> 16))
#define INS_C(w)   ((uint8_t)((w) >> 24))
#define INS_BX(w)  ((uint16_t)((w) >> 16))
#define INS_SBX(w) ((int16_t)((w) >> 16))
#define INS_J(w)   ((int32_t)(w) >> 8)
#define INS_ABC(op, a, b, c)                                                                       \
    ((uint32_t)(op) | (uint32_t)(a) << 8 | (uint32_t)(b) << 16 | (uint32_t)(c) << 24)
#define INS_ABX(op, a, bx) ((uint32_t)(op) | (uint32_t)(a) << 8 | (uint32_t)(uint16_t)(bx) << 16)
#define INS_MAKE_J(op, j)  ((uint32_t)(op) | (uint32_t)(j) << 8)

#endif
