/* show_cluster.c — what is: status, nodes, slots, agents, the one sentence. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "common/base/crc16.h"
#include "common/base/slotset.h"
#include "ctl/fields.h"
#include "ctl/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_SHORT 8 /* characters of an id in tables; 16^8 nodes are enough apart */

enum paint paint_of_state(const char *state)
{
    static const char *const good[] = {"ok", "done", "running", NULL};
    static const char *const bad[] = {"failed", "unreachable", "cluster-down", "held", NULL};
    for (size_t i = 0; good[i] != NULL; i++) {
        if (strcmp(good[i], state) == 0) {
            return PAINT_GOOD;
        }
    }
    for (size_t i = 0; bad[i] != NULL; i++) {
        if (strcmp(bad[i], state) == 0) {
            return PAINT_BAD;
        }
    }
    return PAINT_WARN;
}

/* One line "name  value" of a head. */
static void add_line(const struct ctl *ctl,
                     struct strbuf *out,
                     const char *name,
                     enum paint paint,
                     const char *value)
{
    strbuf_addf(out, "%-13s", name);
    paint_add(out, paint, ctl->terminal.has_color, value);
    strbuf_add_char(out, '\n');
}

/* ---- status ---- */

static void add_leader(const struct ctl *ctl, const json_t *status, struct strbuf *out)
{
    struct strbuf text = {0};
    const char *leader = field_text(field_object(status, "leader"), "name");
    if (field_is(status, "leading")) {
        strbuf_addf(&text, "%s leads (fence %lld), drover %s", field_text(status, "name"),
                    (long long)field_int(status, "fence"), field_text(status, "version"));
    } else if (leader[0] != '\0') {
        strbuf_addf(&text, "%s answers and does not lead; %s leads but cannot be reached at %s",
                    field_text(status, "name"), leader,
                    field_text(field_object(status, "leader"), "api_url"));
    } else {
        strbuf_addf(&text, "%s answers and does not lead; no leader is known",
                    field_text(status, "name"));
    }
    add_line(ctl, out, "coordinator", field_is(status, "leading") ? PAINT_NONE : PAINT_BAD,
             strbuf_text(&text));
    strbuf_release(&text);
    if (!field_is(status, "store_up")) {
        add_line(ctl, out, "store", PAINT_BAD, field_text(status, "store_error"));
    }
}

static void add_counts(const struct ctl *ctl, const json_t *status, struct strbuf *out)
{
    struct strbuf text = {0};
    bool is_whole = field_int(status, "nodes") == field_int(status, "nodes_reachable");
    strbuf_addf(&text, "%lld of %lld reachable: %lld primaries, %lld replicas",
                (long long)field_int(status, "nodes_reachable"),
                (long long)field_int(status, "nodes"), (long long)field_int(status, "primaries"),
                (long long)field_int(status, "replicas"));
    if (field_int(status, "nodes_failed") > 0) {
        strbuf_addf(&text, ", %lld failed", (long long)field_int(status, "nodes_failed"));
    }
    add_line(ctl, out, "nodes", is_whole ? PAINT_NONE : PAINT_BAD, strbuf_text(&text));
    strbuf_clear(&text);
    is_whole = field_int(status, "slots_assigned") == SLOT_COUNT;
    units_add_exact(&text, field_int(status, "slots_assigned"));
    strbuf_add_text(&text, " of 16,384 assigned");
    if (field_int(status, "slots_open") > 0) {
        strbuf_addf(&text, ", %lld half moved", (long long)field_int(status, "slots_open"));
    }
    add_line(ctl, out, "slots", is_whole ? PAINT_NONE : PAINT_BAD, strbuf_text(&text));
    strbuf_clear(&text);
    units_add_exact(&text, field_int(status, "keys"));
    strbuf_add_text(&text, " in ");
    units_add_bytes(&text, (double)field_int(status, "used_memory_bytes"));
    strbuf_add_text(&text, ", ");
    units_add_count(&text, (double)field_int(status, "ops_per_s"));
    strbuf_add_text(&text, " commands/s");
    add_line(ctl, out, "keys", PAINT_NONE, strbuf_text(&text));
    strbuf_clear(&text);
    is_whole = field_int(status, "agents") == field_int(status, "agents_connected") &&
               field_int(status, "agents") > 0;
    strbuf_addf(&text, "%lld of %lld report", (long long)field_int(status, "agents_connected"),
                (long long)field_int(status, "agents"));
    add_line(ctl, out, "agents", is_whole ? PAINT_NONE : PAINT_BAD, strbuf_text(&text));
    strbuf_clear(&text);
    strbuf_addf(&text, "%lld running, %lld waiting, %lld held",
                (long long)field_int(status, "operations_running"),
                (long long)field_int(status, "operations_waiting"),
                (long long)field_int(status, "operations_held"));
    add_line(ctl, out, "operations",
             field_int(status, "operations_held") > 0 ? PAINT_BAD : PAINT_NONE, strbuf_text(&text));
    strbuf_release(&text);
}

