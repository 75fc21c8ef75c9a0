/* api_adopt.c — POST /v1/nodes: has the agents look at a node that nobody told them of, so that the
 * cluster it is in becomes known, and stays known over restarts. */
#include "coordinator/shell/api_internal.h"

#include "common/base/alloc.h"

#include <string.h>

static int read_node(const struct http_request *request, struct address *out, struct err *err)
{
    const char *text = NULL;
    const char *key = NULL;
    json_t *value = NULL;
    json_t *body = api_read_body(request, err);
    int code = body == NULL ? err->code : api_field_text(body, "address", &text, err);
    json_object_foreach(body, key, value)
    {
        if (code == 0 && strcmp(key, "address") != 0) {
            code = err_set(err, ERR_INVALID, "a node has no field \"%.60s\"", key);
            err_hint(err, "known is address");
        }
    }
    if (code == 0 && text == NULL) {
        code = err_set(err, ERR_INVALID, "field \"address\" is missing");
        err_hint(err, "name a node that runs, as \"host:port\"");
    }
    if (code == 0) {
        code = address_parse(out, text, err);
    }
    json_decref(body);
    return code;
}

static int find_at(const struct topology *topology, const struct address *address)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (address_is_equal(&topology->nodes[i].address, address)) {
            return i;
        }
    }
    return NO_NODE;
}

static void answer_adopt(struct api *api,
                         struct http_request *request,
                         const struct err *err,
                         const struct operation_request *asked)
{
    const struct topology *topology = coordinator_topology(api_core(api));
    char text[ADDRESS_TEXT_SIZE];
    if (err->code == ERR_UNAVAILABLE || err->code == ERR_NOT_LEADER || err->code == ERR_FENCED ||
        err->code == ERR_CANCELLED) {
        api_respond_error(api, request, err);
        return;
    }
    int node = find_at(topology, &asked->addresses[0]);
    const struct topology_node *found = node == NO_NODE ? NULL : &topology->nodes[node];
    int members = 0;
    for (int i = 0; i < topology->node_count; i++) {
        members += topology->nodes[i].is_member;
    }
    json_t *out = json_object();
    api_set(out, "address", api_text(address_format(&asked->addresses[0], text)));
    api_set(out, "node", api_text_or_null(found == NULL ? "" : found->id.text));
    api_set(out, "state", api_text_or_null(found == NULL ? "" : api_node_state(found)));
    api_set(out, "is_member", json_boolean(found != NULL && found->is_member));
    api_set(out, "members", json_integer(members));
    api_respond(api, request, found == NULL ? 202 : 200, out);
}

void api_post_node(struct api *api, struct http_request *request, const char *rest)
{
    struct address address = {0};
    struct err err = {0};
    (void)rest;
    if (read_node(request, &address, &err) != 0) {
        api_respond_error(api, request, &err);
        return;
    }
    struct coordinator_command command = {
        .kind = COMMAND_ADOPT,
        .request = {.kind = OPERATION_ADD, .replicas_wanted = -1},
    };
    command.request.addresses = xmemdup(&address, sizeof(address));
    command.request.address_count = 1;
    api_command(api, request, &command, answer_adopt);
    operation_request_release(&command.request);
}
