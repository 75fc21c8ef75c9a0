/* process.c — see process.h: programs that are run to their end. Those that live on:
 * process_launch.c. */
#include "common/io/process.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/process_env.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define OUTPUT_GRACE_MS                                                       \
    2000 /* what a program that ended has written is there to be read by then \
          */

struct process {
    uv_process_t child;
    uv_pipe_t input;
    uv_pipe_t output;
    uv_pipe_t errors;
    uv_write_t writing;
    char *input_bytes; /* owned while they are written */
    struct loop_timer *timer;
    struct strbuf text; /* all it wrote */
    struct strbuf line; /* of its standard output, not ended yet */
    int open_count;     /* handles libuv still knows */
    int stream_count;   /* outputs not at their end */
    bool has_exited;
    bool is_cancelled;
    bool is_overdue;
    bool is_left_open; /* ended, but what it left running keeps its outputs */
    bool is_too_long;
    int64_t exit_status;
    int exit_signal;
    char *name; /* owned */
    void (*on_line)(void *user, const char *line, size_t len);
    void (*on_end)(void *user, const struct err *err, const char *output);
    void *user;
};

static void free_process(struct process *p)
{
    loop_timer_free(p->timer);
    strbuf_release(&p->text);
    strbuf_release(&p->line);
    free(p->input_bytes);
    free(p->name);
    free(p);
}

/* The last line that says something, for people. */
static void last_line(const struct strbuf *text, char *line, size_t size)
{
    const char *data = strbuf_text(text);
    size_t end = text->len;
    while (end > 0 && (data[end - 1] == '\n' || data[end - 1] == '\r' || data[end - 1] == ' ')) {
        end--;
    }
    size_t start = end;
    while (start > 0 && data[start - 1] != '\n') {
        start--;
    }
    (void)snprintf(line, size, "%.*s", (int)(end - start < 200 ? end - start : 200), data + start);
}

static void describe_end(const struct process *p, struct err *err)
{
    char said[256];
    last_line(&p->text, said, sizeof(said));
    *err = (struct err){0};
    if (p->is_overdue) {
        (void)err_set(err, ERR_TIMEOUT, "%s did not end in time: %s", p->name, said);
    } else if (p->is_too_long) {
        (void)err_set(err, ERR_LIMIT, "%s wrote more than %lu bytes", p->name, PROCESS_OUTPUT_MAX);
    } else if (p->exit_signal != 0) {
        (void)err_set(err, ERR_UNAVAILABLE, "%s was ended by signal %d: %s", p->name,
                      p->exit_signal, said);
    } else if (p->exit_status != 0) {
        (void)err_set(err, ERR_UNAVAILABLE, "%s ended with exit code %d: %s", p->name,
                      (int)p->exit_status, said);
    }
}

static void closed(uv_handle_t *handle)
{
    struct process *p = handle->data;
    p->open_count--;
    if (p->open_count > 0) {
        return;
    }
    if (!p->is_cancelled) {
        struct err err;
        describe_end(p, &err);
        p->on_end(p->user, &err, strbuf_text(&p->text));
    }
    free_process(p);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, closed);
    }
}

static void close_all(struct process *p)
{
    loop_timer_set(p->timer, NEVER);
    close_handle((uv_handle_t *)&p->child);
    close_handle((uv_handle_t *)&p->input);
    close_handle((uv_handle_t *)&p->output);
    close_handle((uv_handle_t *)&p->errors);
}

/* Its whole session: a script's own children must not live on. */
static void kill_session(const struct process *p)
{
    if (p->child.pid > 0 && !p->has_exited) {
        (void)kill(-p->child.pid, SIGKILL);
        (void)kill(p->child.pid, SIGKILL);
    }
}

static void settle(struct process *p)
{
    bool is_heard = p->stream_count == 0 || p->is_overdue || p->is_too_long || p->is_left_open;
    if (p->has_exited && is_heard) {
        close_all(p);
    }
}

static void on_child_exit(uv_process_t *child, int64_t status, int signal)
{
    struct process *p = child->data;
    p->has_exited = true;
    p->exit_status = status;
    p->exit_signal = signal;
    if (!p->is_overdue) {
        loop_timer_set(p->timer, clock_now_ms() + OUTPUT_GRACE_MS);
    }
    settle(p);
}

static void on_overdue(void *user)
{
    struct process *p = user;
    if (p->has_exited) {
        p->is_left_open = true;
    } else {
        kill_session(p);
        p->is_overdue = true;
    }
    /* Whoever it left behind may keep the output open for ever. */
    settle(p);
}

