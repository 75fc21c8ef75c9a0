/* test_doctor.c — what the doctor finds, and what it keeps quiet about. */
#include "common/base/alloc.h"
#include "coordinator/core/doctor.h"
#include "tests/unit/coordinator/helper_planner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct topology topology;
static struct node_report reports[16];
static const struct node_report *report_of[16];
static struct doctor_input input;
static struct doctor_findings findings;
static struct doctor_memory memory;

/* Three primaries with all slots and a replica each on another host: a000.. a001.. a002.. at
 * 10.0.0.1 to 3, their replicas a003.. to a005.. at 10.0.0.4 to 6. Nothing is wrong with it. */
static int setup(void **state)
{
    (void)state;
    made_init(&topology, 3);
    made_give(&topology, 0, 0, 5460);
    made_give(&topology, 1, 5461, 10922);
    made_give(&topology, 2, 10923, SLOT_COUNT - 1);
    memset(reports, 0, sizeof(reports));
    for (int i = 0; i < 3; i++) {
        int replica = made_add_replica(&topology, i);
        topology.shards[i].first_replica = topology.replica_count;
        topology.shards[i].replica_count = 1;
        topology.replicas[topology.replica_count++] = replica;
    }
    for (int i = 0; i < topology.node_count; i++) {
        snprintf(topology.nodes[i].version, VERSION_SIZE, "7.0.15");
        reports[i].id = topology.nodes[i].id;
        report_of[i] = &reports[i];
    }
    input = (struct doctor_input){.topology = &topology, .reports = report_of, .operation_id = ""};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    topology_release(&topology);
    doctor_findings_release(&findings);
    doctor_memory_release(&memory);
    return 0;
}

static const struct doctor_finding *find(enum doctor_code code)
{
    for (int i = 0; i < findings.count; i++) {
        if (findings.items[i].code == code) {
            return &findings.items[i];
        }
    }
    return NULL;
}

/* The only finding: its code, severity, and a part of its sentence or remedy. */
static const struct doctor_finding *only(enum doctor_code code,
                                         enum doctor_severity severity,
                                         const char *part)
{
    doctor_examine(&input, &findings);
    for (int i = 0; i < findings.count; i++) {
        if (findings.items[i].code != code) {
            fail_msg("also found: %s", findings.items[i].text);
        }
    }
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.items[0].severity, severity);
    assert_int_equal(doctor_is_healthy(&findings), severity == DOCTOR_NOTE);
    if (strstr(findings.items[0].text, part) == NULL &&
        strstr(findings.items[0].remedy, part) == NULL) {
        fail_msg("\"%s\" is not in: %s; %s", part, findings.items[0].text,
                 findings.items[0].remedy);
    }
    return &findings.items[0];
}

static void test_healthy(void **state)
{
    (void)state;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 0);
    assert_true(doctor_is_healthy(&findings));
    struct topology empty;
    topology_init(&empty);
    input.topology = &empty;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 0);
    topology_release(&empty);
}

/* Slots that nobody has are told with their number; slots that are disputed are not among them. */
static void test_uncovered(void **state)
{
    (void)state;
    for (int slot = 100; slot < 110; slot++) {
        topology.owner[slot] = NO_NODE;
    }
    const struct doctor_finding *finding =
        only(DOCTOR_SLOTS_UNCOVERED, DOCTOR_ERROR, "10 slots have no owner: slots 100-109");
    assert_true(finding->is_repairable);
    assert_int_equal(slotset_count(&finding->slots), 10);
    topology.disagreements = xcalloc(1, sizeof(*topology.disagreements));
    topology.disagreements[0] = (struct topology_disagreement){
        .kind = DISAGREE_OWNER,
        .subject = NO_NODE,
        .first = 100,
        .last = 109,
        .opinion_count = 2,
        .opinions = {{.node = 0, .believer = 0, .believer_count = 3},
                     {.node = 1, .believer = 1, .believer_count = 3}}};
    topology.disagreement_count = 1;
    finding =
        only(DOCTOR_SLOTS_DISPUTED, DOCTOR_ERROR,
             "nodes differ on who owns slots 100-109: 10.0.0.1:6379 (a0000000) and 2 more say "
             "10.0.0.1:6379 (a0000000); 10.0.0.2:6379 (a0010000) and 2 more say 10.0.0.2:6379");
    assert_int_equal(finding->node_count, 2);
    /* While our own operation moves them it is the way of things. */
    struct slotset moving = {0};
    slotset_add_range(&moving, 0, 200);
    input.moving = &moving;
    input.operation_id = "op-1-1";
    assert_true(only(DOCTOR_SLOTS_DISPUTED, DOCTOR_NOTE, "100-109")->is_ours);
}

