/* options_text.c — see options.h: texts to values of one type, and the options as people read them.
 */
#include "common/io/options_internal.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define HELP_WIDTH 100      /* columns */
#define HELP_TEXT_COLUMN 34 /* where the help texts begin */

struct unit {
    const char *name;
    int64_t factor;
};

/* Ascending; the first is what a bare number means. */
static const struct unit duration_units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                             {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const struct unit size_units[] = {{"b", 1},
                                         {"kb", 1024},
                                         {"mb", INT64_C(1) << 20},
                                         {"gb", INT64_C(1) << 30},
                                         {"tb", INT64_C(1) << 40},
                                         {NULL, 0}};

/* ---- parsing ---- */

int option_parse_int(const char *text, int64_t *out, struct err *err)
{
    errno = 0;
    char *end = NULL;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || *text == ' ' || *text == '+') {
        return err_set(err, ERR_CONFIG, "\"%.100s\" is not a whole number", text);
    }
    *out = value;
    return 0;
}

static int parse_with_unit(const char *text,
                           const struct unit *units,
                           const char *what,
                           int64_t *out,
                           struct err *err)
{
    errno = 0;
    char *end = NULL;
    long long value = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : -1;
    const struct unit *unit = units;
    if (end != NULL && *end != '\0') {
        while (unit->name != NULL && strcasecmp(unit->name, end) != 0) {
            unit++;
        }
    } else if (end != NULL && value != 0 && units == duration_units) {
        unit = NULL; /* "10" of what? */
    }
    if (end == NULL || errno != 0 || unit == NULL || unit->name == NULL ||
        value > INT64_MAX / unit->factor) {
        err_set(err, ERR_CONFIG, "\"%.100s\" is not %s", text, what);
        return ERR_CONFIG;
    }
    *out = value * unit->factor;
    return 0;
}

int option_parse_duration(const char *text, int64_t *out_ms, struct err *err)
{
    return parse_with_unit(text, duration_units, "a duration like 250ms, 10s, 5m, 2h or 1d", out_ms,
                           err);
}

int option_parse_size(const char *text, int64_t *out_bytes, struct err *err)
{
    return parse_with_unit(text, size_units, "a size like 4096, 64kb, 64mb or 1gb", out_bytes, err);
}

int option_parse_bool(const char *text, bool *out, struct err *err)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return err_set(err, ERR_CONFIG, "\"%.100s\" is neither true nor false", text);
}

/* ---- formatting ---- */

static void format_with_unit(const struct unit *units, int64_t number, char text[32])
{
    const struct unit *best = units;
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (number != 0 && number % unit->factor == 0) {
            best = unit;
        }
    }
    bool is_bare = number == 0 || (best == units && units == size_units);
    (void)snprintf(text, 32, "%lld%s", (long long)(number / best->factor),
                   is_bare ? "" : best->name);
}

void options_format_number(enum option_type type, int64_t number, char text[32])
{
    if (type == OPTION_DURATION) {
        format_with_unit(duration_units, number, text);
    } else if (type == OPTION_SIZE) {
        format_with_unit(size_units, number, text);
    } else {
        (void)snprintf(text, 32, "%lld", (long long)number);
    }
}

int options_err(const struct options *options,
                const char *key,
                struct err *err,
                const char *format,
                ...)
{
    char why[ERR_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    const struct option *row = options->table;
    while (row->key != NULL && strcmp(row->key, key) != 0) {
        row++;
    }
    CHECK(row->key != NULL);
    const struct option_value *value = &options->values[row - options->table];
    bool is_shown = !row->is_secret && value->text != NULL;
    return err_set(err, ERR_CONFIG, "%s: %s%s%.80s: %.300s", options_source(options, key), key,
                   is_shown ? " = " : "", is_shown ? value->text : "", why);
}

static const char *placeholder_of(const struct option *row)
{
    static const char *const names[OPTION_TYPE_NR] = {
        [OPTION_STRING] = "TEXT",   [OPTION_INT] = "N",     [OPTION_BOOL] = NULL,
        [OPTION_DURATION] = "TIME", [OPTION_SIZE] = "SIZE", [OPTION_ENUM] = "WORD",
        [OPTION_LIST] = "A,B,..."};
    return row->placeholder != NULL ? row->placeholder : names[row->type];
}

/* Adds 'text' from column HELP_TEXT_COLUMN on, broken at spaces. 'column' is where the line stands
 * now. */
static void add_wrapped(struct strbuf *out, const char *text, int column)
{
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > HELP_TEXT_COLUMN && column + 1 + (int)len > HELP_WIDTH) {
            strbuf_addf(out, "\n%*s", HELP_TEXT_COLUMN, "");
            column = HELP_TEXT_COLUMN;
        } else if (column > HELP_TEXT_COLUMN) {
            strbuf_add_char(out, ' ');
            column++;
        }
        strbuf_add(out, text, len);
        column += (int)len;
        text += len;
        while (*text == ' ') {
            text++;
        }
    }
    strbuf_add_char(out, '\n');
}

