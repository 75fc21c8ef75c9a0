/* compat_options.c — see compat_options.h. */
#include "ctl/compat/compat_options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS_DEFAULT 60000
#define PIPELINE_DEFAULT 10
#define THRESHOLD_DEFAULT 2.0

/* What an option does with its value. */
enum effect {
    SKIP,   /* of the plain client: no meaning here */
    SET_ON, /* a switch */
    SET_TEXT,
    SET_INT,
    SET_MS,
    SET_REAL,
    SET_IP4,
    SET_IP6,
    SET_PASSWORD,
    SET_URI,
    SET_WEIGHTS,
    SET_COMPAT,
};

struct row {
    const char *name;
    enum effect effect;
    bool has_value;
    size_t offset; /* into struct compat_options */
};

#define AT(member) offsetof(struct compat_options, member)
static const struct row rows[] = {
    {"-h", SKIP, true, 0},
    {"-p", SKIP, true, 0},
    {"-s", SKIP, true, 0},
    {"-u", SET_URI, true, 0},
    {"-r", SKIP, true, 0},
    {"-i", SKIP, true, 0},
    {"-n", SKIP, true, 0},
    {"-t", SKIP, true, 0},
    {"-d", SKIP, true, 0},
    {"-D", SKIP, true, 0},
    {"-2", SKIP, false, 0},
    {"-3", SKIP, false, 0},
    {"-c", SKIP, false, 0},
    {"-e", SKIP, false, 0},
    {"--raw", SKIP, false, 0},
    {"--no-raw", SKIP, false, 0},
    {"--csv", SKIP, false, 0},
    {"--json", SKIP, false, 0},
    {"--verbose", SKIP, false, 0},
    {"--quoted-input", SKIP, false, 0},
    {"--show-pushes", SKIP, true, 0},
    {"-a", SET_PASSWORD, true, 0},
    {"--pass", SET_PASSWORD, true, 0},
    {"--user", SET_TEXT, true, AT(user)},
    {"--askpass", SET_ON, false, AT(asks_password)},
    {"--no-auth-warning", SET_ON, false, AT(hides_auth_warning)},
    {"--tls", SET_ON, false, AT(use_tls)},
    {"--insecure", SET_ON, false, AT(tls_insecure)},
    {"--cacert", SET_TEXT, true, AT(tls_ca)},
    {"--cacertdir", SET_TEXT, true, AT(tls_ca)},
    {"--cert", SET_TEXT, true, AT(tls_cert)},
    {"--key", SET_TEXT, true, AT(tls_key)},
    {"--sni", SET_TEXT, true, AT(tls_name)},
    {"--tls-ciphers", SET_TEXT, true, AT(tls_ciphers)},
    {"--tls-ciphersuites", SET_TEXT, true, AT(tls_ciphersuites)},
    {"-4", SET_IP4, false, 0},
    {"-6", SET_IP6, false, 0},
    {"-x", SET_ON, false, AT(reads_last_word)},
    {"-X", SET_TEXT, true, AT(word_tag)},
    {"--cluster-replicas", SET_INT, true, AT(replicas)},
    {"--cluster-search-multiple-owners", SET_ON, false, AT(searches_owners)},
    {"--cluster-fix-with-unreachable-masters", SET_ON, false, AT(fixes_unreachable)},
    {"--cluster-fix-with-unreachable-primaries", SET_ON, false, AT(fixes_unreachable)},
    {"--cluster-from", SET_TEXT, true, AT(from)},
    {"--cluster-to", SET_TEXT, true, AT(to)},
    {"--cluster-slots", SET_INT, true, AT(slot_count)},
    {"--cluster-yes", SET_ON, false, AT(says_yes)},
    {"--cluster-timeout", SET_MS, true, AT(timeout_ms)},
    {"--cluster-pipeline", SET_INT, true, AT(pipeline)},
    {"--cluster-replace", SET_ON, false, AT(replaces)},
    {"--cluster-copy", SET_ON, false, AT(copies)},
    {"--cluster-weight", SET_WEIGHTS, true, 0},
    {"--cluster-use-empty-masters", SET_ON, false, AT(uses_empty)},
    {"--cluster-use-empty-primaries", SET_ON, false, AT(uses_empty)},
    {"--cluster-simulate", SET_ON, false, AT(simulates)},
    {"--cluster-threshold", SET_REAL, true, AT(threshold_percent)},
    {"--cluster-slave", SET_ON, false, AT(as_replica)},
    {"--cluster-replica", SET_ON, false, AT(as_replica)},
    {"--cluster-master-id", SET_TEXT, true, AT(primary_id)},
    {"--cluster-primary-id", SET_TEXT, true, AT(primary_id)},
    {"--cluster-primaries-id", SET_TEXT, true, AT(primary_id)},
    {"--cluster-only-masters", SET_ON, false, AT(only_primaries)},
    {"--cluster-only-primaries", SET_ON, false, AT(only_primaries)},
    {"--cluster-only-replicas", SET_ON, false, AT(only_replicas)},
    {"--cluster-from-user", SET_TEXT, true, AT(from_user)},
    {"--cluster-from-pass", SET_TEXT, true, AT(from_password)},
    {"--cluster-from-askpass", SET_ON, false, AT(asks_from_password)},
    {"--cluster-use-atomic-slot-migration", SET_ON, false, AT(uses_atomic)},
    {"--cluster-compat", SET_COMPAT, true, 0},
};

