/* main.c — drover-load: fill, verify and load a Redis Cluster. Reading order: options.h, dataset.h,
 * ledger.h, run.c. */
#include "bench/load/filler.h"
#include "bench/load/options.h"
#include "bench/load/run.h"

#include <stdio.h>

static enum exit_code dispatch(struct cluster *cluster, const struct options *o)
{
    switch (o->command) {
    case COMMAND_FILL:
        return fill(cluster, o);
    case COMMAND_VERIFY:
        return verify(cluster, o);
    case COMMAND_RUN:
        return run(cluster, o);
    }
    return EXIT_USAGE;
}

static enum exit_code tell(const struct err *err, enum exit_code code)
{
    (void)fprintf(stderr, "drover-load: %s\n", err->text);
    if (code == EXIT_USAGE) {
        (void)fprintf(stderr, "Try: drover-load --help\n");
    }
    return code;
}

int main(int argc, char **argv)
{
    struct options o;
    struct cluster cluster;
    struct err err = {0};
    switch (options_parse(&o, argc, argv, &err)) {
    case PARSED_HELP:
        return EXIT_OK;
    case PARSED_BAD:
        return (int)tell(&err, EXIT_USAGE);
    case PARSED_RUN:
        break;
    }
    int rc = cluster_init(&cluster, &o.cluster, &err);
    enum exit_code code = EXIT_OK;
    if (rc != 0) {
        code = tell(&err, rc == ERR_INVALID ? EXIT_USAGE : EXIT_CANNOT_CONNECT);
    } else if (cluster_connect(&cluster, o.connect_limit_ms, &err) != 0) {
        code = tell(&err, EXIT_CANNOT_CONNECT);
    } else {
        code = dispatch(&cluster, &o);
    }
    cluster_release(&cluster);
    return (int)code;
}