static void open_slot(int slot, int node, bool is_importing, int peer)
{
    topology.opens =
        xreallocarray(topology.opens, (size_t)topology.open_count + 1, sizeof(*topology.opens));
    topology.opens[topology.open_count++] = (struct topology_open){.slot = (uint16_t)slot,
                                                                   .node = node,
                                                                   .is_importing = is_importing,
                                                                   .peer = topology.nodes[peer].id,
                                                                   .peer_node = peer};
}

/* Neighbours of one node and direction are one finding; ours and others' are two. */
static void test_open(void **state)
{
    (void)state;
    open_slot(5, 0, false, 1);
    open_slot(6, 0, false, 1);
    open_slot(9, 0, false, 1);
    const struct doctor_finding *finding =
        only(DOCTOR_SLOTS_OPEN, DOCTOR_WARNING,
             "10.0.0.1:6379 (a0000000) has slots 5-6,9 marked as migrating to 10.0.0.2:6379");
    assert_true(finding->is_repairable);
    assert_int_equal(finding->node_count, 2);
    struct slotset moving = {0};
    slotset_add(&moving, 9);
    input.moving = &moving;
    input.operation_id = "op-7-1";
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 2);
    assert_int_equal(findings.items[0].severity, DOCTOR_WARNING);
    assert_int_equal(slotset_count(&findings.items[0].slots), 2);
    assert_true(findings.items[1].is_ours);
    assert_non_null(strstr(findings.items[1].text, "op-7-1 is at it"));
}

/* Whose the slot is, is told beside who has it marked; without an end that answers nothing can be
 * done about it. */
static void test_open_owner(void **state)
{
    (void)state;
    open_slot(5, 1, true, 0);
    assert_true(only(DOCTOR_SLOTS_OPEN, DOCTOR_WARNING,
                     "importing from 10.0.0.1:6379 (a0000000); it belongs to 10.0.0.1:6379")
                    ->is_repairable);
    topology.nodes[0].is_reachable = false;
    doctor_examine(&input, &findings);
    assert_false(find(DOCTOR_SLOTS_OPEN)->is_repairable);
    assert_non_null(strstr(find(DOCTOR_SLOTS_OPEN)->remedy, "bring it back"));
    topology.nodes[0].is_reachable = true;
    topology.owner[5] = NO_NODE;
    doctor_examine(&input, &findings);
    assert_non_null(strstr(find(DOCTOR_SLOTS_OPEN)->text, "it belongs to nobody"));
}

/* A replica keeps marks that mean nothing until it takes over. */
static void test_stale_marks(void **state)
{
    (void)state;
    open_slot(77, 3, true, 1);
    only(DOCTOR_STALE_MARKS, DOCTOR_WARNING, "although it is a replica");
    /* Newer servers hand their marks on: what its primary has too is told once. */
    open_slot(77, 0, true, 1);
    only(DOCTOR_SLOTS_OPEN, DOCTOR_WARNING, "10.0.0.1:6379 (a0000000) has slot 77");
}

static void test_dead_nodes(void **state)
{
    (void)state;
    topology.nodes[1].is_failed = true;
    topology.nodes[1].is_reachable = false;
    only(DOCTOR_SLOTS_UNREACHABLE, DOCTOR_ERROR, "has 5462 slots and is down");
    topology.nodes[1].is_failed = false;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 2);
    assert_non_null(find(DOCTOR_SLOTS_UNREACHABLE));
    assert_non_null(find(DOCTOR_NODE_UNREACHABLE));
    topology.nodes[1].is_reachable = true;
    /* A dead replica is told, and that its primary has none left. */
    topology.nodes[4].is_failed = true;
    topology.nodes[4].is_reachable = false;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 2);
    assert_non_null(strstr(find(DOCTOR_NODE_FAILED)->remedy, "--dead"));
    assert_non_null(strstr(find(DOCTOR_REPLICAS_FEW)->text, "no live replica"));
}

