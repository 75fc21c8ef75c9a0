/* election.c — see election.h. */
#include "coordinator/core/election.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <string.h>

#define CLAIM_DEADLINE_MS \
    (ELECTION_TIMEOUT_MS + 2000) /* results always come; this is for a shell that lost one */

/* clang-format off */
const struct sm_state election_states[ELECTION_NR] = {
    /*                          name             may go to                                                                deadline           meaning                                        */
    [ELECTION_FOLLOWING]    = {"following",     SM_TO(ELECTION_GRANTING) | SM_TO(ELECTION_STOPPED),                       NEVER,             "another one leads, or the store is away"     },
    [ELECTION_GRANTING]     = {"granting",      SM_TO(ELECTION_CAMPAIGNING) | SM_TO(ELECTION_FOLLOWING) | SM_TO(ELECTION_RESIGNING),  CLAIM_DEADLINE_MS, "nobody leads; a lease is asked for" },
    [ELECTION_CAMPAIGNING]  = {"campaigning",   SM_TO(ELECTION_LEADING) | SM_TO(ELECTION_READING_BACK) | SM_TO(ELECTION_FOLLOWING) | SM_TO(ELECTION_RESIGNING), CLAIM_DEADLINE_MS, "creates the leader key" },
    [ELECTION_READING_BACK] = {"reading-back",  SM_TO(ELECTION_LEADING) | SM_TO(ELECTION_FOLLOWING) | SM_TO(ELECTION_RESIGNING), CLAIM_DEADLINE_MS, "the claim's outcome is unknown; asks whose key it is" },
    [ELECTION_LEADING]      = {"leading",       SM_TO(ELECTION_FOLLOWING) | SM_TO(ELECTION_RESIGNING),                    NEVER,             "leads until term_end_ms, which keepalives move on" },
    [ELECTION_RESIGNING]    = {"resigning",     SM_TO(ELECTION_STOPPED),                                                  CLAIM_DEADLINE_MS, "gives the lease back"                        },
    [ELECTION_STOPPED]      = {"stopped",       0,                                                                        NEVER,             "asked to stop"                               },
};
/* clang-format on */

static void start_grant(struct election *election, struct turn *turn);
static void start_claim(struct election *election, struct turn *turn);
static void start_read_back(struct election *election, struct turn *turn);
static void send_keepalive(struct election *election, struct turn *turn);
static void send_proof(struct election *election, struct turn *turn);
static void send_revoke(struct election *election, struct turn *turn);
static void follow(struct election *election, struct turn *turn, int64_t read_due_ms);
static void forget_claim(struct election *election);
static void lead(struct election *election, struct turn *turn, int64_t fence);
static void note_failure(struct election *election,
                         struct turn *turn,
                         const struct store_result *result);
static void note_success(struct election *election, struct turn *turn);

void election_init(struct election *election,
                   const struct coordinator_config *config,
                   uint64_t seed,
                   int64_t now_ms)
{
    *election = (struct election){
        .config = config, .term_end_ms = NEVER, .proof_due_ms = NEVER, .read_due_ms = now_ms};
    prng_init(&election->prng, seed);
    sm_init(&election->sm, election_states, ELECTION_NR, ELECTION_FOLLOWING, now_ms);
}

static void tick_leading(struct election *election, struct turn *turn)
{
    if (turn->now_ms >= election->term_end_ms) {
        election_end_term(election, turn, "the lease could not be renewed in time");
        return;
    }
    if (election->keepalive_req == 0 && turn->now_ms >= election->keepalive_due_ms) {
        send_keepalive(election, turn);
    }
    if (election->proof_req == 0 && turn->now_ms >= election->proof_due_ms) {
        send_proof(election, turn);
    }
}

