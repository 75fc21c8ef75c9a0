/* compat_cluster.c — see compat_cluster.h. */
#include "ctl/compat/compat_cluster.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_print.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct compat_words *compat_words(enum compat_product product)
{
    static const struct compat_words redis = {"Redis", "master", "masters", "slaves"};
    static const struct compat_words valkey = {"Valkey", "primary", "primaries", "replicas"};
    return product == COMPAT_VALKEY ? &valkey : &redis;
}

static void set_address(struct compat_node *node, const struct address *address)
{
    node->address = *address;
    (void)compat_address_format(address, node->text);
}

static void release_nodes(struct compat_node *nodes, int count)
{
    for (int i = 0; i < count; i++) {
        nodes_view_release(&nodes[i].view);
    }
    free(nodes);
}

void compat_cluster_release(struct compat_cluster *cluster)
{
    release_nodes(cluster->nodes, cluster->count);
    release_nodes(cluster->missing, cluster->missing_count);
    *cluster = (struct compat_cluster){0};
}

/* ---- loading ---- */

/* The last part of a chain of reasons, as the system says it: "Connection refused". */
static void add_reason(struct strbuf *out, const char *text)
{
    const char *last = text;
    for (const char *at = strstr(text, ": "); at != NULL; at = strstr(at + 2, ": ")) {
        last = at + 2;
    }
    strbuf_add_char(out, (char)toupper((unsigned char)last[0]));
    strbuf_add_text(out, last[0] == '\0' ? "" : last + 1);
}

static void format_unreachable(const struct compat_options *options,
                               const char *address,
                               const struct err *why,
                               struct strbuf *out)
{
    strbuf_addf(out, "Could not connect to %s at %s: ", compat_words(options->product)->product,
                address);
    add_reason(out, why->text);
}

/* A view as CLUSTER NODES answers it; ERR_PROTOCOL with the server's own words when it refuses. */
static int read_view(struct nodes_view *view, const struct compat_answer *answer, struct err *err)
{
    if (answer->code != 0) {
        *err = answer->err;
        return answer->code;
    }
    const struct reply *reply = &answer->replies.replies[0];
    if (reply->type != REPLY_STRING) {
        return err_set(err, ERR_PROTOCOL, "%.300s", reply->text);
    }
    return nodes_view_parse(view, reply->text, reply->len, err);
}

static void fill_node(struct compat_node *node, const struct nodes_view *view, int row)
{
    node->id = view->rows[row].id;
    node->is_primary = (view->rows[row].flags & NODES_FLAG_PRIMARY) != 0;
    node->primary_id = view->rows[row].primary_id;
    node->keys = -1;
    nodes_row_slots(view, row, &node->slots);
    node->slot_count = slotset_count(&node->slots);
}

static int load_seed(struct compat_cluster *cluster,
                     struct compat_link *link,
                     const struct compat_options *options,
                     const struct address *seed,
                     struct err *err)
{
    struct command_list commands = {0};
    struct compat_answer answer = {0};
    struct err why = {0};
    commands_add(&commands, "CLUSTER", "NODES", NULL);
    compat_link_ask_all(link, seed, 1, &commands, &answer);
    commands_release(&commands);
    struct compat_node *node = xcalloc(1, sizeof(*node));
    set_address(node, seed);
    int code = read_view(&node->view, &answer, &why);
    if (answer.code != 0 && code != ERR_AUTH) {
        struct strbuf line = {0};
        format_unreachable(options, node->text, &why, &line);
        code = err_set(err, code, "%s", strbuf_text(&line));
        strbuf_release(&line);
    } else if (code != 0 && strstr(why.text, "cluster support disabled") != NULL) {
        code = err_set(err, code, "[ERR] Node %s is not configured as a cluster node.", node->text);
    } else if (code != 0) {
        code = err_set(err, code, "[ERR] Node %s: %.300s", node->text, why.text);
    } else if (node->view.myself == NODES_NO_ROW) {
        code = err_set(err, ERR_PROTOCOL, "[ERR] Node %s does not name itself", node->text);
    }
    replies_release(&answer.replies);
    cluster->nodes = node;
    cluster->count = 1;
    if (code == 0) {
        fill_node(node, &node->view, node->view.myself);
    }
    return code;
}

/* Every node that the seed names, but those it is only just meeting. */
static int list_friends(struct compat_cluster *cluster, struct compat_node **out)
{
    const struct nodes_view *view = &cluster->nodes[0].view;
    struct compat_node *friends = xcalloc((size_t)view->row_count + 1, sizeof(*friends));
    int count = 0;
    for (int row = 0; row < view->row_count; row++) {
        if (row == view->myself || (view->rows[row].flags & NODES_FLAG_HANDSHAKE) != 0) {
            continue;
        }
        struct address address;
        nodes_row_address(&view->rows[row], &address);
        set_address(&friends[count], &address);
        fill_node(&friends[count++], view, row);
    }
    *out = friends;
    return count;
}

