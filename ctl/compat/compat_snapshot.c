/* compat_snapshot.c — see compat_snapshot.h.
 *
 * The node answers AUTH, then sends line ends while it prepares, then "$<bytes>" or "$EOF:<mark>",
 * then the snapshot; with a mark it ends when the last 40 bytes are the mark. Source: redis.io
 * replication protocol, observed on 7.0.15. */
#include "ctl/compat/compat_snapshot.h"

#include "common/base/alloc.h"
#include "common/base/strbuf.h"
#include "common/io/clock.h"
#include "common/io/redis_format.h"
#include "common/io/redis_socket.h"
#include "common/io/redis_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SILENCE_MS_MAX 60000 /* a node that saves a large data set sends line ends meanwhile */
#define TURN_MS 1000
#define LINE_MAX_BYTES 1024
#define MARK_LEN 40

enum phase { PHASE_LINES, PHASE_DATA, PHASE_DONE, PHASE_FAILED };

struct snapshot {
    enum phase phase;
    const struct redis_options *redis;
    struct redis_socket *socket;
    struct strbuf line;
    struct strbuf tail; /* with a mark: the last bytes, not yet written */
    char mark[MARK_LEN + 1];
    int64_t left; /* without a mark: bytes still to come */
    int64_t size;
    int64_t heard_ms;
    FILE *file;
    const char *path;
    struct err err;
};

static void fail(struct snapshot *snapshot, int code, const char *text)
{
    if (snapshot->phase != PHASE_FAILED) {
        (void)err_set(&snapshot->err, code, "%s", text);
        snapshot->phase = PHASE_FAILED;
    }
}

static void connected(void *user)
{
    struct snapshot *snapshot = user;
    struct command_list commands = {0};
    struct strbuf bytes = {0};
    const char *user_name = snapshot->redis->user;
    const char *password = snapshot->redis->password;
    if (password != NULL && password[0] != '\0') {
        commands_begin(&commands);
        commands_arg_text(&commands, "AUTH");
        if (user_name != NULL && user_name[0] != '\0') {
            commands_arg_text(&commands, user_name);
        }
        commands_arg_text(&commands, password);
    }
    commands_add(&commands, "SYNC", NULL);
    redis_format(&commands, &bytes);
    redis_socket_write(snapshot->socket, bytes.data, bytes.len);
    strbuf_release(&bytes);
    commands_release(&commands);
}

static void failed(void *user, const struct err *err)
{
    fail(user, err->code, err->text);
}

static void write_out(struct snapshot *snapshot, const char *data, size_t size)
{
    if (size > 0 && fwrite(data, 1, size, snapshot->file) != size) {
        struct err err = {0};
        (void)err_set(&err, ERR_IO, "cannot write %.200s: %s", snapshot->path, strerror(errno));
        fail(snapshot, ERR_IO, err.text);
    }
    snapshot->size += (int64_t)size;
}

static void take_data(struct snapshot *snapshot, const char *data, size_t size)
{
    if (snapshot->mark[0] == '\0') {
        size = (int64_t)size > snapshot->left ? (size_t)snapshot->left : size;
        write_out(snapshot, data, size);
        snapshot->left -= (int64_t)size;
        if (snapshot->left == 0 && snapshot->phase == PHASE_DATA) {
            snapshot->phase = PHASE_DONE;
        }
        return;
    }
    strbuf_add(&snapshot->tail, data, size);
    if (snapshot->tail.len >= MARK_LEN) {
        size_t ready = snapshot->tail.len - MARK_LEN;
        write_out(snapshot, snapshot->tail.data, ready);
        strbuf_consume(&snapshot->tail, ready);
        if (memcmp(snapshot->tail.data, snapshot->mark, MARK_LEN) == 0 &&
            snapshot->phase == PHASE_DATA) {
            snapshot->phase = PHASE_DONE;
        }
    }
}

static void take_line(struct snapshot *snapshot)
{
    const char *line = strbuf_text(&snapshot->line);
    if (line[0] == '-') {
        fail(snapshot, ERR_PROTOCOL, line + 1);
    } else if (strncmp(line, "$EOF:", 5) == 0 && strlen(line + 5) == MARK_LEN) {
        memcpy(snapshot->mark, line + 5, MARK_LEN + 1);
        snapshot->phase = PHASE_DATA;
    } else if (line[0] == '$') {
        char *end = NULL;
        snapshot->left = strtoll(line + 1, &end, 10);
        snapshot->phase = PHASE_DATA;
        if (end == line + 1 || *end != '\0' || snapshot->left <= 0) {
            fail(snapshot, ERR_PROTOCOL, "the answer to SYNC is no snapshot");
        }
    }
    strbuf_clear(&snapshot->line);
}

static void received(void *user, const char *data, size_t size)
{
    struct snapshot *snapshot = user;
    size_t at = 0;
    snapshot->heard_ms = clock_now_ms();
    while (at < size && snapshot->phase == PHASE_LINES) {
        char c = data[at++];
        if (c == '\n') {
            take_line(snapshot);
        } else if (c != '\r') {
            strbuf_add_char(&snapshot->line, c);
        }
        if (snapshot->line.len > LINE_MAX_BYTES) {
            fail(snapshot, ERR_PROTOCOL, "the answer to SYNC is no snapshot");
        }
    }
    if (at < size && snapshot->phase == PHASE_DATA) {
        take_data(snapshot, data + at, size - at);
    }
}

static void work(struct loop *loop, struct snapshot *snapshot)
{
    while (snapshot->phase == PHASE_LINES || snapshot->phase == PHASE_DATA) {
        loop_turn(loop, TURN_MS);
        if (clock_now_ms() - snapshot->heard_ms > SILENCE_MS_MAX) {
            fail(snapshot, ERR_TIMEOUT, "nothing came for a minute");
        }
    }
}

int compat_snapshot_fetch(struct loop *loop,
                          const struct redis_options *redis,
                          const struct address *address,
                          const char *path,
                          int64_t *size,
                          struct err *err)
{
    struct snapshot snapshot = {.redis = redis, .path = path, .heard_ms = clock_now_ms()};
    struct redis_tls_context *context = NULL;
    if (redis->use_tls && (context = redis_tls_context_new(redis, err)) == NULL) {
        return err->code;
    }
    snapshot.file = fopen(path, "wbe");
    if (snapshot.file == NULL) {
        redis_tls_context_free(context);
        return err_set(err, ERR_IO, "Error opening '%.300s': %s", path, strerror(errno));
    }
    struct redis_socket_buffers *buffers = xcalloc(1, sizeof(*buffers));
    struct redis_socket_place place = {
        .loop = loop, .buffers = buffers, .context = context, .tls_name = redis->tls_name};
    struct redis_socket_handler handler = {
        .connected = connected, .received = received, .failed = failed, .user = &snapshot};
    snapshot.socket = redis_socket_new(&place, address, &handler);
    work(loop, &snapshot);
    redis_socket_close(snapshot.socket);
    loop_turn(loop, 0);
    if (fclose(snapshot.file) != 0) {
        fail(&snapshot, ERR_IO, "cannot write the snapshot to its end");
    }
    free(buffers);
    redis_tls_context_free(context);
    strbuf_release(&snapshot.line);
    strbuf_release(&snapshot.tail);
    if (snapshot.phase == PHASE_FAILED) {
        (void)unlink(path);
        *err = snapshot.err;
        return err->code;
    }
    *size = snapshot.size;
    return 0;
}
