/* ctl.c — one run of `drover`: from the command line to the exit code; see ctl.h. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- output ---- */

void ctl_print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    CHECK(text != NULL);
    (void)printf("%s\n", text);
    (void)fflush(stdout);
    free(text);
}

int ctl_table_width(const struct ctl *ctl)
{
    return ctl->format == CTL_WIDE || !ctl->terminal.is_out_screen ? 0
                                                                   : terminal_width(&ctl->terminal);
}

static void print_err(const struct ctl *ctl, const struct err *err)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "drover: %s\n", err->text);
    if (err->hint[0] != '\0') {
        (void)fprintf(stderr, "  %s\n", err->hint);
    }
    if (ctl->format == CTL_JSON) {
        json_t *error =
            json_pack("{s:{s:s, s:s%, s:s%}}", "error", "code", err_word(err->code), "text",
                      err->text, strlen(err->text), "hint", err->hint, strlen(err->hint));
        if (error != NULL) {
            ctl_print_json(error);
            json_decref(error);
        }
    }
}

/* ---- help ---- */

static void add_exit_codes(struct strbuf *out)
{
    static const struct {
        int code;
        const char *meaning;
    } rows[] = {
        {ERR_INVALID, "wrong usage: a verb, an option or a value"},
        {ERR_CONFIG, "a configuration file is wrong"},
        {ERR_NOT_FOUND, "no such node, operation or file"},
        {ERR_EXISTS, "it is there already"},
        {ERR_CONFLICT, "the topology changed, or the cluster is not settled"},
        {ERR_REFUSED, "a safety rule says no"},
        {ERR_FENCED, "another leader took over"},
        {ERR_UNAVAILABLE, "no coordinator or store can be reached"},
        {ERR_TIMEOUT, "no answer in time"},
        {ERR_AUTH, "wrong or missing credentials"},
        {ERR_PROTOCOL, "something else answered"},
        {ERR_LIMIT, "a stated bound was reached"},
        {ERR_IO, "a file, disk or socket failed"},
        {ERR_INTERNAL, "a bug of drover"},
        {ERR_NOT_LEADER, "no coordinator leads"},
        {ERR_CANCELLED, "a person stopped it, or said no"},
        {ERR_VERSION, "versions do not fit together"},
    };
    strbuf_add_text(
        out,
        "Exit codes of drover and its daemons. An operation that ends badly gives the code of its "
        "reason.\n\n    0  ok           done\n    1  unknown      a code that this version does "
        "not "
        "know\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        strbuf_addf(out, "  %3d  %-12s %s\n", err_exit_code(rows[i].code), err_word(rows[i].code),
                    rows[i].meaning);
    }
    strbuf_addf(out, "  %3d  %-12s %s\n", CTL_EXIT_DETACHED, "detached",
                "Ctrl-C ended the watching; the operation goes on");
}

int verb_help(struct ctl *ctl, struct err *err)
{
    const struct arguments *arguments = &ctl->arguments;
    struct strbuf out = {0};
    struct strbuf name = {0};
    int code = 0;
    for (int i = 0; i < arguments->word_count; i++) {
        strbuf_addf(&name, "%s%s", i == 0 ? "" : " ", arguments->words[i]);
    }
    const struct ctl_verb *verb = arguments_verb(strbuf_text(&name));
    if (name.len == 0) {
        arguments_format_overview(&out);
    } else if (strcmp(name.data, "exit-codes") == 0) {
        add_exit_codes(&out);
    } else if (verb != NULL) {
        arguments_format_help(verb, &out);
    } else {
        bool is_found = false;
        for (verb = ctl_verbs; verb->name != NULL; verb++) {
            if (strncmp(verb->name, name.data, name.len) == 0 && verb->name[name.len] == ' ') {
                strbuf_addf(&out, "  drover %-24s %s\n", verb->name, verb->summary);
                is_found = true;
            }
        }
        if (!is_found) {
            code = err_set(err, ERR_INVALID, "there is no help about \"%.60s\"", name.data);
            err_hint(err, "`drover help` lists all verbs");
        }
    }
    terminal_write(&out);
    strbuf_release(&out);
    strbuf_release(&name);
    return code;
}

int verb_version(struct ctl *ctl, struct err *err)
{
    (void)ctl, (void)err;
    (void)printf("drover %s\n", DROVER_VERSION);
    return 0;
}

/* ---- one run ---- */

static int read_format(struct ctl *ctl, struct err *err)
{
    const char *text = arguments_text(&ctl->arguments, "output");
    if (text == NULL || strcmp(text, "text") == 0) {
        ctl->format = CTL_TEXT;
    } else if (strcmp(text, "wide") == 0) {
        ctl->format = CTL_WIDE;
    } else if (strcmp(text, "json") == 0) {
        ctl->format = CTL_JSON;
    } else {
        return err_set(err, ERR_INVALID, "--output is \"%.40s\", allowed are text, wide and json",
                       text);
    }
    return 0;
}

static int run_verb(struct ctl *ctl, struct err *err)
{
    struct settings settings;
    const struct ctl_verb *verb = ctl->arguments.verb;
    if (verb->run == verb_help || verb->run == verb_version) {
        return verb->run(ctl, err);
    }
    int code =
        arguments_duration(&ctl->arguments, "timeout", CTL_TIMEOUT_MS, &ctl->timeout_ms, err);
    if (code == 0 && ctl->timeout_ms == 0) {
        code = err_set(err, ERR_INVALID, "--timeout is 0; no answer is that fast");
    }
    if (code == 0) {
        code = settings_load(&settings, &ctl->arguments, err);
    }
    if (code != 0) {
        return code;
    }
    const char *ca_file = arguments_text(&ctl->arguments, "ca");
    ctl->has_timeout = arguments_has(&ctl->arguments, "timeout");
    ctl->client =
        client_new(&settings, ctl->timeout_ms, ca_file != NULL ? ca_file : getenv("DROVER_CA"));
    code = verb->run(ctl, err);
    client_free(ctl->client);
    ctl->client = NULL;
    return code;
}

static int run(struct ctl *ctl, struct err *err)
{
    struct arguments *arguments = &ctl->arguments;
    if (arguments_has(arguments, "version")) {
        return verb_version(ctl, err);
    }
    if (arguments_has(arguments, "help") && arguments->verb != NULL) {
        struct strbuf out = {0};
        arguments_format_help(arguments->verb, &out);
        terminal_write(&out);
        strbuf_release(&out);
        return 0;
    }
    if (arguments_has(arguments, "help")) {
        return verb_help(ctl, err);
    }
    if (arguments->verb == NULL) {
        int code = err_set(err, ERR_INVALID, "no verb is given");
        err_hint(err, "start with `drover status`; `drover help` lists all verbs");
        return code;
    }
    return run_verb(ctl, err);
}

int ctl_main(int argc, char *const *argv)
{
    struct ctl *ctl = xcalloc(1, sizeof(*ctl));
    struct err err = {0};
    int code = arguments_parse(&ctl->arguments, argc, argv, &err);
    terminal_init(&ctl->terminal, arguments_has(&ctl->arguments, "no-color"));
    if (code == 0) {
        code = read_format(ctl, &err);
    }
    if (code == 0) {
        code = run(ctl, &err);
    }
    /* `why` has said its one sentence already. */
    if (code < 0 && err.text[0] != '\0') {
        print_err(ctl, &err);
    }
    free(ctl);
    return code == CTL_DETACHED ? CTL_EXIT_DETACHED : err_exit_code(code);
}
