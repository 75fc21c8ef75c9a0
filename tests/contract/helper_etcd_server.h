/* helper_etcd_server.h — real etcd members on free ports and private directories, for the contract
 * tests. */
#ifndef DROVER_TESTS_CONTRACT_HELPER_ETCD_SERVER_H
#define DROVER_TESTS_CONTRACT_HELPER_ETCD_SERVER_H

#include "helper_store_suite.h"

#include <stdbool.h>
#include <sys/types.h>

#define ETCD_MEMBERS_MAX 3

struct etcd_cluster {
    struct suite_loop *loop; /* borrowed; requests of the helper run on it */
    int count;
    char *dir; /* owned, private */
    bool is_tls;
    const char *quota_bytes; /* NULL = etcd's default */
    struct {
        pid_t pid; /* 0 = not running */
        int client_port;
        int peer_port;
    } members[ETCD_MEMBERS_MAX];
    /* is_tls: made by openssl in 'dir'; owned */
    char *ca_file;
    char *cert_file; /* of a client, and used by the servers too */
    char *key_file;
    char *other_ca_file; /* of another CA */
};

/* The etcd binary is there; otherwise prints why the tests are skipped. */
bool etcd_is_installed(void);

/* Starts 'count' members and waits until a majority serves. Set is_tls and quota_bytes before; the
 * rest is filled in. */
void etcd_cluster_start(struct etcd_cluster *cluster, struct suite_loop *loop, int count);
/* Kills what runs and removes the directory. */
void etcd_cluster_stop(struct etcd_cluster *cluster);
/* Prints the end of every member's log: why a test failed. */
void etcd_cluster_print_logs(const struct etcd_cluster *cluster);

/* A store URL with all members, beginning with 'first'. free() it. */
char *etcd_cluster_url(const struct etcd_cluster *cluster, int first, const char *prefix);

void etcd_member_start(struct etcd_cluster *cluster, int index);
void etcd_member_signal(struct etcd_cluster *cluster, int index, int number); /* SIGSTOP, SIGCONT */
void etcd_member_kill(struct etcd_cluster *cluster, int index);               /* kill -9 */
/* Waits until 'index' has had a write agreed by a majority. */
void etcd_member_wait(struct etcd_cluster *cluster, int index);
/* The member that leads, waited for. */
int etcd_cluster_leader(struct etcd_cluster *cluster);

/* POST to one member; returns the HTTP status (0 = none) and the body in '*answer' (free() it; may
 * be NULL). */
long etcd_member_post(struct etcd_cluster *cluster,
                      int index,
                      const char *path,
                      const char *body,
                      const char *token,
                      char **answer);

#endif
