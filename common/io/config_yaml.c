/* config_yaml.c — see config_yaml.h.
 *
 * libyaml's events in, flat settings out. A stack of frames (one a map or list) replaces recursion.
 */
#include "common/io/config_yaml.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/strbuf.h"
#include "common/io/file_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

_Static_assert(CONFIG_SIZE_MAX <= FILE_STATE_SIZE_MAX, "a configuration is read like a small file");

enum frame_kind { FRAME_MAP, FRAME_LIST };

struct frame {
    enum frame_kind kind;
    size_t key_len; /* of the dotted key of the map or list itself */
    bool wants_key; /* MAP: the next scalar is a key */
    int item_count; /* LIST: items begun; MAP: keys */
    int line;       /* where it begins */
    int column;
};

struct parser {
    struct config_file *file;
    struct frame frames[CONFIG_DEPTH_MAX];
    int depth;
    char key[CONFIG_KEY_SIZE]; /* dotted key of what comes next */
    size_t key_len;
    struct strbuf keys; /* "\nkey\n" of every map key and setting, to find duplicates */
    struct err *err;
};

static int take_event(struct parser *p, const yaml_event_t *event);
static int take_scalar(struct parser *p, const yaml_event_t *event);
static int take_begin(struct parser *p, enum frame_kind kind, const yaml_event_t *event);
static int take_end(struct parser *p);
static int begin_value(struct parser *p, const yaml_event_t *event);
static void end_value(struct parser *p);

/* "drover.yaml:7:3: ..." */
static int fail_at(struct parser *p, const yaml_mark_t *mark, const char *text)
{
    return err_set(p->err, ERR_CONFIG, "%s:%zu:%zu: %s", p->file->path, mark->line + 1,
                   mark->column + 1, text);
}

void config_file_release(struct config_file *file)
{
    if (file == NULL) {
        return;
    }
    for (int i = 0; i < file->count; i++) {
        free(file->values[i].key);
        free(file->values[i].value);
    }
    free(file->values);
    *file = (struct config_file){0};
}

int config_file_read(struct config_file *file, const char *path, struct err *err)
{
    struct strbuf text = {0};
    int rc = file_state_read(path, CONFIG_SIZE_MAX, &text, err);
    if (rc == 0) {
        rc = config_file_parse(file, path, strbuf_text(&text), text.len, err);
    }
    strbuf_release(&text);
    return rc;
}

static int parse_all(struct parser *p, yaml_parser_t *yaml)
{
    bool is_done = false;
    int rc = 0;
    while (rc == 0 && !is_done) {
        yaml_event_t event;
        if (yaml_parser_parse(yaml, &event) == 0) {
            const yaml_mark_t *mark = &yaml->problem_mark;
            char text[160];
            (void)snprintf(text, sizeof(text), "not YAML: %s",
                           yaml->problem != NULL ? yaml->problem : "unreadable");
            rc = fail_at(p, mark, text);
            err_hint(p->err,
                     "indent with spaces, put a space after each colon, quote values with : or #");
            return rc;
        }
        is_done = event.type == YAML_STREAM_END_EVENT;
        rc = take_event(p, &event);
        yaml_event_delete(&event);
    }
    return rc;
}

int config_file_parse(struct config_file *file,
                      const char *path,
                      const char *text,
                      size_t size,
                      struct err *err)
{
    struct config_file made = {0};
    (void)snprintf(made.path, sizeof(made.path), "%s", path);
    if (size > CONFIG_SIZE_MAX) {
        return err_set(err, ERR_LIMIT, "%s is bigger than %d bytes", made.path, CONFIG_SIZE_MAX);
    }
    struct parser p = {.file = &made, .err = err};
    strbuf_add_char(&p.keys, '\n');
    yaml_parser_t yaml;
    CHECK(yaml_parser_initialize(&yaml) == 1);
    yaml_parser_set_encoding(&yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&yaml, (const unsigned char *)text, size);
    int rc = parse_all(&p, &yaml);
    yaml_parser_delete(&yaml);
    strbuf_release(&p.keys);
    if (rc != 0) {
        config_file_release(&made);
        return rc;
    }
    config_file_release(file);
    *file = made;
    return 0;
}

const struct config_value *config_file_find(const struct config_file *file, const char *key)
{
    for (int i = 0; i < file->count; i++) {
        if (strcmp(file->values[i].key, key) == 0) {
            return &file->values[i];
        }
    }
    return NULL;
}

/* ---- events ---- */

static int take_event(struct parser *p, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    case YAML_DOCUMENT_START_EVENT:
        if (p->keys.len > 1 || p->file->count > 0) {
            return fail_at(p, &event->start_mark, "only one document (---) is allowed");
        }
        return 0;
    case YAML_ALIAS_EVENT:
        return fail_at(p, &event->start_mark,
                       "aliases (*name) are not allowed; write the value out");
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL) {
            return fail_at(p, &event->start_mark,
                           "anchors (&name) and tags (!name) are not allowed");
        }
        return take_scalar(p, event);
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL) {
            return fail_at(p, &event->start_mark,
                           "anchors (&name) and tags (!name) are not allowed");
        }
        return take_begin(p, FRAME_LIST, event);
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL) {
            return fail_at(p, &event->start_mark,
                           "anchors (&name) and tags (!name) are not allowed");
        }
        return take_begin(p, FRAME_MAP, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return take_end(p);
    }
    UNREACHABLE("yaml event");
}

