/* redis_reader.c — see redis_reader.h. Works with hiredis 0.14 and 1.x. */
#include "common/io/redis_reader.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/redis_link.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

struct redis_reader {
    redisReader *parser;     /* owned */
    struct reply_list *list; /* whose arena is filled now; the caller's */
    struct reply root;       /* the answer being built; its items are in the arena */
    int64_t bytes_max;
    int64_t fed_bytes; /* since the last restart */
    bool is_over_limit;
};

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* Where the value of this task belongs: the root or an item of its array. NULL when the memory
 * limit is passed. */
static struct reply *task_reply(const redisReadTask *task)
{
    struct redis_reader *reader = task->privdata;
    if ((int64_t)reader->list->arena.used_bytes > 2 * reader->bytes_max) {
        reader->is_over_limit = true;
        return NULL;
    }
    if (task->parent == NULL) {
        reader->root = (struct reply){.type = REPLY_NIL, .text = ""};
        return &reader->root;
    }
    struct reply *array = task->parent->obj;
    CHECK(task->idx >= 0);
    CHECK((size_t)task->idx < array->count);
    return &array->items[task->idx];
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    struct reply *reply = task_reply(task);
    if (reply == NULL) {
        return NULL;
    }
    enum reply_type type = REPLY_STRING;
    if (task->type == REDIS_REPLY_STATUS) {
        type = REPLY_STATUS;
    } else if (task->type == REDIS_REPLY_ERROR) {
        type = REPLY_ERROR;
    }
    struct redis_reader *reader = task->privdata;
    reply_set_text(reader->list, reply, type, text, len);
    return reply;
}

static void *create_array(const redisReadTask *task, element_count count)
{
    struct redis_reader *reader = task->privdata;
    struct reply *reply = task_reply(task);
    if (reply == NULL || count > (element_count)REDIS_REPLY_ITEMS_MAX || (int64_t)count < 0) {
        reader->is_over_limit = true;
        return NULL;
    }
    reply_set_array(reader->list, reply, (size_t)count);
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct reply *reply = task_reply(task);
    if (reply != NULL) {
        *reply = (struct reply){.type = REPLY_INTEGER, .integer = value, .text = ""};
    }
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    return task_reply(task); /* made as REPLY_NIL */
}

#if HIREDIS_MAJOR >= 1
/* RESP3 is never asked for; should it come, numbers stay text and truth is 0 or 1. */
static void *create_double(const redisReadTask *task, double value, char *text, size_t len)
{
    (void)value;
    return create_string(task, text, len);
}

static void *create_bool(const redisReadTask *task, int value)
{
    return create_integer(task, value);
}
#endif

static void free_object(void *object)
{
    (void)object; /* the arena owns it */
}

static redisReplyObjectFunctions *reader_functions(void)
{
    static const redisReplyObjectFunctions functions = {
        .createString = create_string,
        .createArray = create_array,
        .createInteger = create_integer,
        .createNil = create_nil,
#if HIREDIS_MAJOR >= 1
        .createDouble = create_double,
        .createBool = create_bool,
#endif
        .freeObject = free_object,
    };
    return (redisReplyObjectFunctions *)&functions; /* hiredis only reads it */
}

struct redis_reader *redis_reader_new(int64_t bytes_max)
{
    struct redis_reader *reader = xcalloc(1, sizeof(*reader));
    reader->bytes_max = bytes_max;
    reader->parser = redisReaderCreateWithFunctions(reader_functions());
    CHECK(reader->parser != NULL);
    reader->parser->privdata = reader;
    return reader;
}

void redis_reader_free(struct redis_reader *reader)
{
    if (reader != NULL) {
        redisReaderFree(reader->parser);
        free(reader);
    }
}

static int limit_err(const struct redis_reader *reader, struct err *err)
{
    err_set(err, ERR_LIMIT, "answers are bigger than %lld bytes or an array has more than %d items",
            (long long)reader->bytes_max, REDIS_REPLY_ITEMS_MAX);
    err_hint(err, "ask for less at a time");
    return ERR_LIMIT;
}

int redis_reader_feed(struct redis_reader *reader, const char *data, size_t size, struct err *err)
{
    reader->fed_bytes += (int64_t)size;
    if (reader->fed_bytes > reader->bytes_max) {
        return limit_err(reader, err);
    }
    if (redisReaderFeed(reader->parser, data, size) != REDIS_OK) {
        return err_set(err, ERR_PROTOCOL, "cannot read the answer: %s", reader->parser->errstr);
    }
    return 0;
}

int redis_reader_next(struct redis_reader *reader, struct reply_list *list, struct err *err)
{
    reader->list = list;
    void *object = NULL;
    int rc = redisReaderGetReply(reader->parser, &object);
    if (rc != REDIS_OK) {
        if (reader->is_over_limit) {
            return limit_err(reader, err);
        }
        err_set(err, ERR_PROTOCOL, "the answer is not RESP: %s", reader->parser->errstr);
        err_hint(err, "check that the port is that of a Redis server, and whether it wants TLS");
        return ERR_PROTOCOL;
    }
    if (object == NULL) {
        return 0;
    }
    CHECK(object == &reader->root);
    *replies_add(list) = reader->root;
    return 1;
}

void redis_reader_restart(struct redis_reader *reader)
{
    reader->fed_bytes = (int64_t)redis_reader_left(reader);
}

size_t redis_reader_left(const struct redis_reader *reader)
{
    return reader->parser->len - reader->parser->pos;
}
