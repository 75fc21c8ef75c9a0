/* test_sha256.c — the vectors of FIPS 180-4 and RFC 4231, and every length around a block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/sha256.h"

static void expect(const void *data, size_t size, const char *want)
{
    uint8_t digest[SHA256_SIZE];
    char text[SHA256_TEXT_SIZE];
    sha256(data, size, digest);
    sha256_format(digest, text);
    assert_string_equal(text, want);
}

static void hashes(void **state)
{
    (void)state;
    static char million[1000000];
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(two_blocks, strlen(two_blocks),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof(million));
    expect(million, sizeof(million),
           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void expect_hmac(const void *key, size_t key_size, const char *data, const char *want)
{
    uint8_t digest[SHA256_SIZE];
    char text[SHA256_TEXT_SIZE];
    hmac_sha256(key, key_size, data, strlen(data), digest);
    sha256_format(digest, text);
    assert_string_equal(text, want);
}

static void signs(void **state)
{
    (void)state;
    uint8_t key[131];
    memset(key, 0x0b, 20);
    expect_hmac(key, 20, "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    expect_hmac("Jefe", 4, "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    expect_hmac(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void compares(void **state)
{
    (void)state;
    uint8_t a[SHA256_SIZE] = {1};
    uint8_t b[SHA256_SIZE] = {1};
    assert_true(sha256_is_equal(a, b));
    b[SHA256_SIZE - 1] = 1;
    assert_false(sha256_is_equal(a, b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes),
        cmocka_unit_test(signs),
        cmocka_unit_test(compares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
