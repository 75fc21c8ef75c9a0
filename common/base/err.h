/* err.h — how a failure is told: a code to act on, a text for people, a hint what to do.
 *
 * Every fallible function returns 0 or a negative ERR_* and fills the caller's struct err. A
 * function either returns an error or logs it, never both; whoever handles it logs it once. */
#ifndef DROVER_BASE_ERR_H
#define DROVER_BASE_ERR_H

#define WARN_UNUSED __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_index, arg_index) __attribute__((format(printf, fmt_index, arg_index)))

/* X(name, value, exit code of the programs, word used in JSON). Values are API: only add. */
#define ERR_CODES(X)                                                            \
    X(ERR_INVALID, -1, 2, "invalid")         /* bad input, bad usage */         \
    X(ERR_CONFIG, -2, 3, "config")           /* bad configuration */            \
    X(ERR_NOT_FOUND, -3, 4, "not_found")     /* no such node, op, key */        \
    X(ERR_EXISTS, -4, 5, "exists")           /* already there */                \
    X(ERR_CONFLICT, -5, 6, "conflict")       /* topology or state changed */    \
    X(ERR_REFUSED, -6, 7, "refused")         /* a safety rule says no */        \
    X(ERR_FENCED, -7, 8, "fenced")           /* another leader took over */     \
    X(ERR_UNAVAILABLE, -8, 9, "unavailable") /* peer or store not reachable */  \
    X(ERR_TIMEOUT, -9, 10, "timeout")        /* no answer in time */            \
    X(ERR_AUTH, -10, 11, "auth")             /* wrong or missing credentials */ \
    X(ERR_PROTOCOL, -11, 12, "protocol")     /* peer speaks something else */   \
    X(ERR_LIMIT, -12, 13, "limit")           /* a stated bound was reached */   \
    X(ERR_IO, -13, 14, "io")                 /* file, disk, socket */           \
    X(ERR_INTERNAL, -14, 15, "internal")     /* our own bug, said plainly */    \
    X(ERR_NOT_LEADER, -15, 16, "not_leader") /* ask the leader instead */       \
    X(ERR_CANCELLED, -16, 17, "cancelled")   /* a person stopped it */          \
    X(ERR_VERSION, -17, 18, "version")       /* incompatible versions */

enum err_code {
    ERR_OK = 0,
#define X(name, value, exit_code, word) name = (value),
    ERR_CODES(X)
#undef X
};

#define ERR_TEXT_SIZE 512
#define ERR_HINT_SIZE 256

struct err {
    int code;                 /* 0 or ERR_* */
    char text[ERR_TEXT_SIZE]; /* what failed, with names and numbers; one line, no trailing dot */
    char hint[ERR_HINT_SIZE]; /* what to do about it; may be empty */
    int retry_after_s;        /* > 0: it passes by itself, and nothing was done: ask again then */
};

/* Fills 'err' (may be NULL) and returns 'code', so that callers write `return err_set(err, ERR_X,
 * "...")`. */
int err_set(struct err *err, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Sets the hint of an error that was just set. No effect on NULL. */
void err_hint(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* Says that the same may work in so many seconds. No effect on NULL. */
void err_retry_after(struct err *err, int seconds);

/* Puts "format: " before the text and returns the code that err holds (ERR_INTERNAL for NULL). */
int err_wrap(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* The word of a code as JSON and logs carry it: "ok", "refused", ... Never NULL. */
const char *err_word(int code);

/* The exit code of our programs for a code; 0 for ERR_OK, 1 for an unknown one. */
int err_exit_code(int code);

/* The code whose word is 'word', or ERR_INTERNAL. */
int err_from_word(const char *word);

#endif