/* Sub-commands; words_min < 0: at least so many. */
static const struct {
    const char *name;
    int words;
} subs[COMPAT_SUB_NR] = {
    [COMPAT_CREATE] = {"create", -2},    [COMPAT_CHECK] = {"check", -1},
    [COMPAT_INFO] = {"info", -1},        [COMPAT_FIX] = {"fix", -1},
    [COMPAT_RESHARD] = {"reshard", -1},  [COMPAT_REBALANCE] = {"rebalance", -1},
    [COMPAT_ADD_NODE] = {"add-node", 2}, [COMPAT_DEL_NODE] = {"del-node", 2},
    [COMPAT_CALL] = {"call", -2},        [COMPAT_SET_TIMEOUT] = {"set-timeout", 2},
    [COMPAT_IMPORT] = {"import", 1},     [COMPAT_BACKUP] = {"backup", 2},
    [COMPAT_HELP] = {"help", 0},
};

static const struct row *find_row(const char *name)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

bool compat_options_is_cluster(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cluster") == 0) {
            return true;
        }
        const struct row *row = find_row(argv[i]);
        if (row == NULL) {
            return false;
        }
        if (row->has_value) {
            i++;
        }
    }
    return false;
}

static int bad_option(const char *name, struct err *err)
{
    return err_set(err, ERR_INVALID, "Unrecognized option or bad number of args for: '%.100s'",
                   name);
}

/* "id=w" words up to the next option; they may come once only. */
static int take_weights(struct compat_options *options,
                        int argc,
                        char *const *argv,
                        int *index,
                        struct err *err)
{
    if (options->weight_count > 0) {
        return err_set(err, ERR_INVALID,
                       "WARNING: you cannot use --cluster-weight more than once.\n"
                       "You can set more weights by adding them as a space-separated list, ie:\n"
                       "--cluster-weight n1=w n2=w");
    }
    while (*index + 1 < argc && argv[*index + 1][0] != '-') {
        if (options->weight_count == COMPAT_WEIGHTS_MAX) {
            return err_set(err, ERR_INVALID, "more than %d weights", COMPAT_WEIGHTS_MAX);
        }
        options->weights[options->weight_count++] = argv[++*index];
    }
    return 0;
}

/* What the URI does not say stays as it was. */
static int take_uri(struct compat_options *options, const char *value, struct err *err)
{
    int code = compat_uri_parse(&options->uri, value, err);
    if (code != 0) {
        return code;
    }
    options->use_tls = options->use_tls || options->uri.use_tls;
    if (options->uri.has_user) {
        options->user = options->uri.user;
    }
    if (options->uri.has_password) {
        options->password = options->uri.password;
        options->is_password_on_line = true;
    }
    return 0;
}

/* Whole numbers are read as the original does: what is no number is 0. */
static int set_value(struct compat_options *options,
                     const struct row *row,
                     char *value,
                     struct err *err)
{
    char *base = (char *)options + row->offset;
    switch (row->effect) {
    case SKIP:
    case SET_WEIGHTS:
        break;
    case SET_ON:
        *(bool *)(void *)base = true;
        break;
    case SET_TEXT:
        *(const char **)(void *)base = value;
        break;
    case SET_INT:
        *(int *)(void *)base = (int)strtol(value, NULL, 10);
        break;
    case SET_MS:
        *(int64_t *)(void *)base = strtoll(value, NULL, 10);
        break;
    case SET_REAL:
        *(double *)(void *)base = strtod(value, NULL);
        break;
    case SET_IP4:
        options->ip_version = 4;
        break;
    case SET_IP6:
        options->ip_version = 6;
        break;
    case SET_PASSWORD:
        options->password = value;
        options->is_password_on_line = true;
        break;
    case SET_URI:
        return take_uri(options, value, err);
    case SET_COMPAT:
        options->is_strict = strcmp(value, "strict") == 0;
        if (!options->is_strict && strcmp(value, "default") != 0) {
            return err_set(err, ERR_INVALID,
                           "--cluster-compat is \"%.40s\", allowed are strict and default", value);
        }
        break;
    }
    return 0;
}

/* A negative number in the command of `call` is a word of it; the original takes it for an option
 * and refuses. */
static bool is_word(const struct compat_options *options, const char *text)
{
    bool is_call = options->sub == COMPAT_CALL && !options->is_strict;
    return text[0] != '-' || text[1] == '\0' || (is_call && isdigit((unsigned char)text[1]) != 0);
}

