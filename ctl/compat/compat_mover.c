/* compat_mover.c — see compat_mover.h. */
#include "ctl/compat/compat_mover.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_child.h"
#include "ctl/compat/compat_place.h"
#include "ctl/compat/compat_print.h"
#include "ctl/fields.h"
#include "ctl/settings.h"
#include "ctl/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_TIMEOUT_MS 30000
#define PROBE_TIMEOUT_MS 3000
#define LOOK_MS 50
#define FOLLOW_MS 150
#define LEAD_MS_MAX 30000    /* a lease that a killed run left must end first */
#define SEEN_MS_MAX 10000    /* some nodes may never answer */
#define SETTLE_MS_MAX 45000  /* nodes agree within a few node timeouts, or not at all */
#define SILENCE_MS_MAX 60000 /* no answer from another's coordinator */
#define CANCEL_MS_MAX 60000
#define NAME_LEN_MAX 16
#define SEEDS_MAX 32

struct compat_mover {
    struct client *client;
    struct compat_place place;
    pid_t child;      /* 0 = another's coordinator */
    bool keeps_store; /* an operation is not ended: the next run finishes it */
    bool has_bar;     /* a line stands on the screen without its end */
    bool is_cancelling;
};

/* ---- whose coordinator ---- */

static bool serves_node(struct client *client, const char *id)
{
    json_t *answer = NULL;
    bool is_found = false;
    if (client_ask(client, "GET", "/v1/nodes", NULL, &answer, NULL) != 0) {
        return false;
    }
    const json_t *nodes = field_list(answer, "nodes");
    for (size_t i = 0; !is_found && i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        is_found = strcmp(field_text(node, "id"), id) == 0 && field_is(node, "is_member");
    }
    json_decref(answer);
    return is_found;
}

/* A coordinator that manages the cluster already, or NULL. */
static struct client *find_other(const char *id)
{
    struct settings settings;
    struct err err = {0};
    struct arguments *none = xcalloc(1, sizeof(*none));
    int code = settings_load(&settings, none, &err);
    free(none);
    if (code != 0) {
        return NULL;
    }
    struct client *client = client_new(&settings, PROBE_TIMEOUT_MS, getenv("DROVER_CA"));
    json_t *answer = NULL;
    bool answers = client_ask_any(client, "/v1/status", &answer, NULL) == 0;
    json_decref(answer);
    if (!answers || !serves_node(client, id)) {
        client_free(client);
        return NULL;
    }
    return client;
}

/* ---- waiting for one of our own ---- */

static bool is_timed_out(int64_t begun_ms, int64_t limit_ms)
{
    return terminal_now_ms() - begun_ms > limit_ms;
}

/* What the child said last on its way out. */
static int child_err(struct compat_mover *mover, struct err *err)
{
    char line[ERR_TEXT_SIZE] = "";
    char *path = xasprintf("%s/output", mover->place.folder);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fgets(line, sizeof(line), file) == NULL) {
            line[0] = '\0';
        }
        (void)fclose(file);
    }
    line[strcspn(line, "\n")] = '\0';
    free(path);
    return err_set(err, ERR_INTERNAL, "drover-coordinator could not start: %.400s", line);
}

static int wait_lead(struct compat_mover *mover, struct err *err)
{
    int64_t begun_ms = terminal_now_ms();
    while (true) {
        json_t *answer = NULL;
        int code = client_ask_any(mover->client, "/v1/status", &answer, err);
        bool leads = code == 0 && field_is(answer, "leading");
        json_decref(answer);
        if (leads) {
            return 0;
        }
        if (!compat_child_is_running(mover->child)) {
            return child_err(mover, err);
        }
        if (terminal_is_interrupted()) {
            return err_set(err, ERR_CANCELLED, "interrupted");
        }
        if (is_timed_out(begun_ms, LEAD_MS_MAX)) {
            return err_set(err, ERR_TIMEOUT, "drover-coordinator does not answer; see %.300s/log",
                           mover->place.folder);
        }
        terminal_wait(LOOK_MS);
    }
}

static int wait_settled(struct compat_mover *mover, struct err *err)
{
    int64_t begun_ms = terminal_now_ms();
    while (true) {
        json_t *answer = NULL;
        int code = client_ask_any(mover->client, "/v1/status", &answer, err);
        bool is_settled = code == 0 && field_is(answer, "settled");
        if (code == 0 && !is_settled) {
            code = err_set(err, ERR_CONFLICT, "%s", field_text(answer, "unsettled_reason"));
        }
        json_decref(answer);
        if (is_settled) {
            return 0;
        }
        if (terminal_is_interrupted()) {
            return err_set(err, ERR_CANCELLED, "interrupted");
        }
        if (is_timed_out(begun_ms, SETTLE_MS_MAX)) {
            return code;
        }
        terminal_wait(LOOK_MS);
    }
}