/* A node whose agent says why it cannot be read is told in those words. */
static void test_reason(void **state)
{
    (void)state;
    topology.nodes[4].is_reachable = false;
    snprintf(reports[4].reason, TEXT_SIZE, "wrong password");
    doctor_examine(&input, &findings);
    assert_non_null(strstr(find(DOCTOR_NODE_UNREACHABLE)->text, "wrong password"));
}

/* Links to a node that is down are no news. */
static void test_links(void **state)
{
    (void)state;
    struct node_id lost[5];
    for (int i = 0; i < 5; i++) {
        lost[i] = topology.nodes[i + 1].id;
    }
    reports[0].links_down = lost;
    reports[0].link_down_count = 5;
    only(DOCTOR_LINK_DOWN, DOCTOR_WARNING, "10.0.0.4:6379 (a0030000) and 2 more");
    reports[0].link_down_count = 1;
    topology.nodes[1].is_failed = true;
    topology.nodes[1].is_reachable = false;
    only(DOCTOR_SLOTS_UNREACHABLE, DOCTOR_ERROR, "is down");
}

static void test_disagreements(void **state)
{
    (void)state;
    static const struct {
        enum topology_disagreement_kind kind;
        enum doctor_code code;
        const char *part;
    } rows[] = {
        {DISAGREE_MEMBERSHIP, DOCTOR_NODE_MISSING,
         "whether 10.0.0.3:6379 (a0020000) is a member: 10.0.0.1:6379 (a0000000) and 4 more "
         "say yes; 10.0.0.2:6379 (a0010000) says no"},
        {DISAGREE_ROLE, DOCTOR_ROLE_DISPUTED,
         "say a replica of 10.0.0.1:6379 (a0000000); 10.0.0.2:6379 (a0010000) says a replica "
         "of nobody"},
        {DISAGREE_EPOCH, DOCTOR_EPOCH_DISPUTED, "which config_epoch 10.0.0.3:6379"},
        {DISAGREE_ADDRESS, DOCTOR_ADDRESS_DISPUTED, "where 10.0.0.3:6379"}};
    topology.disagreements = xcalloc(1, sizeof(*topology.disagreements));
    topology.disagreement_count = 1;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        topology.disagreements[0] = (struct topology_disagreement){
            .kind = rows[i].kind,
            .subject = 2,
            .opinion_count = 2,
            .opinions = {{.node = 0, .value = 1, .believer = 0, .believer_count = 5},
                         {.node = NO_NODE, .value = 0, .believer = 1, .believer_count = 1}}};
        const struct doctor_finding *finding = only(rows[i].code, DOCTOR_WARNING, rows[i].part);
        assert_string_equal(finding->nodes[0].text, topology.nodes[2].id.text);
        assert_int_equal(finding->is_repairable, rows[i].kind == DISAGREE_MEMBERSHIP);
    }
}

static void test_gossip(void **state)
{
    (void)state;
    topology.collisions = xcalloc(1, sizeof(*topology.collisions));
    topology.collisions[0] = (struct topology_collision){.a = 0, .b = 2, .config_epoch = 42};
    topology.collision_count = 1;
    only(DOCTOR_EPOCH_COLLISION, DOCTOR_WARNING, "both have config_epoch 42");
    topology.collision_count = 0;
    topology.ghosts = xcalloc(1, sizeof(*topology.ghosts));
    topology.ghosts[0] = (struct topology_ghost){.id = {"00112233445566778899aabbccddeeff00112233"},
                                                 .kind = GHOST_NOADDR,
                                                 .seen_by_count = 2};
    topology.ghost_count = 1;
    assert_true(
        only(DOCTOR_GHOST, DOCTOR_WARNING, "ghost 00112233 has no address any more; 2 nodes")
            ->is_repairable);
    topology.ghosts[0].kind = GHOST_HANDSHAKE;
    only(DOCTOR_GHOST, DOCTOR_NOTE, "handshake");
    topology.ghost_count = 0;
    topology.views_missing = 2;
    topology.missing_view_of = 1;
    only(DOCTOR_VIEW_UNKNOWN, DOCTOR_WARNING, "what 10.0.0.2:6379 (a0010000) and 1 others believe");
}

/* A server that was set up anew at its old place leaves its old id behind. */
static void test_shared_address(void **state)
{
    (void)state;
    topology.nodes[4].address = topology.nodes[5].address;
    topology.nodes[4].is_reachable = false;
    doctor_examine(&input, &findings);
    const struct doctor_finding *finding = find(DOCTOR_ADDRESS_SHARED);
    assert_non_null(finding);
    assert_string_equal(finding->nodes[0].text, topology.nodes[4].id.text);
    assert_non_null(strstr(finding->remedy, topology.nodes[4].id.text));
}

