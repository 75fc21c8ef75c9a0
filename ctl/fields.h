/* fields.h — reads fields of the API's JSON without a fuss: an absent or mistyped one is empty.
 * Pure. */
#ifndef DROVER_CTL_FIELDS_H
#define DROVER_CTL_FIELDS_H

#include "ctl/progress.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* "" when it is no text. Lives as long as the object. */
const char *field_text(const json_t *object, const char *key);
/* -1 when it is no number (also for null). */
int64_t field_int(const json_t *object, const char *key);
double field_real(const json_t *object, const char *key);
bool field_is(const json_t *object, const char *key);
/* NULL when it is no array or object. */
json_t *field_list(const json_t *object, const char *key);
json_t *field_object(const json_t *object, const char *key);
/* The progress of an operation as the API shows it. */
void field_progress(const json_t *operation, struct progress *out);

#endif
