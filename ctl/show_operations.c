/* show_operations.c — operations: the list, one with its batches, and what can be done to one. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "ctl/fields.h"
#include "ctl/units.h"

#include <stdlib.h>
#include <string.h>

#define BATCHES_SHOWN 20 /* more only with -o wide */

/* ---- the list ---- */

static void add_operation_row(struct table *table, const json_t *operation)
{
    struct progress progress;
    struct strbuf text = {0};
    const char *state = field_text(operation, "state");
    field_progress(operation, &progress);
    table_cell(table, field_text(operation, "id"), PAINT_NONE);
    table_cell(table, field_text(operation, "kind"), PAINT_NONE);
    table_cell(table, state, paint_of_state(state));
    units_add_percent(&text, (int64_t)(progress_fraction(&progress) * 1e6), 1000000);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_clear(&text);
    units_add_exact(&text, progress.slots_done);
    strbuf_add_char(&text, '/');
    units_add_exact(&text, progress.slots_total);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_clear(&text);
    units_add_count(&text, (double)progress.keys_done);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_clear(&text);
    units_add_bytes(&text, (double)progress.bytes_done);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_clear(&text);
    units_add_duration(&text, progress.elapsed_ms);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_clear(&text);
    units_add_duration(&text, field_is(operation, "is_final") ? -1 : progress.eta_ms);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    table_cell(table, field_text(operation, "created"), PAINT_DIM);
    table_cell(table, field_text(operation, "reason"), PAINT_NONE);
    strbuf_release(&text);
}

void show_operations_table(const struct ctl *ctl,
                           const json_t *operations,
                           int width,
                           struct strbuf *out)
{
    struct table table = {0};
    table_column(&table, "ID", false);
    table_column(&table, "KIND", false);
    table_column(&table, "STATE", false);
    table_column(&table, "DONE", true);
    table_column(&table, "SLOTS", true);
    table_column(&table, "KEYS", true);
    table_column(&table, "BYTES", true);
    table_column(&table, "TIME", true);
    table_column(&table, "ETA", true);
    table_column(&table, "CREATED", false);
    table_column(&table, "REASON", false);
    for (size_t i = 0; i < json_array_size(operations); i++) {
        add_operation_row(&table, json_array_get(operations, i));
    }
    table_format(&table, 0, width, ctl->terminal.has_color, out);
    table_release(&table);
}

int verb_ops(struct ctl *ctl, struct err *err)
{
    long limit = 0;
    int code = arguments_int(&ctl->arguments, "limit", 1, 10000, 100, &limit, err);
    const char *state = arguments_text(&ctl->arguments, "state");
    if (code == 0 && state != NULL &&
        strspn(state, "abcdefghijklmnopqrstuvwxyz") != strlen(state)) {
        code = err_set(err, ERR_INVALID, "--state is \"%.40s\", which is no state", state);
    }
    if (code != 0) {
        return code;
    }
    char *path = state == NULL ? xasprintf("/v1/operations?limit=%ld", limit)
                               : xasprintf("/v1/operations?limit=%ld&state=%s", limit, state);
    json_t *answer = NULL;
    code = client_ask(ctl->client, "GET", path, NULL, &answer, err);
    free(path);
    if (code != 0) {
        return code;
    }
    struct strbuf out = {0};
    const json_t *operations = field_list(answer, "operations");
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else if (json_array_size(operations) == 0) {
        strbuf_add_text(&out, "No operations.\n");
    } else {
        show_operations_table(ctl, operations, ctl_table_width(ctl), &out);
    }
    terminal_write(&out);
    strbuf_release(&out);
    json_decref(answer);
    return 0;
}

/* ---- one ---- */

static void add_pair(struct strbuf *out, const char *name, const char *value)
{
    if (value[0] != '\0') {
        strbuf_addf(out, "%-13s%s\n", name, value);
    }
}

/* What a request on a node's life names besides its node. */
static void add_life(const json_t *request, struct strbuf *out)
{
    const json_t *addresses = field_list(request, "addresses");
    const char *target = field_text(request, "target_address");
    for (size_t i = 0; i < json_array_size(addresses); i++) {
        strbuf_addf(out, "%s%s", i == 0 ? " of " : ", ",
                    json_string_value(json_array_get(addresses, i)));
    }
    if (field_is(request, "as_replica")) {
        strbuf_add_text(out, " as replica");
    }
    if (field_int(request, "slot_count") < 0 && field_text(request, "target")[0] != '\0') {
        bool is_heir = strcmp(field_text(request, "kind"), "remove") == 0;
        strbuf_addf(out, is_heir ? ", %s takes over" : " of %s",
                    target[0] == '\0' ? field_text(request, "target") : target);
    }
    if (field_int(request, "primaries") > 0) {
        strbuf_addf(out, " to %lld primaries", (long long)field_int(request, "primaries"));
    }
    if (field_int(request, "replicas") >= 0) {
        strbuf_addf(out, " with %lld replicas each", (long long)field_int(request, "replicas"));
    }
    static const char *const words[] = {"dead",  "keep_running", "without_slots",
                                        "force", "replace",      "unreachable_ok"};
    static const char *const texts[] = {", which is dead", ", kept running",
                                        ", without slots", ", by force",
                                        ", replacing",     ", covering what does not answer"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        strbuf_add_text(out, field_is(request, words[i]) ? texts[i] : "");
    }
}

