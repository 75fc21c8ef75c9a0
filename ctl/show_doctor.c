/* show_doctor.c — what is wrong, for people; and the proof that a node may be switched off. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "ctl/fields.h"
#include "ctl/units.h"

#include <stdlib.h>
#include <string.h>

#define CERTIFICATE_POLL_MS 1000
#define CERTIFICATE_LIMIT_MS (10L * 60 * 1000)
#define INDENT 10 /* of what stands under a finding */

/* ---- doctor ---- */

static enum paint paint_of_severity(const char *severity)
{
    if (strcmp(severity, "error") == 0) {
        return PAINT_BAD;
    }
    return strcmp(severity, "warning") == 0 ? PAINT_WARN : PAINT_DIM;
}

/* Nodes and slots in full: sentences cut them. */
static void add_details(const json_t *finding, struct strbuf *out)
{
    const json_t *nodes = field_list(finding, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        strbuf_addf(out, "%*snode %s %s\n", INDENT, "", field_text(node, "id"),
                    field_text(node, "address"));
    }
    if (field_text(finding, "slots")[0] != '\0') {
        strbuf_addf(out, "%*sslots %s\n", INDENT, "", field_text(finding, "slots"));
    }
}

static void add_finding(const struct ctl *ctl, const json_t *finding, struct strbuf *out)
{
    const char *severity = field_text(finding, "severity");
    const char *remedy = field_text(finding, "remedy");
    paint_add(out, paint_of_severity(severity), ctl->terminal.has_color, severity);
    strbuf_addf(out, "%*s%s\n", (int)(INDENT - strlen(severity)), "", field_text(finding, "text"));
    strbuf_addf(out, "%*s%s", INDENT, "", field_text(finding, "code"));
    if (field_int(finding, "for_ms") >= 0) {
        strbuf_add_text(out, ", for ");
        units_add_duration(out, field_int(finding, "for_ms"));
    }
    strbuf_add_char(out, '\n');
    if (remedy[0] != '\0') {
        strbuf_addf(out, "%*sto do: %s\n", INDENT, "", remedy);
    }
    if (ctl->format == CTL_WIDE) {
        add_details(finding, out);
    }
}

static void add_plural(struct strbuf *out, int64_t count, const char *word, const char *before)
{
    strbuf_addf(out, "%s%lld %s%s", before, (long long)count, word, count == 1 ? "" : "s");
}

static void show_findings(const struct ctl *ctl, const json_t *answer, struct strbuf *out)
{
    const json_t *findings = field_list(answer, "findings");
    bool is_repairable = false;
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        add_finding(ctl, finding, out);
        strbuf_add_char(out, '\n');
        is_repairable = is_repairable || field_is(finding, "is_repairable");
    }
    if (field_int(answer, "left_out") > 0) {
        strbuf_addf(out, "and %lld more\n\n", (long long)field_int(answer, "left_out"));
    }
    if (field_int(answer, "nodes") == 0) {
        strbuf_add_text(out, "No node is known yet: nothing can be said.\n");
        return;
    }
    bool is_healthy = field_is(answer, "healthy");
    paint_add(out, is_healthy ? PAINT_GOOD : PAINT_BAD, ctl->terminal.has_color,
              is_healthy ? "healthy" : "not healthy");
    add_plural(out, field_int(answer, "errors"), "error", ": ");
    add_plural(out, field_int(answer, "warnings"), "warning", ", ");
    add_plural(out, field_int(answer, "notes"), "note", ", ");
    add_plural(out, field_int(answer, "nodes"), "node", " on ");
    strbuf_add_char(out, '\n');
    if (is_repairable) {
        strbuf_add_text(out, "See what drover would mend: drover repair --dry-run\n");
    }
}

