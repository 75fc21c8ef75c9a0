/* auto_meet.h — members that do not know each other are introduced without being asked to.
 *
 * Only where the configuration allows it, only while no operation runs, and only what has lasted:
 * gossip heals most of it by itself, and somebody who takes a node out by hand has it forgotten by
 * one member after the other. What is begun is an operation like any other: a repair that
 * does nothing but meet. Source: docs/lifecycle.md. */
#ifndef DROVER_COORDINATOR_CORE_AUTO_MEET_H
#define DROVER_COORDINATOR_CORE_AUTO_MEET_H

#include <stdint.h>

#define AUTO_MEET_AFTER_MS 20000   /* gossip takes a second or two, a removal by hand a few more */
#define AUTO_MEET_AGAIN_MS 300000  /* who undoes it is not fought */
#define AUTO_MEET_NAME "auto-meet" /* who asked, in the operation */

struct coordinator;

/* Emptied with the term. */
struct auto_meet {
    int64_t since_ms;      /* members disagree on who is one; 0 = they agree */
    int64_t not_before_ms; /* of the next operation */
};

/* After the topology was built. */
void auto_meet_tick(struct coordinator *c);

#endif
