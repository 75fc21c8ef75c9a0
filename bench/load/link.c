/* link.c — see link.h. */
#include "bench/load/link.h"

#include "bench/load/now.h"
#include "common/base/alloc.h"
#include "common/base/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void link_init(struct link *link)
{
    *link = (struct link){.fd = -1};
}

void link_release(struct link *link)
{
    link_close(link);
    strbuf_release(&link->out);
    free(link->ring);
    link->ring = NULL;
}

static void watch(struct link *link, uint32_t events)
{
    if (events == link->epoll_events) {
        return;
    }
    struct epoll_event event = {.events = events, .data.u64 = link->tag};
    int op = link->epoll_events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(link->epoll_fd, op, link->fd, &event) == 0) {
        link->epoll_events = events;
    }
}

int link_open(struct link *link, const struct sockaddr *address, int epoll_fd, struct err *err)
{
    CHECK(link->state == LINK_DOWN);
    CHECK(link->count == 0);
    socklen_t size =
        address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot make a socket: %s", strerror(errno));
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, address, size) != 0 && errno != EINPROGRESS) {
        int cause = errno;
        close(fd);
        return err_set(err, ERR_IO, "cannot connect: %s", strerror(cause));
    }
    link->fd = fd;
    link->epoll_fd = epoll_fd;
    link->reader = redisReaderCreate();
    CHECK(link->reader != NULL);
    link->state = LINK_CONNECTING;
    link->opened_ns = now_ns();
    watch(link, EPOLLIN | EPOLLOUT);
    return 0;
}

void link_close(struct link *link)
{
    if (link->fd >= 0) {
        close(link->fd);
    }
    if (link->reader != NULL) {
        redisReaderFree(link->reader);
    }
    link->fd = -1;
    link->reader = NULL;
    link->epoll_events = 0;
    link->state = LINK_DOWN;
    link->out_sent = 0;
    strbuf_clear(&link->out);
}

static void ring_grow(struct link *link)
{
    uint32_t capacity = link->capacity == 0 ? 64 : link->capacity * 2;
    struct pending *ring = xreallocarray(NULL, capacity, sizeof(*ring));
    for (uint32_t i = 0; i < link->count; i++) {
        ring[i] = link->ring[(link->head + i) & (link->capacity - 1)];
    }
    free(link->ring);
    link->ring = ring;
    link->head = 0;
    link->capacity = capacity;
}

void link_push(struct link *link, struct pending pending, const struct strbuf *command)
{
    CHECK(link->state != LINK_DOWN);
    if (link->count == link->capacity) {
        ring_grow(link);
    }
    link->ring[(link->head + link->count) & (link->capacity - 1)] = pending;
    link->count++;
    strbuf_add(&link->out, command->data, command->len);
}

bool link_pop(struct link *link, struct pending *pending)
{
    if (link->count == 0) {
        return false;
    }
    *pending = link->ring[link->head];
    link->head = (link->head + 1) & (link->capacity - 1);
    link->count--;
    return true;
}

const struct pending *link_peek(const struct link *link)
{
    return link->count == 0 ? NULL : &link->ring[link->head];
}

int link_flush(struct link *link)
{
    if (link->state != LINK_UP) {
        return 0;
    }
    while (link->out_sent < link->out.len) {
        ssize_t sent = send(link->fd, link->out.data + link->out_sent,
                            link->out.len - link->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch(link, EPOLLIN | EPOLLOUT);
            return 0;
        }
        if (sent < 0) {
            return -errno;
        }
        link->out_sent += (size_t)sent;
    }
    link->out_sent = 0;
    strbuf_clear(&link->out);
    watch(link, EPOLLIN);
    return 0;
}

int link_connected(struct link *link)
{
    int cause = 0;
    socklen_t size = sizeof(cause);
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &cause, &size) != 0) {
        return -errno;
    }
    if (cause != 0) {
        return -cause;
    }
    link->state = LINK_UP;
    return link_flush(link);
}

int link_read(struct link *link, char *buffer, size_t size)
{
    ssize_t got = recv(link->fd, buffer, size, 0);
    if (got == 0) {
        return -EPIPE;
    }
    if (got < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -errno;
    }
    if (redisReaderFeed(link->reader, buffer, (size_t)got) != REDIS_OK) {
        return -EPROTO;
    }
    return (int)got;
}

struct redisReply *link_reply(struct link *link, bool *broken)
{
    void *reply = NULL;
    *broken = redisReaderGetReply(link->reader, &reply) != REDIS_OK;
    return reply;
}
