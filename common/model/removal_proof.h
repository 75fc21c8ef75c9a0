/* removal_proof.h — the removal certificate as text: what the leader writes and an agent, Ansible
 * or Terraform reads before a server is stopped.
 *
 * One text only, byte for byte: lines "key value" in this order, each once.
 *   certificate drover-removal-1
 *   node <id>            address <host:port>    slots 0     keys 0       replicas 0
 *   open 0               known-by 0             asked <n>   dead yes|no
 *   fence <n>            operation <id>         signature <64 hex digits>
 * The signature is HMAC-SHA256 of all the lines before it, line ends included; without a key the
 * line is missing. Pure. Source: docs/lifecycle.md. */
#ifndef DROVER_MODEL_REMOVAL_PROOF_H
#define DROVER_MODEL_REMOVAL_PROOF_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/model/ids.h"
#include "common/model/record.h"

#include <stdbool.h>
#include <stdint.h>

struct removal_proof {
    struct node_id node;
    struct address address;
    int64_t slots; /* as they were counted; a proof is one only when these are 0 */
    int64_t keys;
    int64_t replicas;
    int64_t open;
    int64_t known_by; /* live members that still list the node */
    int64_t asked;    /* live members asked, >= 1 */
    bool is_dead;     /* the node did not answer: its keys are given up */
    int64_t fence;    /* of the leader that judged, >= 1 */
    char operation_id[OPERATION_ID_SIZE];
};

/* Appends the text; signed when key is not "". */
void removal_proof_format(const struct removal_proof *proof, const char *key, struct strbuf *out);

/* Reads a text. ERR_INVALID: it is none, or anything differs from what removal_proof_format()
 * writes. ERR_AUTH: key is not "" and the signature is missing or not of it. ERR_REFUSED: it proves
 * something else than that the node may be stopped; the text names what. 'proof' is untouched on
 * failure. A signature is not looked at without a key. */
int removal_proof_parse(struct removal_proof *proof,
                        const char *text,
                        const char *key,
                        struct err *err) WARN_UNUSED;

#endif
