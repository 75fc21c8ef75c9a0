/* host_call.h — what the agent asks of its host to start and stop a server, and what the host says.
 *
 * A server of ours lives in a folder of its own, <instance folder>/<port>, and is known by it: the
 * process whose working folder this is, is the server. Every call is safe to repeat, and every
 * answer carries the facts as they are afterwards, so the machine that asks (instance.h) never
 * relies on what it did before. Plain structs; the shell carries them out and decides nothing. */
#ifndef DROVER_AGENT_CORE_HOST_CALL_H
#define DROVER_AGENT_CORE_HOST_CALL_H

#include "common/base/strbuf.h"
#include "common/model/ids.h"

#include <stdbool.h>
#include <stdint.h>

#define HOST_CONF_NAME "server.conf" /* in the server's folder */
#define HOST_LOG_NAME "server.log"
#define HOST_ASIDE_SIZE 96

enum server_flavor { FLAVOR_REDIS = 1, FLAVOR_VALKEY = 2 };

enum host_verb {
    HOST_LOOK = 1, /* changes nothing */
    HOST_WRITE,    /* makes the folder (0700) when missing, replaces its conf (0600) by 'text' */
    HOST_LAUNCH,   /* starts the server of the folder, unless one runs */
    HOST_SIGNAL,   /* asks the server of the folder to end: SIGTERM, or SIGKILL with is_kill */
    HOST_RETIRE,   /* renames the folder to 'aside', beside it; nothing is ever deleted */
};

struct host_call {
    enum host_verb verb;
    struct address address;    /* the server's: its port names the folder */
    enum server_flavor flavor; /* LAUNCH: which program */
    bool is_unit; /* LAUNCH: the systemd unit drover-<flavor>@<port> does it. What runs as a unit is
                     ended as one in any case */
    bool is_kill; /* SIGNAL */
    char aside[HOST_ASIDE_SIZE]; /* RETIRE: a plain name */
    struct strbuf text;          /* WRITE: owned by the effect */
};

/* How things are once the call has been carried out, or has failed. */
struct host_facts {
    bool has_folder;
    bool has_aside;                /* RETIRE: a folder of that name is there */
    int64_t pid;                   /* of the server of this folder; 0 = none runs */
    bool is_port_taken;            /* somebody listens at the port, whoever it is */
    bool is_bus_port_taken;        /* or at the bus port */
    bool has_systemd;              /* systemd is this host's init */
    int64_t memory_promised_bytes; /* sum of maxmemory in the confs of all other folders */
    char last_words[TEXT_SIZE];    /* last line of the server's log; "" = none */
};

#endif
