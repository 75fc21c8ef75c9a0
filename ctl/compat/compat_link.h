/* compat_link.h — asks nodes and waits for the answer: redis_link on a loop of its own.
 *
 * For the reading sub-commands, which have nothing else to do meanwhile. Knows no cluster. */
#ifndef DROVER_CTL_COMPAT_COMPAT_LINK_H
#define DROVER_CTL_COMPAT_COMPAT_LINK_H

#include "common/base/err.h"
#include "common/model/command.h"
#include "common/model/ids.h"
#include "common/model/reply.h"
#include "ctl/compat/compat_options.h"

#define COMPAT_ASK_TIMEOUT_MS 15000

struct compat_link;

/* ERR_CONFIG when a TLS file cannot be used. Connects nothing yet. */
struct compat_link *compat_link_new(const struct compat_options *options, struct err *err);
void compat_link_free(struct compat_link *link);

/* Sends the commands to one node and waits. 0: 'out' (zeroed before) holds an answer for each, the
 * caller releases it. On failure err->text is the reason alone ("Connection refused"). */
int compat_link_ask(struct compat_link *link,
                    const struct address *address,
                    const struct command_list *commands,
                    struct reply_list *out,
                    struct err *err) WARN_UNUSED;

/* The address as -4 or -6 prefers it: a name becomes a number of that family. What has none stays.
 */
void compat_link_resolve(const struct compat_link *link, struct address *address);

/* What one of several nodes answered. */
struct compat_answer {
    int code; /* 0 or ERR_* */
    struct err err;
    struct reply_list replies;
};

/* The same commands to 'count' nodes at once; waits for all. 'answers' has 'count' places, zeroed;
 * the caller releases each one's replies. */
void compat_link_ask_all(struct compat_link *link,
                         const struct address *addresses,
                         int count,
                         const struct command_list *commands,
                         struct compat_answer *answers);

/* Sends SYNC and writes the snapshot that comes to 'path'. *size gets its bytes. ERR_IO names the
 * file; ERR_PROTOCOL when the node refuses. */
int compat_link_snapshot(struct compat_link *link,
                         const struct address *address,
                         const char *path,
                         int64_t *size,
                         struct err *err) WARN_UNUSED;

#endif
