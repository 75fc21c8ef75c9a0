/* helper_cluster.h — a small real Redis Cluster for a test: free ports, a private folder, own
 * processes only. */
#ifndef DROVER_TESTS_INTEGRATION_AGENT_HELPER_CLUSTER_H
#define DROVER_TESTS_INTEGRATION_AGENT_HELPER_CLUSTER_H

#include "common/base/slotset.h"
#include "common/model/ids.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CLUSTER_NODES_MAX 16
#define NODE_EXTRAS_MAX 6

struct cluster_node {
    struct address address;
    struct node_id id;
    pid_t pid; /* 0 = not running */
    redisContext *link;
    char folder[128];
    const char *extras[NODE_EXTRAS_MAX]; /* more arguments, NULL from the first unused on */
};

struct cluster_options {
    int primaries;       /* with slots, shared evenly */
    int empty_primaries; /* without */
    int replicas;        /* node (primaries + empty_primaries + i) replicates node replica_of[i] */
    int replica_of[4];
    int node_timeout_ms;   /* 0 = 5000 */
    const char *password;  /* of every node; NULL = none */
    bool no_full_coverage; /* cluster-require-full-coverage no */
    const char *server;    /* the program; NULL = redis-server */
};

struct cluster {
    struct cluster_options options;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    int count;
    char folder[64];
};

/* Started, met, every view equal and state ok; fails the test otherwise. */
void cluster_start(struct cluster *cluster, const struct cluster_options *options);
/* A server by itself, which nobody has met; its index. 'extras' are more arguments, ended by NULL;
 * NULL = none. They must outlive the cluster. */
int cluster_add(struct cluster *cluster, const char *const *extras);
/* Kills what runs and removes the folder. */
void cluster_stop(struct cluster *cluster);
void cluster_kill(struct cluster *cluster, int node);    /* SIGKILL, as a crash */
void cluster_restart(struct cluster *cluster, int node); /* same port and folder */

/* The answer to a command; the caller frees it. Fails the test when the node does not answer. */
redisReply *node_ask(struct cluster_node *node, const char *format, ...);
redisReply *node_ask_args(struct cluster_node *node,
                          int argc,
                          const char **argv,
                          const size_t *lens);
int64_t node_ask_int(struct cluster_node *node, const char *format, ...);
/* Runs it and requires OK. */
void node_order(struct cluster_node *node, const char *format, ...);

int64_t keys_in_slot(struct cluster_node *node, int slot);
/* The node's own view: who owns the slot; "" nobody. */
struct node_id owner_in_view(struct cluster_node *node, int slot);
/* Its open marks as CLUSTER NODES writes them, e.g. "[42->-id]"; "" none. */
void open_marks(struct cluster_node *node, char *text, size_t size);
/* Waits (at most 20 s) until 'holds' is true; false = it never was. */
bool wait_until(bool (*holds)(void *user), void *user);
void nap_ms(int ms); /* between two looks of a wait, never instead of one */
int64_t real_now_ms(void);

#endif
