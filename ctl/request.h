/* request.h — what the command line asks for, as the body of POST /v1/plans and /v1/operations.
 *
 * Texts are sent as they are; what they mean is the API's to judge. Must not know answers. */
#ifndef DROVER_CTL_REQUEST_H
#define DROVER_CTL_REQUEST_H

#include "common/model/ids.h"
#include "ctl/arguments.h"

#include <jansson.h>

/* The kind that a verb stands for: "rebalance" of "plan rebalance". */
const char *request_kind(const struct arguments *arguments);
/* The body from a command line; a new reference, or NULL with err. */
json_t *request_make(const struct arguments *arguments, struct err *err);
/* Who asks: "ann@host". */
void request_sign(json_t *request);
/* Sets a field; takes the reference. */
void request_set(json_t *object, const char *key, json_t *value);
/* A text of the command line; ERR_INVALID when it is no UTF-8, which cannot be sent. */
int request_set_text(json_t *object, const char *key, const char *text, struct err *err)
    WARN_UNUSED;

#endif