static void on_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
    (void)handle;
    size_t size = wanted < 16384 ? wanted : 16384;
    *buffer = uv_buf_init(xmalloc(size), (unsigned)size);
}

static void take_lines(struct process *p, const char *data, size_t size)
{
    for (size_t i = 0; i < size && p->on_line != NULL; i++) {
        if (data[i] == '\n') {
            p->on_line(p->user, strbuf_text(&p->line), p->line.len);
            strbuf_clear(&p->line);
        } else {
            strbuf_add_char(&p->line, data[i]);
        }
    }
}

static void on_output(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct process *p = stream->data;
    if (count < 0) {
        (void)uv_read_stop(stream);
        if (stream == (uv_stream_t *)&p->output && p->line.len > 0 && p->on_line != NULL) {
            p->on_line(p->user, strbuf_text(&p->line), p->line.len);
            strbuf_clear(&p->line);
        }
        p->stream_count--;
    } else if (count > 0 && p->text.len + (size_t)count > PROCESS_OUTPUT_MAX) {
        kill_session(p);
        p->is_too_long = true;
    } else if (count > 0) {
        strbuf_add(&p->text, buffer->base, (size_t)count);
        if (stream == (uv_stream_t *)&p->output) {
            take_lines(p, buffer->base, (size_t)count);
        }
    }
    free(buffer->base);
    settle(p);
}

static void on_written(uv_write_t *writing, int status)
{
    (void)status; /* a program need not read its input */
    struct process *p = writing->data;
    close_handle((uv_handle_t *)&p->input);
}

static void write_input(struct process *p, const struct process_spec *spec)
{
    if (spec->input_size == 0) {
        close_handle((uv_handle_t *)&p->input);
        return;
    }
    p->input_bytes = xmemdup(spec->input, spec->input_size);
    p->writing.data = p;
    uv_buf_t buffer = uv_buf_init(p->input_bytes, (unsigned)spec->input_size);
    if (uv_write(&p->writing, (uv_stream_t *)&p->input, &buffer, 1, on_written) != 0) {
        close_handle((uv_handle_t *)&p->input);
    }
}

static struct process *new_process(struct loop *loop, const struct process_spec *spec)
{
    struct process *p = xcalloc(1, sizeof(*p));
    p->name = xstrdup(spec->argv[0]);
    p->on_line = spec->on_line;
    p->on_end = spec->on_end;
    p->user = spec->user;
    p->timer = loop_timer_new(loop, on_overdue, p);
    uv_pipe_t *pipes[] = {&p->input, &p->output, &p->errors};
    for (int i = 0; i < 3; i++) {
        CHECK(uv_pipe_init(loop_uv(loop), pipes[i], 0) == 0);
        pipes[i]->data = p;
    }
    p->child.data = p;
    p->open_count = 4; /* the pipes and the child */
    return p;
}

struct process *process_run(struct loop *loop, const struct process_spec *spec, struct err *err)
{
    CHECK(spec->timeout_ms > 0);
    struct process *p = new_process(loop, spec);
    char *environment[PROCESS_ENV_MAX];
    process_env_make(environment);
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&p->input},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->output},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->errors},
    };
    uv_process_options_t options = {
        .file = spec->argv[0],
        .args = (char **)(uintptr_t)spec->argv, /* libuv does not change them */
        .env = environment,
        .flags = UV_PROCESS_DETACHED, /* a session of its own, so that all of it can be ended */
        .stdio_count = 3,
        .stdio = stdio,
        .exit_cb = on_child_exit,
    };
    int code = uv_spawn(loop_uv(loop), &p->child, &options);
    process_env_release(environment);
    if (code != 0) {
        (void)err_set(err, code == UV_ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot start %s: %s",
                      p->name, uv_strerror(code));
        p->is_cancelled = true;
        close_all(p);
        return NULL;
    }
    p->stream_count = 2;
    (void)uv_read_start((uv_stream_t *)&p->output, on_buffer, on_output);
    (void)uv_read_start((uv_stream_t *)&p->errors, on_buffer, on_output);
    write_input(p, spec);
    loop_timer_set(p->timer, clock_now_ms() + spec->timeout_ms);
    return p;
}

void process_cancel(struct process *p)
{
    if (p == NULL) {
        return;
    }
    kill_session(p);
    p->is_cancelled = true;
    close_all(p);
}
