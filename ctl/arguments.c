/* arguments.c — see arguments.h. */
#include "ctl/arguments.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERBS_MAX 64
#define WORD_MAX 32 /* longest word that is compared for nearness */

/* ---- nearness ---- */

static int min3(int a, int b, int c)
{
    int least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edit distance; both at most WORD_MAX long, longer ones are far. */
static int distance(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    int row[WORD_MAX + 1];
    if (a_len > WORD_MAX || b_len > WORD_MAX) {
        return WORD_MAX;
    }
    for (size_t k = 0; k <= b_len; k++) {
        row[k] = (int)k;
    }
    for (size_t i = 1; i <= a_len; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t k = 1; k <= b_len; k++) {
            int above = row[k];
            row[k] = min3(above + 1, row[k - 1] + 1, diagonal + (a[i - 1] != b[k - 1]));
            diagonal = above;
        }
    }
    return row[b_len];
}

const char *arguments_nearest(const char *text, const char *const *words)
{
    const char *best = NULL;
    int best_distance = (int)strlen(text) / 3 + 1;
    for (; *words != NULL; words++) {
        int d = distance(text, *words);
        if (d <= best_distance && (best == NULL || d < best_distance)) {
            best = *words;
            best_distance = d;
        }
    }
    return best;
}

/* ---- verbs ---- */

const struct ctl_verb *arguments_verb(const char *name)
{
    for (const struct ctl_verb *verb = ctl_verbs; verb->name != NULL; verb++) {
        if (strcmp(verb->name, name) == 0) {
            return verb;
        }
    }
    return NULL;
}

/* True when some verb has 'word' as the first of two: then a second word must follow. */
static bool is_group(const char *word)
{
    size_t len = strlen(word);
    for (const struct ctl_verb *verb = ctl_verbs; verb->name != NULL; verb++) {
        if (strncmp(verb->name, word, len) == 0 && verb->name[len] == ' ') {
            return true;
        }
    }
    return false;
}

static void list_group(const char *group, struct strbuf *out)
{
    size_t len = strlen(group);
    for (const struct ctl_verb *verb = ctl_verbs; verb->name != NULL; verb++) {
        if (strncmp(verb->name, group, len) == 0 && verb->name[len] == ' ') {
            strbuf_addf(out, "%s%s", out->len == 0 ? "" : ", ", verb->name + len + 1);
        }
    }
}

static int unknown_verb(const char *name, struct err *err)
{
    const char *names[VERBS_MAX + 1] = {0};
    int count = 0;
    for (const struct ctl_verb *verb = ctl_verbs; verb->name != NULL; verb++) {
        CHECK(count < VERBS_MAX);
        names[count++] = verb->name;
    }
    const char *near = arguments_nearest(name, names);
    int code = err_set(err, ERR_INVALID, "there is no verb \"%.60s\"", name);
    if (near != NULL) {
        err_hint(err, "did you mean \"drover %s\"? `drover help` lists all verbs", near);
    } else {
        err_hint(err, "`drover help` lists all verbs");
    }
    return code;
}

/* The verb that the words so far begin with, or NULL; 'taken' gets how many words it has. */
static const struct ctl_verb *verb_of_words(const struct arguments *arguments, int *taken)
{
    char name[2 * WORD_MAX + 2];
    const char *first = arguments->word_count > 0 ? arguments->words[0] : "";
    const char *second = arguments->word_count > 1 ? arguments->words[1] : NULL;
    *taken = 1;
    if (!is_group(first) || second == NULL || strlen(first) > WORD_MAX ||
        strlen(second) > WORD_MAX) {
        return arguments_verb(first);
    }
    (void)snprintf(name, sizeof(name), "%s %s", first, second);
    *taken = 2;
    return arguments_verb(name);
}

/* Takes the verb from the front of the words. */
static int take_verb(struct arguments *arguments, struct err *err)
{
    if (arguments->word_count == 0) {
        return 0;
    }
    int taken = 0;
    const char *first = arguments->words[0];
    const char *second = arguments->word_count > 1 ? arguments->words[1] : NULL;
    arguments->verb = verb_of_words(arguments, &taken);
    if (arguments->verb == NULL && is_group(first)) {
        struct strbuf group = {0};
        list_group(first, &group);
        int code = second == NULL
                       ? err_set(err, ERR_INVALID, "\"drover %s\" needs one more word", first)
                       : err_set(err, ERR_INVALID, "there is no verb \"%s %.60s\"", first, second);
        err_hint(err, "after \"drover %s\" comes one of: %s", first, strbuf_text(&group));
        strbuf_release(&group);
        return code;
    }
    if (arguments->verb == NULL) {
        return unknown_verb(first, err);
    }
    arguments->word_count -= taken;
    memmove(arguments->words, arguments->words + taken,
            (size_t)arguments->word_count * sizeof(*arguments->words));
    return 0;
}