static void add_request(const json_t *operation, struct strbuf *out)
{
    const json_t *request = field_object(operation, "request");
    struct strbuf text = {0};
    const char *target = field_text(request, "target_address");
    const char *node = field_text(request, "node_address");
    strbuf_add_text(&text, field_text(operation, "kind"));
    if (field_int(request, "slot_count") > 0) {
        strbuf_addf(&text, " of %lld slots to %s", (long long)field_int(request, "slot_count"),
                    target[0] == '\0' ? field_text(request, "target") : target);
    }
    if (field_text(request, "node")[0] != '\0') {
        strbuf_addf(&text, " of %.*s", node[0] == '\0' ? 8 : 280,
                    node[0] == '\0' ? field_text(request, "node") : node);
    }
    add_life(request, &text);
    strbuf_addf(&text, ", speed %s, asked for by %s", field_text(request, "speed"),
                field_text(operation, "requested_by"));
    add_pair(out, "what", strbuf_text(&text));
    strbuf_release(&text);
}

/* Slots, keys and bytes of a move; a task has none. */
static void add_batch_amounts(struct table *table, const json_t *batch, bool is_task)
{
    struct strbuf bytes = {0};
    units_add_bytes(&bytes, (double)field_int(batch, "bytes_moved"));
    if (is_task) {
        table_cell(table, "", PAINT_NONE);
        table_cell(table, "", PAINT_NONE);
        table_cell(table, "", PAINT_NONE);
    } else {
        table_cellf(table, PAINT_NONE, "%lld/%lld", (long long)field_int(batch, "slots_done"),
                    (long long)field_int(batch, "slot_count"));
        table_cellf(table, PAINT_NONE, "%lld/%lld", (long long)field_int(batch, "keys_moved"),
                    (long long)field_int(batch, "keys_estimate"));
        table_cell(table, strbuf_text(&bytes), PAINT_NONE);
    }
    strbuf_release(&bytes);
}

/* By its address; a node that has left is known by its id alone. */
static void add_batch_node(struct table *table,
                           const json_t *batch,
                           const char *id_key,
                           const char *address_key)
{
    const char *address = field_text(batch, address_key);
    if (address[0] != '\0') {
        table_cell(table, address, PAINT_NONE);
    } else {
        table_cellf(table, PAINT_NONE, "%.8s", field_text(batch, id_key));
    }
}

static void add_batch_row(struct table *table, const json_t *batch, bool is_wide)
{
    const json_t *task = field_object(batch, "task");
    const char *text = field_text(task, "text");
    const char *state = field_text(batch, "state");
    const json_t *order = field_object(batch, "order");
    const char *reason = field_text(batch, "reason");
    struct strbuf what = {0};
    const char *doing = reason[0] != '\0' ? reason : field_text(order, "doing");
    table_cellf(table, PAINT_NONE, "%lld", (long long)field_int(batch, "index"));
    table_cell(table, state, paint_of_state(strcmp(state, "waiting") == 0 ? "ok" : state));
    add_batch_node(table, task == NULL ? batch : NULL, "source", "source_address");
    add_batch_node(table, task == NULL ? batch : NULL, "target", "target_address");
    add_batch_amounts(table, batch, task != NULL);
    table_cellf(table, PAINT_NONE, "%lld", (long long)field_int(batch, "attempt"));
    if (is_wide) {
        struct strbuf call = {0};
        units_add_latency(&call, order == NULL ? -1 : field_int(order, "call_us_p50"));
        table_cell(table, strbuf_text(&call), PAINT_NONE);
        table_cell(table, field_text(batch, "agent"), PAINT_NONE);
        table_cell(table, field_text(batch, "slots"), PAINT_NONE);
        strbuf_release(&call);
    }
    strbuf_addf(&what, "%s%s%s", text, text[0] != '\0' && doing[0] != '\0' ? ": " : "", doing);
    table_cell(table, strbuf_text(&what), PAINT_NONE);
    strbuf_release(&what);
}

