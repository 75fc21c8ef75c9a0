/* test_store_etcd_json.c — the gateway's texts as 3.4.23 and 3.5.30 write them, and texts nobody
 * should write. */
#include "common/base/alloc.h"
#include "common/io/store_etcd_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER                                                                                    \
    "\"header\":{\"cluster_id\":\"14841639068965178418\",\"member_id\":\"1\",\"revision\":\"7\"," \
    "\"raft_term\":\"2\"}"

static int decode(enum store_request_kind kind, const char *text, struct store_result *result)
{
    struct store_request request = {.kind = kind, .lease_id = 5};
    struct etcd_header header;
    struct strbuf body = {0};
    struct err err = {0};
    strbuf_add_text(&body, text);
    *result = (struct store_result){.req_id = 9};
    int rc = etcd_decode_result(&request, "/p/", &body, &header, result, &err);
    if (rc == 0) {
        assert_true(header.cluster_id == 14841639068965178418U);
        assert_int_equal(header.raft_term, 2);
        assert_int_equal(result->revision, 7);
    } else {
        assert_int_equal(rc, ERR_PROTOCOL);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(result->req_id, 9);
    strbuf_release(&body);
    return rc;
}

/* Members that are zero are absent; numbers come as strings or as numbers; foreign keys are left
 * out. */
static void test_answers(void **state)
{
    (void)state;
    struct store_result result;
    assert_int_equal(decode(STORE_RANGE, "{" HEADER "}", &result), 0);
    assert_int_equal(result.kv_count, 0);
    store_result_release(&result);
    assert_int_equal(
        decode(STORE_RANGE,
               "{" HEADER
               ", \"kvs\": [{\"key\":\"L3AvYQ==\",\"create_revision\":\"3\",\"mod_revision\":4,"
               "\"version\":\"2\",\"value\":\"AP8=\",\"lease\":\"5\"},{\"key\":\"L3AvYg==\","
               "\"create_revision\":\"6\",\"mod_revision\":\"6\"},{\"key\":\"L3EvYg==\"},{\"key\":"
               "\"L3Av\"}],"
               "\"count\":\"2\"}",
               &result),
        0);
    assert_int_equal(result.kv_count, 2);
    assert_string_equal(result.kvs[0].key, "a");
    assert_int_equal(result.kvs[0].value.len, 2);
    assert_memory_equal(result.kvs[0].value.data, "\x00\xff", 2);
    assert_int_equal(result.kvs[0].create_revision, 3);
    assert_int_equal(result.kvs[0].mod_revision, 4);
    assert_int_equal(result.kvs[0].lease_id, 5);
    assert_int_equal(result.kvs[1].value.len, 0);
    assert_int_equal(result.kvs[1].lease_id, 0);
    store_result_release(&result);
    assert_int_equal(decode(STORE_TXN, "{" HEADER ",\"succeeded\":true,\"responses\":[]}", &result),
                     0);
    assert_true(result.succeeded);
    assert_int_equal(decode(STORE_TXN, "{" HEADER "}", &result), 0);
    assert_false(result.succeeded);
    assert_int_equal(decode(STORE_TXN, "{" HEADER ",\"succeeded\":\"true\"}", &result), 0);
    assert_false(result.succeeded);
    assert_int_equal(decode(STORE_LEASE_KEEPALIVE,
                            "{\"result\":{" HEADER ",\"ID\":\"5\",\"TTL\":\"10\"}}\n", &result),
                     0);
    assert_int_equal(result.ttl_ms, 10000);
    assert_int_equal(
        decode(STORE_LEASE_KEEPALIVE, "{\"result\":{" HEADER ",\"ID\":\"5\"}}", &result), 0);
    assert_int_equal(result.ttl_ms, 0);
    assert_int_equal(decode(STORE_LEASE_GRANT, "{" HEADER ",\"ID\":\"5\",\"TTL\":\"2\"}", &result),
                     0);
    assert_int_equal(result.ttl_ms, 2000);
}

/* What is not an answer is ERR_PROTOCOL, never a wrong result. */
static void test_broken_answers(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"header\":7}",
        "{\"header\":{\"cluster_id\":\"1\"}}",
        "<html>proxy</html>",
        "{" HEADER ",\"kvs\":[{\"key\":\"L3AvYQ=\",\"mod_revision\":\"1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L3Av*Q==\",\"mod_revision\":\"1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L3AvYQ==\",\"value\":5,\"mod_revision\":\"1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L3AvYQ==\",\"value\":\"=AAA\",\"mod_revision\":\"1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L3AvYQ==\"}]}",
        "{" HEADER
        ",\"kvs\":[{\"key\":\"L3AvYg==\",\"mod_revision\":\"1\"},{\"key\":\"L3AvYQ==\",\"mod_"
        "revision\":\"1\"}]}",
    };
    struct store_result result;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(decode(STORE_RANGE, texts[i], &result), ERR_PROTOCOL);
        assert_int_equal(result.kv_count, 0);
    }
    assert_int_equal(decode(STORE_LEASE_KEEPALIVE,
                            "{\"result\":{" HEADER ",\"ID\":\"6\",\"TTL\":\"10\"}}", &result),
                     ERR_PROTOCOL);
    assert_int_equal(
        decode(STORE_LEASE_KEEPALIVE, "{" HEADER ",\"ID\":\"5\",\"TTL\":\"10\"}", &result),
        ERR_PROTOCOL);
    assert_int_equal(decode(STORE_LEASE_GRANT, "{" HEADER ",\"ID\":\"5\"}", &result), ERR_PROTOCOL);
}

