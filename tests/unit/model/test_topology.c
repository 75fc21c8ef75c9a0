/* test_topology.c — the merge of views and reports, what it calls settled, and how nodes are found
 * by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "tests/unit/model/helper_cluster.h"

#define ROW(...) ((struct fake_row){__VA_ARGS__})

static int find(const struct fake_cluster *cluster, int index)
{
    struct node_id id = fake_id(index);
    return topology_find(&cluster->topology, &id);
}

static void assert_settled(const struct fake_cluster *cluster)
{
    struct strbuf why = {0};
    if (!topology_is_settled(&cluster->topology, &why)) {
        fail_msg("not settled: %s", strbuf_text(&why));
    }
    strbuf_release(&why);
}

/* Three primaries with a replica each that all agree: one view, three shards, settled. */
static void test_at_rest(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, true);
    fake_build(&cluster);
    const struct topology *topology = &cluster.topology;
    assert_settled(&cluster);
    assert_int_equal(topology->node_count, 6);
    assert_int_equal(topology->shard_count, 3);
    assert_int_equal(topology->view_count, 1);
    assert_int_equal(topology->views[0].believer_count, 6);
    assert_int_equal(topology->disagreement_count, 0);
    assert_int_equal(topology->ghost_count, 0);
    for (int i = 1; i < topology->node_count; i++) {
        assert_true(node_id_compare(&topology->nodes[i - 1].id, &topology->nodes[i].id) < 0);
    }
    int primary = find(&cluster, 1);
    const struct topology_shard *shard = &topology->shards[topology->nodes[primary].shard];
    assert_int_equal(shard->primary, primary);
    assert_int_equal(shard->replica_count, 1);
    assert_int_equal(topology->replicas[shard->first_replica], find(&cluster, 4));
    assert_int_equal(topology->nodes[find(&cluster, 4)].primary, primary);
    assert_int_equal(topology->nodes[primary].slot_count, 5461);
    assert_int_equal(topology->owner[5461], primary);
    struct slotset slots;
    struct strbuf text = {0};
    topology_node_slots(topology, primary, &slots);
    slotset_format(&slots, &text);
    assert_string_equal(strbuf_text(&text), "5461-10921");
    strbuf_release(&text);
    fake_release(&cluster);
}

/* A slot just moved: the target's claim with its higher config_epoch wins over what others still
 * believe. */
static void test_higher_epoch_owns(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, false);
    for (int i = 0; i < 3; i++) {
        bool knows = i == 1;
        cluster.views[i].rows[0] = ROW("master", -1, 1, knows ? "1-5460" : "0-5460");
        cluster.views[i].rows[1] =
            ROW("master", -1, knows ? 4 : 2, knows ? "0 5461-10921" : "5461-10921");
    }
    fake_build(&cluster);
    assert_int_equal(cluster.topology.owner[0], find(&cluster, 1));
    assert_int_equal(cluster.topology.nodes[find(&cluster, 1)].config_epoch, 4);
    assert_int_equal(
        cluster.topology.views[0].believer_count + cluster.topology.views[1].believer_count, 3);
    fake_assert_unsettled(&cluster, "nodes disagree: ");
    /* Two disagreements: the epoch of node 1 and the owner of slot 0. */
    assert_int_equal(cluster.topology.disagreement_count, 2);
    const struct topology_disagreement *owner = &cluster.topology.disagreements[1];
    assert_int_equal(owner->kind, DISAGREE_OWNER);
    assert_int_equal(owner->first, 0);
    assert_int_equal(owner->last, 0);
    assert_int_equal(owner->opinion_count, 2);
    struct strbuf text = {0};
    topology_format_disagreement(&cluster.topology, 1, &text);
    assert_non_null(strstr(strbuf_text(&text), "owner of slot 0: "));
    assert_non_null(strstr(strbuf_text(&text),
                           "10.0.0.1:6379 (00000000) says 10.0.0.1:6379 (00000000) and 1 more"));
    strbuf_release(&text);
    fake_release(&cluster);
}

