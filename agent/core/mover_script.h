/* mover_script.h — the claim of a burst's slots as one script with a deadline, as words.
 *
 * SETSLOT NODE has no deadline: a target that is frozen with it unread carries it out whenever it
 * wakes up, also when its replica has taken its place. The script compares the target's own clock
 * with a deadline first, and then claims slot by slot; it names no key, so nothing of the cluster's
 * state keeps it from running, and it writes none, so nothing is replicated. Its text is always the
 * same: servers keep every text that they have seen.
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

/* ARGV: not before, not after (microseconds since 1970, by the server's own clock), target, source,
 * slots. Answers one reply a slot, or the error LATE.
 *
 * A node that claims a slot which it imports sends its whole slot map to every node it knows, and
 * each of them compares all 16,384 slots. So only one slot is claimed with its mark on, after all
 * others: it raises the config epoch and announces them together. Nobody sees what is in between.
 * Without a raised epoch the source may take all of them back with its next message, so the slot is
 * one that took the mark just now: not one that the target has already, and not one whose mark
 * somebody took away. Slots that refuse the mark are claimed as they are. */
#define MOVER_CLAIM_SCRIPT                                                  \
    "local time = redis.call('TIME')\n"                                     \
    "local now = time[1] * 1000000 + time[2]\n"                             \
    "if now < tonumber(ARGV[1]) or now > tonumber(ARGV[2]) then\n"          \
    "  return {err = 'LATE the claim is not of this time'}\n"               \
    "end\n"                                                                 \
    "local function set(i, ...)\n"                                          \
    "  return redis.pcall('CLUSTER', 'SETSLOT', ARGV[i], ...)\n"            \
    "end\n"                                                                 \
    "local marked, last, answers = {}, 0, {}\n"                             \
    "for i = 5, #ARGV do\n"                                                 \
    "  marked[i] = not set(i, 'IMPORTING', ARGV[4]).err\n"                  \
    "  if marked[i] then last = i end\n"                                    \
    "end\n"                                                                 \
    "for i = 5, #ARGV do\n"                                                 \
    "  if i ~= last then\n"                                                 \
    "    if marked[i] then set(i, 'STABLE') end\n"                          \
    "    answers[i - 4] = set(i, 'NODE', ARGV[3])\n"                        \
    "  end\n"                                                               \
    "end\n"                                                                 \
    "if last > 0 then answers[last - 4] = set(last, 'NODE', ARGV[3]) end\n" \
    "return answers\n"

/* EVAL of the script up to and with the nodes; the slots follow as arguments. */
void mover_script_begin(struct command_list *list,
                        int64_t first_us,
                        int64_t last_us,
                        const struct node_id *target,
                        const struct node_id *source);

/* TIME's answer in microseconds since 1970. False, and 'time_us' untouched, when it is none. */
bool mover_script_read_time(const struct reply *reply, int64_t *time_us);

/* The script ran outside its time and has done nothing. */
bool mover_script_is_late(const struct reply *reply);

/* This user may not, or this server cannot, run the script or TIME: no other try helps. Nothing was
 * done. */
bool mover_script_is_refused(const struct reply *reply);

#endif