void election_tick(struct election *election, struct turn *turn)
{
    switch ((enum election_state)election->sm.state) {
    case ELECTION_FOLLOWING:
        if (election->read_req == 0 && turn->now_ms >= election->read_due_ms) {
            struct coordinator_effect *effect = turn_store(turn, STORE_RANGE, ELECTION_TIMEOUT_MS);
            effect->request.key = xstrdup(LEADER_KEY);
            election->read_req = effect->request.req_id;
        }
        break;
    case ELECTION_GRANTING:
    case ELECTION_CAMPAIGNING:
    case ELECTION_READING_BACK:
        if (sm_is_overdue(&election->sm, turn->now_ms)) {
            send_revoke(election, turn);
            follow(election, turn, turn->now_ms);
        }
        break;
    case ELECTION_LEADING:
        tick_leading(election, turn);
        break;
    case ELECTION_RESIGNING:
        if (sm_is_overdue(&election->sm, turn->now_ms)) {
            sm_move(&election->sm, ELECTION_STOPPED, turn->now_ms);
        }
        break;
    case ELECTION_STOPPED:
        break;
    case ELECTION_NR:
        UNREACHABLE("election state");
    }
}

static const struct stored_record *find_leader(const struct coordinator_event *event)
{
    for (int i = 0; i < event->record_count; i++) {
        if (strcmp(event->records[i].key, LEADER_KEY) == 0) {
            return &event->records[i];
        }
    }
    return NULL;
}

static int64_t retry_ms(struct election *election)
{
    int64_t cap_ms = election->config->keepalive_interval_ms;
    return prng_backoff_ms(&election->prng, election->failures, ELECTION_RETRY_MS,
                           cap_ms > ELECTION_RETRY_MS ? cap_ms : ELECTION_RETRY_MS);
}

/* FOLLOWING: the leader key was read. */
static void read_done(struct election *election,
                      struct turn *turn,
                      const struct coordinator_event *event)
{
    election->read_req = 0;
    if (event->result->code != 0) {
        note_failure(election, turn, event->result);
        election->read_due_ms = turn->now_ms + retry_ms(election);
        return;
    }
    note_success(election, turn);
    election->read_due_ms = turn->now_ms + election->config->keepalive_interval_ms;
    const struct stored_record *stored = find_leader(event);
    if (stored != NULL) {
        bool is_readable = stored->record.kind == RECORD_LEADER;
        bool is_news = !election->is_leader_known ||
                       (is_readable &&
                        strcmp(election->leader.instance, stored->record.as.leader.instance) != 0);
        if (is_readable && is_news) {
            election->leader = stored->record.as.leader;
            struct log_event *log = turn_log(turn, EVENT_FOLLOWING);
            log_event_add(log, "leader", election->leader.name);
            log_event_add_int(log, "fence", stored->create_revision);
        }
        election->is_leader_known = is_readable;
        return;
    }
    election->is_leader_known = false;
    if (turn->now_ms < election->campaign_not_before_ms) {
        election->read_due_ms = election->campaign_not_before_ms;
        return;
    }
    start_grant(election, turn);
}

/* GRANTING, CAMPAIGNING, READING_BACK, RESIGNING: the answer of the request that the state waits
 * for. */
