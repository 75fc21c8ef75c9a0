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
#define ADD_OPTIONS                                                                                               \
    {"replica-of", 'r', "NODE", false, "as replicas of this primary"},                                            \
    {"as-replica", '\0', NULL, false, "as replicas of whoever lacks one most"},                                   \
    {"no-slots", '\0', NULL, false, "join only; `drover rebalance` gives them slots later"}
#define REMOVE_OPTIONS                                                                                            \
    {"target", 't', "REPLICA", false, "its replica that takes over: the shard stays, no slot moves"},             \
    {"dead", '\0', NULL, false, "it does not answer and never will: what it holds alone is given up"},            \
    {"keep-running", '\0', NULL, false, "leave its server running, and its host with it"}
#define SCALE_OPTIONS                                                                                             \
    {"primaries", 'p', "N", false, "how many primaries there shall be"},                                          \
    {"replicas", 'r', "R", false, "how many replicas each of them shall have"}
#define REPAIR_OPTIONS                                                                                            \
    {"replace", '\0', NULL, false, "a key that is on both sides of a half moved slot: the owner's copy wins"},    \
    {"meet-only", '\0', NULL, false, "only introduce members that do not know each other"},                        \
    {"unreachable-ok", '\0', NULL, false, "give slots of primaries that do not answer to others; their keys are lost"}
#define CREATE_OPTIONS                                                                                            \
    {"replicas", 'r', "R", false, "how many replicas each primary gets (0)"}
#define PLAN_OUT {"out", '\0', "FILE", false, "write the plan as JSON, for `drover apply`; - is the screen"}
static const struct ctl_option plan_create_options[] = {CREATE_OPTIONS, PLAN_OUT, END};
static const struct ctl_option plan_add_options[] = {ADD_OPTIONS, MOVE_OPTIONS, PLAN_OUT, END};
static const struct ctl_option plan_remove_options[] = {REMOVE_OPTIONS, MOVE_OPTIONS, PLAN_OUT, END};
static const struct ctl_option plan_scale_options[] = {SCALE_OPTIONS, MOVE_OPTIONS, PLAN_OUT, END};
static const struct ctl_option plan_repair_options[] = {REPAIR_OPTIONS, PLAN_OUT, END};
static const struct ctl_option create_options[] = {CREATE_OPTIONS, START_OPTIONS, END};
static const struct ctl_option add_options[] = {ADD_OPTIONS, MOVE_OPTIONS, START_OPTIONS, END};
static const struct ctl_option remove_options[] = {REMOVE_OPTIONS, MOVE_OPTIONS, START_OPTIONS, END};
static const struct ctl_option scale_options[] = {SCALE_OPTIONS, MOVE_OPTIONS, START_OPTIONS, END};
static const struct ctl_option replicate_options[] = {
    {"of", '\0', "NODE", false, "the primary"}, START_OPTIONS, END};
static const struct ctl_option failover_options[] = {
    {"force", 'f', NULL, false, "without its primary's consent: writes that did not reach it are lost"},
    START_OPTIONS, END};
static const struct ctl_option repair_options[] = {
    {"dry-run", '\0', NULL, false, "only show what would be done"}, REPAIR_OPTIONS, START_OPTIONS, END};
static const struct ctl_option certificate_options[] = {
    {"wait", 'w', NULL, false, "wait until the node may be switched off"},
    {"limit", 'l', "TIME", false, "with --wait: give up after this (10m)"},
    END};
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