/* A node that is alive and says itself that it gave the slot away does not own it, whatever its
 * config_epoch. */
static void test_denied_claim_loses(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, false);
    for (int i = 0; i < 3; i++) {
        bool knows = i != 2;
        cluster.views[i].rows[0] = ROW("master", -1, 9, knows ? "1-5460" : "0-5460");
        cluster.views[i].rows[1] = ROW("master", -1, 4, knows ? "0 5461-10921" : "5461-10921");
    }
    fake_build(&cluster);
    assert_int_equal(cluster.topology.owner[0], find(&cluster, 1));
    fake_release(&cluster);
}

/* A dead owner keeps its slots until somebody claims them. */
static void test_dead_primary(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, true);
    fake_set_all(&cluster, 0, ROW("master,fail", -1, 1, "0-5460"));
    cluster.reports[0].is_reachable = false;
    cluster.reports[0].age_ms = 42000;
    fake_build(&cluster);
    int dead = find(&cluster, 0);
    assert_int_equal(cluster.topology.owner[0], dead);
    assert_true(cluster.topology.nodes[dead].is_failed);
    assert_false(cluster.topology.nodes[dead].is_reachable);
    fake_assert_unsettled(&cluster,
                          "10.0.0.1:6379 (00000000) is out of reach: last report 42 s ago");
    fake_release(&cluster);
    /* Nor does the report of an agent that fell silent count. */
    fake_init(&cluster, 3, true);
    cluster.reports[0].age_ms = 10001;
    fake_build(&cluster);
    fake_assert_unsettled(&cluster, "last report 10 s ago");
    fake_release(&cluster);
    /* A member that no agent reports. */
    fake_init(&cluster, 3, true);
    cluster.is_unreported[2] = true;
    fake_build(&cluster);
    assert_int_equal(cluster.topology.nodes[find(&cluster, 2)].age_ms, -1);
    assert_string_equal(cluster.topology.nodes[find(&cluster, 2)].address.host, "10.0.0.3");
    fake_assert_unsettled(&cluster,
                          "10.0.0.3:6379 (20000002) is a member, but no agent reports it");
    fake_release(&cluster);
}

/* A dead replica, as the cluster itself agrees, stands in nobody's way; a silent one does. */
static void test_dead_replica(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, true);
    fake_set_all(&cluster, 5, ROW("slave,fail", 2, 3, ""));
    cluster.reports[5].is_reachable = false;
    fake_build(&cluster);
    assert_settled(&cluster);
    fake_release(&cluster);
    fake_init(&cluster, 3, true);
    cluster.reports[5].is_reachable = false;
    fake_build(&cluster);
    fake_assert_unsettled(&cluster, "10.0.0.6:6379 (50000005) is out of reach");
    fake_release(&cluster);
}

/* Open slots are told by each node itself; source and target both appear. */
static void test_open_slots(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    char migrating[128];
    char importing[128];
    fake_init(&cluster, 3, false);
    snprintf(migrating, sizeof(migrating), "0-5460 [42->-%s]", fake_id(1).text);
    snprintf(importing, sizeof(importing), "5461-10921 [42-<-%s]", fake_id(0).text);
    cluster.views[0].rows[0].slots = migrating;
    cluster.views[1].rows[1].slots = importing;
    fake_build(&cluster);
    assert_int_equal(cluster.topology.view_count, 1);
    assert_int_equal(cluster.topology.open_count, 2);
    assert_int_equal(cluster.topology.opens[0].node, find(&cluster, 0));
    assert_int_equal(cluster.topology.opens[0].peer_node, find(&cluster, 1));
    assert_false(cluster.topology.opens[0].is_importing);
    assert_true(cluster.topology.opens[1].is_importing);
    fake_assert_unsettled(&cluster,
                          "slot 42 is open: 10.0.0.1:6379 (00000000) migrates it to 10.0.0.2:6379 "
                          "(10000001); and 1 more");
    fake_release(&cluster);
}

