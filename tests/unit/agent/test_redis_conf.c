/* test_redis_conf.c — confs of servers: whole texts against tests/golden/redis_conf/<name>.conf,
 * and what extra lines may not say. DROVER_REWRITE=1 writes the files anew; commit only what you
 * can explain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/core/redis_conf.h"

static struct redis_conf plain_conf(void)
{
    return (struct redis_conf){
        .folder = "/var/lib/drover/instances/7000",
        .announce_ip = "10.0.0.4",
        .bind = "",
        .port = 7000,
        .maxmemory_bytes = INT64_C(4) * 1024 * 1024 * 1024,
        .node_timeout_ms = REDIS_CONF_NODE_TIMEOUT_MS,
        .migration_barrier = 1,
        .appendonly = true,
        .user = "",
        .password = "",
        .tls_cert = "",
        .tls_key = "",
        .tls_ca = "",
    };
}

static void compare(const struct redis_conf *conf, const char *name)
{
    char path[512];
    struct strbuf got = {0};
    char want[8192] = "";
    struct err err = {0};
    assert_int_equal(redis_conf_check(conf, &err), 0);
    redis_conf_render(conf, &got);
    (void)snprintf(path, sizeof(path), "%s/../../golden/redis_conf/%s.conf", TEST_SOURCE_DIR, name);
    if (getenv("DROVER_REWRITE") != NULL) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        (void)fwrite(got.data, 1, got.len, file);
        (void)fclose(file);
    }
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail_msg("%s is missing: run with DROVER_REWRITE=1 and look at it", path);
        return;
    }
    want[fread(want, 1, sizeof(want) - 1, file)] = '\0';
    (void)fclose(file);
    assert_string_equal(strbuf_text(&got), want);
    strbuf_release(&got);
}

static void plain(void **state)
{
    (void)state;
    struct redis_conf conf = plain_conf();
    compare(&conf, "plain");
}

/* Everything set at once: a password with every awkward byte, TLS, IPv6, extra lines behind ours.
 */
static void everything(void **state)
{
    (void)state;
    static const char *const extra[] = {"maxmemory-policy allkeys-lru",
                                        "client-output-buffer-limit replica 256mb 64mb 60",
                                        "user app on >\"p w\" ~* +@all"};
    struct redis_conf conf = plain_conf();
    conf.announce_ip = "fd00::4";
    conf.bus_port = 31000;
    conf.appendonly = false;
    conf.password = "a \"b\\\n#\xc3\xa9";
    conf.is_tls = true;
    conf.tls_cert = "/etc/drover/tls/server cert.pem";
    conf.tls_key = "/etc/drover/tls/server.key";
    conf.tls_ca = "/etc/drover/tls/ca.pem";
    conf.extra = extra;
    conf.extra_count = 3;
    compare(&conf, "everything");
}

static void named_user(void **state)
{
    (void)state;
    struct redis_conf conf = plain_conf();
    conf.user = "drover";
    conf.password = "secret";
    conf.bind = "* -::*";
    compare(&conf, "named_user");
}

/* Each of them would undo a line that cluster life rests on, or reach out of the server's folder.
 */
static void refuses_overrides(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "cluster-enabled no",
        "CLUSTER-ENABLED no",
        "  cluster-enabled\tno",
        "cluster-config-file x",
        "cluster-node-timeout 1",
        "cluster-migration-barrier 0",
        "cluster-announce-ip 1.2.3.4",
        "cluster-announce-hostname h",
        "cluster-announce-port 1",
        "cluster-announce-bus-port 1",
        "cluster-announce-tls-port 1",
        "cluster-port 1",
        "port 1",
        "bind 0.0.0.0",
        "dir /tmp",
        "appendonly no",
        "save \"\"",
        "maxmemory 0",
        "requirepass x",
        "masterauth x",
        "primaryauth x",
        "masteruser x",
        "aclfile /x",
        "include /etc/shadow",
        "loadmodule /x.so",
        "rename-command CLUSTER x",
        "replicaof h 1",
        "slaveof h 1",
        "tls-cluster no",
        "tls-port 0",
        "tls-replication no",
        "tls-cert-file x",
        "tls-ca-cert-dir x",
        "tls-key-file-pass x",
        "tls-client-cert-file x",
        "daemonize yes",
        "pidfile /x",
        "logfile /x",
        "unixsocket /x",
        "protected-mode no",
        "enable-debug-command yes",
        "set-proc-title no",
        "proc-title-template x",
        "supervised systemd",
        "user default on nopass",
        "user drover off",
        "USER Drover off",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct err err = {0};
        if (redis_conf_check_extra(lines[i], "drover", &err) != ERR_REFUSED) {
            fail_msg("\"%s\" is not refused: %s", lines[i], err.text);
        }
        /* The directive itself is named. */
        char name[64];
        const char *from = lines[i] + strspn(lines[i], " ");
        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(from, " \t"), from);
        assert_non_null(strcasestr(err.text, name));
    }
}

