/* helper_world_store.c — the store of the world: keys, revisions, leases, faults. */
#include "helper_world_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "coordinator/core/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct world_kv *store_find(struct world_store *store, const char *key)
{
    for (int i = 0; i < store->kv_count; i++) {
        if (strcmp(store->kvs[i].key, key) == 0) {
            return &store->kvs[i];
        }
    }
    return NULL;
}

struct world_kv *world_stored(struct world *w, const char *key)
{
    return store_find(&w->store, key);
}

void world_store_put(struct world *w, const char *key, const struct record *record)
{
    struct world_store *store = &w->store;
    struct world_kv *kv = store_find(store, key);
    if (kv == NULL) {
        store->kvs = xreallocarray(store->kvs, (size_t)store->kv_count + 1, sizeof(*store->kvs));
        kv = &store->kvs[store->kv_count++];
        *kv = (struct world_kv){.key = xstrdup(key), .create_revision = store->revision + 1};
    } else {
        record_release(&kv->record);
    }
    kv->mod_revision = ++store->revision;
    record_copy(&kv->record, record);
}

void store_delete(struct world_store *store, const char *key)
{
    struct world_kv *kv = store_find(store, key);
    if (kv != NULL) {
        free(kv->key);
        record_release(&kv->record);
        *kv = store->kvs[--store->kv_count];
    }
}

static int kv_compare(const void *a, const void *b)
{
    return strcmp(((const struct world_kv *)a)->key, ((const struct world_kv *)b)->key);
}

static void tell_leader_change(struct world *w, bool is_deleted)
{
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        if (w->store.fault[i] == STORE_WELL) {
            struct coordinator_event event = {.kind = COORDINATOR_CHANGED,
                                              .is_deleted = is_deleted};
            world_send(w, i, &event);
        }
    }
}

static void lease_end(struct world *w, int64_t id)
{
    struct world_store *store = &w->store;
    bool is_leader_gone = false;
    for (int i = store->kv_count - 1; i >= 0; i--) {
        if (store->kvs[i].lease_id == id && id != 0) {
            is_leader_gone = is_leader_gone || strcmp(store->kvs[i].key, "leader") == 0;
            store->revision++;
            store_delete(store, store->kvs[i].key);
        }
    }
    for (int i = 0; i < store->lease_count; i++) {
        if (store->leases[i].id == id) {
            store->leases[i] = store->leases[--store->lease_count];
            break;
        }
    }
    if (is_leader_gone) {
        tell_leader_change(w, true);
    }
}

static struct world_lease *lease_find(struct world_store *store, int64_t id)
{
    for (int i = 0; i < store->lease_count; i++) {
        if (store->leases[i].id == id) {
            return &store->leases[i];
        }
    }
    return NULL;
}

static bool txn_holds(struct world_store *store, const struct store_request *request)
{
    for (int i = 0; i < request->compare_count; i++) {
        const struct store_compare *compare = &request->compares[i];
        const struct world_kv *kv = store_find(store, compare->key);
        int64_t have = kv == NULL ? 0
                                  : (compare->field == STORE_CREATE_REVISION ? kv->create_revision
                                                                             : kv->mod_revision);
        if (have != compare->revision) {
            return false;
        }
    }
    return true;
}

static void txn_apply(struct world *w,
                      const struct coordinator_effect *effect,
                      struct store_result *result)
{
    struct world_store *store = &w->store;
    const struct store_request *request = &effect->request;
    store->txn_count++;
    if (!txn_holds(store, request)) {
        return;
    }
    for (int i = 0; i < request->write_count; i++) {
        if (request->writes[i].lease_id != 0 &&
            lease_find(store, request->writes[i].lease_id) == NULL) {
            result->code = ERR_NOT_FOUND;
            return;
        }
    }
    store->revision++;
    for (int i = 0; i < request->write_count; i++) {
        const struct store_write *write = &request->writes[i];
        if (write->is_delete) {
            store_delete(store, write->key);
            continue;
        }
        struct world_kv *kv = store_find(store, write->key);
        if (kv == NULL) {
            store->kvs =
                xreallocarray(store->kvs, (size_t)store->kv_count + 1, sizeof(*store->kvs));
            kv = &store->kvs[store->kv_count++];
            *kv = (struct world_kv){.key = xstrdup(write->key), .create_revision = store->revision};
        } else {
            record_release(&kv->record);
        }
        kv->mod_revision = store->revision;
        kv->lease_id = write->lease_id;
        bool has_record = false;
        for (int r = 0; r < effect->record_count; r++) {
            if (effect->records[r].write_index == i) {
                record_copy(&kv->record, &effect->records[r].record);
                has_record = true;
            }
        }
        assert_true(has_record);
    }
    result->succeeded = true;
    result->revision = store->revision;
}

