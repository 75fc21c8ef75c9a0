/* fuzz_message.c — what a peer on the bus sends: refused with a reason, or a value that encodes to
 * bytes which mean the same. */
#include "tests/fuzz/fuzz.h"

#include "common/wire/message_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message first = {0};
    struct message second = {0};
    struct strbuf bytes = {0};
    struct strbuf again = {0};
    struct err err = {0};
    if (message_decode(data, size, &first, &err) != 0) {
        CHECK(err.text[0] != '\0');
        return 0;
    }
    message_encode(&first, &bytes);
    int rc = message_decode(bytes.data, bytes.len, &second, &err);
    CHECK(rc == 0);
    message_encode(&second, &again);
    CHECK(again.len == bytes.len);
    CHECK(memcmp(again.data, bytes.data, bytes.len) == 0);
    message_release(&first);
    message_release(&second);
    strbuf_release(&bytes);
    strbuf_release(&again);
    return 0;
}
