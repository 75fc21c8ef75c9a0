/* repair_rules.c — see repair_rules.h. The rules' numbers are those of docs/lifecycle.md. */
#include "agent/core/repair_rules.h"

#include "common/base/err.h"

#include <stdarg.h>
#include <stdio.h>

/* The slot that is judged, and what is known of it so far. */
struct judged {
    const struct repair_picture *picture;
    int index;
    bool has_waited;
    int owner;
    int target; /* whom the owner migrates the slot to, its successor if it failed over; or NOBODY
                 */
    struct repair_verdict *verdict;
};

bool repair_epoch_is_settled(const struct repair_picture *picture, int node)
{
    const struct repair_node *subject = &picture->nodes[node];
    for (int i = 0; i < picture->node_count; i++) {
        const struct repair_node *other = &picture->nodes[i];
        if (i == node || !other->is_answered || !other->is_primary || other->is_gone) {
            continue;
        }
        bool is_known = other->epochs == NULL || other->epochs[node] == subject->config_epoch;
        if (!is_known || other->config_epoch == subject->config_epoch) {
            return false;
        }
    }
    return true;
}

const char *repair_step_name(enum repair_step step)
{
    static const char *const names[REPAIR_STEP_NR] = {
        [REPAIR_CLEAN] = "clean",     [REPAIR_WAIT] = "wait",     [REPAIR_HOLD] = "hold",
        [REPAIR_TELL] = "tell",       [REPAIR_STABLE] = "stable", [REPAIR_IMPORT] = "import",
        [REPAIR_MIGRATE] = "migrate", [REPAIR_REMARK] = "remark", [REPAIR_CLAIM] = "claim",
        [REPAIR_FORWARD] = "forward", [REPAIR_FETCH] = "fetch",   [REPAIR_RETELL] = "retell",
    };
    return (unsigned)step < REPAIR_STEP_NR ? names[step] : "unknown";
}

/* ---- small words ---- */

static const struct repair_node *node_at(const struct judged *j, int node)
{
    return &j->picture->nodes[node];
}

static const struct repair_say *say_of(const struct judged *j, int node)
{
    return &j->picture->nodes[node].says[j->index];
}

/* Its word counts: it answered, is a primary, and is a member of this cluster. */
static bool is_heard(const struct judged *j, int node)
{
    const struct repair_node *n = node_at(j, node);
    return n->is_answered && n->is_primary && !n->is_gone;
}

static bool is_silent(const struct judged *j, int node)
{
    const struct repair_node *n = node_at(j, node);
    return !n->is_answered && n->is_primary && !n->is_gone && !n->is_dead;
}

static bool claims(const struct judged *j, int node)
{
    return is_heard(j, node) && say_of(j, node)->owner == node;
}

static const char *name_of(const struct judged *j, int node, char text[ADDRESS_TEXT_SIZE])
{
    return address_format(&node_at(j, node)->address, text);
}

static bool decide(const struct judged *j, enum repair_step step, int at, int other)
{
    *j->verdict = (struct repair_verdict){.step = step, .at = at, .other = other};
    return true;
}

static bool PRINTF_LIKE(2, 3) hold(const struct judged *j, const char *format, ...)
{
    (void)decide(j, REPAIR_HOLD, REPAIR_NOBODY, REPAIR_NOBODY);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(j->verdict->reason, sizeof(j->verdict->reason), format, args);
    va_end(args);
    return true;
}

/* What may pass by itself is only held when it did not. */
static bool hold_or_wait(const struct judged *j)
{
    if (!j->has_waited) {
        j->verdict->step = REPAIR_WAIT;
    }
    return true;
}

/* ---- who owns it ---- */

/* Rule 1: enough nodes are seen. True = decided (not enough). */
static bool judge_silence(const struct judged *j)
{
    int heard = 0;
    int silent = 0;
    int last = REPAIR_NOBODY;
    for (int i = 0; i < j->picture->node_count; i++) {
        heard += is_heard(j, i);
        if (is_silent(j, i)) {
            silent++;
            last = i;
        }
    }
    char text[ADDRESS_TEXT_SIZE];
    if (heard <= silent) {
        (void)hold(j, "only %d of %d primaries answer", heard, heard + silent);
        return hold_or_wait(j);
    }
    if (silent > 0 && !j->has_waited) {
        (void)hold(j, "%.60s does not answer", name_of(j, last, text));
        return hold_or_wait(j);
    }
    return false;
}

