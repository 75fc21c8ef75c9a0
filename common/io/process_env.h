/* process_env.h — the environment that programs started by us get. Internal to process*.c. */
#ifndef DROVER_IO_PROCESS_ENV_H
#define DROVER_IO_PROCESS_ENV_H

#define PROCESS_ENV_MAX 8

/* NULL-ended; the texts are owned: process_env_release(). */
void process_env_make(char *environment[PROCESS_ENV_MAX]);
void process_env_release(char *environment[PROCESS_ENV_MAX]);

#endif
