/* options.h — a program's settings from one table: a row is a key of the file, a flag, an
 * environment variable.
 *
 * Later sources win: default < file < environment < flag. One row gives all names, the check, the
 * help text and the line of the effective configuration. Errors name the source ("drover.yaml:7:3",
 * "--port", "$DROVER_PORT"), the key, what is allowed, and the nearest known name for a misspelt
 * one. */
#ifndef DROVER_IO_OPTIONS_H
#define DROVER_IO_OPTIONS_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/io/config_yaml.h"

#include <stdbool.h>
#include <stdint.h>

enum option_type {
    OPTION_STRING,
    OPTION_INT,      /* decimal, min..max */
    OPTION_BOOL,     /* true/false, yes/no, on/off, 1/0; as a flag alone: true, --no-X: false */
    OPTION_DURATION, /* "250ms" "10s" "5m" "2h" "1d", "0"; kept in milliseconds; min..max in ms */
    OPTION_SIZE, /* "4096" "64kb" "64mb" "1gb" (powers of 1024); kept in bytes; min..max in bytes */
    OPTION_ENUM, /* one of 'words'; kept as the index */
    OPTION_LIST, /* texts: a YAML list or "a,b,c"; a repeated flag appends */
    OPTION_TYPE_NR,
};

#define OPTION_LIST_MAX 1024 /* items of one list */

/* One row. Tables are const and end with a row whose key is NULL. */
struct option {
    const char *key;  /* "redis.password"; unique. A row with is_flag_only is not for files and
                         environment */
    const char *flag; /* "redis-password" without dashes; NULL: no flag */
    const char *env;  /* "DROVER_REDIS_PASSWORD"; NULL: none */
    enum option_type type;
    const char
        *fallback; /* the default as text; NULL: unset (text NULL, number 0, false, empty list) */
    int64_t min;   /* INT, DURATION, SIZE; both 0: no limits but >= 0 for DURATION and SIZE */
    int64_t max;
    const char *const *words; /* ENUM: NULL-ended */
    bool is_secret;           /* printed as "***" */
    bool is_flag_only;        /* --help, --config, --check-config */
    const char *placeholder;  /* "HOST:PORT" in the help; NULL: from the type */
    const char *help;         /* one sentence, what it is for */
    const char *section; /* heading in the help; rows of one section stand together; NULL: as the
                            row before */
};

struct options;

/* Knows only the defaults. CHECKs the table: unique keys, flags, variables; defaults that parse. */
struct options *options_new(const struct option *table);
void options_free(struct options *options);

/* Sources. ERR_CONFIG with text and hint; on failure nothing of that source may be relied on. */
int options_apply_file(struct options *options,
                       const struct config_file *file,
                       struct err *err) WARN_UNUSED;
/* environment: NULL-ended "NAME=value" texts (environ). A variable that starts with prefix
 * ("DROVER_"), is unknown and looks like a known one misspelt is an error; other unknown ones
 * belong to other programs. */
int options_apply_env(struct options *options,
                      char *const *environment,
                      const char *prefix,
                      struct err *err) WARN_UNUSED;
/* argv[0] is skipped; "--" ends the flags. Words that are no flags are kept, see options_word().
 * ERR_INVALID. */
int options_apply_flags(struct options *options, int argc, char *const *argv, struct err *err)
    WARN_UNUSED;

#define OPTIONS_ENV_PREFIX "DROVER_"
/* All of it in order. config_key: the flag-only row that names the file (also $DROVER_CONFIG when
 * that row has an env); without a value no file is read. */
int options_load(struct options *options,
                 int argc,
                 char *const *argv,
                 const char *config_key,
                 struct err *err) WARN_UNUSED;

/* Values; key must be in the table with that type. Texts live until the options change or are
 * freed. */
const char *options_text(const struct options *options,
                         const char *key); /* STRING, ENUM; NULL when unset */
int64_t options_number(const struct options *options,
                       const char *key); /* INT, DURATION (ms), SIZE, ENUM (index) */
bool options_is(const struct options *options, const char *key); /* BOOL */
int options_list_count(const struct options *options, const char *key);
const char *options_list_item(const struct options *options, const char *key, int index);
bool options_is_set(const struct options *options,
                    const char *key); /* by anything but the default */
/* Where the value comes from: "default", "drover.yaml:7:3", "$DROVER_PORT", "--port". For errors of
 * later checks. */
const char *options_source(const struct options *options, const char *key);

/* Words of the command line that are no flags, in order. */
int options_word_count(const struct options *options);
const char *options_word(const struct options *options, int index);

/* An error about a value that only the program can judge: names source, key and value (not a
 * secret's). */
int options_err(const struct options *options,
                const char *key,
                struct err *err,
                const char *format,
                ...) PRINTF_LIKE(4, 5);

/* The options' part of --help, about 100 columns wide. */
void options_format_help(const struct option *table, struct strbuf *out);
/* The effective configuration as YAML with the source of each value as a comment; secrets masked.
 */
void options_format_config(const struct options *options, struct strbuf *out);

/* Parsers for single values, also used elsewhere. 'out' is untouched on failure. */
int option_parse_duration(const char *text, int64_t *out_ms, struct err *err) WARN_UNUSED;
int option_parse_size(const char *text, int64_t *out_bytes, struct err *err) WARN_UNUSED;
int option_parse_int(const char *text, int64_t *out, struct err *err) WARN_UNUSED;
int option_parse_bool(const char *text, bool *out, struct err *err) WARN_UNUSED;

#endif
