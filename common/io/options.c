/* options.c — see options.h: the table, the sources, the values. What is printed is in
 * options_text.c. */
#include "common/io/options_internal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define ENV_DISTANCE_MAX 2  /* edits; names of other programs with our prefix are further away */
#define WORD_DISTANCE_MAX 3 /* edits up to which a known name is proposed for an unknown one */

static int find_row(const struct options *options, const char *key);
static int row_set(struct options *options,
                   int row,
                   const char *text,
                   const char *source,
                   struct err *err);
static void value_release(struct option_value *value);

/* ---- life ---- */

static void check_table(const struct options *options)
{
    for (int i = 0; i < options->count; i++) {
        const struct option *row = &options->table[i];
        CHECK(row->type < OPTION_TYPE_NR);
        CHECK(row->help != NULL);
        CHECK((row->type == OPTION_ENUM) == (row->words != NULL));
        for (int j = 0; j < i; j++) {
            const struct option *other = &options->table[j];
            CHECK(strcmp(row->key, other->key) != 0);
            CHECK(row->flag == NULL || other->flag == NULL || strcmp(row->flag, other->flag) != 0);
            CHECK(row->env == NULL || other->env == NULL || strcmp(row->env, other->env) != 0);
        }
    }
}

struct options *options_new(const struct option *table)
{
    struct options *options = xcalloc(1, sizeof(*options));
    options->table = table;
    while (table[options->count].key != NULL) {
        options->count++;
    }
    check_table(options);
    options->values = xcalloc((size_t)options->count + 1, sizeof(*options->values));
    for (int i = 0; i < options->count; i++) {
        if (table[i].fallback != NULL) {
            struct err err = {0};
            int rc = row_set(options, i, table[i].fallback, OPTIONS_SOURCE_DEFAULT, &err);
            CHECK(rc == 0); /* defaults are ours */
            options->values[i].is_set = false;
        }
    }
    return options;
}

void options_free(struct options *options)
{
    if (options == NULL) {
        return;
    }
    for (int i = 0; i < options->count; i++) {
        value_release(&options->values[i]);
    }
    for (int i = 0; i < options->word_count; i++) {
        free(options->words[i]);
    }
    free(options->words);
    free(options->values);
    free(options);
}

static void list_clear(struct option_value *value)
{
    for (int i = 0; i < value->item_count; i++) {
        free(value->items[i]);
    }
    value->item_count = 0;
}

static void value_release(struct option_value *value)
{
    list_clear(value);
    free(value->items);
    if (value->text != NULL) {
        explicit_bzero(value->text, strlen(value->text)); /* it may be a password */
    }
    free(value->text);
    free(value->source);
    *value = (struct option_value){0};
}

static int find_row(const struct options *options, const char *key)
{
    for (int i = 0; i < options->count; i++) {
        if (strcmp(options->table[i].key, key) == 0) {
            return i;
        }
    }
    return -1;
}

static struct option_value *value_of(const struct options *options, const char *key)
{
    int row = find_row(options, key);
    CHECK(row >= 0);
    return &options->values[row];
}

/* ---- setting ---- */

static int range_err(const struct option *row,
                     const char *text,
                     const char *shown_min,
                     const char *shown_max,
                     struct err *err)
{
    return err_set(err, ERR_CONFIG, "%s is %s, allowed are %s to %s", row->key, text, shown_min,
                   shown_max);
}

static int parse_enum(const struct option *row, const char *text, int64_t *out, struct err *err)
{
    struct strbuf allowed = {0};
    for (int i = 0; row->words[i] != NULL; i++) {
        if (strcmp(row->words[i], text) == 0) {
            strbuf_release(&allowed);
            *out = i;
            return 0;
        }
        strbuf_addf(&allowed, "%s%s", i == 0 ? "" : ", ", row->words[i]);
    }
    err_set(err, ERR_CONFIG, "%s is \"%.100s\", allowed are: %s", row->key, text,
            strbuf_text(&allowed));
    strbuf_release(&allowed);
    return ERR_CONFIG;
}

