/* order_work.c — see order_work.h. */
#include "agent/core/order_work.h"

#include "agent/core/instance.h"
#include "agent/core/key_scan.h"
#include "agent/core/outside.h"
#include "agent/core/probe.h"
#include "agent/core/reach.h"
#include "agent/core/repair.h"
#include "agent/core/task_runner.h"
#include "common/base/alloc.h"

#include <stdlib.h>

/* One of them, the rest NULL; owned. */
struct order_work {
    struct slot_mover *mover;
    struct key_scan *scan;
    struct node_task *task;
    struct instance *instance;
    struct repair *repair;
    struct reach *reach;
    struct outside *outside;
};

static bool is_instance_task(enum task_kind kind)
{
    return kind == TASK_START || kind == TASK_STOP;
}

static bool is_outside_task(enum task_kind kind)
{
    return kind == TASK_PROVISION || kind == TASK_RELEASE || kind == TASK_TRAFFIC;
}

/* ---- what an order from outside must look like ---- */

static const char *task_fault(const struct order *order, const struct order_means *means)
{
    if (task_validate(&order->task, NULL) != 0) {
        return "a task that lacks what its kind must name";
    }
    if (is_instance_task(order->task.kind)) {
        return means->instances == NULL ? "this agent starts and stops no servers" : NULL;
    }
    if (is_outside_task(order->task.kind)) {
        return means->outside == NULL ? "this agent has no provisioner and no drain hook" : NULL;
    }
    bool is_known = order->task.kind == TASK_REPAIR || order->task.kind == TASK_REACH ||
                    node_task_knows(order->task.kind);
    if (!is_known) {
        return "a task of a kind this agent cannot carry out";
    }
    return NULL;
}

static const char *slots_fault(const struct order *order)
{
    if (slotset_is_empty(&order->slots)) {
        return "an order without slots";
    }
    if (order->source_address.port == 0 || node_id_is_empty(&order->source)) {
        return "an order without a source";
    }
    bool has_target = order->target_address.port != 0 && !node_id_is_empty(&order->target);
    if (order->kind == ORDER_MOVE && !has_target) {
        return "a move without a target";
    }
    if (order->kind == ORDER_MOVE && node_id_is_equal(&order->source, &order->target)) {
        return "a move from a node to itself";
    }
    return NULL;
}

const char *order_work_fault(const struct order *order, const struct order_means *means)
{
    switch (order->kind) {
    case ORDER_MOVE:
    case ORDER_SCAN:
        return slots_fault(order);
    case ORDER_TASK:
        return task_fault(order, means);
    }
    return "an order of a kind this agent does not know";
}

/* ---- the machines ---- */

struct order_work *order_work_new(const struct order *order,
                                  const struct order_means *means,
                                  uint32_t serial,
                                  uint64_t seed,
                                  int64_t now_ms)
{
    struct order_work *work = xcalloc(1, sizeof(*work));
    const struct owned_watch *owned = NULL;
    switch (order->kind) {
    case ORDER_MOVE:
        work->mover = slot_mover_new(order, &means->login, serial, seed, now_ms);
        owned = means->probe != NULL ? probe_owned(means->probe, &order->source) : NULL;
        if (owned != NULL) {
            slot_mover_know_owned(work->mover, owned);
        }
        break;
    case ORDER_SCAN:
        work->scan = key_scan_new(order, serial, now_ms);
        break;
    case ORDER_TASK:
        if (is_instance_task(order->task.kind)) {
            work->instance =
                instance_new(order, means->instances, means->instance_turn, serial, now_ms);
        } else if (order->task.kind == TASK_REPAIR) {
            work->repair = repair_new(order, &means->login, serial, seed, now_ms);
        } else if (order->task.kind == TASK_REACH) {
            work->reach = reach_new(order, serial, now_ms);
        } else if (is_outside_task(order->task.kind)) {
            work->outside = outside_new(order, means->outside, serial, seed, now_ms);
        } else {
            work->task = node_task_new(order, serial, seed, now_ms);
        }
        break;
    }
    return work;
}

void order_work_free(struct order_work *work)
{
    if (work == NULL) {
        return;
    }
    slot_mover_free(work->mover);
    key_scan_free(work->scan);
    node_task_free(work->task);
    instance_free(work->instance);
    repair_free(work->repair);
    reach_free(work->reach);
    outside_free(work->outside);
    free(work);
}

