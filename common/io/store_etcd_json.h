/* store_etcd_json.h — requests and answers of etcd's v3 JSON gateway, 3.4 and 3.5 shapes. Private
 * to store_etcd*.c.
 *
 * The gateway writes int64 as strings and leaves out every member that is zero; bytes are base64.
 * Keys get the store's prefix on the way out and lose it on the way in. Pure text to structs: knows
 * no socket. */
#ifndef DROVER_IO_STORE_ETCD_JSON_H
#define DROVER_IO_STORE_ETCD_JSON_H

#include "common/io/store_view.h"
#include "common/model/store_op.h"

#include <stdbool.h>
#include <stdint.h>

struct etcd_header {
    uint64_t cluster_id;
    uint64_t raft_term;
    int64_t revision;
};

#define ETCD_MESSAGE_SIZE 256
struct etcd_error {
    int code; /* gRPC status code; -1 when the body was no etcd error */
    long http_status;
    char message[ETCD_MESSAGE_SIZE];
};

/* The body of a request; '*path' is set to its constant path. free() it. */
char *etcd_encode_request(const struct store_request *request,
                          const char *prefix,
                          const char **path);
/* All keys under prefix + 'key'; revision 0 = now. */
char *etcd_encode_list(const char *prefix, const char *key, int64_t revision);
char *etcd_encode_watch(const char *prefix, const char *key, int64_t from_revision);
char *etcd_encode_authenticate(const char *user, const char *password);

/* The body of an answer with status 200 to 'request'. ERR_PROTOCOL when it is not what it should
 * be. '*result' has req_id set and is filled only on success. */
int etcd_decode_result(const struct store_request *request,
                       const char *prefix,
                       const struct strbuf *body,
                       struct etcd_header *header,
                       struct store_result *result,
                       struct err *err) WARN_UNUSED;
/* The token in a new text. */
int etcd_decode_token(const struct strbuf *body, char **token, struct err *err) WARN_UNUSED;
/* The body of an answer with another status. Never fails: what cannot be read has code -1. */
void etcd_decode_error(const struct strbuf *body, long http_status, struct etcd_error *error);

struct etcd_watch_message {
    struct etcd_header header;
    bool is_created;
    bool is_canceled;
    bool is_error; /* 'error' is set, nothing else */
    struct etcd_error error;
    int64_t compact_revision; /* > 0: history before it is gone */
    struct store_change_list changes;
};
/* One line of a watch stream. */
int etcd_decode_watch(const char *line,
                      size_t size,
                      const char *prefix,
                      struct etcd_watch_message *message,
                      struct err *err) WARN_UNUSED;

#endif
