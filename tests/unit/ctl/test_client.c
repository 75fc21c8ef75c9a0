/* test_client.c — asking the API over real sockets: who leads is found, failures have the right
 * code, nothing that may have been carried out is sent twice. Each server is a child process that
 * answers every connection with one text. */
#include "ctl/client.h"
#include "ctl/fields.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVERS_MAX 3

struct server {
    pid_t pid;
    int fd;
    char url[64];
    int *requests; /* shared with the child */
};

static struct server servers[SERVERS_MAX];
static int server_count;

static int listen_anywhere(char *url, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(url, size, "http://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    return fd;
}

/* Reads a request's head and what of the body came with it, answers, closes. An empty answer hangs
 * up. 'early' goes to the first 'early_count'. */
static void serve(int fd, const char *early, const char *late, int early_count, int *requests)
{
    for (;;) {
        char head[8192];
        size_t len = 0;
        int peer = accept(fd, NULL, NULL);
        if (peer < 0) {
            _exit(1);
        }
        while (len + 1 < sizeof(head)) {
            ssize_t got = read(peer, head + len, sizeof(head) - 1 - len);
            len += got > 0 ? (size_t)got : 0;
            head[len] = '\0';
            if (got <= 0 || strstr(head, "\r\n\r\n") != NULL) {
                break;
            }
        }
        const char *answer = *requests < early_count ? early : late;
        (*requests)++;
        if (write(peer, answer, strlen(answer)) < 0) {
            _exit(1);
        }
        (void)shutdown(peer, SHUT_WR);
        while (read(peer, head, sizeof(head)) > 0) {
        }
        (void)close(peer);
    }
}

/* A listening server whose answer is given later, so that answers can name other servers. */
static struct server *server_open(void)
{
    assert_true(server_count < SERVERS_MAX);
    struct server *server = &servers[server_count++];
    *server = (struct server){0};
    server->fd = listen_anywhere(server->url, sizeof(server->url));
    server->requests =
        mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(server->requests != MAP_FAILED);
    return server;
}

static void answer_make(char *answer, size_t size, int status, const char *header, const char *body)
{
    answer[0] = '\0';
    if (status > 0) {
        (void)snprintf(answer, size,
                       "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                       "%sConnection: close\r\n\r\n%s",
                       status, strlen(body), header, body);
    }
}

static void server_start(struct server *server, int status, const char *body)
{
    char answer[4096];
    answer_make(answer, sizeof(answer), status, "", body);
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        serve(server->fd, answer, answer, 0, server->requests);
    }
}

/* The first 'unready' requests are refused so, and told to come again if 'header' says it. */
static void server_start_refusing(struct server *server,
                                  int unready,
                                  int status,
                                  const char *header,
                                  const char *body)
{
    char early[4096];
    char ready[4096];
    answer_make(early, sizeof(early), status, header, body);
    answer_make(ready, sizeof(ready), 200, "", "{\"a\": 7}");
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        serve(server->fd, early, ready, unready, server->requests);
    }
}

static void server_start_unready(struct server *server, int unready, const char *header)
{
    server_start_refusing(
        server, unready, 503, header,
        "{\"error\": {\"code\": \"unavailable\", \"text\": \"reads its journal\"}}");
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < server_count; i++) {
        if (servers[i].pid > 0) {
            (void)kill(servers[i].pid, SIGKILL);
            (void)waitpid(servers[i].pid, NULL, 0);
        }
        (void)close(servers[i].fd);
        (void)munmap(servers[i].requests, sizeof(int));
    }
    server_count = 0;
    return 0;
}

static struct client *client_of(const char *urls, int64_t timeout_ms)
{
    struct settings settings = {0};
    struct err err = {0};
    assert_int_equal(settings_add_urls(&settings, urls, &err), 0);
    return client_new(&settings, timeout_ms, NULL);
}

static void url_list(char *out, size_t size, const struct server *a, const struct server *b)
{
    (void)snprintf(out, size, "%s,%s", a->url, b->url);
}

/* An answer is JSON; the API's own errors come with their code, text and hint. */
static void test_answers_and_errors(void **state)
{
    (void)state;
    struct server *good = server_open();
    struct server *bad = server_open();
    struct err err = {0};
    json_t *out = NULL;
    server_start(good, 200, "{\"a\": 7}");
    server_start(
        bad, 422,
        "{\"error\": {\"code\": \"refused\", \"text\": \"no room\", \"hint\": \"add memory\"}}");
    struct client *client = client_of(good->url, 5000);
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), 0);
    assert_int_equal(field_int(out, "a"), 7);
    assert_string_equal(client_url(client), good->url);
    json_decref(out);
    client_free(client);
    client = client_of(bad->url, 5000);
    assert_int_equal(client_ask(client, "POST", "/x", NULL, &out, &err), ERR_REFUSED);
    assert_string_equal(err.text, "no room");
    assert_string_equal(err.hint, "add memory");
    assert_int_equal(*bad->requests, 1);
    client_free(client);
}

