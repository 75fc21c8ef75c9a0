/* conformance_text.h — replies of the model and of real servers as the same text, for
 * test_conformance.c. */
#ifndef DROVER_TESTS_SIM_CONFORMANCE_TEXT_H
#define DROVER_TESTS_SIM_CONFORMANCE_TEXT_H

#include "common/base/strbuf.h"
#include "common/model/ids.h"
#include "common/model/reply.h"

#define CONFORMANCE_NODES 5

/* What differs between two runs of a script, and is replaced by letters. */
struct conformance_names {
    char ids[CONFORMANCE_NODES][NODE_ID_LEN + 1];
    uint16_t ports[CONFORMANCE_NODES];
};

void conformance_format_reply(struct strbuf *out, const struct reply *reply);
/* Ids become $A, $B, ..., addresses @A, @B, ... */
void conformance_replace_names(const struct conformance_names *names, struct strbuf *text);
/* CLUSTER NODES: rows in order, without addresses and times. */
void conformance_normalise_nodes(struct strbuf *text);
/* CLUSTER INFO: the lines that both sides must have alike. */
void conformance_normalise_info(struct strbuf *text);

#endif
