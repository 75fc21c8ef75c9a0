/* test_message_codec.c — messages survive the wire; what is wrong is refused and never crashes. */
#include "common/wire/message_codec.h"
#include "common/wire/wire_value.h"
#include "drover.pb-c.h"
#include "helper_sample.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const enum message_kind kinds[] = {MESSAGE_HELLO, MESSAGE_WELCOME, MESSAGE_REFUSAL,
                                          MESSAGE_REPORT, MESSAGE_INSTRUCTIONS};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* What is encoded comes back field by field, for values from the whole of every range. */
static void test_round_trip(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    for (int round = 0; round < 300; round++) {
        struct message message;
        struct message back;
        struct strbuf bytes = {0};
        struct err err = {0};
        sample_message(&prng, kinds[(size_t)round % KIND_COUNT], round % 7, &message);
        message_encode(&message, &bytes);
        assert_int_equal(message_decode(bytes.data, bytes.len, &back, &err), 0);
        assert_message_equal(&message, &back);
        message_release(&message);
        message_release(&back);
        strbuf_release(&bytes);
    }
}

/* The same message has the same bytes, and encoding appends. */
static void test_encoding_appends_and_is_stable(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 2);
    struct message message;
    sample_message(&prng, MESSAGE_REPORT, 3, &message);
    struct strbuf bytes = {0};
    message_encode(&message, &bytes);
    size_t once = bytes.len;
    message_encode(&message, &bytes);
    assert_int_equal(bytes.len, 2 * once);
    assert_memory_equal(bytes.data, bytes.data + once, once);
    message_release(&message);
    strbuf_release(&bytes);
}

/* A damaged message is either refused with a code and a text, or is a valid message; the output is
 * not touched when it is refused. */
static void test_damage_never_crashes(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 3);
    for (int round = 0; round < 4000; round++) {
        struct message message;
        struct strbuf bytes = {0};
        sample_message(&prng, kinds[(size_t)round % KIND_COUNT], 3, &message);
        message_encode(&message, &bytes);
        message_release(&message);
        size_t size = bytes.len;
        if (prng_chance(&prng, 1, 3)) {
            size = (size_t)prng_below(&prng, size);
        }
        int damages = (int)prng_range(&prng, 0, 4);
        for (int i = 0; i < damages && size > 0; i++) {
            /* Mostly near the front, where the structure is. */
            size_t at =
                (size_t)prng_below(&prng, prng_chance(&prng, 1, 2) && size > 40 ? 40 : size);
            bytes.data[at] = (char)prng_below(&prng, 256);
        }
        /* Memory of its own, so that a read past the end is seen. */
        void *exact = xmemdup(bytes.data, size == 0 ? 1 : size);
        struct message back = {.kind = 77};
        struct err err = {0};
        int code = message_decode(exact, size, &back, &err);
        if (code == 0) {
            message_release(&back);
        } else {
            assert_int_equal(err.code, code);
            assert_true(err.text[0] != '\0');
            assert_int_equal(back.kind, 77);
        }
        free(exact);
        strbuf_release(&bytes);
    }
}

static int decode_packed(const Drover__Message *message, struct err *err)
{
    struct strbuf bytes = {0};
    struct message out;
    wire_pack(&message->base, &bytes);
    int code = message_decode(bytes.data, bytes.len, &out, err);
    strbuf_release(&bytes);
    if (code == 0) {
        message_release(&out);
    }
    return code;
}

/* A kind of message from a newer peer is refused as such, with its number and what to do. */
static void test_unknown_kind_is_refused(void **state)
{
    (void)state;
    const uint8_t bytes[] = {15 << 3 | 2, 0}; /* field 15, a message without fields */
    struct message out;
    struct err err = {0};
    assert_int_equal(message_decode(bytes, sizeof(bytes), &out, &err), ERR_VERSION);
    assert_non_null(strstr(err.text, "15"));
    assert_true(err.hint[0] != '\0');
    assert_int_equal(message_decode(bytes, 0, &out, &err), ERR_PROTOCOL);
}

