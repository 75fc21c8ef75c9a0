/* adopt.c — `drover adopt`: has the agents look at a node, and waits until its cluster is known. */
#include "ctl/ctl.h"

#include "common/model/ids.h"
#include "ctl/fields.h"

#include <string.h>

#define ADOPT_POLL_MS 500
#define ADOPT_UNSEEN_MS 20000 /* no agent has read it for so long: give up */
#define ADOPT_ALONE_MS 8000   /* it was read, but its cluster did not show */

static json_t *make_body(const char *text, struct err *err)
{
    struct address address;
    if (address_parse(&address, text, err) != 0) {
        return NULL;
    }
    json_t *body = json_pack("{s:s}", "address", text);
    if (body == NULL) {
        err_set(err, ERR_INVALID, "\"%.60s\" is no UTF-8 text", text);
    }
    return body;
}

/* Why it did not become a member, after the time for it has passed. */
static int give_up(const json_t *answer, const char *text, struct err *err)
{
    int code = 0;
    if (field_text(answer, "node")[0] == '\0') {
        code = err_set(err, ERR_TIMEOUT, "no agent could read a node at %.280s within %d s", text,
                       ADOPT_UNSEEN_MS / 1000);
        err_hint(err, "does it run, in cluster mode, and is the agents' password right?");
    } else if (field_int(answer, "members") > 0) {
        code = err_set(err, ERR_CONFLICT,
                       "%.280s runs, but is not in the cluster that this coordinator runs", text);
        err_hint(err, "a coordinator runs one cluster; to make it join: drover add %.200s", text);
    } else {
        code = err_set(err, ERR_NOT_FOUND, "%.280s runs, but is in no cluster yet", text);
        err_hint(err, "make one: drover create HOST:PORT...");
    }
    return code;
}

static int watch(struct ctl *ctl, const json_t *body, json_t **answer, struct err *err)
{
    const char *text = ctl->arguments.words[0];
    int64_t begun_ms = terminal_now_ms();
    int64_t seen_ms = -1;
    terminal_catch_interrupt();
    while (true) {
        int code = client_ask(ctl->client, "POST", "/v1/nodes", body, answer, err);
        int64_t now_ms = terminal_now_ms();
        if (code != 0 || field_is(*answer, "is_member")) {
            return code;
        }
        if (seen_ms < 0 && field_text(*answer, "node")[0] != '\0') {
            seen_ms = now_ms;
        }
        bool is_over =
            seen_ms < 0 ? now_ms - begun_ms >= ADOPT_UNSEEN_MS : now_ms - seen_ms >= ADOPT_ALONE_MS;
        if (is_over) {
            code = give_up(*answer, text, err);
        }
        if (is_over || terminal_is_interrupted()) {
            json_decref(*answer);
            *answer = NULL;
            return is_over ? code : CTL_DETACHED;
        }
        json_decref(*answer);
        *answer = NULL;
        terminal_wait(ADOPT_POLL_MS);
    }
}

int verb_adopt(struct ctl *ctl, struct err *err)
{
    json_t *answer = NULL;
    json_t *body = make_body(ctl->arguments.words[0], err);
    if (body == NULL) {
        return err->code;
    }
    int code = watch(ctl, body, &answer, err);
    json_decref(body);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else {
        struct strbuf out = {0};
        int64_t members = field_int(answer, "members");
        strbuf_addf(&out, "%s is one of %lld node%s that drover knows now.\n",
                    field_text(answer, "address"), (long long)members, members == 1 ? "" : "s");
        strbuf_add_text(&out,
                        "See them with: drover nodes; see whether all is well: drover doctor\n");
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(answer);
    return 0;
}
