/* message.c — see message.h. */
#include "common/model/message.h"

#include <stdlib.h>
#include <string.h>

void node_report_release(struct node_report *node)
{
    if (node == NULL) {
        return;
    }
    free(node->open_slots);
    free(node->links_down);
    *node = (struct node_report){0};
}

void report_release(struct report *report)
{
    if (report == NULL) {
        return;
    }
    for (int i = 0; i < report->node_count; i++) {
        node_report_release(&report->nodes[i]);
    }
    for (int i = 0; i < report->view_count; i++) {
        free(report->views[i].text);
    }
    free(report->nodes);
    free(report->orders);
    free(report->views);
    *report = (struct report){0};
}

void instructions_release(struct instructions *instructions)
{
    if (instructions == NULL) {
        return;
    }
    free(instructions->orders);
    free(instructions->renewals);
    free(instructions->stops);
    free(instructions->forgets);
    free(instructions->views_wanted);
    free(instructions->nodes);
    *instructions = (struct instructions){0};
}

void message_release(struct message *message)
{
    if (message == NULL) {
        return;
    }
    switch (message->kind) {
    case MESSAGE_REPORT:
        report_release(&message->as.report);
        break;
    case MESSAGE_INSTRUCTIONS:
        instructions_release(&message->as.instructions);
        break;
    case MESSAGE_HELLO:
    case MESSAGE_WELCOME:
    case MESSAGE_REFUSAL:
        break;
    }
    memset(message, 0, sizeof(*message));
}

bool order_id_is_equal(const struct order_id *a, const struct order_id *b)
{
    return a->batch_index == b->batch_index && a->attempt == b->attempt &&
           strcmp(a->operation_id, b->operation_id) == 0;
}

const char *order_state_name(enum order_state state)
{
    switch (state) {
    case ORDER_RUNNING:
        return "running";
    case ORDER_DONE:
        return "done";
    case ORDER_STOPPED:
        return "stopped";
    case ORDER_FAILED:
        return "failed";
    case ORDER_HELD:
        return "held";
    case ORDER_EXPIRED:
        return "expired";
    }
    return "unknown";
}

bool order_state_is_final(enum order_state state)
{
    return state != ORDER_RUNNING;
}