int verb_doctor(struct ctl *ctl, struct err *err)
{
    json_t *answer = NULL;
    int code = client_ask(ctl->client, "GET", "/v1/doctor", NULL, &answer, err);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else {
        struct strbuf out = {0};
        show_findings(ctl, answer, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    /* All has been said: the code alone is left to tell. */
    code = field_is(answer, "healthy") ? 0 : ERR_CONFLICT;
    json_decref(answer);
    return code;
}

/* ---- certificate ---- */

static void show_certificate(const json_t *answer, struct strbuf *out)
{
    const json_t *facts = field_object(answer, "certificate");
    const char *address = field_text(facts, "address");
    const char *key = field_text(answer, "key_id");
    strbuf_addf(out, "%-13s%s%s%s\n", "node", field_text(facts, "node"),
                address[0] == '\0' ? "" : " at ", address);
    strbuf_addf(out, "%-13s%s\n", "may go", field_text(facts, "reason"));
    strbuf_addf(out, "%-13s%s, fence %lld, cluster %s\n", "vouched by",
                field_text(facts, "operation"), (long long)field_int(facts, "fence"),
                field_text(facts, "cluster")[0] == '\0' ? "-" : field_text(facts, "cluster"));
    strbuf_addf(out, "%-13s%s\n", "issued", field_text(facts, "issued"));
    if (key[0] == '\0') {
        strbuf_addf(out, "%-13s%s\n", "signature",
                    "none: the coordinator has no certificate-key-file");
    } else {
        strbuf_addf(out, "%-13s%s, key %s\n", "signature", field_text(answer, "algorithm"), key);
    }
}

/* What may pass while one waits: facts that are still missing, and leaders that change. */
static bool is_passing(int code)
{
    return code == ERR_CONFLICT || code == ERR_UNAVAILABLE || code == ERR_NOT_LEADER ||
           code == ERR_TIMEOUT || code == ERR_FENCED;
}

/* The last answer stays in the sentence: it says what to see to. */
static int give_up(long limit_ms, struct err *err)
{
    struct strbuf limit = {0};
    units_add_duration(&limit, limit_ms);
    err->code = ERR_TIMEOUT;
    int code = err_wrap(err, "not within %s", strbuf_text(&limit));
    strbuf_release(&limit);
    return code;
}

static int ask_certificate(struct ctl *ctl,
                           const char *path,
                           long limit_ms,
                           json_t **answer,
                           struct err *err)
{
    char told[ERR_TEXT_SIZE] = "";
    int64_t end_ms = terminal_now_ms() + limit_ms;
    terminal_catch_interrupt();
    while (true) {
        int code = client_ask(ctl->client, "GET", path, NULL, answer, err);
        if (code == 0 || limit_ms == 0 || !is_passing(code)) {
            return code;
        }
        int64_t left_ms = end_ms - terminal_now_ms();
        if (left_ms <= 0) {
            return give_up(limit_ms, err);
        }
        if (ctl->format != CTL_JSON && strcmp(told, err->text) != 0) {
            struct strbuf out = {0};
            strbuf_addf(&out, "waiting: %s\n", err->text);
            terminal_write(&out);
            strbuf_release(&out);
            memcpy(told, err->text, sizeof(told));
        }
        terminal_wait(left_ms < CERTIFICATE_POLL_MS ? left_ms : CERTIFICATE_POLL_MS);
        if (terminal_is_interrupted()) {
            return CTL_DETACHED;
        }
        *err = (struct err){0};
    }
}

int verb_certificate(struct ctl *ctl, struct err *err)
{
    const char *node = ctl->arguments.words[0];
    bool is_waiting = arguments_has(&ctl->arguments, "wait");
    long limit_ms = 0;
    int code = arguments_duration(&ctl->arguments, "limit", CERTIFICATE_LIMIT_MS, &limit_ms, err);
    if (code != 0) {
        return code;
    }
    if (strspn(node, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_[]") !=
        strlen(node)) {
        return err_set(err, ERR_INVALID, "\"%.60s\" names no node", node);
    }
    char *path = xasprintf("/v1/certificates/%s", node);
    json_t *answer = NULL;
    code = ask_certificate(ctl, path, is_waiting ? limit_ms : 0, &answer, err);
    free(path);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else {
        struct strbuf out = {0};
        show_certificate(answer, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(answer);
    return 0;
}
