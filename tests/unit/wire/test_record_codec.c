/* test_record_codec.c — records survive the store; damaged values are refused and never crash. */
#include "common/wire/record_codec.h"
#include "common/model/store_op.h"
#include "common/wire/wire_value.h"
#include "helper_sample.h"
#include "record.pb-c.h"

#include "common/base/alloc.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KIND_COUNT 6

static enum record_kind kind_of(int round)
{
    return (enum record_kind)(1 + round % KIND_COUNT);
}

/* What is encoded comes back field by field. */
static void test_round_trip(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    for (int round = 0; round < 600; round++) {
        struct record record;
        struct record back;
        struct strbuf bytes = {0};
        struct err err = {0};
        sample_record(&prng, kind_of(round), round % 9, &record);
        record_encode(&record, &bytes);
        assert_int_equal(record_decode(bytes.data, bytes.len, &back, &err), 0);
        assert_record_equal(&record, &back);
        record_release(&record);
        record_release(&back);
        strbuf_release(&bytes);
    }
}

static void test_damage_never_crashes(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 12);
    for (int round = 0; round < 6000; round++) {
        struct record record;
        struct strbuf bytes = {0};
        sample_record(&prng, kind_of(round), 4, &record);
        record_encode(&record, &bytes);
        record_release(&record);
        size_t size = prng_chance(&prng, 1, 3) ? (size_t)prng_below(&prng, bytes.len) : bytes.len;
        int damages = (int)prng_range(&prng, 0, 4);
        for (int i = 0; i < damages && size > 0; i++) {
            bytes.data[prng_below(&prng, size)] = (char)prng_below(&prng, 256);
        }
        void *exact = xmemdup(bytes.data, size == 0 ? 1 : size);
        struct record back = {.kind = 77};
        struct err err = {0};
        int code = record_decode(exact, size, &back, &err);
        if (code == 0) {
            record_release(&back);
        } else {
            assert_int_equal(err.code, code);
            assert_true(err.text[0] != '\0');
            assert_int_equal(back.kind, 77);
        }
        free(exact);
        strbuf_release(&bytes);
    }
}

/* The largest operation and the largest batch stay under what the store takes. */
static void test_largest_records_fit_the_store(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 13);
    struct record record;
    struct strbuf bytes = {0};
    sample_record(&prng, RECORD_OPERATION, REQUEST_NODES_MAX, &record);
    struct operation_request *request = &record.as.operation.request;
    request->weight_count = REQUEST_NODES_MAX;
    request->source_count = REQUEST_NODES_MAX;
    for (int i = 0; i < REQUEST_NODES_MAX; i++) {
        memset(request->weights[i].node.text, 'a', NODE_ID_LEN);
        memset(request->sources[i].text, 'b', NODE_ID_LEN);
    }
    /* Nodes are named by id or by address; the desk takes no request that does both. */
    request->address_count = 0;
    slotset_clear(&request->slots);
    record_encode(&record, &bytes);
    assert_true(bytes.len < STORE_VALUE_SIZE_MAX);
    request->weight_count = 0;
    request->source_count = 0;
    request->address_count = REQUEST_ADDRESSES_MAX;
    for (int i = 0; i < REQUEST_ADDRESSES_MAX; i++) {
        size_t len = REQUEST_HOSTS_BYTES_MAX / REQUEST_ADDRESSES_MAX;
        memset(request->addresses[i].host, 'h', len);
        request->addresses[i].host[len] = '\0';
        request->addresses[i].port = UINT16_MAX;
    }
    strbuf_clear(&bytes);
    record_encode(&record, &bytes);
    assert_true(bytes.len < STORE_VALUE_SIZE_MAX);
    request->address_count = 0;
    request->source_count = REQUEST_NODES_MAX;
    for (int slot = 0; slot < SLOT_COUNT; slot += 2) {
        slotset_add(&request->slots, slot);
    }
    strbuf_clear(&bytes);
    record_encode(&record, &bytes);
    assert_true(bytes.len < STORE_VALUE_SIZE_MAX);
    record_release(&record);

    sample_record(&prng, RECORD_BATCH, 0, &record);
    struct batch *batch = &record.as.batch;
    slotset_clear(&batch->slots);
    for (int i = 0; i < BATCH_SLOTS_MAX; i++) {
        slotset_add(&batch->slots, i * 8); /* every slot a run of its own */
    }
    batch->slots_done = batch->slots;
    strbuf_clear(&bytes);
    record_encode(&record, &bytes);
    assert_true(bytes.len < STORE_VALUE_SIZE_MAX);
    struct record back;
    struct err err = {0};
    assert_int_equal(record_decode(bytes.data, bytes.len, &back, &err), 0);
    assert_record_equal(&record, &back);
    strbuf_release(&bytes);
}

