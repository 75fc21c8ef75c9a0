/* fields.c — see fields.h. */
#include "ctl/fields.h"

#include <stdio.h>

const char *field_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

int64_t field_int(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? (int64_t)json_number_value(value) : -1;
}

double field_real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : 0;
}

bool field_is(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

json_t *field_list(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_array(value) ? value : NULL;
}

json_t *field_object(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_object(value) ? value : NULL;
}

static int64_t at_least_zero(int64_t value)
{
    return value < 0 ? 0 : value;
}

void field_progress(const json_t *operation, struct progress *out)
{
    const json_t *progress = field_object(operation, "progress");
    *out = (struct progress){0};
    (void)snprintf(out->state, sizeof(out->state), "%s", field_text(operation, "state"));
    out->slots_done = at_least_zero(field_int(progress, "slots_done"));
    out->slots_total = at_least_zero(field_int(progress, "slots_total"));
    out->keys_done = at_least_zero(field_int(progress, "keys_done"));
    out->keys_total = at_least_zero(field_int(progress, "keys_total"));
    out->bytes_done = at_least_zero(field_int(progress, "bytes_done"));
    out->bytes_total = at_least_zero(field_int(progress, "bytes_total"));
    out->slots_per_s = field_real(progress, "slots_per_s");
    out->keys_per_s = field_real(progress, "keys_per_s");
    out->bytes_per_s = field_real(progress, "bytes_per_s");
    out->eta_ms = field_int(progress, "eta_ms");
    out->elapsed_ms = field_int(progress, "elapsed_ms");
    out->plan_grows = field_is(operation, "plan_grows");
    out->steps_done = at_least_zero(field_int(operation, "batches_done"));
    out->steps_total = at_least_zero(field_int(operation, "batches_total"));
    (void)snprintf(out->step, sizeof(out->step), "%s", field_text(operation, "step"));
}
