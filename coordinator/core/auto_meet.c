/* auto_meet.c — see auto_meet.h. */
#include "coordinator/core/auto_meet.h"

#include "coordinator/core/lifecycle.h"
#include "coordinator/core/state.h"

#include <stdio.h>

static bool is_free(const struct coordinator *c)
{
    return c->config.auto_meet && !journal_is_frozen(&c->journal) &&
           c->executor.unreadable[0] == '\0' && executor_active(c) == NULL && !c->scan.is_active &&
           c->observe.views_stale == 0;
}

/* A live member that another live member does not list. */
static bool has_stranger(const struct topology *topology)
{
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *found = &topology->disagreements[i];
        if (found->kind != DISAGREE_MEMBERSHIP) {
            continue;
        }
        const struct topology_node *subject = &topology->nodes[found->subject];
        if (subject->is_reachable && !subject->is_failed) {
            return true;
        }
    }
    return false;
}

static void begin(struct coordinator *c)
{
    struct operation_request request = {
        .kind = OPERATION_REPAIR, .replicas_wanted = -1, .flags = REQUEST_MEET_ONLY};
    struct lifecycle_answer first;
    (void)snprintf(request.requested_by, sizeof(request.requested_by), "%s", AUTO_MEET_NAME);
    grow_ask(c, &request, NULL, &first);
    if (first.verdict == LIFECYCLE_MORE) {
        struct plan plan = {.topology_digest = c->observe.digest};
        struct operation_run *o = executor_add(c, &request, &plan);
        executor_record_plan(c, o);
        operation_move(c, o, OPERATION_RUNNING, 0, "");
    }
    lifecycle_answer_release(&first);
}

void auto_meet_tick(struct coordinator *c)
{
    struct auto_meet *own = &c->auto_meet;
    if (!is_free(c) || !has_stranger(&c->observe.topology)) {
        own->since_ms = 0;
        return;
    }
    if (own->since_ms == 0) {
        own->since_ms = c->turn.now_ms;
    }
    if (c->turn.now_ms - own->since_ms >= AUTO_MEET_AFTER_MS &&
        c->turn.now_ms >= own->not_before_ms) {
        own->not_before_ms = c->turn.now_ms + AUTO_MEET_AGAIN_MS;
        begin(c);
    }
}
