/* task.c — see task.h. */
#include "common/model/task.h"

#include <stdio.h>
#include <string.h>

const char *task_kind_name(enum task_kind kind)
{
    switch (kind) {
    case TASK_JOIN:
        return "join";
    case TASK_REPLICATE:
        return "replicate";
    case TASK_FAILOVER:
        return "failover";
    case TASK_LEAVE:
        return "leave";
    case TASK_REPAIR:
        return "repair";
    case TASK_START:
        return "start";
    case TASK_STOP:
        return "stop";
    case TASK_MEET:
        return "meet";
    case TASK_ADD_SLOTS:
        return "add-slots";
    case TASK_PROVISION:
        return "provision";
    case TASK_RELEASE:
        return "release";
    case TASK_TRAFFIC:
        return "traffic";
    case TASK_REACH:
        return "reach";
    }
    return "unknown";
}

bool task_kind_is_bound(enum task_kind kind)
{
    switch (kind) {
    case TASK_START:
    case TASK_STOP:
    case TASK_PROVISION:
    case TASK_RELEASE:
    case TASK_TRAFFIC:
    case TASK_REACH:
        return true;
    case TASK_JOIN:
    case TASK_REPLICATE:
    case TASK_FAILOVER:
    case TASK_LEAVE:
    case TASK_REPAIR:
    case TASK_MEET:
    case TASK_ADD_SLOTS:
        break;
    }
    return false;
}

bool task_detail_get(const struct task *task, const char *word, char *value, size_t size)
{
    size_t word_len = strlen(word);
    const char *line = task->detail;
    value[0] = '\0';
    while (*line != '\0') {
        size_t len = strcspn(line, "\n");
        if (len > word_len && line[word_len] == ' ' && strncmp(line, word, word_len) == 0) {
            (void)snprintf(value, size, "%.*s", (int)(len - word_len - 1), line + word_len + 1);
            return true;
        }
        line += line[len] == '\n' ? len + 1 : len;
    }
    return false;
}

/* A node as people know it: its address, else the first digits of its id. */
static void name_node(const struct node_id *id, const struct address *address, char *text)
{
    if (address->port != 0) {
        (void)address_format(address, text);
    } else {
        (void)snprintf(text, ADDRESS_TEXT_SIZE, "%.8s", id->text);
    }
}

static void format_provision(const struct task *task, char *text, size_t size)
{
    char role[16];
    char zone[64];
    bool has_role = task_detail_get(task, "role", role, sizeof(role));
    bool has_zone = task_detail_get(task, "zone", zone, sizeof(zone));
    (void)snprintf(text, size, "have a server made%s%s%s%s", has_role ? " for a " : "", role,
                   has_zone ? " in zone " : "", zone);
}

static void format_reach(const struct task *task, const char *node, char *text, size_t size)
{
    char host[HOST_SIZE];
    bool has_host = task_detail_get(task, "host", host, sizeof(host)) ||
                    task_detail_get(task, "agent", host, sizeof(host));
    (void)snprintf(text, size, "reach %s from %s", node, has_host ? host : "a host");
}