#define NODES_MAX 1000 /* as many as one request takes */
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
    {"plan create", "HOST:PORT...", 1, NODES_MAX, plan_create_options, "Dry run: a new cluster",
     PLAN_DETAILS, "  drover plan create 10.0.0.{1,2,3,4,5,6}:6379 --replicas 1\n", verb_plan},
    {"plan add", "HOST:PORT...", 1, NODES_MAX, plan_add_options, "Dry run: nodes join",
     PLAN_DETAILS, "  drover plan add 10.0.0.4:6379\n", verb_plan},
    {"plan remove", "NODE", 1, 1, plan_remove_options, "Dry run: a node leaves for good",
     PLAN_DETAILS, "  drover plan remove 10.0.0.4:6379\n", verb_plan},
    {"plan scale", NULL, 0, 0, plan_scale_options, "Dry run: more or fewer primaries and replicas",
     PLAN_DETAILS, "  drover plan scale --primaries 5 --replicas 1\n", verb_plan},
    {"plan repair", NULL, 0, 0, plan_repair_options, "Dry run: what `drover repair` would do",
     PLAN_DETAILS, "  drover plan repair\n", verb_plan},
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
    {"create", "HOST:PORT...", 1, NODES_MAX, create_options,
     "Make a cluster of empty nodes that run",
     "The nodes must be empty, in cluster mode and reachable by an agent. Primaries and replicas "
     "are\n"
     "spread over hosts and zones as well as they allow.",
     "  drover create 10.0.0.1:6379 10.0.0.2:6379 10.0.0.3:6379\n"
     "  drover create 10.0.0.{1,2,3,4,5,6}:6379 --replicas 1 --yes\n",
     verb_start},
    {"adopt", "HOST:PORT", 1, 1, no_options,
     "Begin to run the cluster that a node is in, without a restart",
     "Nothing is changed at the cluster. One node is enough: the others are found through it. A "
     "few "
     "of\n"
     "its members are kept in the store, so that it is found again after a restart.",
     "  drover adopt 10.0.0.1:6379\n", verb_adopt},
    {"add", "HOST:PORT...", 1, NODES_MAX, add_options,
     "Nodes that run join the cluster and get slots, or become replicas", START_DETAILS,
     "  drover add 10.0.0.4:6379\n  drover add 10.0.0.4:6379 10.0.0.5:6379 --yes\n"
     "  drover add 10.0.0.9:6379 --replica-of 10.0.0.4:6379\n",
     verb_start},
    {"remove", "NODE", 1, 1, remove_options,
     "A node is emptied, forgotten by all, and stopped when drover started it",
     "Refused while its slots have nowhere to go. The end of it is the removal certificate: see\n"
     "`drover certificate`. Running it again on a node that has left changes nothing.",
     "  drover remove 10.0.0.4:6379\n  drover remove 10.0.0.4:6379 --target 10.0.0.9:6379\n"
     "  drover remove 3f2a91c0 --dead --yes\n",
     verb_start},
    {"scale", NULL, 0, 0, scale_options, "Reach so many primaries, with so many replicas each",
     START_DETAILS,
     "  drover scale --primaries 5\n  drover scale --primaries 3 --replicas 1 --yes\n", verb_start},
    {"replicate", "NODE", 1, 1, replicate_options, "Make a node the replica of a primary",
     "Refused while the node has slots, or keys of its own as a primary.",
     "  drover replicate 10.0.0.9:6379 --of 10.0.0.4:6379\n", verb_start},
    {"failover", "REPLICA", 1, 1, failover_options, "Let a replica take over from its primary",
     "Without --force both agree, and no write is lost.", "  drover failover 10.0.0.9:6379\n",
     verb_start},
    {"doctor", NULL, 0, 0, no_options, "What is wrong, who thinks what, and what to do about it",
     "Exit code 0 when nothing is wrong (notes may be shown), 6 when something is.",
     "  drover doctor\n  drover doctor -o wide\n  drover doctor -o json | jq .findings[].code\n",
     verb_doctor},
    {"repair", NULL, 0, 0, repair_options, "Mend what `drover doctor` finds, as far as rules allow",
     "What must be a person's decision is left alone and named.",
     "  drover repair --dry-run\n  drover repair --yes\n", verb_start},
    {"certificate", "NODE", 1, 1, certificate_options,
     "The proof that a node may be switched off, signed",
     "Exit code 6 while something stands against it, 10 when --limit passes with --wait. A node "
     "that\n"
     "has left is named by its whole id, or by the address it had. The JSON of -o json is what\n"
     "others check: docs/api.md says how.",
     "  drover certificate 10.0.0.4:6379\n"
     "  drover certificate 3f2a91c0... --wait -o json > node.certificate\n",
     verb_certificate},
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
