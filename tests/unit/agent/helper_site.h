/* helper_site.h — a host in memory with one folder and one server, around one task of
 * agent/core/instance.h, in virtual time. */
#ifndef DROVER_TESTS_UNIT_AGENT_HELPER_SITE_H
#define DROVER_TESTS_UNIT_AGENT_HELPER_SITE_H

#include "agent/core/instance.h"

#define SITE_GIB (INT64_C(1024) * 1024 * 1024)
#define SITE_NODE "0123456789abcdef0123456789abcdef01234567"

struct site {
    struct instance_settings settings;
    struct instance_turn turn;
    struct agent_effects pending; /* what the machine waits for; released by the last test */
    int64_t now_ms;
    char log_names[512];
    struct {
        bool has_folder;
        bool has_aside;
        int64_t pid;     /* of the folder's server */
        bool is_foreign; /* a stranger listens at the port, as process 999 */
        int dying_looks; /* so many looks find the port of a process that is no more */
        bool has_systemd;
        int64_t promised_bytes;
        bool launch_fails;
        bool dies_at_once;
        bool is_deaf;      /* SIGTERM does nothing */
        int answers_after; /* that many PINGs fail first */
        const char *error; /* answered instead of anything else */
        int64_t keys;
        int64_t slots;
        int64_t nodes;
        char conf[4096];
        int launches;
        int units;
        int terms;
        int kills;
        int calls;
        /* What the folder's files say. */
        char request[HOST_REQUEST_SIZE];
        const char *node;
        bool is_used;
        bool has_old; /* put aside before a start */
    } host;
};

/* The one site of a test. */
extern struct site site;
void site_reset(void);

/* Tasks at 10.0.0.4:7001 under op-7-1, batch 2, attempt 1. */
struct order site_order(enum task_kind kind, const char *detail);
struct order site_start_order(void);
struct order site_stop_order(bool is_dead);
/* A folder with a running server. */
void site_put_server(void);

/* Carries the call out and tells the machine. */
void site_answer_host(struct instance *x,
                      const struct agent_effect *effect,
                      struct agent_effects *fx);
/* Runs until it is over or 'steps' answers were given; -1 = to the end. */
void site_run(struct instance *x, int steps);
/* The agent is killed. */
void site_crash(struct instance *x);
struct order_status site_finish(const struct order *order);
/* The task, from begin to end, ends so. */
void site_expect(const struct order *order, enum order_state state, int code, const char *part);

#endif
