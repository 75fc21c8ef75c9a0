/* compat_link.c — see compat_link.h. */
#include "ctl/compat/compat_link.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/redis_link.h"
#include "ctl/compat/compat_snapshot.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 3000
#define TURN_MS 1000

struct compat_link {
    struct loop *loop;
    struct redis_pool *pool;
    struct redis_options redis;
    int ip_version;
};

struct compat_link *compat_link_new(const struct compat_options *options, struct err *err)
{
    struct compat_link *link = xcalloc(1, sizeof(*link));
    link->ip_version = options->ip_version;
    link->redis = (struct redis_options){
        .user = options->user,
        .password = options->password,
        .use_tls = options->use_tls,
        .tls_insecure = options->tls_insecure,
        .tls_any_name = true, /* the original checks who signed, not for whom */
        .tls_ca = options->tls_ca,
        .tls_cert = options->tls_cert,
        .tls_key = options->tls_key,
        .tls_name = options->tls_name,
        .tls_ciphers = options->tls_ciphers,
        .tls_ciphersuites = options->tls_ciphersuites,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
    };
    link->loop = loop_new(err);
    link->pool = link->loop == NULL ? NULL : redis_pool_new(link->loop, &link->redis, err);
    if (link->pool == NULL) {
        compat_link_free(link);
        return NULL;
    }
    return link;
}

void compat_link_free(struct compat_link *link)
{
    if (link == NULL) {
        return;
    }
    redis_pool_free(link->pool);
    loop_free(link->loop);
    free(link);
}

void compat_link_resolve(const struct compat_link *link, struct address *address)
{
    struct addrinfo *found = NULL;
    struct addrinfo wish = {.ai_family = link->ip_version == 4 ? AF_INET : AF_INET6,
                            .ai_socktype = SOCK_STREAM};
    if (link->ip_version == 0 || getaddrinfo(address->host, NULL, &wish, &found) != 0) {
        return;
    }
    char text[INET6_ADDRSTRLEN];
    if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0,
                    NI_NUMERICHOST) == 0) {
        (void)snprintf(address->host, sizeof(address->host), "%s", text);
    }
    freeaddrinfo(found);
}

/* ---- asking ---- */

struct waiting {
    struct compat_answer *answer;
    int *left;
};

static void answered(void *user, struct redis_result *result)
{
    struct waiting *waiting = user;
    waiting->answer->code = result->code;
    waiting->answer->err = result->err;
    waiting->answer->replies = result->replies;
    result->replies = (struct reply_list){0};
    (*waiting->left)--;
}

void compat_link_ask_all(struct compat_link *link,
                         const struct address *addresses,
                         int count,
                         const struct command_list *commands,
                         struct compat_answer *answers)
{
    struct waiting *waiting = xcalloc((size_t)count, sizeof(*waiting));
    struct address *reached = xcalloc((size_t)count, sizeof(*reached));
    int left = count;
    for (int i = 0; i < count; i++) {
        waiting[i] = (struct waiting){.answer = &answers[i], .left = &left};
        reached[i] = addresses[i];
        compat_link_resolve(link, &reached[i]);
        struct redis_request request = {
            .address = &reached[i], .commands = commands, .timeout_ms = COMPAT_ASK_TIMEOUT_MS};
        redis_pool_submit(link->pool, &request, answered, &waiting[i]);
    }
    while (left > 0) {
        loop_turn(link->loop, TURN_MS);
    }
    free(reached);
    free(waiting);
}

int compat_link_ask(struct compat_link *link,
                    const struct address *address,
                    const struct command_list *commands,
                    struct reply_list *out,
                    struct err *err)
{
    struct compat_answer answer = {0};
    compat_link_ask_all(link, address, 1, commands, &answer);
    if (answer.code != 0) {
        replies_release(&answer.replies);
        if (err != NULL) {
            *err = answer.err;
        }
        return answer.code;
    }
    *out = answer.replies;
    return 0;
}

/* ---- snapshot ---- */

int compat_link_snapshot(struct compat_link *link,
                         const struct address *address,
                         const char *path,
                         int64_t *size,
                         struct err *err)
{
    struct address reached = *address;
    compat_link_resolve(link, &reached);
    return compat_snapshot_fetch(link->loop, &link->redis, &reached, path, size, err);
}