/* "(one of: a, b; 1s to 5m; default 10s; key lease.ttl; $DROVER_TTL)" */
static void add_facts(struct strbuf *out, const struct option *row)
{
    const char *lead = " (";
    char low[32];
    char high[32];
    if (row->words != NULL) {
        strbuf_addf(out, "%sone of: ", lead);
        for (int i = 0; row->words[i] != NULL; i++) {
            strbuf_addf(out, "%s%s", i == 0 ? "" : ", ", row->words[i]);
        }
        lead = "; ";
    }
    if (row->min != 0 || row->max != 0) {
        options_format_number(row->type, row->min, low);
        options_format_number(row->type, row->max, high);
        strbuf_addf(out, "%s%s to %s", lead, low, high);
        lead = "; ";
    }
    if (row->fallback != NULL && *row->fallback != '\0' &&
        !(row->type == OPTION_BOOL && row->is_flag_only)) {
        strbuf_addf(out, "%sdefault %s", lead, row->is_secret ? "***" : row->fallback);
        lead = "; ";
    }
    if (!row->is_flag_only) {
        strbuf_addf(out, "%skey %s", lead, row->key);
        lead = "; ";
    }
    if (row->env != NULL) {
        strbuf_addf(out, "%s$%s", lead, row->env);
        lead = "; ";
    }
    if (strcmp(lead, "; ") == 0) {
        strbuf_add_char(out, ')');
    }
}

void options_format_help(const struct option *table, struct strbuf *out)
{
    for (const struct option *row = table; row->key != NULL; row++) {
        if (row->section != NULL) {
            strbuf_addf(out, "%s%s:\n", row == table ? "" : "\n", row->section);
        }
        size_t start = out->len;
        const char *placeholder = placeholder_of(row);
        if (row->flag != NULL) {
            strbuf_addf(out, "  --%s%s%s", row->flag, placeholder != NULL ? " " : "",
                        placeholder != NULL ? placeholder : "");
        } else {
            strbuf_addf(out, "  (no flag) %s", row->key);
        }
        int column = (int)(out->len - start);
        if (column + 2 > HELP_TEXT_COLUMN) {
            strbuf_add_char(out, '\n');
            column = 0;
        }
        strbuf_addf(out, "%*s", HELP_TEXT_COLUMN - column, "");
        struct strbuf text = {0};
        strbuf_add_text(&text, row->help);
        add_facts(&text, row);
        add_wrapped(out, strbuf_text(&text), HELP_TEXT_COLUMN);
        strbuf_release(&text);
    }
}

/* A text as a YAML scalar. */
static void add_yaml_text(struct strbuf *out, const char *text)
{
    strbuf_add_char(out, '"');
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            strbuf_addf(out, "\\%c", *c);
        } else if ((unsigned char)*c < ' ') {
            strbuf_addf(out, "\\x%02x", (unsigned)(unsigned char)*c);
        } else {
            strbuf_add_char(out, *c);
        }
    }
    strbuf_add_char(out, '"');
}

static void add_yaml_value(struct strbuf *out,
                           const struct option *row,
                           const struct option_value *value)
{
    if (row->type == OPTION_LIST) {
        strbuf_add_char(out, '[');
        for (int i = 0; i < value->item_count; i++) {
            strbuf_add_text(out, i == 0 ? "" : ", ");
            add_yaml_text(out, row->is_secret ? "***" : value->items[i]);
        }
        strbuf_add_char(out, ']');
    } else if (value->text == NULL) {
        strbuf_add_text(out, row->type == OPTION_STRING ? "\"\"" : "null");
    } else if (row->is_secret) {
        strbuf_add_text(out, *value->text != '\0' ? "\"***\"" : "\"\"");
    } else if (row->type == OPTION_STRING) {
        add_yaml_text(out, value->text);
    } else if (row->type == OPTION_BOOL) {
        strbuf_add_text(out, value->number != 0 ? "true" : "false");
    } else {
        strbuf_add_text(out, value->text);
    }
}

/* Prints the map headings that 'key' needs and 'before' has not printed; returns the key's last
 * part. */
static const char *add_headings(struct strbuf *out,
                                const char *key,
                                const char *before,
                                int *indent)
{
    *indent = 0;
    bool is_same = true;
    const char *dot = NULL;
    while ((dot = strchr(key, '.')) != NULL) {
        size_t len = (size_t)(dot - key) + 1;
        is_same = is_same && strncmp(key, before, len) == 0;
        if (!is_same) {
            strbuf_addf(out, "%*s%.*s:\n", *indent, "", (int)len - 1, key);
        } else {
            before += len;
        }
        key += len;
        *indent += 2;
    }
    return key;
}

void options_format_config(const struct options *options, struct strbuf *out)
{
    const char *before = "";
    for (int i = 0; i < options->count; i++) {
        const struct option *row = &options->table[i];
        if (row->is_flag_only) {
            continue;
        }
        int indent = 0;
        const char *last = add_headings(out, row->key, before, &indent);
        before = row->key;
        strbuf_addf(out, "%*s%s: ", indent, "", last);
        add_yaml_value(out, row, &options->values[i]);
        strbuf_addf(out, "  # %s\n", options_source(options, row->key));
    }
}
