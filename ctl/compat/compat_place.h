/* compat_place.h — the private folder of one cluster, locked while a run works on the cluster. */
#ifndef DROVER_CTL_COMPAT_COMPAT_PLACE_H
#define DROVER_CTL_COMPAT_COMPAT_PLACE_H

#include "common/base/err.h"

#include <stdbool.h>

struct compat_place {
    char *folder;    /* owned; mode 0700, ours */
    int lock;        /* descriptor; -1 = none */
    bool has_waited; /* another run held it first */
};

/* Makes and locks the folder of 'name' (letters and digits). Waits for another run, after saying
 * so. ERR_IO, ERR_REFUSED when the folder is not safely ours. */
int compat_place_open(struct compat_place *place, const char *name, struct err *err) WARN_UNUSED;
/* 'removes': also what is in it. */
void compat_place_close(struct compat_place *place, bool removes);

#endif