static int take_sub(struct compat_options *options,
                    int argc,
                    char *const *argv,
                    int *index,
                    struct err *err)
{
    if (*index + 1 >= argc || argv[*index + 1][0] == '-') {
        return bad_option("--cluster", err);
    }
    const char *name = argv[++*index];
    int sub = 0;
    while (sub < COMPAT_SUB_NR && strcmp(subs[sub].name, name) != 0) {
        sub++;
    }
    if (sub == COMPAT_SUB_NR) {
        return err_set(err, ERR_INVALID, "Unknown --cluster subcommand");
    }
    options->sub = (enum compat_sub)sub;
    while (*index + 1 < argc && is_word(options, argv[*index + 1])) {
        if (options->word_count == COMPAT_WORDS_MAX) {
            return err_set(err, ERR_INVALID, "[ERR] More than %d arguments", COMPAT_WORDS_MAX);
        }
        options->words[options->word_count++] = argv[++*index];
    }
    return 0;
}

static int check_arity(const struct compat_options *options, struct err *err)
{
    int wanted = subs[options->sub].words;
    if (options->sub == COMPAT_CREATE && options->product == COMPAT_VALKEY) {
        wanted = -1; /* a cluster of one primary, if a person says so */
    }
    bool is_right = wanted < 0 ? options->word_count >= -wanted : options->word_count == wanted;
    if (!is_right) {
        return err_set(err, ERR_INVALID,
                       "[ERR] Wrong number of arguments for specified --cluster sub command");
    }
    return 0;
}

int compat_options_parse(struct compat_options *options,
                         int argc,
                         char *const *argv,
                         const char *auth,
                         const char *yes,
                         struct err *err)
{
    enum compat_product product = options->product;
    *options = (struct compat_options){
        .product = product,
        .sub = COMPAT_SUB_NR,
        .password = auth != NULL && auth[0] != '\0' ? auth : NULL,
        .says_yes = yes != NULL && strcmp(yes, "1") == 0,
        .timeout_ms = TIMEOUT_MS_DEFAULT,
        .pipeline = PIPELINE_DEFAULT,
        .threshold_percent = THRESHOLD_DEFAULT,
    };
    for (int i = 1; i < argc; i++) {
        int code = 0;
        const struct row *row = find_row(argv[i]);
        if (strcmp(argv[i], "--cluster") == 0) {
            code = options->sub == COMPAT_SUB_NR ? take_sub(options, argc, argv, &i, err)
                                                 : bad_option(argv[i], err);
        } else if (row == NULL || (row->has_value && i + 1 >= argc)) {
            code = bad_option(argv[i], err);
        } else if (row->effect == SET_WEIGHTS) {
            code = take_weights(options, argc, argv, &i, err);
        } else {
            char *value = row->has_value ? argv[++i] : argv[i];
            code = set_value(options, row, value, err);
        }
        if (code != 0) {
            return code;
        }
    }
    if (options->sub == COMPAT_SUB_NR) {
        return err_set(err, ERR_INVALID, "Unknown --cluster subcommand");
    }
    return check_arity(options, err);
}

int compat_address_parse(struct address *address, const char *text, struct err *err)
{
    const char *at = strchr(text, '@');
    size_t len = at == NULL ? strlen(text) : (size_t)(at - text);
    const char *colon = NULL;
    for (size_t i = 0; i < len; i++) {
        colon = text[i] == ':' ? text + i : colon;
    }
    char *end = NULL;
    long port = colon == NULL ? 0 : strtol(colon + 1, &end, 10);
    size_t host_len = colon == NULL ? 0 : (size_t)(colon - text);
    const char *host = text;
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    if (host_len == 0 || host_len >= HOST_SIZE || port < 1 || port > 65535 || end != text + len) {
        return err_set(err, ERR_INVALID, "Invalid address format: %.200s", text);
    }
    *address = (struct address){.port = (uint16_t)port};
    memcpy(address->host, host, host_len);
    return 0;
}

int compat_options_seed(const struct compat_options *options,
                        struct address *out,
                        int *used,
                        struct err *err)
{
    char text[ADDRESS_TEXT_SIZE + 16];
    *used = 1;
    if (strchr(options->words[0], ':') != NULL) {
        (void)snprintf(text, sizeof(text), "%s", options->words[0]);
    } else if (options->word_count >= 2) {
        (void)snprintf(text, sizeof(text), "%s:%s", options->words[0], options->words[1]);
        *used = 2;
    } else {
        text[0] = '\0';
    }
    if (compat_address_parse(out, text, NULL) != 0) {
        return err_set(err, ERR_INVALID,
                       "[ERR] Invalid arguments: you need to pass either a valid address (ie. "
                       "120.0.0.1:7000) or space separated IP and port (ie. 120.0.0.1 7000)");
    }
    return 0;
}

const char *compat_address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE])
{
    (void)snprintf(text, ADDRESS_TEXT_SIZE, "%s:%d", address->host, address->port);
    return text;
}
