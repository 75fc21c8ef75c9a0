/* outside_task.c — see outside_task.h. */
#include "agent/core/outside_task.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* It becomes part of file names and URLs of others. */
static bool is_plain(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL) {
            return false;
        }
    }
    return text[0] != '\0' && text[0] != '.' && text[0] != '-';
}

static int read_request(struct outside_task *out, const struct task *task, struct err *err)
{
    char digits[32];
    if (!task_detail_get(task, "request", out->request_id, sizeof(out->request_id)) ||
        !is_plain(out->request_id)) {
        return err_set(err, ERR_INVALID, "the task names no request of letters, digits, . _ and -");
    }
    if (task_detail_get(task, "maxmemory", digits, sizeof(digits))) {
        char *end = NULL;
        errno = 0;
        long long value = strtoll(digits, &end, 10);
        if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || errno != 0) {
            return err_set(err, ERR_INVALID, "maxmemory \"%s\" is not a whole number", digits);
        }
        out->maxmemory_bytes = value;
    }
    (void)task_detail_get(task, "zone", out->zone, sizeof(out->zone));
    return 0;
}

static int read_proof(struct outside_task *out,
                      const struct task *task,
                      const struct outside_settings *settings,
                      struct err *err)
{
    const char *end = strchr(task->detail, '\n');
    const char *text = end == NULL ? "" : end + 1;
    int code = removal_proof_parse(&out->proof, text, settings->certificate_key, err);
    if (code == 0 && !address_is_equal(&out->proof.address, &task->node_address)) {
        char address[ADDRESS_TEXT_SIZE];
        code =
            err_set(err, ERR_REFUSED, "the removal certificate is for %.100s, not for this server",
                    address_format(&out->proof.address, address));
    }
    out->has_key = settings->certificate_key[0] != '\0';
    return code;
}

static int check_offer(const struct task *task,
                       const struct outside_settings *settings,
                       struct err *err)
{
    char agent[AGENT_ID_SIZE];
    if (!task_detail_get(task, "agent", agent, sizeof(agent))) {
        return err_set(err, ERR_INVALID, "the task names no agent");
    }
    if (strcmp(agent, settings->agent) != 0) {
        return err_set(err, ERR_REFUSED, "the task is for agent %s, not for %s", agent,
                       settings->agent);
    }
    if (task->kind == TASK_TRAFFIC && settings->hook_count == 0) {
        return err_set(err, ERR_REFUSED, "agent %s has no drain hook", agent);
    }
    if (task->kind != TASK_TRAFFIC && (int)settings->provisioner.way == 0) {
        return err_set(err, ERR_REFUSED, "agent %s has no provisioner", agent);
    }
    return 0;
}

int outside_task_read(struct outside_task *out,
                      const struct task *task,
                      const struct outside_settings *settings,
                      struct err *err)
{
    *out = (struct outside_task){0};
    int code = check_offer(task, settings, err);
    if (code != 0) {
        return code;
    }
    if (task->kind == TASK_RELEASE) {
        return read_proof(out, task, settings, err);
    }
    (void)task_detail_get(task, "role", out->role, sizeof(out->role));
    return task->kind == TASK_PROVISION ? read_request(out, task, err) : 0;
}