/* Somebody else's server is told from ours. */
static void test_not_drover(void **state)
{
    (void)state;
    struct server *server = server_open();
    struct err err = {0};
    json_t *out = NULL;
    server_start(server, 404, "<html>");
    struct client *client = client_of(server->url, 5000);
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "404"));
    client_free(client);
}

/* A follower's word is followed; the leader is remembered. */
static void test_follows_to_the_leader(void **state)
{
    (void)state;
    struct server *follower = server_open();
    struct server *leader = server_open();
    struct err err = {0};
    json_t *out = NULL;
    char body[256];
    (void)snprintf(body, sizeof(body),
                   "{\"error\": {\"code\": \"not_leader\", \"text\": \"c2 does not lead\"}, "
                   "\"leader\": \"%s\"}",
                   leader->url);
    server_start(follower, 503, body);
    server_start(leader, 200, "{}");
    struct client *client = client_of(follower->url, 5000);
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), 0);
    json_decref(out);
    assert_int_equal(client_ask(client, "POST", "/x", NULL, &out, &err), 0);
    json_decref(out);
    assert_string_equal(client_url(client), leader->url);
    assert_int_equal(*follower->requests, 1);
    assert_int_equal(*leader->requests, 2);
    client_free(client);
}

/* An address where nobody listens is passed over. */
static void test_next_address(void **state)
{
    (void)state;
    struct server *dead = server_open();
    struct server *alive = server_open();
    struct err err = {0};
    json_t *out = NULL;
    char urls[160];
    url_list(urls, sizeof(urls), dead, alive);
    (void)close(dead->fd);
    server_start(alive, 200, "{}");
    struct client *client = client_of(urls, 5000);
    assert_int_equal(client_ask(client, "POST", "/x", NULL, &out, &err), 0);
    json_decref(out);
    client_free(client);
    client = client_of(dead->url, 5000);
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), ERR_UNAVAILABLE);
    assert_true(err.hint[0] != '\0');
    client_free(client);
    dead->fd = socket(AF_INET, SOCK_STREAM, 0); /* so that the teardown closes something of ours */
}

/* A POST whose answer is lost may have been carried out: it goes to nobody else, and the hint says
 * so. */
static void test_lost_answer_of_a_post(void **state)
{
    (void)state;
    struct server *broken = server_open();
    struct server *other = server_open();
    struct err err = {0};
    json_t *out = NULL;
    char urls[160];
    url_list(urls, sizeof(urls), broken, other);
    server_start(broken, 0, "");
    server_start(other, 200, "{}");
    struct client *client = client_of(urls, 5000);
    assert_int_equal(client_ask(client, "POST", "/x", NULL, &out, &err), ERR_IO);
    assert_non_null(strstr(err.hint, "drover ops"));
    assert_int_equal(*other->requests, 0);
    /* A question can be asked again. */
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), 0);
    json_decref(out);
    client_free(client);
}

/* A server that accepts and says nothing is a timeout. */
static void test_timeout(void **state)
{
    (void)state;
    struct server *silent = server_open();
    struct err err = {0};
    json_t *out = NULL;
    struct client *client = client_of(silent->url, 300);
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), ERR_TIMEOUT);
    client_free(client);
}

/* Nobody leads: it is waited for a while, then told. */
static void test_no_leader(void **state)
{
    (void)state;
    struct server *follower = server_open();
    struct err err = {0};
    json_t *out = NULL;
    server_start(
        follower, 503,
        "{\"error\": {\"code\": \"not_leader\", \"text\": \"nobody leads\"}, \"leader\": null}");
    struct client *client = client_of(follower->url, 2000);
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), ERR_NOT_LEADER);
    assert_true(*follower->requests > 3);
    client_free(client);
}

/* A leader that still reads its journal says so and is asked again: nothing was carried out. Who is
 * unavailable for another reason is believed at once. */
