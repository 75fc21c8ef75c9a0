/* test_arguments.c — the command line: what is taken, and what is refused with which words. */
#include "ctl/arguments.h"
#include "ctl/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arguments arguments; /* large: not for the stack of each test */
static struct err err;

/* Parses up to 15 words ended by NULL. */
static int parse(const char *first, ...)
{
    char *argv[16] = {(char *)(uintptr_t) "drover"};
    int argc = 1;
    va_list list;
    va_start(list, first);
    for (const char *word = first; word != NULL; word = va_arg(list, const char *)) {
        argv[argc++] = (char *)(uintptr_t)word;
    }
    va_end(list);
    err = (struct err){0};
    return arguments_parse(&arguments, argc, argv, &err);
}

static void test_verbs(void **state)
{
    (void)state;
    assert_int_equal(parse("status", NULL), 0);
    assert_string_equal(arguments.verb->name, "status");
    assert_int_equal(parse("op", "show", "op-1-2", NULL), 0);
    assert_string_equal(arguments.verb->name, "op show");
    assert_int_equal(arguments.word_count, 1);
    assert_string_equal(arguments.words[0], "op-1-2");
    assert_int_equal(parse("plan", "drain", "10.0.0.1:6379", NULL), 0);
    assert_string_equal(arguments.verb->name, "plan drain");
    assert_int_equal(parse(NULL), 0);
    assert_null(arguments.verb);
}

/* Options may stand before, between and after the words, as "--x y", "--x=y" and "-x y". */
static void test_options(void **state)
{
    (void)state;
    assert_int_equal(parse("-o", "json", "reshard", "--to=b", "--slots", "100", "--from", "a", "-f",
                           "c,d", "-y", NULL),
                     0);
    assert_string_equal(arguments_text(&arguments, "output"), "json");
    assert_string_equal(arguments_text(&arguments, "to"), "b");
    assert_true(arguments_has(&arguments, "yes"));
    assert_false(arguments_has(&arguments, "detach"));
    assert_null(arguments_text(&arguments, "speed"));
    int index = 0;
    assert_string_equal(arguments_next(&arguments, "from", &index), "a");
    assert_string_equal(arguments_next(&arguments, "from", &index), "c,d");
    assert_null(arguments_next(&arguments, "from", &index));
    long slots = 0;
    assert_int_equal(arguments_int(&arguments, "slots", 1, 16384, 0, &slots, &err), 0);
    assert_int_equal(slots, 100);
    /* Verbs share letters; long names may stand before the verb. */
    assert_int_equal(parse("events", "-n", "5", "-f", NULL), 0);
    assert_string_equal(arguments_text(&arguments, "limit"), "5");
    assert_true(arguments_has(&arguments, "follow"));
    assert_int_equal(parse("watch", "-n", "1", "-i", "2s", NULL), 0);
    assert_string_equal(arguments_text(&arguments, "count"), "1");
    assert_int_equal(parse("--slots", "7", "plan", "reshard", "-t", "b", NULL), 0);
    assert_string_equal(arguments_text(&arguments, "slots"), "7");
    /* A value may look like an option, and after "--" nothing is one. */
    assert_int_equal(parse("slots", "--key", "--odd", NULL), 0);
    assert_string_equal(arguments_text(&arguments, "key"), "--odd");
    assert_int_equal(parse("drain", "--", "--node", NULL), 0);
    assert_string_equal(arguments.words[0], "--node");
}