/* Rule 2: of several that claim it the highest config epoch wins, as in Redis itself. What a loser
 * holds is brought to the owner before gossip makes it drop its keys. */
static bool judge_rival(const struct judged *j, int rival)
{
    const struct repair_say *say = say_of(j, rival);
    if (node_at(j, rival)->config_epoch == node_at(j, j->owner)->config_epoch) {
        char a[ADDRESS_TEXT_SIZE];
        char b[ADDRESS_TEXT_SIZE];
        (void)hold(j, "%.50s and %.50s both claim it under one config epoch", name_of(j, rival, a),
                   name_of(j, j->owner, b));
        return hold_or_wait(j);
    }
    if (say->keys > 0) {
        bool is_marked = say->mark == REPAIR_MIGRATING && say->peer == j->owner;
        return decide(j, is_marked ? REPAIR_FETCH : REPAIR_MIGRATE, rival, j->owner);
    }
    if (!j->has_waited) {
        (void)hold(j, "a node does not know the new owner yet");
        return hold_or_wait(j);
    }
    return decide(j, REPAIR_TELL, rival, j->owner);
}

/* Rule 3: a lone claim must be what most others see; a node that imports the slot hears of no owner
 * and has no say. */
static bool judge_votes(const struct judged *j)
{
    int votes_for = 1;
    int votes_against = 0;
    for (int i = 0; i < j->picture->node_count; i++) {
        if (i == j->owner || !is_heard(j, i) || say_of(j, i)->mark == REPAIR_IMPORTING) {
            continue;
        }
        votes_for += say_of(j, i)->owner == j->owner;
        votes_against += say_of(j, i)->owner != j->owner && say_of(j, i)->owner != REPAIR_NOBODY;
    }
    if (votes_for > votes_against ||
        (votes_for == votes_against && j->owner == j->picture->wanted)) {
        return false;
    }
    char text[ADDRESS_TEXT_SIZE];
    (void)hold(j, "%.60s claims it, but %d of %d primaries name another owner",
               name_of(j, j->owner, text), votes_against, votes_against + votes_for);
    return hold_or_wait(j);
}

/* Rule 4, first half: everybody who is named as the owner says itself that it is not. */
static bool judge_disclaimers(const struct judged *j)
{
    char text[ADDRESS_TEXT_SIZE];
    for (int i = 0; i < j->picture->node_count; i++) {
        int named = is_heard(j, i) ? say_of(j, i)->owner : REPAIR_NOBODY;
        if (named == REPAIR_STRANGER) {
            return hold(j, "%.60s names an owner that the other nodes do not know",
                        name_of(j, i, text));
        }
        if (named >= 0 && !node_at(j, named)->is_answered && !node_at(j, named)->is_gone) {
            return hold(j, "its owner %.60s does not answer", name_of(j, named, text));
        }
    }
    return false;
}

/* Rule 4, second half: who takes a slot that nobody claims. */
static int choose_heir(const struct judged *j)
{
    int holder = REPAIR_NOBODY;
    int importer = REPAIR_NOBODY;
    int holders = 0;
    int importers = 0;
    for (int i = 0; i < j->picture->node_count; i++) {
        if (!is_heard(j, i)) {
            continue;
        }
        if (say_of(j, i)->keys > 0) {
            bool is_most = holder == REPAIR_NOBODY || say_of(j, i)->keys > say_of(j, holder)->keys;
            holders++;
            holder = is_most ? i : holder;
        }
        if (say_of(j, i)->mark == REPAIR_IMPORTING) {
            importers++;
            importer = i;
        }
    }
    int wanted = j->picture->wanted;
    bool is_fit = wanted >= 0 && is_heard(j, wanted);
    if (is_fit && (holders == 0 || say_of(j, wanted)->keys > 0)) {
        return wanted;
    }
    /* Of several the one with the most: the others' keys come to it, none over another. */
    if (holders > 0) {
        return holders == 1 || importers == 0 ? holder : REPAIR_NOBODY;
    }
    return importers == 1 ? importer : REPAIR_NOBODY;
}

