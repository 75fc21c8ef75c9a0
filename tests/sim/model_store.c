/* model_store.c — see model_store.h. */
#include "tests/sim/model_store.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCH_DELAY_US_MAX (20 * MS_US)
#define WATCH_RETRY_US (250 * MS_US)
#define STUCK_RETRY_US (50 * MS_US)
#define LEASE_TTL_MS_MAX (24 * 3600 * 1000)

void model_store_init(struct model_store *store,
                      struct schedule *schedule,
                      struct model_network *network,
                      int place,
                      uint64_t seed)
{
    *store = (struct model_store){
        .schedule = schedule, .network = network, .place = place, .revision = 1, .next_watch = 1};
    prng_init(&store->prng, seed);
}

void model_store_release(struct model_store *store)
{
    for (int i = 0; i < store->kv_count; i++) {
        store_kv_release(&store->kvs[i]);
    }
    for (int i = 0; i < store->log_count; i++) {
        store_kv_release(&store->log[i].kv);
    }
    free(store->kvs);
    free(store->log);
    *store = (struct model_store){0};
}

/* Index of the key, or where it would stand. */
static int place_of(const struct model_store *store, const char *key)
{
    int low = 0;
    int high = store->kv_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (strcmp(store->kvs[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct store_kv *model_store_find(const struct model_store *store, const char *key)
{
    int at = place_of(store, key);
    return at < store->kv_count && strcmp(store->kvs[at].key, key) == 0 ? &store->kvs[at] : NULL;
}

static void copy_kv(struct store_kv *to, const struct store_kv *from)
{
    *to = (struct store_kv){.key = xstrdup(from->key),
                            .create_revision = from->create_revision,
                            .mod_revision = from->mod_revision,
                            .lease_id = from->lease_id};
    strbuf_add(&to->value, from->value.data, from->value.len);
}

static void log_change(struct model_store *store, bool is_delete, const struct store_kv *kv)
{
    ARRAY_RESERVE(store->log, store->log_count, store->log_capacity);
    struct model_change_log *entry = &store->log[store->log_count++];
    entry->is_delete = is_delete;
    copy_kv(&entry->kv, kv);
}

static void put(struct model_store *store, const struct store_write *write)
{
    int at = place_of(store, write->key);
    bool is_new = at == store->kv_count || strcmp(store->kvs[at].key, write->key) != 0;
    if (is_new) {
        ARRAY_RESERVE(store->kvs, store->kv_count, store->kv_capacity);
        memmove(&store->kvs[at + 1], &store->kvs[at],
                (size_t)(store->kv_count - at) * sizeof(*store->kvs));
        store->kv_count++;
        store->kvs[at] =
            (struct store_kv){.key = xstrdup(write->key), .create_revision = store->revision};
    }
    struct store_kv *kv = &store->kvs[at];
    strbuf_clear(&kv->value);
    strbuf_add(&kv->value, write->value.data, write->value.len);
    kv->mod_revision = store->revision;
    kv->lease_id = write->lease_id;
    log_change(store, false, kv);
}

static bool delete (struct model_store *store, const char *key)
{
    int at = place_of(store, key);
    if (at == store->kv_count || strcmp(store->kvs[at].key, key) != 0) {
        return false;
    }
    struct store_kv gone = {.key = store->kvs[at].key, .mod_revision = store->revision};
    log_change(store, true, &gone);
    store_kv_release(&store->kvs[at]);
    store->kv_count--;
    memmove(&store->kvs[at], &store->kvs[at + 1],
            (size_t)(store->kv_count - at) * sizeof(*store->kvs));
    return true;
}

static void tell_watches(struct model_store *store);

static struct model_lease *find_lease(struct model_store *store, int64_t id)
{
    for (int i = 0; i < MODEL_LEASES_MAX; i++) {
        if (store->leases[i].id == id) {
            return &store->leases[i];
        }
    }
    return NULL;
}

static void end_lease(struct model_store *store, struct model_lease *lease)
{
    int64_t id = lease->id;
    *lease = (struct model_lease){0};
    store->lease_end_count++;
    bool is_first = true;
    for (int i = store->kv_count - 1; i >= 0; i--) {
        if (store->kvs[i].lease_id == id) {
            store->revision += is_first;
            is_first = false;
            (void)delete (store, store->kvs[i].key);
        }
    }
    if (!is_first) {
        tell_watches(store);
    }
}

static void expire(struct happening *what)
{
    struct model_store *store = what->owner;
    struct model_lease *lease = find_lease(store, (int64_t)what->tag);
    if (lease == NULL || lease->id == 0) {
        return;
    }
    if (lease->expires_us > store->schedule->now_us || store->is_stuck) {
        int64_t wait_us = lease->expires_us - store->schedule->now_us;
        schedule_add(store->schedule, wait_us > STUCK_RETRY_US ? wait_us : STUCK_RETRY_US,
                     &(struct happening){.run = expire, .owner = store, .tag = what->tag});
        return;
    }
    end_lease(store, lease);
}

static void grant(struct model_store *store,
                  const struct store_request *request,
                  struct store_result *result)
{
    struct model_lease *lease = find_lease(store, request->lease_id);
    bool is_new = lease == NULL;
    lease = is_new ? find_lease(store, 0) : lease;
    if (lease == NULL) {
        result->code = err_set(&result->err, ERR_LIMIT, "no room for another lease");
        return;
    }
    *lease = (struct model_lease){.id = request->lease_id,
                                  .ttl_us = request->ttl_ms * MS_US,
                                  .expires_us = store->schedule->now_us + request->ttl_ms * MS_US};
    result->ttl_ms = request->ttl_ms;
    if (is_new) {
        schedule_add(
            store->schedule, lease->ttl_us,
            &(struct happening){.run = expire, .owner = store, .tag = (uint64_t)lease->id});
    }
}

static bool compares_hold(const struct model_store *store, const struct store_request *request)
{
    for (int i = 0; i < request->compare_count; i++) {
        const struct store_compare *compare = &request->compares[i];
        const struct store_kv *kv = model_store_find(store, compare->key);
        int64_t revision = kv == NULL                                ? 0
                           : compare->field == STORE_CREATE_REVISION ? kv->create_revision
                                                                     : kv->mod_revision;
        if (revision != compare->revision) {
            return false;
        }
    }
    return true;
}

static bool is_effective(const struct model_store *store, const struct store_request *request)
{
    for (int i = 0; i < request->write_count; i++) {
        if (!request->writes[i].is_delete ||
            model_store_find(store, request->writes[i].key) != NULL) {
            return true;
        }
    }
    return false;
}

static void transact(struct model_store *store,
                     const struct store_request *request,
                     struct store_result *result)
{
    if (store->is_full && request->write_count > 0) {
        result->code = err_set(&result->err, ERR_LIMIT, "the store is full");
        return;
    }
    if (!compares_hold(store, request)) {
        return;
    }
    for (int i = 0; i < request->write_count; i++) {
        const struct store_write *write = &request->writes[i];
        if (!write->is_delete && write->lease_id != 0 &&
            find_lease(store, write->lease_id) == NULL) {
            result->code =
                err_set(&result->err, ERR_NOT_FOUND, "no lease %lld", (long long)write->lease_id);
            return;
        }
    }
    result->succeeded = true;
    if (!is_effective(store, request)) {
        return;
    }
    store->revision++;
    for (int i = 0; i < request->write_count; i++) {
        if (request->writes[i].is_delete) {
            (void)delete (store, request->writes[i].key);
        } else {
            put(store, &request->writes[i]);
        }
    }
    tell_watches(store);
}

static void range(const struct model_store *store,
                  const struct store_request *request,
                  struct store_result *result)
{
    size_t len = strlen(request->key);
    for (int i = place_of(store, request->key); i < store->kv_count; i++) {
        const struct store_kv *kv = &store->kvs[i];
        if (request->is_prefix ? strncmp(kv->key, request->key, len) != 0
                               : strcmp(kv->key, request->key) != 0) {
            break;
        }
        struct store_kv *copy = store_result_add_kv(result, kv->key);
        strbuf_add(&copy->value, kv->value.data, kv->value.len);
        copy->create_revision = kv->create_revision;
        copy->mod_revision = kv->mod_revision;
        copy->lease_id = kv->lease_id;
    }
}

/* What is malformed or too large, before anything is done; 0 when all is well. */
static int check_request(const struct store_request *request, struct err *err)
{
    if (request->timeout_ms <= 0) {
        return err_set(err, ERR_INVALID, "a request needs a timeout");
    }
    bool is_grant = request->kind == STORE_LEASE_GRANT;
    bool is_lease =
        is_grant || request->kind == STORE_LEASE_KEEPALIVE || request->kind == STORE_LEASE_REVOKE;
    if ((is_lease && request->lease_id <= 0) || (is_grant && request->ttl_ms <= 0)) {
        return err_set(err, ERR_INVALID, "a lease needs an id and a time");
    }
    if (is_grant && request->ttl_ms > LEASE_TTL_MS_MAX) {
        return err_set(err, ERR_LIMIT, "a lease of %lld ms is too long",
                       (long long)request->ttl_ms);
    }
    if (request->kind == STORE_RANGE && request->key == NULL) {
        return err_set(err, ERR_INVALID, "a range needs a key");
    }
    if (request->write_count > STORE_TXN_WRITES_MAX) {
        return err_set(err, ERR_LIMIT, "%d writes in one transaction", request->write_count);
    }
    size_t bytes = 0;
    for (int i = 0; i < request->write_count; i++) {
        if (request->writes[i].value.len > STORE_VALUE_SIZE_MAX) {
            return err_set(err, ERR_LIMIT, "value of %s is too large", request->writes[i].key);
        }
        bytes += request->writes[i].value.len;
        for (int j = 0; j < i; j++) {
            if (strcmp(request->writes[i].key, request->writes[j].key) == 0) {
                return err_set(err, ERR_INVALID, "key %s twice in one transaction",
                               request->writes[i].key);
            }
        }
    }
    return bytes > 1024 * 1024 ? err_set(err, ERR_LIMIT, "%zu bytes in one transaction", bytes) : 0;
}

void model_store_execute(struct model_store *store,
                         int place,
                         const struct store_request *request,
                         struct store_result *result)
{
    result->req_id = request->req_id;
    result->code = check_request(request, &result->err);
    if (result->code == 0) {
        struct model_lease *lease = NULL;
        switch (request->kind) {
        case STORE_RANGE:
            range(store, request, result);
            break;
        case STORE_TXN:
            transact(store, request, result);
            break;
        case STORE_LEASE_GRANT:
            grant(store, request, result);
            break;
        case STORE_LEASE_KEEPALIVE:
            lease = find_lease(store, request->lease_id);
            if (lease != NULL) {
                lease->expires_us = store->schedule->now_us + lease->ttl_us;
                result->ttl_ms = lease->ttl_us / MS_US;
            }
            break;
        case STORE_LEASE_REVOKE:
            lease = find_lease(store, request->lease_id);
            if (lease != NULL) {
                end_lease(store, lease);
            }
            break;
        }
    }
    result->revision = store->revision;
    if (store->executed != NULL) {
        store->executed(store->executed_owner, place, request, result);
    }
}

/* One request on its way there and back. */
struct call {
    struct model_store *store;
    int place;
    struct store_request request;
    struct store_result result;
    void (*done)(void *owner, const struct store_result *result);
    void *owner;
    bool is_answered;
    int holders; /* happenings that point here */
};

static void call_drop(void *data)
{
    struct call *call = data;
    if (--call->holders == 0) {
        if (!call->is_answered && call->store->orphaned != NULL) {
            call->store->orphaned(call->owner);
        }
        store_request_release(&call->request);
        store_result_release(&call->result);
        free(call);
    }
}

static void answer(struct call *call, const struct store_result *result)
{
    if (!call->is_answered) {
        call->is_answered = true;
        call->done(call->owner, result);
    }
}

static void hold(struct call *call, int64_t delay_us, void (*run)(struct happening *what))
{
    call->holders++;
    schedule_add(call->store->schedule, delay_us,
                 &(struct happening){.run = run, .release = call_drop, .data = call});
}

static void give_up(struct happening *what)
{
    struct call *call = what->data;
    struct store_result result = {.req_id = call->request.req_id};
    result.code = err_set(&result.err, ERR_TIMEOUT, "no answer of the store in %lld ms",
                          (long long)call->request.timeout_ms);
    answer(call, &result);
}

static void refuse(struct happening *what)
{
    struct call *call = what->data;
    struct store_result result = {.req_id = call->request.req_id};
    result.code = err_set(&result.err, ERR_UNAVAILABLE, "the store is not reachable");
    call->store->refused_count++;
    answer(call, &result);
}

static void come_back(struct happening *what)
{
    struct call *call = what->data;
    call->store->late_count += call->is_answered;
    answer(call, &call->result);
}

static void execute(struct happening *what)
{
    struct call *call = what->data;
    struct model_store *store = call->store;
    if (store->is_stuck) {
        hold(call, STUCK_RETRY_US, execute);
        return;
    }
    if (store->is_down) {
        return; /* the caller hears nothing */
    }
    model_store_execute(store, call->place, &call->request, &call->result);
    bool is_lost = store->lost_answer_permille > 0 &&
                   prng_chance(&store->prng, (uint64_t)store->lost_answer_permille, 1000);
    int64_t delay_us = network_stream_delay_us(store->network, store->place, call->place);
    if (is_lost || delay_us < 0) {
        store->lost_answer_count++;
        return;
    }
    hold(call, delay_us, come_back);
}

void model_store_submit(struct model_store *store,
                        int place,
                        struct store_request *request,
                        void (*done)(void *owner, const struct store_result *result),
                        void *owner)
{
    struct call *call = xcalloc(1, sizeof(*call));
    *call = (struct call){
        .store = store, .place = place, .request = *request, .done = done, .owner = owner};
    *request = (struct store_request){0};
    if (store->is_down) {
        hold(call, 1 * MS_US, refuse);
        return;
    }
    hold(call, (call->request.timeout_ms > 0 ? call->request.timeout_ms : 1000) * MS_US, give_up);
    int64_t delay_us = network_stream_delay_us(store->network, place, store->place);
    if (delay_us >= 0) {
        hold(call, delay_us + store->slow_us, execute);
    }
}

static struct model_watch *find_watch(struct model_store *store, uint64_t number)
{
    for (int i = 0; i < MODEL_WATCHES_MAX; i++) {
        if (store->watches[i].is_used && store->watches[i].number == number) {
            return &store->watches[i];
        }
    }
    return NULL;
}

/* Hands a watch what is new to it: changes of the log, or everything. */
static void tell(struct model_store *store, struct model_watch *watch)
{
    struct store_change *changes = NULL;
    int count = 0;
    size_t len = strlen(watch->prefix);
    bool is_snapshot = watch->wants_snapshot;
    int total = is_snapshot ? store->kv_count : store->log_count;
    changes = xcalloc((size_t)total + 1, sizeof(*changes));
    for (int i = 0; i < total; i++) {
        const struct store_kv *kv = is_snapshot ? &store->kvs[i] : &store->log[i].kv;
        if (strncmp(kv->key, watch->prefix, len) == 0 &&
            (is_snapshot || kv->mod_revision > watch->told_revision)) {
            changes[count].is_delete = !is_snapshot && store->log[i].is_delete;
            copy_kv(&changes[count++].kv, kv);
        }
    }
    watch->told_revision = store->revision;
    watch->wants_snapshot = false;
    if (count > 0 || is_snapshot) {
        watch->changed(watch->owner, changes, count, store->revision, is_snapshot);
    }
    for (int i = 0; i < count; i++) {
        store_kv_release(&changes[i].kv);
    }
    free(changes);
}

static void deliver(struct happening *what)
{
    struct model_store *store = what->owner;
    struct model_watch *watch = find_watch(store, what->tag);
    if (watch == NULL || (!watch->wants_snapshot && watch->told_revision == store->revision)) {
        return;
    }
    if (store->is_down || store->is_stuck ||
        network_is_cut(store->network, store->place, watch->place)) {
        schedule_add(store->schedule, WATCH_RETRY_US,
                     &(struct happening){.run = deliver, .owner = store, .tag = what->tag});
        return;
    }
    tell(store, watch);
}

static void tell_soon(struct model_store *store, const struct model_watch *watch)
{
    schedule_add(store->schedule, prng_range(&store->prng, 100, WATCH_DELAY_US_MAX),
                 &(struct happening){.run = deliver, .owner = store, .tag = watch->number});
}

static void tell_watches(struct model_store *store)
{
    for (int i = 0; i < MODEL_WATCHES_MAX; i++) {
        if (store->watches[i].is_used) {
            tell_soon(store, &store->watches[i]);
        }
    }
}

uint64_t model_store_watch(struct model_store *store,
                           int place,
                           const char *prefix,
                           int64_t from_revision,
                           void (*changed)(void *owner,
                                           const struct store_change *changes,
                                           int count,
                                           int64_t revision,
                                           bool is_snapshot),
                           void *owner)
{
    for (int i = 0; i < MODEL_WATCHES_MAX; i++) {
        struct model_watch *watch = &store->watches[i];
        if (watch->is_used) {
            continue;
        }
        *watch = (struct model_watch){.is_used = true,
                                      .number = store->next_watch++,
                                      .place = place,
                                      .told_revision = from_revision > 0 ? from_revision - 1 : 0,
                                      .wants_snapshot = from_revision == 0,
                                      .changed = changed,
                                      .owner = owner};
        snprintf(watch->prefix, sizeof(watch->prefix), "%s", prefix);
        tell_soon(store, watch);
        return watch->number;
    }
    UNREACHABLE("more watches than any run opens");
}

void model_store_unwatch(struct model_store *store, uint64_t number)
{
    struct model_watch *watch = find_watch(store, number);
    if (watch != NULL) {
        watch->is_used = false;
    }
}
