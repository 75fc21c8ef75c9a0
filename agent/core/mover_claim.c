/* mover_claim.c — the claim itself: the target is told that it owns a burst's slots, and late is
 * never.
 *
 * A target that freezes between its last answer and the claim has the claim in its socket. When it
 * wakes up its replica may have been elected; it does not know yet, and on Redis 7 carries the
 * claim out, which can win it all slots of its shard back. What its successor has acknowledged is
 * lost then. So the claim says until when it is good, by the target's own clock, which the target
 * told with its last answer: a replica is elected half a second after a failure was noticed at the
 * earliest, and that takes a node timeout.
 *
 * It goes as one script (mover_script.h), which also costs the target less than as many commands.
 * Valkey from 8.0 on cannot run it and need not: there a claim is refused when no replica answers.
 * Where the user may not run scripts, claims go plainly and the log says so.
 *
 * Left over: a process that freezes inside the script, and a machine whose clock stands still while
 * it is frozen (a virtual machine that is suspended and resumed with its old time).
 * Source: docs/redis_facts.md 13c. */
#include "agent/core/mover.h"

#include "agent/core/mover_script.h"
#include "common/base/check.h"

#define MS_US INT64_C(1000)
/* For a fleet so slow that this many claims of an order came too late. No election ends before,
 * with node timeouts of a second or more. */
#define LATE_CLAIMS_MAX 3
#define SLOW_CLAIM_MS_MAX 1500

/* Valkey from 8 on passes SETSLOT on to replicas, in a script too, and dies of it. Who does not say
 * what it is gets no script either. */
void mover_judge_scripts(struct slot_mover *m, const struct info *target)
{
    int version = version_number(target->version);
    m->has_scripts = target->kind == SERVER_REDIS ||
                     (target->kind == SERVER_VALKEY && version > 0 && version < 80000);
}

bool mover_claims_by_script(const struct slot_mover *m)
{
    return m->has_scripts && !m->is_script_refused;
}

/* From here on without a deadline. */
static void claim_plainly(struct slot_mover *m, const struct reply *reply, struct agent_effects *fx)
{
    if (m->is_script_refused) {
        return;
    }
    m->is_script_refused = true;
    struct log_event *log = mover_log(m, fx, LOG_WARN, "move.claims_plainly");
    log_event_addf(log, "node", "%.12s", m->order.target.text);
    log_event_addf(log, "reason",
                   "%.100s: claims have no deadline, ignoring; allow drover's user +eval +time",
                   reply->text);
}

bool mover_claim_take_time(struct slot_mover *m,
                           struct burst *burst,
                           const struct reply *reply,
                           struct agent_effects *fx)
{
    if (mover_script_is_refused(reply)) {
        claim_plainly(m, reply, fx);
        return true;
    }
    return mover_script_read_time(reply, &burst->target_time_us);
}

static void claim_by_script(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    CHECK(burst->target_time_us > 0);
    bool is_slow = burst->late_proofs >= MOVER_LATE_PROOFS_MAX || m->late_claims >= LATE_CLAIMS_MAX;
    int64_t last_us =
        burst->target_time_us + (is_slow ? SLOW_CLAIM_MS_MAX : MOVER_PROOF_MS_MAX) * MS_US;
    struct mover_request request = {.kind = REQUEST_BURST,
                                    .burst = mover_burst_index(m, burst),
                                    .index = MOVER_FAN_END,
                                    .is_target = true,
                                    .lane = MOVER_NO_LANE,
                                    .is_script = true};
    struct command_list *commands = mover_ask_target(m, fx, &request);
    mover_script_begin(commands, burst->target_time_us, last_us, &m->order.target,
                       &m->order.source);
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i])) {
            commands_arg_int(commands, burst->slots[i].slot);
        }
    }
    burst->answers_awaited = 1;
}

void mover_claim(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    sm_move(&burst->sm, BURST_CLAIMING, m->now_ms);
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i])) {
            uint8_t *flags = &m->flags[burst->slots[i].slot];
            *flags = (uint8_t)(*flags & ~SLOT_UNPROVED);
            *flags |= SLOT_TOUCHED; /* may be the target's from here on: no way back */
        }
    }
    burst->answers_awaited = 0;
    if (mover_claims_by_script(m)) {
        claim_by_script(m, burst, fx);
        return;
    }
    struct mover_fan fan = {.node = &m->target.node,
                            .end = &m->target,
                            .is_target = true,
                            .index = MOVER_FAN_END,
                            .verb = "NODE",
                            .peer = &m->order.target,
                            .is_bound = true};
    mover_fan_out(m, burst, &fan, fx);
}

/* ---- the answer ---- */

static int count_live(const struct burst *burst)
{
    int count = 0;
    for (int i = 0; i < burst->slot_count; i++) {
        count += burst_slot_is_live(&burst->slots[i]);
    }
    return count;
}

/* What went wrong: the script's own error, or that of the first slot that was refused; NULL =
 * nothing. */
static const struct reply *find_error(const struct agent_event *ev, bool is_script)
{
    const struct reply *error = mover_first_error(ev->replies);
    if (error != NULL || !is_script || ev->replies->count != 1) {
        return error;
    }
    const struct reply *answers = &ev->replies->replies[0];
    for (size_t i = 0; answers->type == REPLY_ARRAY && i < answers->count; i++) {
        if (reply_is_error(&answers->items[i])) {
            return &answers->items[i];
        }
    }
    return NULL;
}

static bool is_whole(const struct burst *burst, const struct reply_list *replies)
{
    return replies->count == 1 && replies->replies[0].type == REPLY_ARRAY &&
           replies->replies[0].count == (size_t)count_live(burst);
}

enum claim_outcome mover_claim_answer(struct slot_mover *m,
                                      struct burst *burst,
                                      const struct mover_request *request,
                                      const struct agent_event *ev,
                                      struct agent_effects *fx)
{
    bool is_last = mover_fan_answered(m, burst, request, ev);
    const struct reply *error = ev->code == 0 ? find_error(ev, request->is_script) : NULL;
    if (error != NULL && request->is_script && mover_script_is_refused(error)) {
        claim_plainly(m, error, fx);
        return CLAIM_AGAIN;
    }
    if (error != NULL && request->is_script && mover_script_is_late(error)) {
        m->late_claims++; /* it may have slept: everything is asked anew, its replicas too */
        mover_retry(m, fx, FAULT_WAIT, "the target got the claim too late");
        return CLAIM_OPEN;
    }
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "SETSLOT NODE at the target");
        return CLAIM_OPEN;
    }
    if (request->is_script && !is_whole(burst, ev->replies)) {
        mover_retry(m, fx, FAULT_OTHER, "the target's answer to the claim cannot be read");
        return CLAIM_OPEN;
    }
    return is_last ? CLAIM_HELD : CLAIM_OPEN;
}