static void add_batches(const struct ctl *ctl, const json_t *batches, struct strbuf *out)
{
    struct table table = {0};
    bool is_wide = ctl->format == CTL_WIDE;
    int shown = 0;
    int left = 0;
    table_column(&table, "BATCH", true);
    table_column(&table, "STATE", false);
    table_column(&table, "FROM", false);
    table_column(&table, "TO", false);
    table_column(&table, "SLOTS", true);
    table_column(&table, "KEYS", true);
    table_column(&table, "BYTES", true);
    table_column(&table, "TRY", true);
    if (is_wide) {
        table_column(&table, "CALL", true);
        table_column(&table, "AGENT", false);
        table_column(&table, "RANGES", false);
    }
    table_column(&table, "WHAT", false);
    bool is_long = json_array_size(batches) > BATCHES_SHOWN && !is_wide;
    for (size_t i = 0; i < json_array_size(batches); i++) {
        const json_t *batch = json_array_get(batches, i);
        /* Of a long plan what is done is the least interesting. */
        bool is_done = strcmp(field_text(batch, "state"), "done") == 0;
        if (is_long && (is_done || shown >= BATCHES_SHOWN)) {
            left++;
            continue;
        }
        add_batch_row(&table, batch, is_wide);
        shown++;
    }
    if (shown > 0) {
        strbuf_add_char(out, '\n');
        table_format(&table, 0, ctl_table_width(ctl), ctl->terminal.has_color, out);
    }
    if (left > 0) {
        strbuf_addf(out, "%sand %d more; -o wide shows all\n", shown == 0 ? "\n" : "", left);
    }
    table_release(&table);
}

static void show_operation(const struct ctl *ctl, const json_t *operation, struct strbuf *out)
{
    struct progress progress;
    struct strbuf text = {0};
    const char *state = field_text(operation, "state");
    const char *reason = field_text(operation, "reason");
    field_progress(operation, &progress);
    strbuf_addf(out, "%-13s%s\n", "operation", field_text(operation, "id"));
    add_request(operation, out);
    strbuf_addf(out, "%-13s", "state");
    paint_add(out, paint_of_state(state), ctl->terminal.has_color, state);
    strbuf_addf(out, "%s%s\n", reason[0] == '\0' ? "" : ": ", reason);
    progress_add_line(&text, &progress, terminal_width(&ctl->terminal) - 13);
    add_pair(out, "progress", strbuf_text(&text));
    strbuf_clear(&text);
    strbuf_addf(&text, "%s", field_text(operation, "created"));
    if (progress.elapsed_ms >= 0) {
        strbuf_add_text(&text, ", runs ");
        units_add_duration(&text, progress.elapsed_ms);
    }
    add_pair(out, "created", strbuf_text(&text));
    strbuf_clear(&text);
    strbuf_addf(&text, "%lld of %lld done, %lld running",
                (long long)field_int(operation, "batches_done"),
                (long long)field_int(operation, "batches_total"),
                (long long)field_int(operation, "batches_running"));
    if (field_int(operation, "batches_total") > 0) {
        add_pair(out, "batches", strbuf_text(&text));
    }
    add_batches(ctl, field_list(operation, "batches"), out);
    strbuf_release(&text);
}

/* An id goes into a path: only what ids are made of may pass. */
static int check_id(const char *id, struct err *err)
{
    if (strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(id) || id[0] == '\0') {
        int code = err_set(err, ERR_NOT_FOUND, "there is no operation \"%.60s\"", id);
        err_hint(err, "`drover ops` lists those that are known");
        return code;
    }
    return 0;
}

int verb_op_show(struct ctl *ctl, struct err *err)
{
    const char *id = ctl->arguments.words[0];
    int code = check_id(id, err);
    if (code != 0) {
        return code;
    }
    char *path = xasprintf("/v1/operations/%s", id);
    json_t *operation = NULL;
    code = client_ask(ctl->client, "GET", path, NULL, &operation, err);
    free(path);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(operation);
    } else {
        struct strbuf out = {0};
        show_operation(ctl, operation, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(operation);
    return 0;
}

int verb_op_follow(struct ctl *ctl, struct err *err)
{
    int code = check_id(ctl->arguments.words[0], err);
    return code != 0 ? code : follow_operation(ctl, ctl->arguments.words[0], err);
}

int verb_op_change(struct ctl *ctl, struct err *err)
{
    const char *id = ctl->arguments.words[0];
    const char *verb = ctl->arguments.verb->name + strlen("op ");
    int code = check_id(id, err);
    if (code != 0) {
        return code;
    }
    char *path = xasprintf("/v1/operations/%s/%s", id, verb);
    json_t *answer = NULL;
    code = client_ask(ctl->client, "POST", path, NULL, &answer, err);
    free(path);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else {
        struct strbuf out = {0};
        const json_t *operation = field_object(answer, "operation");
        strbuf_addf(&out, "%s is %s\n", id,
                    operation == NULL ? "changed" : field_text(operation, "state"));
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(answer);
    return 0;
}