static void test_collision(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, false);
    fake_set_all(&cluster, 2, ROW("master", -1, 1, "10922-16383"));
    fake_build(&cluster);
    assert_int_equal(cluster.topology.collision_count, 1);
    assert_int_equal(cluster.topology.collisions[0].config_epoch, 1);
    fake_assert_unsettled(
        &cluster, "10.0.0.1:6379 (00000000) and 10.0.0.3:6379 (20000002) both have config epoch 1");
    fake_release(&cluster);
}

/* Forgotten by some but not by all: told with who says what. */
static void test_membership(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, true);
    cluster.views[1].rows[5].flags = NULL;
    fake_build(&cluster);
    assert_int_equal(cluster.topology.disagreements[0].kind, DISAGREE_MEMBERSHIP);
    fake_assert_unsettled(&cluster, "whether the cluster has 10.0.0.6:6379 (50000005): ");
    fake_assert_unsettled(&cluster, "no says 10.0.0.2:6379 (10000001)");
    fake_release(&cluster);
    fake_init(&cluster, 3, true);
    cluster.views[1].rows[5] = ROW("slave", 1, 2, "");
    fake_build(&cluster);
    assert_int_equal(cluster.topology.disagreements[0].kind, DISAGREE_ROLE);
    fake_assert_unsettled(&cluster, "role of 10.0.0.6:6379 (50000005): ");
    fake_release(&cluster);
}

/* A spare server that an agent sees beside the cluster is no member and no disagreement. */
static void test_spare_node(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 4, false);
    fake_set_all(&cluster, 2, ROW("master", -1, 3, "8192-16383"));
    for (int i = 0; i < 3; i++) {
        cluster.views[i].rows[3].flags = NULL;
        cluster.views[3].rows[i].flags = NULL;
    }
    cluster.views[3].rows[3] = ROW("master", -1, 0, "");
    cluster.reports[3].is_cluster_ok = false;
    fake_build(&cluster);
    assert_int_equal(cluster.topology.node_count, 4);
    assert_false(cluster.topology.nodes[find(&cluster, 3)].is_member);
    assert_int_equal(cluster.topology.nodes[find(&cluster, 3)].shard, NO_SHARD);
    assert_int_equal(cluster.topology.shard_count, 3);
    assert_settled(&cluster);
    fake_release(&cluster);
    /* Nor is a server that is alone in the world and owns nothing: of it a cluster is made. */
    fake_init(&cluster, 1, false);
    fake_set_all(&cluster, 0, ROW("master", -1, 0, ""));
    fake_build(&cluster);
    assert_false(cluster.topology.nodes[0].is_member);
    assert_true(cluster.topology.nodes[0].is_alone);
    fake_assert_unsettled(&cluster, "no node belongs to a cluster yet");
    fake_release(&cluster);
    /* With slots it is one. */
    fake_init(&cluster, 1, false);
    fake_set_all(&cluster, 0, ROW("master", -1, 1, "0-16383"));
    fake_build(&cluster);
    assert_true(cluster.topology.nodes[0].is_member);
    assert_settled(&cluster);
    fake_release(&cluster);
}

/* Servers that know only themselves, and no cluster: each is a spare, nothing is merged. */
static void test_only_spares(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, false);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            cluster.views[i].rows[k].flags = NULL;
        }
        cluster.views[i].rows[i] = ROW("master", -1, 0, "");
    }
    fake_build(&cluster);
    assert_int_equal(cluster.topology.node_count, 3);
    assert_int_equal(cluster.topology.disagreement_count, 0);
    for (int i = 0; i < 3; i++) {
        assert_false(cluster.topology.nodes[i].is_member);
        assert_true(cluster.topology.nodes[i].is_alone);
    }
    fake_release(&cluster);
}

/* Another cluster beside ours is set apart: its slots, roles and open slots are not merged into
 * ours, whichever config epochs it has. What somebody named to be added does not become ours by
 * being bigger. */