/* A coordinator that has not seen the nodes yet refuses everything: each is looked at once. */
static int wait_seen(struct compat_mover *mover, int count, struct err *err)
{
    int64_t begun_ms = terminal_now_ms();
    while (true) {
        json_t *answer = NULL;
        int code = client_ask_any(mover->client, "/v1/status", &answer, err);
        bool is_seen = code == 0 && field_int(answer, "nodes_reachable") >= count;
        bool is_late = is_timed_out(begun_ms, SEEN_MS_MAX);
        bool is_some = code == 0 && field_int(answer, "nodes_reachable") > 0;
        json_decref(answer);
        if (is_seen || (is_late && is_some)) {
            return 0;
        }
        if (terminal_is_interrupted()) {
            return err_set(err, ERR_CANCELLED, "interrupted");
        }
        if (is_late) {
            return err_set(err, ERR_UNAVAILABLE, "no node can be reached");
        }
        terminal_wait(LOOK_MS);
    }
}

/* What an interrupted run left in the store is brought to its end first. */
static int finish_left(struct compat_mover *mover, struct err *err)
{
    json_t *answer = NULL;
    int code = client_ask(mover->client, "GET", "/v1/operations", NULL, &answer, err);
    const json_t *operations = code == 0 ? field_list(answer, "operations") : NULL;
    for (size_t i = 0; code == 0 && i < json_array_size(operations); i++) {
        const json_t *operation = json_array_get(operations, i);
        if (!field_is(operation, "is_final")) {
            compat_say(
                COMPAT_BOLD, ">>> Finishing what an interrupted run left (%s, %lld slots)...",
                field_text(operation, "kind"), (long long)field_int(operation, "slots_total"));
            code = compat_mover_follow(mover, field_text(operation, "id"), NULL, NULL, err);
            /* One that ended without success is over all the same; the nodes say what is left. */
            code = mover->keeps_store ? code : 0;
        }
    }
    json_decref(answer);
    return code;
}

static int start_own(struct compat_mover *mover,
                     const struct compat_mover_options *options,
                     struct err *err)
{
    struct settings settings = {0};
    char *url = xasprintf("unix://%s/api.sock", mover->place.folder);
    int code = settings_add_urls(&settings, url, err);
    int address_count = options->address_count;
    free(url);
    /* Nodes that know each other are found from a few of them. */
    if (!options->serves_all_given && address_count > SEEDS_MAX) {
        address_count = SEEDS_MAX;
    }
    code = code == 0 ? compat_child_start(&mover->child, options->options, options->addresses,
                                          address_count, &mover->place, err)
                     : code;
    if (code != 0) {
        return code;
    }
    mover->client = client_new(&settings, ANSWER_TIMEOUT_MS, NULL);
    code = wait_lead(mover, err);
    code = code == 0 ? wait_seen(mover, address_count, err) : code;
    code = code == 0 ? finish_left(mover, err) : code;
    return code == 0 && options->awaits_settled ? wait_settled(mover, err) : code;
}

bool compat_mover_wait_others(const char *name)
{
    char short_name[NAME_LEN_MAX + 1];
    struct compat_place place = {.lock = -1};
    (void)snprintf(short_name, sizeof(short_name), "%s", name);
    terminal_catch_interrupt();
    bool had_to = compat_place_open(&place, short_name, NULL) == 0 && place.has_waited;
    compat_place_close(&place, false);
    return had_to;
}

struct compat_mover *compat_mover_open(const struct compat_mover_options *options, struct err *err)
{
    struct compat_mover *mover = xcalloc(1, sizeof(*mover));
    mover->place.lock = -1;
    terminal_catch_interrupt();
    mover->client = find_other(options->name);
    if (mover->client != NULL) {
        compat_say(COMPAT_BOLD,
                   ">>> The drover coordinator at %s manages this cluster and does the "
                   "work",
                   client_url(mover->client));
        client_set_timeout(mover->client, ANSWER_TIMEOUT_MS);
        return mover;
    }
    char name[NAME_LEN_MAX + 1];
    (void)snprintf(name, sizeof(name), "%s", options->name);
    int code = compat_place_open(&mover->place, name, err);
    code = code == 0 ? start_own(mover, options, err) : code;
    if (code != 0) {
        compat_mover_close(mover);
        return NULL;
    }
    return mover;
}

void compat_mover_close(struct compat_mover *mover)
{
    if (mover == NULL) {
        return;
    }
    if (mover->child > 0) {
        compat_child_stop(mover->child);
    }
    client_free(mover->client);
    compat_place_close(&mover->place, mover->child > 0 && !mover->keeps_store);
    free(mover);
}

/* ---- operations ---- */

/* A coordinator of before knows no "replace" for moves: it decides by key, as it does without. */
static int ask(struct compat_mover *mover,
               const char *path,
               const json_t *request,
               json_t **out,
               struct err *err)
{
    int code = client_ask(mover->client, "POST", path, request, out, err);
    if (code == ERR_INVALID && json_object_get(request, "replace") != NULL &&
        strstr(err->text, "\"replace\"") != NULL) {
        json_t *copy = json_copy((json_t *)(uintptr_t)request);
        (void)json_object_del(copy, "replace");
        code = client_ask(mover->client, "POST", path, copy, out, err);
        json_decref(copy);
    }
    return code;
}