static int decode_packed(const Drover__Record *record, struct err *err)
{
    struct strbuf bytes = {0};
    struct record out;
    wire_pack(&record->base, &bytes);
    int code = record_decode(bytes.data, bytes.len, &out, err);
    strbuf_release(&bytes);
    if (code == 0) {
        record_release(&out);
    }
    return code;
}

/* Numbers that are none, states of a newer version and missing parts are refused with the fitting
 * code. */
static void test_bad_operation(void **state)
{
    (void)state;
    struct err err = {0};
    uint8_t node[20] = {1};
    Drover__NodeWeight weight = DROVER__NODE_WEIGHT__INIT;
    Drover__NodeWeight *weights[] = {&weight};
    Drover__OperationRequest request = DROVER__OPERATION_REQUEST__INIT;
    Drover__Operation operation = DROVER__OPERATION__INIT;
    Drover__Record record = DROVER__RECORD__INIT;
    weight.node = (ProtobufCBinaryData){.len = sizeof(node), .data = node};
    weight.weight = 1;
    request.kind = DROVER__OPERATION_KIND__OPERATION_KIND_REBALANCE;
    request.weights = weights;
    request.n_weights = 1;
    operation.id = wire_put_text("op-1-1");
    operation.state = DROVER__OPERATION_STATE__OPERATION_STATE_RUNNING;
    operation.request = &request;
    record.body_case = DROVER__RECORD__BODY_OPERATION;
    record.operation = &operation;
    assert_int_equal(decode_packed(&record, &err), 0);
    weight.weight = NAN;
    assert_int_equal(decode_packed(&record, &err), ERR_PROTOCOL);
    weight.weight = -1;
    assert_int_equal(decode_packed(&record, &err), ERR_PROTOCOL);
    weight.weight = 0;
    weight.node.len = 19;
    assert_int_equal(decode_packed(&record, &err), ERR_PROTOCOL);
    weight.node.len = 20;
    operation.state = (Drover__OperationState)99;
    assert_int_equal(decode_packed(&record, &err), ERR_VERSION);
    operation.state = DROVER__OPERATION_STATE__OPERATION_STATE_UNSPECIFIED;
    assert_int_equal(decode_packed(&record, &err), ERR_PROTOCOL);
    operation.state = DROVER__OPERATION_STATE__OPERATION_STATE_DONE;
    operation.request = NULL;
    assert_int_equal(decode_packed(&record, &err), ERR_PROTOCOL);
    assert_string_equal(err.text, "operation: request is missing");
}

static void test_unknown_record_kind(void **state)
{
    (void)state;
    const uint8_t bytes[] = {14 << 3 | 2, 0};
    struct record out;
    struct err err = {0};
    assert_int_equal(record_decode(bytes, sizeof(bytes), &out, &err), ERR_VERSION);
    assert_int_equal(record_decode(bytes, 0, &out, &err), ERR_PROTOCOL);
    char *large = xcalloc(STORE_VALUE_SIZE_MAX + 1, 1);
    assert_int_equal(record_decode(large, STORE_VALUE_SIZE_MAX + 1, &out, &err), ERR_LIMIT);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage_never_crashes),
        cmocka_unit_test(test_largest_records_fit_the_store),
        cmocka_unit_test(test_bad_operation),
        cmocka_unit_test(test_unknown_record_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
