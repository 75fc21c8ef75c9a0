/* dataset.c — see dataset.h. */
#include "bench/load/dataset.h"

#include "bench/load/resp.h"
#include "common/base/check.h"
#include "common/base/crc16.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "%08x:%016x:" */
#define HEADER_SIZE 26
/* Members get numbers above every key number, so that no member looks like another key's value. */
#define MEMBER_BASE (UINT64_C(1) << 26)

enum kind { KIND_STRING, KIND_HASH, KIND_LIST, KIND_SET, KIND_ZSET, KIND_STREAM };

/* What the rules say about one key. */
struct key_rule {
    enum kind kind;
    size_t size;          /* of a string value, or of one member */
    int64_t expire_at_ms; /* wall clock; 0: never */
    int64_t expire_in_ms; /* short-lived key: at most so long; 0: not short-lived */
    uint64_t local;       /* number within its group */
    char group;           /* 'k'ey, slot 'p'ile, 'e'xpiring, 'b'ig */
};

static uint64_t spread(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t dataset_count(const struct dataset *d)
{
    return d->keys + d->slot_pile_count + d->expiring_count + (d->big_string_size > 0 ? 1 : 0);
}

void dataset_prepare(struct dataset *d)
{
    CHECK(d->value_size >= VALUE_SIZE_MIN);
    for (unsigned i = 0; d->slot_pile_count > 0; i++) {
        int len = snprintf(d->pile_tag, sizeof(d->pile_tag), "%u", i);
        if (key_slot(d->pile_tag, (size_t)len) == d->slot_pile_slot) {
            return;
        }
    }
}

static struct key_rule rule_of(const struct dataset *d, uint64_t number)
{
    static const enum kind kinds[8] = {KIND_STRING, KIND_STRING, KIND_HASH,   KIND_LIST,
                                       KIND_SET,    KIND_ZSET,   KIND_STREAM, KIND_STRING};
    struct key_rule rule = {.size = d->value_size, .local = number, .group = 'k'};
    if (number < d->keys) {
        if (d->all_types) {
            rule.kind = kinds[number % 8];
            /* 5 and 8 share no factor, so every type comes with and without an expiry. */
            rule.expire_at_ms = number % 5 == 1 ? EXPIRY_BASE_MS + (int64_t)number * 1000 : 0;
        }
        if (rule.kind != KIND_STRING) {
            rule.size =
                d->value_size / MEMBERS < VALUE_SIZE_MIN ? VALUE_SIZE_MIN : d->value_size / MEMBERS;
        }
        return rule;
    }
    rule.local -= d->keys;
    rule.group = 'p';
    if (rule.local < d->slot_pile_count) {
        return rule;
    }
    rule.local -= d->slot_pile_count;
    rule.group = 'e';
    if (rule.local < d->expiring_count) {
        rule.expire_in_ms =
            1 + (int64_t)(spread(d->seed ^ number) % (uint64_t)d->expiring_within_ms);
        return rule;
    }
    rule.group = 'b';
    rule.size = d->big_string_size;
    return rule;
}

/* --- names
 * ----------------------------------------------------------------------------------------------------
 */

/* The shortest names there are, "" included, 256 of one byte, and so on: 'n' in base 256 without
 * leading digits. */
static void add_short_name(uint64_t n, struct strbuf *out)
{
    uint64_t span = 1;
    size_t len = 0;
    while (n >= span) {
        n -= span;
        span *= 256;
        len++;
    }
    for (size_t i = 0; i < len; i++) {
        strbuf_add_char(out, (char)(n >> (8 * i)));
    }
}

/* Names that break careless code. Each form is unique by its number, and differs from all others by
 * its shape. */
static void add_odd_name(const struct dataset *d, uint64_t number, struct strbuf *out)
{
    uint64_t turn = number / 64;
    char byte = (char)(unsigned char)(turn % 256);
    switch (number / 8 % 8) {
    case 1: /* every byte value */
        strbuf_addf(out, "%sb", d->prefix);
        strbuf_add_char(out, byte);
        strbuf_addf(out, "%" PRIu64, number);
        strbuf_add_char(out, byte);
        strbuf_add_char(out, 'b');
        break;
    case 2:
        strbuf_addf(out, "%s \r\n\t%" PRIu64 " ", d->prefix, number);
        break;
    case 3:
        strbuf_addf(out, "%s{tag%" PRIu64 "}%" PRIu64, d->prefix, turn % 64, number);
        break;
    case 4: /* an empty tag is no tag */
        strbuf_addf(out, "{}%s%" PRIu64, d->prefix, number);
        break;
    case 5:
        strbuf_addf(out, "{%s%" PRIu64 "}}{", d->prefix, number);
        break;
    case 6: /* raw bytes, '\0' among them */
        strbuf_addf(out, "%s", d->prefix);
        for (unsigned i = 0; i < 8; i++) {
            strbuf_add_char(out, (char)(unsigned char)(number >> (8 * i)));
        }
        break;
    case 7:
        /* Without the prefix two data sets would collide, so only the default one has such names.
         */
        if (strcmp(d->prefix, PREFIX_DEFAULT) == 0) {
            add_short_name(turn * 8 + number % 8, out);
            break;
        }
        strbuf_addf(out, "%s\"'\\%" PRIu64, d->prefix, number);
        break;
    default:
        strbuf_addf(out, "%s%" PRIu64, d->prefix, number);
        break;
    }
}

void dataset_name(const struct dataset *d, uint64_t number, struct strbuf *out)
{
    if (number < d->keys && d->all_types) {
        add_odd_name(d, number, out);
        return;
    }
    struct key_rule rule = rule_of(d, number);
    switch (rule.group) {
    case 'p':
        strbuf_addf(out, "%s{%s}pile:%" PRIu64, d->prefix, d->pile_tag, rule.local);
        break;
    case 'e':
        strbuf_addf(out, "%sexpiring:%" PRIu64, d->prefix, rule.local);
        break;
    case 'b':
        strbuf_addf(out, "%sbig", d->prefix);
        break;
    default:
        strbuf_addf(out, "%s%" PRIu64, d->prefix, rule.local);
        break;
    }
}

/* --- values
 * ---------------------------------------------------------------------------------------------------
 */

static void add_hex(struct strbuf *out, uint64_t value, unsigned digits)
{
    char text[17];
    for (unsigned i = 0; i < digits; i++) {
        text[digits - 1 - i] = "0123456789abcdef"[(value >> (4 * i)) & 15U];
    }
    text[digits] = ':';
    strbuf_add(out, text, digits + 1);
}

static bool read_hex(const char *text, unsigned digits, uint64_t *value)
{
    uint64_t result = 0;
    for (unsigned i = 0; i < digits; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9') {
            result = result << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            result = result << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    *value = result;
    return text[digits] == ':';
}

static uint64_t payload_start(uint64_t seed, uint64_t number, uint64_t version)
{
    return spread(spread(seed ^ spread(number)) ^ version);
}

void value_make(uint64_t seed, uint64_t number, uint64_t version, size_t size, struct strbuf *out)
{
    CHECK(size >= VALUE_SIZE_MIN);
    strbuf_reserve(out, size);
    add_hex(out, number, 8);
    add_hex(out, version, 16);
    uint64_t at = payload_start(seed, number, version);
    size_t left = size - HEADER_SIZE;
    while (left > 0) {
        uint64_t word = spread(at++);
        size_t part = left < sizeof(word) ? left : sizeof(word);
        strbuf_add(out, &word, part);
        left -= part;
    }
}

bool value_check(uint64_t seed, uint64_t number, const char *data, size_t size, uint64_t *version)
{
    uint64_t said_number = 0;
    uint64_t said_version = 0;
    if (size < HEADER_SIZE || !read_hex(data, 8, &said_number) ||
        !read_hex(data + 9, 16, &said_version) || said_number != number) {
        return false;
    }
    uint64_t at = payload_start(seed, number, said_version);
    for (size_t done = HEADER_SIZE; done < size; done += sizeof(at)) {
        uint64_t word = spread(at++);
        size_t part = size - done < sizeof(word) ? size - done : sizeof(word);
        if (memcmp(data + done, &word, part) != 0) {
            return false;
        }
    }
    *version = said_version;
    return true;
}

static uint64_t member_number(uint64_t number, unsigned member)
{
    return (MEMBER_BASE + number * MEMBERS + member) & UINT32_MAX;
}

static void add_member(const struct dataset *d,
                       uint64_t number,
                       unsigned member,
                       struct strbuf *out)
{
    struct strbuf value = {0};
    value_make(d->seed, member_number(number, member), 0, rule_of(d, number).size, &value);
    resp_bytes(out, value.data, value.len);
    strbuf_release(&value);
}

static bool is_member(const struct dataset *d,
                      uint64_t number,
                      unsigned member,
                      const struct redisReply *reply)
{
    uint64_t version = 1;
    return reply->type == REDIS_REPLY_STRING && reply->len == rule_of(d, number).size &&
           value_check(d->seed, member_number(number, member), reply->str, reply->len, &version) &&
           version == 0;
}

/* Quarters are exact in binary and in decimal, so the score comes back digit by digit. */
static void format_score(uint64_t number, unsigned member, char *text, size_t size)
{
    (void)snprintf(text, size, "%" PRIu64 ".%s", number % 1000 + member / 4,
                   (const char *const[]){"0", "25", "5", "75"}[member % 4]);
}

/* --- filling
 * --------------------------------------------------------------------------------------------------
 */

static void start_command(const struct dataset *d,
                          uint64_t number,
                          const char *verb,
                          unsigned words,
                          struct strbuf *out)
{
    struct strbuf name = {0};
    dataset_name(d, number, &name);
    resp_command(out, words);
    resp_text(out, verb);
    resp_bytes(out, strbuf_text(&name), name.len);
    strbuf_release(&name);
}

static void add_string_fill(const struct dataset *d,
                            uint64_t number,
                            const struct key_rule *rule,
                            struct strbuf *out)
{
    bool expires = rule->expire_at_ms > 0 || rule->expire_in_ms > 0;
    start_command(d, number, "SET", expires ? 5 : 3, out);
    struct strbuf value = {0};
    value_make(d->seed, number, 0, rule->size, &value);
    resp_bytes(out, value.data, value.len);
    strbuf_release(&value);
    if (rule->expire_at_ms > 0) {
        resp_text(out, "PXAT");
        resp_number(out, rule->expire_at_ms);
    } else if (rule->expire_in_ms > 0) {
        resp_text(out, "PX");
        resp_number(out, rule->expire_in_ms);
    }
}

static void add_stream_entry(const struct dataset *d,
                             uint64_t number,
                             unsigned member,
                             struct strbuf *out)
{
    start_command(d, number, "XADD", 5, out);
    struct strbuf id = {0};
    strbuf_addf(&id, "%" PRIu64 "-%u", number + 1, member + 1);
    resp_bytes(out, id.data, id.len);
    strbuf_release(&id);
    resp_text(out, "f");
    add_member(d, number, member, out);
}

static void add_collection_fill(const struct dataset *d,
                                uint64_t number,
                                enum kind kind,
                                struct strbuf *out)
{
    bool pairs = kind == KIND_HASH || kind == KIND_ZSET;
    const char *verb = kind == KIND_HASH   ? "HSET"
                       : kind == KIND_ZSET ? "ZADD"
                       : kind == KIND_SET  ? "SADD"
                                           : "RPUSH";
    start_command(d, number, verb, 2 + MEMBERS * (pairs ? 2 : 1), out);
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (kind == KIND_HASH) {
            const char field[2] = {'f', (char)(unsigned char)(i * 37)};
            resp_bytes(out, field, sizeof(field));
        } else if (kind == KIND_ZSET) {
            char score[32];
            format_score(number, i, score, sizeof(score));
            resp_text(out, score);
        }
        add_member(d, number, i, out);
    }
}

bool dataset_fill_step(const struct dataset *d, uint64_t number, unsigned step, struct strbuf *out)
{
    struct key_rule rule = rule_of(d, number);
    if (rule.kind == KIND_STRING) {
        if (step == 0) {
            add_string_fill(d, number, &rule, out);
        }
        return step == 0;
    }
    if (step == 0) {
        /* What was there before would otherwise be added to. */
        start_command(d, number, "DEL", 2, out);
        return true;
    }
    unsigned last = rule.kind == KIND_STREAM ? MEMBERS : 1;
    if (step <= last) {
        if (rule.kind == KIND_STREAM) {
            add_stream_entry(d, number, step - 1, out);
        } else {
            add_collection_fill(d, number, rule.kind, out);
        }
        return true;
    }
    if (step == last + 1 && rule.expire_at_ms > 0) {
        start_command(d, number, "PEXPIREAT", 3, out);
        resp_number(out, rule.expire_at_ms);
        return true;
    }
    return false;
}

bool dataset_fill_accepts(const struct redisReply *reply)
{
    return reply->type != REDIS_REPLY_ERROR && reply->type != REDIS_REPLY_NIL;
}

/* --- reading back
 * --------------------------------------------------------------------------------------------- */

static void add_read(const struct dataset *d, uint64_t number, enum kind kind, struct strbuf *out)
{
    switch (kind) {
    case KIND_STRING:
        start_command(d, number, "GET", 2, out);
        break;
    case KIND_HASH:
        start_command(d, number, "HGETALL", 2, out);
        break;
    case KIND_LIST:
        start_command(d, number, "LRANGE", 4, out);
        resp_text(out, "0");
        resp_text(out, "-1");
        break;
    case KIND_SET:
        start_command(d, number, "SMEMBERS", 2, out);
        break;
    case KIND_ZSET:
        start_command(d, number, "ZRANGE", 5, out);
        resp_text(out, "0");
        resp_text(out, "-1");
        resp_text(out, "WITHSCORES");
        break;
    case KIND_STREAM:
        start_command(d, number, "XRANGE", 4, out);
        resp_text(out, "-");
        resp_text(out, "+");
        break;
    }
}

bool dataset_read_step(const struct dataset *d, uint64_t number, unsigned step, struct strbuf *out)
{
    struct key_rule rule = rule_of(d, number);
    if (step == 0) {
        add_read(d, number, rule.kind, out);
        return true;
    }
    if (step == 1 && (d->all_types || rule.group == 'e')) {
        start_command(d, number, "PTTL", 2, out);
        return true;
    }
    return false;
}

static enum verdict judge_string(const struct dataset *d,
                                 uint64_t number,
                                 const struct key_rule *rule,
                                 const struct redisReply *reply)
{
    if (reply->type == REDIS_REPLY_NIL) {
        return rule->expire_in_ms > 0 ? VERDICT_EXPIRED : VERDICT_LOST;
    }
    uint64_t version = 0;
    if (reply->type != REDIS_REPLY_STRING || reply->len != rule->size ||
        !value_check(d->seed, number, reply->str, reply->len, &version)) {
        return VERDICT_WRONG;
    }
    return version == 0 || d->allow_updated ? VERDICT_RIGHT : VERDICT_WRONG;
}

/* A set comes in any order. */
static bool set_matches(const struct dataset *d, uint64_t number, const struct redisReply *reply)
{
    unsigned found = 0;
    for (size_t i = 0; i < MEMBERS; i++) {
        for (unsigned member = 0; member < MEMBERS; member++) {
            if (is_member(d, number, member, reply->element[i])) {
                found |= 1U << member;
                break;
            }
        }
    }
    return found == (1U << MEMBERS) - 1;
}

static bool text_is(const struct redisReply *reply, const void *data, size_t size)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == size &&
           memcmp(reply->str, data, size) == 0;
}

