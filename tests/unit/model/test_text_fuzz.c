/* test_text_fuzz.c — mutated texts through the parsers, and what they accept through the merge.
 *
 * Whatever comes in, a parser refuses with a reason or gives a view that keeps its own rules; under
 * ASan and UBSan it also reads and writes in bounds. A failing round prints its number;
 * DROVER_CASE=<number> runs it alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/prng.h"
#include "common/model/info_text.h"
#include "common/model/invariants.h"
#include "tests/unit/model/helper_cluster.h"

#define ROUNDS 10000 /* some seconds under ASan; DROVER_CASES runs more */
#define MUTATIONS_MAX 6

static const char *const seeds[] = {"redis-7.0-rest-1.txt",       "redis-7.0-open-source.txt",
                                    "redis-7.0-handshake.txt",    "redis-7.0-failed-replica.txt",
                                    "redis-7.0-nodes-conf.txt",   "redis-7.0-alone.txt",
                                    "redis-7.0-info-replica.txt", "redis-7.0-cluster-info.txt"};
#define SEED_COUNT (sizeof(seeds) / sizeof(seeds[0]))

static const char *const tokens[] = {
    " ",         "\n",     "-",     ":",         "@",         ",",       "[",
    "]",         "->-",    "-<-",   "0",         "16383",     "16384",   "99999999999999999999",
    "myself",    "master", "slave", "fail?",     "handshake", "noaddr",  "connected",
    "\r\n",      "vars ",  "=",     "shard-id=", "[1->-",     "0-16383", "::1",
    "[::1]:1@1", "db0:",   "keys=", "slave0:"};

/* Changes the text a little: a byte, a cut, a copy of a part of itself, or a word of the format put
 * in. */
static void mutate(struct prng *prng, struct strbuf *text)
{
    size_t at = (size_t)prng_below(prng, text->len + 1);
    struct strbuf result = {0};
    size_t skip = 0;
    strbuf_add(&result, strbuf_text(text), at);
    switch (prng_below(prng, 4)) {
    case 0:
        strbuf_add_char(&result, (char)prng_below(prng, 256));
        skip = at < text->len ? 1 : 0;
        break;
    case 1:
        skip = (size_t)prng_below(prng, text->len - at + 1);
        skip = skip > 60 && !prng_chance(prng, 1, 8) ? 60 : skip;
        break;
    case 2: {
        size_t from = (size_t)prng_below(prng, text->len + 1);
        size_t size = (size_t)prng_below(prng, text->len - from + 1);
        strbuf_add(&result, strbuf_text(text) + from, size > 200 ? 200 : size);
        break;
    }
    default:
        strbuf_add_text(&result, tokens[prng_below(prng, sizeof(tokens) / sizeof(tokens[0]))]);
        break;
    }
    strbuf_add(&result, strbuf_text(text) + at + skip, text->len - at - skip);
    strbuf_release(text);
    *text = result;
}

static void assert_view_is_whole(const struct nodes_view *view)
{
    int slots = 0;
    int ranges = 0;
    assert_in_range(view->row_count, 1, NODES_ROWS_MAX);
    assert_in_range(view->myself, 0, view->row_count - 1);
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        assert_true(node_id_is_valid(row->id.text));
        assert_true(node_id_is_empty(&row->primary_id) || node_id_is_valid(row->primary_id.text));
        assert_int_equal(nodes_view_find(view, &row->id), i);
        assert_true(strlen(row->host) < HOST_SIZE);
        struct slotset set;
        nodes_row_slots(view, i, &set);
        assert_int_equal(slotset_count(&set), row->slot_count);
        slots += row->slot_count;
        ranges += row->range_count;
    }
    assert_int_equal(ranges, view->range_count);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        slots -= view->owner[slot] != NODES_NO_ROW;
    }
    assert_int_equal(slots, 0);
}

