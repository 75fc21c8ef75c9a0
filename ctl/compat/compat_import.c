/* compat_import.c — `import`: keys of a server that is no cluster node move into a cluster; see
 * compat_move.h.
 *
 * The source runs MIGRATE, one call for the keys of a page that go to one primary. Each key is
 * reported. A key that is there already is left where it is unless --cluster-replace is given; a
 * failure never stops the other keys, and ends in exit code 1. Source: redis.io MIGRATE, SCAN. */
#include "common/base/alloc.h"
#include "common/base/crc16.h"
#include "ctl/compat/compat_move.h"
#include "ctl/compat/compat_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_KEYS "100" /* of SCAN; all are answered within one time limit */

struct import {
    struct compat_run *run;
    struct compat_cluster cluster;
    struct compat_link *source_link; /* with the source's own login */
    struct address source;
    long long moved;
    long long failed;
};

/* Index of the primary that owns the slot, or -1. */
static int owner_of(const struct import *import, int slot)
{
    for (int i = 0; i < import->cluster.count; i++) {
        if (import->cluster.nodes[i].is_primary &&
            slotset_has(&import->cluster.nodes[i].slots, slot)) {
            return i;
        }
    }
    return -1;
}

/* One command to the source; false after saying why. */
static bool ask_source(struct import *import,
                       const struct command_list *commands,
                       struct reply_list *out)
{
    struct err err = {0};
    if (compat_link_ask(import->source_link, &import->source, commands, out, &err) != 0) {
        compat_complain("Could not connect to %s at %s: %s",
                        compat_words(import->run->options->product)->product,
                        import->run->options->from, err.text);
        return false;
    }
    return true;
}

static bool source_is_alone(struct import *import)
{
    struct command_list commands = {0};
    struct reply_list replies = {0};
    commands_add(&commands, "INFO", "cluster", NULL);
    bool is_good = ask_source(import, &commands, &replies);
    if (is_good && reply_is_error(&replies.replies[0])) {
        compat_say(COMPAT_BAD, "[ERR] %s", replies.replies[0].text);
        is_good = false;
    } else if (is_good && reply_contains(&replies.replies[0], "cluster_enabled:1")) {
        compat_say(COMPAT_BAD, "[ERR] The source node should not be a cluster node.");
        is_good = false;
    }
    commands_release(&commands);
    replies_release(&replies);
    return is_good;
}

static void add_migrate(const struct import *import,
                        const struct compat_node *node,
                        const struct reply *key,
                        struct command_list *out)
{
    const struct compat_options *options = import->run->options;
    commands_begin(out);
    commands_arg_text(out, "MIGRATE");
    commands_arg_text(out, node->address.host);
    commands_arg_int(out, node->address.port);
    commands_arg_text(out, ""); /* the key goes last: an empty one would be taken for none */
    commands_arg_int(out, 0);
    commands_arg_int(out, options->timeout_ms > 0 ? options->timeout_ms : 60000);
    if (options->copies) {
        commands_arg_text(out, "COPY");
    }
    if (options->replaces) {
        commands_arg_text(out, "REPLACE");
    }
    if (options->password != NULL && options->user != NULL) {
        commands_arg_text(out, "AUTH2");
        commands_arg_text(out, options->user);
        commands_arg_text(out, options->password);
    } else if (options->password != NULL) {
        commands_arg_text(out, "AUTH");
        commands_arg_text(out, options->password);
    }
    commands_arg_text(out, "KEYS");
    commands_arg(out, key->text, key->len);
}

static void report(struct import *import,
                   const struct reply *key,
                   int node,
                   const struct reply *got)
{
    (void)fputs("Migrating ", stdout);
    (void)fwrite(key->text, 1, key->len, stdout);
    (void)printf(" to %s: ", import->cluster.nodes[node].text);
    if (got != NULL && !reply_is_error(got)) {
        (void)puts("OK");
        import->moved++;
    } else {
        (void)puts(got == NULL ? "no answer" : got->text);
        import->failed++;
    }
}

