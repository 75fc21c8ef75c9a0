/* fuzz_etcd_json.c — answers of something that claims to be etcd: to a range, to a transaction, of
 * a watch, of a login, and errors. */
#include "tests/fuzz/fuzz.h"

#include "common/io/store_etcd_json.h"

#define PREFIX "/drover/"

static void decode_as(const struct store_request *request, const struct strbuf *body)
{
    struct etcd_header header = {0};
    struct store_result result = {.req_id = 1};
    struct err err = {0};
    if (etcd_decode_result(request, PREFIX, body, &header, &result, &err) != 0) {
        CHECK(err.text[0] != '\0');
    }
    store_result_release(&result);
}

static void decode_results(const struct strbuf *body)
{
    struct store_request request = {
        .req_id = 1, .kind = STORE_RANGE, .key = xstrdup("a/"), .is_prefix = true};
    decode_as(&request, body);
    store_request_release(&request);
    request = (struct store_request){.req_id = 1, .kind = STORE_TXN};
    store_request_add_compare(&request, "leader", STORE_CREATE_REVISION, 7);
    strbuf_add_text(&store_request_add_put(&request, "a/1", 0)->value, "x");
    decode_as(&request, body);
    store_request_release(&request);
    request = (struct store_request){.req_id = 1, .kind = STORE_LEASE_KEEPALIVE, .lease_id = 5};
    decode_as(&request, body);
    store_request_release(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf body = {0};
    struct etcd_watch_message message = {0};
    struct etcd_error error;
    struct err err = {0};
    char *token = NULL;
    strbuf_add(&body, data, size);
    decode_results(&body);
    if (etcd_decode_watch(strbuf_text(&body), body.len, PREFIX, &message, &err) == 0) {
        store_change_list_release(&message.changes);
    }
    if (etcd_decode_token(&body, &token, &err) == 0) {
        free(token);
    }
    etcd_decode_error(&body, 400, &error);
    CHECK(memchr(error.message, '\0', sizeof(error.message)) != NULL);
    strbuf_release(&body);
    return 0;
}
