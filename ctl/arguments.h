/* arguments.h — the command line of `drover`: one table of verbs and options gives parsing, help
 * and completion.
 *
 * Pure: reads no environment and prints nothing. A verb may have two words ("op show"); options may
 * stand anywhere after `drover`; "--" ends them. */
#ifndef DROVER_CTL_ARGUMENTS_H
#define DROVER_CTL_ARGUMENTS_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stddef.h>

#define ARGUMENT_VALUES_MAX 1200 /* weights of a thousand nodes and some more */
#define ARGUMENT_WORDS_MAX 1024  /* addresses of `create` and `add` */

struct ctl;

/* Tables end with a row whose name is NULL. */
struct ctl_option {
    const char *name;        /* without dashes */
    char letter;             /* '\0' = none */
    const char *placeholder; /* NULL: a switch without a value */
    bool is_repeatable;
    const char *help;
};

struct ctl_verb {
    const char *name;  /* "status", "op show" */
    const char *words; /* "NODE"; NULL = none */
    int words_min;
    int words_max;
    const struct ctl_option *options; /* of its own; the common ones always hold */
    const char *summary;              /* one line */
    const char *details;              /* paragraphs for --help; NULL = none */
    const char *examples;             /* lines */
    int (*run)(struct ctl *ctl, struct err *err);
};

extern const struct ctl_verb ctl_verbs[];
extern const struct ctl_option ctl_common_options[];

struct argument {
    const struct ctl_option *option;
    const char *value; /* NULL for a switch */
};

struct arguments {
    const struct ctl_verb *verb; /* NULL: none given */
    struct argument values[ARGUMENT_VALUES_MAX];
    int value_count;
    const char *words[ARGUMENT_WORDS_MAX]; /* after the verb */
    int word_count;
};

/* argv[0] is skipped; texts point into argv. --help and --version are options like others: with one
 * of them nothing is demanded. ERR_INVALID naming what is wrong, with the nearest known word. */
int arguments_parse(struct arguments *arguments, int argc, char *const *argv, struct err *err)
    WARN_UNUSED;

/* The last value of an option; NULL when it was not given. */
const char *arguments_text(const struct arguments *arguments, const char *name);
bool arguments_has(const struct arguments *arguments, const char *name);
/* The values of a repeatable option, in order: NULL after the last. 'index' starts at 0 and is
 * advanced. */
const char *arguments_next(const struct arguments *arguments, const char *name, int *index);
/* A whole number of min..max. 'fallback' when not given. */
int arguments_int(const struct arguments *arguments,
                  const char *name,
                  long min,
                  long max,
                  long fallback,
                  long *out,
                  struct err *err) WARN_UNUSED;
/* "500ms" "10s" "5m" "1h"; plain numbers are seconds. In milliseconds. */
int arguments_duration(const struct arguments *arguments,
                       const char *name,
                       long fallback_ms,
                       long *out_ms,
                       struct err *err) WARN_UNUSED;

/* The verb of that name, or NULL. */
const struct ctl_verb *arguments_verb(const char *name);

/* `drover help` and `drover VERB --help`, at most 100 columns wide. */
void arguments_format_overview(struct strbuf *out);
void arguments_format_help(const struct ctl_verb *verb, struct strbuf *out);

/* The word of 'words' (NULL-ended) that is nearest to 'text', or NULL when none is near. */
const char *arguments_nearest(const char *text, const char *const *words);

#endif
