/* store_etcd_json.c — see store_etcd_json.h. Source: etcd api/etcdserverpb/rpc.proto, measured
 * on 3.4.23 and 3.5.30. */
#include "common/io/store_etcd_json.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define GRPC_NONE (-1)

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int kv_decode(json_t *object,
                     const char *prefix,
                     struct store_kv *kv,
                     bool *is_ours,
                     struct err *err);
static void header_decode(json_t *object, struct etcd_header *header);

/* ---- base64 and numbers ---- */

static json_t *base64_json(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    struct strbuf text = {0};
    strbuf_reserve(&text, (size + 2) / 3 * 4);
    for (size_t i = 0; i < size; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < size ? bytes[i + 2] : 0;
        strbuf_add_char(&text, base64_digits[group >> 18]);
        strbuf_add_char(&text, base64_digits[(group >> 12) & 63]);
        strbuf_add_char(&text, i + 1 < size ? base64_digits[(group >> 6) & 63] : '=');
        strbuf_add_char(&text, i + 2 < size ? base64_digits[group & 63] : '=');
    }
    json_t *json = json_stringn(strbuf_text(&text), text.len);
    CHECK(json != NULL);
    strbuf_release(&text);
    return json;
}

static int base64_value(char c)
{
    const char *found = c == '\0' ? NULL : strchr(base64_digits, c);
    return found == NULL ? -1 : (int)(found - base64_digits);
}

/* Appends the bytes; an absent member is no bytes. */
static int base64_decode(json_t *object, const char *name, struct strbuf *out, struct err *err)
{
    json_t *json = json_object_get(object, name);
    if (json == NULL) {
        return 0;
    }
    const char *text = json_string_value(json);
    size_t len = json_string_length(json);
    if (text == NULL || len % 4 != 0) {
        return err_set(err, ERR_PROTOCOL, "etcd answer: '%s' is not base64", name);
    }
    strbuf_reserve(out, len / 4 * 3);
    for (size_t i = 0; i < len; i += 4) {
        int padding =
            i + 4 < len ? 0 : (text[i + 3] == '=') + (text[i + 2] == '=' && text[i + 3] == '=');
        uint32_t group = 0;
        for (int j = 0; j < 4; j++) {
            int value = j >= 4 - padding ? 0 : base64_value(text[i + (size_t)j]);
            if (value < 0) {
                return err_set(err, ERR_PROTOCOL, "etcd answer: '%s' is not base64", name);
            }
            group = group << 6 | (uint32_t)value;
        }
        const char bytes[3] = {(char)(group >> 16), (char)(group >> 8), (char)group};
        strbuf_add(out, bytes, (size_t)(3 - padding));
    }
    return 0;
}

