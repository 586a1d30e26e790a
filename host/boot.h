/* boot.h - what a program's run.service wants before the server listens. runtime.md §8. */
#ifndef HOST_BOOT_H
#define HOST_BOOT_H

#include "host/config.h"
#include "host/service.h"
#include "stdlib/db/db.h"

/** XS_E_CONFIG names the first environment value of a job's list that is not set. */
XS_MUST_CHECK bool boot_check_env(const EnvVars *env, const Const *job, xs_error *err);

/**
 * Check the environment values of the run.service and call its pre function, then its stack;
 * nothing when the program has none. Waits for the database in place; the workers need not run yet.
 * Errors: XS_E_CONFIG, and those of the function.
 */
XS_MUST_CHECK bool boot_service(Program *program, ServiceEnv *env, Space *space, DbPool *pool,
                                const Config *config, xs_error *err);

#endif
