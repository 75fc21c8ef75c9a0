/* test_certificate.c — the signature of removal certificates: who holds the public key can check
 * the very text, and nothing else passes. */
#include "common/base/alloc.h"
#include "common/io/signer.h"
#include "coordinator/shell/api_internal.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/drover-test-certificate-XXXXXX";
static char path[128];

static void write_key(EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    EVP_PKEY_free(key);
}

static struct signer *make_signer(void)
{
    write_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    struct err err = {0};
    struct signer *signer = signer_new(path, &err);
    if (signer == NULL) {
        fail_msg("%s", err.text);
    }
    return signer;
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/key.pem", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static json_t *facts(void)
{
    return json_pack("{s:s, s:b, s:i}", "node", "0123", "granted", 1, "slots", 0);
}

static void test_signed(void **state)
{
    (void)state;
    struct signer *signer = make_signer();
    struct err err = {0};
    json_t *told = facts();
    json_t *out = json_object();
    assert_int_equal(api_sign_facts(signer, told, out, &err), 0);
    const char *payload = json_string_value(json_object_get(out, "payload"));
    const char *signature = json_string_value(json_object_get(out, "signature"));
    assert_string_equal(payload, "{\"granted\":true,\"node\":\"0123\",\"slots\":0}");
    assert_string_equal(json_string_value(json_object_get(out, "algorithm")), "ed25519");
    assert_string_equal(json_string_value(json_object_get(out, "key_id")), signer_key_id(signer));
    assert_int_equal(strlen(signer_key_id(signer)), 16);
    assert_true(signer_verify(signer, payload, strlen(payload), signature));
    assert_false(signer_verify(signer, payload, strlen(payload) - 1, signature));
    assert_false(signer_verify(signer, payload, strlen(payload), ""));
    assert_false(signer_verify(signer, payload, strlen(payload), "not base64 at all"));
    char *bent = xstrdup(signature);
    bent[5] = bent[5] == 'A' ? 'B' : 'A';
    assert_false(signer_verify(signer, payload, strlen(payload), bent));
    free(bent);
    /* Another key's word counts for nothing. */
    struct signer *other = make_signer();
    assert_false(signer_verify(other, payload, strlen(payload), signature));
    assert_string_not_equal(signer_key_id(signer), signer_key_id(other));
    signer_free(other);
    signer_free(signer);
    json_decref(out);
    json_decref(told);
}

/* Without a key the facts are told, and that nobody signed them. */
static void test_unsigned(void **state)
{
    (void)state;
    struct err err = {0};
    json_t *told = facts();
    json_t *out = json_object();
    assert_int_equal(api_sign_facts(NULL, told, out, &err), 0);
    assert_string_equal(json_string_value(json_object_get(out, "algorithm")), "none");
    assert_true(json_is_null(json_object_get(out, "signature")));
    assert_true(json_is_null(json_object_get(out, "key_id")));
    json_decref(out);
    json_decref(told);
}

static void test_wrong_key(void **state)
{
    (void)state;
    struct err err = {0};
    assert_null(signer_new("/nonexistent/key.pem", &err));
    assert_int_equal(err.code, ERR_IO);
    write_key(EVP_PKEY_Q_keygen(NULL, NULL, "X25519"));
    assert_null(signer_new(path, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.hint, "openssl genpkey -algorithm ed25519"));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("no key\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_null(signer_new(path, &err));
    assert_int_equal(err.code, ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed),
        cmocka_unit_test(test_unsigned),
        cmocka_unit_test(test_wrong_key),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
