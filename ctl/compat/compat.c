/* compat.c — see compat.h: from the command line to the exit code. */
#include "ctl/compat/compat.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_exec.h"
#include "ctl/compat/compat_move.h"
#include "ctl/compat/compat_print.h"
#include "ctl/compat/compat_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A name as it is and with a version behind it ("redis-cli-7.2"). */
static bool is_named(const char *program, const char *name)
{
    return strncmp(compat_base_name(program), name, strlen(name)) == 0;
}

bool compat_is_meant(int argc, char *const *argv)
{
    if (argc < 1) {
        return false;
    }
    return is_named(argv[0], "redis-cli") || is_named(argv[0], "valkey-cli") ||
           compat_options_is_cluster(argc, argv);
}

/* ---- secrets ---- */

/* Fills the secrets that are asked for; the buffers keep them. */
static bool ask_secrets(struct compat_options *options, struct strbuf *own, struct strbuf *source)
{
    if (options->asks_password) {
        if (!compat_ask_secret("Please input password: ", own)) {
            return false;
        }
        options->password = strbuf_text(own);
    }
    if (options->asks_from_password) {
        if (!compat_ask_secret("Please input import source node password: ", source)) {
            return false;
        }
        options->from_password = strbuf_text(source);
    }
    return true;
}

static void warn_about_password(const struct compat_options *options)
{
    if (options->is_password_on_line && !options->hides_auth_warning && !options->asks_password) {
        compat_complain(
            "Warning: Using a password with '-a' or '-u' option on the command line "
            "interface may not be safe.");
    }
}

/* ---- sub-commands ---- */

static int dispatch(struct compat_run *run)
{
    switch (run->options->sub) {
    case COMPAT_CHECK:
        return compat_check(run);
    case COMPAT_INFO:
        return compat_info(run);
    case COMPAT_CALL:
        return compat_call(run);
    case COMPAT_SET_TIMEOUT:
        return compat_set_timeout(run);
    case COMPAT_BACKUP:
        return compat_backup(run);
    case COMPAT_RESHARD:
        return compat_reshard(run);
    case COMPAT_REBALANCE:
        return compat_rebalance(run);
    case COMPAT_FIX:
        return compat_fix(run);
    case COMPAT_CREATE:
        return compat_create(run);
    case COMPAT_ADD_NODE:
        return compat_add_node(run);
    case COMPAT_DEL_NODE:
        return compat_del_node(run);
    case COMPAT_IMPORT:
        return compat_import(run);
    case COMPAT_HELP:
        return compat_help(run);
    case COMPAT_SUB_NR:
        break;
    }
    return 1;
}

/* Whose address the first words are: all but create and add-node begin with the seed. */
static int read_seed(struct compat_run *run, struct err *err)
{
    const struct compat_options *options = run->options;
    switch (options->sub) {
    case COMPAT_HELP:
        return 0;
    case COMPAT_ADD_NODE:
        if (compat_address_parse(&run->seed, options->words[1], NULL) == 0) {
            return 0;
        }
        return err_set(err, ERR_INVALID,
                       "[ERR] Invalid arguments: you need to pass either a valid address (ie. "
                       "120.0.0.1:7000) or space separated IP and port (ie. 120.0.0.1 7000)");
    case COMPAT_CREATE:
        return compat_address_parse(&run->seed, options->words[0], err);
    case COMPAT_CHECK:
    case COMPAT_INFO:
    case COMPAT_FIX:
    case COMPAT_RESHARD:
    case COMPAT_REBALANCE:
    case COMPAT_DEL_NODE:
    case COMPAT_CALL:
    case COMPAT_SET_TIMEOUT:
    case COMPAT_IMPORT:
    case COMPAT_BACKUP:
    case COMPAT_SUB_NR:
        break;
    }
    return compat_options_seed(options, &run->seed, &run->words_used, err);
}

static int run_cluster(struct compat_options *options)
{
    struct compat_run run = {.options = options};
    struct err err = {0};
    if (read_seed(&run, &err) != 0) {
        compat_complain("%s", err.text);
        return 1;
    }
    run.link = compat_link_new(options, &err);
    if (run.link == NULL) {
        compat_complain("%s", err.text);
        return 1;
    }
    int code = dispatch(&run);
    compat_link_free(run.link);
    return code;
}

/* valkey-cli has names of its own since version 9, and takes the others still. */
static const char *environment(bool is_valkey, const char *name, const char *valkey_name)
{
    const char *own = is_valkey ? getenv(valkey_name) : NULL;
    return own != NULL ? own : getenv(name);
}

int compat_main(int argc, char *const *argv)
{
    bool is_valkey = is_named(argv[0], "valkey-cli");
    if (!compat_options_is_cluster(argc, argv)) {
        return compat_exec_real(is_valkey ? "valkey-cli" : "redis-cli", argv);
    }
    struct compat_options *options = xcalloc(1, sizeof(*options));
    struct strbuf secrets[2] = {{0}, {0}};
    struct err err = {0};
    int exit_code = 1;
    options->product = is_valkey ? COMPAT_VALKEY : COMPAT_REDIS;
    const char *auth = environment(is_valkey, "REDISCLI_AUTH", "VALKEYCLI_AUTH");
    const char *yes = environment(is_valkey, "REDISCLI_CLUSTER_YES", "VALKEYCLI_CLUSTER_YES");
    if (compat_options_parse(options, argc, argv, auth, yes, &err) != 0) {
        compat_complain("%s", err.text);
    } else {
        warn_about_password(options);
        if (ask_secrets(options, &secrets[0], &secrets[1])) {
            exit_code = run_cluster(options);
        }
    }
    strbuf_release(&secrets[0]);
    strbuf_release(&secrets[1]);
    free(options);
    return exit_code;
}