void show_status_head(const struct ctl *ctl, const json_t *status, struct strbuf *out)
{
    const char *cluster = field_text(status, "cluster");
    const char *reason = field_text(status, "unsettled_reason");
    if (cluster[0] != '\0') {
        add_line(ctl, out, "cluster", PAINT_BOLD, cluster);
    }
    add_leader(ctl, status, out);
    if (field_is(status, "leading")) {
        add_counts(ctl, status, out);
        if (field_is(status, "settled")) {
            add_line(ctl, out, "state", PAINT_GOOD, "settled");
        } else {
            struct strbuf text = {0};
            strbuf_addf(&text, "not settled%s%s", reason[0] == '\0' ? "" : ": ", reason);
            add_line(ctl, out, "state", PAINT_WARN, strbuf_text(&text));
            strbuf_release(&text);
        }
    }
    add_line(ctl, out, "why", PAINT_NONE, field_text(status, "why"));
}

int verb_status(struct ctl *ctl, struct err *err)
{
    json_t *status = NULL;
    int code = client_ask_any(ctl->client, "/v1/status", &status, err);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(status);
    } else {
        struct strbuf out = {0};
        show_status_head(ctl, status, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(status);
    return 0;
}

/* ---- nodes ---- */

/* Shards together, the primary first; by address, ports as numbers. */
static int compare_address(const char *a, const char *b)
{
    const char *a_colon = strrchr(a, ':');
    const char *b_colon = strrchr(b, ':');
    if (a_colon != NULL && b_colon != NULL && a_colon - a == b_colon - b &&
        strncmp(a, b, (size_t)(a_colon - a)) == 0) {
        long a_port = strtol(a_colon + 1, NULL, 10);
        long b_port = strtol(b_colon + 1, NULL, 10);
        return (a_port > b_port) - (a_port < b_port);
    }
    return strcmp(a, b);
}

static const char *shard_address(const json_t *node)
{
    const char *primary = field_text(node, "primary_address");
    return primary[0] != '\0' ? primary : field_text(node, "address");
}

static int compare_nodes(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a;
    const json_t *y = *(json_t *const *)b;
    int order = compare_address(shard_address(x), shard_address(y));
    if (order == 0) {
        order = strcmp(field_text(x, "role"), field_text(y, "role")); /* "primary" < "replica" */
    }
    return order != 0 ? order : compare_address(field_text(x, "address"), field_text(y, "address"));
}

static void add_count_cell(struct table *table, int64_t count)
{
    struct strbuf text = {0};
    if (count < 0) {
        strbuf_add_char(&text, '-');
    } else {
        units_add_count(&text, (double)count);
    }
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_release(&text);
}

static void add_memory_cell(struct table *table, const json_t *node)
{
    struct strbuf text = {0};
    int64_t used = field_int(node, "used_memory_bytes");
    int64_t max = field_int(node, "maxmemory_bytes");
    if (used < 0) {
        strbuf_add_char(&text, '-');
    } else {
        units_add_bytes(&text, (double)used);
    }
    if (used >= 0 && max > 0) {
        strbuf_addf(&text, " (%d%%)", (int)(100.0 * (double)used / (double)max));
    }
    bool is_full = max > 0 && (double)used > 0.8 * (double)max;
    table_cell(table, strbuf_text(&text), is_full ? PAINT_WARN : PAINT_NONE);
    strbuf_release(&text);
}

static void add_wide_cells(struct table *table, const json_t *node)
{
    struct strbuf age = {0};
    units_add_duration(&age, field_int(node, "age_ms"));
    table_cellf(table, PAINT_NONE, "%s %s", field_text(node, "server"),
                field_text(node, "version"));
    table_cell(table, field_text(node, "agent"), PAINT_NONE);
    table_cell(table, strbuf_text(&age), PAINT_NONE);
    table_cellf(table, PAINT_NONE, "%lld", (long long)field_int(node, "config_epoch"));
    table_cell(table, field_text(node, "id"), PAINT_NONE);
    table_cell(table, field_text(node, "slots"), PAINT_NONE);
    strbuf_release(&age);
}

static void add_node_row(struct table *table, const json_t *node, bool is_wide)
{
    const char *address = field_text(node, "address");
    bool is_replica = strcmp(field_text(node, "role"), "replica") == 0;
    struct strbuf ping = {0};
    units_add_latency(&ping, field_int(node, "ping_us"));
    table_cellf(table, PAINT_NONE, "%s%s", is_replica ? "  " : "",
                address[0] == '\0' ? "?" : address);
    table_cell(table, field_text(node, "role"), PAINT_NONE);
    table_cell(table, field_text(node, "state"), paint_of_state(field_text(node, "state")));
    if (is_replica) {
        table_cell(table, "", PAINT_NONE);
    } else {
        table_cellf(table, PAINT_NONE, "%lld", (long long)field_int(node, "slot_count"));
    }
    add_count_cell(table, field_int(node, "keys"));
    add_memory_cell(table, node);
    add_count_cell(table, field_int(node, "ops_per_s"));
    table_cell(table, strbuf_text(&ping), PAINT_NONE);
    if (is_wide) {
        add_wide_cells(table, node);
    } else {
        table_cellf(table, PAINT_DIM, "%.*s", ID_SHORT, field_text(node, "id"));
    }
    strbuf_release(&ping);
}

void show_nodes_table(const struct ctl *ctl,
                      const json_t *nodes,
                      bool is_wide,
                      int width,
                      struct strbuf *out)
{
    size_t count = json_array_size(nodes);
    json_t **sorted = xcalloc(count + 1, sizeof(json_t *));
    struct table table = {0};
    for (size_t i = 0; i < count; i++) {
        sorted[i] = json_array_get(nodes, i);
    }
    qsort(sorted, count, sizeof(json_t *), compare_nodes);
    table_column(&table, "NODE", false);
    table_column(&table, "ROLE", false);
    table_column(&table, "STATE", false);
    table_column(&table, "SLOTS", true);
    table_column(&table, "KEYS", true);
    table_column(&table, "MEMORY", true);
    table_column(&table, "OPS/S", true);
    table_column(&table, "PING", true);
    if (is_wide) {
        table_column(&table, "SERVER", false);
        table_column(&table, "AGENT", false);
        table_column(&table, "AGE", true);
        table_column(&table, "EPOCH", true);
    }
    table_column(&table, "ID", false);
    if (is_wide) {
        table_column(&table, "RANGES", false);
    }
    for (size_t i = 0; i < count; i++) {
        add_node_row(&table, sorted[i], is_wide);
    }
    table_format(&table, 0, width, ctl->terminal.has_color, out);
    table_release(&table);
    free(sorted);
}

int verb_nodes(struct ctl *ctl, struct err *err)
{
    json_t *answer = NULL;
    int code = client_ask(ctl->client, "GET", "/v1/nodes", NULL, &answer, err);
    if (code != 0) {
        return code;
    }
    struct strbuf out = {0};
    const json_t *nodes = field_list(answer, "nodes");
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else if (json_array_size(nodes) == 0) {
        strbuf_add_text(
            &out, "No node is known yet: no agent has reported one. `drover why` says more.\n");
    } else {
        show_nodes_table(ctl, nodes, ctl->format == CTL_WIDE, ctl_table_width(ctl), &out);
        for (size_t i = 0; i < json_array_size(nodes); i++) {
            const json_t *node = json_array_get(nodes, i);
            const char *reason = field_text(node, "reason");
            if (reason[0] != '\0') {
                strbuf_addf(&out, "%s: %s\n", field_text(node, "address"), reason);
            }
        }
    }
    terminal_write(&out);
    strbuf_release(&out);
    json_decref(answer);
    return 0;
}

/* ---- agents and why ---- */

int verb_agents(struct ctl *ctl, struct err *err)
{
    json_t *answer = NULL;
    int code = client_ask(ctl->client, "GET", "/v1/agents", NULL, &answer, err);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
        json_decref(answer);
        return 0;
    }
    struct strbuf out = {0};
    struct table table = {0};
    table_column(&table, "AGENT", false);
    table_column(&table, "STATE", false);
    table_column(&table, "NODES", true);
    table_column(&table, "LAST REPORT", true);
    table_column(&table, "VERSION", false);
    table_column(&table, "FENCE", true);
    const json_t *agents = field_list(answer, "agents");
    for (size_t i = 0; i < json_array_size(agents); i++) {
        const json_t *agent = json_array_get(agents, i);
        bool is_connected = field_is(agent, "connected");
        struct strbuf age = {0};
        units_add_duration(&age, field_int(agent, "last_report_age_ms"));
        table_cell(&table, field_text(agent, "id"), PAINT_NONE);
        table_cell(&table, is_connected ? "reports" : "silent",
                   is_connected ? PAINT_GOOD : PAINT_BAD);
        table_cellf(&table, PAINT_NONE, "%lld", (long long)field_int(agent, "nodes"));
        table_cellf(&table, PAINT_NONE, "%s ago", strbuf_text(&age));
        table_cell(&table, field_text(agent, "version"), PAINT_NONE);
        table_cellf(&table, PAINT_NONE, "%lld", (long long)field_int(agent, "fence_acked"));
        strbuf_release(&age);
    }
    if (table_row_count(&table) == 0) {
        strbuf_add_text(&out, "No agent has reported yet.\n");
    } else {
        table_format(&table, 0, ctl_table_width(ctl), ctl->terminal.has_color, &out);
    }
    terminal_write(&out);
    table_release(&table);
    strbuf_release(&out);
    json_decref(answer);
    return 0;
}

