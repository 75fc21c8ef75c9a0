/* helper_sample.h — messages and records filled from a seed, and comparisons field by field, for
 * the codec tests. */
#ifndef DROVER_TESTS_WIRE_HELPER_SAMPLE_H
#define DROVER_TESTS_WIRE_HELPER_SAMPLE_H

#include "common/base/prng.h"
#include "common/model/message.h"
#include "common/model/record.h"

/* Every field gets a value from the whole of its range; lists have 0 to 'items_max' items. Release
 * as usual. */
void sample_message(struct prng *prng, enum message_kind kind, int items_max, struct message *out);
void sample_record(struct prng *prng, enum record_kind kind, int items_max, struct record *out);

/* Fail the test at the first field that differs. */
void assert_message_equal(const struct message *a, const struct message *b);
void assert_record_equal(const struct record *a, const struct record *b);

#endif
