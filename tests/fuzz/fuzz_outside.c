/* fuzz_outside.c — what provisioners, hooks and HAProxy say, none of whom we trust. */
#include "tests/fuzz/fuzz.h"

#include "agent/core/haproxy_text.h"
#include "agent/shell/outside_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    static const struct address node = {.host = "10.0.0.2", .port = 6379};
    struct outside_answer answer;
    struct haproxy_servers servers;
    struct err err = {0};
    if (outside_json_answer(text, size, &answer, &err) == 0) {
        CHECK(answer.state >= OUTSIDE_RUNNING);
        CHECK(answer.state <= OUTSIDE_FAILED);
        CHECK(answer.percent >= -1);
        CHECK(answer.percent <= 100);
        CHECK(!answer.is_over);
    } else {
        CHECK(err.text[0] != '\0');
    }
    if (haproxy_find_servers(&servers, text, size, &node, &err) == 0) {
        int64_t sessions = 0;
        CHECK(servers.count <= HAPROXY_SERVERS_MAX);
        (void)!haproxy_read_sessions(&servers, text, size, &sessions, &err);
    }
    return 0;
}
