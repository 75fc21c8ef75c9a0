/* test_options.c — sources and who wins, every type's good and bad texts, misspelt names, help,
 * effective configuration. */
#include "helper_loop.h"

#include "common/base/alloc.h"
#include "common/io/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const levels[] = {"debug", "info", "warn", NULL};

static const struct option table[] = {
    {.key = "config",
     .flag = "config",
     .env = "DROVER_CONFIG",
     .type = OPTION_STRING,
     .is_flag_only = true,
     .placeholder = "FILE",
     .help = "Reads settings from this file.",
     .section = "General"},
    {.key = "help",
     .flag = "help",
     .type = OPTION_BOOL,
     .is_flag_only = true,
     .help = "Prints this."},
    {.key = "log.level",
     .flag = "log-level",
     .env = "DROVER_LOG_LEVEL",
     .type = OPTION_ENUM,
     .fallback = "info",
     .words = levels,
     .help = "What is logged."},
    {.key = "log.color",
     .flag = "color",
     .type = OPTION_BOOL,
     .fallback = "true",
     .help = "Colours."},
    {.key = "http.port",
     .flag = "port",
     .env = "DROVER_PORT",
     .type = OPTION_INT,
     .fallback = "7080",
     .min = 1,
     .max = 65535,
     .help = "Port of the API.",
     .section = "Network"},
    {.key = "lease.ttl",
     .flag = "lease-ttl",
     .env = "DROVER_LEASE_TTL",
     .type = OPTION_DURATION,
     .fallback = "10s",
     .min = 2000,
     .max = 300000,
     .help = "How long a leader that says nothing keeps its claim before another coordinator may "
             "take it over."},
    {.key = "batch.size", .type = OPTION_SIZE, .fallback = "1mb", .help = "Bytes of a batch."},
    {.key = "redis.password",
     .flag = "redis-password",
     .env = "DROVER_REDIS_PASSWORD",
     .type = OPTION_STRING,
     .is_secret = true,
     .help = "Password of the nodes.",
     .section = "Redis"},
    {.key = "redis.nodes",
     .flag = "node",
     .env = "DROVER_NODES",
     .type = OPTION_LIST,
     .fallback = "a:1,b:2",
     .placeholder = "HOST:PORT",
     .help = "Nodes to serve."},
    {.key = NULL},
};

static int apply_text(struct options *options, const char *text, struct err *err)
{
    struct config_file file = {0};
    int rc = config_file_parse(&file, "d.yaml", text, strlen(text), err);
    if (rc == 0) {
        rc = options_apply_file(options, &file, err);
    }
    config_file_release(&file);
    return rc;
}

/* default < file < environment < flag, value by value; each says where it comes from. */
static void test_sources(void **state)
{
    (void)state;
    struct err err = {0};
    struct options *options = options_new(table);
    assert_string_equal(options_text(options, "log.level"), "info");
    assert_int_equal(options_number(options, "lease.ttl"), 10000);
    assert_int_equal(options_number(options, "batch.size"), 1024 * 1024);
    assert_true(options_is(options, "log.color"));
    assert_null(options_text(options, "redis.password"));
    assert_int_equal(options_list_count(options, "redis.nodes"), 2);
    assert_false(options_is_set(options, "redis.nodes"));
    assert_int_equal(apply_text(options,
                                "log: {level: warn, color: no}\nhttp: {port: 1}\nlease: {ttl: 1m}\n"
                                "redis:\n  nodes: [x:1, y:2, z:3]\nbatch:\n  size: 64KB\n",
                                &err),
                     0);
    char *environment[] = {"DROVER_PORT=2", "HOME=/x", "DROVER_NODES=e:1, f:2",
                           "DROVER_SOMETHING_ELSE=1", NULL};
    assert_int_equal(options_apply_env(options, environment, "DROVER_", &err), 0);
    char *argv[] = {"p", "word", "--port=3", "--log-level", "debug", "--", "--word2", NULL};
    assert_int_equal(options_apply_flags(options, 7, argv, &err), 0);
    assert_int_equal(options_number(options, "http.port"), 3);
    assert_string_equal(options_source(options, "http.port"), "--port");
    assert_int_equal(options_number(options, "log.level"), 0);
    assert_false(options_is(options, "log.color"));
    assert_string_equal(options_source(options, "log.color"), "d.yaml:1:27");
    assert_int_equal(options_number(options, "lease.ttl"), 60000);
    assert_int_equal(options_number(options, "batch.size"), 65536);
    assert_int_equal(options_list_count(options, "redis.nodes"), 2);
    assert_string_equal(options_list_item(options, "redis.nodes", 1), "f:2");
    assert_string_equal(options_source(options, "redis.nodes"), "$DROVER_NODES");
    assert_int_equal(options_word_count(options), 2);
    assert_string_equal(options_word(options, 1), "--word2");
    char *more[] = {"p", "--node", "g:1", "--node", "h:2,i:3", "--color", NULL};
    assert_int_equal(options_apply_flags(options, 6, more, &err), 0);
    assert_int_equal(options_list_count(options, "redis.nodes"), 3);
    assert_string_equal(options_list_item(options, "redis.nodes", 0), "g:1");
    assert_true(options_is(options, "log.color"));
    char *no[] = {"p", "--no-color", NULL};
    assert_int_equal(options_apply_flags(options, 2, no, &err), 0);
    assert_false(options_is(options, "log.color"));
    assert_int_equal(apply_text(options, "redis: {nodes: []}\n", &err), 0);
    assert_int_equal(options_list_count(options, "redis.nodes"), 0);
    options_free(options);
    options_free(NULL);
}