int compat_mover_plan(struct compat_mover *mover,
                      const json_t *request,
                      json_t **out,
                      struct err *err)
{
    return ask(mover, "/v1/plans", request, out, err);
}

int compat_mover_start(struct compat_mover *mover,
                       const json_t *request,
                       json_t **out,
                       struct err *err)
{
    mover->keeps_store = true;
    int code = ask(mover, "/v1/operations", request, out, err);
    bool is_unknown = code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_IO;
    if (!is_unknown && (code != 0 || field_object(*out, "operation") == NULL)) {
        mover->keeps_store = false; /* refused; without an answer it may run */
    }
    return code;
}

static void end_bar(struct compat_mover *mover)
{
    if (mover->has_bar) {
        compat_write("\r\033[K");
        mover->has_bar = false;
    }
}

static void draw_bar(struct compat_mover *mover, const json_t *operation)
{
    struct terminal terminal;
    terminal_init(&terminal, false);
    if (!terminal.is_out_screen) {
        return;
    }
    struct progress progress;
    struct strbuf line = {0};
    field_progress(operation, &progress);
    strbuf_add_text(&line, "\r\033[K");
    progress_add_line(&line, &progress, terminal_width(&terminal) - 1);
    terminal_write(&line);
    strbuf_release(&line);
    mover->has_bar = true;
}

static void cancel(struct compat_mover *mover, const char *id)
{
    json_t *answer = NULL;
    struct err ignored = {0};
    char *path = xasprintf("/v1/operations/%s/cancel", id);
    if (client_ask(mover->client, "POST", path, NULL, &answer, &ignored) == 0) {
        json_decref(answer);
    }
    free(path);
}

/* Judges one answer: 1 = goes on, 0 = done, ERR_* = ended otherwise. */
static int judge(struct compat_mover *mover, const json_t *operation, struct err *err)
{
    const char *state = field_text(operation, "state");
    const char *reason = field_text(operation, "reason");
    const char *word = field_text(operation, "reason_code");
    bool is_final = field_is(operation, "is_final");
    if (strcmp(state, "done") == 0) {
        mover->keeps_store = false;
        return 0;
    }
    bool is_stuck = strcmp(state, "held") == 0 || (strcmp(state, "paused") == 0 && word[0] != '\0');
    if (!is_final && !is_stuck) {
        return 1;
    }
    if (err->code == 0) {
        int code = word[0] == '\0' ? ERR_CANCELLED : err_from_word(word);
        (void)err_set(err, code, "%s", reason[0] == '\0' ? state : reason);
    }
    if (is_final) {
        mover->keeps_store = false;
        return err->code;
    }
    if (!mover->is_cancelling) {
        mover->is_cancelling = true;
        cancel(mover, field_text(operation, "id"));
    }
    return 1;
}

int compat_mover_follow(struct compat_mover *mover,
                        const char *id,
                        void (*changed)(void *user, const json_t *operation),
                        void *user,
                        struct err *err)
{
    char *path = xasprintf("/v1/operations/%s", id);
    char *own_id = xstrdup(id);
    int64_t heard_ms = terminal_now_ms();
    int64_t cancelled_ms = 0;
    int code = 1;
    *err = (struct err){0};
    mover->keeps_store = true;
    mover->is_cancelling = false;
    while (code == 1) {
        json_t *operation = NULL;
        struct err now_err = {0};
        if (terminal_is_interrupted() && !mover->is_cancelling) {
            mover->is_cancelling = true;
            end_bar(mover);
            compat_say(COMPAT_WARN, "*** Interrupted: finishing the slots in hand...");
            (void)err_set(err, ERR_CANCELLED, "interrupted");
            cancel(mover, own_id);
        }
        if (mover->is_cancelling && cancelled_ms == 0) {
            cancelled_ms = terminal_now_ms();
        }
        if (client_ask(mover->client, "GET", path, NULL, &operation, &now_err) == 0) {
            heard_ms = terminal_now_ms();
            end_bar(mover);
            if (changed != NULL) {
                changed(user, operation);
            }
            code = judge(mover, operation, err);
            if (code == 1) {
                draw_bar(mover, operation);
            }
        } else if (is_timed_out(heard_ms, SILENCE_MS_MAX)) {
            *err = now_err;
            code = err->code;
        }
        json_decref(operation);
        if (code == 1 && cancelled_ms != 0 && is_timed_out(cancelled_ms, CANCEL_MS_MAX)) {
            code = err->code != 0 ? err->code : ERR_TIMEOUT;
        }
        if (code == 1) {
            terminal_wait(FOLLOW_MS);
        }
    }
    end_bar(mover);
    free(own_id);
    free(path);
    return code;
}
