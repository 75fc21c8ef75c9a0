/* info_text.c — see info_text.h. */
#include "common/model/info_text.h"

#include <string.h>

/* A line "name:value" cut out of the text; neither part is closed by '\0'. */
struct field {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

/* A number that is kept as it is written: name in the text, offset in the struct. */
struct number_field {
    const char *name;
    size_t offset;
};

/* A text that maps to 1 when equal to 'word', else to 0. */
struct word_field {
    const char *name;
    const char *word;
    size_t offset;
};

struct text_field {
    const char *name;
    size_t offset;
    size_t size;
};

#define INFO_AT(member) offsetof(struct info, member)

static const struct number_field info_numbers[] = {
    {"process_id", INFO_AT(process_id)},
    {"tcp_port", INFO_AT(tcp_port)},
    {"uptime_in_seconds", INFO_AT(uptime_s)},
    {"connected_clients", INFO_AT(connected_clients)},
    {"blocked_clients", INFO_AT(blocked_clients)},
    {"instantaneous_ops_per_sec", INFO_AT(ops_per_s)},
    {"evicted_keys", INFO_AT(evicted_keys)},
    {"total_commands_processed", INFO_AT(total_commands)},
    {"used_memory", INFO_AT(used_memory_bytes)},
    {"used_memory_rss", INFO_AT(used_memory_rss_bytes)},
    {"used_memory_dataset", INFO_AT(used_memory_dataset_bytes)},
    {"maxmemory", INFO_AT(maxmemory_bytes)},
    {"total_system_memory", INFO_AT(system_memory_bytes)},
    {"loading", INFO_AT(is_loading)},
    {"aof_enabled", INFO_AT(is_aof_enabled)},
    {"rdb_bgsave_in_progress", INFO_AT(is_rdb_saving)},
    {"aof_rewrite_in_progress", INFO_AT(is_aof_rewriting)},
    {"master_sync_in_progress", INFO_AT(is_full_sync_running)},
    {"master_repl_offset", INFO_AT(primary_offset)},
    {"slave_repl_offset", INFO_AT(replica_offset)},
    {"connected_slaves", INFO_AT(replica_count)},
    {"cluster_enabled", INFO_AT(is_cluster_enabled)},
};

static const struct word_field info_words[] = {
    {"rdb_last_bgsave_status", "ok", INFO_AT(is_rdb_save_ok)},
    {"aof_last_write_status", "ok", INFO_AT(is_aof_write_ok)},
    {"master_link_status", "up", INFO_AT(is_primary_link_up)},
};

static const struct text_field info_texts[] = {
    {"redis_version", INFO_AT(redis_version), VERSION_SIZE},
    {"run_id", INFO_AT(run_id), RUN_ID_SIZE},
    {"maxmemory_policy", INFO_AT(maxmemory_policy), INFO_POLICY_SIZE},
};

#define CLUSTER_AT(member) offsetof(struct cluster_info, member)

static const struct number_field cluster_numbers[] = {
    {"cluster_slots_assigned", CLUSTER_AT(slots_assigned)},
    {"cluster_slots_ok", CLUSTER_AT(slots_ok)},
    {"cluster_slots_pfail", CLUSTER_AT(slots_pfail)},
    {"cluster_slots_fail", CLUSTER_AT(slots_fail)},
    {"cluster_known_nodes", CLUSTER_AT(known_nodes)},
    {"cluster_size", CLUSTER_AT(size)},
    {"cluster_current_epoch", CLUSTER_AT(current_epoch)},
    {"cluster_my_epoch", CLUSTER_AT(my_epoch)},
};

#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

/* Cuts the next line off the text; false at its end. Lines without a colon come as a name with an
 * empty value. */
static bool field_next(const char **text, size_t *len, struct field *field)
{
    if (*len == 0) {
        return false;
    }
    const char *line = *text;
    const char *end = memchr(line, '\n', *len);
    size_t line_len = end == NULL ? *len : (size_t)(end - line);
    size_t used = end == NULL ? line_len : line_len + 1;
    *text += used;
    *len -= used;
    if (line_len > 0 && line[line_len - 1] == '\r') {
        line_len--;
    }
    const char *colon = line_len == 0 ? NULL : memchr(line, ':', line_len);
    *field = (struct field){.name = line, .name_len = line_len, .value = line + line_len};
    if (colon != NULL) {
        field->name_len = (size_t)(colon - line);
        field->value = colon + 1;
        field->value_len = line_len - field->name_len - 1;
    }
    return true;
}

static bool name_is(const struct field *field, const char *name)
{
    return strlen(name) == field->name_len && memcmp(name, field->name, field->name_len) == 0;
}

static bool value_is(const char *value, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(word, value, len) == 0;
}

/* A decimal number that is the whole text, or INFO_UNKNOWN. Fractions and negative numbers are no
 * counts. */
static int64_t parse_number(const char *text, size_t len)
{
    int64_t number = 0;
    if (len == 0) {
        return INFO_UNKNOWN;
    }
    for (size_t i = 0; i < len; i++) {
        int digit = text[i] - '0';
        if (digit < 0 || digit > 9 || number > (INT64_MAX - digit) / 10) {
            return INFO_UNKNOWN;
        }
        number = number * 10 + digit;
    }
    return number;
}

static bool set_number(void *object,
                       const struct number_field *fields,
                       size_t count,
                       const struct field *field)
{
    for (size_t i = 0; i < count; i++) {
        if (name_is(field, fields[i].name)) {
            int64_t number = parse_number(field->value, field->value_len);
            memcpy((char *)object + fields[i].offset, &number, sizeof(number));
            return true;
        }
    }
    return false;
}

/* Copies printable text; anything else or anything too long counts as absent. */
static void set_text(char *to, size_t size, const char *value, size_t len)
{
    to[0] = '\0';
    if (len >= size) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (value[i] <= ' ' || value[i] == 0x7f) {
            return;
        }
    }
    memcpy(to, value, len);
    to[len] = '\0';
}

