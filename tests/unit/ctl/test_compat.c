/* test_compat.c — redis-cli's command line, and its rules which slots go. */
#include "common/base/strbuf.h"
#include "ctl/compat/compat_options.h"
#include "ctl/compat/compat_slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct compat_options options; /* large: not for the stack of each test */
static struct err err;
static char *argv_now[64];
static int argc_now;

static void set_words(const char *first, va_list list)
{
    argv_now[0] = (char *)(uintptr_t) "redis-cli";
    argc_now = 1;
    for (const char *word = first; word != NULL; word = va_arg(list, const char *)) {
        argv_now[argc_now++] = (char *)(uintptr_t)word;
    }
}

static int parse(const char *first, ...)
{
    va_list list;
    va_start(list, first);
    set_words(first, list);
    va_end(list);
    err = (struct err){0};
    return compat_options_parse(&options, argc_now, argv_now, NULL, NULL, &err);
}

static bool is_cluster(const char *first, ...)
{
    va_list list;
    va_start(list, first);
    set_words(first, list);
    va_end(list);
    return compat_options_is_cluster(argc_now, argv_now);
}

/* --cluster counts where options stand, not among the words of a command. */
static void test_is_cluster(void **state)
{
    (void)state;
    assert_true(is_cluster("--cluster", "info", "h:1", NULL));
    assert_true(is_cluster("-a", "x", "--tls", "--cluster", "info", "h:1", NULL));
    assert_true(is_cluster("-a", "SET", "--cluster", NULL));
    assert_false(is_cluster("SET", "key", "--cluster", NULL));
    assert_false(is_cluster("-p", "--cluster", "PING", NULL));
    assert_false(is_cluster("-p", "6379", NULL));
    assert_false(is_cluster("status", "--cluster", NULL));
    assert_false(is_cluster(NULL));
}

/* The words of a sub-command run up to the next option; options stand on both sides. */
static void test_words_and_options(void **state)
{
    (void)state;
    assert_int_equal(parse("-a", "pw", "--user", "me", "--cluster", "check", "h", "7000",
                           "--cluster-search-multiple-owners", "-4", NULL),
                     0);
    assert_int_equal(options.sub, COMPAT_CHECK);
    assert_int_equal(options.word_count, 2);
    assert_string_equal(options.password, "pw");
    assert_string_equal(options.user, "me");
    assert_true(options.searches_owners);
    assert_int_equal(options.ip_version, 4);
    assert_true(options.is_password_on_line);

    assert_int_equal(
        parse("--cluster-yes", "--cluster", "reshard", "h:1", "--cluster-from", "a,b",
              "--cluster-to", "c", "--cluster-slots", "12", "--cluster-pipeline", "5", NULL),
        0);
    assert_true(options.says_yes);
    assert_string_equal(options.from, "a,b");
    assert_string_equal(options.to, "c");
    assert_int_equal(options.slot_count, 12);
    assert_int_equal(options.pipeline, 5);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("--cluster", "rebalance", "h:1", NULL), 0);
    assert_int_equal(options.timeout_ms, 60000);
    assert_int_equal(options.pipeline, 10);
    assert_true(options.threshold_percent > 1.99 && options.threshold_percent < 2.01);
    assert_int_equal(options.replicas, 0);
    assert_false(options.says_yes || options.uses_empty || options.is_strict);
    assert_null(options.password);
}

static void test_environment(void **state)
{
    (void)state;
    char *argv[] = {"x", "--cluster", "info", "h:1", NULL};
    assert_int_equal(compat_options_parse(&options, 4, argv, "secret", "1", &err), 0);
    assert_string_equal(options.password, "secret");
    assert_false(options.is_password_on_line);
    assert_true(options.says_yes);
    assert_int_equal(compat_options_parse(&options, 4, argv, "", "yes", &err), 0);
    assert_null(options.password);
    assert_false(options.says_yes);
}

/* Valkey's names for the same things. */
static void test_aliases(void **state)
{
    (void)state;
    assert_int_equal(parse("--cluster", "add-node", "n:1", "h:1", "--cluster-replica",
                           "--cluster-primaries-id", "abc", NULL),
                     0);
    assert_true(options.as_replica);
    assert_string_equal(options.primary_id, "abc");
    assert_int_equal(parse("--cluster", "rebalance", "h:1", "--cluster-use-empty-primaries",
                           "--cluster-use-atomic-slot-migration", NULL),
                     0);
    assert_true(options.uses_empty && options.uses_atomic);
    assert_int_equal(
        parse("--cluster", "fix", "h:1", "--cluster-fix-with-unreachable-primaries", NULL), 0);
    assert_true(options.fixes_unreachable);
    assert_int_equal(parse("--cluster", "call", "h:1", "PING", "--cluster-only-primaries", NULL),
                     0);
    assert_true(options.only_primaries);
}

