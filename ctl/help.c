/* help.c — what `drover help` and `--help` print, from the table of verbs; see arguments.h. */
#include "ctl/arguments.h"

#include <stdio.h>
#include <string.h>

#define OPTION_COLUMN 28

static void add_option(const struct ctl_option *option, struct strbuf *out)
{
    struct strbuf left = {0};
    if (option->letter != '\0') {
        strbuf_addf(&left, "  -%c, --%s", option->letter, option->name);
    } else {
        strbuf_addf(&left, "      --%s", option->name);
    }
    if (option->placeholder != NULL) {
        strbuf_addf(&left, " %s", option->placeholder);
    }
    strbuf_add_text(out, strbuf_text(&left));
    if (left.len + 2 > OPTION_COLUMN) {
        strbuf_addf(out, "\n%*s%s\n", OPTION_COLUMN, "", option->help);
    } else {
        strbuf_addf(out, "%*s%s\n", (int)(OPTION_COLUMN - left.len), "", option->help);
    }
    strbuf_release(&left);
}

static void add_options(const struct ctl_option *options, struct strbuf *out)
{
    for (; options != NULL && options->name != NULL; options++) {
        add_option(options, out);
    }
}

void arguments_format_overview(struct strbuf *out)
{
    strbuf_add_text(out,
                    "drover runs a Redis or Valkey cluster: nodes join, slots move, nodes leave, "
                    "no key is lost.\n\n"
                    "usage: drover VERB [WORDS] [OPTIONS]\n\n");
    for (const struct ctl_verb *verb = ctl_verbs; verb->name != NULL; verb++) {
        struct strbuf left = {0};
        strbuf_addf(&left, "  %s%s%s", verb->name, verb->words == NULL ? "" : " ",
                    verb->words == NULL ? "" : verb->words);
        strbuf_addf(out, "%-*s %s\n", OPTION_COLUMN - 1, strbuf_text(&left), verb->summary);
        strbuf_release(&left);
    }
    strbuf_add_text(out, "\nCommon options:\n");
    add_options(ctl_common_options, out);
    strbuf_add_text(
        out,
        "\nA node is named by its id, the start of its id (4 characters or more) or host:port.\n"
        "`drover VERB --help` shows options and examples, `drover help exit-codes` the exit "
        "codes.\n");
}

void arguments_format_help(const struct ctl_verb *verb, struct strbuf *out)
{
    strbuf_addf(out, "usage: drover %s%s%s [OPTIONS]\n\n%s.\n", verb->name,
                verb->words == NULL ? "" : " ", verb->words == NULL ? "" : verb->words,
                verb->summary);
    if (verb->details != NULL) {
        strbuf_addf(out, "\n%s\n", verb->details);
    }
    if (verb->options != NULL && verb->options->name != NULL) {
        strbuf_add_text(out, "\nOptions:\n");
        add_options(verb->options, out);
    }
    strbuf_add_text(out, "\nCommon options:\n");
    add_options(ctl_common_options, out);
    if (verb->examples != NULL) {
        strbuf_addf(out, "\nExamples:\n%s", verb->examples);
    }
}