static void claim_done(struct election *election,
                       struct turn *turn,
                       const struct coordinator_event *event)
{
    const struct store_result *result = event->result;
    election->claim_req = 0;
    switch ((enum election_state)election->sm.state) {
    case ELECTION_GRANTING:
        if (result->code != 0 || result->ttl_ms <= 0) {
            note_failure(election, turn, result);
            send_revoke(election, turn);
            follow(election, turn, turn->now_ms + retry_ms(election));
            return;
        }
        election->term_end_ms =
            election->claim_sent_ms + result->ttl_ms - election->config->lease_margin_ms;
        start_claim(election, turn);
        return;
    case ELECTION_CAMPAIGNING:
        if (result->code == 0 && result->succeeded) {
            lead(election, turn, result->revision);
            return;
        }
        if (result->code == ERR_TIMEOUT || result->code == ERR_IO || result->code == ERR_PROTOCOL) {
            note_failure(election, turn, result);
            start_read_back(election, turn);
            return;
        }
        if (result->code != 0) {
            note_failure(election, turn, result);
        }
        send_revoke(election, turn);
        follow(election, turn,
               result->code == 0 ? turn->now_ms : turn->now_ms + retry_ms(election));
        return;
    case ELECTION_READING_BACK: {
        const struct stored_record *stored = result->code == 0 ? find_leader(event) : NULL;
        bool is_ours =
            stored != NULL && stored->record.kind == RECORD_LEADER &&
            stored->lease_id == election->lease_id &&
            strcmp(stored->record.as.leader.instance, election->config->self.instance) == 0;
        if (is_ours) {
            lead(election, turn, stored->create_revision);
            return;
        }
        /* The claim may still be on its way: without its lease it can never land. */
        send_revoke(election, turn);
        follow(election, turn, turn->now_ms + retry_ms(election));
        return;
    }
    case ELECTION_RESIGNING:
        sm_move(&election->sm, ELECTION_STOPPED, turn->now_ms);
        return;
    case ELECTION_FOLLOWING:
    case ELECTION_LEADING:
    case ELECTION_STOPPED:
    case ELECTION_NR:
        return;
    }
}

static void keepalive_done(struct election *election,
                           struct turn *turn,
                           const struct store_result *result)
{
    election->keepalive_req = 0;
    if (result->code != 0) {
        note_failure(election, turn, result);
        election->keepalive_due_ms = turn->now_ms + ELECTION_RETRY_MS;
        return;
    }
    if (result->ttl_ms <= 0) {
        election_end_term(election, turn, "the store says that the lease is gone");
        return;
    }
    note_success(election, turn);
    election->contact_ms = election->keepalive_sent_ms;
    int64_t end_ms =
        election->keepalive_sent_ms + result->ttl_ms - election->config->lease_margin_ms;
    if (end_ms > election->term_end_ms) {
        election->term_end_ms = end_ms;
    }
    election->keepalive_due_ms =
        election->keepalive_sent_ms + election->config->keepalive_interval_ms;
}

static void proof_done(struct election *election,
                       struct turn *turn,
                       const struct store_result *result)
{
    election->proof_req = 0;
    if (result->code == ERR_NOT_FOUND || (result->code == 0 && !result->succeeded)) {
        election_end_term(election, turn, "the leader key is not ours any more");
        return;
    }
    election->proof_due_ms = result->code == 0 ? NEVER : turn->now_ms + ELECTION_RETRY_MS;
}

bool election_store_result(struct election *election,
                           struct turn *turn,
                           const struct coordinator_event *event)
{
    uint64_t req_id = event->result->req_id;
    if (req_id == election->read_req) {
        if (election->sm.state == ELECTION_FOLLOWING) {
            read_done(election, turn, event);
        }
    } else if (req_id == election->claim_req) {
        claim_done(election, turn, event);
    } else if (req_id == election->keepalive_req) {
        keepalive_done(election, turn, event->result);
    } else if (req_id == election->proof_req) {
        proof_done(election, turn, event->result);
    } else {
        return false;
    }
    election_tick(election, turn);
    return true;
}

void election_changed(struct election *election, struct turn *turn, bool is_deleted)
{
    if (election->sm.state == ELECTION_FOLLOWING) {
        if (is_deleted) {
            election->is_leader_known = false;
        }
        election->read_req = 0; /* what is on its way may be older than the change */
        election->read_due_ms = turn->now_ms;
    } else if (election->sm.state == ELECTION_LEADING && is_deleted) {
        election->proof_due_ms =
            turn->now_ms; /* perhaps an old rumour: only a guarded write decides */
    }
    election_tick(election, turn);
}