static void test_weights(void **state)
{
    (void)state;
    assert_int_equal(parse("--cluster", "rebalance", "h:1", "--cluster-weight", "a=1", "b=2.5",
                           "--cluster-simulate", NULL),
                     0);
    assert_int_equal(options.weight_count, 2);
    assert_string_equal(options.weights[1], "b=2.5");
    assert_true(options.simulates);
    assert_int_not_equal(parse("--cluster", "rebalance", "h:1", "--cluster-weight", "a=1",
                               "--cluster-weight", "b=1", NULL),
                         0);
    assert_non_null(strstr(err.text, "--cluster-weight more than once"));
}

/* A negative number is a word of `call`'s command; the original refuses it, and so does strict. */
static void test_call_negative(void **state)
{
    (void)state;
    assert_int_equal(parse("--cluster", "call", "h:1", "LRANGE", "k", "0", "-1", NULL), 0);
    assert_int_equal(options.word_count, 5);
    assert_int_not_equal(
        parse("--cluster-compat", "strict", "--cluster", "call", "h:1", "LRANGE", "k", "-1", NULL),
        0);
    assert_string_equal(err.text, "Unrecognized option or bad number of args for: '-1'");
}

static void test_refusals(void **state)
{
    (void)state;
    options.product = COMPAT_VALKEY;
    assert_int_equal(parse("--cluster", "create", "a:1", NULL), 0);
    options.product = COMPAT_REDIS;
    assert_int_equal(parse("--cluster", "create", "a:1", NULL), ERR_INVALID);
    assert_int_not_equal(parse("--cluster", "bogus", NULL), 0);
    assert_string_equal(err.text, "Unknown --cluster subcommand");
    assert_int_not_equal(parse("--cluster", NULL), 0);
    assert_int_not_equal(parse("--cluster", "check", NULL), 0);
    assert_string_equal(err.text,
                        "[ERR] Wrong number of arguments for specified --cluster sub command");
    assert_int_not_equal(parse("--cluster", "del-node", "h:1", "id", "more", NULL), 0);
    assert_int_not_equal(parse("--cluster", "check", "h:1", "--cluster-bogus", NULL), 0);
    assert_string_equal(err.text,
                        "Unrecognized option or bad number of args for: '--cluster-bogus'");
    assert_int_not_equal(parse("--cluster", "check", "h:1", "--cluster-slots", NULL), 0);
    assert_int_not_equal(parse("--cluster", "check", "h:1", "--cluster-compat", "odd", NULL), 0);
}

/* -u gives user, password and TLS; what it does not say stays. */
static void test_uri(void **state)
{
    (void)state;
    assert_int_equal(
        parse("-u", "redis://ann:p%40ss%2f@10.0.0.1:7000/3", "--cluster", "check", "a:1", NULL), 0);
    assert_string_equal(options.user, "ann");
    assert_string_equal(options.password, "p@ss/");
    assert_true(options.is_password_on_line);
    assert_false(options.use_tls);
    assert_int_equal(parse("-u", "REDISS://only%zz@h", "--cluster", "check", "a:1", NULL), 0);
    assert_null(options.user);
    assert_string_equal(options.password, "only%zz");
    assert_true(options.use_tls);
    assert_int_equal(parse("--user", "bob", "-a", "x", "--tls", "-u", "valkey://[::1]:7000",
                           "--cluster", "check", "a:1", NULL),
                     0);
    assert_string_equal(options.user, "bob");
    assert_string_equal(options.password, "x");
    assert_true(options.use_tls);
    assert_int_equal(parse("-u", "valkeys://:x@h", "--cluster", "check", "a:1", NULL), 0);
    assert_null(options.user);
    assert_int_equal(parse("-u", "http://h", "--cluster", "check", "a:1", NULL), ERR_INVALID);
    assert_string_equal(err.text, "Invalid URI scheme");
    assert_int_equal(parse("-u", "redis://h:70000/1", "--cluster", "check", "a:1", NULL),
                     ERR_INVALID);
    assert_string_equal(err.text, "Invalid server port.");
    struct strbuf text = {0};
    strbuf_add_text(&text, "redis://");
    for (int i = 0; i < COMPAT_URI_TEXT_SIZE; i++) {
        strbuf_add_char(&text, 'x');
    }
    struct compat_uri uri = {0};
    assert_int_equal(compat_uri_parse(&uri, strbuf_text(&text), &err), 0); /* a host */
    strbuf_add_char(&text, '@');
    assert_int_equal(compat_uri_parse(&uri, strbuf_text(&text), &err), ERR_INVALID);
    strbuf_release(&text);
}

