/* client.h — asks the API: tries every address, follows to the leader, turns answers into JSON or
 * an error.
 *
 * libcurl easy, one request at a time. Must not know verbs or output. */
#ifndef DROVER_CTL_CLIENT_H
#define DROVER_CTL_CLIENT_H

#include "common/base/err.h"
#include "ctl/settings.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CLIENT_ANSWER_SIZE_MAX (64UL * 1024 * 1024) /* a plan of 16,384 batches is about 8 MiB */
#define CLIENT_PATIENCE_MS 5000 /* a lead that changes hands, until the new leader is ready */
#define CLIENT_SETTLE_PATIENCE_MS 15000 /* nodes that do not agree: one may just be back */

struct client;

/* timeout_ms: for one answer. ca_file: NULL = the system's. */
struct client *client_new(const struct settings *settings, int64_t timeout_ms, const char *ca_file);
void client_free(struct client *client);

/* Sends a request to the leader ("GET" or "POST" with an optional body; 'path' begins with '/'). On
 * success *out is a new reference. Errors: what the API said, with its code; ERR_UNAVAILABLE when
 * nobody answers; ERR_TIMEOUT; ERR_AUTH for TLS; ERR_PROTOCOL when it is no drover. */
int client_ask(struct client *client,
               const char *method,
               const char *path,
               const json_t *body,
               json_t **out,
               struct err *err) WARN_UNUSED;

/* For routes that every coordinator serves ("/v1/status", "/v1/why"): the leader's answer if it can
 * be had, else anybody's. */
int client_ask_any(struct client *client, const char *path, json_t **out, struct err *err)
    WARN_UNUSED;

/* GET of a stream of Server-Sent Events: 'line' gets each line without its end and returns false to
 * stop. Returns 0 when stopped, ERR_UNAVAILABLE when the stream broke. */
int client_stream(struct client *client,
                  const char *path,
                  bool (*line)(void *user, const char *text),
                  void *user,
                  struct err *err) WARN_UNUSED;

/* Another time limit for the answers from now on. */
void client_set_timeout(struct client *client, int64_t timeout_ms);
/* The address that answered last; the first one before that. */
const char *client_url(const struct client *client);

#endif
