/* test_lifecycle_property.c — generated fleets and requests: what holds for every operation.
 *
 * It ends; it is refused before anything begins or not at all; after every round each slot has one
 * live primary, no replica follows a replica, and no primary has fewer online replicas than it had
 * or than the barrier; no slot moves twice; a second run has nothing to do. Redis may make an
 * emptied primary a replica at any time. Where there are drain hooks, client traffic is off a node
 * before its first slot moves away for good and before it leaves; where there is a provisioner,
 * nothing is missing, nothing that was made is left over, and nothing is given back without a
 * certificate; and when the operation is cancelled after any round, what was prepared is taken
 * back. DROVER_CASES=100000 runs more; a failing case prints its number, DROVER_CASE=<number> runs
 * it alone and prints what was done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_lifecycle.h"

#include "coordinator/core/removal.h"

#define CASES 3000
#define ROUNDS_MAX 120
#define TEXT_MAX 8192

struct property {
    int number;
    struct prng prng;
    char text[TEXT_MAX];
    struct life life;
    struct operation_request request;
    struct address addresses[8];
    int primaries;
    int replicas_of[8];
    int spares;
    struct slotset moved;
    bool has_provisioner;
    bool has_hooks;
    bool is_verbose;
    int rounds_end;   /* batches that were carried out before the answer in hand */
    int cancel_after; /* rounds; -1 = never */
};

