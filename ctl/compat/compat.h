/* compat.h — `drover --cluster ...`: a drop-in for `redis-cli --cluster`, also when called through
 * a link named redis-cli or valkey-cli.
 *
 * What is not --cluster goes to the real client found in PATH. See docs/redis_cli.md. */
#ifndef DROVER_CTL_COMPAT_COMPAT_H
#define DROVER_CTL_COMPAT_COMPAT_H

#include <stdbool.h>

/* True when the command line is for this front end: by the name of the program or by --cluster. */
bool compat_is_meant(int argc, char *const *argv);
/* Runs it; the exit code of the process. */
int compat_main(int argc, char *const *argv);

#endif