static bool judge_unowned(const struct judged *j)
{
    if (!j->has_waited) {
        (void)hold(j, "no primary claims it");
        return hold_or_wait(j);
    }
    if (judge_disclaimers(j)) {
        return true;
    }
    int heir = choose_heir(j);
    if (heir == REPAIR_NOBODY) {
        return hold(j, "no primary claims it, and several or none could: name the one that shall");
    }
    for (int i = 0; i < j->picture->node_count; i++) {
        if (i != heir && is_heard(j, i)) {
            return decide(j, REPAIR_CLAIM, heir, i);
        }
    }
    return hold(j, "no primary claims it, and only one answers");
}

/* Finds the owner; true = decided without one, or about another one that claims the slot. */
static bool judge_owner(struct judged *j)
{
    int claimants = 0;
    j->owner = REPAIR_NOBODY;
    for (int i = 0; i < j->picture->node_count; i++) {
        if (!claims(j, i)) {
            continue;
        }
        claimants++;
        if (j->owner == REPAIR_NOBODY ||
            node_at(j, i)->config_epoch > node_at(j, j->owner)->config_epoch) {
            j->owner = i;
        }
    }
    if (claimants == 0) {
        return judge_unowned(j);
    }
    if (claimants == 1) {
        return judge_votes(j);
    }
    for (int i = 0; i < j->picture->node_count; i++) {
        if (i != j->owner && claims(j, i)) {
            return judge_rival(j, i);
        }
    }
    return false;
}

/* ---- the owner migrates it ---- */

/* The node that now stands where the owner's mark points; true = it cannot be seen. */
static bool find_target(struct judged *j)
{
    const struct repair_say *say = say_of(j, j->owner);
    j->target = REPAIR_NOBODY;
    if (say->mark != REPAIR_MIGRATING) {
        return false;
    }
    int target = say->peer;
    if (target >= 0 && !node_at(j, target)->is_primary) {
        target = node_at(j, target)->primary;
    }
    if (target < 0) {
        (void)hold(j,
                   "its owner migrates it to a node that nobody knows: what that held, if "
                   "anything, cannot be seen");
        return hold_or_wait(j);
    }
    const struct repair_node *node = node_at(j, target);
    if (node->is_gone && node->is_answered && node->says[j->index].keys == 0) {
        j->target = j->owner; /* it was reset, which is refused while there are keys */
        return false;
    }
    if (!is_heard(j, target)) {
        char text[ADDRESS_TEXT_SIZE];
        (void)hold(j,
                   "its owner migrates it to %.60s, which does not answer: what that holds "
                   "cannot be seen",
                   name_of(j, target, text));
        return hold_or_wait(j);
    }
    j->target = target;
    return false;
}

/* Rules 7 and 8. */
static bool judge_migrating(const struct judged *j)
{
    const struct repair_say *at_owner = say_of(j, j->owner);
    const struct repair_say *at_target = say_of(j, j->target);
    if (j->target == j->owner) {
        return decide(j, REPAIR_STABLE, j->owner, REPAIR_NOBODY);
    }
    if (at_target->mark == REPAIR_MIGRATING) {
        return decide(j, REPAIR_REMARK, j->target, j->owner);
    }
    if (at_target->mark == REPAIR_UNMARKED && at_target->keys == 0) {
        return decide(j, REPAIR_STABLE, j->owner, REPAIR_NOBODY);
    }
    if (at_target->mark == REPAIR_UNMARKED || at_target->peer != j->owner) {
        return decide(j, REPAIR_IMPORT, j->target, j->owner);
    }
    if (at_owner->peer != j->target) {
        return decide(j, REPAIR_MIGRATE, j->owner, j->target);
    }
    return decide(j, REPAIR_FORWARD, j->owner, j->target);
}

/* ---- everybody else ---- */