static bool set_word_or_text(struct info *info, const struct field *field)
{
    for (size_t i = 0; i < COUNT_OF(info_words); i++) {
        if (name_is(field, info_words[i].name)) {
            int64_t number = value_is(field->value, field->value_len, info_words[i].word) ? 1 : 0;
            memcpy((char *)info + info_words[i].offset, &number, sizeof(number));
            return true;
        }
    }
    for (size_t i = 0; i < COUNT_OF(info_texts); i++) {
        if (name_is(field, info_texts[i].name)) {
            set_text((char *)info + info_texts[i].offset, info_texts[i].size, field->value,
                     field->value_len);
            return true;
        }
    }
    return false;
}

/* The value of 'name' in "name=value,name=value"; false when it is not there. */
static bool pair_find(const struct field *field, const char *name, const char **value, size_t *len)
{
    const char *at = field->value;
    const char *end = field->value + field->value_len;
    size_t name_len = strlen(name);
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma == NULL ? end : comma;
        if ((size_t)(stop - at) > name_len && memcmp(at, name, name_len) == 0 &&
            at[name_len] == '=') {
            *value = at + name_len + 1;
            *len = (size_t)(stop - *value);
            return true;
        }
        at = comma == NULL ? end : comma + 1;
    }
    return false;
}

static int64_t pair_number(const struct field *field, const char *name)
{
    const char *value = NULL;
    size_t len = 0;
    return pair_find(field, name, &value, &len) ? parse_number(value, len) : INFO_UNKNOWN;
}

/* "slave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=0" */
static bool set_replica(struct info *info, const struct field *field)
{
    const char *value = NULL;
    size_t len = 0;
    bool is_replica = field->name_len > 5 && memcmp(field->name, "slave", 5) == 0 &&
                      parse_number(field->name + 5, field->name_len - 5) != INFO_UNKNOWN;
    if (!is_replica) {
        return false;
    }
    if (info->replicas_kept == INFO_REPLICAS_MAX) {
        return true;
    }
    struct info_replica *replica = &info->replicas[info->replicas_kept++];
    *replica = (struct info_replica){.offset = pair_number(field, "offset"),
                                     .lag_s = pair_number(field, "lag")};
    if (pair_find(field, "ip", &value, &len)) {
        set_text(replica->address.host, HOST_SIZE, value, len);
    }
    int64_t port = pair_number(field, "port");
    replica->address.port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
    replica->is_online = pair_find(field, "state", &value, &len) && value_is(value, len, "online");
    return true;
}