int verb_why(struct ctl *ctl, struct err *err)
{
    json_t *answer = NULL;
    struct err why = {0};
    int code = client_ask_any(ctl->client, "/v1/why", &answer, &why);
    (void)err;
    if (code != 0) {
        answer = json_object();
        json_t *sentence = json_sprintf("%s", why.text);
        if (json_object_set_new(answer, "why",
                                sentence != NULL ? sentence : json_string("no answer")) != 0) {
            json_decref(answer);
            return code;
        }
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else {
        (void)printf("%s\n", field_text(answer, "why"));
    }
    json_decref(answer);
    /* The sentence is the error: nothing else is printed. */
    return code;
}

/* ---- slots ---- */

static int print_owner(const json_t *answer, int slot, const char *key)
{
    const json_t *ranges = field_list(answer, "ranges");
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        const json_t *range = json_array_get(ranges, i);
        if (field_int(range, "first") <= slot && slot <= field_int(range, "last")) {
            const char *id = field_text(range, "node");
            if (key != NULL) {
                (void)printf("slot %d of key %s: ", slot, key);
            } else {
                (void)printf("slot %d: ", slot);
            }
            if (id[0] == '\0') {
                (void)printf("nobody owns it, or views differ\n");
            } else {
                (void)printf("%s (%.*s)\n", field_text(range, "node_address"), ID_SHORT, id);
            }
        }
    }
    return 0;
}

