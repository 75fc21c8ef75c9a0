/* mover_script.h — the claim of a burst's slots as one script with a deadline, as words.
 *
 * SETSLOT NODE has no deadline: a target that is frozen with it unread carries it out whenever it
 * wakes up, also when its replica has taken its place. The script compares the target's own clock
 * with a deadline first, and then claims slot by slot as the bare commands would; it names no key,
 * so nothing of the cluster's state keeps it from running, and it writes none, so nothing is
 * replicated. Its text is always the same: servers keep every text that they have seen.
 *
 * Knows nothing of bursts and time. Not for Valkey from 8.0 on: the 8.0.1 server dies of a SETSLOT
 * in a script. Source: redis.io EVAL; docs/redis_facts.md 13c, 15a. */
#ifndef DROVER_AGENT_CORE_MOVER_SCRIPT_H
#define DROVER_AGENT_CORE_MOVER_SCRIPT_H

#include "common/model/command.h"
#include "common/model/ids.h"
#include "common/model/reply.h"

#include <stdbool.h>
#include <stdint.h>

/* ARGV: not before, not after (microseconds since 1970, by the server's own clock), node, slots.
 * Answers one reply a slot, or the error LATE. */
#define MOVER_CLAIM_SCRIPT                                                             \
    "local time = redis.call('TIME')\n"                                                \
    "local now = time[1] * 1000000 + time[2]\n"                                        \
    "if now < tonumber(ARGV[1]) or now > tonumber(ARGV[2]) then\n"                     \
    "  return {err = 'LATE the claim is not of this time'}\n"                          \
    "end\n"                                                                            \
    "local answers = {}\n"                                                             \
    "for i = 4, #ARGV do\n"                                                            \
    "  answers[i - 3] = redis.pcall('CLUSTER', 'SETSLOT', ARGV[i], 'NODE', ARGV[3])\n" \
    "end\n"                                                                            \
    "return answers\n"

/* EVAL of the script for 'target' up to and with the node; the slots follow as arguments. */
void mover_script_begin(struct command_list *list,
                        int64_t first_us,
                        int64_t last_us,
                        const struct node_id *target);

/* TIME's answer in microseconds since 1970. False, and 'time_us' untouched, when it is none. */
bool mover_script_read_time(const struct reply *reply, int64_t *time_us);

/* The script ran outside its time and has done nothing. */
bool mover_script_is_late(const struct reply *reply);

/* This user may not, or this server cannot, run the script or TIME: no other try helps. Nothing was
 * done. */
bool mover_script_is_refused(const struct reply *reply);

#endif