/* The keys of one page, pipelined. */
static bool move_page(struct import *import, const struct reply *keys)
{
    struct command_list commands = {0};
    struct reply_list replies = {0};
    int *nodes = xcalloc(keys->count + 1, sizeof(*nodes));
    bool is_good = true;
    for (size_t i = 0; i < keys->count; i++) {
        nodes[i] = owner_of(import, key_slot(keys->items[i].text, keys->items[i].len));
        if (nodes[i] >= 0) {
            add_migrate(import, &import->cluster.nodes[nodes[i]], &keys->items[i], &commands);
        }
    }
    if (commands.count > 0) {
        is_good = ask_source(import, &commands, &replies);
    }
    int next = 0;
    for (size_t i = 0; is_good && i < keys->count; i++) {
        if (nodes[i] >= 0) {
            const struct reply *got = next < replies.count ? &replies.replies[next] : NULL;
            report(import, &keys->items[i], nodes[i], got);
            next++;
        }
    }
    (void)fflush(stdout);
    free(nodes);
    commands_release(&commands);
    replies_release(&replies);
    return is_good;
}

/* How many there are; what is no number is told when the keys are read. */
static void say_count(struct import *import)
{
    struct command_list commands = {0};
    struct reply_list replies = {0};
    commands_add(&commands, "DBSIZE", NULL);
    if (ask_source(import, &commands, &replies) && replies.replies[0].type == REPLY_INTEGER) {
        compat_say(COMPAT_WARN, "*** Importing %lld keys from DB 0",
                   (long long)replies.replies[0].integer);
    }
    commands_release(&commands);
    replies_release(&replies);
}

static bool move_all(struct import *import)
{
    char cursor[32] = "0";
    bool is_good = true;
    do {
        struct command_list commands = {0};
        struct reply_list replies = {0};
        commands_add(&commands, "SCAN", cursor, "COUNT", PAGE_KEYS, NULL);
        is_good = ask_source(import, &commands, &replies);
        const struct reply *page = is_good ? &replies.replies[0] : NULL;
        if (is_good && (page->type != REPLY_ARRAY || page->count != 2)) {
            compat_say(COMPAT_BAD, "[ERR] SCAN of the source: %s", page->text);
            is_good = false;
        }
        if (is_good) {
            (void)snprintf(cursor, sizeof(cursor), "%s", page->items[0].text);
            is_good = move_page(import, &page->items[1]);
        }
        commands_release(&commands);
        replies_release(&replies);
    } while (is_good && strcmp(cursor, "0") != 0);
    return is_good;
}

static int run_import(struct import *import)
{
    struct compat_verdict verdict;
    compat_check_print(&import->cluster, true, false, &verdict);
    if (!compat_verdict_is_good(&verdict) || !source_is_alone(import)) {
        return 1;
    }
    say_count(import);
    bool is_good = move_all(import);
    compat_say(import->failed > 0 ? COMPAT_WARN : COMPAT_GOOD,
               "%s %lld keys imported, %lld failed.", import->failed > 0 ? "[ERR]" : "[OK]",
               import->moved, import->failed);
    return is_good && import->failed == 0 ? 0 : 1;
}

int compat_import(struct compat_run *run)
{
    const struct compat_options *options = run->options;
    struct import import = {.run = run};
    struct err err = {0};
    int exit_code = 1;
    if (options->from == NULL) {
        compat_complain("[ERR] Option '--cluster-from' is required for subcommand 'import'.");
        return 1;
    }
    if (compat_address_parse(&import.source, options->from, NULL) != 0) {
        compat_complain(
            "[ERR] Invalid --cluster-from host. You need to pass a valid address (ie. "
            "120.0.0.1:7000).");
        return 1;
    }
    compat_say(COMPAT_BOLD, ">>> Importing data from %s to cluster %s", options->from,
               options->words[0]);
    struct compat_options *source_options = xmemdup(options, sizeof(*options));
    source_options->user = options->from_user;
    source_options->password = options->from_password;
    import.source_link = compat_link_new(source_options, &err);
    if (import.source_link == NULL) {
        compat_complain("%s", err.text);
    } else if (compat_load(run, &import.cluster) == 0) {
        exit_code = run_import(&import);
        compat_cluster_release(&import.cluster);
    }
    compat_link_free(import.source_link);
    free(source_options);
    return exit_code;
}
