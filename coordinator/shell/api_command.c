/* api_command.c — operators' commands: handed to the core, answered when the core has answered. */
#include "coordinator/shell/api_internal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

struct api_pending {
    struct api *api;
    struct http_request *request;
    struct operation_request asked; /* of a plan, to be repeated in the answer; owned */
    enum coordinator_command_kind kind;
    api_answer *answer; /* NULL = with the plan, the operation or the error */
    struct api_pending *next;
};

static void pending_unlink(struct api *api, struct api_pending *pending)
{
    struct api_pending **link = &api->pending;
    while (*link != pending) {
        CHECK(*link != NULL);
        link = &(*link)->next;
    }
    *link = pending->next;
    api->pending_count--;
}

static void pending_release(struct api_pending *pending)
{
    operation_request_release(&pending->asked);
    free(pending);
}

static const struct operation *find_operation(const struct coordinator *core, const char *id)
{
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        if (strcmp(operation->id, id) == 0) {
            return operation;
        }
    }
    return NULL;
}

static void command_done(void *user,
                         const struct err *err,
                         const char *operation_id,
                         const struct plan *plan,
                         const char *description)
{
    struct api_pending *pending = user;
    struct api *api = pending->api;
    const struct coordinator *core = api_core(api);
    pending_unlink(api, pending);
    if (pending->answer != NULL) {
        pending->answer(api, pending->request, err, &pending->asked);
        pending_release(pending);
        return;
    }
    if (err->code != 0) {
        api_respond_error(api, pending->request, err);
        pending_release(pending);
        return;
    }
    const struct topology *topology = coordinator_topology(core);
    const struct operation *operation = find_operation(core, operation_id);
    json_t *out = json_object();
    if (pending->kind != COMMAND_PLAN) {
        api_set(out, "operation",
                operation == NULL ? json_null() : api_operation_json(api, operation, false));
    }
    if (plan != NULL) {
        json_t *body = api_plan_json(plan, topology);
        api_set(body, "request", api_request_json(&pending->asked, topology));
        api_set_steps(body, description);
        api_set(out, "plan", body);
    }
    api_respond(api, pending->request, pending->kind == COMMAND_START ? 201 : 200, out);
    pending_release(pending);
}

void api_command(struct api *api,
                 struct http_request *request,
                 const struct coordinator_command *command,
                 api_answer *answer)
{
    if (api->pending_count >= API_PENDING_MAX) {
        struct err err = {0};
        err_set(&err, ERR_UNAVAILABLE, "%d commands are waiting for an answer", api->pending_count);
        err_hint(&err, "try again in a moment");
        api_respond_error(api, request, &err);
        return;
    }
    struct api_pending *pending = xcalloc(1, sizeof(*pending));
    *pending = (struct api_pending){.api = api,
                                    .request = request,
                                    .kind = command->kind,
                                    .answer = answer,
                                    .next = api->pending};
    operation_request_copy(&pending->asked, &command->request);
    api->pending = pending;
    api->pending_count++;
    coordinator_shell_command(api->shell, command, command_done, pending);
}

void api_pending_free(struct api *api)
{
    while (api->pending != NULL) {
        struct api_pending *pending = api->pending;
        coordinator_shell_command_forget(api->shell, pending);
        pending_unlink(api, pending);
        pending_release(pending);
    }
}
