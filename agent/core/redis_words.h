/* redis_words.h — the commands of a slot move as words, and what the error answers mean.
 *
 * Knows the texts of Redis 6.2 to 8.x and Valkey 7.2 to 9.x, and nothing of orders, slots in hand
 * or time. Sources: redis.io MIGRATE, CLUSTER SETSLOT, ROLE; facts F10 to F15 and 3 in
 * docs/design.md section 6. */
#ifndef DROVER_AGENT_CORE_REDIS_WORDS_H
#define DROVER_AGENT_CORE_REDIS_WORDS_H

#include "common/model/command.h"
#include "common/model/ids.h"
#include "common/model/reply.h"

#include <stdbool.h>
#include <stdint.h>

/* What an error answer asks of us. */
enum redis_fault {
    FAULT_NONE, /* no error */
    FAULT_WAIT, /* the node cannot now, but will: LOADING, CLUSTERDOWN, TRYAGAIN, MASTERDOWN, BUSY,
                   MISCONF */
    FAULT_AUTH, /* a login or a permission is wrong: trying again does not help */
    FAULT_OWNERSHIP,  /* owner, role or open mark is not what we think: look again */
    FAULT_MEMORY,     /* the target is full */
    FAULT_KEY_EXISTS, /* BUSYKEY: the key is on both sides */
    FAULT_IO,         /* MIGRATE lost the target: nothing is known about the keys of the call */
    FAULT_OTHER,
};

enum redis_fault redis_fault_of(const struct reply *reply);
const char *redis_fault_name(enum redis_fault fault);

/* CLUSTER SETSLOT <slot> IMPORTING|MIGRATING|NODE <node>. */
void words_setslot(struct command_list *list,
                   int slot,
                   const char *verb,
                   const struct node_id *node);
void words_setslot_stable(struct command_list *list, int slot);
void words_count_keys(struct command_list *list, int slot);
void words_list_keys(struct command_list *list, int slot, int count);

/* MIGRATE to 'target' up to and with the word KEYS; the keys follow. 'timeout_ms' counts per step
 * of I/O. 'user' and 'password' log in at the target; "" = none. */
void words_migrate_begin(struct command_list *list,
                         const struct address *target,
                         int64_t timeout_ms,
                         bool has_replace,
                         const char *user,
                         const char *password);

/* True when SETSLOT IMPORTING or NODE was refused because the node owns the slot already. */
bool words_is_already_owner(const struct reply *reply);

/* Answers of SETSLOT NODE at a source that are as good as OK (the node took the change but says
 * more): it became a replica by losing its last slot, or Valkey tells of its replicas. The owner
 * must be read afterwards. */
bool words_is_release_accepted(const struct reply *reply);

/* A key as people see it: bytes that do not print as \xNN, cut to fit KEY_TEXT_SIZE. */
void key_text_format(char *text, const char *key, size_t len);

/* ROLE, of a primary or of a replica. */
struct role_answer {
    bool is_primary;
    bool is_connected; /* replica: its link to the primary is up and in sync */
    int64_t offset;    /* of the replication stream: produced or processed */
};

/* False when the answer is none of a primary or replica. */
bool words_parse_role(struct role_answer *role, const struct reply *reply);

#endif
