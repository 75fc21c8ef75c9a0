/* helper_lifecycle.c — see helper_lifecycle.h. */
#include "tests/unit/coordinator/helper_lifecycle.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIFE_ROUNDS_MAX 400

struct node_id life_id(const char *name)
{
    struct node_id id = {{0}};
    size_t len = strlen(name);
    memset(id.text, '0', NODE_ID_LEN);
    for (size_t i = 0; i < len && i < NODE_ID_LEN / 2; i++) {
        static const char hex[] = "0123456789abcdef";
        id.text[2 * i] = hex[(unsigned char)name[i] >> 4];
        id.text[2 * i + 1] = hex[(unsigned char)name[i] & 15];
    }
    return id;
}

const char *life_name(const struct node_id *id, char text[48])
{
    size_t n = 0;
    for (size_t i = 0; i < NODE_ID_LEN / 2; i++) {
        char pair[3] = {id->text[2 * i], id->text[2 * i + 1], '\0'};
        char c = (char)strtol(pair, NULL, 16);
        if (c == '\0') {
            break;
        }
        if (c < '0' || c > 'z') {
            (void)snprintf(text, 48, "new");
            return text;
        }
        text[n++] = c;
    }
    text[n] = '\0';
    return text;
}

/* A host's name is also its address; ports follow from the node's name. */
struct address life_address(const char *host)
{
    struct address address = {.port = 7000};
    const char *colon = strrchr(host, ':');
    size_t len = colon == NULL ? strlen(host) : (size_t)(colon - host);
    (void)snprintf(address.host, sizeof(address.host), "%.*s", (int)len, host);
    if (colon != NULL) {
        address.port = (uint16_t)strtol(colon + 1, NULL, 10);
    }
    return address;
}

static struct lifecycle_host *life_host(struct life *life, const char *host, const char *zone)
{
    for (int i = 0; i < life->facts.host_count; i++) {
        if (strcmp(life->hosts[i].host, host) == 0) {
            return &life->hosts[i];
        }
    }
    CHECK(life->facts.host_count < LIFE_HOSTS_MAX);
    struct lifecycle_host *made = &life->hosts[life->facts.host_count++];
    *made = (struct lifecycle_host){.is_connected = true, .memory_free_bytes = -1};
    (void)snprintf(made->host, sizeof(made->host), "%s", host);
    (void)snprintf(made->zone, sizeof(made->zone), "%s", zone);
    (void)snprintf(made->agent.text, sizeof(made->agent.text), "%s", host);
    return made;
}

static void give(struct topology *topology, int node, const char *text)
{
    struct slotset slots;
    struct err err = {0};
    int code = slotset_parse(&slots, text, &err);
    CHECK(code == 0);
    SLOTSET_FOREACH (slot, &slots) {
        topology->owner[slot] = (int16_t)node;
    }
}

static void apply_word(struct topology_node *node, const char *word)
{
    if (strncmp(word, "+keys=", 6) == 0) {
        node->keys = strtol(word + 6, NULL, 10);
    } else if (strncmp(word, "+used=", 6) == 0) {
        node->used_memory_bytes = strtol(word + 6, NULL, 10);
    } else if (strncmp(word, "+max=", 5) == 0) {
        node->maxmemory_bytes = strtol(word + 5, NULL, 10);
    } else if (strcmp(word, "+lag") == 0) {
        node->is_link_up = false;
    } else if (strcmp(word, "+dead") == 0) {
        node->is_reachable = false;
        node->is_failed = true;
        node->view = NO_VIEW;
    } else if (strcmp(word, "+silent") == 0) {
        node->is_reachable = false;
        node->view = NO_VIEW;
    } else {
        CHECK(strcmp(word, "+evicts") == 0);
        node->evicts = true;
    }
}

/* What a node is, kept until all names are known. */
struct wish {
    char id[NODE_ID_LEN + 1];
    char what[256];
};

static int compare_ids(const void *a, const void *b)
{
    return node_id_compare(&((const struct topology_node *)a)->id,
                           &((const struct topology_node *)b)->id);
}

static void add_node(struct life *life, struct wish *wish, char *name, char *place, char *rest)
{
    struct topology *topology = &life->topology;
    char *zone = strchr(place, '/');
    struct topology_node *node = &topology->nodes[topology->node_count++];
    if (zone != NULL) {
        *zone++ = '\0';
    }
    *node = (struct topology_node){.id = life_id(name),
                                   .is_member = true,
                                   .role = NODE_ROLE_PRIMARY,
                                   .primary = NO_NODE,
                                   .is_reachable = true,
                                   .is_cluster_ok = true,
                                   .is_cluster_enabled = true,
                                   .is_link_up = true,
                                   .config_epoch = (uint64_t)topology->node_count,
                                   .keys = -1,
                                   .used_memory_bytes = -1,
                                   .maxmemory_bytes = -1,
                                   .system_memory_bytes = -1};
    node->address = life_address(place);
    node->address.port = (uint16_t)(node->address.port + topology->node_count);
    (void)snprintf(node->agent.text, sizeof(node->agent.text), "%.60s", node->address.host);
    (void)life_host(life, node->address.host, zone == NULL ? "" : zone);
    memcpy(wish->id, node->id.text, sizeof(wish->id));
    (void)snprintf(wish->what, sizeof(wish->what), "%s", rest);
}

