/* outside_json.h — requests to provisioners and drain hooks as JSON, and their answers read.
 *
 * Internal to outside_host.c. The contract for people: docs/outside.md. */
#ifndef DROVER_AGENT_SHELL_OUTSIDE_JSON_H
#define DROVER_AGENT_SHELL_OUTSIDE_JSON_H

#include "agent/core/host_call.h"
#include "common/base/err.h"

#include <stddef.h>

/* Appends the request as one line of JSON, with its line end. */
void outside_json_request(const struct outside_call *call, struct strbuf *out);

/* Reads one JSON object; is_over is left false, is_maybe_received true. Unknown members are
 * ignored. ERR_PROTOCOL: it is no object, has no known "state", or a member is of the wrong type;
 * 'answer' is untouched then. */
int outside_json_answer(const char *text,
                        size_t len,
                        struct outside_answer *answer,
                        struct err *err) WARN_UNUSED;

#endif