static void test_replicas(void **state)
{
    (void)state;
    topology.nodes[3].is_link_up = false;
    only(DOCTOR_REPLICA_LINK, DOCTOR_WARNING, "10.0.0.4:6379 (a0030000) does not hear its primary");
    topology.nodes[3].is_link_up = true;
    topology.nodes[0].repl_offset = DOCTOR_LAG_BYTES + 7;
    topology.nodes[3].repl_offset = 7;
    only(DOCTOR_REPLICA_LAG, DOCTOR_WARNING, "16 MiB of writes behind");
    topology.nodes[3].repl_offset = 8;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 0);
    /* What is wanted is in the spec. */
    struct spec_record spec = {.replicas_per_shard = 2};
    input.spec = &spec;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 3);
    assert_non_null(strstr(findings.items[0].text, "has 1 live replicas, 2 are wanted"));
    /* Nobody has any and none are wanted: a cache, on purpose. */
    input.spec = NULL;
    for (int i = 0; i < 3; i++) {
        topology.shards[i].replica_count = 0;
        topology.nodes[3 + i].is_member = false;
    }
    doctor_examine(&input, &findings);
    assert_true(doctor_is_healthy(&findings));
    assert_non_null(find(DOCTOR_REPLICAS_FEW));
    assert_non_null(find(DOCTOR_SPARE));
}

static void test_hosts(void **state)
{
    (void)state;
    topology.nodes[3].address = topology.nodes[0].address;
    topology.nodes[3].address.port++;
    only(DOCTOR_HOST_SHARD, DOCTOR_WARNING, "host 10.0.0.1 holds primary");
    /* Two of three primaries on one host take the majority with them. */
    topology.nodes[3].address.host[7] = '4';
    snprintf(topology.nodes[1].address.host, HOST_SIZE, "10.0.0.1");
    topology.nodes[1].address.port = 7000;
    only(DOCTOR_HOST_MAJORITY, DOCTOR_WARNING, "host 10.0.0.1 holds 2 of 3 primaries");
    /* With one host in all there is no better place. */
    for (int i = 0; i < topology.node_count; i++) {
        snprintf(topology.nodes[i].address.host, HOST_SIZE, "10.0.0.1");
        topology.nodes[i].address.port = (uint16_t)(7000 + i);
    }
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 0);
}

static void test_memory(void **state)
{
    (void)state;
    topology.nodes[0].maxmemory_bytes = 1000LL << 20;
    topology.nodes[0].used_memory_bytes = 790LL << 20;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 0);
    topology.nodes[0].used_memory_bytes = 810LL << 20;
    only(DOCTOR_MEMORY, DOCTOR_WARNING, "uses 81 % of its maxmemory (810 of 1000 MiB)");
    topology.nodes[0].used_memory_bytes = 960LL << 20;
    only(DOCTOR_MEMORY, DOCTOR_ERROR, "96 %");
    topology.nodes[0].evicts = true;
    only(DOCTOR_MEMORY, DOCTOR_NOTE, "evicts");
    struct spec_record spec = {.replicas_per_shard = -1, .memory_limit_percent = 97};
    input.spec = &spec;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, 0);
}

static void test_states(void **state)
{
    (void)state;
    topology.nodes[0].is_cluster_ok = false;
    only(DOCTOR_NODE_DOWN, DOCTOR_ERROR, "cluster_state:fail");
    topology.nodes[0].is_cluster_ok = true;
    topology.nodes[0].is_suspected = true;
    only(DOCTOR_NODE_SUSPECTED, DOCTOR_WARNING, "suspected");
    topology.nodes[0].is_suspected = false;
    topology.nodes[3].is_loading = true;
    only(DOCTOR_NODE_LOADING, DOCTOR_WARNING, "loading");
    topology.nodes[3].is_loading = false;
    snprintf(topology.nodes[2].version, VERSION_SIZE, "7.2.4");
    only(DOCTOR_VERSIONS, DOCTOR_NOTE,
         "runs redis 7.0.15, 10.0.0.3:6379 (a0020000) runs redis 7.2.4");
    snprintf(topology.nodes[2].version, VERSION_SIZE, "7.0.15");
    for (int slot = 0; slot <= 5460; slot++) {
        topology.owner[slot] = 1;
    }
    topology.nodes[0].slot_count = 0;
    topology.nodes[0].keys = 12;
    only(DOCTOR_ORPHAN_KEYS, DOCTOR_WARNING, "no slot but 12 keys");
}