void election_end_term(struct election *election, struct turn *turn, const char *reason)
{
    CHECK(election->sm.state == ELECTION_LEADING);
    struct log_event *log = turn_log(turn, EVENT_TERM_ENDED);
    log_event_add_int(log, "fence", election->fence);
    log_event_add(log, "reason", reason);
    send_revoke(election, turn);
    election->campaign_not_before_ms =
        turn->now_ms + prng_range(&election->prng, ELECTION_PAUSE_MS, 2L * ELECTION_PAUSE_MS);
    follow(election, turn, turn->now_ms);
}

void election_stop(struct election *election, struct turn *turn)
{
    switch ((enum election_state)election->sm.state) {
    case ELECTION_FOLLOWING:
        sm_move(&election->sm, ELECTION_STOPPED, turn->now_ms);
        return;
    case ELECTION_GRANTING:
    case ELECTION_CAMPAIGNING:
    case ELECTION_READING_BACK:
    case ELECTION_LEADING: {
        if (election->sm.state == ELECTION_LEADING) {
            log_event_add_int(turn_log(turn, EVENT_RESIGNED), "fence", election->fence);
        }
        forget_claim(election);
        sm_move(&election->sm, ELECTION_RESIGNING, turn->now_ms);
        send_revoke(election, turn);
        election->claim_req = turn->req_id_last;
        return;
    }
    case ELECTION_RESIGNING:
    case ELECTION_STOPPED:
    case ELECTION_NR:
        return;
    }
}

bool election_is_leading(const struct election *election)
{
    return election->sm.state == ELECTION_LEADING;
}

bool election_is_fresh(const struct election *election, int64_t now_ms)
{
    return election_is_leading(election) &&
           now_ms - election->contact_ms < 2 * election->config->keepalive_interval_ms;
}

int64_t election_deadline(const struct election *election)
{
    int64_t deadline_ms = election->sm.deadline_ms;
    if (election->sm.state == ELECTION_FOLLOWING && election->read_req == 0) {
        deadline_ms = deadline_min(deadline_ms, election->read_due_ms);
    }
    if (election->sm.state == ELECTION_LEADING) {
        deadline_ms = deadline_min(deadline_ms, election->term_end_ms);
        if (election->keepalive_req == 0) {
            deadline_ms = deadline_min(deadline_ms, election->keepalive_due_ms);
        }
        if (election->proof_req == 0) {
            deadline_ms = deadline_min(deadline_ms, election->proof_due_ms);
        }
    }
    return deadline_ms;
}

static void start_grant(struct election *election, struct turn *turn)
{
    election->lease_id = (int64_t)(prng_next(&election->prng) >> 1) | 1;
    sm_move(&election->sm, ELECTION_GRANTING, turn->now_ms);
    struct coordinator_effect *effect = turn_store(turn, STORE_LEASE_GRANT, ELECTION_TIMEOUT_MS);
    effect->request.lease_id = election->lease_id;
    effect->request.ttl_ms = election->config->lease_ttl_ms;
    election->claim_req = effect->request.req_id;
    election->claim_sent_ms = turn->now_ms;
    log_event_add(turn_log(turn, EVENT_CAMPAIGNING), "name", election->config->self.name);
}

/* "Create the leader key if it is absent", or, guarded by our fence, write it again. */
static uint64_t put_leader(struct election *election,
                           struct turn *turn,
                           int64_t create_revision,
                           int64_t timeout_ms)
{
    struct coordinator_effect *effect = turn_store(turn, STORE_TXN, timeout_ms);
    store_request_add_compare(&effect->request, LEADER_KEY, STORE_CREATE_REVISION, create_revision);
    store_request_add_put(&effect->request, LEADER_KEY, election->lease_id);
    effect->records = xcalloc(1, sizeof(*effect->records));
    effect->record_count = 1;
    effect->records[0] = (struct record_write){
        .write_index = 0,
        .record = {.kind = RECORD_LEADER, .as = {.leader = election->config->self}},
    };
    return effect->request.req_id;
}