static bool list_matches(const struct dataset *d, uint64_t number, const struct redisReply *reply)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (!is_member(d, number, i, reply->element[i])) {
            return false;
        }
    }
    return true;
}

static bool hash_matches(const struct dataset *d, uint64_t number, const struct redisReply *reply)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        const char field[2] = {'f', (char)(unsigned char)(i * 37)};
        bool found = false;
        for (unsigned k = 0; k < MEMBERS && !found; k++) {
            found = text_is(reply->element[2 * k], field, sizeof(field)) &&
                    is_member(d, number, i, reply->element[2 * k + 1]);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool zset_matches(const struct dataset *d, uint64_t number, const struct redisReply *reply)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        char score[32];
        format_score(number, i, score, sizeof(score));
        const struct redisReply *said = reply->element[2 * i + 1];
        if (said->type != REDIS_REPLY_STRING || strtod(said->str, NULL) != strtod(score, NULL) ||
            !is_member(d, number, i, reply->element[2 * i])) {
            return false;
        }
    }
    return true;
}

static bool stream_matches(const struct dataset *d, uint64_t number, const struct redisReply *reply)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        const struct redisReply *entry = reply->element[i];
        char id[48];
        int len = snprintf(id, sizeof(id), "%" PRIu64 "-%u", number + 1, i + 1);
        if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
            !text_is(entry->element[0], id, (size_t)len) ||
            entry->element[1]->type != REDIS_REPLY_ARRAY || entry->element[1]->elements != 2 ||
            !text_is(entry->element[1]->element[0], "f", 1) ||
            !is_member(d, number, i, entry->element[1]->element[1])) {
            return false;
        }
    }
    return true;
}