/* Unknown fields inside a known message are skipped. */
static void test_unknown_field_is_skipped(void **state)
{
    (void)state;
    struct message message = {.kind = MESSAGE_REFUSAL,
                              .as.refusal = {.code = ERR_AUTH, .text = "no"}};
    struct strbuf bytes = {0};
    message_encode(&message, &bytes);
    const uint8_t unknown[] = {200u % 128u | 128u, 0x0c, 5}; /* field 201, varint 5 */
    bytes.data[1] = (char)(bytes.data[1] + (char)sizeof(unknown));
    strbuf_add(&bytes, unknown, sizeof(unknown));
    struct message out;
    struct err err = {0};
    assert_int_equal(message_decode(bytes.data, bytes.len, &out, &err), 0);
    assert_message_equal(&message, &out);
    strbuf_release(&bytes);
}

static Drover__Hello good_hello(void)
{
    Drover__Hello hello = DROVER__HELLO__INIT;
    hello.agent = wire_put_text("host-1");
    hello.proto_version = 1;
    return hello;
}

/* Each bad field of a hello is refused and named. */
static void test_bad_hello(void **state)
{
    (void)state;
    struct err err = {0};
    Drover__Message message = DROVER__MESSAGE__INIT;
    Drover__Hello hello = good_hello();
    message.body_case = DROVER__MESSAGE__BODY_HELLO;
    message.hello = &hello;
    assert_int_equal(decode_packed(&message, &err), 0);

    uint8_t nul[] = {'a', 0, 'b'};
    hello.version = (ProtobufCBinaryData){.len = 3, .data = nul};
    assert_int_equal(decode_packed(&message, &err), ERR_PROTOCOL);
    assert_string_equal(err.text, "hello: version has a NUL inside");

    hello = good_hello();
    hello.agent = wire_put_text("a b");
    assert_int_equal(decode_packed(&message, &err), ERR_PROTOCOL);
    hello.agent = wire_put_text("");
    assert_int_equal(decode_packed(&message, &err), ERR_PROTOCOL);
    assert_string_equal(err.text, "hello: agent is missing");

    hello = good_hello();
    hello.proto_version = 0;
    assert_int_equal(decode_packed(&message, &err), ERR_PROTOCOL);

    hello = good_hello();
    char longest[128];
    memset(longest, 'x', sizeof(longest));
    longest[127] = '\0';
    hello.credential = wire_put_text(longest);
    assert_int_equal(decode_packed(&message, &err), 0);
    hello.credential = (ProtobufCBinaryData){.len = 128, .data = (uint8_t *)longest};
    longest[127] = 'x';
    assert_int_equal(decode_packed(&message, &err), ERR_LIMIT);

    hello = good_hello();
    hello.fence_seen = -1;
    assert_int_equal(decode_packed(&message, &err), ERR_PROTOCOL);
}

/* An order that lacks what makes it safe, or is larger than one order may be, is refused. */
static void test_bad_order(void **state)
{
    (void)state;
    struct order order = {.id = {.operation_id = "op-1-1"}, .fence = 1, .kind = ORDER_MOVE};
    struct message message = {.kind = MESSAGE_INSTRUCTIONS};
    struct message back;
    struct err err = {0};
    message.as.instructions.orders = &order;
    message.as.instructions.order_count = 1;
    memset(order.source.text, 'a', NODE_ID_LEN);
    memset(order.target.text, 'b', NODE_ID_LEN);
    order.source_address = (struct address){.host = "h1", .port = 1};
    order.target_address = (struct address){.host = "h2", .port = 2};
    slotset_add_range(&order.slots, 0, BATCH_SLOTS_MAX - 1);
    const struct order good = order;
    for (int round = 0; round < 9; round++) {
        struct strbuf bytes = {0};
        order = good;
        if (round == 1) {
            slotset_add(&order.slots, BATCH_SLOTS_MAX);
        } else if (round == 2) {
            slotset_clear(&order.slots);
        } else if (round == 3) {
            order.target = (struct node_id){0};
        } else if (round == 4) {
            order.source_address.port = 0;
        } else if (round == 5) {
            order.fence = 0;
        } else if (round == 6) {
            order.id.operation_id[0] = '\0';
        } else if (round == 7) {
            order.target = order.source;
        } else if (round == 8) {
            order.kind = (enum order_kind)4;
        }
        message_encode(&message, &bytes);
        int code = message_decode(bytes.data, bytes.len, &back, &err);
        if (round == 0) {
            assert_int_equal(code, 0);
            message_release(&back);
        } else if (round == 8) {
            assert_int_equal(code, ERR_VERSION);
        } else {
            assert_true(code < 0);
            assert_non_null(strstr(err.text, "order 0"));
        }
        strbuf_release(&bytes);
    }
}

