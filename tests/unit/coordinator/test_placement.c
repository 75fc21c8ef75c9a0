/* test_placement.c — who should stand where: the wishes of placement.h on small fleets, and against
 * brute force. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_lifecycle.h"

#include "coordinator/core/placement.h"

#define CASES 4000
#define SITES_MAX 8
#define FREE_MAX 6
#define SHARDS_MAX 5

static int site_of(const struct placement *placement, const char *host)
{
    for (int i = 0; i < placement->site_count; i++) {
        if (strcmp(placement->sites[i].host, host) == 0) {
            return i;
        }
    }
    fail_msg("no site %s", host);
    return NO_SITE;
}

static void make(struct life *life, struct placement *placement, const char *text)
{
    life_init(life, text);
    placement_init(placement, &life->topology, life->hosts, life->facts.host_count);
}

static void drop(struct life *life, struct placement *placement)
{
    placement_release(placement);
    life_release(life);
}

/* A host's zone is what its agent says; without a word every host is its own zone. */
static void test_zones_come_from_hosts(void **state)
{
    (void)state;
    struct life life;
    struct placement placement;
    make(&life, &placement, "a@h1/z1 0-99; b@h2/z1 100-199; c@h3 200-299");
    assert_int_equal(placement.sites[site_of(&placement, "h1")].zone_index,
                     placement.sites[site_of(&placement, "h2")].zone_index);
    assert_string_equal(placement.sites[site_of(&placement, "h3")].zone, "h3");
    assert_int_equal(placement_zone_primaries(&placement, site_of(&placement, "h1")), 2);
    drop(&life, &placement);
}

/* An agent that serves nodes of one host speaks for that host, whatever its name; one that serves
 * several says nothing about where they are. */
static void test_zone_by_agent(void **state)
{
    (void)state;
    struct life life;
    struct placement placement;
    life_init(&life, "a@h1/z1 0-99; b@h2/z2 100-199; c@h3/z3 200-299");
    (void)snprintf(life.hosts[0].host, sizeof(life.hosts[0].host), "host-one.example");
    (void)snprintf(life.hosts[1].host, sizeof(life.hosts[1].host), "host-two.example");
    life.topology.nodes[2].agent = life.topology.nodes[1].agent;
    placement_init(&placement, &life.topology, life.hosts, life.facts.host_count);
    assert_string_equal(placement.sites[site_of(&placement, "h1")].zone, "z1");
    assert_string_equal(placement.sites[site_of(&placement, "h2")].zone, "h2");
    drop(&life, &placement);
}

/* The zone with the fewest primaries first, then the host, then the load, then the order given. */
static void test_primary_goes_where_fewest_are(void **state)
{
    (void)state;
    struct life life;
    struct placement placement;
    struct strbuf text = {0};
    make(&life, &placement,
         "a@h1/z1 0-99; b@h2/z1 100-199; c@h3/z2 200-299; d@h4/z2 >a; e@h5/z2 spare; "
         "f@h3/z2 spare");
    int sites[] = {site_of(&placement, "h2"), site_of(&placement, "h3"), site_of(&placement, "h4"),
                   site_of(&placement, "h5")};
    bool is_taken[4] = {false};
    assert_int_equal(placement_pick_primary(&placement, sites, is_taken, 4), 3);
    is_taken[3] = true;
    assert_int_equal(placement_pick_primary(&placement, sites, is_taken, 4), 2);
    is_taken[2] = is_taken[1] = is_taken[0] = true;
    assert_int_equal(placement_pick_primary(&placement, sites, is_taken, 4), NO_SITE);
    placement_explain_primary(&placement, sites[3], &text);
    assert_string_equal(strbuf_text(&text), "host h5 has 0 of 3 primaries, its zone z2 1");
    strbuf_release(&text);
    drop(&life, &placement);
}

/* From the fullest zone, then host, then the fewest keys, then the youngest. */
static void test_who_leaves(void **state)
{
    (void)state;
    struct life life;
    struct placement placement;
    bool is_kept[8] = {false};
    make(&life, &placement,
         "a@h1/z1 0-99 +keys=5; b@h2/z1 100-199 +keys=3; c@h3/z2 200-299 +keys=1; d@h2/z1 300-399 "
         "+keys=4");
    assert_int_equal(placement_pick_leaving(&placement, is_kept), 1);
    is_kept[1] = true;
    assert_int_equal(placement_pick_leaving(&placement, is_kept), 3);
    drop(&life, &placement);
    memset(is_kept, 0, sizeof(is_kept));
    make(&life, &placement, "a@h1 0-99; b@h2 100-199; c@h3 200-299");
    assert_int_equal(placement_pick_leaving(&placement, is_kept), 2);
    drop(&life, &placement);
}

/* Greedy alone would leave the last free host to its own primary. */
static void test_assign_leaves_no_corner(void **state)
{
    (void)state;
    struct life life;
    struct placement placement;
    struct strbuf text = {0};
    make(&life, &placement, "a@h1 0-99; b@h2 100-199; c@h3 200-299");
    int h1 = site_of(&placement, "h1");
    int h2 = site_of(&placement, "h2");
    int h3 = site_of(&placement, "h3");
    struct placement_shard shards[] = {{.primary_site = h1, .lack = 1},
                                       {.primary_site = h2, .lack = 1},
                                       {.primary_site = h3, .lack = 1}};
    int sites[] = {h2, h1, h3};
    int result[3];
    placement_assign(&placement, shards, 3, sites, 3, result);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(result[i], NO_SHARD);
        assert_int_not_equal(shards[result[i]].primary_site, sites[i]);
    }
    placement_explain_replica(&placement, &shards[0], h2, &text);
    assert_string_equal(strbuf_text(&text), "host h2 shares no zone with the shard's other nodes");
    strbuf_clear(&text);
    placement_explain_replica(&placement, &shards[0], h1, &text);
    assert_string_equal(strbuf_text(&text),
                        "host h1 has the shard's primary too; no other place is free");
    strbuf_release(&text);
    drop(&life, &placement);
}