/* Adds to the dotted key; false when it grows too long. */
static bool key_push(struct parser *p, const char *text)
{
    size_t len = strlen(text);
    if (p->key_len + len + 1 > sizeof(p->key)) {
        return false;
    }
    memcpy(p->key + p->key_len, text, len + 1);
    p->key_len += len;
    return true;
}

static void key_cut(struct parser *p, size_t len)
{
    p->key_len = len;
    p->key[len] = '\0';
}

static bool is_plain_key(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool is_good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-';
        if (!is_good) {
            return false;
        }
    }
    return len > 0;
}

static int take_key(struct parser *p, struct frame *frame, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    char why[CONFIG_KEY_SIZE + 64];
    if (!is_plain_key(text, event->data.scalar.length)) {
        return fail_at(p, &event->start_mark,
                       "a key must be a plain word (letters, digits, '_', '-')");
    }
    bool fits = (frame->key_len == 0 || key_push(p, ".")) && key_push(p, text);
    if (!fits) {
        return fail_at(p, &event->start_mark, "the key is too long");
    }
    char mark[CONFIG_KEY_SIZE + 2];
    (void)snprintf(mark, sizeof(mark), "\n%s\n", p->key);
    if (strstr(strbuf_text(&p->keys), mark) != NULL) {
        (void)snprintf(why, sizeof(why), "the key %s stands there twice", p->key);
        return fail_at(p, &event->start_mark, why);
    }
    strbuf_add_text(&p->keys, mark + 1);
    frame->wants_key = false;
    frame->item_count++;
    return 0;
}

static int add_value(struct parser *p, const char *value, int line, int column, bool is_empty_list)
{
    struct config_file *file = p->file;
    if (file->count >= CONFIG_VALUES_MAX) {
        return err_set(p->err, ERR_CONFIG, "%s:%d:%d: more than %d settings", file->path, line,
                       column, CONFIG_VALUES_MAX);
    }
    ARRAY_RESERVE(file->values, file->count, file->capacity);
    file->values[file->count++] = (struct config_value){.key = xstrdup(p->key),
                                                        .value = xstrdup(value),
                                                        .line = line,
                                                        .column = column,
                                                        .is_empty_list = is_empty_list};
    return 0;
}

static int take_scalar(struct parser *p, const yaml_event_t *event)
{
    struct frame *frame = p->depth > 0 ? &p->frames[p->depth - 1] : NULL;
    const char *text = (const char *)event->data.scalar.value;
    if (frame != NULL && frame->kind == FRAME_MAP && frame->wants_key) {
        return take_key(p, frame, event);
    }
    if (frame == NULL && *text == '\0') {
        return 0; /* an empty file */
    }
    if (frame == NULL) {
        return fail_at(p, &event->start_mark, "expected \"key: value\"");
    }
    if (strlen(text) != event->data.scalar.length) {
        return fail_at(p, &event->start_mark, "a value must not contain a zero byte");
    }
    int rc = begin_value(p, event);
    if (rc != 0) {
        return rc;
    }
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool is_null = is_plain && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
    rc = add_value(p, is_null ? "" : text, (int)event->start_mark.line + 1,
                   (int)event->start_mark.column + 1, false);
    end_value(p);
    return rc;
}

static int take_begin(struct parser *p, enum frame_kind kind, const yaml_event_t *event)
{
    if (p->depth > 0 && p->frames[p->depth - 1].kind == FRAME_MAP &&
        p->frames[p->depth - 1].wants_key) {
        return fail_at(p, &event->start_mark, "a key must be a plain word");
    }
    if (p->depth == 0 && kind == FRAME_LIST) {
        return fail_at(p, &event->start_mark, "expected \"key: value\", not a list");
    }
    if (p->depth == CONFIG_DEPTH_MAX) {
        return fail_at(p, &event->start_mark, "too many levels");
    }
    int rc = p->depth > 0 ? begin_value(p, event) : 0;
    if (rc != 0) {
        return rc;
    }
    p->frames[p->depth++] = (struct frame){
        .kind = kind,
        .key_len = p->key_len,
        .wants_key = kind == FRAME_MAP,
        .line = (int)event->start_mark.line + 1,
        .column = (int)event->start_mark.column + 1,
    };
    return 0;
}

static int take_end(struct parser *p)
{
    CHECK(p->depth > 0);
    const struct frame *frame = &p->frames[--p->depth];
    key_cut(p, frame->key_len);
    int rc = 0;
    if (frame->kind == FRAME_LIST && frame->item_count == 0) {
        rc = add_value(p, "", frame->line, frame->column, true);
    }
    if (p->depth > 0) {
        end_value(p);
    }
    return rc;
}

/* In a list, the key of the item; in a map it is there already. */
static int begin_value(struct parser *p, const yaml_event_t *event)
{
    struct frame *frame = &p->frames[p->depth - 1];
    if (frame->kind == FRAME_LIST) {
        char index[16];
        (void)snprintf(index, sizeof(index), "[%d]", frame->item_count++);
        if (!key_push(p, index)) {
            return fail_at(p, &event->start_mark, "the key is too long");
        }
    }
    return 0;
}

static void end_value(struct parser *p)
{
    struct frame *frame = &p->frames[p->depth - 1];
    key_cut(p, frame->key_len);
    frame->wants_key = frame->kind == FRAME_MAP;
}