#define MUST(property, condition)                                                  \
    do {                                                                           \
        if (!(condition)) {                                                        \
            print_message("%s\n", (property)->text);                               \
            fail_msg("case %d: " #condition " does not hold", (property)->number); \
        }                                                                          \
    } while (0)

static void add_text(struct property *p, const char *format, ...) PRINTF_LIKE(2, 3);

static void add_text(struct property *p, const char *format, ...)
{
    size_t len = strlen(p->text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->text + len, sizeof(p->text) - len, format, args);
    va_end(args);
}

static void add_place(struct property *p, const char *name, int number, int hosts, int zones)
{
    int host = (int)prng_below(&p->prng, (uint64_t)hosts);
    add_text(p, "%s%s%d@h%d/z%d ", p->text[0] == '\0' ? "" : "; ", name, number, host,
             host % zones);
}

static void random_fleet(struct property *p)
{
    int hosts = (int)prng_range(&p->prng, 1, 8);
    int zones = (int)prng_range(&p->prng, 1, 4);
    int even = prng_chance(&p->prng, 1, 2);
    int replicas = (int)prng_range(&p->prng, 0, 2);
    int first = 0;
    p->primaries = (int)prng_range(&p->prng, 3, 7);
    p->spares = (int)prng_range(&p->prng, 0, 7);
    for (int i = 0; i < p->primaries; i++) {
        int left = p->primaries - 1 - i;
        int last = left == 0 ? SLOT_COUNT - 1
                   : even    ? (i + 1) * SLOT_COUNT / p->primaries - 1
                             : (int)prng_range(&p->prng, first, SLOT_COUNT - 1 - left);
        add_place(p, "p", i, hosts, zones);
        add_text(p, "%d-%d", first, last);
        first = last + 1;
    }
    for (int i = 0; i < p->primaries; i++) {
        p->replicas_of[i] =
            prng_chance(&p->prng, 1, 6) ? (int)prng_range(&p->prng, 0, 2) : replicas;
        for (int r = 0; r < p->replicas_of[i]; r++) {
            add_place(p, "r", i * 3 + r, hosts, zones);
            add_text(p, ">p%d", i);
        }
    }
    for (int i = 0; i < p->spares; i++) {
        add_place(p, "s", i, hosts, zones);
        add_text(p, "spare");
    }
    if (prng_chance(&p->prng, 1, 4)) {
        add_place(p, "x", 0, hosts, zones);
        add_text(p, "empty");
    }
    if (prng_chance(&p->prng, 1, 4)) {
        add_text(p, "; h%d/z0 starts %d", (int)prng_below(&p->prng, (uint64_t)hosts),
                 (int)prng_range(&p->prng, 1, 9));
    }
    p->has_provisioner = prng_chance(&p->prng, 1, 3);
    p->has_hooks = prng_chance(&p->prng, 1, 2);
    for (int i = (int)prng_range(&p->prng, 1, 2); i > 0 && p->has_provisioner; i--) {
        add_text(p, "; h%d/z0 provisions", (int)prng_below(&p->prng, (uint64_t)hosts));
    }
    for (int i = (int)prng_range(&p->prng, 1, 2); i > 0 && p->has_hooks; i--) {
        add_text(p, "; h%d/z0 drains", (int)prng_below(&p->prng, (uint64_t)hosts));
    }
}

static struct node_id random_member(struct property *p)
{
    const struct topology *topology = &p->life.topology;
    for (;;) {
        int node = (int)prng_below(&p->prng, (uint64_t)topology->node_count);
        if (topology->nodes[node].is_member) {
            return topology->nodes[node].id;
        }
    }
}

static void random_add(struct property *p)
{
    const struct topology *topology = &p->life.topology;
    p->request.kind = OPERATION_ADD;
    for (int i = 0; i < topology->node_count && p->request.address_count < 8; i++) {
        if (!topology->nodes[i].is_member && prng_chance(&p->prng, 1, 2)) {
            p->addresses[p->request.address_count++] = topology->nodes[i].address;
        }
    }
    int kind = (int)prng_range(&p->prng, 0, 2);
    p->request.flags = kind == 0 ? 0 : kind == 1 ? REQUEST_AS_REPLICA : REQUEST_WITHOUT_SLOTS;
}

static void random_request(struct property *p)
{
    p->request = (struct operation_request){.addresses = p->addresses, .replicas_wanted = -1};
    switch (prng_range(&p->prng, 0, 5)) {
    case 0:
        random_add(p);
        break;
    case 1:
        p->request.kind = OPERATION_REMOVE;
        p->request.node = random_member(p);
        break;
    case 2:
        p->request.kind = OPERATION_REPLICATE;
        p->request.node = random_member(p);
        p->request.target = random_member(p);
        break;
    case 3:
        p->request.kind = OPERATION_FAILOVER;
        p->request.node = random_member(p);
        break;
    default:
        p->request.kind = OPERATION_SCALE;
        p->request.primaries_wanted =
            prng_chance(&p->prng, 1, 5) ? 0 : (int)prng_range(&p->prng, 3, 9);
        p->request.replicas_wanted = (int)prng_range(&p->prng, -1, 2);
        break;
    }
}

static int online_replicas(const struct topology *topology, int primary)
{
    int count = 0;
    for (int i = 0; i < topology->node_count; i++) {
        count += topology->nodes[i].is_member && topology->nodes[i].primary == primary &&
                 topology->nodes[i].is_link_up;
    }
    return count;
}

/* Every slot has a live primary, and nobody follows a replica or a stranger. */
static void check_sound(struct property *p)
{
    const struct topology *topology = &p->life.model.topology;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int owner = topology->owner[slot];
        MUST(p, owner != NO_NODE);
        MUST(p, topology->nodes[owner].is_member);
        MUST(p, topology->nodes[owner].role == NODE_ROLE_PRIMARY);
    }
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->is_member && node->role == NODE_ROLE_REPLICA) {
            MUST(p, node->primary != NO_NODE);
            MUST(p, topology->nodes[node->primary].is_member);
            MUST(p, topology->nodes[node->primary].role == NODE_ROLE_PRIMARY);
        }
    }
}

/* No primary that had slots from the start has fewer online replicas than the barrier, unless it
 * had fewer, or fewer are wanted. */
static void check_barrier(struct property *p)
{
    const struct topology *before = &p->life.topology;
    const struct topology *after = &p->life.model.topology;
    for (int i = 0; i < before->node_count; i++) {
        int node = topology_find(after, &before->nodes[i].id);
        if (before->nodes[i].slot_count == 0 || node == NO_NODE ||
            after->nodes[node].slot_count == 0) {
            continue;
        }
        int least = online_replicas(before, i);
        int wanted = p->request.kind == OPERATION_SCALE ? p->request.replicas_wanted : -1;
        least = least > 1 ? 1 : least;
        least = wanted == 0 ? 0 : least;
        bool is_lone = true;
        for (int j = 0; j < before->node_count; j++) {
            is_lone =
                is_lone && (before->nodes[j].primary == NO_NODE || before->nodes[j].primary == i);
        }
        MUST(p, is_lone || online_replicas(after, node) >= least);
    }
}

