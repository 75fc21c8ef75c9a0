/* options.h — the command line of drover-load. */
#ifndef DROVER_LOAD_OPTIONS_H
#define DROVER_LOAD_OPTIONS_H

#include "bench/load/cluster.h"
#include "bench/load/dataset.h"
#include "common/base/err.h"

#define SEEDS_MAX 16

/* Exit codes of the program; stable. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_CHECK_FAILED = 1, /* something was lost, wrong, or failed for a client */
    EXIT_USAGE = 2,
    EXIT_CANNOT_CONNECT = 3,
};

enum command { COMMAND_FILL, COMMAND_VERIFY, COMMAND_RUN };

struct options {
    enum command command;
    const char *seeds[SEEDS_MAX];
    struct cluster_config cluster; /* seeds point into the above */
    int64_t connect_limit_ms;
    struct dataset data;
    const char *prefix;    /* NULL: the command's default */
    const char *json_path; /* NULL: standard output */
    bool progress;
    /* run only */
    double rate;            /* requests a second, > 0 */
    double duration_s;      /* 0: no limit */
    const char *until_file; /* ends when it exists; NULL: not watched */
    const char *mark_file;  /* NULL: one phase */
    const char *ready_file; /* made when the load begins; NULL: none */
    double get_ratio;       /* 0..1 */
    bool filled;            /* the keys are there already */
    bool realtime;
};

enum parsed { PARSED_RUN, PARSED_HELP, PARSED_BAD };

/* Reads the command line. PARSED_HELP: help was printed, exit 0. PARSED_BAD: 'err' says why, exit
 * EXIT_USAGE. The strings point into argv. */
enum parsed options_parse(struct options *o, int argc, char **argv, struct err *err);

#endif