static void test_other_cluster(void **state)
{
    (void)state;
    for (int guests = 0; guests < 2; guests++) {
        struct fake_cluster cluster;
        fake_init(&cluster, 5, false);
        /* Nodes 0 and 1 are ours, 2 to 4 another cluster with higher epochs. */
        for (int viewer = 0; viewer < 5; viewer++) {
            for (int k = 0; k < 5; k++) {
                cluster.views[viewer].rows[k].flags = NULL;
            }
        }
        for (int viewer = 0; viewer < 2; viewer++) {
            cluster.views[viewer].rows[0] = ROW("master", -1, 1, "0-8191");
            cluster.views[viewer].rows[1] = ROW("master", -1, 2, "8192-16383");
        }
        for (int viewer = 2; viewer < 5; viewer++) {
            cluster.views[viewer].rows[2] = ROW("master", -1, 11, "0-5000");
            cluster.views[viewer].rows[3] = ROW("master", -1, 12, "5001-10000");
            cluster.views[viewer].rows[4] = ROW("master", -1, 13, "10001-16383");
            cluster.is_guest[viewer] = guests == 1;
        }
        fake_build(&cluster);
        int ours = find(&cluster, guests == 1 ? 0 : 2);
        int theirs = find(&cluster, guests == 1 ? 2 : 0);
        assert_true(cluster.topology.nodes[ours].is_member);
        assert_false(cluster.topology.nodes[theirs].is_member);
        assert_int_equal(cluster.topology.owner[0], ours);
        assert_int_equal(cluster.topology.shard_count, guests == 1 ? 2 : 3);
        assert_int_equal(cluster.topology.disagreement_count, 0);
        assert_int_equal(cluster.topology.ghost_count, 0);
        assert_settled(&cluster);
        fake_release(&cluster);
    }
}

/* A node that was removed and is on again with its old files lists everybody. It is no member, and
 * what it believes is no disagreement; unless it says that it owns slots. */
static void test_returned_node(void **state)
{
    (void)state;
    static const char *const meetings[] = {NULL, "handshake"};
    struct fake_cluster cluster;
    for (int i = 0; i < 2; i++) {
        fake_init(&cluster, 3, true);
        for (int viewer = 0; viewer < 5; viewer++) {
            cluster.views[viewer].rows[5].flags = NULL;
        }
        cluster.views[0].rows[5].flags = meetings[i];
        fake_build(&cluster);
        const struct topology_node *node = &cluster.topology.nodes[find(&cluster, 5)];
        assert_false(node->is_member);
        assert_false(node->is_alone);
        assert_int_equal(node->is_outcast, i == 0); /* somebody is about to meet it */
        assert_int_equal(node->shard, NO_SHARD);
        assert_int_equal(cluster.topology.disagreement_count, 0);
        if (i == 0) {
            assert_settled(&cluster);
        }
        fake_release(&cluster);
    }
    /* Two that know each other are no better. */
    fake_init(&cluster, 3, true);
    for (int viewer = 0; viewer < 4; viewer++) {
        cluster.views[viewer].rows[4].flags = NULL;
        cluster.views[viewer].rows[5].flags = NULL;
    }
    fake_build(&cluster);
    assert_true(cluster.topology.nodes[find(&cluster, 4)].is_outcast);
    assert_true(cluster.topology.nodes[find(&cluster, 5)].is_outcast);
    assert_settled(&cluster);
    fake_release(&cluster);
    fake_init(&cluster, 4, false);
    for (int viewer = 0; viewer < 3; viewer++) {
        cluster.views[viewer].rows[3].flags = NULL;
    }
    fake_build(&cluster);
    assert_true(cluster.topology.nodes[find(&cluster, 3)].is_member);
    assert_true(cluster.topology.disagreement_count > 0);
    fake_release(&cluster);
}

