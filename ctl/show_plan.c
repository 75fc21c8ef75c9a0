/* show_plan.c — a plan for people: sums, who gives to whom, batches, big keys. */
#include "ctl/ctl.h"

#include "ctl/fields.h"
#include "ctl/units.h"

#include <string.h>

#define BATCHES_SHOWN 40 /* more only with -o wide */
#define PAIRS_MAX 256    /* rows of the sums; a plan with more is shown by its batches alone */

/* What one node gives another in all. */
struct pair {
    const json_t *first; /* batch with the names */
    int64_t slots;
    int64_t keys;
    int64_t bytes;
    int batches;
};

static void add_amounts(struct table *table, int64_t slots, int64_t keys, int64_t bytes)
{
    struct strbuf text = {0};
    units_add_exact(&text, slots);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_clear(&text);
    units_add_count(&text, (double)keys);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_clear(&text);
    units_add_bytes(&text, (double)bytes);
    table_cell(table, strbuf_text(&text), PAINT_NONE);
    strbuf_release(&text);
}

static const char *node_name(const json_t *batch, const char *address_key, const char *id_key)
{
    const char *address = field_text(batch, address_key);
    return address[0] != '\0' ? address : field_text(batch, id_key);
}

static int sum_pairs(const json_t *batches, struct pair pairs[PAIRS_MAX])
{
    int count = 0;
    for (size_t i = 0; i < json_array_size(batches); i++) {
        const json_t *batch = json_array_get(batches, i);
        int at = 0;
        while (at < count &&
               (strcmp(field_text(pairs[at].first, "source"), field_text(batch, "source")) != 0 ||
                strcmp(field_text(pairs[at].first, "target"), field_text(batch, "target")) != 0)) {
            at++;
        }
        if (at == PAIRS_MAX) {
            return 0;
        }
        if (at == count) {
            pairs[count++] = (struct pair){.first = batch};
        }
        pairs[at].slots += field_int(batch, "slot_count");
        pairs[at].keys += field_int(batch, "keys_estimate");
        pairs[at].bytes += field_int(batch, "bytes_estimate");
        pairs[at].batches++;
    }
    return count;
}

static void add_pairs(const struct ctl *ctl, const json_t *batches, struct strbuf *out)
{
    struct pair pairs[PAIRS_MAX];
    struct table table = {0};
    int count = sum_pairs(batches, pairs);
    table_column(&table, "FROM", false);
    table_column(&table, "TO", false);
    table_column(&table, "BATCHES", true);
    table_column(&table, "SLOTS", true);
    table_column(&table, "KEYS", true);
    table_column(&table, "BYTES", true);
    for (int i = 0; i < count; i++) {
        table_cell(&table, node_name(pairs[i].first, "source_address", "source"), PAINT_NONE);
        table_cell(&table, node_name(pairs[i].first, "target_address", "target"), PAINT_NONE);
        table_cellf(&table, PAINT_NONE, "%d", pairs[i].batches);
        add_amounts(&table, pairs[i].slots, pairs[i].keys, pairs[i].bytes);
    }
    if (count > 0) {
        table_format(&table, 2, ctl_table_width(ctl), ctl->terminal.has_color, out);
    }
    table_release(&table);
}

static void add_batches(const struct ctl *ctl, const json_t *batches, struct strbuf *out)
{
    struct table table = {0};
    size_t count = json_array_size(batches);
    size_t shown = ctl->format == CTL_WIDE || count < BATCHES_SHOWN ? count : BATCHES_SHOWN;
    table_column(&table, "BATCH", true);
    table_column(&table, "FROM", false);
    table_column(&table, "TO", false);
    table_column(&table, "SLOTS", true);
    table_column(&table, "KEYS", true);
    table_column(&table, "BYTES", true);
    table_column(&table, "RANGES", false);
    for (size_t i = 0; i < shown; i++) {
        const json_t *batch = json_array_get(batches, i);
        table_cellf(&table, PAINT_NONE, "%lld", (long long)field_int(batch, "index"));
        table_cell(&table, node_name(batch, "source_address", "source"), PAINT_NONE);
        table_cell(&table, node_name(batch, "target_address", "target"), PAINT_NONE);
        add_amounts(&table, field_int(batch, "slot_count"), field_int(batch, "keys_estimate"),
                    field_int(batch, "bytes_estimate"));
        table_cell(&table, field_text(batch, "slots"), PAINT_NONE);
    }
    strbuf_add_char(out, '\n');
    table_format(&table, 2, ctl_table_width(ctl), ctl->terminal.has_color, out);
    if (shown < count) {
        strbuf_addf(out, "  and %zu more; -o wide shows all\n", count - shown);
    }
    table_release(&table);
}

static void add_big_keys(const json_t *keys, struct strbuf *out)
{
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        strbuf_addf(out, "%s",
                    i == 0 ? "\n  big keys, each blocks its source while it moves:\n" : "");
        strbuf_add_text(out, "    ");
        units_add_bytes(out, (double)field_int(key, "bytes"));
        strbuf_addf(out, "  slot %lld  %s\n", (long long)field_int(key, "slot"),
                    field_text(key, "key"));
    }
}

/* Operations whose plan grows: what is foreseen, a line each; the last says how it ends. */
static void add_steps(const json_t *plan, const char *kind, struct strbuf *out)
{
    const json_t *steps = field_list(plan, "steps");
    bool is_fulfilled = field_is(plan, "is_fulfilled");
    if (!is_fulfilled) {
        strbuf_addf(out, "Plan of the %s, as far as it can be known now:\n", kind);
    }
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const char *text = json_string_value(json_array_get(steps, i));
        strbuf_addf(out, "%s%s\n", is_fulfilled ? "" : "  ", text == NULL ? "" : text);
    }
}

/* Who gives what to whom, of plans that are known as a whole. */
static void add_moves(const struct ctl *ctl,
                      const json_t *plan,
                      bool has_batches,
                      struct strbuf *out)
{
    const json_t *batches = field_list(plan, "batches");
    strbuf_addf(out, "Plan of the %s: ", field_text(field_object(plan, "request"), "kind"));
    units_add_exact(out, field_int(plan, "slot_count"));
    strbuf_addf(out, " slots in %zu batches, %s", json_array_size(batches),
                field_is(plan, "is_scanned") ? "" : "about ");
    units_add_count(out, (double)field_int(plan, "keys_estimate"));
    strbuf_add_text(out, " keys, ");
    units_add_bytes(out, (double)field_int(plan, "bytes_estimate"));
    strbuf_add_text(out, ", about ");
    units_add_duration(out, field_int(plan, "duration_estimate_ms"));
    strbuf_add_char(out, '\n');
    add_pairs(ctl, batches, out);
    if (has_batches) {
        add_batches(ctl, batches, out);
    }
    add_big_keys(field_list(plan, "big_keys"), out);
}

void show_plan(const struct ctl *ctl, const json_t *plan, bool has_batches, struct strbuf *out)
{
    const json_t *batches = field_list(plan, "batches");
    const char *kind = field_text(field_object(plan, "request"), "kind");
    bool is_move = strcmp(kind, "rebalance") == 0 || strcmp(kind, "reshard") == 0 ||
                   strcmp(kind, "drain") == 0;
    if (json_array_size(field_list(plan, "steps")) > 0) {
        add_steps(plan, kind, out);
    } else if (json_array_size(batches) == 0) {
        strbuf_addf(out, "Nothing to %s: the %s is already fulfilled.\n", is_move ? "move" : "do",
                    kind);
    } else {
        add_moves(ctl, plan, has_batches, out);
    }
}
