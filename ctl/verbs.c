/* verbs.c — the table of contents of `drover`: every verb with its words, options and examples. */
#include "ctl/ctl.h"

/* clang-format off */
const struct ctl_option ctl_common_options[] = {
    {"api",      '\0', "URL",    true,  "address of the API; repeat or a comma list for several coordinators [$DROVER_API]"},
    {"output",   'o',  "FORMAT", false, "text, wide (more columns, nothing cut) or json"},
    {"timeout",  '\0', "TIME",   false, "wait so long for an answer (15s; plans 3m)"},
    {"ca",       '\0', "FILE",   false, "PEM file of whom to trust for https [$DROVER_CA]"},
    {"no-color", '\0', NULL,     false, "no colours [$NO_COLOR]"},
    {"help",     'h',  NULL,     false, "show help"},
    {"version",  '\0', NULL,     false, "show the version"},
    {NULL, '\0', NULL, false, NULL},
};

#define MOVE_OPTIONS                                                                                              \
    {"speed", '\0', "SPEED", false, "soft, balanced (the default) or fast: how hard nodes may be pressed"},      \
    {"parallel", '\0', "N", false, "at most N batches at the same time"}
#define START_OPTIONS                                                                                             \
    {"yes", 'y', NULL, false, "do not ask"},                                                                      \
    {"detach", 'd', NULL, false, "start it and return at once"},                                                  \
    {"wait", '\0', NULL, false, "follow it to its end (the default)"},                                            \
    {"needs-approval", '\0', NULL, false, "plan it and wait for `drover op approve`"}
#define OUT_OPTION                                                                                                \
    {"scan", '\0', NULL, false, "have the agents count keys and bytes and find big keys first; takes a while"},   \
    {"out", '\0', "FILE", false, "write the plan as JSON, for `drover apply`; - is the screen"}
#define END {NULL, '\0', NULL, false, NULL}
#define REBALANCE_OPTIONS                                                                                         \
    {"weight", 'w', "NODE=W", true, "share of a node against the others' 1; 0 empties it; repeatable"},           \
    {"threshold", '\0', "PERCENT", false, "do nothing while every share is this close (2)"},                      \
    {"use-empty", '\0', NULL, false, "primaries without slots get their share (the default)"}
#define RESHARD_OPTIONS                                                                                           \
    {"slots", 'n', "N", false, "how many slots to move"},                                                         \
    {"from", 'f', "NODE", true, "from whom; repeat or a comma list (all other primaries)"},                       \
    {"to", 't', "NODE", false, "to whom"},                                                                        \
    {"slot-ranges", '\0', "RANGES", false, "these very slots, as 0-99,200"}

static const struct ctl_option plan_rebalance_options[] = {REBALANCE_OPTIONS, MOVE_OPTIONS, OUT_OPTION, END};
static const struct ctl_option plan_reshard_options[] = {RESHARD_OPTIONS, MOVE_OPTIONS, OUT_OPTION, END};
static const struct ctl_option plan_drain_options[] = {
    {"weight", 'w', "NODE=W", true, "share of a node that gets slots, against the others' 1; repeatable"},
    MOVE_OPTIONS, OUT_OPTION, END};
static const struct ctl_option rebalance_options[] = {REBALANCE_OPTIONS, MOVE_OPTIONS, START_OPTIONS, END};
static const struct ctl_option reshard_options[] = {RESHARD_OPTIONS, MOVE_OPTIONS, START_OPTIONS, END};
static const struct ctl_option drain_options[] = {
    {"weight", 'w', "NODE=W", true, "share of a node that gets slots, against the others' 1; repeatable"},
    MOVE_OPTIONS, START_OPTIONS, END};
static const struct ctl_option apply_options[] = {START_OPTIONS, END};
static const struct ctl_option slots_options[] = {
    {"slot",  's', "SLOT", false, "only who owns this slot"},
    {"key",   'k', "KEY",  false, "only who owns the slot of this key"},
    END};
static const struct ctl_option ops_options[] = {
    {"state", 's', "STATE", false, "only those in this state: running, paused, held, done, ..."},
    {"limit", 'n', "N",     false, "at most N (100)"},
    END};
static const struct ctl_option events_options[] = {
    {"follow", 'f', NULL,  false, "go on as they happen"},
    {"after",  'a', "SEQ", false, "only those after this number"},
    {"limit",  'n', "N",   false, "at most N (50; with --after 1000)"},
    END};
static const struct ctl_option watch_options[] = {
    {"interval", 'i', "TIME", false, "redraw so often (1s)"},
    {"count",    'n', "N",    false, "end after N pictures"},
    END};
static const struct ctl_option no_options[] = {END};
/* clang-format on */

#define PLAN_DETAILS                                                                               \
    "Nothing is changed. The plan is bound to the topology that it was made from; when that has\n" \
    "changed, `drover apply` refuses it."
#define START_DETAILS                                                                          \
    "Shows the plan and asks before it starts. While it runs, Ctrl-C only ends the watching: " \
    "the\n"                                                                                    \
    "coordinator goes on. A drover that is killed, or another leader, goes on where it was."