/* Handshakes and left-overs without address are ghosts, not nodes. */
static void test_ghosts(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 5, false);
    fake_set_all(&cluster, 2, ROW("master", -1, 3, "6553-16383"));
    fake_set_all(&cluster, 3, ROW("handshake", -1, 0, ""));
    fake_set_all(&cluster, 4, ROW("noaddr,slave,fail", 1, 0, ""));
    cluster.is_unreported[3] = true;
    cluster.is_unreported[4] = true;
    fake_build(&cluster);
    assert_int_equal(cluster.topology.node_count, 3);
    assert_int_equal(cluster.topology.ghost_count, 2);
    assert_int_equal(cluster.topology.ghosts[0].kind, GHOST_HANDSHAKE);
    assert_int_equal(cluster.topology.ghosts[0].seen_by_count, 3);
    assert_int_equal(cluster.topology.ghosts[1].kind, GHOST_NOADDR);
    fake_assert_unsettled(&cluster, "10.0.0.1:6379 (00000000) is in handshake with 10.0.0.4:6379");
    fake_release(&cluster);
    /* Known only to a node that is itself away: a ghost too, and no reason to wait. */
    fake_init(&cluster, 4, true);
    fake_set_all(&cluster, 7, ROW(.flags = NULL));
    cluster.views[6].rows[7] = ROW("slave", 3, 4, "");
    cluster.is_unreported[7] = true;
    cluster.reports[6].is_reachable = false;
    cluster.views[7].rows[7] = ROW("slave", 3, 4, "");
    for (int i = 0; i < 6; i++) {
        cluster.views[i].rows[6].flags = "slave,fail";
    }
    fake_build(&cluster);
    assert_int_equal(cluster.topology.ghost_count, 1);
    assert_int_equal(cluster.topology.ghosts[0].kind, GHOST_UNKNOWN);
    assert_settled(&cluster);
    fake_release(&cluster);
}

static void test_other_reasons(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    struct node_id down[1] = {fake_id(1)};
    fake_init(&cluster, 3, false);
    cluster.reports[0].links_down = down;
    cluster.reports[0].link_down_count = 1;
    fake_build(&cluster);
    fake_assert_unsettled(
        &cluster, "the bus link from 10.0.0.1:6379 (00000000) to 10.0.0.2:6379 (10000001) is down");
    fake_release(&cluster);
    fake_init(&cluster, 3, false);
    cluster.reports[2].is_cluster_ok = false;
    fake_build(&cluster);
    fake_assert_unsettled(&cluster, "10.0.0.3:6379 (20000002) says that the cluster is not ok");
    fake_release(&cluster);
    fake_init(&cluster, 3, false);
    cluster.reports[2].is_loading = true;
    fake_build(&cluster);
    fake_assert_unsettled(&cluster, "is still loading its data");
    fake_release(&cluster);
    fake_init(&cluster, 3, false);
    cluster.views[0].rows[1].flags = "master,fail?";
    fake_build(&cluster);
    fake_assert_unsettled(&cluster, "10.0.0.2:6379 (10000001) is suspected to be down");
    fake_release(&cluster);
    fake_init(&cluster, 3, false);
    for (int i = 0; i < 3; i++) {
        cluster.reports[i].is_reachable = false;
    }
    fake_build(&cluster);
    fake_assert_unsettled(&cluster, "no member of the cluster can be reached");
    fake_release(&cluster);
    struct topology empty;
    struct strbuf why = {0};
    topology_init(&empty);
    assert_false(topology_is_settled(&empty, &why));
    assert_string_equal(strbuf_text(&why), "no node has been observed yet");
    strbuf_release(&why);
}

/* A digest that no view was handed in for. */
static void test_missing_view(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 2, false);
    fake_build(&cluster);
    cluster.reports[1].view_digest ^= 1;
    const struct nodes_view *views[] = {&cluster.parsed[0]};
    struct topology_seen seen[] = {{.report = &cluster.reports[0]},
                                   {.report = &cluster.reports[1]}};
    struct topology_input input = {.seen = seen,
                                   .seen_count = 2,
                                   .views = views,
                                   .view_digests = &cluster.reports[0].view_digest,
                                   .view_count = 1,
                                   .age_ms_max = 1};
    struct err err = {0};
    assert_int_equal(topology_build(&cluster.topology, &input, &err), 0);
    assert_int_equal(cluster.topology.views_missing, 1);
    fake_assert_unsettled(&cluster, "the view of 10.0.0.2:6379 (10000001) is not known yet");
    seen[1].report = &cluster.reports[0];
    assert_int_equal(topology_build(&cluster.topology, &input, &err), ERR_INVALID);
    assert_int_equal(cluster.topology.views_missing, 1); /* untouched on failure */
    input.seen_count = TOPOLOGY_NODES_MAX + 1;
    assert_int_equal(topology_build(&cluster.topology, &input, &err), ERR_LIMIT);
    fake_release(&cluster);
}

