/* fuzz.h — what the fuzz targets share. Each is one function that libFuzzer calls with made-up
 * bytes; it aborts when a rule of the code under test does not hold, and sanitizers watch the rest.
 * tests/fuzz/run.sh gives them seeds. */
#ifndef DROVER_TESTS_FUZZ_FUZZ_H
#define DROVER_TESTS_FUZZ_FUZZ_H

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes as text; what follows a '\0' is not seen. free() it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = xmalloc(size + 1);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    return text;
}

#endif
