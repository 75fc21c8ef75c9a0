/* lifecycle.c — see lifecycle.h: one decision from the stages of its kind. */
#include "coordinator/core/lifecycle.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>
#include <stdlib.h>

bool lifecycle_applies(enum operation_kind kind)
{
    return (int)kind >= OPERATION_CREATE && (int)kind <= OPERATION_KIND_MAX;
}

static void run_stages(struct decision *d)
{
    switch (d->request->kind) {
    case OPERATION_CREATE:
        decide_create(d);
        return;
    case OPERATION_ADD:
        decide_add(d);
        return;
    case OPERATION_REMOVE:
        decide_remove(d);
        return;
    case OPERATION_SCALE:
        decide_scale(d);
        return;
    case OPERATION_REPLICATE:
        decide_replicate_request(d);
        return;
    case OPERATION_FAILOVER:
        decide_failover(d);
        return;
    case OPERATION_REPAIR:
        decide_repair(d);
        return;
    case OPERATION_REBALANCE:
    case OPERATION_RESHARD:
    case OPERATION_DRAIN:
        break;
    }
    decide_refuse(d, ERR_INVALID, "%s has its whole plan from the start",
                  operation_kind_name(d->request->kind));
}

/* Nothing else is wanted any more: what was prepared and not needed is taken back. */
static void close_done(struct decision *d)
{
    struct lifecycle_answer undo;
    lifecycle_undo(d->facts, &undo);
    if (undo.verdict == LIFECYCLE_DONE) {
        d->answer->verdict = LIFECYCLE_DONE;
        return;
    }
    free(d->answer->batches);
    *d->answer = undo;
}

static int count_slots(const struct batch *batches, int count)
{
    int slots = 0;
    for (int i = 0; i < count; i++) {
        slots += batches[i].kind == BATCH_MOVE ? slotset_count(&batches[i].slots) : 0;
    }
    return slots;
}

/* A refusal, or a wait that was said aloud, goes before batches; a task that is only unseen does
 * not. */
static void close_decision(struct decision *d)
{
    struct lifecycle_answer *answer = d->answer;
    if (answer->batch_count > PLAN_BATCHES_MAX - d->facts->batch_count) {
        decide_refuse(d, ERR_LIMIT, "more than %d steps in one operation", PLAN_BATCHES_MAX);
    }
    if (count_slots(answer->batches, answer->batch_count) >
        PLAN_SLOTS_MAX - count_slots(d->facts->batches, d->facts->batch_count)) {
        decide_refuse(d, ERR_LIMIT, "more than %d slots moved in one operation", PLAN_SLOTS_MAX);
    }
    bool is_said = answer->verdict == LIFECYCLE_REFUSED || answer->verdict == LIFECYCLE_WAIT;
    if (is_said) {
        for (int i = 0; i < answer->batch_count; i++) {
            batch_release(&answer->batches[i]);
        }
        answer->batch_count = 0;
    } else if (answer->batch_count > 0) {
        answer->verdict = LIFECYCLE_MORE;
    } else if (d->unseen[0] != '\0') {
        answer->verdict = LIFECYCLE_WAIT;
        (void)snprintf(answer->reason, sizeof(answer->reason), "%s", d->unseen);
    } else {
        close_done(d);
    }
}

void lifecycle_decide(const struct operation_request *request,
                      const struct lifecycle_facts *facts,
                      struct lifecycle_answer *out,
                      struct strbuf *why)
{
    CHECK(facts->topology != NULL);
    CHECK(facts->options != NULL);
    *out = (struct lifecycle_answer){0};
    struct decision d = {
        .request = request, .facts = facts, .topology = facts->topology, .answer = out, .why = why};
    placement_init(&d.placement, facts->topology, facts->hosts, facts->host_count);
    decide_unfinished_leaves(&d);
    if (!decision_is_made(&d)) {
        run_stages(&d);
    }
    close_decision(&d);
    placement_release(&d.placement);
}

void lifecycle_next(const struct operation_request *request,
                    const struct lifecycle_facts *facts,
                    struct lifecycle_answer *out)
{
    lifecycle_decide(request, facts, out, NULL);
}

void lifecycle_answer_release(struct lifecycle_answer *answer)
{
    if (answer == NULL) {
        return;
    }
    for (int i = 0; i < answer->batch_count; i++) {
        batch_release(&answer->batches[i]);
    }
    free(answer->batches);
    *answer = (struct lifecycle_answer){0};
}