static void load_friends(struct compat_cluster *cluster,
                         struct compat_link *link,
                         const struct compat_options *options)
{
    struct compat_node *friends = NULL;
    int count = list_friends(cluster, &friends);
    struct address *addresses = xcalloc((size_t)count + 1, sizeof(*addresses));
    struct compat_answer *answers = xcalloc((size_t)count + 1, sizeof(*answers));
    struct command_list commands = {0};
    commands_add(&commands, "CLUSTER", "NODES", NULL);
    for (int i = 0; i < count; i++) {
        addresses[i] = friends[i].address;
    }
    compat_link_ask_all(link, addresses, count, &commands, answers);
    commands_release(&commands);
    cluster->nodes = xreallocarray(cluster->nodes, (size_t)count + 1, sizeof(*cluster->nodes));
    cluster->missing = xcalloc((size_t)count + 1, sizeof(*cluster->missing));
    for (int i = 0; i < count; i++) {
        struct err why = {0};
        int code = read_view(&friends[i].view, &answers[i], &why);
        bool is_himself =
            code == 0 && friends[i].view.myself != NODES_NO_ROW &&
            node_id_is_equal(&friends[i].view.rows[friends[i].view.myself].id, &friends[i].id);
        if (is_himself) {
            fill_node(&friends[i], &friends[i].view, friends[i].view.myself);
            cluster->nodes[cluster->count++] = friends[i];
        } else {
            struct strbuf line = {0};
            format_unreachable(options, friends[i].text, &why, &line);
            compat_complain("%s", strbuf_text(&line));
            strbuf_release(&line);
            nodes_view_release(&friends[i].view);
            cluster->missing[cluster->missing_count++] = friends[i];
        }
        replies_release(&answers[i].replies);
    }
    free(answers);
    free(addresses);
    free(friends);
}

static void count_replicas(struct compat_cluster *cluster)
{
    for (int i = 0; i < cluster->count; i++) {
        const struct compat_node *node = &cluster->nodes[i];
        int primary = node->is_primary ? -1 : compat_cluster_find(cluster, node->primary_id.text);
        if (primary >= 0) {
            cluster->nodes[primary].replica_count++;
        }
    }
}

int compat_cluster_load_one(struct compat_cluster *cluster,
                            struct compat_link *link,
                            const struct compat_options *options,
                            const struct address *seed,
                            struct err *err)
{
    *cluster = (struct compat_cluster){0};
    int code = load_seed(cluster, link, options, seed, err);
    if (code != 0) {
        compat_cluster_release(cluster);
    }
    return code;
}

int compat_cluster_load(struct compat_cluster *cluster,
                        struct compat_link *link,
                        const struct compat_options *options,
                        const struct address *seed,
                        struct err *err)
{
    int code = compat_cluster_load_one(cluster, link, options, seed, err);
    if (code == 0) {
        load_friends(cluster, link, options);
        count_replicas(cluster);
    }
    return code;
}

int compat_cluster_find(const struct compat_cluster *cluster, const char *id)
{
    for (int i = 0; i < cluster->count; i++) {
        if (strcasecmp(cluster->nodes[i].id.text, id) == 0) {
            return i;
        }
    }
    return -1;
}

int compat_cluster_find_start(const struct compat_cluster *cluster, const char *start)
{
    size_t len = strlen(start);
    for (int i = 0; len > 0 && i < cluster->count; i++) {
        if (cluster->nodes[i].is_primary &&
            strncasecmp(cluster->nodes[i].id.text, start, len) == 0) {
            return i;
        }
    }
    return -1;
}

/* ---- printing ---- */

void compat_slots_format(const struct slotset *slots, struct strbuf *out)
{
    bool is_first = true;
    for (int first = slotset_next(slots, 0); first != SLOT_NONE;) {
        int last = slotset_run_end(slots, first);
        strbuf_add_text(out, is_first ? "" : ",");
        if (first == last) {
            strbuf_addf(out, "[%d]", first);
        } else {
            strbuf_addf(out, "[%d-%d]", first, last);
        }
        is_first = false;
        first = slotset_next(slots, last + 1);
    }
}

void compat_node_format(const struct compat_node *node, int indent, struct strbuf *out)
{
    strbuf_addf(out, "%*s%s: %s %s\n", indent, "", node->is_primary ? "M" : "S", node->id.text,
                node->text);
    strbuf_addf(out, "%*s   slots:", indent, "");
    compat_slots_format(&node->slots, out);
    strbuf_addf(out, " (%d slots) %s\n", node->slot_count, node->is_primary ? "master" : "slave");
    if (!node->is_primary) {
        strbuf_addf(out, "%*s   replicates %s\n", indent, "", node->primary_id.text);
    } else if (node->replica_count > 0) {
        strbuf_addf(out, "%*s   %d additional replica(s)\n", indent, "", node->replica_count);
    }
}
