/* store_etcd.c — the store on etcd's v3 JSON gateway. */
#include "common/io/store_backend.h"

int store_etcd_open(const char *rest, const struct store_options *options, uv_loop_t *loop, struct store **out,
                    struct err *err)
{
    (void)options;
    (void)loop;
    (void)out;
    return err_set(err, ERR_CONFIG, "this build has no etcd store (etcd://%.100s)", rest);
}