static void start_claim(struct election *election, struct turn *turn)
{
    sm_move(&election->sm, ELECTION_CAMPAIGNING, turn->now_ms);
    election->claim_req = put_leader(election, turn, 0, ELECTION_TIMEOUT_MS);
}

static void start_read_back(struct election *election, struct turn *turn)
{
    sm_move(&election->sm, ELECTION_READING_BACK, turn->now_ms);
    struct coordinator_effect *effect = turn_store(turn, STORE_RANGE, ELECTION_TIMEOUT_MS);
    effect->request.key = xstrdup(LEADER_KEY);
    election->claim_req = effect->request.req_id;
}

static void send_keepalive(struct election *election, struct turn *turn)
{
    struct coordinator_effect *effect =
        turn_store(turn, STORE_LEASE_KEEPALIVE, KEEPALIVE_TIMEOUT_MS);
    effect->request.lease_id = election->lease_id;
    election->keepalive_req = effect->request.req_id;
    election->keepalive_sent_ms = turn->now_ms;
}

static void send_proof(struct election *election, struct turn *turn)
{
    election->proof_req = put_leader(election, turn, election->fence, KEEPALIVE_TIMEOUT_MS);
}

/* Gives the lease back; nobody waits for the answer unless the caller takes its req_id. */
static void send_revoke(struct election *election, struct turn *turn)
{
    struct coordinator_effect *effect = turn_store(turn, STORE_LEASE_REVOKE, KEEPALIVE_TIMEOUT_MS);
    effect->request.lease_id = election->lease_id;
}

static void follow(struct election *election, struct turn *turn, int64_t read_due_ms)
{
    sm_move(&election->sm, ELECTION_FOLLOWING, turn->now_ms);
    forget_claim(election);
    election->read_due_ms = read_due_ms;
}

/* From here on no answer to anything sent before means anything. */
static void forget_claim(struct election *election)
{
    election->read_req = 0;
    election->claim_req = 0;
    election->keepalive_req = 0;
    election->proof_req = 0;
    election->proof_due_ms = NEVER;
    election->fence = 0;
    election->term_end_ms = NEVER;
    election->is_leader_known = false;
}

static void lead(struct election *election, struct turn *turn, int64_t fence)
{
    if (fence <= 0 || turn->now_ms >= election->term_end_ms) {
        /* Won, but too late to use: the lease may end any moment. */
        send_revoke(election, turn);
        follow(election, turn, turn->now_ms + ELECTION_RETRY_MS);
        return;
    }
    note_success(election, turn);
    sm_move(&election->sm, ELECTION_LEADING, turn->now_ms);
    election->fence = fence;
    election->leading_since_ms = turn->now_ms;
    election->contact_ms = election->claim_sent_ms;
    election->keepalive_due_ms = election->claim_sent_ms + election->config->keepalive_interval_ms;
    election->leader = election->config->self;
    election->is_leader_known = true;
    struct log_event *log = turn_log(turn, EVENT_LEADING);
    log_event_add(log, "name", election->config->self.name);
    log_event_add_int(log, "fence", fence);
}

static void note_failure(struct election *election,
                         struct turn *turn,
                         const struct store_result *result)
{
    if (election->failures++ == 0) {
        struct log_event *log = turn_log(turn, EVENT_STORE_FAILED);
        log_event_add(log, "code", err_word(result->code));
        log_event_add(log, "text", result->err.text);
    }
    election->store_err = result->err;
    election->store_err.code = result->code != 0 ? result->code : ERR_PROTOCOL;
}

static void note_success(struct election *election, struct turn *turn)
{
    if (election->failures > 0) {
        log_event_add_int(turn_log(turn, EVENT_STORE_BACK), "failures", election->failures);
    }
    election->failures = 0;
    election->store_err = (struct err){0};
}
