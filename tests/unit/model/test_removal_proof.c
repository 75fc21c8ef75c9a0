/* test_removal_proof.c — the certificate's text: one spelling only, signed or not, and what it must
 * prove. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/model/removal_proof.h"

static struct removal_proof good_proof(void)
{
    return (struct removal_proof){
        .node = {"0123456789abcdef0123456789abcdef01234567"},
        .address = {.host = "10.0.0.4", .port = 7000},
        .asked = 5,
        .fence = 42,
        .operation_id = "op-42-7",
    };
}

static void reads_what_it_writes(void **state)
{
    (void)state;
    struct removal_proof proof = good_proof();
    struct removal_proof read;
    struct strbuf text = {0};
    struct err err;
    removal_proof_format(&proof, "", &text);
    assert_string_equal(strbuf_text(&text),
                        "certificate drover-removal-1\n"
                        "node 0123456789abcdef0123456789abcdef01234567\n"
                        "address 10.0.0.4:7000\nslots 0\nkeys 0\nreplicas 0\n"
                        "open 0\nknown-by 0\nasked 5\ndead no\nfence 42\n"
                        "operation op-42-7\n");
    assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "", &err), 0);
    assert_memory_equal(&read.node, &proof.node, sizeof(proof.node));
    assert_int_equal(read.asked, 5);
    assert_int_equal(read.fence, 42);
    assert_string_equal(read.operation_id, "op-42-7");
    assert_false(read.is_dead);
    strbuf_release(&text);
}

/* With a key: right, wrong, missing; without one the signature is not looked at. */
static void signatures(void **state)
{
    (void)state;
    struct removal_proof proof = good_proof();
    struct removal_proof read;
    struct strbuf text = {0};
    struct err err;
    proof.is_dead = true;
    removal_proof_format(&proof, "key", &text);
    assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "key", &err), 0);
    assert_true(read.is_dead);
    assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "", &err), 0);
    assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "another", &err), ERR_AUTH);
    strbuf_clear(&text);
    removal_proof_format(&proof, "", &text);
    assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "key", &err), ERR_AUTH);
    strbuf_release(&text);
}

/* A signed text of which any one byte differs is not taken. */
static void every_byte_counts(void **state)
{
    (void)state;
    struct removal_proof proof = good_proof();
    struct strbuf text = {0};
    removal_proof_format(&proof, "key", &text);
    for (size_t i = 0; i < text.len; i++) {
        struct removal_proof read;
        struct err err;
        text.data[i] ^= 1;
        if (removal_proof_parse(&read, strbuf_text(&text), "key", &err) == 0) {
            fail_msg("a change of byte %zu is not noticed", i);
        }
        text.data[i] ^= 1;
    }
    for (size_t len = 0; len < text.len; len++) {
        struct removal_proof read;
        struct err err;
        char kept = text.data[len];
        text.data[len] = '\0';
        assert_int_not_equal(removal_proof_parse(&read, strbuf_text(&text), "key", &err), 0);
        text.data[len] = kept;
    }
    strbuf_release(&text);
}

/* Other spellings of the same facts: extra text, other numbers' forms, another order. */
static void one_spelling(void **state)
{
    (void)state;
    struct removal_proof proof = good_proof();
    struct removal_proof read;
    struct err err;
    struct strbuf text = {0};
    removal_proof_format(&proof, "", &text);
    strbuf_add_text(&text, "extra x\n");
    assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "", &err), ERR_INVALID);
    strbuf_clear(&text);
    strbuf_add_text(&text,
                    "certificate drover-removal-1\nnode "
                    "0123456789abcdef0123456789abcdef01234567\naddress 10.0.0.4:7000\nslots 00\n"
                    "keys 0\nreplicas 0\nopen 0\nknown-by 0\nasked 5\ndead no\nfence 42\n"
                    "operation op-42-7\n");
    assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "", &err), ERR_INVALID);
    strbuf_release(&text);
}

/* Each count that is not 0 stands against it, and is named. */
static void must_prove(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct removal_proof proof = good_proof();
        struct removal_proof read;
        struct strbuf text = {0};
        struct err err;
        int64_t *counts[] = {&proof.slots, &proof.keys, &proof.replicas, &proof.open,
                             &proof.known_by};
        if (i < 5) {
            *counts[i] = 3;
        } else if (i == 5) {
            proof.asked = 0;
        } else if (i == 6) {
            proof.fence = 0;
        } else {
            proof.operation_id[0] = '\0';
        }
        removal_proof_format(&proof, "", &text);
        assert_int_equal(removal_proof_parse(&read, strbuf_text(&text), "", &err), ERR_REFUSED);
        assert_true(i >= 5 || strstr(err.text, "3") != NULL);
        strbuf_release(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_writes), cmocka_unit_test(signatures),
        cmocka_unit_test(every_byte_counts),    cmocka_unit_test(one_spelling),
        cmocka_unit_test(must_prove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