/* Runs of slots that overlap, leave the table or have no length are refused; each set has one form.
 */
static void test_bad_slots(void **state)
{
    (void)state;
    static const uint32_t bad[][4] = {
        {0, 0, 1, 1},     {16384, 1, 1, 1},      {0, 16385, 1, 1},      {0, 1, 0, 1},
        {16383, 1, 1, 1}, {1, UINT32_MAX, 1, 1}, {UINT32_MAX, 2, 1, 1},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct wire_reader reader = {0};
        struct slotset set;
        uint32_t runs[4];
        memcpy(runs, bad[i], sizeof(runs));
        Drover__Slots slots = DROVER__SLOTS__INIT;
        slots.n_runs = 4;
        slots.runs = runs;
        wire_get_slots(&reader, "slots", &slots, &set);
        assert_int_equal(reader.code, ERR_PROTOCOL);
        slots.n_runs = 3;
        reader.code = 0;
        wire_get_slots(&reader, "slots", &slots, &set);
        assert_int_equal(reader.code, ERR_PROTOCOL);
    }
    uint32_t whole[] = {0, 16384};
    Drover__Slots slots = DROVER__SLOTS__INIT;
    struct wire_reader reader = {0};
    struct slotset set;
    slots.n_runs = 2;
    slots.runs = whole;
    wire_get_slots(&reader, "slots", &slots, &set);
    assert_int_equal(reader.code, 0);
    assert_int_equal(slotset_count(&set), SLOT_COUNT);
}

/* Lists are taken up to their limit and refused above it. */
static void test_counts_at_the_limit(void **state)
{
    (void)state;
    Drover__Address address = DROVER__ADDRESS__INIT;
    Drover__NodeReport node = DROVER__NODE_REPORT__INIT;
    Drover__Report report = DROVER__REPORT__INIT;
    Drover__Message message = DROVER__MESSAGE__INIT;
    static Drover__NodeReport *nodes[REPORT_NODES_MAX + 1];
    struct err err = {0};
    address.host = wire_put_text("h");
    address.port = 6379;
    node.address = &address;
    for (size_t i = 0; i <= REPORT_NODES_MAX; i++) {
        nodes[i] = &node;
    }
    report.agent = wire_put_text("a");
    report.nodes = nodes;
    report.n_nodes = REPORT_NODES_MAX;
    message.body_case = DROVER__MESSAGE__BODY_REPORT;
    message.report = &report;
    assert_int_equal(decode_packed(&message, &err), 0);
    report.n_nodes = REPORT_NODES_MAX + 1;
    assert_int_equal(decode_packed(&message, &err), ERR_LIMIT);
    assert_string_equal(err.text, "report: 1025 nodes are more than the 1024 that are allowed");
}

/* Too many bytes are refused before anything is unpacked; a small message that unfolds into much
 * memory is refused. */
static void test_size_limits(void **state)
{
    (void)state;
    struct err err = {0};
    struct message out;
    char *zeros = xcalloc(MESSAGE_SIZE_MAX + 1, 1);
    assert_int_equal(message_decode(zeros, MESSAGE_SIZE_MAX + 1, &out, &err), ERR_LIMIT);
    /* report { nodes {} nodes {} ... }: two bytes on the wire, a struct of hundreds in memory. */
    size_t size = 1024 * 1024;
    zeros[0] = 4 << 3 | 2;
    size_t inner = size - 4;
    zeros[1] = (char)(inner & 127u) | (char)128;
    zeros[2] = (char)((inner >> 7) & 127u) | (char)128;
    zeros[3] = (char)((inner >> 14) & 127u);
    for (size_t i = 4; i + 1 < size; i += 2) {
        zeros[i] = 7 << 3 | 2;
    }
    assert_int_equal(message_decode(zeros, size, &out, &err), ERR_PROTOCOL);
    free(zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_encoding_appends_and_is_stable),
        cmocka_unit_test(test_damage_never_crashes),
        cmocka_unit_test(test_unknown_kind_is_refused),
        cmocka_unit_test(test_unknown_field_is_skipped),
        cmocka_unit_test(test_bad_hello),
        cmocka_unit_test(test_bad_order),
        cmocka_unit_test(test_bad_slots),
        cmocka_unit_test(test_counts_at_the_limit),
        cmocka_unit_test(test_size_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
