/* fuzz_info_text.c — INFO and CLUSTER INFO of a server we do not trust. */
#include "tests/fuzz/fuzz.h"

#include "common/model/info_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct info info;
    struct cluster_info cluster;
    struct err err = {0};
    if (info_parse(&info, (const char *)data, size, &err) == 0) {
        CHECK(info.replicas_kept >= 0);
        CHECK(info.replicas_kept <= INFO_REPLICAS_MAX);
    } else {
        CHECK(err.text[0] != '\0');
    }
    err = (struct err){0};
    if (cluster_info_parse(&cluster, (const char *)data, size, &err) != 0) {
        CHECK(err.text[0] != '\0');
    }
    return 0;
}