/* A primary that gets its first slots has its replicas by then: its keys never lie on one node. */
static void check_newcomers(struct property *p)
{
    const struct topology *before = &p->life.topology;
    const struct topology *after = &p->life.model.topology;
    for (int i = 0; i < after->node_count && p->request.kind == OPERATION_SCALE; i++) {
        int node = topology_find(before, &after->nodes[i].id);
        bool had_slots = node != NO_NODE && before->nodes[node].slot_count > 0;
        if (after->nodes[i].role == NODE_ROLE_PRIMARY && after->nodes[i].slot_count > 0 &&
            !had_slots) {
            MUST(p, online_replicas(after, i) >= p->request.replicas_wanted);
        }
    }
}

static void check_moves(struct property *p, const struct lifecycle_answer *answer)
{
    for (int i = 0; i < answer->batch_count; i++) {
        if (answer->batches[i].kind == BATCH_MOVE) {
            MUST(p, !slotset_intersects(&p->moved, &answer->batches[i].slots));
            slotset_union(&p->moved, &answer->batches[i].slots);
        }
        struct err err = {0};
        MUST(p, answer->batches[i].kind == BATCH_MOVE ||
                    task_validate(answer->batches[i].task, &err) == 0);
    }
}

/* The last word that every drain hook had about the node was that its traffic is off. */
static bool is_off(const struct property *p, const struct node_id *node)
{
    bool is_off = p->has_hooks;
    for (int h = 0; h < p->life.model.facts.host_count; h++) {
        const struct lifecycle_host *host = &p->life.model.facts.hosts[h];
        bool is_host_off = false;
        for (int i = 0; i < p->rounds_end; i++) {
            const struct task *task = p->life.model.batches[i].task;
            char agent[AGENT_ID_SIZE];
            if (task != NULL && task->kind == TASK_TRAFFIC && node_id_is_equal(&task->node, node) &&
                task_detail_get(task, "agent", agent, sizeof(agent)) &&
                strcmp(agent, host->agent.text) == 0) {
                is_host_off = (task->flags & TASK_UP) == 0;
            }
        }
        is_off = is_off && (!host->offers_traffic || is_host_off);
    }
    return is_off;
}

static bool is_made(const struct property *p, const struct address *address)
{
    for (int i = 0; i < p->rounds_end; i++) {
        const struct batch *batch = &p->life.model.batches[i];
        if (batch->made.port != 0 && address_is_equal(&batch->made, address)) {
            return true;
        }
    }
    return false;
}

/* Asked before the answer is carried out. */
static void check_outside(struct property *p, const struct lifecycle_answer *answer)
{
    const struct topology *topology = &p->life.model.topology;
    bool goes_in = p->request.kind == OPERATION_REMOVE;
    int slotted = 0;
    for (int i = 0; i < topology->node_count; i++) {
        slotted += topology->nodes[i].is_member && topology->nodes[i].slot_count > 0;
    }
    goes_in = goes_in || (p->request.kind == OPERATION_SCALE && p->request.primaries_wanted > 0 &&
                          slotted > p->request.primaries_wanted);
    for (int i = 0; i < answer->batch_count; i++) {
        const struct batch *batch = &answer->batches[i];
        const struct task *task = batch->task;
        if (batch->kind == BATCH_MOVE) {
            MUST(p, !p->has_hooks || !goes_in || is_off(p, &batch->source));
        } else if (task->kind == TASK_LEAVE) {
            MUST(p, !p->has_hooks || (task->flags & TASK_DEAD) != 0 || is_off(p, &task->node));
        } else if (task->kind == TASK_JOIN) {
            bool is_new = strncmp(task->node_address.host, "new-", 4) == 0;
            MUST(p, !is_new || is_made(p, &task->node_address));
        } else if (task->kind == TASK_RELEASE) {
            struct removal_certificate certificate;
            removal_certify(topology, &task->node, &task->node_address, 1, "op-1-1", &certificate);
            MUST(p, certificate.is_granted);
        }
    }
}

