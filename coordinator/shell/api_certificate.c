/* api_certificate.c — GET /v1/certificates/NODE: the proof that a node may be switched off, signed,
 * or what stands against it. The judgement is removal.h's. */
#include "coordinator/shell/api_internal.h"

#include "common/base/check.h"
#include "common/io/clock.h"
#include "coordinator/core/removal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which node, and by whose doing ---- */

struct removal_subject {
    struct node_id node;
    struct address address; /* port 0 = not known */
    const char *operation_id;
};

/* Forgetting is the last step that touches the cluster: what follows it waits for the certificate.
 * One that was broken off counts, too: whether all have forgotten is asked of the views. */
static const struct task *find_leave(const struct plan *plan,
                                     const struct node_id *node,
                                     const struct address *address)
{
    for (int i = 0; plan != NULL && plan->batches != NULL && i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        if (batch->kind != BATCH_TASK || batch->task == NULL || batch->task->kind != TASK_LEAVE ||
            (batch->state != BATCH_DONE && batch->attempt == 0)) {
            continue;
        }
        if (node != NULL ? node_id_is_equal(&batch->task->node, node)
                         : address_is_equal(&batch->task->node_address, address)) {
            return batch->task;
        }
    }
    return NULL;
}

/* The newest operation that removed the node; true when there is one. */
static bool find_operation(const struct coordinator *core, struct removal_subject *subject)
{
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        const struct plan *plan = coordinator_plan(core, operation->id);
        const struct task *leave = find_leave(plan, &subject->node, NULL);
        bool is_removed = operation->request.kind == OPERATION_REMOVE &&
                          operation->state == OPERATION_DONE &&
                          node_id_is_equal(&operation->request.node, &subject->node);
        if (leave != NULL && subject->address.port == 0) {
            subject->address = leave->node_address;
        }
        if (leave != NULL || is_removed) {
            subject->operation_id = operation->id;
            return true;
        }
    }
    return false;
}

/* A node that has left is known by the address that it left from: what answers there now has
 * another id. */
static bool find_left(const struct coordinator *core,
                      const char *text,
                      struct removal_subject *subject)
{
    struct address address;
    if (address_parse(&address, text, NULL) != 0) {
        return false;
    }
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        const struct plan *plan = coordinator_plan(core, operation->id);
        const struct task *leave = find_leave(plan, NULL, &address);
        if (leave != NULL) {
            *subject = (struct removal_subject){leave->node, address, operation->id};
            return true;
        }
    }
    return false;
}

/* A member that has come to the address since is meant before one that has left from there. */
static int find_subject(const struct coordinator *core,
                        const char *text,
                        struct removal_subject *subject,
                        struct err *err)
{
    const struct topology *topology = coordinator_topology(core);
    *subject = (struct removal_subject){.operation_id = ""};
    int node = topology_find_node(topology, text, err);
    bool is_member = node >= 0 && topology->nodes[node].is_member;
    if (!is_member && find_left(core, text, subject)) {
        return 0;
    }
    if (node >= 0) {
        subject->node = topology->nodes[node].id;
        subject->address = topology->nodes[node].address;
    } else if (node_id_parse(&subject->node, text, strlen(text), NULL) != 0) {
        return node;
    }
    (void)find_operation(core, subject);
    return 0;
}

/* ---- as JSON ---- */

static json_t *facts_json(struct api *api, const struct removal_certificate *facts)
{
    char address[ADDRESS_TEXT_SIZE];
    int64_t now_wall_ms = clock_wall_ms();
    json_t *out = json_object();
    api_set(out, "cluster", api_text(coordinator_shell_config(api->shell)->cluster));
    api_set(out, "node", api_text(facts->node.text));
    api_set(out, "address",
            facts->address.port == 0 ? json_null()
                                     : api_text(address_format(&facts->address, address)));
    api_set(out, "granted", json_boolean(facts->is_granted));
    api_set(out, "reason", api_text(facts->reason));
    api_set(out, "slots", json_integer(facts->slot_count));
    api_set(out, "keys", api_known(facts->key_count));
    api_set(out, "replicas", json_integer(facts->replica_count));
    api_set(out, "open_slots", json_integer(facts->open_count));
    api_set(out, "known_by", json_integer(facts->known_by));
    api_set(out, "asked", json_integer(facts->asked));
    api_set(out, "dead", json_boolean(facts->is_dead));
    api_set(out, "fence", json_integer(facts->fence));
    api_set(out, "operation", api_text_or_null(facts->operation_id));
    api_set(out, "topology_digest", api_hex(facts->topology_digest));
    api_set(out, "issued_wall_ms", json_integer(now_wall_ms));
    api_set(out, "issued", api_wall_time(now_wall_ms));
    return out;
}

int api_sign_facts(const struct signer *signer, json_t *facts, json_t *out, struct err *err)
{
    char signature[SIGNER_TEXT_SIZE] = "";
    char *payload = json_dumps(facts, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK(payload != NULL);
    int code = signer == NULL ? 0 : signer_sign(signer, payload, strlen(payload), signature, err);
    if (code == 0) {
        api_set(out, "certificate", json_incref(facts));
        api_set(out, "payload", api_text(payload));
        api_set(out, "algorithm", json_string(signer == NULL ? "none" : "ed25519"));
        api_set(out, "key_id", api_text_or_null(signer == NULL ? "" : signer_key_id(signer)));
        api_set(out, "signature", api_text_or_null(signature));
    }
    free(payload);
    return code;
}

/* ---- the handler ---- */

static void refuse(struct api *api,
                   struct http_request *request,
                   const struct removal_certificate *facts,
                   json_t *told)
{
    char address[ADDRESS_TEXT_SIZE] = "an unknown address";
    struct err err = {0};
    if (facts->address.port != 0) {
        (void)address_format(&facts->address, address);
    }
    err_set(&err, ERR_CONFLICT, "node %.8s (%s) may not be switched off: %s", facts->node.text,
            address, facts->reason);
    err_hint(&err, "%s",
             facts->operation_id[0] == '\0'
                 ? "take it out first: drover remove NODE"
                 : "it may take a moment: drover certificate NODE --wait");
    json_t *body = api_error_json(api, &err);
    api_set(body, "certificate", told);
    api_respond(api, request, api_status_of(err.code), body);
}

void api_get_certificate(struct api *api, struct http_request *request, const char *rest)
{
    const struct coordinator *core = api_core(api);
    struct removal_subject subject;
    struct removal_certificate facts = {0};
    struct err err = {0};
    if (find_subject(core, rest, &subject, &err) != 0) {
        api_respond_error(api, request, &err);
        return;
    }
    removal_certify(coordinator_topology(core), &subject.node,
                    subject.address.port == 0 ? NULL : &subject.address, coordinator_fence(core),
                    subject.operation_id, &facts);
    json_t *told = facts_json(api, &facts);
    if (!facts.is_granted) {
        refuse(api, request, &facts, told);
        return;
    }
    json_t *out = json_object();
    if (api_sign_facts(api->signer, told, out, &err) != 0) {
        json_decref(out);
        json_decref(told);
        api_respond_error(api, request, &err);
        return;
    }
    json_decref(told);
    api_respond(api, request, 200, out);
}
