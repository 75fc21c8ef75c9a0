/* test_golden.c — bytes of today and of every earlier version stay readable and mean the same.
 *
 * Each tests/golden/wire/<name>.hex is what an encoder of some version wrote for the sample of that
 * name. A change of the schema that alters one breaks mixed fleets and stored journals: add a new
 * sample beside it instead. Set DROVER_GOLDEN_WRITE=1 to write the files of new samples; files that
 * exist are never overwritten. */
#include "common/wire/message_codec.h"
#include "common/wire/record_codec.h"
#include "helper_sample.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEX_COLUMNS 32

static void golden_path(const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/../../golden/wire/%s.hex", TEST_SOURCE_DIR, name);
}

static void golden_write(const char *name, const struct strbuf *bytes)
{
    char path[512];
    golden_path(name, path, sizeof(path));
    FILE *file = fopen(path, "wx");
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < bytes->len; i++) {
        bool is_last = i + 1 == bytes->len || i % HEX_COLUMNS == HEX_COLUMNS - 1;
        (void)fprintf(file, "%02x%s", (unsigned)(unsigned char)bytes->data[i], is_last ? "\n" : "");
    }
    assert_int_equal(fclose(file), 0);
}

static void golden_read(const char *name, struct strbuf *out)
{
    char path[512];
    golden_path(name, path, sizeof(path));
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail_msg("%s is missing; run with DROVER_GOLDEN_WRITE=1", path);
    }
    unsigned value = 0;
    while (fscanf(file, "%2x", &value) == 1) {
        strbuf_add_char(out, (char)value);
    }
    (void)fclose(file);
    assert_true(out->len > 0);
}

static void check_bytes(const char *name, const struct strbuf *encoded, struct strbuf *stored)
{
    if (getenv("DROVER_GOLDEN_WRITE") != NULL) {
        golden_write(name, encoded);
    }
    golden_read(name, stored);
    assert_int_equal(encoded->len, stored->len);
    assert_memory_equal(encoded->data, stored->data, stored->len);
}

static void check_message(const char *name, const struct message *message)
{
    struct strbuf encoded = {0};
    struct strbuf stored = {0};
    struct message back;
    struct err err = {0};
    message_encode(message, &encoded);
    check_bytes(name, &encoded, &stored);
    assert_int_equal(message_decode(stored.data, stored.len, &back, &err), 0);
    assert_message_equal(message, &back);
    message_release(&back);
    strbuf_release(&encoded);
    strbuf_release(&stored);
}

static void check_record(const char *name, const struct record *record)
{
    struct strbuf encoded = {0};
    struct strbuf stored = {0};
    struct record back;
    struct err err = {0};
    record_encode(record, &encoded);
    check_bytes(name, &encoded, &stored);
    assert_int_equal(record_decode(stored.data, stored.len, &back, &err), 0);
    assert_record_equal(record, &back);
    record_release(&back);
    strbuf_release(&encoded);
    strbuf_release(&stored);
}

static struct node_id node(char digit)
{
    struct node_id id = {0};
    memset(id.text, digit, NODE_ID_LEN);
    return id;
}

static void test_small_messages(void **state)
{
    (void)state;
    const struct message hello = {.kind = MESSAGE_HELLO,
                                  .as.hello = {.agent = {"host-1"},
                                               .incarnation = 0x1122334455667788,
                                               .proto_version = 1,
                                               .version = "0.1.0",
                                               .cluster = "shop",
                                               .credential = "secret",
                                               .fence_seen = 318}};
    const struct message welcome = {.kind = MESSAGE_WELCOME,
                                    .as.welcome = {.session = 42,
                                                   .fence = 318,
                                                   .report_interval_ms = 2000,
                                                   .proto_version = 1,
                                                   .version = "0.1.0"}};
    const struct message refusal = {.kind = MESSAGE_REFUSAL,
                                    .as.refusal = {.code = ERR_NOT_LEADER,
                                                   .text = "c2 is not the leader",
                                                   .leader_url = "tcp://10.0.0.1:7412"}};
    check_message("hello-1", &hello);
    check_message("welcome-1", &welcome);
    check_message("refusal-1", &refusal);
}

static struct order_status sample_status(void)
{
    struct order_status order = {
        .id = {"op-318-1", 7, 2},
        .state = ORDER_RUNNING,
        .slots_open = 1,
        .keys_moved = 500,
        .bytes_moved = 70000,
        .call_us_p50 = 900,
        .call_us_max = -1,
        .retries = 1,
        .is_replica_synced = true,
        .reason = "copying",
        .big_key_count = 1,
        .big_keys = {{.key = "cart:{9}", .slot = 4432, .bytes = 64 << 20}}};
    slotset_add_range(&order.slots_done, 0, 99);
    slotset_add(&order.slots_done, 200);
    return order;
}

