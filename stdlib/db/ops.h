/* ops.h - what a file with db statements includes: their prototypes come from
 * core/lang/statements.def. */
#ifndef STDLIB_DB_OPS_H
#define STDLIB_DB_OPS_H

#include <stdio.h>

#include "stdlib/db/dbi.h"
#include "stdlib/natives.h"

#endif
