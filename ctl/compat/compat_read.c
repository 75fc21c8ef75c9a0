/* compat_read.c — see compat_read.h. */
#include "ctl/compat/compat_read.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_print.h"
#include "ctl/terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_TIMEOUT_MS_MIN 100
#define STDIN_BYTES_MAX (512 * 1024 * 1024)

/* Nodes are asked one after another: while slots change hands they disagree for a moment. */
#define AGREE_LOOKS 8
#define AGREE_AGAIN_MS 250

int compat_load(struct compat_run *run, struct compat_cluster *cluster)
{
    for (int look = 1;; look++) {
        struct err err = {0};
        if (compat_cluster_load(cluster, run->link, run->options, &run->seed, &err) != 0) {
            compat_complain("%s", err.text);
            return 1;
        }
        if (run->options->is_strict || look == AGREE_LOOKS || compat_views_agree(cluster)) {
            return 0;
        }
        compat_cluster_release(cluster);
        terminal_wait(AGREE_AGAIN_MS);
    }
}

/* ---- check, info ---- */

/* Nodes that the cluster still lists and that do not answer: the original says nothing of them. */
static void warn_missing(const struct compat_cluster *cluster)
{
    for (int i = 0; i < cluster->missing_count; i++) {
        const struct compat_node *node = &cluster->missing[i];
        compat_say(COMPAT_WARN,
                   "[WARNING] Node %s (%s) is known to the cluster but cannot be reached.",
                   node->text, node->id.text);
    }
}

int compat_check(struct compat_run *run)
{
    struct compat_cluster cluster;
    struct compat_verdict verdict;
    if (compat_load(run, &cluster) != 0) {
        return 1;
    }
    (void)compat_info_print(&cluster, run->link, run->options);
    compat_check_print(&cluster, true, run->options->searches_owners, &verdict);
    bool is_good = compat_verdict_is_good(&verdict);
    if (!run->options->is_strict) {
        warn_missing(&cluster);
        is_good = is_good && cluster.missing_count == 0;
    }
    compat_cluster_release(&cluster);
    return is_good ? 0 : 1;
}

int compat_info(struct compat_run *run)
{
    struct compat_cluster cluster;
    if (compat_load(run, &cluster) != 0) {
        return 1;
    }
    int failures = compat_info_print(&cluster, run->link, run->options);
    compat_cluster_release(&cluster);
    return failures > 0 ? 1 : 0;
}

/* ---- call ---- */

/* An answer without quotes, items one a line. Walks nested arrays without recursion. */
static void add_reply(const struct reply *reply, struct strbuf *out)
{
    enum { DEPTH_MAX = 16 };
    const struct reply *at[DEPTH_MAX] = {reply};
    size_t next[DEPTH_MAX] = {0};
    int depth = 0;
    while (depth >= 0) {
        const struct reply *now = at[depth];
        if (now->type == REPLY_ARRAY && next[depth] < now->count && depth + 1 < DEPTH_MAX) {
            if (next[depth] > 0) {
                strbuf_add_char(out, '\n');
            }
            at[depth + 1] = &now->items[next[depth]++];
            next[++depth] = 0;
            continue;
        }
        if (now->type == REPLY_INTEGER) {
            strbuf_addf(out, "%lld", (long long)now->integer);
        } else if (now->type == REPLY_ERROR) {
            strbuf_addf(out, "%s\n", now->text);
        } else if (now->type == REPLY_STATUS || now->type == REPLY_STRING) {
            strbuf_add(out, now->text, now->len);
        }
        depth--;
    }
}

static bool read_stdin(struct strbuf *out)
{
    char part[65536];
    size_t size = 0;
    while ((size = fread(part, 1, sizeof(part), stdin)) > 0) {
        strbuf_add(out, part, size);
        if (out->len > STDIN_BYTES_MAX) {
            return false;
        }
    }
    return true;
}

/* The words after the seed; -x adds what stdin holds, -X puts it in the place of its tag. */
static bool make_command(struct compat_run *run, struct command_list *commands)
{
    const struct compat_options *options = run->options;
    struct strbuf input = {0};
    bool reads = options->reads_last_word || options->word_tag != NULL;
    if (reads && !read_stdin(&input)) {
        compat_complain("[ERR] stdin holds more than %d bytes", STDIN_BYTES_MAX);
        strbuf_release(&input);
        return false;
    }
    commands_begin(commands);
    for (int i = run->words_used; i < options->word_count; i++) {
        if (options->word_tag != NULL && strcmp(options->words[i], options->word_tag) == 0) {
            commands_arg(commands, strbuf_text(&input), input.len);
        } else {
            commands_arg_text(commands, options->words[i]);
        }
    }
    if (options->reads_last_word) {
        commands_arg(commands, strbuf_text(&input), input.len);
    }
    strbuf_release(&input);
    return true;
}