/* What was accepted must also survive the digest, the invariants and the merge with a good view. */
static void use_view(const struct nodes_view *view, const struct nodes_view *good)
{
    struct node_report reports[2] = {{.is_reachable = true}, {.is_reachable = true}};
    const struct nodes_view *views[] = {view, good};
    uint64_t digests[] = {nodes_view_digest(view), nodes_view_digest(good)};
    struct topology_seen seen[] = {{.report = &reports[0]}, {.report = &reports[1]}};
    struct topology topology;
    struct strbuf why = {0};
    struct err err = {0};
    for (int i = 0; i < 2; i++) {
        reports[i].id = views[i]->rows[views[i]->myself].id;
        reports[i].view_digest = digests[i];
        reports[i].open_slots = views[i]->opens;
        reports[i].open_slot_count = views[i]->open_count;
    }
    int seen_count = node_id_is_equal(&reports[0].id, &reports[1].id) ? 1 : 2;
    struct topology_input input = {.seen = seen,
                                   .seen_count = seen_count,
                                   .views = views,
                                   .view_digests = digests,
                                   .view_count = 2,
                                   .age_ms_max = 1};
    topology_init(&topology);
    if (topology_build(&topology, &input, &err) != 0) {
        fail_msg("%s", err.text);
    }
    bool is_settled = topology_is_settled(&topology, &why);
    assert_int_equal(is_settled, why.len == 0);
    strbuf_clear(&why);
    bool holds = invariants_hold_at_rest(views, 2, &why);
    assert_int_equal(holds, why.len == 0);
    for (int i = 0; i < topology.disagreement_count; i++) {
        topology_format_disagreement(&topology, i, &why);
    }
    assert_int_not_equal(topology_digest(&topology), 0);
    strbuf_release(&why);
    topology_release(&topology);
}

static int fuzz_round(int number,
                      char *const *texts,
                      const size_t *lens,
                      const struct nodes_view *good)
{
    struct prng prng;
    struct strbuf text = {0};
    struct nodes_view view = {0};
    struct info info;
    struct cluster_info cluster_info;
    struct err err = {0};
    prng_init(&prng, (uint64_t)number);
    size_t seed = (size_t)prng_below(&prng, SEED_COUNT);
    strbuf_add(&text, texts[seed], lens[seed]);
    for (uint64_t i = prng_below(&prng, MUTATIONS_MAX); i > 0; i--) {
        mutate(&prng, &text);
    }
    /* A copy of exactly its length, without the '\0', so that ASan sees the first byte read beyond.
     */
    char *exact = xmemdup(strbuf_text(&text), text.len == 0 ? 1 : text.len);
    int code = nodes_view_parse(&view, exact, text.len, &err);
    if (code == 0) {
        assert_view_is_whole(&view);
        use_view(&view, good);
    } else {
        assert_true(code == ERR_PROTOCOL || code == ERR_LIMIT);
        assert_int_equal(err.code, code);
        assert_int_not_equal(err.text[0], '\0');
        assert_int_equal(view.row_count, 0);
    }
    (void)!info_parse(&info, exact, text.len, &err);
    (void)!cluster_info_parse(&cluster_info, exact, text.len, &err);
    nodes_view_release(&view);
    free(exact);
    strbuf_release(&text);
    return code;
}

static void test_mutated_texts(void **state)
{
    (void)state;
    char *texts[SEED_COUNT];
    size_t lens[SEED_COUNT];
    struct nodes_view good = {0};
    struct err err = {0};
    const char *only = getenv("DROVER_CASE");
    const char *more = getenv("DROVER_CASES");
    int rounds = more == NULL ? ROUNDS : (int)strtol(more, NULL, 10);
    int accepted = 0;
    for (size_t i = 0; i < SEED_COUNT; i++) {
        texts[i] = sample_read(seeds[i], &lens[i]);
    }
    assert_int_equal(nodes_view_parse(&good, texts[0], lens[0], &err), 0);
    int first = only == NULL ? 0 : (int)strtol(only, NULL, 10);
    int last = only == NULL ? rounds - 1 : first;
    for (int number = first; number <= last; number++) {
        accepted += fuzz_round(number, texts, lens, &good) == 0;
    }
    printf("accepted %d of %d mutated texts\n", accepted, last - first + 1);
    /* Both ways must be walked, or the test tests nothing. */
    assert_true(only != NULL || (accepted > rounds / 20 && accepted < rounds));
    for (size_t i = 0; i < SEED_COUNT; i++) {
        free(texts[i]);
    }
    nodes_view_release(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutated_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