/* A line that could be read as two, or whose name could be hidden, is no line. */
static void refuses_tricks(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "maxclients 10\nport 1",
        "maxclients 10\rport 1",
        "\"port\" 1",
        "'cluster-enabled' no",
        "po\\x72t 1",
        "# port 1",
        "",
        "   ",
        "maxclients",
        "maxclients \"10",
        "maxclients '10",
        "maxclients \"1\"0",
        "user \"default\" on nopass",
        "user d\\x65fault on nopass",
        "maxclients 10\x01",
        "port=1",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct err err = {0};
        if (redis_conf_check_extra(lines[i], "", &err) != ERR_INVALID) {
            fail_msg("line %zu \"%s\" is taken: %s", i, lines[i], err.text);
        }
    }
    char longest[REDIS_CONF_EXTRA_LEN_MAX + 2];
    memset(longest, 'a', sizeof(longest) - 1);
    memcpy(longest, "maxclients ", strlen("maxclients "));
    longest[REDIS_CONF_EXTRA_LEN_MAX + 1] = '\0';
    struct err err;
    assert_int_equal(redis_conf_check_extra(longest, "", &err), ERR_INVALID);
    longest[REDIS_CONF_EXTRA_LEN_MAX] = '\0';
    assert_int_equal(redis_conf_check_extra(longest, "", &err), 0);
}

static void takes_harmless_lines(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "maxmemory-policy volatile-ttl",
        "maxclients 10000",
        "hz 50",
        "notify-keyspace-events \"Ex\"",
        "cluster-require-full-coverage no",
        "repl-backlog-size 64mb",
        "user app on >pw ~app:* +@read",
        "tls-auth-clients optional",
        "tls-protocols \"TLSv1.2 TLSv1.3\"",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct err err = {0};
        if (redis_conf_check_extra(lines[i], "", &err) != 0) {
            fail_msg("\"%s\" is refused: %s", lines[i], err.text);
        }
    }
}

static void expect_invalid(const struct redis_conf *conf, const char *part)
{
    struct err err = {0};
    assert_int_equal(redis_conf_check(conf, &err), ERR_INVALID);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
    }
}

/* Every member out of its range, one at a time. */
static void checks_members(void **state)
{
    (void)state;
    struct redis_conf conf = plain_conf();
    conf.folder = "relative";
    expect_invalid(&conf, "absolute");
    conf = plain_conf();
    conf.folder = "/a\nport 1";
    expect_invalid(&conf, "control");
    static const char *const hosts[] = {"", "redis-1.example", "10.0.0.4\nport 1",
                                        "10.0.0.4 1.2.3.4", ":"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        conf = plain_conf();
        conf.announce_ip = hosts[i];
        expect_invalid(&conf, "IP address");
    }
    conf = plain_conf();
    conf.bind = "10.0.0.4\nport 1";
    expect_invalid(&conf, "bind");
    conf = plain_conf();
    conf.port = REDIS_CONF_PORT_MAX + 1;
    expect_invalid(&conf, "port");
    conf = plain_conf();
    conf.port = 0;
    expect_invalid(&conf, "port");
    conf = plain_conf();
    conf.maxmemory_bytes = REDIS_CONF_MAXMEMORY_MIN - 1;
    expect_invalid(&conf, "maxmemory");
    conf = plain_conf();
    conf.node_timeout_ms = REDIS_CONF_NODE_TIMEOUT_MS_MIN - 1;
    expect_invalid(&conf, "node-timeout");
    conf = plain_conf();
    conf.migration_barrier = -1;
    expect_invalid(&conf, "migration-barrier");
    conf = plain_conf();
    conf.user = "drover";
    expect_invalid(&conf, "password");
    conf = plain_conf();
    conf.user = "dro ver";
    conf.password = "x";
    expect_invalid(&conf, "user");
    conf = plain_conf();
    conf.is_tls = true;
    expect_invalid(&conf, "certificate");
    conf = plain_conf();
    conf.extra_count = REDIS_CONF_EXTRA_MAX + 1;
    expect_invalid(&conf, "extra lines");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),          cmocka_unit_test(everything),
        cmocka_unit_test(named_user),     cmocka_unit_test(refuses_overrides),
        cmocka_unit_test(refuses_tricks), cmocka_unit_test(takes_harmless_lines),
        cmocka_unit_test(checks_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