/* Rules 5 and 6: what can be put right without moving a key. */
static bool judge_bystander_marks(const struct judged *j, int node)
{
    const struct repair_say *say = say_of(j, node);
    if (say->mark == REPAIR_IMPORTING && say->owner != j->owner) {
        return decide(j, REPAIR_TELL, node, j->owner);
    }
    if (say->mark != REPAIR_UNMARKED && say->keys == 0 && node != j->target) {
        return decide(j, REPAIR_STABLE, node, REPAIR_NOBODY);
    }
    return false;
}

/* Rule 9: keys at a node that does not own their slot. */
static bool judge_bystander_keys(const struct judged *j, int node)
{
    const struct repair_say *say = say_of(j, node);
    if (say->keys == 0) {
        return false;
    }
    switch (say->mark) {
    case REPAIR_IMPORTING:
        return decide(j, REPAIR_FETCH, node, j->owner);
    case REPAIR_MIGRATING:
        return decide(j, REPAIR_REMARK, node, j->owner);
    case REPAIR_UNMARKED:
        break;
    }
    return decide(j, REPAIR_IMPORT, node, j->owner);
}

/* Rule 10: an owner that still imports; nobody else holds a key by now. */
static bool judge_owner_imports(const struct judged *j)
{
    const struct repair_say *say = say_of(j, j->owner);
    if (say->mark != REPAIR_IMPORTING) {
        return false;
    }
    if (say->peer >= 0 && is_silent(j, say->peer)) {
        char text[ADDRESS_TEXT_SIZE];
        return hold(j, "its owner imports it from %.60s, which does not answer",
                    name_of(j, say->peer, text));
    }
    return decide(j, REPAIR_STABLE, j->owner, REPAIR_NOBODY);
}

/* Rule 11: views that gossip has not put right. */
static bool judge_views(const struct judged *j)
{
    for (int i = 0; i < j->picture->node_count; i++) {
        if (!is_heard(j, i) || say_of(j, i)->owner == j->owner) {
            continue;
        }
        if (!j->has_waited) {
            (void)hold(j, "a node does not know its owner yet");
            return hold_or_wait(j);
        }
        return decide(j, REPAIR_TELL, i, j->owner);
    }
    return false;
}

/* Rule 12: a replica keeps a mark that its primary has lost. */
static bool judge_replicas(const struct judged *j)
{
    for (int i = 0; i < j->picture->node_count; i++) {
        const struct repair_node *node = node_at(j, i);
        bool is_marked = node->is_answered && !node->is_primary && !node->is_gone &&
                         node->says[j->index].mark != REPAIR_UNMARKED;
        if (!is_marked || node->primary < 0 || !is_heard(j, node->primary)) {
            continue;
        }
        if (!j->has_waited) {
            (void)hold(j, "a replica still has a mark");
            return hold_or_wait(j);
        }
        return decide(j, REPAIR_RETELL, node->primary, REPAIR_NOBODY);
    }
    return false;
}

void repair_judge(const struct repair_picture *picture,
                  int index,
                  bool has_waited,
                  struct repair_verdict *verdict)
{
    struct judged j = {.picture = picture,
                       .index = index,
                       .has_waited = has_waited,
                       .owner = REPAIR_NOBODY,
                       .target = REPAIR_NOBODY,
                       .verdict = verdict};
    if (judge_silence(&j) || judge_owner(&j) || find_target(&j)) {
        return;
    }
    for (int i = 0; i < picture->node_count; i++) {
        if (i != j.owner && is_heard(&j, i) && judge_bystander_marks(&j, i)) {
            return;
        }
    }
    if (j.target != REPAIR_NOBODY) {
        (void)judge_migrating(&j);
        return;
    }
    for (int i = 0; i < picture->node_count; i++) {
        if (i != j.owner && is_heard(&j, i) && judge_bystander_keys(&j, i)) {
            return;
        }
    }
    if (judge_owner_imports(&j) || judge_views(&j) || judge_replicas(&j)) {
        return;
    }
    (void)decide(&j, REPAIR_CLEAN, REPAIR_NOBODY, REPAIR_NOBODY);
}