static int check_range(const struct option *row, const char *text, int64_t number, struct err *err)
{
    bool has_range = row->min != 0 || row->max != 0;
    if (!has_range && row->type != OPTION_INT && number < 0) {
        return err_set(err, ERR_CONFIG, "%s is %s, it must not be negative", row->key, text);
    }
    if (has_range && (number < row->min || number > row->max)) {
        char low[32];
        char high[32];
        options_format_number(row->type, row->min, low);
        options_format_number(row->type, row->max, high);
        return range_err(row, text, low, high, err);
    }
    return 0;
}

/* The number that 'text' means for a row of a number's type. */
static int parse_number(const struct option *row, const char *text, int64_t *out, struct err *err)
{
    int64_t number = 0;
    bool is_true = false;
    int rc = 0;
    switch (row->type) {
    case OPTION_INT:
        rc = option_parse_int(text, &number, err);
        break;
    case OPTION_DURATION:
        rc = option_parse_duration(text, &number, err);
        break;
    case OPTION_SIZE:
        rc = option_parse_size(text, &number, err);
        break;
    case OPTION_BOOL:
        rc = option_parse_bool(text, &is_true, err);
        number = is_true ? 1 : 0;
        break;
    case OPTION_ENUM:
        rc = parse_enum(row, text, &number, err);
        if (rc == 0) {
            *out = number;
        }
        return rc;
    case OPTION_STRING:
    case OPTION_LIST:
    case OPTION_TYPE_NR:
        UNREACHABLE("not a number");
    }
    if (rc != 0) {
        return err_wrap(err, "%s", row->key);
    }
    if (row->type != OPTION_BOOL) {
        rc = check_range(row, text, number, err);
    }
    if (rc == 0) {
        *out = number;
    }
    return rc;
}

static int list_add(const struct option *row,
                    struct option_value *value,
                    const char *text,
                    size_t len,
                    struct err *err)
{
    while (len > 0 && *text == ' ') {
        text++;
        len--;
    }
    while (len > 0 && text[len - 1] == ' ') {
        len--;
    }
    if (len == 0) {
        return err_set(err, ERR_CONFIG, "%s has an empty item", row->key);
    }
    if (value->item_count >= OPTION_LIST_MAX) {
        return err_set(err, ERR_CONFIG, "%s has more than %d items", row->key, OPTION_LIST_MAX);
    }
    ARRAY_RESERVE(value->items, value->item_count, value->item_capacity);
    value->items[value->item_count++] = xasprintf("%.*s", (int)len, text);
    return 0;
}

/* Appends "a,b,c". */
static int list_add_all(const struct option *row,
                        struct option_value *value,
                        const char *text,
                        struct err *err)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        int rc = list_add(row, value, text, len, err);
        if (rc != 0) {
            return rc;
        }
        text += len;
        if (*text == ',') {
            text++;
        }
    }
    return 0;
}

static void value_note_source(struct option_value *value, const char *source)
{
    char *copy = xstrdup(source);
    free(value->source);
    value->source = copy;
    value->is_set = true;
}

static int row_set(struct options *options,
                   int index,
                   const char *text,
                   const char *source,
                   struct err *err)
{
    const struct option *row = &options->table[index];
    struct option_value *value = &options->values[index];
    int rc = 0;
    if (row->type == OPTION_LIST) {
        /* One source replaces what others said; within a source items add up. */
        if (value->source == NULL || strcmp(value->source, source) != 0) {
            list_clear(value);
        }
        rc = list_add_all(row, value, text, err);
    } else if (row->type != OPTION_STRING) {
        rc = parse_number(row, text, &value->number, err);
    }
    if (rc != 0) {
        return err_wrap(err, "%s", source);
    }
    if (row->type != OPTION_LIST) {
        char *copy = xstrdup(text);
        free(value->text);
        value->text = copy;
    }
    value_note_source(value, source);
    return 0;
}

