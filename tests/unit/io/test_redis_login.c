/* test_redis_login.c — who may talk to a server, through the pool against a real redis-server:
 * passwords and TLS. */
#include "helper_redis.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Wrong password, missing password, right password; the password is not in the error. */
static void test_login(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *plain = pool_with(f, NULL);
    struct call set = {0};
    commands_add(&set.commands, "ACL", "SETUSER", "drover", "on", ">s3cret", "~*", "+@all", NULL);
    commands_add(&set.commands, "CONFIG", "SET", "requirepass", "other", NULL);
    call_submit(plain, &f->address, 0, 5000, &set);
    wait_for(f->loop, &set.done);
    assert_int_equal(set.result.code, 0);
    assert_true(reply_is_ok(&set.result.replies.replies[0]));
    struct redis_options options[4] = {
        {.user = "drover", .password = "s3cret"},
        {.password = "other"},
        {.user = "drover", .password = "wrong-s3cret"},
        {.client_name = "nobody"},
    };
    for (int i = 0; i < 4; i++) {
        struct redis_pool *pool = pool_with(f, &options[i]);
        struct call call = {0};
        commands_add(&call.commands, "ACL", "WHOAMI", NULL);
        call_submit(pool, &f->address, 0, 5000, &call);
        wait_for(f->loop, &call.done);
        assert_int_equal(call.result.code, i < 2 ? 0 : ERR_AUTH);
        if (i < 2) {
            assert_string_equal(call.result.replies.replies[0].text, i == 0 ? "drover" : "default");
        } else {
            assert_false(call.result.may_have_run);
            assert_null(strstr(call.result.err.text, "s3cret"));
            assert_true(strlen(call.result.err.hint) > 0);
        }
        call_release(&call);
        redis_pool_free(pool);
    }
    call_release(&set);
    commands_add(&set.commands, "CONFIG", "SET", "requirepass", "", NULL);
    call_submit(plain, &f->address, 0, 5000, &set);
    wait_for(f->loop, &set.done);
    assert_true(reply_is_ok(&set.result.replies.replies[0]));
    call_release(&set);
    redis_pool_free(plain);
}

/* One PING with these options; the code it ended with. */
static int ping(struct redis_fixture *f,
                const struct redis_options *options,
                const struct address *address)
{
    struct redis_pool *pool = pool_with(f, options);
    struct call call = {0};
    commands_add(&call.commands, "PING", NULL);
    commands_begin(&call.commands);
    commands_arg_text(&call.commands, "SET");
    commands_arg_text(&call.commands, "tls");
    char *value = xcalloc(1, 300000); /* many TLS records */
    commands_arg(&call.commands, value, 300000);
    commands_add(&call.commands, "GET", "tls", NULL);
    call_submit(pool, address, 0, 15000, &call);
    wait_for(f->loop, &call.done);
    int code = call.result.code;
    if (code == 0) {
        assert_int_equal(call.result.replies.count, 3);
        assert_int_equal(call.result.replies.replies[2].len, 300000);
    } else {
        assert_true(strlen(call.result.err.text) > 20);
    }
    free(value);
    call_release(&call);
    redis_pool_free(pool);
    return code;
}

/* A folder of authorities: their files are named by hash. The caller frees its path. */
static char *make_authorities(const char *folder)
{
    char *path = xasprintf("%s/authorities", folder);
    char *script = xasprintf("mkdir '%s' && cp '%s/ca.pem' '%s' && openssl rehash '%s'", path,
                             folder, path, path);
    char *argv[] = {"sh", "-c", script, NULL};
    char out[16];
    assert_int_equal(process_run(argv, out, sizeof(out)), 0);
    free(script);
    return path;
}

