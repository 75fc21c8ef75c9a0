/* api_internal.h — what the files of the API share; for api*.c only. */
#ifndef DROVER_COORDINATOR_SHELL_API_INTERNAL_H
#define DROVER_COORDINATOR_SHELL_API_INTERNAL_H

#include "common/model/topology.h"
#include "coordinator/core/doctor.h"
#include "coordinator/shell/api.h"
#include "coordinator/shell/api_progress.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define API_STREAMS_MAX 64     /* event streams at once: dashboards and `drover events --follow` */
#define API_METERS_MAX 16      /* running operations whose speed is measured */
#define API_PENDING_MAX 256    /* commands without an answer yet; more are told to come back */
#define API_TICK_MS 1000       /* how often speeds are sampled while something runs */
#define API_KEEPALIVE_MS 15000 /* a comment on quiet streams, so that a dead peer is noticed */

#define API_DOCTOR_MS 10000 /* how often the doctor looks, to know since when a thing is wrong */

struct api_stream;
struct api_pending;

struct api_meter {
    char operation_id[OPERATION_ID_SIZE]; /* "" = free */
    struct progress_meter meter;
};

struct api {
    struct coordinator_shell *shell;
    struct http_server *server;
    const struct signer *signer; /* NULL = certificates are not signed */
    struct loop_timer *timer;
    int64_t started_ms;
    struct api_meter meters[API_METERS_MAX];
    struct api_pending *pending; /* list; owned */
    int pending_count;
    struct api_stream *streams; /* list; owned */
    int stream_count;
    int64_t keepalive_ms; /* when the streams get their next comment */
    int64_t doctor_ms;    /* when the doctor looks next */
    struct doctor_memory doctor_memory;
    uint64_t answers[6]; /* by hundreds of the status */
};

/* ---- answers (api.c) ---- */

/* Sends 'body' and releases it. ?pretty in the query indents it. */
void api_respond(struct api *api, struct http_request *request, int status, json_t *body);
/* {"error": {...}} with the status that fits err->code. */
void api_respond_error(struct api *api, struct http_request *request, const struct err *err);
int api_status_of(int code);
/* The body of an error, for answers that say more; a new reference. */
json_t *api_error_json(const struct api *api, const struct err *err);
const struct coordinator *api_core(const struct api *api);

/* ---- JSON values (api_json.c) ---- */

/* A string of any bytes: what is no UTF-8 becomes '?'. */
json_t *api_text(const char *text);
/* NULL and "" become null. */
json_t *api_text_or_null(const char *text);
json_t *api_count(uint64_t value);
/* -1 becomes null. */
json_t *api_known(int64_t value);
json_t *api_hex(uint64_t value);                /* 16 hex digits */
json_t *api_slots(const struct slotset *slots); /* "0-99,200" */
json_t *api_wall_time(int64_t wall_ms);         /* "2026-01-31T23:59:59.123Z"; null for 0 */
/* Sets key to a new reference; 'value' must not be NULL. */
void api_set(json_t *object, const char *key, json_t *value);
/* "host:port", null for an unknown node. */
json_t *api_node_address(const struct topology *topology, int node);
/* One word for the health of a node, the worst that holds. */
const char *api_node_state(const struct topology_node *node);
/* key: id, key_address: host:port of the node with that id. */
void api_set_node(json_t *object,
                  const char *key,
                  const struct topology *topology,
                  const struct node_id *id);

/* ---- parts of answers ---- */

json_t *api_operation_json(struct api *api, const struct operation *operation, bool has_batches);
/* topology may be NULL: no addresses then. */
json_t *api_plan_json(const struct plan *plan, const struct topology *topology);
/* "steps", from lines for people (NULL = none), and "is_fulfilled" of a plan with its batches. */
void api_set_steps(json_t *plan, const char *description);
json_t *api_request_json(const struct operation_request *request, const struct topology *topology);
/* "kind" of a batch, and its "task" when it is one. */
void api_set_task(json_t *out, const struct batch *batch);
/* What an operation has done, with what its running orders say, and what it has to do in all. */
void api_operation_amounts(const struct coordinator *core,
                           const struct operation *operation,
                           struct progress_amount *done,
                           struct progress_amount *total);
/* Samples the speed of what runs; called by the timer. */
void api_meters_tick(struct api *api, int64_t now_ms);
const struct progress_meter *api_meter(const struct api *api, const char *operation_id);

/* ---- handlers; 'rest' is what follows the route's path ---- */