static void test_report(void **state)
{
    (void)state;
    struct open_slot open = {.slot = 42, .is_importing = true, .peer = node('b')};
    struct node_id down = node('c');
    struct node_report nodes[2] = {
        {.address = {"10.0.0.1", 6379},
         .id = node('a'),
         .is_reachable = true,
         .age_ms = 15,
         .run_id = "r1",
         .version = "7.0.15",
         .role = NODE_ROLE_PRIMARY,
         .is_cluster_enabled = true,
         .is_cluster_ok = true,
         .repl_offset = 123456789,
         .used_memory_bytes = 1 << 30,
         .maxmemory_bytes = 0,
         .evicts = true,
         .system_memory_bytes = -1,
         .keys = 1000,
         .ops_per_s = 5,
         .clients = 7,
         .ping_us = 80,
         .known_nodes = 6,
         .config_epoch = 3,
         .current_epoch = 9,
         .slots_owned = 5461,
         .view_digest = 0xdeadbeef,
         .open_slots = &open,
         .open_slot_count = 1,
         .links_down = &down,
         .link_down_count = 1},
        {.address = {"::1", 6380},
         .reason_code = ERR_UNAVAILABLE,
         .reason = "connection refused",
         .age_ms = -1,
         .is_valkey = true,
         .is_loading = true,
         .is_link_up = true,
         .role = NODE_ROLE_REPLICA,
         .slots_owned = -1},
    };
    struct order_status order = sample_status();
    char text[] = "a:1 myself\n";
    struct view_text view = {
        .digest = 0xdeadbeef, .node = node('a'), .text = text, .len = sizeof(text) - 1};
    const struct message report = {.kind = MESSAGE_REPORT,
                                   .as.report = {.agent = {"host-1"},
                                                 .session = 42,
                                                 .sequence = 5,
                                                 .fence_acked = 318,
                                                 .wait_ms = 5000,
                                                 .has_nodes = true,
                                                 .nodes = nodes,
                                                 .node_count = 2,
                                                 .orders = &order,
                                                 .order_count = 1,
                                                 .views = &view,
                                                 .view_count = 1}};
    check_message("report-1", &report);
}

static void test_instructions(void **state)
{
    (void)state;
    struct order orders[2] = {
        {.id = {"op-318-1", 8, 1},
         .fence = 318,
         .valid_for_ms = 30000,
         .kind = ORDER_MOVE,
         .source = node('a'),
         .target = node('b'),
         .source_address = {"10.0.0.1", 6379},
         .target_address = {"10.0.0.2", 6379},
         .source_run_id = "r1",
         .speed = MOVE_SPEED_SOFT,
         .big_key_bytes_max = 512 << 20},
        {.id = {"op-318-2", 0, 1},
         .fence = 318,
         .valid_for_ms = 30000,
         .kind = ORDER_SCAN,
         .source = node('a'),
         .source_address = {"10.0.0.1", 6379}},
    };
    slotset_add_range(&orders[0].slots, 100, 199);
    slotset_add(&orders[0].slots, 16383);
    slotset_fill(&orders[1].slots);
    struct renewal renewal = {.id = {"op-318-1", 7, 2}, .valid_for_ms = 30000};
    struct order_id stop = {"op-318-1", 6, 1};
    struct order_id forget = {"op-318-1", 5, 1};
    uint64_t wanted = 0xdeadbeef;
    struct address address = {"10.0.0.9", 6379};
    const struct message message = {.kind = MESSAGE_INSTRUCTIONS,
                                    .as.instructions = {.fence = 318,
                                                        .orders = orders,
                                                        .order_count = 2,
                                                        .renewals = &renewal,
                                                        .renewal_count = 1,
                                                        .stops = &stop,
                                                        .stop_count = 1,
                                                        .forgets = &forget,
                                                        .forget_count = 1,
                                                        .views_wanted = &wanted,
                                                        .view_wanted_count = 1,
                                                        .nodes = &address,
                                                        .node_count = 1}};
    check_message("instructions-1", &message);
    struct message probing = {.kind = MESSAGE_INSTRUCTIONS,
                              .as.instructions = {.fence = 318, .probe_now = true}};
    check_message("instructions-2", &probing);
}

static struct task sample_task(void)
{
    struct task task = {.kind = TASK_ADD_SLOTS,
                        .flags = TASK_EPOCH,
                        .node = node('a'),
                        .node_address = {"10.0.0.1", 6379},
                        .peer = node('b'),
                        .peer_address = {"10.0.0.2", 6380},
                        .detail = "7"};
    slotset_add_range(&task.slots, 0, 5460);
    return task;
}

