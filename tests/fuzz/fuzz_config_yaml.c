/* fuzz_config_yaml.c — a settings file that anybody may have written. */
#include "tests/fuzz/fuzz.h"

#include "common/io/config_yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_file file = {0};
    struct err err = {0};
    if (config_file_parse(&file, "drover.yaml", (const char *)data, size, &err) != 0) {
        CHECK(err.text[0] != '\0');
    }
    for (int i = 0; i < file.count; i++) {
        const struct config_value *found = config_file_find(&file, file.values[i].key);
        CHECK(found == &file.values[i]); /* keys are unique */
    }
    config_file_release(&file);
    return 0;
}