static void add_ranges(const json_t *range, struct strbuf *ranges)
{
    long long first = field_int(range, "first");
    long long last = field_int(range, "last");
    strbuf_addf(ranges, "%s%lld", ranges->len == 0 ? "" : ",", first);
    if (last != first) {
        strbuf_addf(ranges, "-%lld", last);
    }
}

/* One row an owner, in order of its first slot. */
static void add_owner_rows(struct table *table, const json_t *ranges)
{
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        const char *id = field_text(json_array_get(ranges, i), "node");
        struct strbuf text = {0};
        long long count = 0;
        bool is_first = true;
        for (size_t k = 0; k < json_array_size(ranges); k++) {
            const json_t *range = json_array_get(ranges, k);
            if (strcmp(field_text(range, "node"), id) == 0) {
                is_first = is_first && k >= i;
                count += field_int(range, "last") - field_int(range, "first") + 1;
                add_ranges(range, &text);
            }
        }
        if (is_first) {
            const char *address = field_text(json_array_get(ranges, i), "node_address");
            enum paint paint = id[0] == '\0' ? PAINT_BAD : PAINT_NONE;
            table_cell(table, id[0] == '\0' ? "nobody" : address, paint);
            table_cellf(table, PAINT_NONE, "%lld", count);
            table_cellf(table, PAINT_NONE, "%.1f%%", 100.0 * (double)count / SLOT_COUNT);
            table_cellf(table, PAINT_DIM, "%.*s", ID_SHORT, id[0] == '\0' ? "-" : id);
            table_cell(table, strbuf_text(&text), PAINT_NONE);
        }
        strbuf_release(&text);
    }
}