/* Each mistake names its place, the key and what is allowed; a misspelt name gets a proposal. */
static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *words[3];
        const char *hint;
    } files[] = {
        {"log: {level: loud}\n", {"d.yaml:1:14", "log.level", "debug, info, warn"}, NULL},
        {"http:\n  port: 70000\n", {"d.yaml:2:9", "http.port", "1 to 65535"}, NULL},
        {"http: {port: abc}\n", {"http.port", "abc", "whole number"}, NULL},
        {"lease: {ttl: 1s}\n", {"lease.ttl is 1s", "2s to 5m", "d.yaml"}, NULL},
        {"lease: {ttl: 10}\n", {"lease.ttl", "10s", "d.yaml"}, NULL},
        {"batch: {size: -1}\n", {"batch.size", "64mb", "d.yaml"}, NULL},
        {"log: {color: maybe}\n", {"log.color", "maybe", "true nor false"}, NULL},
        {"leese: {ttl: 10s}\n", {"unknown key leese.ttl", "d.yaml:1:14", "d.yaml"}, "lease.ttl"},
        {"something: 1\n", {"unknown key something", "d.yaml", "d.yaml"}, "--help"},
        {"config: x\n", {"unknown key config", "d.yaml", "d.yaml"}, NULL},
        {"http: {port: [1]}\n", {"http.port", "not a list", "d.yaml"}, NULL},
        {"redis: {nodes: [a, '']}\n", {"redis.nodes", "empty item", "d.yaml"}, NULL},
    };
    struct err err = {0};
    struct options *options = options_new(table);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        err = (struct err){0};
        int rc = apply_text(options, files[i].text, &err);
        for (int word = 0; word < 3; word++) {
            if (rc != ERR_CONFIG || strstr(err.text, files[i].words[word]) == NULL) {
                fail_msg("%s: %d %s", files[i].text, rc, err.text);
            }
        }
        if (files[i].hint != NULL) {
            assert_non_null(strstr(err.hint, files[i].hint));
        }
    }
    static char *const flags[][4] = {{"p", "--prot", "1"}, {"p", "--port"}, {"p", "--port", "0"},
                                     {"p", "--no-port"},   {"p", "-p"},     {"p", "--help=x"}};
    static const char *const texts[] = {"unknown flag --prot", "--port needs a value",
                                        "http.port is 0",      "unknown flag --no-port",
                                        "unknown flag -p",     "--help"};
    for (int i = 0; i < 6; i++) {
        int argc = flags[i][2] != NULL ? 3 : 2;
        err = (struct err){0};
        assert_int_equal(options_apply_flags(options, argc, flags[i], &err), ERR_INVALID);
        assert_non_null(strstr(err.text, texts[i]));
        assert_true(i != 0 || strcmp(err.hint, "did you mean --port?") == 0);
    }
    char *environment[] = {"DROVER_PROT=1", NULL};
    assert_int_equal(options_apply_env(options, environment, "DROVER_", &err), ERR_CONFIG);
    assert_non_null(strstr(err.hint, "$DROVER_PORT"));
    char *secret[] = {"p", "--redis-password", "s3cret", NULL};
    assert_int_equal(options_apply_flags(options, 3, secret, &err), 0);
    assert_int_equal(options_err(options, "redis.password", &err, "too short"), ERR_CONFIG);
    assert_string_equal(err.text, "--redis-password: redis.password: too short");
    assert_int_equal(options_err(options, "http.port", &err, "in use"), ERR_CONFIG);
    assert_non_null(strstr(err.text, "http.port = 7080: in use"));
    options_free(options);
}

