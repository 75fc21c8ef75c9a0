/* test_spec.c — keys, ranges and messages of the spec, and whether a topology meets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/model/spec.h"
#include "tests/unit/model/helper_cluster.h"

#define ID_A "07c37dfeb235213a872192d90877d0cd55635b91"
#define ID_B "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"

static void refused(struct spec *spec, const char *key, const char *value, const char *part)
{
    struct err err = {0};
    assert_int_equal(spec_set(spec, key, value, &err), ERR_CONFIG);
    assert_int_equal(err.code, ERR_CONFIG);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", err.text, part);
    }
}

static void test_defaults_are_valid(void **state)
{
    (void)state;
    struct spec spec;
    struct err err = {0};
    spec_init(&spec);
    assert_int_equal(spec_validate(&spec, &err), 0);
    assert_int_equal(spec.replicas_per_shard, SPEC_AS_IS);
    assert_int_equal(spec.batch_slots_max, 512);
    assert_true(spec.memory_limit_percent == 80.0);
    spec_release(&spec);
}

static void test_set(void **state)
{
    (void)state;
    struct spec spec;
    struct err err = {0};
    spec_init(&spec);
    assert_int_equal(spec_set(&spec, "primaries", "5", &err), 0);
    assert_int_equal(spec_set(&spec, "replicas_per_shard", "-1", &err), 0);
    assert_int_equal(spec_set(&spec, "memory_limit_percent", "72.5", &err), 0);
    assert_int_equal(spec_set(&spec, "cluster_name", "orders-eu.1", &err), 0);
    assert_int_equal(spec_set(&spec, "speed", "soft", &err), 0);
    assert_int_equal(spec_set(&spec, "weight." ID_B, "2", &err), 0);
    assert_int_equal(spec_set(&spec, "weight." ID_A, "0.5", &err), 0);
    assert_int_equal(spec_set(&spec, "weight." ID_B, "3", &err), 0);
    assert_int_equal(spec.primaries_wanted, 5);
    assert_true(spec.memory_limit_percent == 72.5);
    assert_string_equal(spec.cluster_name, "orders-eu.1");
    assert_int_equal(spec.speed, MOVE_SPEED_SOFT);
    assert_int_equal(spec.weight_count, 2);
    assert_string_equal(spec.weights[0].node.text, ID_A);
    assert_true(spec.weights[1].weight == 3.0);
    assert_int_equal(spec_validate(&spec, &err), 0);
    struct spec_record record;
    struct spec other;
    spec_to_record(&spec, &record);
    spec_init(&other);
    assert_int_equal(spec_from_record(&other, &record, &err), 0);
    assert_int_equal(other.primaries_wanted, 5);
    assert_string_equal(other.cluster_name, "orders-eu.1");
    record.memory_limit_percent = 0.0 / 0.0;
    assert_int_equal(spec_from_record(&other, &record, &err), ERR_CONFIG);
    assert_true(other.memory_limit_percent == 72.5);
    spec_release(&spec);
    spec_release(&other);
}

/* Every message names the key, the value and what is allowed. */
static void test_refusals(void **state)
{
    (void)state;
    struct spec spec;
    struct err err = {0};
    spec_init(&spec);
    refused(&spec, "primaries", "1001", "primaries: \"1001\" is not a whole number from 0 to 1000");
    refused(&spec, "primaries", "2.5", "primaries: \"2.5\" is not a whole number");
    refused(&spec, "primaries", "", "primaries: \"\" is not");
    refused(&spec, "memory_limit_percent", "0",
            "memory_limit_percent: \"0\" is not a number from 1 to 100");
    refused(&spec, "memory_limit_percent", "nan", "\"nan\"");
    refused(&spec, "threshold_percent", "0x10", "\"0x10\"");
    refused(&spec, "batch_slots_max", "99999999999999999999", "whole number from 1 to 2048");
    refused(&spec, "speed", "warp", "soft, balanced or fast");
    refused(&spec, "cluster_name", "a b", "letters, digits");
    refused(&spec, "cluster_name", "", "letters, digits");
    refused(&spec, "weight." ID_A, "-1", "from 0 to 1000000");
    refused(&spec, "weight.abc", "1", "node id \"abc\"");
    assert_int_equal(spec_set(&spec, "primarys", "3", &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "primarys: there is no such key"));
    assert_non_null(strstr(err.hint, "primaries"));
    assert_int_equal(spec_validate(&spec, &err), 0);
    spec.moves_max = 2;
    assert_int_equal(spec_validate(&spec, &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "moves_max: 2 is less than"));
    spec.moves_max = 16;
    spec.primaries_wanted = 1;
    assert_int_equal(spec_set(&spec, "weight." ID_A, "0", &err), 0);
    assert_int_equal(spec_validate(&spec, &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "all 1 primaries have weight 0"));
    spec.primaries_wanted = -1;
    assert_int_equal(spec_validate(&spec, &err), ERR_CONFIG);
    spec_release(&spec);
}

static void test_is_met(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    struct spec spec;
    struct strbuf why = {0};
    spec_init(&spec);
    fake_init(&cluster, 3, true);
    fake_build(&cluster);
    assert_true(spec_is_met(&spec, &cluster.topology, &why));
    spec.primaries_wanted = 5;
    assert_false(spec_is_met(&spec, &cluster.topology, &why));
    assert_string_equal(strbuf_text(&why), "5 primaries are wanted, the cluster has 3");
    strbuf_clear(&why);
    spec.primaries_wanted = 3;
    spec.replicas_per_shard = 2;
    assert_false(spec_is_met(&spec, &cluster.topology, &why));
    assert_string_equal(strbuf_text(&why),
                        "2 replicas are wanted of each primary, 10.0.0.1:6379 (00000000) has 1");
    spec.replicas_per_shard = 1;
    assert_true(spec_is_met(&spec, &cluster.topology, NULL));
    strbuf_release(&why);
    fake_release(&cluster);
    spec_release(&spec);
}

static void test_format_keys(void **state)
{
    (void)state;
    struct strbuf text = {0};
    spec_format_keys(&text);
    assert_non_null(strstr(strbuf_text(&text), "batch_slots_max: 1 to 2048; default 512;"));
    assert_non_null(strstr(strbuf_text(&text), "weight.<node id>"));
    strbuf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_valid), cmocka_unit_test(test_set),
        cmocka_unit_test(test_refusals),           cmocka_unit_test(test_is_met),
        cmocka_unit_test(test_format_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