/* What came with plans that grow: tasks, hosts, addresses; beside the samples of before. */
static void test_tasks(void **state)
{
    (void)state;
    struct order order = {.id = {"op-318-3", 2, 1},
                          .fence = 318,
                          .valid_for_ms = 30000,
                          .kind = ORDER_TASK,
                          .task = sample_task()};
    const struct message message = {
        .kind = MESSAGE_INSTRUCTIONS,
        .as.instructions = {.fence = 318, .orders = &order, .order_count = 1}};
    const struct message report = {.kind = MESSAGE_REPORT,
                                   .as.report = {.agent = {"host-1"},
                                                 .session = 42,
                                                 .sequence = 6,
                                                 .has_host = true,
                                                 .host = {.zone = "z1",
                                                          .host = "10.0.0.1",
                                                          .can_start = true,
                                                          .memory_free_bytes = 1 << 30,
                                                          .port_first = 7000,
                                                          .port_last = 7099}}};
    struct task task = sample_task();
    const struct record batch = {.kind = RECORD_BATCH,
                                 .as.batch = {.index = 4,
                                              .kind = BATCH_TASK,
                                              .task = &task,
                                              .source = node('a'),
                                              .target = node('b'),
                                              .state = BATCH_ORDERED,
                                              .attempt = 1,
                                              .agent = {"host-1"}}};
    struct record move = {.kind = RECORD_BATCH,
                          .as.batch = {.index = 5,
                                       .source = node('a'),
                                       .target = node('b'),
                                       .source_run_id = "0123456789abcdef0123456789abcdef01234567",
                                       .state = BATCH_WAITING}};
    slotset_add(&move.as.batch.slots, 7);
    const struct record plan = {.kind = RECORD_PLAN,
                                .as.plan = {.operation_id = "op-318-3",
                                            .topology_digest = 0xfeed,
                                            .batch_count = 6,
                                            .settled_count = 4,
                                            .slot_count = 20000}};
    struct address addresses[2] = {{"10.0.0.4", 7000}, {"::1", 7001}};
    const struct record operation = {.kind = RECORD_OPERATION,
                                     .as.operation = {.id = "op-318-3",
                                                      .request = {.kind = OPERATION_CREATE,
                                                                  .addresses = addresses,
                                                                  .address_count = 2,
                                                                  .primaries_wanted = 2,
                                                                  .replicas_wanted = -1,
                                                                  .flags = REQUEST_WITHOUT_SLOTS},
                                                      .state = OPERATION_RUNNING,
                                                      .slots_total = 20000}};
    check_message("instructions-3", &message);
    check_message("report-2", &report);
    check_record("batch-2", &batch);
    check_record("batch-3", &move);
    check_record("plan-3", &plan);
    check_record("operation-2", &operation);
}

/* What came with work outside the servers: provisioners and drain hooks. Samples written before
 * have none of it and are read by the tests above. */
static void test_outside(void **state)
{
    (void)state;
    struct order_status status = {.id = {"op-318-4", 1, 1},
                                  .state = ORDER_DONE,
                                  .call_us_p50 = -1,
                                  .call_us_max = -1,
                                  .made = {"10.0.0.9", 7000}};
    const struct message report = {.kind = MESSAGE_REPORT,
                                   .as.report = {.agent = {"host-1"},
                                                 .session = 42,
                                                 .sequence = 7,
                                                 .has_host = true,
                                                 .host = {.zone = "z1",
                                                          .host = "10.0.0.1",
                                                          .memory_free_bytes = -1,
                                                          .offers_provision = true,
                                                          .offers_traffic = true},
                                                 .orders = &status,
                                                 .order_count = 1}};
    struct order orders[2] = {
        {.id = {"op-318-4", 1, 1},
         .fence = 318,
         .valid_for_ms = 30000,
         .kind = ORDER_TASK,
         .task = {.kind = TASK_PROVISION,
                  .detail = "agent host-1\nrequest op-318-4-1\nmaxmemory 0\nrole primary\n"}},
        {.id = {"op-318-4", 2, 1},
         .fence = 318,
         .valid_for_ms = 30000,
         .kind = ORDER_TASK,
         .task = {.kind = TASK_TRAFFIC,
                  .flags = TASK_UP,
                  .node = node('a'),
                  .node_address = {"10.0.0.1", 6379},
                  .detail = "agent host-1\nrole replica\n"}},
    };
    const struct message message = {
        .kind = MESSAGE_INSTRUCTIONS,
        .as.instructions = {.fence = 318, .orders = orders, .order_count = 2}};
    struct task provision = orders[0].task;
    struct task release = {.kind = TASK_RELEASE,
                           .node = node('c'),
                           .node_address = {"10.0.0.9", 7000},
                           .detail = "agent host-1\n"};
    const struct record made = {.kind = RECORD_BATCH,
                                .as.batch = {.index = 1,
                                             .kind = BATCH_TASK,
                                             .task = &provision,
                                             .state = BATCH_DONE,
                                             .attempt = 1,
                                             .agent = {"host-1"},
                                             .made = {"10.0.0.9", 7000}}};
    const struct record released = {.kind = RECORD_BATCH,
                                    .as.batch = {.index = 2,
                                                 .kind = BATCH_TASK,
                                                 .task = &release,
                                                 .source = node('c'),
                                                 .state = BATCH_ORDERED,
                                                 .attempt = 1,
                                                 .agent = {"host-1"}}};
    check_message("report-3", &report);
    check_message("instructions-4", &message);
    check_record("batch-4", &made);
    check_record("batch-5", &released);
}