static bool set_special(struct info *info, const struct field *field)
{
    const char *value = field->value;
    size_t len = field->value_len;
    if (name_is(field, "role")) {
        bool is_replica = value_is(value, len, "slave") || value_is(value, len, "replica");
        bool is_primary = value_is(value, len, "master") || value_is(value, len, "primary");
        info->role = is_replica   ? NODE_ROLE_REPLICA
                     : is_primary ? NODE_ROLE_PRIMARY
                                  : NODE_ROLE_UNKNOWN;
        return true;
    }
    if (name_is(field, "valkey_version")) {
        info->kind = SERVER_VALKEY;
        set_text(info->version, VERSION_SIZE, value, len);
        return true;
    }
    if (name_is(field, "master_host")) {
        set_text(info->primary_address.host, HOST_SIZE, value, len);
        return true;
    }
    if (name_is(field, "master_port")) {
        int64_t port = parse_number(value, len);
        info->primary_address.port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
        return true;
    }
    if (name_is(field, "# Keyspace")) {
        /* An empty database has no db0 line. */
        info->keys = info->keys == INFO_UNKNOWN ? 0 : info->keys;
        info->expires = info->expires == INFO_UNKNOWN ? 0 : info->expires;
        return true;
    }
    if (name_is(field, "db0")) {
        info->keys = pair_number(field, "keys");
        info->expires = pair_number(field, "expires");
        return true;
    }
    return set_replica(info, field);
}

int info_parse(struct info *info, const char *text, size_t len, struct err *err)
{
    struct info parsed = {.keys = INFO_UNKNOWN, .expires = INFO_UNKNOWN};
    struct field field;
    int known = 0;
    const int64_t unknown = INFO_UNKNOWN;
    if (len > INFO_TEXT_SIZE_MAX) {
        return err_set(err, ERR_LIMIT, "INFO text has %zu bytes, %zu are allowed", len,
                       INFO_TEXT_SIZE_MAX);
    }
    for (size_t i = 0; i < COUNT_OF(info_numbers); i++) {
        memcpy((char *)&parsed + info_numbers[i].offset, &unknown, sizeof(unknown));
    }
    for (size_t i = 0; i < COUNT_OF(info_words); i++) {
        memcpy((char *)&parsed + info_words[i].offset, &unknown, sizeof(unknown));
    }
    while (field_next(&text, &len, &field)) {
        if (set_number(&parsed, info_numbers, COUNT_OF(info_numbers), &field) ||
            set_word_or_text(&parsed, &field) || set_special(&parsed, &field)) {
            known++;
        }
    }
    if (known == 0) {
        return err_set(err, ERR_PROTOCOL, "INFO text holds no known field");
    }
    if (parsed.kind == SERVER_UNKNOWN && parsed.redis_version[0] != '\0') {
        parsed.kind = SERVER_REDIS;
        memcpy(parsed.version, parsed.redis_version, VERSION_SIZE);
    }
    *info = parsed;
    return 0;
}

int cluster_info_parse(struct cluster_info *info, const char *text, size_t len, struct err *err)
{
    struct cluster_info parsed = {0};
    struct field field;
    const int64_t unknown = INFO_UNKNOWN;
    bool has_state = false;
    if (len > INFO_TEXT_SIZE_MAX) {
        return err_set(err, ERR_LIMIT, "CLUSTER INFO text has %zu bytes, %zu are allowed", len,
                       INFO_TEXT_SIZE_MAX);
    }
    for (size_t i = 0; i < COUNT_OF(cluster_numbers); i++) {
        memcpy((char *)&parsed + cluster_numbers[i].offset, &unknown, sizeof(unknown));
    }
    while (field_next(&text, &len, &field)) {
        if (name_is(&field, "cluster_state")) {
            has_state = true;
            parsed.is_state_ok = value_is(field.value, field.value_len, "ok");
        } else {
            (void)set_number(&parsed, cluster_numbers, COUNT_OF(cluster_numbers), &field);
        }
    }
    if (!has_state) {
        return err_set(err, ERR_PROTOCOL, "CLUSTER INFO text holds no cluster_state");
    }
    *info = parsed;
    return 0;
}

const char *server_kind_name(enum server_kind kind)
{
    switch (kind) {
    case SERVER_UNKNOWN:
        return "unknown";
    case SERVER_REDIS:
        return "redis";
    case SERVER_VALKEY:
        return "valkey";
    }
    return "unknown";
}

bool info_is_valkey_8(const struct info *info)
{
    return info->kind == SERVER_VALKEY && version_number(info->version) >= 80000;
}

int version_number(const char *version)
{
    int parts[3] = {0};
    for (int i = 0; i < 3 && *version != '\0'; i++) {
        if (*version < '0' || *version > '9') {
            return 0;
        }
        while (*version >= '0' && *version <= '9') {
            parts[i] = parts[i] * 10 + (*version - '0');
            version++;
            if (parts[i] > 99 && i > 0) {
                parts[i] = 99; /* a patch beyond two digits still sorts after the others */
            }
            if (parts[i] > 9999) {
                return 0;
            }
        }
        if (*version != '.') {
            break;
        }
        version++;
    }
    return parts[0] * 10000 + parts[1] * 100 + parts[2];
}
