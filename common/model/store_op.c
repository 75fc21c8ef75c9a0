/* store_op.c — see store_op.h. */
#include "common/model/store_op.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

void store_kv_release(struct store_kv *kv)
{
    if (kv == NULL) {
        return;
    }
    free(kv->key);
    strbuf_release(&kv->value);
    *kv = (struct store_kv){0};
}

void store_request_release(struct store_request *request)
{
    if (request == NULL) {
        return;
    }
    for (int i = 0; i < request->compare_count; i++) {
        free(request->compares[i].key);
    }
    for (int i = 0; i < request->write_count; i++) {
        free(request->writes[i].key);
        strbuf_release(&request->writes[i].value);
    }
    free(request->compares);
    free(request->writes);
    free(request->key);
    *request = (struct store_request){0};
}

void store_result_release(struct store_result *result)
{
    if (result == NULL) {
        return;
    }
    for (int i = 0; i < result->kv_count; i++) {
        store_kv_release(&result->kvs[i]);
    }
    free(result->kvs);
    *result = (struct store_result){0};
}

void store_request_add_compare(struct store_request *request,
                               const char *key,
                               enum store_compare_field field,
                               int64_t revision)
{
    CHECK(strlen(key) < STORE_KEY_SIZE_MAX);
    size_t count = (size_t)request->compare_count + 1;
    request->compares = xreallocarray(request->compares, count, sizeof(*request->compares));
    request->compares[request->compare_count++] =
        (struct store_compare){.key = xstrdup(key), .field = field, .revision = revision};
}

static struct store_write *add_write(struct store_request *request, const char *key)
{
    CHECK(strlen(key) < STORE_KEY_SIZE_MAX);
    CHECK(request->write_count < STORE_TXN_WRITES_MAX);
    size_t count = (size_t)request->write_count + 1;
    request->writes = xreallocarray(request->writes, count, sizeof(*request->writes));
    struct store_write *write = &request->writes[request->write_count++];
    *write = (struct store_write){.key = xstrdup(key)};
    return write;
}

struct store_write *store_request_add_put(struct store_request *request,
                                          const char *key,
                                          int64_t lease_id)
{
    struct store_write *write = add_write(request, key);
    write->lease_id = lease_id;
    return write;
}

void store_request_add_delete(struct store_request *request, const char *key)
{
    add_write(request, key)->is_delete = true;
}

struct store_kv *store_result_add_kv(struct store_result *result, const char *key)
{
    size_t count = (size_t)result->kv_count + 1;
    result->kvs = xreallocarray(result->kvs, count, sizeof(*result->kvs));
    struct store_kv *kv = &result->kvs[result->kv_count++];
    *kv = (struct store_kv){.key = xstrdup(key)};
    return kv;
}