static void test_records(void **state)
{
    (void)state;
    const struct record leader = {.kind = RECORD_LEADER,
                                  .as.leader = {"c1", "0123456789abcdef0123456789abcdef",
                                                "tcp://10.0.0.1:7412", "http://10.0.0.1:7411"}};
    const struct record spec = {.kind = RECORD_SPEC,
                                .as.spec = {.cluster_name = "shop",
                                            .primaries_wanted = 3,
                                            .replicas_per_shard = -1,
                                            .memory_limit_percent = 80}};
    const struct record adopted = {.kind = RECORD_SPEC,
                                   .as.spec = {.replicas_per_shard = -1,
                                               .seeds = {{"10.0.0.1", 6379}, {"fd00::2", 7000}},
                                               .seed_count = 2}};
    const struct record agent = {.kind = RECORD_AGENT,
                                 .as.agent = {{"host-1"}, 0x1122334455667788, 318}};
    const struct record plan = {.kind = RECORD_PLAN,
                                .as.plan = {.operation_id = "op-318-1",
                                            .topology_digest = 0xfeed,
                                            .batch_count = 12,
                                            .slot_count = 4096,
                                            .keys_estimate = 1000000,
                                            .bytes_estimate = UINT64_C(1) << 40,
                                            .duration_estimate_ms = 61000}};
    struct big_key big = {.key = "cart:{9}", .slot = 4432, .bytes = 64 << 20};
    struct record scanned = plan;
    scanned.as.plan.is_scanned = true;
    scanned.as.plan.big_keys = &big;
    scanned.as.plan.big_key_count = 1;
    struct record batch = {.kind = RECORD_BATCH,
                           .as.batch = {.index = 3,
                                        .source = node('a'),
                                        .target = node('b'),
                                        .keys_estimate = 10,
                                        .bytes_estimate = 2000,
                                        .state = BATCH_FAILED,
                                        .attempt = 2,
                                        .agent = {"host-1"},
                                        .keys_moved = 4,
                                        .bytes_moved = 800,
                                        .reason_code = ERR_TIMEOUT,
                                        .reason = "no answer from 10.0.0.2:6379"}};
    slotset_add_range(&batch.as.batch.slots, 5, 9);
    slotset_add(&batch.as.batch.slots, 11);
    slotset_add_range(&batch.as.batch.slots_done, 5, 6);
    check_record("leader-1", &leader);
    check_record("spec-1", &spec);
    check_record("spec-2", &adopted);
    check_record("agent-1", &agent);
    check_record("plan-1", &plan);
    check_record("plan-2", &scanned);
    check_record("batch-1", &batch);
}

static void test_operation(void **state)
{
    (void)state;
    struct node_weight weights[2] = {{node('a'), 0.5}, {node('b'), 2}};
    struct node_id sources[2] = {node('c'), node('d')};
    const struct record operation = {.kind = RECORD_OPERATION,
                                     .as.operation = {.id = "op-318-1",
                                                      .request = {.kind = OPERATION_RESHARD,
                                                                  .weights = weights,
                                                                  .weight_count = 2,
                                                                  .threshold_percent = 2.5,
                                                                  .sources = sources,
                                                                  .source_count = 2,
                                                                  .target = node('e'),
                                                                  .slot_count = 1000,
                                                                  .node = node('f'),
                                                                  .speed = MOVE_SPEED_FAST,
                                                                  .parallel_moves_max = 4,
                                                                  .needs_approval = true,
                                                                  .requested_by = "ann"},
                                                      .state = OPERATION_HELD,
                                                      .reason_code = ERR_LIMIT,
                                                      .reason = "a key of 600 MiB",
                                                      .created_wall_ms = 1767225600000,
                                                      .started_wall_ms = 1767225601000,
                                                      .ended_wall_ms = 0,
                                                      .slots_total = 1000,
                                                      .slots_moved = 10,
                                                      .keys_moved = 400,
                                                      .bytes_moved = 56000}};
    check_record("operation-1", &operation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_messages), cmocka_unit_test(test_report),
        cmocka_unit_test(test_instructions),   cmocka_unit_test(test_records),
        cmocka_unit_test(test_operation),      cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
