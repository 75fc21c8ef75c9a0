/* state.h — the whole state of a coordinator, for the files of coordinator/core only.
 *
 * Each part is a noun with a file of its own; this puts them side by side so that a step can hand
 * one to another. */
#ifndef DROVER_COORDINATOR_CORE_STATE_H
#define DROVER_COORDINATOR_CORE_STATE_H

#include "coordinator/core/adopted.h"
#include "coordinator/core/auto_meet.h"
#include "coordinator/core/command_desk.h"
#include "coordinator/core/coordinator.h"
#include "coordinator/core/election.h"
#include "coordinator/core/events.h"
#include "coordinator/core/executor.h"
#include "coordinator/core/journal.h"
#include "coordinator/core/observe.h"
#include "coordinator/core/registry.h"
#include "coordinator/core/scan.h"
#include "coordinator/core/takeover.h"

struct coordinator {
    struct coordinator_config config;
    struct prng prng;
    struct turn turn;
    struct election election;
    struct event_ring ring;
    bool is_stopping;
    bool has_exited;
    /* Of the present term; emptied when it ends. */
    struct journal journal;
    struct takeover takeover;
    struct registry registry;
    struct observe observe;
    struct adopted adopted;
    struct auto_meet auto_meet;
    struct executor executor;
    struct scan scan;
    struct command_desk desk;
    /* The sentence of coordinator_why(), made when asked for. */
    struct strbuf why;
};

#endif