static void check_nothing_left(struct property *p)
{
    struct lifecycle_answer answer;
    lifecycle_undo(&p->life.model.facts, &answer);
    MUST(p, answer.verdict == LIFECYCLE_DONE);
    lifecycle_answer_release(&answer);
    const struct topology *topology = &p->life.model.topology;
    for (int i = 0; i < topology->node_count; i++) {
        MUST(p, !topology->nodes[i].is_member || !is_off(p, &topology->nodes[i].id));
    }
    for (int i = 0; i < p->life.model.facts.batch_count; i++) {
        const struct batch *batch = &p->life.model.batches[i];
        bool is_member = false;
        for (int n = 0; n < topology->node_count && batch->made.port != 0; n++) {
            is_member = is_member || (topology->nodes[n].is_member &&
                                      address_is_equal(&topology->nodes[n].address, &batch->made));
        }
        bool is_back = batch->made.port == 0 || is_member;
        for (int k = i; k < p->life.model.facts.batch_count && !is_back; k++) {
            const struct task *task = p->life.model.batches[k].task;
            is_back = task != NULL && task->kind == TASK_RELEASE &&
                      address_is_equal(&task->node_address, &batch->made);
        }
        MUST(p, is_back);
    }
}

/* Cancelled now: one round takes back whatever was prepared. */
static void check_cancel(struct property *p)
{
    struct lifecycle_answer answer;
    lifecycle_undo(&p->life.model.facts, &answer);
    MUST(p, answer.verdict == LIFECYCLE_DONE || answer.verdict == LIFECYCLE_MORE);
    p->rounds_end = p->life.model.facts.batch_count;
    check_outside(p, &answer);
    check_moves(p, &answer);
    lifecycle_model_apply(&p->life.model, &answer);
    lifecycle_answer_release(&answer);
    p->rounds_end = p->life.model.facts.batch_count;
    check_nothing_left(p);
}

static void check_scale_reached(struct property *p)
{
    const struct topology *topology = &p->life.model.topology;
    int slotted = 0;
    for (int s = 0; s < topology->shard_count; s++) {
        int primary = topology->shards[s].primary;
        if (topology->nodes[primary].slot_count == 0) {
            MUST(p, p->request.primaries_wanted == 0);
            continue;
        }
        slotted++;
        MUST(p, p->request.replicas_wanted < 0 ||
                    topology->shards[s].replica_count == p->request.replicas_wanted);
    }
    MUST(p, p->request.primaries_wanted == 0 || slotted == p->request.primaries_wanted);
}

static void check_reached(struct property *p)
{
    const struct topology *topology = &p->life.model.topology;
    const struct operation_request *request = &p->request;
    int node = topology_find(topology, &request->node);
    if (request->kind == OPERATION_SCALE) {
        check_scale_reached(p);
    } else if (request->kind == OPERATION_REMOVE) {
        MUST(p, node == NO_NODE || !topology->nodes[node].is_member);
    } else if (request->kind == OPERATION_FAILOVER) {
        MUST(p, topology->nodes[node].role == NODE_ROLE_PRIMARY);
    } else if (request->kind == OPERATION_REPLICATE) {
        MUST(p, topology->nodes[node].primary == topology_find(topology, &request->target));
    } else {
        for (int i = 0; i < request->address_count; i++) {
            bool is_found = false;
            for (int n = 0; n < topology->node_count; n++) {
                const struct topology_node *added = &topology->nodes[n];
                bool is_it =
                    added->is_member && address_is_equal(&added->address, &request->addresses[i]);
                bool is_fit = (request->flags & REQUEST_AS_REPLICA) != 0
                                  ? added->role == NODE_ROLE_REPLICA
                                  : (added->slot_count > 0) ==
                                        ((request->flags & REQUEST_WITHOUT_SLOTS) == 0);
                is_found = is_found || (is_it && is_fit);
            }
            MUST(p, is_found);
        }
    }
}