/* Both generations of error bodies, and none at all. */
static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *message;
    } cases[] = {
        {"{\"error\":\"no such lease\",\"message\":\"no such lease\",\"code\":5}", 5,
         "no such lease"},
        {"{\"code\":5, \"message\":\"no such lease\"}", 5, "no such lease"},
        {"{\"error\":{\"grpc_code\":16,\"http_code\":401,\"message\":\"bad\",\"http_status\":"
         "\"Unauthorized\"}}",
         16, "bad"},
        {"{\"error\":{\"code\":16, \"message\":\"bad\"}}", 16, "bad"},
        {"{\"error\":\"only this\"}", -1, "only this"},
        {"Not Found\n", -1, "HTTP status 404"},
        {"", -1, "HTTP status 404"},
        {"{\"code\":\"5\"}", -1, "HTTP status 404"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct strbuf body = {0};
        struct etcd_error error;
        strbuf_add_text(&body, cases[i].text);
        etcd_decode_error(&body, 404, &error);
        assert_int_equal(error.code, cases[i].code);
        assert_string_equal(error.message, cases[i].message);
        assert_int_equal(error.http_status, 404);
        strbuf_release(&body);
    }
}

/* Watch lines: created, puts without a type, deletions, cancellation by compaction, errors. */
static void test_watch_lines(void **state)
{
    (void)state;
    struct etcd_watch_message message;
    static const char created[] = "{\"result\":{" HEADER ",\"created\":true}}";
    assert_int_equal(etcd_decode_watch(created, strlen(created), "/p/", &message, NULL), 0);
    assert_true(message.is_created);
    assert_int_equal(message.changes.count, 0);
    static const char events[] = "{\"result\":{" HEADER
                                 ",\"events\":[{\"kv\":{\"key\":\"L3AvYQ==\",\"create_revision\":"
                                 "\"5\",\"mod_revision\":\"6\","
                                 "\"value\":\"eA==\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":"
                                 "\"L3AvYg==\",\"mod_revision\":\"7\"}}]}}";
    assert_int_equal(etcd_decode_watch(events, strlen(events), "/p/", &message, NULL), 0);
    assert_int_equal(message.changes.count, 2);
    assert_false(message.changes.items[0].is_delete);
    assert_string_equal(message.changes.items[0].kv.key, "a");
    assert_string_equal(strbuf_text(&message.changes.items[0].kv.value), "x");
    assert_true(message.changes.items[1].is_delete);
    assert_int_equal(message.changes.items[1].kv.mod_revision, 7);
    store_change_list_release(&message.changes);
    static const char compacted[] =
        "{\"result\":{" HEADER ",\"canceled\":true,\"compact_revision\":\"40\"}}";
    assert_int_equal(etcd_decode_watch(compacted, strlen(compacted), "/p/", &message, NULL), 0);
    assert_true(message.is_canceled);
    assert_int_equal(message.compact_revision, 40);
    static const char failed[] =
        "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}";
    assert_int_equal(etcd_decode_watch(failed, strlen(failed), "/p/", &message, NULL), 0);
    assert_true(message.is_error);
    assert_int_equal(message.error.code, 14);
    assert_int_equal(etcd_decode_watch("{\"res", 5, "/p/", &message, NULL), ERR_PROTOCOL);
}

/* What is sent, to the letter: a misspelt member would be ignored by etcd and the guard with it. */
static void test_requests(void **state)
{
    (void)state;
    struct store_request request = {.kind = STORE_TXN};
    const char *path = NULL;
    store_request_add_compare(&request, "leader", STORE_CREATE_REVISION, 12);
    store_request_add_compare(&request, "op", STORE_MOD_REVISION, 0);
    strbuf_add_text(&store_request_add_put(&request, "op", 77)->value, "v");
    store_request_add_delete(&request, "old");
    char *text = etcd_encode_request(&request, "/p/", &path);
    assert_string_equal(path, "/v3/kv/txn");
    assert_string_equal(
        text,
        "{\"compare\":[{\"key\":\"L3AvbGVhZGVy\",\"result\":\"EQUAL\",\"target\":\"CREATE\","
        "\"create_revision\":\"12\"},{\"key\":\"L3Avb3A=\",\"result\":\"EQUAL\",\"target\":\"MOD\","
        "\"mod_revision\":\"0\"}],\"success\":[{\"request_put\":{\"key\":\"L3Avb3A=\",\"value\":"
        "\"dg==\","
        "\"lease\":\"77\"}},{\"request_delete_range\":{\"key\":\"L3Avb2xk\"}}]}");
    free(text);
    store_request_release(&request);
    text = etcd_encode_list("/p/", "", 0);
    assert_string_equal(text, "{\"key\":\"L3Av\",\"range_end\":\"L3Aw\"}");
    free(text);
    text = etcd_encode_list("/p/", "\xff\xff", 3); /* bytes that cannot be raised */
    assert_string_equal(text, "{\"key\":\"L3Av//8=\",\"range_end\":\"L3Aw\",\"revision\":\"3\"}");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),  cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_errors),   cmocka_unit_test(test_watch_lines),
        cmocka_unit_test(test_requests),
    };
    return cmocka_run_group_tests_name("etcd gateway texts", tests, NULL, NULL);
}
