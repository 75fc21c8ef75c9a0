/* host_call.h — what the agent asks of its host to start and stop a server, and what the host says;
 * and what it asks of others outside: provisioners and drain hooks.
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
#define HOST_NODES_FORMAT "nodes-%d.conf" /* its port */
#define HOST_ASIDE_SIZE 96
#define HOST_REQUEST_SIZE 64
#define HOST_REQUEST_LINE "# drover-request " /* in the conf: whom the server was started for */

enum server_flavor { FLAVOR_REDIS = 1, FLAVOR_VALKEY = 2 };

enum host_verb {
    HOST_LOOK = 1, /* changes nothing */
    HOST_WRITE,    /* makes the folder (0700) when missing, replaces its conf (0600) by 'text' */
    HOST_LAUNCH,   /* starts the server of the folder, unless one runs */
    HOST_SIGNAL,   /* asks the server of the folder to end: SIGTERM, or SIGKILL with is_kill */
    HOST_RETIRE,   /* renames the folder to 'aside', beside it; nothing is ever deleted */
    HOST_OUTSIDE_START,  /* calls 'outside'; answered once or more, the last answer has is_over */
    HOST_OUTSIDE_CANCEL, /* ends the call whose req_id the effect has: its program is killed with
                            all it started in its process group; no answer follows, to either effect
                          */
};

/* Who is called outside, and how. */
enum outside_way {
    OUTSIDE_EXEC = 1, /* a program: request on its standard input, answers a line each */
    OUTSIDE_WEBHOOK,  /* a URL: request and answer are bodies of a POST */
    OUTSIDE_HAPROXY,  /* the runtime API of one HAProxy process */
};

enum outside_action {
    OUTSIDE_PROVISION = 1, /* one more server */
    OUTSIDE_RELEASE,       /* the server is not needed any more */
    OUTSIDE_DRAIN,         /* no new connection to the server */
    OUTSIDE_UNDRAIN,       /* connections again */
    OUTSIDE_STATUS,        /* WEBHOOK: how does the request of that id stand? */
};

#define OUTSIDE_PLACE_SIZE 512
#define OUTSIDE_ID_SIZE 96

struct outside_target {
    enum outside_way way;
    char place[OUTSIDE_PLACE_SIZE]; /* path of the program; URL; host:port or unix:/path */
};

/* One request; docs/outside.md shows it as JSON. Texts that are "" and an address with port 0 are
 * left out. */
struct outside_call {
    struct outside_target target;
    enum outside_action action;
    enum outside_action status_of;    /* STATUS: of what */
    char request_id[OUTSIDE_ID_SIZE]; /* the same whenever the same is asked for again */
    char cluster[64];
    struct address address; /* of the server */
    struct node_id node;
    char role[16]; /* "primary" or "replica" */
    char zone[64];
    int64_t maxmemory_bytes; /* 0 = not said */
    int64_t timeout_ms;      /* > 0: then the call is given up */
};

enum outside_state {
    OUTSIDE_RUNNING = 1, /* accepted, not ready yet */
    OUTSIDE_READY,       /* PROVISION: the server runs at 'address' */
    OUTSIDE_DONE,
    OUTSIDE_UNKNOWN, /* it knows nothing of this server or request */
    OUTSIDE_FAILED,  /* message says why */
};

struct outside_answer {
    enum outside_state state;
    bool is_over;           /* the call has ended; else more is to come */
    bool is_retryable;      /* FAILED: asking again may help */
    bool is_maybe_received; /* FAILED: the request may have begun something */
    struct address address; /* READY; port 0 = none */
    int percent;            /* -1 = not said */
    char message[TEXT_SIZE];
};

struct host_call {
    enum host_verb verb;
    struct address address;    /* the server's: its port names the folder */
    enum server_flavor flavor; /* LAUNCH: which program */
    bool is_unit; /* LAUNCH: the systemd unit drover-<flavor>@<port> does it. What runs as a unit is
                     ended as one in any case */
    bool is_kill; /* SIGNAL */
    char aside[HOST_ASIDE_SIZE];  /* RETIRE: a plain name */
    struct strbuf text;           /* WRITE: owned by the effect */
    struct outside_call *outside; /* OUTSIDE_START: owned by the effect */
};

/* How things are once the call has been carried out, or has failed. */
struct host_facts {
    bool has_folder;
    bool has_aside; /* RETIRE: a folder of that name is there */
    int64_t pid;    /* of the server of this folder; 0 = none runs */
    /* What its files say; "" and false where there is no such file. */
    char request[HOST_REQUEST_SIZE]; /* that the server was started for */
    struct node_id node;             /* the node's own id */
    bool is_used;                    /* the node knows others, or owns slots */
    bool is_port_taken;              /* somebody listens at the port, whoever it is */
    bool is_bus_port_taken;          /* or at the bus port */
    bool has_systemd;                /* systemd is this host's init */
    int64_t memory_promised_bytes;   /* sum of maxmemory in the confs of all other folders */
    char last_words[TEXT_SIZE];      /* last line of the server's log; "" = none */
    struct outside_answer outside;   /* OUTSIDE_START; the rest is empty then */
};

#endif