void order_work_step(struct order_work *work,
                     const struct agent_event *event,
                     struct agent_effects *fx)
{
    if (work->mover != NULL) {
        slot_mover_step(work->mover, event, fx);
    } else if (work->scan != NULL) {
        key_scan_step(work->scan, event, fx);
    } else if (work->task != NULL) {
        node_task_step(work->task, event, fx);
    } else if (work->instance != NULL) {
        instance_step(work->instance, event, fx);
    } else if (work->repair != NULL) {
        repair_step(work->repair, event, fx);
    } else if (work->reach != NULL) {
        reach_step(work->reach, event, fx);
    } else if (work->outside != NULL) {
        outside_step(work->outside, event, fx);
    }
}

int64_t order_work_deadline(const struct order_work *work)
{
    if (work->mover != NULL) {
        return slot_mover_deadline(work->mover);
    }
    if (work->scan != NULL) {
        return key_scan_deadline(work->scan);
    }
    if (work->instance != NULL) {
        return instance_deadline(work->instance);
    }
    if (work->repair != NULL) {
        return repair_deadline(work->repair);
    }
    if (work->reach != NULL) {
        return reach_deadline(work->reach);
    }
    if (work->outside != NULL) {
        return outside_deadline(work->outside);
    }
    return work->task != NULL ? node_task_deadline(work->task) : NEVER;
}

void order_work_stop(struct order_work *work)
{
    if (work->mover != NULL) {
        slot_mover_stop(work->mover);
    } else if (work->scan != NULL) {
        key_scan_end(work->scan, 0, "stopped");
    } else if (work->task != NULL) {
        node_task_stop(work->task);
    } else if (work->instance != NULL) {
        instance_end(work->instance, 0, "stopped");
    } else if (work->repair != NULL) {
        repair_stop(work->repair);
    } else if (work->reach != NULL) {
        reach_end(work->reach, 0, "stopped");
    } else if (work->outside != NULL) {
        outside_end(work->outside, 0, "stopped");
    }
}

void order_work_freeze(struct order_work *work, int code, const char *reason)
{
    if (work->mover != NULL) {
        slot_mover_freeze(work->mover, code, reason);
    } else if (work->scan != NULL) {
        key_scan_end(work->scan, code, reason);
    } else if (work->task != NULL) {
        node_task_freeze(work->task, code, reason);
    } else if (work->instance != NULL) {
        instance_end(work->instance, code, reason);
    } else if (work->repair != NULL) {
        repair_expire(work->repair, code, reason);
    } else if (work->reach != NULL) {
        reach_end(work->reach, code, reason);
    } else if (work->outside != NULL) {
        outside_end(work->outside, code, reason);
    }
}

bool order_work_is_over(const struct order_work *work)
{
    if (work->mover != NULL) {
        return slot_mover_is_over(work->mover);
    }
    if (work->scan != NULL) {
        return key_scan_is_over(work->scan);
    }
    if (work->instance != NULL) {
        return instance_is_over(work->instance);
    }
    if (work->repair != NULL) {
        return repair_is_over(work->repair);
    }
    if (work->reach != NULL) {
        return reach_is_over(work->reach);
    }
    if (work->outside != NULL) {
        return outside_is_over(work->outside);
    }
    return work->task == NULL || node_task_is_over(work->task);
}

bool order_work_may_change(const struct order_work *work)
{
    return work->scan == NULL && work->reach == NULL && !order_work_is_over(work);
}

void order_work_status(const struct order_work *work, struct order_status *status)
{
    if (work->mover != NULL) {
        slot_mover_status(work->mover, status);
    } else if (work->scan != NULL) {
        key_scan_status(work->scan, status);
    } else if (work->task != NULL) {
        node_task_status(work->task, status);
    } else if (work->instance != NULL) {
        instance_status(work->instance, status);
    } else if (work->repair != NULL) {
        repair_status(work->repair, status);
    } else if (work->reach != NULL) {
        reach_status(work->reach, status);
    } else if (work->outside != NULL) {
        outside_status(work->outside, status);
    }
}
