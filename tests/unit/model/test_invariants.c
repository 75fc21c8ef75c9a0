/* test_invariants.c — each rule holds on a healthy cluster and is broken by its own fault only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/model/invariants.h"
#include "tests/unit/model/helper_cluster.h"

#define ROW(...) ((struct fake_row){__VA_ARGS__})

typedef bool (*rule)(const struct nodes_view *const *views, int count, struct strbuf *why);

static const rule rules[] = {invariant_slots_owned, invariant_same_map, invariant_none_open,
                             invariant_epochs_unique, invariant_same_members};

/* Only the rule 'broken' (index or -1) may be false, and says 'part'. */
static void expect(struct fake_cluster *cluster, int broken, const char *part)
{
    const struct nodes_view *views[FAKE_NODES_MAX];
    struct strbuf why = {0};
    fake_build(cluster);
    for (int i = 0; i < cluster->count; i++) {
        views[i] = &cluster->parsed[i];
    }
    for (int i = 0; i < 5; i++) {
        strbuf_clear(&why);
        bool holds = rules[i](views, cluster->count, &why);
        if (holds != (i != broken)) {
            fail_msg("rule %d is %d: %s", i, holds, strbuf_text(&why));
        }
        assert_int_equal(rules[i](views, cluster->count, NULL), holds);
        if (!holds && strcmp(strbuf_text(&why), part) != 0) {
            fail_msg("\"%s\" instead of \"%s\"", strbuf_text(&why), part);
        }
    }
    assert_int_equal(invariants_hold_at_rest(views, cluster->count, NULL), broken < 0);
    strbuf_release(&why);
    fake_release(cluster);
}

static void test_rules(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    char slots[128];
    fake_init(&cluster, 3, true);
    expect(&cluster, -1, "");
    fake_init(&cluster, 3, true);
    fake_set_all(&cluster, 2, ROW("master", -1, 3, "10923-16383"));
    expect(&cluster, 0, "in the view of 00000000 slot 10922 has no owner");
    fake_init(&cluster, 3, true);
    fake_set_all(&cluster, 2, ROW("slave", 0, 3, "10922-16383"));
    expect(&cluster, 0,
           "in the view of 00000000 slot 10922 is owned by 20000002, which is no primary");
    fake_init(&cluster, 3, true);
    cluster.views[4].rows[1].slots = "5460-10921";
    cluster.views[4].rows[0].slots = "0-5459";
    expect(&cluster, 1,
           "in the view of 00000000 slot 5460 is owned by 00000000, but in the view of 40000004 by "
           "10000001");
    fake_init(&cluster, 3, true);
    snprintf(slots, sizeof(slots), "0-5460 [42->-%s]", fake_id(1).text);
    cluster.views[0].rows[0].slots = slots;
    expect(&cluster, 2, "in the view of 00000000 slot 42 is migrating to 10000001");
    fake_init(&cluster, 3, true);
    snprintf(slots, sizeof(slots), "[42-<-%s]", fake_id(0).text);
    cluster.views[4].rows[4].slots = slots;
    expect(&cluster, 2, "in the view of 40000004 slot 42 is importing from 00000000");
    fake_init(&cluster, 3, true);
    cluster.views[2].rows[1].config_epoch = 3;
    expect(&cluster, 3, "in the view of 20000002 10000001 and 20000002 both have config epoch 3");
    fake_init(&cluster, 3, true);
    cluster.views[2].rows[5].flags = NULL;
    expect(&cluster, 4,
           "in the view of 20000002 50000005 is missing, which is listed in the view of 00000000");
    fake_init(&cluster, 3, true);
    cluster.views[0].rows[5].flags = NULL;
    expect(&cluster, 4,
           "in the view of 00000000 50000005 is missing, which is listed in the view of 10000001");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