/* ---- options ---- */

static const struct ctl_option *find_in(const struct ctl_option *options,
                                        const char *name,
                                        size_t len)
{
    for (; options != NULL && options->name != NULL; options++) {
        bool is_letter = len == 1 && options->letter == name[0];
        if (is_letter || (strlen(options->name) == len && strncmp(options->name, name, len) == 0)) {
            return options;
        }
    }
    return NULL;
}

static const struct ctl_option *find_option(const struct ctl_verb *verb,
                                            const char *name,
                                            size_t len)
{
    const struct ctl_option *option = verb == NULL ? NULL : find_in(verb->options, name, len);
    return option != NULL ? option : find_in(ctl_common_options, name, len);
}

/* The option that is meant. Before the verb is known long names are looked for everywhere, letters
 * only among the common ones: verbs share letters. */
static const struct ctl_option *find_meant(const struct ctl_verb *verb,
                                           const char *name,
                                           size_t len)
{
    const struct ctl_option *option = find_option(verb, name, len);
    for (const struct ctl_verb *any = ctl_verbs;
         verb == NULL && option == NULL && len > 1 && any->name != NULL; any++) {
        option = find_in(any->options, name, len);
    }
    return option;
}

static int unknown_option(const struct ctl_verb *verb, const char *text, struct err *err)
{
    const char *names[128] = {0};
    size_t count = 0;
    const struct ctl_option *tables[] = {verb == NULL ? NULL : verb->options, ctl_common_options};
    for (size_t i = 0; i < 2; i++) {
        for (const struct ctl_option *option = tables[i]; option != NULL && option->name != NULL;
             option++) {
            CHECK(count < 127);
            names[count++] = option->name;
        }
    }
    const char *name = text + strspn(text, "-");
    const char *near = arguments_nearest(name, names);
    const char *verb_name = verb == NULL ? "" : verb->name;
    int code = err_set(err, ERR_INVALID, "\"drover %s\" has no option %.60s", verb_name, text);
    if (near != NULL) {
        err_hint(err, "did you mean --%s? `drover %s --help` lists all options", near, verb_name);
    } else {
        err_hint(err, "`drover %s --help` lists all options", verb_name);
    }
    return code;
}

/* One "--name", "--name=value" or "-x"; may take the next argument as its value. The option is
 * checked against the verb later, when the verb is known. */