/* Asks the chosen nodes and prints the answers; returns how many failed. */
static int call_nodes(struct compat_run *run,
                      const struct compat_cluster *cluster,
                      const struct command_list *commands)
{
    struct address *addresses = xcalloc((size_t)cluster->count, sizeof(*addresses));
    const char **names = xcalloc((size_t)cluster->count, sizeof(*names));
    struct compat_answer *answers = xcalloc((size_t)cluster->count, sizeof(*answers));
    int count = 0;
    int failures = 0;
    for (int i = 0; i < cluster->count; i++) {
        const struct compat_node *node = &cluster->nodes[i];
        if ((run->options->only_primaries && !node->is_primary) ||
            (run->options->only_replicas && node->is_primary)) {
            continue;
        }
        names[count] = node->text;
        addresses[count++] = node->address;
    }
    compat_link_ask_all(run->link, addresses, count, commands, answers);
    for (int i = 0; i < count; i++) {
        struct strbuf text = {0};
        if (answers[i].code == 0) {
            add_reply(&answers[i].replies.replies[0], &text);
            failures += reply_is_error(&answers[i].replies.replies[0]) ? 1 : 0;
        } else {
            strbuf_addf(&text, "Failed! %s", answers[i].err.text);
            failures++;
        }
        compat_write("%s: ", names[i]);
        (void)fwrite(strbuf_text(&text), 1, text.len, stdout);
        compat_write("\n");
        strbuf_release(&text);
        replies_release(&answers[i].replies);
    }
    free(answers);
    free(names);
    free(addresses);
    return failures;
}

int compat_call(struct compat_run *run)
{
    struct compat_cluster cluster;
    struct command_list commands = {0};
    struct strbuf line = {0};
    if (run->words_used >= run->options->word_count) {
        compat_complain("[ERR] Wrong number of arguments for specified --cluster sub command");
        return 1;
    }
    if (compat_load(run, &cluster) != 0) {
        return 1;
    }
    for (int i = run->words_used; i < run->options->word_count; i++) {
        strbuf_addf(&line, " %s", run->options->words[i]);
    }
    compat_say(COMPAT_BOLD, ">>> Calling%s", strbuf_text(&line));
    int failures = 1;
    if (make_command(run, &commands)) {
        failures = call_nodes(run, &cluster, &commands);
    }
    strbuf_release(&line);
    commands_release(&commands);
    compat_cluster_release(&cluster);
    return failures > 0 && !run->options->is_strict ? 1 : 0;
}

/* ---- set-timeout ---- */

static bool set_timeout_on(struct compat_run *run, const struct compat_node *node, const char *ms)
{
    struct command_list commands = {0};
    struct reply_list replies = {0};
    struct err err = {0};
    commands_add(&commands, "CONFIG", "SET", "cluster-node-timeout", ms, NULL);
    commands_add(&commands, "CONFIG", "REWRITE", NULL);
    int code = compat_link_ask(run->link, &node->address, &commands, &replies, &err);
    for (int i = 0; code == 0 && i < replies.count; i++) {
        if (reply_is_error(&replies.replies[i])) {
            code = err_set(&err, ERR_PROTOCOL, "%.300s", replies.replies[i].text);
        }
    }
    commands_release(&commands);
    replies_release(&replies);
    if (code != 0) {
        compat_say(COMPAT_BAD, "ERR setting node-timeout for %s: %s", node->text, err.text);
        return false;
    }
    compat_say(COMPAT_WARN, "*** New timeout set for %s", node->text);
    return true;
}

int compat_set_timeout(struct compat_run *run)
{
    struct compat_cluster cluster;
    long ms = strtol(run->options->words[1], NULL, 10);
    if (ms < NODE_TIMEOUT_MS_MIN) {
        compat_complain("Setting a node timeout of less than %d milliseconds is a bad idea.",
                        NODE_TIMEOUT_MS_MIN);
        return 1;
    }
    if (compat_load(run, &cluster) != 0) {
        return 1;
    }
    char text[32];
    int good = 0;
    (void)snprintf(text, sizeof(text), "%ld", ms);
    compat_say(COMPAT_BOLD, ">>> Reconfiguring node timeout in every cluster node...");
    for (int i = 0; i < cluster.count; i++) {
        good += set_timeout_on(run, &cluster.nodes[i], text) ? 1 : 0;
    }
    int bad = cluster.count - good;
    compat_say(COMPAT_BOLD, ">>> New node timeout set. %d OK, %d ERR.", good, bad);
    compat_cluster_release(&cluster);
    return bad > 0 && !run->options->is_strict ? 1 : 0;
}

