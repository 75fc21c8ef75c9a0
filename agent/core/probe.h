/* probe.h — how the nodes are that this agent serves.
 *
 * Each node is asked once an interval, on a lane of its own: a PING for the delay of its event
 * loop, then INFO, CLUSTER INFO and CLUSTER NODES in one pipeline. A view is parsed only when
 * something but its clocks has changed, and its text is kept once for all nodes that agree. Nodes
 * are configured, found on this host, told by a coordinator, or (when the agent serves all) learned
 * from the nodes themselves. Source: docs/design.md sections 4 and 6 rule 3. */
#ifndef DROVER_AGENT_CORE_PROBE_H
#define DROVER_AGENT_CORE_PROBE_H

#include "agent/core/agent.h"
#include "agent/core/owned_watch.h"
#include "agent/core/request_ids.h"

#define PROBE_NODES_MAX REPORT_NODES_MAX
#define PROBE_INTERVAL_MS_DEFAULT 2000
#define PROBE_LOST_AFTER \
    5 /* failures in a row before a learned node that no view lists any more is dropped */

enum probe_origin { PROBE_CONFIGURED, PROBE_DISCOVERED, PROBE_TOLD, PROBE_LEARNED };

/* An answer sent for before the wish does not fulfil it. */
enum probe_hurry { HURRY_NONE, HURRY_WANTED, HURRY_ASKED };

struct probe_node {
    struct node_report report; /* as of the last answer; age_ms is filled when reported */
    enum probe_origin origin;
    int64_t due_ms;      /* when it is asked next */
    int64_t answered_ms; /* the facts in 'report' are of then; NEVER = never */
    uint64_t ping_req;   /* 0 = none on its way */
    uint64_t facts_req;
    enum probe_hurry hurry;
    int failures;  /* in a row */
    bool is_alias; /* another entry is the same node under another address: not asked, not reported
                    */
    uint64_t text_hash;        /* of CLUSTER NODES without its clocks; 0 = none seen */
    struct owned_watch *owned; /* of Valkey from 8 on, else NULL; owned */
    struct strbuf text; /* CLUSTER NODES; empty when another node keeps a text of the same digest */
};

struct probe {
    struct request_ids ids;
    struct probe_node *nodes; /* owned; in the order in which they became known */
    int count;
    int capacity;
    bool serves_all;
    int64_t interval_ms;
    bool has_news; /* answers since the last report of nodes */
};

void probe_init(struct probe *probe, uint32_t serial, bool serves_all, int64_t interval_ms);
void probe_release(struct probe *probe);
void probe_set_interval(struct probe *probe, int64_t interval_ms);
/* A node more; known addresses, port 0 and nodes beyond PROBE_NODES_MAX change nothing. It is asked
 * at once. */
void probe_add(struct probe *probe,
               const struct address *address,
               enum probe_origin origin,
               int64_t now_ms);
/* The node at this address is gone for good and is no longer asked nor reported. */
void probe_let_go(struct probe *probe, const struct address *address);
void probe_run(struct probe *probe, int64_t now_ms, struct agent_effects *fx);
/* AGENT_REDIS: true when the answer was for the probe. */
bool probe_answer(struct probe *probe, const struct agent_event *event, struct agent_effects *fx);
int64_t probe_deadline(const struct probe *probe);

/* True while a node with this view is about to be asked for its text again. */
bool probe_is_view_due(const struct probe *probe, uint64_t digest);

/* Asks every node anew at once; what is on its way may be older than the wish. */
void probe_hurry_all(struct probe *probe, int64_t now_ms);
/* True while an answer that probe_hurry_all() asked for is out. */
bool probe_is_hurrying(const struct probe *probe);

/* All nodes for a report, copied; the caller owns them. */
struct node_report *probe_reports(const struct probe *probe, int64_t now_ms, int *count);
/* The node whose text with this digest is kept, or NULL. */
const struct probe_node *probe_find_view(const struct probe *probe, uint64_t digest);
/* For how long the node has owned its slots, if that was watched; or NULL. */
const struct owned_watch *probe_owned(const struct probe *probe, const struct node_id *id);
/* Sees to it that the text is there soon, if any node still has that view. */
void probe_want_view(struct probe *probe, uint64_t digest, int64_t now_ms);

#endif
