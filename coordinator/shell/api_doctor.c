/* api_doctor.c — GET /v1/doctor: what is wrong, who thinks what, since when. */
#include "coordinator/shell/api_internal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"

#include <stdio.h>
#include <stdlib.h>

static void append(json_t *array, json_t *value)
{
    int failed = json_array_append_new(array, value);
    CHECK(failed == 0);
}

static bool is_at_work(enum operation_state state)
{
    return state == OPERATION_RUNNING || state == OPERATION_PAUSING ||
           state == OPERATION_CANCELLING;
}

/* The slots that our own operation may have left open for now, its plan and its id. */
static const char *find_moving(const struct coordinator *core,
                               struct slotset *moving,
                               const struct plan **out)
{
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        const struct plan *plan = coordinator_plan(core, operation->id);
        if (!is_at_work(operation->state) || plan == NULL || plan->batches == NULL) {
            continue;
        }
        for (int k = 0; k < plan->batch_count; k++) {
            slotset_union(moving, &plan->batches[k].slots);
        }
        *out = plan;
        return operation->id;
    }
    return "";
}

static void examine(struct api *api, struct doctor_findings *out)
{
    const struct coordinator *core = api_core(api);
    const struct topology *topology = coordinator_topology(core);
    const struct node_report **reports =
        xcalloc((size_t)topology->node_count + 1, sizeof(*reports));
    struct slotset moving = {0};
    const struct plan *plan = NULL;
    const char *operation_id = find_moving(core, &moving, &plan);
    for (int i = 0; i < topology->node_count; i++) {
        reports[i] = coordinator_node_report(core, &topology->nodes[i].id);
    }
    struct doctor_input input = {
        .topology = topology,
        .reports = reports,
        .spec = coordinator_spec(core),
        .moving = operation_id[0] == '\0' ? NULL : &moving,
        .plan = plan,
        .operation_id = operation_id,
    };
    doctor_examine(&input, out);
    doctor_remember(&api->doctor_memory, clock_wall_ms(), out);
    free(reports);
}

void api_doctor_tick(struct api *api)
{
    struct doctor_findings findings = {0};
    if (coordinator_is_leader(api_core(api))) {
        examine(api, &findings);
        doctor_findings_release(&findings);
    }
}

static json_t *finding_json(const struct doctor_finding *finding, const struct topology *topology)
{
    int64_t since_wall_ms = finding->since_wall_ms;
    int64_t now_wall_ms = clock_wall_ms();
    json_t *out = json_object();
    json_t *nodes = json_array();
    for (int i = 0; i < finding->node_count; i++) {
        json_t *row = json_object();
        int node = topology_find(topology, &finding->nodes[i]);
        api_set(row, "id", api_text(finding->nodes[i].text));
        api_set(row, "address", api_node_address(topology, node));
        append(nodes, row);
    }
    api_set(out, "code", json_string(doctor_code_word(finding->code)));
    api_set(out, "severity", json_string(doctor_severity_word(finding->severity)));
    api_set(out, "text", api_text(finding->text));
    api_set(out, "remedy", api_text_or_null(finding->remedy));
    api_set(out, "nodes", nodes);
    api_set(out, "slots",
            slotset_is_empty(&finding->slots) ? json_null() : api_slots(&finding->slots));
    api_set(out, "slot_count", json_integer(slotset_count(&finding->slots)));
    api_set(out, "since_wall_ms", api_known(since_wall_ms == 0 ? -1 : since_wall_ms));
    api_set(
        out, "for_ms",
        api_known(since_wall_ms == 0 || now_wall_ms < since_wall_ms ? -1
                                                                    : now_wall_ms - since_wall_ms));
    api_set(out, "since", api_wall_time(since_wall_ms));
    api_set(out, "is_repairable", json_boolean(finding->is_repairable));
    api_set(out, "is_ours", json_boolean(finding->is_ours));
    return out;
}

void api_get_doctor(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct topology *topology = coordinator_topology(api_core(api));
    struct doctor_findings findings = {0};
    int counts[DOCTOR_NOTE + 1] = {0};
    json_t *list = json_array();
    examine(api, &findings);
    for (int i = 0; i < findings.count; i++) {
        counts[findings.items[i].severity]++;
        append(list, finding_json(&findings.items[i], topology));
    }
    json_t *out = json_object();
    api_set(out, "healthy", json_boolean(topology->node_count > 0 && doctor_is_healthy(&findings)));
    api_set(out, "errors", json_integer(counts[DOCTOR_ERROR]));
    api_set(out, "warnings", json_integer(counts[DOCTOR_WARNING]));
    api_set(out, "notes", json_integer(counts[DOCTOR_NOTE]));
    api_set(out, "nodes", json_integer(topology->node_count));
    api_set(out, "findings", list);
    api_set(out, "left_out", json_integer(findings.left_out));
    api_set(out, "watched_since_wall_ms",
            json_integer(clock_wall_ms() - (clock_now_ms() - api->started_ms)));
    api_respond(api, request, 200, out);
    doctor_findings_release(&findings);
}
