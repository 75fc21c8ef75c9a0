/* compat_options.h — the command line of `redis-cli --cluster`, as data.
 *
 * Options stand before or after --cluster; the words of the sub-command run up to the next option.
 * Pure: reads no environment (the caller hands REDISCLI_AUTH and REDISCLI_CLUSTER_YES in) and
 * prints nothing. Texts point into argv or the struct. Source: redis-cli 7.0.15 and
 * valkey-cli 8.0.1, observed.
 */
#ifndef DROVER_CTL_COMPAT_COMPAT_OPTIONS_H
#define DROVER_CTL_COMPAT_COMPAT_OPTIONS_H

#include "common/base/err.h"
#include "common/model/ids.h"
#include "ctl/compat/compat_uri.h"

#include <stdbool.h>
#include <stdint.h>

#define COMPAT_WORDS_MAX 1024  /* addresses of `create`, words of `call` */
#define COMPAT_WEIGHTS_MAX 512 /* primaries of a large cluster */

enum compat_sub {
    COMPAT_CREATE,
    COMPAT_CHECK,
    COMPAT_INFO,
    COMPAT_FIX,
    COMPAT_RESHARD,
    COMPAT_REBALANCE,
    COMPAT_ADD_NODE,
    COMPAT_DEL_NODE,
    COMPAT_CALL,
    COMPAT_SET_TIMEOUT,
    COMPAT_IMPORT,
    COMPAT_BACKUP,
    COMPAT_HELP,
    COMPAT_SUB_NR
};

/* Which client is meant: their words differ a little. */
enum compat_product { COMPAT_REDIS, COMPAT_VALKEY };

struct compat_options {
    enum compat_product product;
    enum compat_sub sub;
    const char *words[COMPAT_WORDS_MAX]; /* after the sub-command */
    int word_count;

    /* connection */
    const char *user; /* NULL: the default user */
    const char *password;
    bool is_password_on_line; /* worth a warning: other users can see it */
    bool asks_password;
    bool hides_auth_warning;
    bool use_tls;
    bool tls_insecure;
    const char *tls_ca; /* file or folder; the original takes both at once, we the last */
    const char *tls_cert;
    const char *tls_key;
    const char *tls_name;
    const char *tls_ciphers;
    const char *tls_ciphersuites;
    int ip_version;        /* 0 = any, 4, 6 */
    bool reads_last_word;  /* -x: the last word of `call` comes from stdin */
    struct compat_uri uri; /* of -u; user and password may point into it, as a copy's do */
    const char *word_tag;  /* -X TAG: likewise, in the place of this word */

    /* --cluster-... ; the comments name what is not plain from the option */
    int replicas;
    bool searches_owners;
    bool fixes_unreachable;
    const char *from; /* reshard: ids; import: address */
    const char *to;
    int slot_count; /* 0 = ask */
    bool says_yes;
    int64_t timeout_ms; /* 60000; drover times its own commands, so this is only checked */
    int pipeline;
    bool replaces;
    bool copies;
    const char *weights[COMPAT_WEIGHTS_MAX]; /* "id=w" */
    int weight_count;
    bool uses_empty;
    bool simulates;
    double threshold_percent; /* 2 */
    bool as_replica;
    const char *primary_id;
    bool only_primaries;
    bool only_replicas;
    const char *from_user;
    const char *from_password;
    bool asks_from_password;
    bool uses_atomic;
    bool is_strict; /* --cluster-compat strict: results of the original also where they mislead */
};

/* True when the command line means the cluster manager: --cluster stands where options stand, not
 * among the words of a command. */
bool compat_options_is_cluster(int argc, char *const *argv);

/* Reads argv[1..]. 'auth' and 'yes' are REDISCLI_AUTH and REDISCLI_CLUSTER_YES (NULL: not set).
 * ERR_INVALID with the line for people in err->text; it may hold line ends. */
int compat_options_parse(struct compat_options *options,
                         int argc,
                         char *const *argv,
                         const char *auth,
                         const char *yes,
                         struct err *err) WARN_UNUSED;

/* The seed: "host:port", "host:port@bus" or two words "host" "port". ERR_INVALID when it is none.
 * 'used' gets how many words it took. */
int compat_options_seed(const struct compat_options *options,
                        struct address *out,
                        int *used,
                        struct err *err) WARN_UNUSED;

/* One address "host:port[@bus]"; ERR_INVALID. */
int compat_address_parse(struct address *address, const char *text, struct err *err) WARN_UNUSED;

/* "host:port" as the original prints it: no brackets around IPv6. Returns text. */
const char *compat_address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE]);

#endif
