/* removal_proof.c — see removal_proof.h. */
#include "common/model/removal_proof.h"

#include "common/base/sha256.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROOF_HEAD "certificate drover-removal-1\n"
#define SIGNATURE_KEY "signature "
#define PROOF_LINE_SIZE 512

static void format_body(const struct removal_proof *proof, struct strbuf *out)
{
    char address[ADDRESS_TEXT_SIZE];
    strbuf_add_text(out, PROOF_HEAD);
    strbuf_addf(out, "node %s\naddress %s\n", proof->node.text,
                address_format(&proof->address, address));
    strbuf_addf(out, "slots %" PRId64 "\nkeys %" PRId64 "\nreplicas %" PRId64 "\n", proof->slots,
                proof->keys, proof->replicas);
    strbuf_addf(out, "open %" PRId64 "\nknown-by %" PRId64 "\nasked %" PRId64 "\n", proof->open,
                proof->known_by, proof->asked);
    strbuf_addf(out, "dead %s\nfence %" PRId64 "\noperation %s\n", proof->is_dead ? "yes" : "no",
                proof->fence, proof->operation_id);
}

static void sign(const char *body, size_t len, const char *key, char text[SHA256_TEXT_SIZE])
{
    uint8_t digest[SHA256_SIZE];
    hmac_sha256(key, strlen(key), body, len, digest);
    sha256_format(digest, text);
}

void removal_proof_format(const struct removal_proof *proof, const char *key, struct strbuf *out)
{
    struct strbuf body = {0};
    format_body(proof, &body);
    strbuf_add(out, body.data, body.len);
    if (key[0] != '\0') {
        char signature[SHA256_TEXT_SIZE];
        sign(strbuf_text(&body), body.len, key, signature);
        strbuf_addf(out, SIGNATURE_KEY "%s\n", signature);
    }
    strbuf_release(&body);
}

/* ---- reading ---- */

/* The value of the next line, which must have this key. False when it is another. */
static bool take(const char **at, const char *key, char value[PROOF_LINE_SIZE])
{
    size_t key_len = strlen(key);
    if (strncmp(*at, key, key_len) != 0 || (*at)[key_len] != ' ') {
        return false;
    }
    const char *from = *at + key_len + 1;
    size_t len = strcspn(from, "\n");
    if (from[len] != '\n' || len >= PROOF_LINE_SIZE) {
        return false;
    }
    memcpy(value, from, len);
    value[len] = '\0';
    *at = from + len + 1;
    return true;
}

static bool take_number(const char **at, const char *key, int64_t *out)
{
    char value[PROOF_LINE_SIZE];
    if (!take(at, key, value) || value[0] < '0' || value[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    *out = strtoll(value, &end, 10);
    return *end == '\0' && errno == 0;
}

static bool take_names(const char **at, struct removal_proof *proof)
{
    char value[PROOF_LINE_SIZE];
    struct err err;
    return take(at, "certificate", value) && take(at, "node", value) &&
           node_id_parse(&proof->node, value, strlen(value), &err) == 0 &&
           take(at, "address", value) && address_parse(&proof->address, value, &err) == 0;
}

static bool take_counts(const char **at, struct removal_proof *proof)
{
    char dead[PROOF_LINE_SIZE];
    char operation[PROOF_LINE_SIZE];
    bool is_good =
        take_number(at, "slots", &proof->slots) && take_number(at, "keys", &proof->keys) &&
        take_number(at, "replicas", &proof->replicas) && take_number(at, "open", &proof->open) &&
        take_number(at, "known-by", &proof->known_by) && take_number(at, "asked", &proof->asked) &&
        take(at, "dead", dead) && take_number(at, "fence", &proof->fence) &&
        take(at, "operation", operation);
    if (!is_good || strlen(operation) >= sizeof(proof->operation_id)) {
        return false;
    }
    proof->is_dead = strcmp(dead, "yes") == 0;
    memcpy(proof->operation_id, operation, strlen(operation) + 1);
    return true;
}

/* What the certificate says must be that the node may go. */
static int judge(const struct removal_proof *proof, struct err *err)
{
    const struct {
        const char *what;
        int64_t count;
    } counts[] = {
        {"slots", proof->slots},
        {"keys", proof->keys},
        {"replicas", proof->replicas},
        {"open slots", proof->open},
        {"members that list it", proof->known_by},
    };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i].count != 0) {
            return err_set(err, ERR_REFUSED, "the certificate counts %" PRId64 " %s, not 0",
                           counts[i].count, counts[i].what);
        }
    }
    if (proof->asked < 1 || proof->fence < 1 || proof->operation_id[0] == '\0') {
        return err_set(err, ERR_REFUSED,
                       "the certificate names no fence, no operation, or nobody was asked");
    }
    return 0;
}

/* The digits are compared in a time that does not tell how many were right. */
static bool is_signed(const char *body, size_t len, const char *rest, const char *key)
{
    char want[SHA256_TEXT_SIZE];
    char value[PROOF_LINE_SIZE];
    sign(body, len, key, want);
    if (!take(&rest, "signature", value) || strlen(value) != SHA256_TEXT_SIZE - 1) {
        return false;
    }
    unsigned difference = 0;
    for (size_t i = 0; i < SHA256_TEXT_SIZE - 1; i++) {
        difference |= (unsigned)(unsigned char)want[i] ^ (unsigned)(unsigned char)value[i];
    }
    return difference == 0;
}

int removal_proof_parse(struct removal_proof *proof,
                        const char *text,
                        const char *key,
                        struct err *err)
{
    struct removal_proof read = {0};
    const char *at = text;
    if (!take_names(&at, &read) || !take_counts(&at, &read)) {
        return err_set(err, ERR_INVALID, "this is no removal certificate");
    }
    size_t len = (size_t)(at - text);
    struct strbuf again = {0};
    format_body(&read, &again);
    bool is_same = again.len == len && memcmp(strbuf_text(&again), text, len) == 0;
    strbuf_release(&again);
    const char *after = at;
    char value[PROOF_LINE_SIZE];
    if (is_same && *after != '\0') {
        is_same = take(&after, "signature", value) && *after == '\0';
    }
    if (!is_same) {
        return err_set(err, ERR_INVALID,
                       "the removal certificate is not written as drover writes it");
    }
    if (key[0] != '\0' && !is_signed(text, len, at, key)) {
        int code =
            err_set(err, ERR_AUTH, "the removal certificate of %.8s is not signed by the key here",
                    read.node.text);
        err_hint(err, "give agents and coordinators the same certificate key");
        return code;
    }
    int code = judge(&read, err);
    if (code == 0) {
        *proof = read;
    }
    return code;
}