void task_format(const struct task *task, char *text, size_t size)
{
    char node[ADDRESS_TEXT_SIZE];
    char peer[ADDRESS_TEXT_SIZE];
    name_node(&task->node, &task->node_address, node);
    name_node(&task->peer, &task->peer_address, peer);
    switch (task->kind) {
    case TASK_JOIN:
        (void)snprintf(text, size, "join %s to the cluster of %s", node, peer);
        return;
    case TASK_REPLICATE:
        (void)snprintf(text, size, "make %s a replica of %s", node, peer);
        return;
    case TASK_FAILOVER:
        (void)snprintf(text, size, "let %s take over from %s", node, peer);
        return;
    case TASK_LEAVE:
        (void)snprintf(text, size, "forget %s%s", node,
                       (task->flags & TASK_DEAD) != 0 ? ", which is dead" : "");
        return;
    case TASK_REPAIR:
        (void)snprintf(text, size, "repair %d slots of %s", slotset_count(&task->slots), node);
        return;
    case TASK_START:
        (void)snprintf(text, size, "start a server at %s", node);
        return;
    case TASK_STOP:
        (void)snprintf(text, size,
                       (task->flags & TASK_DEAD) != 0 ? "put the folder of the dead %s aside"
                                                      : "stop the server at %s",
                       node);
        return;
    case TASK_MEET:
        (void)snprintf(text, size, "introduce %s to the others", node);
        return;
    case TASK_ADD_SLOTS:
        (void)snprintf(text, size, "give %s %d slots that nobody has", node,
                       slotset_count(&task->slots));
        return;
    case TASK_PROVISION:
        format_provision(task, text, size);
        return;
    case TASK_RELEASE:
        (void)snprintf(text, size, "give the server at %s back", node);
        return;
    case TASK_TRAFFIC:
        (void)snprintf(text, size, "%s client traffic %s %s",
                       (task->flags & TASK_UP) != 0 ? "put" : "take",
                       (task->flags & TASK_UP) != 0 ? "back on" : "off", node);
        return;
    case TASK_REACH:
        format_reach(task, node, text, size);
        return;
    }
    (void)snprintf(text, size, "unknown task %d", (int)task->kind);
}

/* What each kind must name. */
static const struct {
    bool needs_id;
    bool needs_address;
    bool needs_peer;
    bool needs_slots;
    bool needs_detail;
} needs[TASK_KIND_MAX + 1] = {
    [TASK_JOIN] = {.needs_address = true, .needs_peer = true},
    [TASK_REPLICATE] = {.needs_id = true, .needs_address = true, .needs_peer = true},
    [TASK_FAILOVER] = {.needs_id = true, .needs_address = true, .needs_peer = true},
    [TASK_LEAVE] = {.needs_id = true, .needs_peer = true},
    [TASK_REPAIR] = {.needs_id = true, .needs_address = true, .needs_slots = true},
    [TASK_START] = {.needs_address = true, .needs_detail = true},
    [TASK_STOP] = {.needs_address = true, .needs_detail = true},
    [TASK_MEET] = {.needs_id = true, .needs_address = true, .needs_peer = true},
    [TASK_ADD_SLOTS] = {.needs_id = true, .needs_address = true},
    [TASK_PROVISION] = {.needs_detail = true},
    [TASK_RELEASE] = {.needs_address = true, .needs_detail = true},
    [TASK_TRAFFIC] = {.needs_id = true, .needs_address = true, .needs_detail = true},
    [TASK_REACH] = {.needs_address = true, .needs_detail = true},
};

int task_validate(const struct task *task, struct err *err)
{
    if ((int)task->kind < 1 || (int)task->kind > TASK_KIND_MAX) {
        return err_set(err, ERR_INVALID, "task of unknown kind %d", (int)task->kind);
    }
    const char *name = task_kind_name(task->kind);
    if ((task->flags & ~TASK_FLAGS_ALL) != 0) {
        return err_set(err, ERR_INVALID, "task %s: unknown flags %x", name, task->flags);
    }
    if (needs[task->kind].needs_id && node_id_is_empty(&task->node)) {
        return err_set(err, ERR_INVALID, "task %s: the node's id is missing", name);
    }
    if (needs[task->kind].needs_address && task->node_address.port == 0) {
        return err_set(err, ERR_INVALID, "task %s: the node's address is missing", name);
    }
    if (needs[task->kind].needs_peer && task->peer_address.port == 0) {
        return err_set(err, ERR_INVALID, "task %s: the peer's address is missing", name);
    }
    if (needs[task->kind].needs_slots && slotset_is_empty(&task->slots)) {
        return err_set(err, ERR_INVALID, "task %s: no slots are named", name);
    }
    if (needs[task->kind].needs_detail && task->detail[0] == '\0') {
        return err_set(err, ERR_INVALID, "task %s: its detail is missing", name);
    }
    char agent[AGENT_ID_SIZE];
    bool needs_agent = (int)task->kind >= TASK_PROVISION && (int)task->kind <= TASK_REACH;
    if (needs_agent && !task_detail_get(task, "agent", agent, sizeof(agent))) {
        return err_set(err, ERR_INVALID, "task %s: its detail names no agent", name);
    }
    return 0;
}