/* The file named by a flag or variable is read, and the flag next to it wins over it. */
static void test_load(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/d.yaml", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("http: {port: 1}\nlog: {level: warn}\n", file);
    (void)fclose(file);
    struct err err = {0};
    struct options *options = options_new(table);
    char *argv[] = {"p", "--config", path, "--port", "9", "word", NULL};
    assert_int_equal(options_load(options, 6, argv, "config", &err), 0);
    assert_int_equal(options_number(options, "http.port"), 9);
    assert_string_equal(options_text(options, "log.level"), "warn");
    assert_int_equal(options_word_count(options), 1);
    options_free(options);
    options = options_new(table);
    char *missing[] = {"p", "--config", "/nonexistent.yaml", NULL};
    assert_int_equal(options_load(options, 3, missing, "config", &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "--config"));
    assert_non_null(strstr(err.text, "/nonexistent.yaml"));
    options_free(options);
    folder_remove(folder);
    free(path);
}

/* The help has every flag, the configuration reads back as the same settings, and neither has the
 * secret. */
static void test_texts(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct err err = {0};
    options_format_help(table, &out);
    assert_non_null(strstr(strbuf_text(&out), "General:\n  --config FILE "));
    assert_non_null(strstr(strbuf_text(&out), "\nNetwork:\n  --port N "));
    assert_non_null(strstr(strbuf_text(&out), "2s to 5m; default 10s; key"));
    assert_non_null(strstr(strbuf_text(&out), "(no flag) batch.size"));
    for (const char *line = strbuf_text(&out); *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(strcspn(line, "\n") <= 100);
    }
    strbuf_clear(&out);
    struct options *options = options_new(table);
    char *argv[] = {"p",         "--redis-password", "s3cret", "--node",
                    "a \"q\":1", "--lease-ttl",      "90s",    NULL};
    assert_int_equal(options_apply_flags(options, 7, argv, &err), 0);
    options_format_config(options, &out);
    assert_string_equal(strbuf_text(&out),
                        "log:\n  level: info  # default\n  color: true  # default\n"
                        "http:\n  port: 7080  # default\n"
                        "lease:\n  ttl: 90s  # --lease-ttl\n"
                        "batch:\n  size: 1mb  # default\n"
                        "redis:\n  password: \"***\"  # --redis-password\n"
                        "  nodes: [\"a \\\"q\\\":1\"]  # --node\n");
    struct options *again = options_new(table);
    assert_int_equal(apply_text(again, strbuf_text(&out), &err), 0);
    assert_int_equal(options_number(again, "lease.ttl"), 90000);
    assert_string_equal(options_list_item(again, "redis.nodes", 0), "a \"q\":1");
    options_free(again);
    options_free(options);
    strbuf_release(&out);
}

/* The single parsers at their edges. */
static void test_parsers(void **state)
{
    (void)state;
    int64_t number = 7;
    bool is_true = false;
    struct err err = {0};
    assert_int_equal(option_parse_duration("1d", &number, &err), 0);
    assert_int_equal(number, 86400000);
    assert_int_equal(option_parse_duration("0", &number, &err), 0);
    assert_int_equal(option_parse_duration("9223372036854775807d", &number, &err), ERR_CONFIG);
    assert_int_equal(option_parse_duration("", &number, &err), ERR_CONFIG);
    assert_int_equal(option_parse_duration("5x", &number, &err), ERR_CONFIG);
    assert_int_equal(option_parse_duration("-5s", &number, &err), ERR_CONFIG);
    assert_int_equal(number, 0);
    assert_int_equal(option_parse_size("3GB", &number, &err), 0);
    assert_int_equal(number, INT64_C(3) << 30);
    assert_int_equal(option_parse_size("4096", &number, &err), 0);
    assert_int_equal(number, 4096);
    assert_int_equal(option_parse_int("-12", &number, &err), 0);
    assert_int_equal(number, -12);
    assert_int_equal(option_parse_int("12 ", &number, &err), ERR_CONFIG);
    assert_int_equal(option_parse_int("99999999999999999999", &number, &err), ERR_CONFIG);
    assert_int_equal(option_parse_bool("ON", &is_true, &err), 0);
    assert_true(is_true);
    assert_int_equal(option_parse_bool("", &is_true, &err), ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_load),    cmocka_unit_test(test_texts),
        cmocka_unit_test(test_parsers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
