/* fuzz_redis_reader.c — bytes that claim to be RESP. In whatever pieces they arrive, the same
 * answers come out. The first byte chooses the size of the pieces. */
#include "tests/fuzz/fuzz.h"

#include "common/io/redis_reader.h"

#define BYTES_MAX 65536

/* Feeds in pieces of 'piece' bytes; *code is how it ended. Returns how many answers came. */
static int read_all(const uint8_t *data, size_t size, size_t piece, int *code)
{
    struct redis_reader *reader = redis_reader_new(BYTES_MAX);
    struct reply_list replies = {0};
    struct err err = {0};
    int rc = 0;
    for (size_t at = 0; at < size && rc >= 0; at += piece) {
        size_t some = size - at < piece ? size - at : piece;
        rc = redis_reader_feed(reader, (const char *)data + at, some, &err);
        while (rc >= 0 && (rc = redis_reader_next(reader, &replies, &err)) == 1) {
        }
    }
    int count = replies.count;
    *code = rc;
    replies_release(&replies);
    redis_reader_free(reader);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > BYTES_MAX / 2) {
        return 0;
    }
    int whole_code = 0;
    int pieces_code = 0;
    int whole = read_all(data + 1, size - 1, size, &whole_code);
    int pieces = read_all(data + 1, size - 1, (size_t)(data[0] % 32) + 1, &pieces_code);
    CHECK(whole == pieces);
    CHECK(whole_code == pieces_code);
    return 0;
}
