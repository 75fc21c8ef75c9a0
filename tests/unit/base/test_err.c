/* test_err.c — errors and log events as people and programs read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/err.h"
#include "common/base/logevent.h"

static void test_set_and_wrap(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, ERR_REFUSED, "slot %d is busy", 42), ERR_REFUSED);
    err_hint(&err, "wait");
    assert_int_equal(err_wrap(&err, "move to %s", "s3"), ERR_REFUSED);
    assert_string_equal(err.text, "move to s3: slot 42 is busy");
    assert_string_equal(err.hint, "wait");
    /* A new error does not keep the hint of the one before. */
    assert_int_equal(err_set(&err, ERR_IO, "disk"), ERR_IO);
    assert_string_equal(err.hint, "");
    assert_int_equal(err_set(NULL, ERR_IO, "x"), ERR_IO);
    assert_int_equal(err_wrap(NULL, "x"), ERR_INTERNAL);
    err_hint(NULL, "x");
}

/* Texts of any length are cut, never overrun. */
static void test_long_texts(void **state)
{
    (void)state;
    struct err err = {0};
    char text[2000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    err_set(&err, ERR_IO, "%s", text);
    err_hint(&err, "%s", text);
    assert_int_equal(strlen(err.text), ERR_TEXT_SIZE - 1);
    assert_int_equal(strlen(err.hint), ERR_HINT_SIZE - 1);
    err_wrap(&err, "%s", text);
    assert_true(strlen(err.text) < ERR_TEXT_SIZE);
    assert_int_equal(err.code, ERR_IO);
}

/* Words lead back to codes, and every code has its own word and exit code. */
static void test_codes(void **state)
{
    (void)state;
    static const int codes[] = {
#define X(name, value, exit_code, word) name,
        ERR_CODES(X)
#undef X
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_int_equal(err_from_word(err_word(codes[i])), codes[i]);
        assert_in_range(err_exit_code(codes[i]), 2, 63);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(err_exit_code(codes[i]), err_exit_code(codes[j]));
            assert_string_not_equal(err_word(codes[i]), err_word(codes[j]));
        }
    }
    assert_int_equal(err_exit_code(ERR_OK), 0);
    assert_int_equal(err_exit_code(-9999), 1);
    assert_string_equal(err_word(ERR_OK), "ok");
    assert_non_null(err_word(-9999));
    assert_int_equal(err_from_word("no such word"), ERR_INTERNAL);
}

/* logfmt: values that would break the line are quoted and escaped. */
static void test_log_event(void **state)
{
    (void)state;
    struct log_event event;
    log_event_init(&event, LOG_WARN, "move.claiming");
    log_event_add(&event, "from", "s1");
    log_event_add_int(&event, "slot", -42);
    log_event_addf(&event, "to", "%s:%d", "h", 1);
    log_event_add(&event, "why", "a \"b\"\n\x01\\");
    log_event_add(&event, "none", "");
    assert_string_equal(event.name, "move.claiming");
    assert_string_equal(strbuf_text(&event.pairs),
                        " from=s1 slot=-42 to=h:1 why=\"a \\\"b\\\"\\n\\x01\\\\\" none=\"\"");
    assert_string_equal(log_level_name(event.level), "warn");
    log_event_release(&event);
    log_event_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_wrap), cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_codes), cmocka_unit_test(test_log_event)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
