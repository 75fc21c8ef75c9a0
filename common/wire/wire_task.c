/* wire_task.c — a task, as orders and batches carry it; see wire_value.h. */
#include "common/wire/wire_value.h"

#include <assert.h>

static_assert((int)TASK_JOIN == (int)DROVER__TASK_KIND__TASK_KIND_JOIN,
              "task kinds keep their numbers");
static_assert((int)TASK_ADD_SLOTS == (int)DROVER__TASK_KIND__TASK_KIND_ADD_SLOTS,
              "task kinds keep their numbers");
static_assert((int)TASK_TRAFFIC == (int)DROVER__TASK_KIND__TASK_KIND_TRAFFIC,
              "task kinds keep their numbers");
static_assert((int)TASK_REACH == (int)DROVER__TASK_KIND__TASK_KIND_REACH,
              "task kinds keep their numbers");

void wire_get_task(struct wire_reader *reader, const Drover__Task *from, struct task *out)
{
    if (from == NULL) {
        wire_refuse(reader, ERR_PROTOCOL, "task is missing");
        return;
    }
    out->kind = (enum task_kind)wire_get_enum(reader, "task kind", (int)from->kind, TASK_KIND_MAX);
    out->flags = from->flags;
    wire_get_node_id(reader, "task node", &from->node, &out->node);
    wire_get_address(reader, "task node_address", from->node_address, &out->node_address);
    wire_get_node_id(reader, "task peer", &from->peer, &out->peer);
    wire_get_address(reader, "task peer_address", from->peer_address, &out->peer_address);
    wire_get_slots(reader, "task slots", from->slots, &out->slots);
    wire_get_text(reader, "task detail", &from->detail, out->detail, sizeof(out->detail));
    struct err err = {0};
    if (reader->code == 0 && task_validate(out, &err) != 0) {
        wire_refuse(reader, err.code, "%s", err.text);
    }
}

Drover__Task *wire_put_task(struct arena *arena, const struct task *task)
{
    Drover__Task *out = arena_alloc(arena, sizeof(*out));
    drover__task__init(out);
    out->kind = (Drover__TaskKind)task->kind;
    out->flags = task->flags;
    out->node = wire_put_node_id(arena, &task->node);
    out->node_address = wire_put_address(arena, &task->node_address);
    out->peer = wire_put_node_id(arena, &task->peer);
    out->peer_address = wire_put_address(arena, &task->peer_address);
    out->slots = wire_put_slots(arena, &task->slots);
    out->detail = wire_put_text(task->detail);
    return out;
}