/* Of a server that knows nobody and owns nothing no view is needed to say that it is no member: its
 * report says it. */
static void test_lone_node_without_view(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    struct err err = {0};
    fake_init(&cluster, 1, false);
    fake_build(&cluster);
    struct topology_seen seen = {.report = &cluster.reports[0]};
    struct topology_input input = {.seen = &seen, .seen_count = 1, .age_ms_max = 1};
    cluster.reports[0].known_nodes = 1;
    cluster.reports[0].slots_owned = 0;
    assert_int_equal(topology_build(&cluster.topology, &input, &err), 0);
    assert_false(cluster.topology.nodes[0].is_member);
    assert_int_equal(cluster.topology.views_missing, 0);
    cluster.reports[0].slots_owned = 5;
    assert_int_equal(topology_build(&cluster.topology, &input, &err), 0);
    assert_true(cluster.topology.nodes[0].is_member);
    assert_int_equal(cluster.topology.views_missing, 1);
    fake_release(&cluster);
}

/* The digest that binds plans follows roles, owners and open slots, not epochs, health or order. */
static void test_digest(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 3, true);
    fake_build(&cluster);
    uint64_t digest = topology_digest(&cluster.topology);
    fake_release(&cluster);
    fake_init(&cluster, 3, true);
    fake_set_all(&cluster, 0, ROW("master", -1, 77, "0-5460"));
    cluster.reports[0].keys = 5;
    cluster.reports[1].address.port = 7777;
    cluster.reports[2].is_cluster_ok = false;
    fake_build(&cluster);
    assert_true(topology_digest(&cluster.topology) == digest);
    int16_t owner[SLOT_COUNT];
    memcpy(owner, cluster.topology.owner, sizeof(owner));
    owner[7] = (int16_t)find(&cluster, 1);
    assert_false(topology_digest_with_owners(&cluster.topology, owner) == digest);
    fake_release(&cluster);
    fake_init(&cluster, 3, true);
    fake_set_all(&cluster, 5, ROW("slave", 1, 3, ""));
    fake_build(&cluster);
    assert_false(topology_digest(&cluster.topology) == digest);
    fake_release(&cluster);
    fake_init(&cluster, 3, true);
    char migrating[128];
    snprintf(migrating, sizeof(migrating), "0-5460 [42->-%s]", fake_id(1).text);
    cluster.views[0].rows[0].slots = migrating;
    fake_build(&cluster);
    assert_false(topology_digest(&cluster.topology) == digest);
    fake_release(&cluster);
}

static void expect_node(const struct fake_cluster *cluster, const char *text, int index)
{
    struct err err = {0};
    int node = topology_find_node(&cluster->topology, text, &err);
    if (node != find(cluster, index)) {
        fail_msg("\"%s\" found %d: %s", text, node, err.text);
    }
}

static void expect_no_node(const struct fake_cluster *cluster,
                           const char *text,
                           int code,
                           const char *part)
{
    struct err err = {0};
    assert_int_equal(topology_find_node(&cluster->topology, text, &err), code);
    if (strstr(err.text, part) == NULL && strstr(err.hint, part) == NULL) {
        fail_msg("neither \"%s\" nor \"%s\" contains \"%s\"", err.text, err.hint, part);
    }
}