/* ---- backup ---- */

static void add_node_json(const struct compat_node *node, struct strbuf *out)
{
    const struct nodes_row *row = &node->view.rows[node->view.myself];
    strbuf_addf(out, "  {\n    \"name\": \"%s\",\n    \"host\": \"%s\",\n    \"port\": %d,\n",
                node->id.text, node->address.host, node->address.port);
    if (node->is_primary) {
        strbuf_add_text(out, "    \"replicate\": null,\n");
    } else {
        strbuf_addf(out, "    \"replicate\": \"%s\",\n", node->primary_id.text);
    }
    strbuf_add_text(out, "    \"slots\": [");
    for (int first = slotset_next(&node->slots, 0); first != SLOT_NONE;) {
        int last = slotset_run_end(&node->slots, first);
        strbuf_addf(out, "[%d,%d]", first, last);
        first = slotset_next(&node->slots, last + 1);
        strbuf_add_text(out, first == SLOT_NONE ? "" : ",");
    }
    strbuf_addf(out,
                "],\n    \"slots_count\": %d,\n    \"flags\": \"%s\",\n    \"current_epoch\": "
                "%llu\n  }",
                node->slot_count, node->is_primary ? "master" : "slave",
                (unsigned long long)row->config_epoch);
}

static bool write_nodes_json(const struct compat_cluster *cluster, const char *folder)
{
    struct strbuf text = {0};
    strbuf_add_text(&text, "[\n");
    for (int i = 0; i < cluster->count; i++) {
        add_node_json(&cluster->nodes[i], &text);
        strbuf_add_text(&text, i + 1 < cluster->count ? ",\n" : "\n");
    }
    strbuf_add_text(&text, "]");
    char *path = xasprintf("%s/nodes.json", folder);
    compat_say(COMPAT_PLAIN, "Saving cluster configuration to: %s", path);
    FILE *file = fopen(path, "we");
    bool is_written = file != NULL && fwrite(text.data, 1, text.len, file) == text.len;
    is_written = file != NULL && fclose(file) == 0 && is_written;
    if (!is_written) {
        compat_complain("Could not save nodes to: %s: %s", path, strerror(errno));
    }
    free(path);
    strbuf_release(&text);
    return is_written;
}

static bool save_node(struct compat_run *run, const struct compat_node *node, const char *folder)
{
    struct err err = {0};
    int64_t size = 0;
    char *path = xasprintf("%s/%s-node-%s-%d-%s.rdb", folder,
                           run->options->product == COMPAT_VALKEY ? "valkey" : "redis",
                           node->address.host, node->address.port, node->id.text);
    compat_say(COMPAT_BOLD, ">>> Node %s -> Saving RDB...", node->text);
    int code = compat_link_snapshot(run->link, &node->address, path, &size, &err);
    if (code == 0) {
        compat_complain(
            "SYNC sent to master, writing %lld bytes to '%s'\nTransfer finished with success.",
            (long long)size, path);
    } else {
        compat_complain("%s", err.text);
    }
    free(path);
    return code == 0;
}

int compat_backup(struct compat_run *run)
{
    struct compat_cluster cluster;
    struct compat_verdict verdict;
    const char *given = run->options->words[1];
    char *folder = xstrdup(given);
    size_t len = strlen(folder);
    if (len > 1 && folder[len - 1] == '/') {
        folder[len - 1] = '\0';
    }
    if (compat_load(run, &cluster) != 0) {
        free(folder);
        return 1;
    }
    compat_check_print(&cluster, true, false, &verdict);
    bool is_good = true;
    for (int i = 0; is_good && i < cluster.count; i++) {
        is_good = !cluster.nodes[i].is_primary || save_node(run, &cluster.nodes[i], folder);
    }
    is_good = is_good && write_nodes_json(&cluster, folder);
    if (is_good) {
        compat_say(COMPAT_GOOD, "[OK] Backup created into: %s", folder);
        if (!compat_verdict_is_good(&verdict)) {
            compat_say(COMPAT_WARN,
                       "*** Cluster seems to have some problems, please be aware of it "
                       "if you're going to restore this backup.");
        }
    }
    compat_cluster_release(&cluster);
    free(folder);
    return is_good ? 0 : 1;
}
