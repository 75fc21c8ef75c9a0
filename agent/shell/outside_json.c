/* outside_json.c — see outside_json.h. */
#include "agent/shell/outside_json.h"

#include "common/base/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTRACT_VERSION 1

static const char *action_word(enum outside_action action)
{
    switch (action) {
    case OUTSIDE_PROVISION:
        return "provision";
    case OUTSIDE_RELEASE:
        return "release";
    case OUTSIDE_DRAIN:
        return "drain";
    case OUTSIDE_UNDRAIN:
        return "undrain";
    case OUTSIDE_STATUS:
        return "status";
    }
    UNREACHABLE("outside action");
}

static void put(json_t *object, const char *key, json_t *value)
{
    CHECK(json_object_set_new(object, key, value) == 0);
}

/* Texts of ours are UTF-8 or plain; what is not is left out rather than sent broken. */
static void put_text(json_t *object, const char *key, const char *text)
{
    json_t *value = text[0] != '\0' ? json_string(text) : NULL;
    if (value != NULL) {
        put(object, key, value);
    }
}

void outside_json_request(const struct outside_call *call, struct strbuf *out)
{
    json_t *object = json_object();
    put(object, "version", json_integer(CONTRACT_VERSION));
    put_text(object, "action", action_word(call->action));
    if (call->action == OUTSIDE_STATUS) {
        put_text(object, "of", action_word(call->status_of));
    }
    put_text(object, "request_id", call->request_id);
    put_text(object, "cluster", call->cluster);
    if (call->address.port != 0) {
        char text[ADDRESS_TEXT_SIZE];
        put_text(object, "address", address_format(&call->address, text));
    }
    put_text(object, "node_id", call->node.text);
    put_text(object, "role", call->role);
    put_text(object, "zone", call->zone);
    if (call->maxmemory_bytes > 0) {
        put(object, "maxmemory", json_integer(call->maxmemory_bytes));
    }
    char *text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    CHECK(text != NULL);
    strbuf_add_text(out, text);
    strbuf_add_char(out, '\n');
    free(text);
    json_decref(object);
}

static enum outside_state state_of(const char *word)
{
    static const char *const words[] = {
        [OUTSIDE_RUNNING] = "running", [OUTSIDE_READY] = "ready",   [OUTSIDE_DONE] = "done",
        [OUTSIDE_UNKNOWN] = "unknown", [OUTSIDE_FAILED] = "failed",
    };
    for (int i = OUTSIDE_RUNNING; i <= OUTSIDE_FAILED; i++) {
        if (strcmp(words[i], word) == 0) {
            return (enum outside_state)i;
        }
    }
    return (enum outside_state)0;
}

/* Control bytes of others do not reach logs and terminals. */
static void copy_message(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
    for (char *c = to; *c != '\0'; c++) {
        *c = (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c;
    }
}

static int read_members(const json_t *object, struct outside_answer *answer, struct err *err)
{
    const char *state = json_string_value(json_object_get(object, "state"));
    const char *message = json_string_value(json_object_get(object, "message"));
    const char *address = json_string_value(json_object_get(object, "address"));
    const json_t *retry = json_object_get(object, "retry");
    const json_t *percent = json_object_get(object, "percent");
    answer->state = state_of(state == NULL ? "" : state);
    if ((int)answer->state == 0) {
        return err_set(err, ERR_PROTOCOL, "the answer's state \"%.40s\" is not one of the contract",
                       state == NULL ? "" : state);
    }
    copy_message(answer->message, sizeof(answer->message), message == NULL ? "" : message);
    answer->is_retryable = retry == NULL || !json_is_false(retry);
    double share = json_is_number(percent) ? json_number_value(percent) : -1;
    answer->percent = share >= 0 && share <= 100 ? (int)share : -1;
    if (address != NULL) {
        struct err detail;
        if (address_parse(&answer->address, address, &detail) != 0) {
            return err_set(err, ERR_PROTOCOL, "the answer's address: %s", detail.text);
        }
    }
    return 0;
}

int outside_json_answer(const char *text,
                        size_t len,
                        struct outside_answer *answer,
                        struct err *err)
{
    json_error_t detail;
    json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &detail);
    if (!json_is_object(object)) {
        json_decref(object);
        return err_set(err, ERR_PROTOCOL, "the answer is no JSON object");
    }
    struct outside_answer read = {.is_maybe_received = true};
    int code = read_members(object, &read, err);
    json_decref(object);
    if (code == 0) {
        *answer = read;
    }
    return code;
}
