/* crc16.c — see crc16.h. Polynomial 0x1021, start 0, no reflection. */
#include "common/base/crc16.h"

#include <string.h>

/* One nibble at a time: 16 entries are easy to check by eye and fast enough for planning. */
static const uint16_t nibble_table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5,
                                          0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
                                          0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};

uint16_t crc16(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    unsigned crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc = ((crc << 4) ^ nibble_table[((crc >> 12) ^ (bytes[i] >> 4)) & 15u]) & 0xffffu;
        crc = ((crc << 4) ^ nibble_table[((crc >> 12) ^ bytes[i]) & 15u]) & 0xffffu;
    }
    return (uint16_t)crc;
}

uint16_t key_slot(const void *key, size_t size)
{
    const char *bytes = key;
    const char *open = size == 0 ? NULL : memchr(bytes, '{', size);
    if (open != NULL) {
        const char *tag = open + 1;
        size_t rest = size - (size_t)(tag - bytes);
        const char *close = rest == 0 ? NULL : memchr(tag, '}', rest);
        if (close != NULL && close > tag) {
            return crc16(tag, (size_t)(close - tag)) & 16383u;
        }
    }
    return crc16(bytes, size) & 16383u;
}
