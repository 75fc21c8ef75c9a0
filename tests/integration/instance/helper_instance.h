/* helper_instance.h — an agent's part that starts and stops servers, on a real loop: the machine of
 * agent/core, the host of agent/shell, a Redis pool. For tests only. */
#ifndef DROVER_TESTS_INTEGRATION_INSTANCE_HELPER_INSTANCE_H
#define DROVER_TESTS_INTEGRATION_INSTANCE_HELPER_INSTANCE_H

#include "agent/core/instance.h"
#include "agent/shell/instance_host.h"
#include "common/io/redis_link.h"

struct rig {
    char folder[128];
    struct instance_settings settings;
    struct instance_turn turn;
    struct redis_options redis;
    struct loop *loop;
    struct instance_host *host;
    struct redis_pool *pool;
    struct instance *instance; /* the one that runs now */
    struct reply_list replies; /* rig_ask(): the last answer */
    bool has_answer;
    int answer_code;
    uint32_t serial;
    int64_t pid; /* of the server, as last seen by the host */
};

/* A new private folder and a free port; nothing runs yet. */
void rig_init(struct rig *rig);
/* Loop, host and pool, as an agent has them; rig_close() is the agent's end: servers run on. */
void rig_open(struct rig *rig);
void rig_close(struct rig *rig);
/* Kills whatever server runs in the folder, and removes it. */
void rig_release(struct rig *rig);

uint16_t rig_port(const struct rig *rig);
/* An order for the rig's port. Writes detail behind "agent a1\n". */
struct order rig_order(const struct rig *rig, enum task_kind kind, const char *detail);
/* A STOP with a certificate of this very server. */
struct order rig_stop_order(const struct rig *rig);
/* Carries an order out to its end. */
struct order_status rig_run(struct rig *rig, const struct order *order);
/* One command at the server; the answer as text ("" when it failed). Valid until the next. */
const char *rig_ask(struct rig *rig, const char *first, const char *second, const char *third);
/* The path of a file below the rig's folder, in 'path' of 512 bytes. */
const char *rig_path(const struct rig *rig, const char *name, char path[512]);

#endif