/* The name may be another's; who signed it counts all the same. A CA may be found in a folder. */
static void check_signer_only(struct redis_fixture *f,
                              const struct redis_options *good,
                              const struct address *address,
                              const char *folder)
{
    struct redis_options any_name = *good;
    any_name.tls_name = "elsewhere";
    any_name.tls_any_name = true;
    assert_int_equal(ping(f, &any_name, address), 0);
    any_name.tls_ca = NULL;
    assert_int_equal(ping(f, &any_name, address), ERR_PROTOCOL);
    struct redis_options by_folder = *good;
    by_folder.tls_ca = folder; /* no hashed names in it: nothing is found */
    assert_int_equal(ping(f, &by_folder, address), ERR_PROTOCOL);
    char *authorities = make_authorities(folder);
    by_folder.tls_ca = authorities;
    assert_int_equal(ping(f, &by_folder, address), 0);
    char *remove_argv[] = {"rm", "-r", authorities, NULL}; /* the rest is files only */
    char out[16];
    assert_int_equal(process_run(remove_argv, out, sizeof(out)), 0);
    free(authorities);
}

/* TLS: the right CA and a certificate of ours pass; no CA, no certificate, a wrong name and plain
 * text do not. */
static void test_tls(void **state)
{
    struct redis_fixture *f = *state;
    char *folder = folder_new();
    if (!certificates_make(folder)) {
        print_message("no openssl program: TLS is not tested\n");
        folder_remove(folder);
        skip();
    }
    char *ca = xasprintf("%s/ca.pem", folder);
    char *cert = xasprintf("%s/cert.pem", folder);
    char *key = xasprintf("%s/key.pem", folder);
    struct address address = {.host = "127.0.0.1", .port = (uint16_t)free_port()};
    struct address by_name = {.host = "localhost", .port = address.port};
    char port[8];
    (void)snprintf(port, sizeof(port), "%d", address.port);
    char *argv[] = {"redis-server",
                    "--port",
                    "0",
                    "--tls-port",
                    port,
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--dir",
                    folder,
                    "--tls-cert-file",
                    cert,
                    "--tls-key-file",
                    key,
                    "--tls-ca-cert-file",
                    ca,
                    NULL};
    pid_t server = process_start(argv, NULL);
    wait_for_port(address.port);
    struct redis_options good = {.use_tls = true, .tls_ca = ca, .tls_cert = cert, .tls_key = key};
    assert_int_equal(ping(f, &good, &address), 0);
    assert_int_equal(ping(f, &good, &by_name), 0);
    struct redis_options insecure = {
        .use_tls = true, .tls_insecure = true, .tls_cert = cert, .tls_key = key};
    assert_int_equal(ping(f, &insecure, &address), 0);
    struct redis_options no_ca = {.use_tls = true, .tls_cert = cert, .tls_key = key};
    assert_int_equal(ping(f, &no_ca, &address), ERR_PROTOCOL);
    struct redis_options wrong_name = good;
    wrong_name.tls_name = "elsewhere";
    assert_int_equal(ping(f, &wrong_name, &address), ERR_PROTOCOL);
    check_signer_only(f, &good, &address, folder);
    struct redis_options no_cert = {.use_tls = true, .tls_ca = ca};
    int code = ping(f, &no_cert, &address);
    assert_true(code == ERR_PROTOCOL || code == ERR_UNAVAILABLE);
    struct redis_options plain = {0};
    code = ping(f, &plain, &address);
    assert_true(code == ERR_PROTOCOL || code == ERR_UNAVAILABLE);
    code = ping(f, &good, &f->address); /* TLS to a plain port */
    assert_true(code == ERR_PROTOCOL || code == ERR_UNAVAILABLE);
    struct err err = {0};
    struct redis_options missing = {.use_tls = true, .tls_ca = "/nonexistent.pem"};
    assert_null(redis_pool_new(f->loop, &missing, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.text, "/nonexistent.pem"));
    process_kill(server);
    folder_remove(folder);
    free(ca);
    free(cert);
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, redis_fixture_setup, redis_fixture_teardown);
}