/* Returns true when it was done, false when refused or cancelled. */
static bool run_case(struct property *p)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct lifecycle_answer answer;
        if (round == p->cancel_after) {
            check_cancel(p);
            return false;
        }
        p->rounds_end = p->life.model.facts.batch_count;
        lifecycle_next(&p->request, &p->life.model.facts, &answer);
        check_outside(p, &answer);
        lifecycle_answer_release(&answer);
        life_step(&p->life, &p->request, &answer);
        enum lifecycle_verdict verdict = answer.verdict;
        if (p->is_verbose) {
            print_message("round %d: verdict %d, %d batches: %s\n", round, (int)verdict,
                          answer.batch_count, answer.reason);
            for (int i = 0; i < answer.batch_count; i++) {
                char text[TEXT_SIZE] = "moves";
                if (answer.batches[i].kind == BATCH_TASK) {
                    task_format(answer.batches[i].task, text, sizeof(text));
                }
                print_message("  %s\n", text);
            }
        }
        check_moves(p, &answer);
        MUST(p, verdict != LIFECYCLE_WAIT);
        MUST(p, verdict != LIFECYCLE_REFUSED || (round == 0 && answer.reason[0] != '\0'));
        lifecycle_answer_release(&answer);
        check_sound(p);
        check_barrier(p);
        check_newcomers(p);
        if (verdict == LIFECYCLE_DONE) {
            p->rounds_end = p->life.model.facts.batch_count;
            check_nothing_left(p);
        }
        if (verdict != LIFECYCLE_MORE) {
            return verdict == LIFECYCLE_DONE;
        }
    }
    bool is_ended = false;
    MUST(p, is_ended);
    return false;
}

/* The same request as a new operation, which knows nothing of the first. */
static void check_again(struct property *p)
{
    struct lifecycle_answer answer;
    life_forget_history(&p->life);
    lifecycle_next(&p->request, &p->life.model.facts, &answer);
    MUST(p, answer.verdict == LIFECYCLE_DONE ||
                (p->request.kind == OPERATION_REPLICATE && answer.verdict == LIFECYCLE_REFUSED));
    lifecycle_answer_release(&answer);
}

static void test_every_operation(void **state)
{
    (void)state;
    const char *only = getenv("DROVER_CASE");
    const char *more = getenv("DROVER_CASES");
    int cases = more == NULL ? CASES : (int)strtol(more, NULL, 10);
    int first = only == NULL ? 0 : (int)strtol(only, NULL, 10);
    int last = only == NULL ? cases - 1 : first;
    int done[OPERATION_KIND_MAX + 1] = {0};
    int refused = 0;
    for (int number = first; number <= last; number++) {
        static struct property p;
        memset(&p, 0, sizeof(p));
        p.number = number;
        p.is_verbose = only != NULL;
        prng_init(&p.prng, (uint64_t)number);
        random_fleet(&p);
        life_init(&p.life, p.text);
        random_request(&p);
        p.life.chance = prng_chance(&p.prng, 1, 2) ? &p.prng : NULL;
        p.cancel_after = prng_chance(&p.prng, 1, 5) ? (int)prng_range(&p.prng, 1, 12) : -1;
        if (run_case(&p)) {
            check_reached(&p);
            check_again(&p);
            done[p.request.kind]++;
        } else {
            refused++;
        }
        life_release(&p.life);
    }
    if (only == NULL) {
        print_message("done: %d add, %d remove, %d scale, %d replicate, %d failover; refused: %d\n",
                      done[OPERATION_ADD], done[OPERATION_REMOVE], done[OPERATION_SCALE],
                      done[OPERATION_REPLICATE], done[OPERATION_FAILOVER], refused);
        assert_true(done[OPERATION_ADD] > cases / 20);
        assert_true(done[OPERATION_REMOVE] > cases / 20);
        assert_true(done[OPERATION_SCALE] > cases / 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