const struct ctl_verb ctl_verbs[] = {
    {"status", NULL, 0, 0, no_options, "What is there, and whether anything is wrong", NULL,
     "  drover status\n  drover status -o json | jq .settled\n", verb_status},
    {"nodes", NULL, 0, 0, no_options, "The nodes with slots, keys, memory and health", NULL,
     "  drover nodes\n  drover nodes -o wide\n", verb_nodes},
    {"slots", NULL, 0, 0, slots_options, "Who owns which slots, what is open, who disagrees", NULL,
     "  drover slots\n  drover slots --key 'user:{42}'\n", verb_slots},
    {"agents", NULL, 0, 0, no_options, "The agents that report", NULL, "  drover agents\n",
     verb_agents},
    {"plan rebalance", NULL, 0, 0, plan_rebalance_options, "Dry run: equal or weighted shares",
     PLAN_DETAILS,
     "  drover plan rebalance\n  drover plan rebalance --weight 10.0.0.4:6379=2 --out plan.json\n",
     verb_plan},
    {"plan reshard", NULL, 0, 0, plan_reshard_options, "Dry run: slots from some nodes to one",
     PLAN_DETAILS,
     "  drover plan reshard --slots 1000 --to 10.0.0.4:6379\n"
     "  drover plan reshard --slots 100 --from 3f2a --to 91c0 -o wide\n",
     verb_plan},
    {"plan drain", "NODE", 1, 1, plan_drain_options, "Dry run: empty a node over the others",
     PLAN_DETAILS, "  drover plan drain 10.0.0.4:6379\n", verb_plan},
    {"apply", "FILE", 1, 1, apply_options, "Start a plan that was written by `drover plan --out`",
     "Refused with exit code 6 when the topology has changed since. Applying the same plan twice\n"
     "while it runs is the same as once.",
     "  drover plan rebalance --out plan.json\n  drover apply plan.json\n", verb_apply},
    {"rebalance", NULL, 0, 0, rebalance_options, "Move slots until shares are equal or as weighted",
     START_DETAILS,
     "  drover rebalance\n  drover rebalance --yes --speed soft\n  drover rebalance --weight "
     "3f2a=2 --weight 91c0=0.5\n",
     verb_start},
    {"reshard", NULL, 0, 0, reshard_options, "Move some slots to one node", START_DETAILS,
     "  drover reshard --slots 1000 --to 10.0.0.4:6379\n"
     "  drover reshard --slots 500 --from 10.0.0.1:6379,10.0.0.2:6379 --to 10.0.0.4:6379 --yes\n",
     verb_start},
    {"drain", "NODE", 1, 1, drain_options, "Empty a node over the others, so that it may leave",
     START_DETAILS, "  drover drain 10.0.0.4:6379\n  drover drain 3f2a91c0 --yes --detach\n",
     verb_start},
    {"ops", NULL, 0, 0, ops_options, "The operations, newest first", NULL,
     "  drover ops\n  drover ops --state running\n", verb_ops},
    {"op show", "ID", 1, 1, no_options, "One operation with its batches", NULL,
     "  drover op show op-318-4\n  drover op show op-318-4 -o wide\n", verb_op_show},
    {"op follow", "ID", 1, 1, no_options, "Watch an operation to its end", NULL,
     "  drover op follow op-318-4\n", verb_op_follow},
    {"op pause", "ID", 1, 1, no_options, "Finish the slots in hand, then rest", NULL,
     "  drover op pause op-318-4\n", verb_op_change},
    {"op resume", "ID", 1, 1, no_options, "Go on after a pause, or try again what is held", NULL,
     "  drover op resume op-318-4\n", verb_op_change},
    {"op cancel", "ID", 1, 1, no_options,
     "Finish the slots in hand, then end; nothing is left open", NULL,
     "  drover op cancel op-318-4\n", verb_op_change},
    {"op approve", "ID", 1, 1, no_options, "Start what was planned with --needs-approval", NULL,
     "  drover op approve op-318-4\n", verb_op_change},
    {"why", NULL, 0, 0, no_options, "One sentence: what drover does, or why it waits",
     "Always prints one sentence, also when no coordinator answers (exit code 9).",
     "  drover why\n", verb_why},
    {"events", NULL, 0, 0, events_options, "What happened", NULL,
     "  drover events\n  drover events --follow\n  drover events --after 120 -o json\n",
     verb_events},
    {"watch", NULL, 0, 0, watch_options, "A live picture of the cluster and what moves", NULL,
     "  drover watch\n  drover watch --interval 5s\n", verb_watch},
    {"help", "[VERB|exit-codes]", 0, 2, no_options, "Help about a verb or the exit codes", NULL,
     "  drover help reshard\n  drover help op show\n  drover help exit-codes\n", verb_help},
    {"version", NULL, 0, 0, no_options, "The version of this command", NULL, "  drover version\n",
     verb_version},
    {NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL},
};