static void show_slots(const struct ctl *ctl, const json_t *answer, struct strbuf *out)
{
    struct table table = {0};
    table_column(&table, "NODE", false);
    table_column(&table, "SLOTS", true);
    table_column(&table, "SHARE", true);
    table_column(&table, "ID", false);
    table_column(&table, "RANGES", false);
    add_owner_rows(&table, field_list(answer, "ranges"));
    table_format(&table, 0, ctl_table_width(ctl), ctl->terminal.has_color, out);
    table_release(&table);
    const json_t *opens = field_list(answer, "open");
    for (size_t i = 0; i < json_array_size(opens); i++) {
        const json_t *open = json_array_get(opens, i);
        bool is_importing = strcmp(field_text(open, "direction"), "importing") == 0;
        strbuf_addf(out, "open: slot %lld, %s is %s %s %s\n", (long long)field_int(open, "slot"),
                    field_text(open, "node_address"), field_text(open, "direction"),
                    is_importing ? "from" : "to", field_text(open, "peer_address"));
    }
    const json_t *disagreements = field_list(answer, "disagreements");
    for (size_t i = 0; i < json_array_size(disagreements); i++) {
        strbuf_addf(out, "views differ: %s\n", json_string_value(json_array_get(disagreements, i)));
    }
}

int verb_slots(struct ctl *ctl, struct err *err)
{
    long slot = -1;
    const char *key = arguments_text(&ctl->arguments, "key");
    int code = arguments_int(&ctl->arguments, "slot", 0, SLOT_COUNT - 1, -1, &slot, err);
    if (code != 0) {
        return code;
    }
    if (key != NULL) {
        slot = key_slot(key, strlen(key));
    }
    json_t *answer = NULL;
    code = client_ask(ctl->client, "GET", "/v1/slots", NULL, &answer, err);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else if (slot >= 0) {
        code = print_owner(answer, (int)slot, key);
    } else {
        struct strbuf out = {0};
        show_slots(ctl, answer, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(answer);
    return code;
}