/* What is not of the cluster is told for what it is. */
static void test_outsiders(void **state)
{
    (void)state;
    int index = made_add_replica(&topology, 0);
    struct topology_node *node = &topology.nodes[index];
    node->is_member = false;
    node->role = NODE_ROLE_PRIMARY;
    reports[index] = (struct node_report){.id = node->id, .known_nodes = 1};
    report_of[index] = &reports[index];
    node->keys = 0;
    only(DOCTOR_SPARE, DOCTOR_NOTE, "make it useful");
    node->keys = 3;
    only(DOCTOR_SPARE, DOCTOR_NOTE, "in no cluster, but holds 3 keys");
    reports[index].slots_owned = 100;
    only(DOCTOR_SPARE, DOCTOR_NOTE, "runs alone, with 100 slots and 3 keys");
    only(DOCTOR_SPARE, DOCTOR_NOTE, "FLUSHALL and CLUSTER RESET HARD it");
    reports[index].known_nodes = 4;
    only(DOCTOR_SPARE, DOCTOR_NOTE, "in another cluster, of 4 nodes, and has 100 slots there");
    node->is_outcast = true;
    only(DOCTOR_RETURNED, DOCTOR_WARNING, "it was removed, and is on again");
    struct task task = {.kind = TASK_LEAVE, .node = node->id};
    struct batch batch = {.kind = BATCH_TASK, .task = &task};
    struct plan plan = {.batches = &batch, .batch_count = 1};
    input.plan = &plan;
    only(DOCTOR_RETURNED, DOCTOR_NOTE, "it redirects clients until it is reset");
    task.kind = TASK_REPLICATE;
    only(DOCTOR_RETURNED, DOCTOR_WARNING, "it was removed, and is on again");
    input.plan = NULL;
    node->is_outcast = false;
    node->is_cluster_enabled = false;
    only(DOCTOR_SPARE, DOCTOR_NOTE, "without cluster mode");
}

/* First sightings are kept while a thing lasts, and forgotten when it is gone. */
static void test_since(void **state)
{
    (void)state;
    open_slot(5, 0, false, 1);
    doctor_examine(&input, &findings);
    doctor_remember(&memory, 1000, &findings);
    assert_true(findings.items[0].since_wall_ms == 1000);
    topology.nodes[3].is_link_up = false;
    doctor_examine(&input, &findings);
    doctor_remember(&memory, 5000, &findings);
    assert_true(find(DOCTOR_SLOTS_OPEN)->since_wall_ms == 1000);
    assert_true(find(DOCTOR_REPLICA_LINK)->since_wall_ms == 5000);
    topology.open_count = 0;
    doctor_examine(&input, &findings);
    doctor_remember(&memory, 6000, &findings);
    topology.open_count = 1;
    doctor_examine(&input, &findings);
    doctor_remember(&memory, 7000, &findings);
    assert_true(find(DOCTOR_SLOTS_OPEN)->since_wall_ms == 7000);
    assert_true(find(DOCTOR_REPLICA_LINK)->since_wall_ms == 5000);
}

/* More than a person may ever read are counted, and the worst are told first. */
static void test_limit(void **state)
{
    (void)state;
    for (int slot = 0; slot < DOCTOR_FINDINGS_MAX + 10; slot++) {
        /* Each with a peer of its own is a finding of its own. */
        open_slot(slot, 0, false, 1);
        snprintf(topology.opens[slot].peer.text, NODE_ID_LEN + 1, "%040x", slot + 1);
    }
    doctor_examine(&input, &findings);
    assert_int_equal(findings.count, DOCTOR_FINDINGS_MAX);
    assert_int_equal(findings.left_out, 10);
    doctor_remember(&memory, 1000, &findings);
    assert_int_equal(memory.count, DOCTOR_FINDINGS_MAX);
    topology.nodes[0].is_cluster_ok = false;
    topology.open_count = 4;
    doctor_examine(&input, &findings);
    assert_int_equal(findings.items[0].code, DOCTOR_NODE_DOWN);
    assert_int_equal(findings.count, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_healthy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uncovered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale_marks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_links, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disagreements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gossip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared_address, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replicas, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outsiders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_since, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