static void fulfil(struct topology *topology, const struct wish *wish)
{
    struct node_id id = {{0}};
    memcpy(id.text, wish->id, sizeof(id.text));
    int index = topology_find(topology, &id);
    struct topology_node *node = &topology->nodes[index];
    char text[256];
    char *save = NULL;
    (void)snprintf(text, sizeof(text), "%s", wish->what);
    for (char *word = strtok_r(text, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        if (word[0] == '>') {
            struct node_id primary = life_id(word + 1);
            node->role = NODE_ROLE_REPLICA;
            node->primary = topology_find(topology, &primary);
            CHECK(node->primary != NO_NODE);
        } else if (strcmp(word, "spare") == 0) {
            node->is_member = false;
            node->is_alone = true;
            node->view = NO_VIEW;
            node->keys = 0;
        } else if (word[0] == '+') {
            apply_word(node, word);
        } else if (strcmp(word, "empty") == 0) {
            node->keys = 0;
        } else {
            give(topology, index, word);
        }
    }
}

void life_init(struct life *life, const char *text)
{
    char *copy = xstrdup(text);
    char *save = NULL;
    int count = 0;
    int parts = 1;
    memset(life, 0, sizeof(*life));
    for (const char *c = text; *c != '\0'; c++) {
        parts += *c == ';';
    }
    struct wish *wishes = xcalloc((size_t)parts, sizeof(*wishes));
    topology_init(&life->topology);
    life->topology.nodes = xcalloc((size_t)parts, sizeof(struct topology_node));
    for (char *part = strtok_r(copy, ";", &save); part != NULL; part = strtok_r(NULL, ";", &save)) {
        char name[64];
        char place[128];
        char rest[256] = "";
        int room = 0;
        if (sscanf(part, " %63[^@ ]@%127s %255[^\n]", name, place, rest) >= 2) {
            add_node(life, &wishes[count++], name, place, rest);
        } else {
            char word[32] = "";
            int found = sscanf(part, " %127[^/]/%63s %31s %d", place, name, word, &room);
            CHECK(found >= 3);
            struct lifecycle_host *host = life_host(life, place, name);
            host->offers_provision = host->offers_provision || strcmp(word, "provisions") == 0;
            host->offers_traffic = host->offers_traffic || strcmp(word, "drains") == 0;
            if (strcmp(word, "starts") == 0) {
                CHECK(found == 4);
                host->can_start = true;
                host->memory_free_bytes = (INT64_C(64) << 20) * room;
            }
        }
    }
    qsort(life->topology.nodes, (size_t)count, sizeof(struct topology_node), compare_ids);
    for (int i = 0; i < count; i++) {
        fulfil(&life->topology, &wishes[i]);
    }
    lifecycle_model_rebuild(&life->topology);
    plan_options_init(&life->options);
    life->options.batch_slots_max = BATCH_SLOTS_MAX;
    life->spec = (struct spec_record){.replicas_per_shard = -1};
    life->facts.topology = &life->topology;
    life->facts.spec = &life->spec;
    life->facts.options = &life->options;
    life->facts.hosts = life->hosts;
    lifecycle_model_init(&life->model, &life->facts);
    free(wishes);
    free(copy);
}

void life_release(struct life *life)
{
    lifecycle_model_release(&life->model);
    topology_release(&life->topology);
}

void life_forget_history(struct life *life)
{
    for (int i = 0; i < life->model.facts.batch_count; i++) {
        batch_release(&life->model.batches[i]);
    }
    life->model.facts.batch_count = 0;
}

/* ---- words ---- */

static void say(struct life *life, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(struct life *life, const char *format, ...)
{
    size_t len = strlen(life->transcript);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(life->transcript + len, sizeof(life->transcript) - len, format, args);
    va_end(args);
}

static void say_task(struct life *life, const struct task *task)
{
    char node[48];
    char peer[48];
    char address[ADDRESS_TEXT_SIZE];
    const struct topology *topology = &life->model.topology;
    if (node_id_is_empty(&task->node)) {
        (void)snprintf(node, sizeof(node), "%.47s", address_format(&task->node_address, address));
    } else {
        life_name(&task->node, node);
    }
    if (strcmp(node, "new") == 0) {
        int index = topology_find(topology, &task->node);
        const struct address *at =
            index == NO_NODE ? &task->node_address : &topology->nodes[index].address;
        (void)snprintf(node, sizeof(node), "%.47s", address_format(at, address));
    }
    life_name(&task->peer, peer);
    switch (task->kind) {
    case TASK_REPLICATE:
    case TASK_FAILOVER:
    case TASK_MEET:
        say(life, "%s %s>%s", task_kind_name(task->kind), node, peer);
        return;
    case TASK_REPAIR:
    case TASK_ADD_SLOTS:
        say(life, "%s %s%s%s %d%s%.20s", task_kind_name(task->kind), node,
            peer[0] == '\0' ? "" : "<", peer, slotset_count(&task->slots),
            (task->flags & TASK_EPOCH) != 0 ? " epoch " : "", task->detail);
        return;
    case TASK_JOIN:
    case TASK_LEAVE:
    case TASK_START:
    case TASK_STOP:
    case TASK_RELEASE:
        say(life, "%s %s%s", task_kind_name(task->kind), node,
            (task->flags & TASK_DEAD) != 0 ? " dead" : "");
        return;
    case TASK_TRAFFIC:
        say(life, "traffic %s %s", (task->flags & TASK_UP) != 0 ? "up" : "down", node);
        return;
    case TASK_PROVISION: {
        char role[16];
        char zone[32];
        (void)task_detail_get(task, "role", role, sizeof(role));
        (void)task_detail_get(task, "zone", zone, sizeof(zone));
        say(life, "provision %s%s%s", role, zone[0] == '\0' ? "" : " in ", zone);
        return;
    }
    case TASK_REACH:
        (void)task_detail_get(task, "agent", peer, sizeof(peer));
        say(life, "reach %s from %s", node, peer);
        return;
    }
}

static int slots_between(const struct lifecycle_answer *answer, int index, bool *is_first)
{
    int sum = 0;
    const struct batch *like = &answer->batches[index];
    *is_first = true;
    for (int i = 0; i < answer->batch_count; i++) {
        const struct batch *batch = &answer->batches[i];
        if (batch->kind == BATCH_MOVE && node_id_is_equal(&batch->source, &like->source) &&
            node_id_is_equal(&batch->target, &like->target)) {
            sum += slotset_count(&batch->slots);
            *is_first = *is_first && i >= index;
        }
    }
    return sum;
}

static void say_round(struct life *life, const struct lifecycle_answer *answer)
{
    const char *joint = "";
    const struct batch *first = &answer->batches[0];
    if (!life->tells_reach && first->kind == BATCH_TASK && first->task->kind == TASK_REACH) {
        return;
    }
    for (int i = 0; i < answer->batch_count; i++) {
        const struct batch *batch = &answer->batches[i];
        if (batch->kind == BATCH_TASK) {
            say(life, "%s", joint);
            say_task(life, batch->task);
            joint = ", ";
            continue;
        }
        char source[48];
        char target[48];
        bool is_first = false;
        int slots = slots_between(answer, i, &is_first);
        if (is_first) {
            say(life, "%s%s>%s %d", joint, life_name(&batch->source, source),
                life_name(&batch->target, target), slots);
            joint = ", ";
        }
    }
    say(life, "\n");
}

/* ---- steps ---- */

void life_attach(struct life *life, const struct lifecycle_answer *answer, bool is_sure)
{
    struct topology *topology = &life->model.topology;
    for (int i = answer->batch_count - 1; i >= 0; i--) {
        const struct batch *batch = &answer->batches[i];
        if (batch->kind != BATCH_MOVE) {
            continue;
        }
        int source = topology_find(topology, &batch->source);
        int target = topology_find(topology, &batch->target);
        bool is_empty = topology->nodes[source].slot_count == 0 &&
                        topology->nodes[source].role == NODE_ROLE_PRIMARY;
        if (!is_empty || !(is_sure || prng_chance(life->chance, 1, 2))) {
            continue;
        }
        topology->nodes[source].role = NODE_ROLE_REPLICA;
        topology->nodes[source].primary = target;
        for (int j = 0; j < topology->node_count; j++) {
            if (topology->nodes[j].primary == source) {
                topology->nodes[j].primary = target;
            }
        }
    }
    lifecycle_model_rebuild(topology);
}

void life_step(struct life *life,
               const struct operation_request *request,
               struct lifecycle_answer *answer)
{
    lifecycle_next(request, &life->model.facts, answer);
    if (answer->verdict != LIFECYCLE_MORE) {
        return;
    }
    lifecycle_model_apply(&life->model, answer);
    if (life->chance != NULL) {
        life_attach(life, answer, false);
    }
}

const char *life_run(struct life *life, const struct operation_request *request)
{
    life->transcript[0] = '\0';
    life_forget_history(life);
    for (int round = 0; round < LIFE_ROUNDS_MAX; round++) {
        struct lifecycle_answer answer;
        life_step(life, request, &answer);
        switch (answer.verdict) {
        case LIFECYCLE_MORE:
            say_round(life, &answer);
            break;
        case LIFECYCLE_DONE:
            say(life, "done");
            break;
        case LIFECYCLE_WAIT:
            say(life, "wait: %s", answer.reason);
            break;
        case LIFECYCLE_REFUSED:
            say(life, "refused: %s", answer.reason);
            break;
        }
        bool is_over = answer.verdict != LIFECYCLE_MORE;
        lifecycle_answer_release(&answer);
        if (is_over) {
            return life->transcript;
        }
    }
    say(life, "does not end");
    return life->transcript;
}
