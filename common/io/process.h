/* process.h — other programs: run to their end beside the loop, or launched to live on without us.
 *
 * Programs get no descriptor of ours, default signals, and an environment of PATH, HOME, LANG and
 * TZ only: our own variables may hold secrets. Nothing goes through a command shell. Loop thread
 * only.
 */
#ifndef DROVER_IO_PROCESS_H
#define DROVER_IO_PROCESS_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/io/loop.h"

#include <stdint.h>

#define PROCESS_ARGS_MAX 64
#define PROCESS_OUTPUT_MAX (1024UL * 1024) /* of one run; a program that says more is ended */

/* Starts argv[0] (looked up in PATH unless it holds a '/') in a session of its own, in folder
 * 'folder', with no input and its output appended to the file 'output' (0600). It is nobody's child
 * here: it outlives us. Returns once the program itself runs. *pid: of it. ERR_NOT_FOUND: no such
 * program; ERR_IO. */
int process_launch(const char *const *argv,
                   const char *folder,
                   const char *output,
                   int64_t *pid,
                   struct err *err) WARN_UNUSED;

struct process;

/* All borrowed for the call of process_run() only. */
struct process_spec {
    const char *const *argv; /* NULL-ended, at most PROCESS_ARGS_MAX */
    const void *input;       /* what it reads on its standard input; may be NULL */
    size_t input_size;
    int64_t timeout_ms; /* > 0; then it is killed with its whole session */
    /* Called with each line of its standard output, without the line end, as it comes; may be NULL.
     * May not free or cancel the process. */
    void (*on_line)(void *user, const char *line, size_t len);
    /* Called once, never from inside process_run(). */
    void (*on_end)(void *user, const struct err *err, const char *output);
    void *user;
};

/* Runs a program to its end; what it leaves running in the background is not waited for. on_end:
 * err->code 0 when it exited with 0; ERR_TIMEOUT, ERR_LIMIT (output), else ERR_UNAVAILABLE whose
 * text names exit code or signal and its last line. 'output' is what it wrote, standard output and
 * standard error together. NULL and 'err' when it cannot be started. */
struct process *process_run(struct loop *loop, const struct process_spec *spec, struct err *err);

/* Kills it; on_end is not called. Only before on_end. NULL is legal. */
void process_cancel(struct process *process);

#endif