/* ---- a misspelt name ---- */

/* Edits (insert, delete, change) between two short names. */
static int distance(const char *a, const char *b)
{
    enum { LEN_MAX = 63 };
    int row[LEN_MAX + 1];
    int a_len = (int)strnlen(a, LEN_MAX);
    int b_len = (int)strnlen(b, LEN_MAX);
    for (int j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (int i = 1; i <= a_len; i++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= b_len; j++) {
            int change = corner + (a[i - 1] == b[j - 1] ? 0 : 1);
            corner = row[j];
            int other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < other ? change : other;
        }
    }
    return row[b_len];
}

/* The name of one kind that a row has; NULL when it has none. */
static const char *row_name(const struct option *row, enum option_name kind)
{
    switch (kind) {
    case OPTION_NAME_KEY:
        return row->is_flag_only ? NULL : row->key;
    case OPTION_NAME_FLAG:
        return row->flag;
    case OPTION_NAME_ENV:
        return row->env;
    }
    UNREACHABLE("option name");
}

/* The known name that 'name' most likely means, or NULL. */
static const char *nearest(const struct options *options, enum option_name kind, const char *name)
{
    const char *best = NULL;
    int best_distance = WORD_DISTANCE_MAX + 1;
    for (int i = 0; i < options->count; i++) {
        const char *known = row_name(&options->table[i], kind);
        int edits = known != NULL ? distance(name, known) : best_distance;
        if (edits < best_distance) {
            best = known;
            best_distance = edits;
        }
    }
    return best;
}

static void hint_nearest(const struct options *options,
                         enum option_name kind,
                         const char *name,
                         struct err *err)
{
    static const char *const leads[] = {
        [OPTION_NAME_KEY] = "", [OPTION_NAME_FLAG] = "--", [OPTION_NAME_ENV] = "$"};
    const char *best = nearest(options, kind, name);
    if (best != NULL) {
        err_hint(err, "did you mean %s%s?", leads[kind], best);
    } else {
        err_hint(err, "--help lists what there is");
    }
}

static int find_by(const struct options *options,
                   enum option_name kind,
                   const char *name,
                   size_t len)
{
    for (int i = 0; i < options->count; i++) {
        const char *known = row_name(&options->table[i], kind);
        if (known != NULL && strlen(known) == len && memcmp(known, name, len) == 0) {
            return i;
        }
    }
    return -1;
}

/* ---- sources ---- */

/* "redis.nodes[3]" is an item of the list "redis.nodes". */
static size_t key_len_without_index(const char *key)
{
    size_t len = strlen(key);
    if (len > 0 && key[len - 1] == ']') {
        const char *bracket = strrchr(key, '[');
        return bracket != NULL ? (size_t)(bracket - key) : len;
    }
    return len;
}

static int apply_list_setting(struct options *options,
                              int row,
                              const struct config_value *setting,
                              const char *path,
                              struct err *err)
{
    struct option_value *value = &options->values[row];
    char source[CONFIG_PATH_SIZE + 32];
    (void)snprintf(source, sizeof(source), "%s:%d:%d", path, setting->line, setting->column);
    bool is_item = key_len_without_index(setting->key) != strlen(setting->key);
    bool is_first =
        !is_item || strcmp(setting->key + key_len_without_index(setting->key), "[0]") == 0;
    if (is_first) {
        list_clear(value);
    }
    int rc = 0;
    if (is_item) {
        rc = list_add(&options->table[row], value, setting->value, strlen(setting->value), err);
    } else {
        rc = list_add_all(&options->table[row], value, setting->value, err);
    }
    if (rc != 0) {
        return err_wrap(err, "%s", source);
    }
    if (is_first) {
        value_note_source(value, source);
    }
    return 0;
}