/* int64 come as strings, some gateways use numbers; absent is 0. */
static int64_t int_member(json_t *object, const char *name)
{
    json_t *json = json_object_get(object, name);
    if (json_is_integer(json)) {
        return json_integer_value(json);
    }
    const char *text = json_string_value(json);
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

static uint64_t uint_member(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? (uint64_t)int_member(object, name) : strtoull(text, NULL, 10);
}

static bool bool_member(json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

/* ---- encoding ---- */

static void set_member(json_t *object, const char *name, json_t *value)
{
    CHECK(value != NULL);
    CHECK(json_object_set_new(object, name, value) == 0);
}

static void set_int(json_t *object, const char *name, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    set_member(object, name, json_string(text));
}

static void set_key(json_t *object, const char *prefix, const char *key)
{
    char *full = xasprintf("%s%s", prefix, key);
    set_member(object, "key", base64_json(full, strlen(full)));
    free(full);
}

/* key and range_end so that every key that begins with prefix + key is meant. The prefix begins
 * with '/', so there is always a byte that can be raised. */
static void set_prefix_range(json_t *object, const char *prefix, const char *key)
{
    set_key(object, prefix, key);
    char *end = xasprintf("%s%s", prefix, key);
    size_t len = strlen(end);
    while (len > 0 && (unsigned char)end[len - 1] == 0xff) {
        len--;
    }
    CHECK(len > 0);
    end[len - 1]++;
    set_member(object, "range_end", base64_json(end, len));
    free(end);
}

static char *json_text(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(object);
    return text;
}

static json_t *new_object(void)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    return object;
}

static json_t *encode_compare(const struct store_compare *compare, const char *prefix)
{
    json_t *object = new_object();
    set_key(object, prefix, compare->key);
    set_member(object, "result", json_string("EQUAL"));
    switch (compare->field) {
    case STORE_CREATE_REVISION:
        set_member(object, "target", json_string("CREATE"));
        set_int(object, "create_revision", compare->revision);
        break;
    case STORE_MOD_REVISION:
        set_member(object, "target", json_string("MOD"));
        set_int(object, "mod_revision", compare->revision);
        break;
    }
    return object;
}

static json_t *encode_write(const struct store_write *write, const char *prefix)
{
    json_t *inner = new_object();
    set_key(inner, prefix, write->key);
    if (!write->is_delete) {
        set_member(inner, "value", base64_json(strbuf_text(&write->value), write->value.len));
        if (write->lease_id != 0) {
            set_int(inner, "lease", write->lease_id);
        }
    }
    json_t *object = new_object();
    set_member(object, write->is_delete ? "request_delete_range" : "request_put", inner);
    return object;
}

static void encode_txn(json_t *object, const struct store_request *request, const char *prefix)
{
    json_t *compares = json_array();
    json_t *writes = json_array();
    set_member(object, "compare", compares);
    set_member(object, "success", writes);
    for (int i = 0; i < request->compare_count; i++) {
        CHECK(json_array_append_new(compares, encode_compare(&request->compares[i], prefix)) == 0);
    }
    for (int i = 0; i < request->write_count; i++) {
        CHECK(json_array_append_new(writes, encode_write(&request->writes[i], prefix)) == 0);
    }
}

char *etcd_encode_request(const struct store_request *request,
                          const char *prefix,
                          const char **path)
{
    json_t *object = new_object();
    switch (request->kind) {
    case STORE_RANGE:
        *path = "/v3/kv/range";
        if (request->is_prefix) {
            set_prefix_range(object, prefix, request->key);
        } else {
            set_key(object, prefix, request->key);
        }
        break;
    case STORE_TXN:
        *path = "/v3/kv/txn";
        encode_txn(object, request, prefix);
        break;
    case STORE_LEASE_GRANT:
        *path = "/v3/lease/grant";
        set_int(object, "ID", request->lease_id);
        set_int(object, "TTL", (request->ttl_ms + 999) / 1000);
        break;
    case STORE_LEASE_KEEPALIVE:
        *path = "/v3/lease/keepalive";
        set_int(object, "ID", request->lease_id);
        break;
    case STORE_LEASE_REVOKE:
        *path = "/v3/lease/revoke";
        set_int(object, "ID", request->lease_id);
        break;
    }
    return json_text(object);
}

char *etcd_encode_list(const char *prefix, const char *key, int64_t revision)
{
    json_t *object = new_object();
    set_prefix_range(object, prefix, key);
    if (revision > 0) {
        set_int(object, "revision", revision);
    }
    return json_text(object);
}

char *etcd_encode_watch(const char *prefix, const char *key, int64_t from_revision)
{
    json_t *create = new_object();
    set_prefix_range(create, prefix, key);
    set_int(create, "start_revision", from_revision);
    json_t *object = new_object();
    set_member(object, "create_request", create);
    return json_text(object);
}

char *etcd_encode_authenticate(const char *user, const char *password)
{
    json_t *object = new_object();
    json_t *name = json_string(user);
    json_t *secret = json_string(password);
    /* NULL for text that is not UTF-8, which no etcd user can have; the server then answers with a
     * refusal. */
    set_member(object, "name", name == NULL ? json_string("") : name);
    set_member(object, "password", secret == NULL ? json_string("") : secret);
    return json_text(object);
}

/* ---- decoding ---- */

static json_t *load(const char *text, size_t size, struct err *err)
{
    json_error_t reason;
    json_t *root = json_loadb(text, size, 0, &reason);
    if (!json_is_object(root)) {
        json_decref(root);
        (void)err_set(err, ERR_PROTOCOL, "etcd answer is not a JSON object (%zu bytes)", size);
        return NULL;
    }
    return root;
}

static int kvs_decode(json_t *root,
                      const char *prefix,
                      struct store_result *result,
                      struct err *err)
{
    size_t index = 0;
    json_t *item = NULL;
    json_array_foreach(json_object_get(root, "kvs"), index, item)
    {
        struct store_kv kv = {0};
        bool is_ours = false;
        int rc = kv_decode(item, prefix, &kv, &is_ours, err);
        if (rc != 0) {
            return rc;
        }
        if (is_ours) {
            struct store_kv *added = store_result_add_kv(result, kv.key);
            free(kv.key);
            kv.key = added->key;
            *added = kv;
        }
    }
    for (int i = 1; i < result->kv_count; i++) {
        if (strcmp(result->kvs[i - 1].key, result->kvs[i].key) >= 0) {
            return err_set(err, ERR_PROTOCOL, "etcd answer: keys are not sorted");
        }
    }
    return 0;
}

int etcd_decode_result(const struct store_request *request,
                       const char *prefix,
                       const struct strbuf *body,
                       struct etcd_header *header,
                       struct store_result *result,
                       struct err *err)
{
    json_t *root = load(strbuf_text(body), body->len, err);
    if (root == NULL) {
        return ERR_PROTOCOL;
    }
    /* The answer of a streaming method is wrapped. */
    json_t *inner = request->kind == STORE_LEASE_KEEPALIVE ? json_object_get(root, "result") : root;
    struct store_result read = {.req_id = result->req_id};
    *header = (struct etcd_header){0};
    header_decode(json_object_get(inner, "header"), header);
    int rc = 0;
    if (header->cluster_id == 0 || header->revision <= 0) {
        rc = err_set(err, ERR_PROTOCOL, "etcd answer has no header");
        goto out;
    }
    read.revision = header->revision;
    switch (request->kind) {
    case STORE_RANGE:
        rc = kvs_decode(inner, prefix, &read, err);
        break;
    case STORE_TXN:
        read.succeeded = bool_member(inner, "succeeded");
        break;
    case STORE_LEASE_GRANT:
    case STORE_LEASE_KEEPALIVE: {
        int64_t ttl_s = int_member(inner, "TTL");
        read.ttl_ms = ttl_s <= 0 || ttl_s > INT64_MAX / 1000 ? 0 : ttl_s * 1000;
        if (int_member(inner, "ID") != request->lease_id) {
            rc = err_set(err, ERR_PROTOCOL, "etcd answers for lease %lld instead of %lld",
                         (long long)int_member(inner, "ID"), (long long)request->lease_id);
        } else if (request->kind == STORE_LEASE_GRANT && read.ttl_ms == 0) {
            rc = err_set(err, ERR_PROTOCOL, "etcd granted lease %lld without a TTL",
                         (long long)request->lease_id);
        }
        break;
    }
    case STORE_LEASE_REVOKE:
        break;
    }
out:
    json_decref(root);
    if (rc != 0) {
        store_result_release(&read);
        return rc;
    }
    *result = read;
    return 0;
}

int etcd_decode_token(const struct strbuf *body, char **token, struct err *err)
{
    json_t *root = load(strbuf_text(body), body->len, err);
    if (root == NULL) {
        return ERR_PROTOCOL;
    }
    const char *text = json_string_value(json_object_get(root, "token"));
    bool is_usable = text != NULL && text[0] != '\0' && strpbrk(text, "\r\n") == NULL;
    if (is_usable) {
        *token = xstrdup(text);
    }
    json_decref(root);
    return is_usable ? 0 : err_set(err, ERR_PROTOCOL, "etcd answered authenticate without a token");
}

/* 3.4: {"error","message","code"}; 3.5: {"code","message"}; streams: {"error":{"grpc_code" or
 * "code","message"}}. */
static void error_members(json_t *root, struct etcd_error *error)
{
    json_t *inner = json_object_get(root, "error");
    json_t *object = json_is_object(inner) ? inner : root;
    json_t *code = json_object_get(object, "grpc_code");
    code = code != NULL ? code : json_object_get(object, "code");
    const char *message = json_string_value(json_object_get(object, "message"));
    message = message != NULL ? message : json_string_value(inner);
    error->code = json_is_integer(code) ? (int)json_integer_value(code) : GRPC_NONE;
    (void)snprintf(error->message, sizeof(error->message), "%s", message == NULL ? "" : message);
}

void etcd_decode_error(const struct strbuf *body, long http_status, struct etcd_error *error)
{
    *error = (struct etcd_error){.code = GRPC_NONE, .http_status = http_status};
    json_t *root = load(strbuf_text(body), body->len, NULL);
    if (root != NULL) {
        error_members(root, error);
        json_decref(root);
    }
    if (error->message[0] == '\0') {
        (void)snprintf(error->message, sizeof(error->message), "HTTP status %ld", http_status);
    }
}

static int events_decode(json_t *result,
                         const char *prefix,
                         struct store_change_list *changes,
                         struct err *err)
{
    size_t index = 0;
    json_t *item = NULL;
    json_array_foreach(json_object_get(result, "events"), index, item)
    {
        const char *type = json_string_value(json_object_get(item, "type"));
        struct store_kv kv = {0};
        bool is_ours = false;
        int rc = kv_decode(json_object_get(item, "kv"), prefix, &kv, &is_ours, err);
        if (rc != 0) {
            return rc;
        }
        if (is_ours) {
            store_change_list_add(changes, type != NULL && strcmp(type, "DELETE") == 0, &kv);
        }
    }
    return 0;
}

int etcd_decode_watch(const char *line,
                      size_t size,
                      const char *prefix,
                      struct etcd_watch_message *message,
                      struct err *err)
{
    *message = (struct etcd_watch_message){0};
    json_t *root = load(line, size, err);
    if (root == NULL) {
        return ERR_PROTOCOL;
    }
    json_t *result = json_object_get(root, "result");
    int rc = 0;
    if (json_is_object(result)) {
        header_decode(json_object_get(result, "header"), &message->header);
        message->is_created = bool_member(result, "created");
        message->is_canceled = bool_member(result, "canceled");
        message->compact_revision = int_member(result, "compact_revision");
        rc = events_decode(result, prefix, &message->changes, err);
    } else {
        message->is_error = true;
        error_members(root, &message->error);
    }
    json_decref(root);
    if (rc != 0) {
        store_change_list_release(&message->changes);
    }
    return rc;
}

static void header_decode(json_t *object, struct etcd_header *header)
{
    header->cluster_id = uint_member(object, "cluster_id");
    header->raft_term = uint_member(object, "raft_term");
    header->revision = int_member(object, "revision");
}

/* Keys that are not text or not under the prefix are not ours and are left out. */
static int kv_decode(json_t *object,
                     const char *prefix,
                     struct store_kv *kv,
                     bool *is_ours,
                     struct err *err)
{
    struct strbuf key = {0};
    int rc = base64_decode(object, "key", &key, err);
    size_t prefix_len = strlen(prefix);
    *is_ours = rc == 0 && key.len > prefix_len && memcmp(key.data, prefix, prefix_len) == 0 &&
               memchr(key.data, '\0', key.len) == NULL && key.len - prefix_len < STORE_KEY_SIZE_MAX;
    if (rc != 0 || !*is_ours) {
        strbuf_release(&key);
        return rc;
    }
    kv->key = xstrdup(key.data + prefix_len);
    strbuf_release(&key);
    rc = base64_decode(object, "value", &kv->value, err);
    kv->create_revision = int_member(object, "create_revision");
    kv->mod_revision = int_member(object, "mod_revision");
    kv->lease_id = int_member(object, "lease");
    if (rc == 0 && kv->mod_revision <= 0) {
        rc = err_set(err, ERR_PROTOCOL, "etcd answer: key '%.64s' without mod_revision", kv->key);
    }
    if (rc != 0) {
        store_kv_release(kv);
    }
    return rc;
}
