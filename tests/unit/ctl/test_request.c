/* test_request.c — command lines as the requests that are sent. */
#include "ctl/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arguments arguments; /* large: not for the stack of each test */
static struct err err;

/* The request of a line of words, or NULL when it is refused. */
static json_t *make(const char *line)
{
    static char text[512];
    char *argv[32] = {(char *)(uintptr_t) "drover"};
    int argc = 1;
    char *rest = NULL;
    assert_true(strlen(line) < sizeof(text));
    memcpy(text, line, strlen(line) + 1);
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    err = (struct err){0};
    return arguments_parse(&arguments, argc, argv, &err) != 0 ? NULL
                                                              : request_make(&arguments, &err);
}

static void makes(const char *line, const char *wanted)
{
    json_t *request = make(line);
    json_t *expected = json_loads(wanted, 0, NULL);
    assert_non_null(expected);
    if (request == NULL) {
        fail_msg("%s: %s", line, err.text);
    }
    (void)json_object_del(request, "requested_by");
    if (!json_equal(request, expected)) {
        fail_msg("%s makes %s", line, json_dumps(request, JSON_COMPACT));
    }
    json_decref(request);
    json_decref(expected);
}

static void refuses(const char *line, const char *part)
{
    assert_null(make(line));
    if (strstr(err.text, part) == NULL && strstr(err.hint, part) == NULL) {
        fail_msg("%s: \"%s\" is neither in \"%s\" nor in \"%s\"", line, part, err.text, err.hint);
    }
}

static void test_moves(void **state)
{
    (void)state;
    makes("plan rebalance", "{\"kind\": \"rebalance\"}");
    makes("reshard --slots 10 --from a,b --to c --yes",
          "{\"kind\": \"reshard\", \"slot_count\": 10, \"target\": \"c\", \"sources\": [\"a\", "
          "\"b\"]}");
    makes(
        "drain a:1 --speed soft --needs-approval",
        "{\"kind\": \"drain\", \"node\": \"a:1\", \"speed\": \"soft\", \"needs_approval\": true}");
}

static void test_lifecycle(void **state)
{
    (void)state;
    makes("create a:1 b:2 --replicas 1",
          "{\"kind\": \"create\", \"addresses\": [\"a:1\", \"b:2\"], \"replicas\": 1}");
    makes("add a:1", "{\"kind\": \"add\", \"addresses\": [\"a:1\"]}");
    makes("add a:1 --replica-of 3f2a",
          "{\"kind\": \"add\", \"addresses\": [\"a:1\"], \"as_replica\": true, \"target\": "
          "\"3f2a\"}");
    makes(
        "plan add a:1 [fd00::1]:2 --no-slots",
        "{\"kind\": \"add\", \"addresses\": [\"a:1\", \"[fd00::1]:2\"], \"without_slots\": true}");
    makes("remove 3f2a --dead", "{\"kind\": \"remove\", \"node\": \"3f2a\", \"dead\": true}");
    makes("plan remove 3f2a --keep-running",
          "{\"kind\": \"remove\", \"node\": \"3f2a\", \"keep_running\": true}");
    makes("remove a:1 --target b:2",
          "{\"kind\": \"remove\", \"node\": \"a:1\", \"target\": \"b:2\"}");
    makes("scale --primaries 5 --replicas 0",
          "{\"kind\": \"scale\", \"primaries\": 5, \"replicas\": 0}");
    makes("replicate a:1 --of b:2",
          "{\"kind\": \"replicate\", \"node\": \"a:1\", \"target\": \"b:2\"}");
    makes("failover a:1 --force", "{\"kind\": \"failover\", \"node\": \"a:1\", \"force\": true}");
    makes("repair --replace --unreachable-ok",
          "{\"kind\": \"repair\", \"replace\": true, \"unreachable_ok\": true}");
    makes("repair --meet-only", "{\"kind\": \"repair\", \"meet_only\": true}");
    makes("plan repair", "{\"kind\": \"repair\"}");
}

static void test_refused(void **state)
{
    (void)state;
    refuses("add", "HOST:PORT");
    refuses("add a", "a");
    refuses("add a:1 --replica-of b --no-slots", "never has slots");
    refuses("create a:1 --replicas -1", "0 to");
    refuses("scale", "--primaries");
    refuses("scale --primaries 0", "1 to");
    refuses("replicate a:1", "--of NODE");
    refuses("remove a:1 b:2", "b:2");
    refuses("remove a:1 --force", "--force");
    refuses("remove a:1 --dead --target b:2", "hands nothing over");
    refuses("failover a:1 --dead", "--dead");
    refuses("reshard --to a:1", "--slots");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_lifecycle),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