static void range_apply(struct world_store *store,
                        const struct store_request *request,
                        struct stored_record **out,
                        int *count)
{
    if (store->kv_count > 1) {
        qsort(store->kvs, (size_t)store->kv_count, sizeof(*store->kvs), kv_compare);
    }
    for (int i = 0; i < store->kv_count; i++) {
        const struct world_kv *kv = &store->kvs[i];
        bool is_match = request->is_prefix
                            ? strncmp(kv->key, request->key, strlen(request->key)) == 0
                            : strcmp(kv->key, request->key) == 0;
        if (is_match) {
            *out = xreallocarray(*out, (size_t)*count + 1, sizeof(**out));
            (*out)[(*count)++] = (struct stored_record){
                .key = kv->key,
                .create_revision = kv->create_revision,
                .mod_revision = kv->mod_revision,
                .lease_id = kv->lease_id,
                .record = kv->record,
            };
        }
    }
}

static void store_serve(struct world *w, struct world_request *pending)
{
    struct world_store *store = &w->store;
    const struct store_request *request = &pending->effect.request;
    struct store_result result = {.req_id = request->req_id};
    struct stored_record *records = NULL;
    int record_count = 0;
    bool is_done = pending->fault == STORE_WELL || pending->fault == STORE_DONE_SILENT ||
                   (pending->fault == STORE_FULL && request->kind != STORE_TXN);
    bool tells = false;
    if (is_done) {
        struct world_lease *lease = lease_find(store, request->lease_id);
        switch (request->kind) {
        case STORE_RANGE:
            range_apply(store, request, &records, &record_count);
            result.revision = store->revision;
            break;
        case STORE_TXN:
            txn_apply(w, &pending->effect, &result);
            tells = result.succeeded && strcmp(request->writes[0].key, "leader") == 0;
            break;
        case STORE_LEASE_GRANT:
            if (lease == NULL) {
                assert_true(store->lease_count < 16);
                lease = &store->leases[store->lease_count++];
                *lease = (struct world_lease){.id = request->lease_id, .ttl_ms = request->ttl_ms};
            }
            lease->ends_ms = w->now_ms + lease->ttl_ms;
            result.ttl_ms = lease->ttl_ms;
            break;
        case STORE_LEASE_KEEPALIVE:
            if (lease != NULL) {
                lease->ends_ms = w->now_ms + lease->ttl_ms;
                result.ttl_ms = lease->ttl_ms;
            }
            break;
        case STORE_LEASE_REVOKE:
            lease_end(w, request->lease_id);
            break;
        }
    }
    switch (pending->fault) {
    case STORE_WELL:
        break;
    case STORE_REFUSES:
        result.code = err_set(&result.err, ERR_UNAVAILABLE, "no store");
        break;
    case STORE_DONE_SILENT:
    case STORE_LOST:
        result.code = err_set(&result.err, ERR_TIMEOUT, "no answer");
        break;
    case STORE_FULL:
        if (!is_done) {
            result.code = err_set(&result.err, ERR_LIMIT, "store is full");
        }
        break;
    }
    if (result.code != 0) {
        record_count = 0;
        result.succeeded = false;
        result.ttl_ms = 0;
    }
    struct coordinator_event event = {.kind = COORDINATOR_STORE,
                                      .result = &result,
                                      .records = records,
                                      .record_count = record_count};
    world_send(w, pending->coordinator, &event);
    free(records);
    if (tells) {
        tell_leader_change(w, false);
    }
}

void request_release(struct world_request *request)
{
    struct coordinator_effects one = {.items = &request->effect, .count = 1};
    coordinator_effects_clear(&one);
}

bool store_run(struct world *w)
{
    struct world_store *store = &w->store;
    bool did = false;
    for (int i = 0; i < store->lease_count; i++) {
        if (w->now_ms >= store->leases[i].ends_ms) {
            lease_end(w, store->leases[i].id);
            i = -1;
            did = true;
        }
    }
    for (int i = 0; i < store->request_count; i++) {
        if (store->requests[i].due_ms <= w->now_ms) {
            struct world_request request = store->requests[i];
            store->request_count--;
            memmove(&store->requests[i], &store->requests[i + 1],
                    (size_t)(store->request_count - i) * sizeof(*store->requests));
            store_serve(w, &request);
            request_release(&request);
            i = -1;
            did = true;
        }
    }
    return did;
}