void api_get_status(struct api *api, struct http_request *request, const char *rest);
void api_get_why(struct api *api, struct http_request *request, const char *rest);
void api_get_agents(struct api *api, struct http_request *request, const char *rest);
void api_get_health(struct api *api, struct http_request *request, const char *rest);
void api_get_ready(struct api *api, struct http_request *request, const char *rest);
void api_get_nodes(struct api *api, struct http_request *request, const char *rest);
void api_post_node(struct api *api, struct http_request *request, const char *rest);
void api_get_slots(struct api *api, struct http_request *request, const char *rest);
void api_get_shards(struct api *api, struct http_request *request, const char *rest);
void api_get_operations(struct api *api, struct http_request *request, const char *rest);
void api_get_operation(struct api *api, struct http_request *request, const char *rest);
void api_post_plan(struct api *api, struct http_request *request, const char *rest);
void api_post_operation(struct api *api, struct http_request *request, const char *rest);
void api_post_operation_verb(struct api *api, struct http_request *request, const char *rest);
void api_get_events(struct api *api, struct http_request *request, const char *rest);
void api_get_metrics(struct api *api, struct http_request *request, const char *rest);
void api_get_doctor(struct api *api, struct http_request *request, const char *rest);
void api_get_certificate(struct api *api, struct http_request *request, const char *rest);

/* Puts the facts, the very text that is signed, and its signature into 'out'. */
int api_sign_facts(const struct signer *signer, json_t *facts, json_t *out, struct err *err)
    WARN_UNUSED;
/* The numbers of the status: nodes are all that are seen, the rest is of members. */
void api_set_cluster(json_t *out, const struct topology *topology);
/* The families about the cluster: each node's are of members. */
struct metrics;
void api_metrics_topology(struct metrics *page, const struct topology *topology);
/* Notes what is wrong now; called by the timer. */
void api_doctor_tick(struct api *api);

/* ---- streams (api_events.c) ---- */

void api_streams_flush(struct api *api);
void api_streams_keepalive(struct api *api);
void api_streams_free(struct api *api);

/* ---- commands (api_command.c) ---- */

/* Answers a request when the core has answered the command that was 'asked'. */
typedef void api_answer(struct api *api,
                        struct http_request *request,
                        const struct err *err,
                        const struct operation_request *asked);
/* Hands the command over and answers the request when the core has answered: by 'answer' or, when
 * that is NULL, with the plan, the operation or the error. */
void api_command(struct api *api,
                 struct http_request *request,
                 const struct coordinator_command *command,
                 api_answer *answer);
void api_pending_free(struct api *api);

/* ---- single fields (api_field.c): each leaves 'out' alone when the field is absent, and refuses
 * with ERR_INVALID by name ---- */

int api_field_bad(const char *key, const char *wanted, struct err *err);
int api_field_int(json_t *body,
                  const char *key,
                  int64_t min,
                  int64_t max,
                  int *out,
                  struct err *err) WARN_UNUSED;
/* 'value' may be NULL: absent. */
int api_field_double(json_t *value,
                     const char *key,
                     double min,
                     double max,
                     double *out,
                     struct err *err) WARN_UNUSED;
int api_field_bool(json_t *body, const char *key, bool *out, struct err *err) WARN_UNUSED;
/* *out is NULL when absent, else it lives as long as the body. */
int api_field_text(json_t *body, const char *key, const char **out, struct err *err) WARN_UNUSED;
/* A node as people name it; ERR_NOT_FOUND. */
int api_find_node(const struct topology *topology,
                  const char *text,
                  struct node_id *out,
                  struct err *err) WARN_UNUSED;
/* A field that names a node and must be there. */
int api_field_node(const struct topology *topology,
                   json_t *body,
                   const char *key,
                   struct node_id *out,
                   struct err *err) WARN_UNUSED;

/* ---- reading requests (api_request.c) ---- */

/* The body as an object. ERR_INVALID naming line and column; ERR_INVALID when it is no object. New
 * reference. */
json_t *api_read_body(const struct http_request *request, struct err *err);
/* Fills a command from the body of POST plans or operations. Release command->request afterwards.
 */
int api_read_command(const struct topology *topology,
                     json_t *body,
                     struct coordinator_command *command,
                     struct err *err) WARN_UNUSED;
/* The part of it that is special to operations on a node's life (api_request_lifecycle.c); the
 * kind is read already. */
int api_read_lifecycle(const struct topology *topology,
                       json_t *body,
                       struct operation_request *out,
                       struct err *err) WARN_UNUSED;
/* The fields that such a kind knows; NULL-ended. */
const char *const *api_lifecycle_fields(enum operation_kind kind);
/* Sets the same fields from a request. */
void api_set_lifecycle(json_t *out,
                       const struct operation_request *request,
                       const struct topology *topology);
/* A query argument as a number; 'fallback' when absent. */
int api_query_int(const struct http_request *request,
                  const char *name,
                  int64_t min,
                  int64_t max,
                  int64_t fallback,
                  int64_t *out,
                  struct err *err) WARN_UNUSED;

#endif