static int take_option(struct arguments *arguments,
                       int argc,
                       char *const *argv,
                       int *index,
                       struct err *err)
{
    const char *text = argv[*index];
    const char *name = text + (text[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    size_t len = equals == NULL ? strlen(name) : (size_t)(equals - name);
    int taken = 0;
    const struct ctl_verb *verb = verb_of_words(arguments, &taken);
    const struct ctl_option *option = find_meant(verb, name, len);
    if (option == NULL || (text[1] != '-' && len != 1)) {
        return unknown_option(verb, text, err);
    }
    if (arguments->value_count == ARGUMENT_VALUES_MAX) {
        return err_set(err, ERR_LIMIT, "more than %d options", ARGUMENT_VALUES_MAX);
    }
    const char *value = equals == NULL ? NULL : equals + 1;
    if (option->placeholder == NULL && value != NULL) {
        return err_set(err, ERR_INVALID, "--%s takes no value", option->name);
    }
    if (option->placeholder != NULL && value == NULL) {
        if (*index + 1 >= argc) {
            return err_set(err, ERR_INVALID, "--%s needs a value: --%s %s", option->name,
                           option->name, option->placeholder);
        }
        value = argv[++*index];
    }
    arguments->values[arguments->value_count++] =
        (struct argument){.option = option, .value = value};
    return 0;
}

static int check_options(struct arguments *arguments, struct err *err)
{
    for (int i = 0; i < arguments->value_count; i++) {
        struct argument *value = &arguments->values[i];
        const char *name = value->option->name;
        const struct ctl_option *option = find_option(arguments->verb, name, strlen(name));
        if (option == NULL) {
            struct strbuf text = {0};
            strbuf_addf(&text, "--%s", name);
            int code = unknown_option(arguments->verb, strbuf_text(&text), err);
            strbuf_release(&text);
            return code;
        }
        if ((option->placeholder == NULL) != (value->value == NULL)) {
            return err_set(err, ERR_INVALID, "--%s of \"drover %s\" %s", name,
                           arguments->verb == NULL ? "" : arguments->verb->name,
                           option->placeholder == NULL ? "takes no value" : "needs a value");
        }
        value->option = option;
        for (int k = 0; k < i && !option->is_repeatable; k++) {
            if (arguments->values[k].option == option) {
                return err_set(err, ERR_INVALID, "--%s is given twice", name);
            }
        }
    }
    return 0;
}

static int check_words(const struct arguments *arguments, struct err *err)
{
    const struct ctl_verb *verb = arguments->verb;
    if (verb == NULL || arguments_has(arguments, "help")) {
        return 0;
    }
    int code = 0;
    if (arguments->word_count < verb->words_min) {
        code = err_set(err, ERR_INVALID, "\"drover %s\" needs %s", verb->name, verb->words);
    } else if (arguments->word_count > verb->words_max) {
        code = err_set(err, ERR_INVALID, "\"drover %s\" does not know what to do with \"%.60s\"",
                       verb->name, arguments->words[verb->words_max]);
    }
    if (code != 0) {
        err_hint(err, "`drover %s --help` shows how to use it", verb->name);
    }
    return code;
}

int arguments_parse(struct arguments *arguments, int argc, char *const *argv, struct err *err)
{
    *arguments = (struct arguments){0};
    bool is_over = false;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        if (!is_over && strcmp(text, "--") == 0) {
            is_over = true;
        } else if (!is_over && text[0] == '-' && text[1] != '\0') {
            int code = take_option(arguments, argc, argv, &i, err);
            if (code != 0) {
                return code;
            }
        } else if (arguments->word_count == ARGUMENT_WORDS_MAX) {
            return err_set(err, ERR_INVALID, "more than %d words", ARGUMENT_WORDS_MAX);
        } else {
            arguments->words[arguments->word_count++] = text;
        }
    }
    int code = 0;
    /* "drover op --help" is a question, not a mistake. */
    if (!(arguments_has(arguments, "help") && arguments->word_count == 1 &&
          is_group(arguments->words[0]))) {
        code = take_verb(arguments, err);
    }
    if (code == 0) {
        code = check_options(arguments, err);
    }
    return code != 0 ? code : check_words(arguments, err);
}

/* ---- values ---- */

const char *arguments_text(const struct arguments *arguments, const char *name)
{
    const char *found = NULL;
    for (int i = 0; i < arguments->value_count; i++) {
        if (strcmp(arguments->values[i].option->name, name) == 0) {
            found = arguments->values[i].value;
        }
    }
    return found;
}

bool arguments_has(const struct arguments *arguments, const char *name)
{
    for (int i = 0; i < arguments->value_count; i++) {
        if (strcmp(arguments->values[i].option->name, name) == 0) {
            return true;
        }
    }
    return false;
}

const char *arguments_next(const struct arguments *arguments, const char *name, int *index)
{
    while (*index < arguments->value_count) {
        const struct argument *value = &arguments->values[(*index)++];
        if (strcmp(value->option->name, name) == 0) {
            return value->value;
        }
    }
    return NULL;
}

int arguments_int(const struct arguments *arguments,
                  const char *name,
                  long min,
                  long max,
                  long fallback,
                  long *out,
                  struct err *err)
{
    const char *text = arguments_text(arguments, name);
    if (text == NULL) {
        *out = fallback;
        return 0;
    }
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno != 0 || value < min || value > max) {
        return err_set(err, ERR_INVALID, "--%s is \"%.40s\", allowed is a number from %ld to %ld",
                       name, text, min, max);
    }
    *out = value;
    return 0;
}

int arguments_duration(const struct arguments *arguments,
                       const char *name,
                       long fallback_ms,
                       long *out_ms,
                       struct err *err)
{
    static const struct {
        const char *unit;
        long ms;
    } units[] = {{"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60L * 1000}, {"h", 60L * 60 * 1000}};
    const char *text = arguments_text(arguments, name);
    if (text == NULL) {
        *out_ms = fallback_ms;
        return 0;
    }
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (end != text && errno == 0 && strcmp(end, units[i].unit) == 0 && value >= 0 &&
            value <= 24L * 60 * 60 * 1000 / units[i].ms) {
            *out_ms = value * units[i].ms;
            return 0;
        }
    }
    int code = err_set(err, ERR_INVALID, "--%s is \"%.40s\", which is no duration up to a day",
                       name, text);
    err_hint(err, "write 500ms, 10s, 5m or 1h");
    return code;
}
