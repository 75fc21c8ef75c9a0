/* helper_sample_parts.h — what the files of helper_sample share. */
#ifndef DROVER_TESTS_UNIT_WIRE_HELPER_SAMPLE_PARTS_H
#define DROVER_TESTS_UNIT_WIRE_HELPER_SAMPLE_PARTS_H

#include "common/base/prng.h"
#include "common/model/message.h"

#define EQUAL(a, b, field) assert_true((a)->field == (b)->field)
#define EQUAL_TEXT(a, b, field) assert_string_equal((a)->field, (b)->field)

int64_t any_int(struct prng *prng, int64_t min);
bool any_bool(struct prng *prng);
void any_text(struct prng *prng, char *out, size_t size, size_t min);
void any_word(struct prng *prng, char *out, size_t size);
void any_node_id(struct prng *prng, struct node_id *out);
void any_address(struct prng *prng, struct address *out);
void any_slots(struct prng *prng, struct slotset *out, int max);
int any_count(struct prng *prng, int max);
void sample_big_keys(struct prng *prng, struct big_key *keys, int count);
void sample_task(struct prng *prng, struct task *task);
void assert_address_equal(const struct address *a, const struct address *b);
void assert_big_keys_equal(const struct big_key *a, const struct big_key *b, int count);
void assert_task_equal(const struct task *a, const struct task *b);

#endif
