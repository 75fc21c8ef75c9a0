/* ctl.h — one run of the `drover` command: what the verbs share. */
#ifndef DROVER_CTL_CTL_H
#define DROVER_CTL_CTL_H

#include "ctl/arguments.h"
#include "ctl/client.h"
#include "ctl/table.h"
#include "ctl/terminal.h"

#include <jansson.h>

#define CTL_DETACHED \
    1 /* a verb's answer besides 0 and ERR_*: Ctrl-C ended the watching, not the work */
#define CTL_EXIT_DETACHED 130
#define CTL_TIMEOUT_MS 15000       /* for an answer; --timeout */
#define CTL_PLAN_TIMEOUT_MS 180000 /* for a plan, which may first count keys on the nodes */

enum ctl_format { CTL_TEXT, CTL_WIDE, CTL_JSON };

struct ctl {
    struct arguments arguments;
    struct client *client;
    struct terminal terminal;
    enum ctl_format format;
    long timeout_ms;
    bool has_timeout; /* given by --timeout */
};

/* Runs a command line; the exit code of the process. */
int ctl_main(int argc, char *const *argv);

/* Prints JSON, indented. */
void ctl_print_json(const json_t *value);
/* Width to cut tables at: the screen's in text, none for wide and for files. */
int ctl_table_width(const struct ctl *ctl);

/* ---- parts of output that several verbs use; appended to 'out' ---- */
void show_nodes_table(const struct ctl *ctl,
                      const json_t *nodes,
                      bool is_wide,
                      int width,
                      struct strbuf *out);
void show_status_head(const struct ctl *ctl, const json_t *status, struct strbuf *out);
void show_operations_table(const struct ctl *ctl,
                           const json_t *operations,
                           int width,
                           struct strbuf *out);
void show_plan(const struct ctl *ctl, const json_t *plan, bool has_batches, struct strbuf *out);
/* "level time name text" */
void show_event(const struct ctl *ctl, const json_t *event, struct strbuf *out);
enum paint paint_of_state(const char *state);

/* Follows an operation to its end: a line that is redrawn on a screen, a line every few seconds
 * elsewhere. Returns 0 for done, the reason's code else, CTL_DETACHED after Ctrl-C. With JSON
 * nothing is printed but the operation at the end. */
int follow_operation(struct ctl *ctl, const char *id, struct err *err);

/* ---- verbs ---- */
int verb_status(struct ctl *ctl, struct err *err);
int verb_nodes(struct ctl *ctl, struct err *err);
int verb_slots(struct ctl *ctl, struct err *err);
int verb_agents(struct ctl *ctl, struct err *err);
int verb_why(struct ctl *ctl, struct err *err);
int verb_events(struct ctl *ctl, struct err *err);
int verb_watch(struct ctl *ctl, struct err *err);
int verb_plan(struct ctl *ctl, struct err *err);  /* of every kind */
int verb_start(struct ctl *ctl, struct err *err); /* likewise */
int verb_doctor(struct ctl *ctl, struct err *err);
int verb_certificate(struct ctl *ctl, struct err *err);
int verb_adopt(struct ctl *ctl, struct err *err);
int verb_apply(struct ctl *ctl, struct err *err);
int verb_ops(struct ctl *ctl, struct err *err);
int verb_op_show(struct ctl *ctl, struct err *err);
int verb_op_follow(struct ctl *ctl, struct err *err);
int verb_op_change(struct ctl *ctl, struct err *err); /* approve, pause, resume, cancel */
int verb_help(struct ctl *ctl, struct err *err);
int verb_version(struct ctl *ctl, struct err *err);

#endif
