/* helper_outside.h — a world in memory around one task of agent/core/outside.h: provisioners and
 * hooks that answer as a test has said, a node, and virtual time. */
#ifndef DROVER_TESTS_UNIT_AGENT_HELPER_OUTSIDE_H
#define DROVER_TESTS_UNIT_AGENT_HELPER_OUTSIDE_H

#include "agent/core/outside.h"

#define ERRAND_NODE "0123456789abcdef0123456789abcdef01234567"
#define ERRAND_CALLS_MAX 64
#define ERRAND_SCRIPT_MAX 32
#define PROVISION_DETAIL "agent a1\nrequest op-7-1-2\nmaxmemory 1048576\nzone z2\nrole replica\n"

struct errands {
    struct outside_settings settings;
    struct outside *x;
    struct agent_effects pending; /* what it waits for */
    int64_t now_ms;
    /* What was called, in order. */
    struct outside_call calls[ERRAND_CALLS_MAX];
    int call_count;
    int cancel_count;
    /* What is answered to the calls in turn; after the last, its last one again. None: no answer.
     */
    struct outside_answer script[ERRAND_SCRIPT_MAX];
    int script_count;
    int script_at;
    struct {
        bool is_silent;
        const char *error;
        int64_t keys;
        int64_t slots;
        int64_t nodes;
        int64_t ops_per_s;
        int clients; /* of others */
        int asks;
    } node;
};

/* The one world of a test; set up and torn down around each. */
extern struct errands errands;
int errand_set_up(void **state);
int errand_tear_down(void **state);

/* A new task takes the place of the last; op-7-1, batch 2. */
void errand_begin_attempt(int attempt, enum task_kind kind, uint32_t flags, const char *detail);
void errand_begin(enum task_kind kind, uint32_t flags, const char *detail);
void errand_begin_provision(void);
void errand_begin_signed_release(const char *key, bool is_dead);
void errand_begin_release(bool is_dead);
void errand_begin_traffic(uint32_t flags);
/* Appends to the script; may be changed. */
struct outside_answer *errand_will_answer(enum outside_state state, const char *message);
/* Steps of time and answers until it is over, or 'turns' of them were done; -1 = to the end. */
void errand_run(int turns);
struct order_status errand_finish(void);

#define ENDS(wanted_state, wanted_code, words)                        \
    do {                                                              \
        struct order_status ended = errand_finish();                  \
        if (strstr(ended.reason, words) == NULL) {                    \
            fail_msg("\"%s\" is not in \"%s\"", words, ended.reason); \
        }                                                             \
        assert_int_equal(ended.state, wanted_state);                  \
        assert_int_equal(ended.reason_code, wanted_code);             \
    } while (0)

#define CASE(name) cmocka_unit_test_setup_teardown(name, errand_set_up, errand_tear_down)

#endif
