/* compat_help.c — `help`; see compat_read.h. */
#include "ctl/compat/compat_print.h"
#include "ctl/compat/compat_read.h"

#include <stddef.h>

static const char *const lines[] = {
    "Cluster Manager Commands:",
    "  create         host1:port1 ... hostN:portN",
    "                 --cluster-replicas <arg>",
    "  check          <host:port> or <host> <port>",
    "                 --cluster-search-multiple-owners",
    "  info           <host:port> or <host> <port>",
    "  fix            <host:port> or <host> <port>",
    "                 --cluster-search-multiple-owners, --cluster-replace",
    "                 --cluster-fix-with-unreachable-masters (or -primaries)",
    "  reshard        <host:port> or <host> <port>",
    "                 --cluster-from <id,id...|all>, --cluster-to <id>, --cluster-slots <n>",
    "                 --cluster-yes, --cluster-replace",
    "  rebalance      <host:port> or <host> <port>",
    "                 --cluster-weight <node1=w1...nodeN=wN>, --cluster-threshold <percent>",
    "                 --cluster-use-empty-masters (or -primaries), --cluster-simulate,",
    "                 --cluster-replace",
    "  add-node       new_host:new_port existing_host:existing_port",
    "                 --cluster-slave (or -replica), --cluster-master-id (or -primary-id) <id>",
    "  del-node       host:port node_id",
    "  call           host:port command arg arg .. arg",
    "                 --cluster-only-masters (or -primaries), --cluster-only-replicas",
    "  set-timeout    host:port milliseconds",
    "  import         host:port",
    "                 --cluster-from <host:port>, --cluster-copy, --cluster-replace",
    "                 --cluster-from-user, --cluster-from-pass, --cluster-from-askpass",
    "  backup         host:port backup_directory",
    "  help",
    "",
    "Any node of the cluster will do as host:port.",
    "",
    "  --cluster-yes            answers the questions of create and reshard",
    "  --cluster-compat strict  exit codes of the original also where they hide a failure",
    "",
    "--cluster-timeout and --cluster-pipeline are accepted; drover sizes its own work.",
};

int compat_help(struct compat_run *run)
{
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        compat_write("%s\n", lines[i]);
    }
    return run->options->is_strict ? 1 : 0;
}