static void test_addresses(void **state)
{
    (void)state;
    struct address address;
    int used = 0;
    assert_int_equal(compat_address_parse(&address, "10.0.0.1:7000", NULL), 0);
    assert_string_equal(address.host, "10.0.0.1");
    assert_int_equal(address.port, 7000);
    assert_int_equal(compat_address_parse(&address, "host.example:7000@17000", NULL), 0);
    assert_string_equal(address.host, "host.example");
    assert_int_equal(compat_address_parse(&address, "[::1]:7000", NULL), 0);
    assert_string_equal(address.host, "::1");
    assert_int_not_equal(compat_address_parse(&address, "host:", NULL), 0);
    assert_int_not_equal(compat_address_parse(&address, ":7000", NULL), 0);
    assert_int_not_equal(compat_address_parse(&address, "host:70000", NULL), 0);
    assert_int_not_equal(compat_address_parse(&address, "host:7x", NULL), 0);

    assert_int_equal(parse("--cluster", "check", "h", "7000", NULL), 0);
    assert_int_equal(compat_options_seed(&options, &address, &used, &err), 0);
    assert_int_equal(used, 2);
    assert_int_equal(address.port, 7000);
    assert_int_equal(parse("--cluster", "check", "nonsense", NULL), 0);
    assert_int_not_equal(compat_options_seed(&options, &address, &used, &err), 0);
}

/* BEFORE 10 20 30 slots; 6 are wanted: 3 of the largest, then 2 and 1, lowest first. */
static void test_pick_in_proportion(void **state)
{
    (void)state;
    struct slotset sources[3] = {{{0}}};
    struct compat_pick picks[6];
    slotset_add_range(&sources[0], 0, 9);
    slotset_add_range(&sources[1], 100, 119);
    slotset_add_range(&sources[2], 200, 229);
    assert_int_equal(compat_pick_slots(sources, 3, 6, picks), 6);
    static const struct compat_pick wanted[] = {{2, 200}, {2, 201}, {2, 202},
                                                {1, 100}, {1, 101}, {0, 0}};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(picks[i].source, wanted[i].source);
        assert_int_equal(picks[i].slot, wanted[i].slot);
    }
}

/* The first share is rounded up, the others down; nothing to take is no failure. */
static void test_pick_rounding(void **state)
{
    (void)state;
    struct slotset sources[2] = {{{0}}};
    struct compat_pick picks[16];
    assert_int_equal(compat_pick_slots(sources, 2, 5, picks), 0);
    slotset_add_range(&sources[0], 0, 9);
    slotset_add_range(&sources[1], 20, 29);
    assert_int_equal(compat_pick_slots(sources, 2, 3, picks), 3);
    assert_int_equal(picks[1].slot, 1);
    assert_int_equal(picks[2].slot, 20);
    assert_int_equal(compat_pick_slots(sources, 2, 1, picks), 1);
}

static void test_balance_is_due(void **state)
{
    (void)state;
    struct compat_share even[3] = {{1, 5461}, {1, 5461}, {1, 5462}};
    struct compat_share off[3] = {{1, 5461}, {1, 5700}, {1, 5223}};
    struct compat_share empty[2] = {{1, 16384}, {1, 0}};
    struct compat_share heavy[2] = {{3, 8192}, {1, 8192}};
    struct compat_share none[1] = {{0, 16384}};
    assert_false(compat_balance_is_due(even, 3, 2));
    assert_true(compat_balance_is_due(off, 3, 2));
    assert_false(compat_balance_is_due(off, 3, 10));
    assert_true(compat_balance_is_due(empty, 2, 2));
    assert_true(compat_balance_is_due(heavy, 2, 2));
    assert_false(compat_balance_is_due(none, 1, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_cluster),
        cmocka_unit_test(test_words_and_options),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_call_negative),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_uri),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_pick_in_proportion),
        cmocka_unit_test(test_pick_rounding),
        cmocka_unit_test(test_balance_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