static void test_leader_that_is_not_ready(void **state)
{
    (void)state;
    static const char *const methods[] = {"GET", "POST"};
    for (int i = 0; i < 2; i++) {
        struct server *server = server_open();
        struct err err = {0};
        json_t *out = NULL;
        server_start_unready(server, 2, "Retry-After: 1\r\n");
        struct client *client = client_of(server->url, 5000);
        assert_int_equal(client_ask(client, methods[i], "/x", NULL, &out, &err), 0);
        assert_int_equal(field_int(out, "a"), 7);
        assert_int_equal(*server->requests, 3);
        json_decref(out);
        client_free(client);
    }
    struct server *server = server_open();
    struct err err = {0};
    json_t *out = NULL;
    server_start_unready(server, 2, "");
    struct client *client = client_of(server->url, 5000);
    assert_int_equal(client_ask(client, "GET", "/x", NULL, &out, &err), ERR_UNAVAILABLE);
    assert_string_equal(err.text, "reads its journal");
    assert_int_equal(*server->requests, 1);
    client_free(client);
}

/* Nodes that do not agree yet, e.g. since one has just come back: that passes, and a script need
 * not know. Any other conflict is told at once. */
static void test_cluster_that_is_just_changing(void **state)
{
    (void)state;
    static const char changing[] =
        "{\"error\": {\"code\": \"conflict\", \"text\": \"the cluster is just changing\"}}";
    struct server *server = server_open();
    struct err err = {0};
    json_t *out = NULL;
    server_start_refusing(server, 2, 409, "Retry-After: 1\r\n", changing);
    struct client *client = client_of(server->url, 5000);
    assert_int_equal(client_ask(client, "POST", "/x", NULL, &out, &err), 0);
    assert_int_equal(*server->requests, 3);
    json_decref(out);
    client_free(client);
    server = server_open();
    server_start_refusing(server, 2, 409, "", changing);
    client = client_of(server->url, 5000);
    assert_int_equal(client_ask(client, "POST", "/x", NULL, &out, &err), ERR_CONFLICT);
    assert_int_equal(*server->requests, 1);
    client_free(client);
}

/* Status and why: the leader's word if it can be had, else anybody's. */
static void test_ask_any(void **state)
{
    (void)state;
    struct server *follower = server_open();
    struct server *leader = server_open();
    struct err err = {0};
    json_t *out = NULL;
    char body[256];
    (void)snprintf(body, sizeof(body),
                   "{\"leading\": false, \"why\": \"f\", \"leader\": {\"api_url\": \"%s\"}}",
                   leader->url);
    server_start(follower, 200, body);
    server_start(leader, 200, "{\"leading\": true, \"why\": \"l\"}");
    struct client *client = client_of(follower->url, 3000);
    assert_int_equal(client_ask_any(client, "/v1/why", &out, &err), 0);
    assert_string_equal(field_text(out, "why"), "l");
    json_decref(out);
    client_free(client);
    (void)kill(leader->pid, SIGKILL);
    (void)waitpid(leader->pid, NULL, 0);
    leader->pid = 0;
    (void)shutdown(leader->fd, SHUT_RDWR);
    client = client_of(follower->url, 3000);
    assert_int_equal(client_ask_any(client, "/v1/why", &out, &err), 0);
    assert_string_equal(field_text(out, "why"), "f");
    json_decref(out);
    client_free(client);
}

struct seen {
    int lines;
    char last[64];
};

static bool on_line(void *user, const char *text)
{
    struct seen *seen = user;
    seen->lines++;
    (void)snprintf(seen->last, sizeof(seen->last), "%s", text);
    return strcmp(text, "stop") != 0;
}

/* A stream comes line by line and can be stopped. */
static void test_stream(void **state)
{
    (void)state;
    struct server *server = server_open();
    struct err err = {0};
    struct seen seen = {0};
    server_start(server, 200, "one\n\nthree\nstop\nnever\n");
    struct client *client = client_of(server->url, 3000);
    assert_int_equal(client_stream(client, "/v1/events", on_line, &seen, &err), 0);
    assert_int_equal(seen.lines, 4);
    assert_string_equal(seen.last, "stop");
    client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_answers_and_errors, teardown),
        cmocka_unit_test_teardown(test_not_drover, teardown),
        cmocka_unit_test_teardown(test_follows_to_the_leader, teardown),
        cmocka_unit_test_teardown(test_next_address, teardown),
        cmocka_unit_test_teardown(test_lost_answer_of_a_post, teardown),
        cmocka_unit_test_teardown(test_timeout, teardown),
        cmocka_unit_test_teardown(test_no_leader, teardown),
        cmocka_unit_test_teardown(test_leader_that_is_not_ready, teardown),
        cmocka_unit_test_teardown(test_cluster_that_is_just_changing, teardown),
        cmocka_unit_test_teardown(test_ask_any, teardown),
        cmocka_unit_test_teardown(test_stream, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