/* Full id, unique start of an id, host:port; near matches for typing errors. */
static void test_find_node(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_init(&cluster, 6, true);
    fake_build(&cluster);
    expect_node(&cluster, fake_id(3).text, 3);
    expect_node(&cluster, "30000003", 3);
    expect_node(&cluster, "b000", 11);
    expect_node(&cluster, "10.0.0.5:6379", 4);
    expect_no_node(&cluster, "300", ERR_INVALID, "too short");
    expect_no_node(&cluster, "3001", ERR_NOT_FOUND, "10.0.0.4:6379 (30000003)");
    expect_no_node(&cluster, "10.0.0.5:6380", ERR_NOT_FOUND, "10.0.0.5:6379");
    expect_no_node(&cluster, "nonsense", ERR_NOT_FOUND, "did you mean");
    expect_no_node(&cluster, "", ERR_NOT_FOUND, "no node is named");
    /* Two ids that start alike. */
    memcpy(cluster.topology.nodes[2].id.text, cluster.topology.nodes[1].id.text, 20);
    expect_no_node(&cluster, "10000", ERR_INVALID, "names more than one node");
    fake_release(&cluster);
    struct topology empty;
    struct err err = {0};
    topology_init(&empty);
    assert_int_equal(topology_find_node(&empty, "abcdef", &err), ERR_NOT_FOUND);
    assert_string_equal(err.hint, "no node has been observed yet");
}

/* 1,000 nodes: parse, digest, merge. The text is what a node prints; sizes stay within a few MB. */
static void test_thousand_nodes(void **state)
{
    (void)state;
    struct strbuf text = {0};
    struct nodes_view view = {0};
    struct err err = {0};
    struct node_report *reports = xcalloc(1000, sizeof(struct node_report));
    struct topology_seen *seen = xcalloc(1000, sizeof(struct topology_seen));
    for (int i = 0; i < 1000; i++) {
        strbuf_addf(&text, "%08x%032x 10.0.%d.%d:6379@16379 %smaster - 0 0 %d connected %d-%d\n",
                    (unsigned)i * 2654435u, i, i / 250, i % 250, i == 0 ? "myself," : "", i + 1,
                    SLOT_COUNT * i / 1000, SLOT_COUNT * (i + 1) / 1000 - 1);
    }
    assert_int_equal(nodes_view_parse(&view, text.data, text.len, &err), 0);
    uint64_t digest = nodes_view_digest(&view);
    for (int i = 0; i < 1000; i++) {
        reports[i] = (struct node_report){.id = view.rows[i].id,
                                          .is_reachable = true,
                                          .is_cluster_ok = true,
                                          .view_digest = digest};
        nodes_row_address(&view.rows[i], &reports[i].address);
        seen[i].report = &reports[i];
    }
    const struct nodes_view *views[] = {&view};
    struct topology_input input = {.seen = seen,
                                   .seen_count = 1000,
                                   .views = views,
                                   .view_digests = &digest,
                                   .view_count = 1,
                                   .age_ms_max = 1000};
    struct topology topology;
    topology_init(&topology);
    assert_int_equal(topology_build(&topology, &input, &err), 0);
    assert_int_equal(topology.shard_count, 1000);
    assert_true(topology_is_settled(&topology, NULL));
    assert_true(sizeof(struct topology_node) <= 1024);
    assert_true(view.arena.used_bytes + sizeof(view) + 1024 * sizeof(struct nodes_row) <
                400 * 1024);
    topology_release(&topology);
    nodes_view_release(&view);
    strbuf_release(&text);
    free(reports);
    free(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_rest),
        cmocka_unit_test(test_higher_epoch_owns),
        cmocka_unit_test(test_denied_claim_loses),
        cmocka_unit_test(test_dead_primary),
        cmocka_unit_test(test_dead_replica),
        cmocka_unit_test(test_open_slots),
        cmocka_unit_test(test_collision),
        cmocka_unit_test(test_membership),
        cmocka_unit_test(test_spare_node),
        cmocka_unit_test(test_only_spares),
        cmocka_unit_test(test_other_cluster),
        cmocka_unit_test(test_returned_node),
        cmocka_unit_test(test_ghosts),
        cmocka_unit_test(test_other_reasons),
        cmocka_unit_test(test_missing_view),
        cmocka_unit_test(test_lone_node_without_view),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_find_node),
        cmocka_unit_test(test_thousand_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
