/* fuzz_words.c — the small texts that people type: slot ranges, addresses, node ids. What is
 * accepted is written and read back to the same value. */
#include "tests/fuzz/fuzz.h"

#include "common/base/slotset.h"
#include "common/model/ids.h"

static void check_slots(const char *text)
{
    struct slotset first = {0};
    struct slotset second = {0};
    struct strbuf written = {0};
    struct err err = {0};
    if (slotset_parse(&first, text, &err) == 0) {
        slotset_format(&first, &written);
        int rc = slotset_parse(&second, strbuf_text(&written), &err);
        CHECK(rc == 0);
        CHECK(memcmp(&first, &second, sizeof(first)) == 0);
    } else {
        CHECK(err.text[0] != '\0');
    }
    strbuf_release(&written);
}

static void check_address(const char *text)
{
    struct address first = {0};
    struct address second = {0};
    char written[ADDRESS_TEXT_SIZE];
    struct err err = {0};
    if (address_parse(&first, text, &err) == 0) {
        int rc = address_parse(&second, address_format(&first, written), &err);
        CHECK(rc == 0);
        CHECK(address_is_equal(&first, &second));
    } else {
        CHECK(err.text[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct node_id id = {0};
    struct err err = {0};
    char *text = fuzz_text(data, size);
    check_slots(text);
    check_address(text);
    if (node_id_parse(&id, text, strlen(text), &err) == 0) {
        CHECK(strcmp(id.text, text) == 0);
    }
    free(text);
    return 0;
}
