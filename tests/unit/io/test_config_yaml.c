/* test_config_yaml.c — settings with their places, every refusal with its place, the limits. */
#include "common/base/alloc.h"
#include "common/base/strbuf.h"
#include "common/io/config_yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Maps become dots, lists become indexes; quotes, comments and folding are YAML's; every value
 * knows its place. */
static void test_flat(void **state)
{
    (void)state;
    static const char text[] =
        "# drover\n"
        "bus: inproc://drover   # the bus\n"
        "redis:\n"
        "  password: \"a: #b\"\n"
        "  nodes: [a:1, 'b:2']\n"
        "  groups:\n"
        "    - name: x\n"
        "      size: 3\n"
        "    - name: y\n"
        "  none: []\n"
        "empty:\n"
        "null-too: ~\n"
        "text: |\n"
        "  two\n"
        "  lines\n";
    static const struct {
        const char *key;
        const char *value;
        int line;
        int column;
    } wanted[] = {
        {"bus", "inproc://drover", 2, 6},
        {"redis.password", "a: #b", 4, 13},
        {"redis.nodes[0]", "a:1", 5, 11},
        {"redis.nodes[1]", "b:2", 5, 16},
        {"redis.groups[0].name", "x", 7, 13},
        {"redis.groups[0].size", "3", 8, 13},
        {"redis.groups[1].name", "y", 9, 13},
        {"redis.none", "", 10, 9},
        {"empty", "", 11, 7},
        {"null-too", "", 12, 11},
        {"text", "two\nlines\n", 13, 7},
    };
    struct config_file file = {0};
    struct err err = {0};
    assert_int_equal(config_file_parse(&file, "f.yaml", text, sizeof(text) - 1, &err), 0);
    assert_int_equal(file.count, 11);
    for (int i = 0; i < 11; i++) {
        assert_string_equal(file.values[i].key, wanted[i].key);
        assert_string_equal(file.values[i].value, wanted[i].value);
        assert_int_equal(file.values[i].line, wanted[i].line);
        assert_int_equal(file.values[i].column, wanted[i].column);
        assert_int_equal(file.values[i].is_empty_list, i == 7);
    }
    assert_ptr_equal(config_file_find(&file, "redis.nodes[1]"), &file.values[3]);
    assert_null(config_file_find(&file, "redis"));
    config_file_release(&file);
    assert_int_equal(config_file_parse(&file, "f.yaml", "", 0, &err), 0);
    assert_int_equal(config_file_parse(&file, "f.yaml", "# only\n", 7, &err), 0);
    assert_int_equal(file.count, 0);
    config_file_release(&file);
    config_file_release(NULL);
}

/* What is a trap in a configuration is refused, with file, line and column; the file read before
 * stays as it was. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *place;
        const char *word;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "f.yaml:3:1", "the key a stands there twice"},
        {"a:\n  b: 1\n  b: 2\n", "f.yaml:3:3", "a.b stands there twice"},
        {"a: 1\n\tb: 2\n", "f.yaml:2:", "not YAML"},
        {"a: b: c\n", "f.yaml:1:", "not YAML"},
        {"a: &x 1\n", "f.yaml:1:4", "anchors"},
        {"a: *x\n", "f.yaml:1:4", "aliases"},
        {"a: !!int 1\n", "f.yaml:1:4", "tags"},
        {"a: 1\n---\nb: 1\n", "f.yaml:2:1", "one document"},
        {"- a\n", "f.yaml:1:1", "not a list"},
        {"word\n", "f.yaml:1:1", "key: value"},
        {"a b: 1\n", "f.yaml:1:1", "plain word"},
        {"a.b: 1\n", "f.yaml:1:1", "plain word"},
        {"? [x]\n: 1\n", "f.yaml:1:3", "plain word"},
        {"\"\": 1\n", "f.yaml:1:1", "plain word"},
        {"a: \"x\\0y\"\n", "f.yaml:1:4", "zero byte"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", "f.yaml:1:", "too many levels"},
        {"a: \xff\n", "f.yaml:1:", "not YAML"},
    };
    struct config_file file = {0};
    struct err err = {0};
    assert_int_equal(config_file_parse(&file, "f.yaml", "keep: 1\n", 8, &err), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        err = (struct err){0};
        if (config_file_parse(&file, "f.yaml", cases[i].text, strlen(cases[i].text), &err) !=
                ERR_CONFIG ||
            strstr(err.text, cases[i].place) == NULL || strstr(err.text, cases[i].word) == NULL) {
            fail_msg("%s: %s", cases[i].text, err.text);
        }
        assert_string_equal(file.values[0].key, "keep");
    }
    assert_int_equal(config_file_read(&file, "/nonexistent.yaml", &err), ERR_NOT_FOUND);
    config_file_release(&file);
}

/* At each limit it works, one past it does not. */
static void test_limits(void **state)
{
    (void)state;
    struct config_file file = {0};
    struct err err = {0};
    for (int more = 0; more <= 1; more++) {
        struct strbuf text = {0};
        for (int i = 0; i < CONFIG_VALUES_MAX + more; i++) {
            strbuf_addf(&text, "k%d: v\n", i);
        }
        int rc = config_file_parse(&file, "f", text.data, text.len, &err);
        assert_int_equal(rc, more == 0 ? 0 : ERR_CONFIG);
        strbuf_clear(&text);
        while (text.len < (size_t)(CONFIG_SIZE_MAX + more)) {
            strbuf_add_char(&text, '#');
        }
        rc = config_file_parse(&file, "f", text.data, text.len, &err);
        assert_int_equal(rc, more == 0 ? 0 : ERR_LIMIT);
        strbuf_clear(&text);
        for (int i = 0; i < CONFIG_KEY_SIZE - 1 + more; i++) {
            strbuf_add_char(&text, 'k');
        }
        strbuf_add_text(&text, ": v\n"); /* YAML itself takes keys of up to 1024 bytes */
        rc = config_file_parse(&file, "f", text.data, text.len, &err);
        assert_int_equal(rc, more == 0 ? 0 : ERR_CONFIG);
        strbuf_release(&text);
    }
    config_file_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_flat), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