static void refuse(int code, const char *text, const char *hint)
{
    assert_int_equal(code, ERR_INVALID);
    if (strstr(err.text, text) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", text, err.text);
    }
    if (strstr(err.hint, hint) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", hint, err.hint);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    refuse(parse("rebalanse", NULL), "rebalanse", "drover rebalance");
    refuse(parse("xyzzy", NULL), "xyzzy", "drover help");
    refuse(parse("rebalance", "--wieght", "1", NULL), "--wieght", "--weight");
    refuse(parse("op", NULL), "needs one more word", "show, follow");
    refuse(parse("op", "stop", "x", NULL), "op stop", "show, follow");
    refuse(parse("drain", NULL), "needs NODE", "--help");
    refuse(parse("drain", "a", "b", NULL), "\"b\"", "--help");
    refuse(parse("status", "--slots", "1", NULL), "--slots", "--help");
    refuse(parse("reshard", "--slots", NULL), "--slots needs a value", "");
    refuse(parse("reshard", "--yes=1", NULL), "--yes takes no value", "");
    refuse(parse("reshard", "--slots", "1", "--slots", "2", NULL), "--slots is given twice", "");
    refuse(parse("events", "-y", NULL), "-y", "events --help");
    refuse(parse("--slots", "1", "status", NULL), "\"drover status\" has no option --slots", "");
    refuse(parse("-z", NULL), "-z", "");
    refuse(parse("--wiht", NULL), "--wiht", "");
}

static void test_help_needs_nothing(void **state)
{
    (void)state;
    assert_int_equal(parse("drain", "--help", NULL), 0);
    assert_int_equal(parse("--help", NULL), 0);
    assert_int_equal(parse("op", "--help", NULL), 0);
}

static void test_values(void **state)
{
    (void)state;
    long out = 7;
    assert_int_equal(parse("reshard", "--slots", "16385", "--timeout", "5m", NULL), 0);
    refuse(arguments_int(&arguments, "slots", 1, 16384, 0, &out, &err), "1 to 16384", "");
    assert_int_equal(out, 7);
    assert_int_equal(arguments_duration(&arguments, "timeout", 0, &out, &err), 0);
    assert_int_equal(out, 300000);
    static const struct {
        const char *text;
        long ms; /* -1 = refused */
    } rows[] = {{"250ms", 250},    {"10", 10000}, {"10s", 10000}, {"1h", 3600000},
                {"24h", 86400000}, {"25h", -1},   {"", -1},       {"s", -1},
                {"1 s", -1},       {"-1s", -1},   {"1d", -1},     {"9999999999999999999s", -1}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(parse("status", "--timeout", rows[i].text, NULL), 0);
        int code = arguments_duration(&arguments, "timeout", 0, &out, &err);
        assert_int_equal(code, rows[i].ms < 0 ? ERR_INVALID : 0);
        if (code == 0) {
            assert_int_equal(out, rows[i].ms);
        }
    }
}

/* Every verb has help with an example that names it, no line is wider than 100 columns, and every
 * example parses. */
static void test_help_of_every_verb(void **state)
{
    (void)state;
    for (const struct ctl_verb *verb = ctl_verbs; verb->name != NULL; verb++) {
        struct strbuf text = {0};
        struct strbuf name = {0};
        arguments_format_help(verb, &text);
        strbuf_addf(&name, "drover %s", verb->name);
        assert_non_null(verb->examples);
        assert_non_null(strstr(verb->examples, strbuf_text(&name)));
        char *rest = NULL;
        for (char *line = strtok_r(text.data, "\n", &rest); line != NULL;
             line = strtok_r(NULL, "\n", &rest)) {
            assert_true(strlen(line) <= 120);
        }
        strbuf_release(&text);
        strbuf_release(&name);
    }
}

static struct settings settings;

static int add(const char *text)
{
    settings = (struct settings){0};
    err = (struct err){0};
    return settings_add_urls(&settings, text, &err);
}

static void test_urls(void **state)
{
    (void)state;
    assert_int_equal(add("http://a:1,https://b:2/, c:3"), 0);
    assert_int_equal(settings.url_count, 3);
    assert_string_equal(settings.urls[0], "http://a:1");
    assert_string_equal(settings.urls[1], "https://b:2");
    assert_string_equal(settings.urls[2], "http://c:3");
    /* What a daemon listens on is not where it is asked. */
    assert_int_equal(add("0.0.0.0:7411,http://[::]:7411,unix:///run/drover.sock,/run/x.sock"), 0);
    assert_string_equal(settings.urls[0], "http://127.0.0.1:7411");
    assert_string_equal(settings.urls[1], "http://[::1]:7411");
    assert_string_equal(settings.urls[2], "unix:///run/drover.sock");
    assert_string_equal(settings.urls[3], "unix:///run/x.sock");
    refuse(add("ftp://x"), "ftp://x", "http://host:port");
    assert_int_equal(add("a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9"), ERR_LIMIT);
}

static int yaml(const char *text)
{
    settings = (struct settings){0};
    err = (struct err){0};
    return settings_add_yaml(&settings, "drover.yaml", text, strlen(text), &err);
}

static void test_yaml(void **state)
{
    (void)state;
    assert_int_equal(yaml("store: sqlite:///x\napi: 0.0.0.0:7411\n"), 0);
    assert_string_equal(settings.urls[0], "http://127.0.0.1:7411");
    assert_int_equal(yaml("api: [http://a:1, b:2]\n"), 0);
    assert_int_equal(settings.url_count, 2);
    assert_int_equal(yaml("other: 1\n"), 0);
    assert_int_equal(settings.url_count, 0);
    assert_int_equal(yaml(""), 0);
    assert_int_equal(yaml("a: 1\napi: {b: c}\n"), ERR_CONFIG);
    assert_non_null(strstr(err.text, "drover.yaml:2"));
    assert_int_equal(yaml("api: [unclosed\n"), ERR_CONFIG);
    assert_non_null(strstr(err.text, "drover.yaml:"));
    assert_int_equal(yaml("api: ftp://x\n"), ERR_CONFIG);
    assert_int_equal(err.code, ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),    cmocka_unit_test(test_options),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_help_needs_nothing),
        cmocka_unit_test(test_values),   cmocka_unit_test(test_help_of_every_verb),
        cmocka_unit_test(test_urls),     cmocka_unit_test(test_yaml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