/* Who lacks most comes first when there are too few. */
static void test_assign_helps_the_poorest_first(void **state)
{
    (void)state;
    struct life life;
    struct placement placement;
    make(&life, &placement, "a@h1 0-99; b@h2 100-199; c@h3 200-299");
    struct placement_shard shards[] = {{.primary_site = 0, .lack = 1},
                                       {.primary_site = 1, .lack = 2}};
    int sites[] = {1, 2};
    int result[2];
    placement_assign(&placement, shards, 2, sites, 1, result);
    assert_int_equal(result[0], 1);
    shards[1].lack = 0;
    placement_assign(&placement, shards, 2, sites, 2, result);
    assert_int_equal((result[0] == NO_SHARD) + (result[1] == NO_SHARD), 1);
    drop(&life, &placement);
}

/* --- against brute force --- */

struct board {
    struct placement placement;
    struct placement_shard shards[SHARDS_MAX];
    int shard_count;
    int sites[FREE_MAX];
    int count;
};

/* Shards that would stand on one host, or in one zone, under a choice of shards. */
static int count_bad(const struct board *board, const int *choice, bool by_zone)
{
    int bad = 0;
    for (int s = 0; s < board->shard_count; s++) {
        const struct placement_site *sites = board->placement.sites;
        int primary = board->shards[s].primary_site;
        int members = 0;
        bool is_one = true;
        for (int i = 0; i < board->count; i++) {
            if (choice[i] == s) {
                int same = by_zone ? sites[board->sites[i]].zone_index == sites[primary].zone_index
                                   : board->sites[i] == primary;
                is_one = is_one && same;
                members++;
            }
        }
        bad += members > 0 && is_one;
    }
    return bad;
}

/* The least possible, over all orders in which one replica goes to each shard. */
static int least_bad(const struct board *board, bool by_zone)
{
    int order[FREE_MAX];
    int best = SHARDS_MAX + 1;
    int total = 1;
    for (int i = 1; i <= board->count; i++) {
        total *= i;
    }
    for (int n = 0; n < total; n++) {
        bool is_used[FREE_MAX] = {false};
        int rest = n;
        for (int i = 0; i < board->count; i++) {
            int skip = rest % (board->count - i);
            rest /= board->count - i;
            int s = 0;
            while (is_used[s] || skip-- > 0) {
                s++;
            }
            is_used[s] = true;
            order[i] = s;
        }
        int bad = count_bad(board, order, by_zone);
        best = bad < best ? bad : best;
    }
    return best;
}

/* One replica for each shard: no shard is on one host where any order of them avoids it. */
static void test_assign_against_brute_force(void **state)
{
    (void)state;
    int zone_misses = 0;
    for (int number = 0; number < CASES; number++) {
        struct prng prng;
        struct board board = {0};
        struct placement_site sites[SITES_MAX];
        int result[FREE_MAX];
        prng_init(&prng, (uint64_t)number);
        board.placement.sites = sites;
        board.placement.site_count = (int)prng_range(&prng, 2, SITES_MAX);
        int zones = (int)prng_range(&prng, 1, 4);
        for (int i = 0; i < board.placement.site_count; i++) {
            int zone = i % zones;
            sites[i] = (struct placement_site){.zone_index = zone};
            (void)snprintf(sites[i].host, sizeof(sites[i].host), "h%d", i);
        }
        board.shard_count = (int)prng_range(&prng, 2, SHARDS_MAX);
        board.count = board.shard_count;
        for (int i = 0; i < board.shard_count; i++) {
            board.shards[i].primary_site =
                (int)prng_below(&prng, (uint64_t)board.placement.site_count);
            board.shards[i].lack = 1;
            board.sites[i] = (int)prng_below(&prng, (uint64_t)board.placement.site_count);
        }
        placement_assign(&board.placement, board.shards, board.shard_count, board.sites,
                         board.count, result);
        bool is_given[SHARDS_MAX] = {false};
        for (int i = 0; i < board.count; i++) {
            assert_in_range(result[i], 0, board.shard_count - 1);
            assert_false(is_given[result[i]]);
            is_given[result[i]] = true;
        }
        if (count_bad(&board, result, false) != least_bad(&board, false)) {
            fail_msg("case %d: a better order keeps more shards off a single host", number);
        }
        zone_misses += count_bad(&board, result, true) != least_bad(&board, true);
    }
    print_message("zones: %d of %d cases one exchange away from the best\n", zone_misses, CASES);
    assert_true(zone_misses <= CASES / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zones_come_from_hosts),
        cmocka_unit_test(test_zone_by_agent),
        cmocka_unit_test(test_primary_goes_where_fewest_are),
        cmocka_unit_test(test_who_leaves),
        cmocka_unit_test(test_assign_leaves_no_corner),
        cmocka_unit_test(test_assign_helps_the_poorest_first),
        cmocka_unit_test(test_assign_against_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
