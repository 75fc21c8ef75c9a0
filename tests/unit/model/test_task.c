/* test_task.c — tasks: what each kind must name, how it reads, who alone may carry it out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/model/task.h"

#define ID "07c37dfeb235213a872192d90877d0cd55635b91"

static struct task outside(enum task_kind kind)
{
    struct task task = {.kind = kind, .detail = "agent a1\nrole primary\n"};
    if (kind != TASK_PROVISION) {
        task.node_address = (struct address){.host = "10.0.0.9", .port = 7000};
    }
    if (kind == TASK_TRAFFIC) {
        (void)snprintf(task.node.text, sizeof(task.node.text), "%s", ID);
    }
    return task;
}

/* Every kind has a name of its own. */
static void test_names(void **state)
{
    (void)state;
    for (int i = 1; i <= TASK_KIND_MAX; i++) {
        assert_string_not_equal(task_kind_name((enum task_kind)i), "unknown");
        for (int k = 1; k < i; k++) {
            assert_string_not_equal(task_kind_name((enum task_kind)i),
                                    task_kind_name((enum task_kind)k));
        }
    }
    assert_string_equal(task_kind_name((enum task_kind)(TASK_KIND_MAX + 1)), "unknown");
}

static void test_format(void **state)
{
    (void)state;
    struct task task = outside(TASK_PROVISION);
    char text[TEXT_SIZE];
    task_format(&task, text, sizeof(text));
    assert_string_equal(text, "have a server made for a primary");
    (void)snprintf(task.detail, sizeof(task.detail), "agent a1\nzone west\nrole replica\n");
    task_format(&task, text, sizeof(text));
    assert_string_equal(text, "have a server made for a replica in zone west");
    task = outside(TASK_RELEASE);
    task_format(&task, text, sizeof(text));
    assert_string_equal(text, "give the server at 10.0.0.9:7000 back");
    task = outside(TASK_TRAFFIC);
    task_format(&task, text, sizeof(text));
    assert_string_equal(text, "take client traffic off 10.0.0.9:7000");
    task.flags = TASK_UP;
    task_format(&task, text, sizeof(text));
    assert_string_equal(text, "put client traffic back on 10.0.0.9:7000");
}

/* Work outside the servers names its agent; a release its address; a drain its node, too. */
static void test_validate(void **state)
{
    (void)state;
    struct err err = {0};
    for (int kind = TASK_PROVISION; kind <= TASK_TRAFFIC; kind++) {
        struct task task = outside((enum task_kind)kind);
        assert_int_equal(task_validate(&task, &err), 0);
        (void)snprintf(task.detail, sizeof(task.detail), "role primary\n");
        assert_int_equal(task_validate(&task, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, "names no agent"));
        task.detail[0] = '\0';
        assert_int_equal(task_validate(&task, &err), ERR_INVALID);
    }
    struct task task = outside(TASK_RELEASE);
    task.node_address.port = 0;
    assert_int_equal(task_validate(&task, &err), ERR_INVALID);
    task = outside(TASK_TRAFFIC);
    task.node.text[0] = '\0';
    assert_int_equal(task_validate(&task, &err), ERR_INVALID);
    task = outside(TASK_TRAFFIC);
    task.flags = TASK_FLAGS_ALL + 1;
    assert_int_equal(task_validate(&task, &err), ERR_INVALID);
    task.flags = 0;
    task.kind = (enum task_kind)(TASK_KIND_MAX + 1);
    assert_int_equal(task_validate(&task, &err), ERR_INVALID);
}

static void test_detail(void **state)
{
    (void)state;
    struct task task = {.detail = "agent a1\nrequest op-1-2\n\nagents 3\nrole primary"};
    char value[8];
    assert_true(task_detail_get(&task, "agent", value, sizeof(value)));
    assert_string_equal(value, "a1");
    assert_true(task_detail_get(&task, "role", value, sizeof(value)));
    assert_string_equal(value, "primary"); /* the last line needs no end */
    assert_true(task_detail_get(&task, "agents", value, sizeof(value)));
    assert_string_equal(value, "3");
    assert_false(task_detail_get(&task, "zone", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_false(task_detail_get(&task, "role primary", value, sizeof(value)));
    (void)snprintf(task.detail, sizeof(task.detail), "agent 123456789\nzone \n");
    assert_true(task_detail_get(&task, "agent", value, sizeof(value)));
    assert_string_equal(value, "1234567");
    assert_false(task_detail_get(&task, "zone", value, sizeof(value)) && value[0] != '\0');
}

static void test_bound(void **state)
{
    (void)state;
    assert_true(task_kind_is_bound(TASK_START));
    assert_true(task_kind_is_bound(TASK_STOP));
    assert_true(task_kind_is_bound(TASK_PROVISION));
    assert_true(task_kind_is_bound(TASK_RELEASE));
    assert_true(task_kind_is_bound(TASK_TRAFFIC));
    assert_false(task_kind_is_bound(TASK_JOIN));
    assert_false(task_kind_is_bound(TASK_LEAVE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_format),
        cmocka_unit_test(test_validate), cmocka_unit_test(test_detail),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