int options_apply_file(struct options *options, const struct config_file *file, struct err *err)
{
    for (int i = 0; i < file->count; i++) {
        const struct config_value *setting = &file->values[i];
        char source[CONFIG_PATH_SIZE + 32];
        (void)snprintf(source, sizeof(source), "%s:%d:%d", file->path, setting->line,
                       setting->column);
        size_t len = key_len_without_index(setting->key);
        int row = find_by(options, OPTION_NAME_KEY, setting->key, len);
        bool is_list = len != strlen(setting->key) || setting->is_empty_list;
        if (row < 0) {
            err_set(err, ERR_CONFIG, "%s: unknown key %s", source, setting->key);
            hint_nearest(options, OPTION_NAME_KEY, setting->key, err);
            return ERR_CONFIG;
        }
        if (is_list && options->table[row].type != OPTION_LIST) {
            return err_set(err, ERR_CONFIG, "%s: %s takes one value, not a list", source,
                           options->table[row].key);
        }
        int rc = options->table[row].type == OPTION_LIST
                     ? apply_list_setting(options, row, setting, file->path, err)
                     : row_set(options, row, setting->value, source, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int options_apply_env(struct options *options,
                      char *const *environment,
                      const char *prefix,
                      struct err *err)
{
    for (char *const *entry = environment; *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals == NULL || strncmp(*entry, prefix, strlen(prefix)) != 0) {
            continue;
        }
        size_t len = (size_t)(equals - *entry);
        char name[128];
        (void)snprintf(name, sizeof(name), "$%.*s",
                       (int)(len < sizeof(name) - 2 ? len : sizeof(name) - 2), *entry);
        int row = find_by(options, OPTION_NAME_ENV, *entry, len);
        const char *near = row < 0 ? nearest(options, OPTION_NAME_ENV, name + 1) : NULL;
        if (row < 0 && (near == NULL || distance(near, name + 1) > ENV_DISTANCE_MAX)) {
            continue; /* another program's, e.g. the drover command's DROVER_API */
        }
        if (row < 0) {
            err_set(err, ERR_CONFIG, "unknown environment variable %s", name);
            hint_nearest(options, OPTION_NAME_ENV, name + 1, err);
            return ERR_CONFIG;
        }
        int rc = row_set(options, row, equals + 1, name, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* One flag at argv[*index]; moves *index past its value. */
static int apply_flag(struct options *options,
                      int argc,
                      char *const *argv,
                      int *index,
                      struct err *err)
{
    const char *name = argv[*index] + 2;
    size_t len = strcspn(name, "=");
    const char *text = name[len] == '=' ? name + len + 1 : NULL;
    int row = find_by(options, OPTION_NAME_FLAG, name, len);
    if (row < 0 && text == NULL && strncmp(name, "no-", 3) == 0) {
        row = find_by(options, OPTION_NAME_FLAG, name + 3, len - 3);
        text = row >= 0 && options->table[row].type == OPTION_BOOL ? "false" : NULL;
        row = text != NULL ? row : -1;
    }
    if (row < 0) {
        char shown[128];
        (void)snprintf(shown, sizeof(shown), "%.*s", (int)(len < 100 ? len : 100), name);
        err_set(err, ERR_INVALID, "unknown flag --%s", shown);
        hint_nearest(options, OPTION_NAME_FLAG, shown, err);
        return ERR_INVALID;
    }
    char source[128];
    (void)snprintf(source, sizeof(source), "--%s", options->table[row].flag);
    if (text == NULL && options->table[row].type == OPTION_BOOL) {
        text = "true";
    } else if (text == NULL) {
        if (*index + 1 >= argc) {
            return err_set(err, ERR_INVALID, "%s needs a value", source);
        }
        text = argv[++*index];
    }
    int rc = row_set(options, row, text, source, err);
    if (rc != 0 && err != NULL) {
        err->code = ERR_INVALID;
    }
    return rc == 0 ? 0 : ERR_INVALID;
}

int options_apply_flags(struct options *options, int argc, char *const *argv, struct err *err)
{
    bool is_over = false;
    for (int i = 1; i < argc; i++) {
        if (!is_over && strcmp(argv[i], "--") == 0) {
            is_over = true;
            continue;
        }
        if (is_over || strncmp(argv[i], "--", 2) != 0) {
            if (!is_over && argv[i][0] == '-' && argv[i][1] != '\0') {
                err_set(err, ERR_INVALID, "unknown flag %.100s", argv[i]);
                err_hint(err, "flags start with two dashes; --help lists them");
                return ERR_INVALID;
            }
            ARRAY_RESERVE(options->words, options->word_count, options->word_capacity);
            options->words[options->word_count++] = xstrdup(argv[i]);
            continue;
        }
        int rc = apply_flag(options, argc, argv, &i, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int options_load(struct options *options,
                 int argc,
                 char *const *argv,
                 const char *config_key,
                 struct err *err)
{
    /* The flags say which file to read but win over it: a first look at them on the side. */
    struct options *first = options_new(options->table);
    int rc = options_apply_env(first, environ, OPTIONS_ENV_PREFIX, err);
    if (rc == 0) {
        rc = options_apply_flags(first, argc, argv, err);
    }
    const char *path = rc == 0 ? options_text(first, config_key) : NULL;
    if (rc == 0 && path != NULL && *path != '\0') {
        struct config_file file = {0};
        rc = config_file_read(&file, path, err);
        if (rc == 0) {
            rc = options_apply_file(options, &file, err);
        } else if (rc == ERR_NOT_FOUND || rc == ERR_IO || rc == ERR_LIMIT) {
            (void)err_wrap(err, "%s", options_source(first, config_key));
            rc = ERR_CONFIG;
            if (err != NULL) {
                err->code = ERR_CONFIG;
            }
        }
        config_file_release(&file);
    }
    options_free(first);
    if (rc == 0) {
        rc = options_apply_env(options, environ, OPTIONS_ENV_PREFIX, err);
    }
    if (rc == 0) {
        rc = options_apply_flags(options, argc, argv, err);
    }
    return rc;
}

/* ---- values ---- */

static const struct option_value *typed(const struct options *options,
                                        const char *key,
                                        unsigned allowed)
{
    int row = find_row(options, key);
    CHECK(row >= 0);
    CHECK((allowed & (1U << options->table[row].type)) != 0);
    return &options->values[row];
}

const char *options_text(const struct options *options, const char *key)
{
    return typed(options, key, 1U << OPTION_STRING | 1U << OPTION_ENUM)->text;
}

int64_t options_number(const struct options *options, const char *key)
{
    return typed(options, key,
                 1U << OPTION_INT | 1U << OPTION_DURATION | 1U << OPTION_SIZE | 1U << OPTION_ENUM)
        ->number;
}

bool options_is(const struct options *options, const char *key)
{
    return typed(options, key, 1U << OPTION_BOOL)->number != 0;
}

int options_list_count(const struct options *options, const char *key)
{
    return typed(options, key, 1U << OPTION_LIST)->item_count;
}

const char *options_list_item(const struct options *options, const char *key, int index)
{
    const struct option_value *value = typed(options, key, 1U << OPTION_LIST);
    CHECK(index >= 0);
    CHECK(index < value->item_count);
    return value->items[index];
}

bool options_is_set(const struct options *options, const char *key)
{
    return value_of(options, key)->is_set;
}

const char *options_source(const struct options *options, const char *key)
{
    const struct option_value *value = value_of(options, key);
    return value->source != NULL ? value->source : OPTIONS_SOURCE_DEFAULT;
}

int options_word_count(const struct options *options)
{
    return options->word_count;
}

const char *options_word(const struct options *options, int index)
{
    CHECK(index >= 0);
    CHECK(index < options->word_count);
    return options->words[index];
}