static enum verdict judge_collection(const struct dataset *d,
                                     uint64_t number,
                                     enum kind kind,
                                     const struct redisReply *reply)
{
    bool pairs = kind == KIND_HASH || kind == KIND_ZSET;
    if (reply->type != REDIS_REPLY_ARRAY) {
        return VERDICT_WRONG;
    }
    if (reply->elements == 0) {
        return VERDICT_LOST;
    }
    if (reply->elements != (size_t)MEMBERS * (pairs ? 2 : 1)) {
        return VERDICT_WRONG;
    }
    bool right = false;
    switch (kind) {
    case KIND_STRING:
        break;
    case KIND_HASH:
        right = hash_matches(d, number, reply);
        break;
    case KIND_LIST:
        right = list_matches(d, number, reply);
        break;
    case KIND_SET:
        right = set_matches(d, number, reply);
        break;
    case KIND_ZSET:
        right = zset_matches(d, number, reply);
        break;
    case KIND_STREAM:
        right = stream_matches(d, number, reply);
        break;
    }
    return right ? VERDICT_RIGHT : VERDICT_WRONG;
}

static enum verdict judge_ttl(const struct dataset *d,
                              const struct key_rule *rule,
                              const struct redisReply *reply,
                              const struct read_time *when)
{
    if (reply->type != REDIS_REPLY_INTEGER) {
        return VERDICT_WRONG;
    }
    int64_t left_ms = reply->integer;
    if (rule->expire_in_ms > 0) {
        bool gone = left_ms == -2;
        return gone || (left_ms >= 0 && left_ms <= d->expiring_within_ms) ? VERDICT_RIGHT
                                                                          : VERDICT_TTL;
    }
    if (rule->expire_at_ms == 0) {
        return left_ms == -1 ? VERDICT_RIGHT : VERDICT_TTL;
    }
    bool too_late = when->asked_ms + left_ms > rule->expire_at_ms + d->ttl_tolerance_ms;
    bool too_soon = when->answered_ms + left_ms < rule->expire_at_ms - d->ttl_tolerance_ms;
    return left_ms >= 0 && !too_late && !too_soon ? VERDICT_RIGHT : VERDICT_TTL;
}

enum verdict dataset_judge(const struct dataset *d,
                           uint64_t number,
                           unsigned step,
                           const struct redisReply *reply,
                           const struct read_time *when)
{
    struct key_rule rule = rule_of(d, number);
    if (step == 1) {
        return judge_ttl(d, &rule, reply, when);
    }
    return rule.kind == KIND_STRING ? judge_string(d, number, &rule, reply)
                                    : judge_collection(d, number, rule.kind, reply);
}
