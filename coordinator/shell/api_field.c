/* api_field.c — single fields of a request's body, each checked and refused by name; see
 * api_internal.h. Must not know operations. */
#include "coordinator/shell/api_internal.h"

#include <math.h>
#include <string.h>

int api_field_bad(const char *key, const char *wanted, struct err *err)
{
    return err_set(err, ERR_INVALID, "field \"%s\" must be %s", key, wanted);
}

int api_field_int(json_t *body,
                  const char *key,
                  int64_t min,
                  int64_t max,
                  int *out,
                  struct err *err)
{
    json_t *value = json_object_get(body, key);
    if (value == NULL) {
        return 0;
    }
    if (!json_is_integer(value)) {
        return api_field_bad(key, "a whole number", err);
    }
    if (json_integer_value(value) < min || json_integer_value(value) > max) {
        return err_set(err, ERR_INVALID, "field \"%s\" is %lld, allowed is %lld to %lld", key,
                       (long long)json_integer_value(value), (long long)min, (long long)max);
    }
    *out = (int)json_integer_value(value);
    return 0;
}

int api_field_double(json_t *value,
                     const char *key,
                     double min,
                     double max,
                     double *out,
                     struct err *err)
{
    if (value == NULL) {
        return 0;
    }
    if (!json_is_number(value)) {
        return api_field_bad(key, "a number", err);
    }
    double number = json_number_value(value);
    if (!isfinite(number) || number < min || number > max) {
        return err_set(err, ERR_INVALID, "field \"%s\" is %g, allowed is %g to %g", key, number,
                       min, max);
    }
    *out = number;
    return 0;
}

int api_field_bool(json_t *body, const char *key, bool *out, struct err *err)
{
    json_t *value = json_object_get(body, key);
    if (value == NULL) {
        return 0;
    }
    if (!json_is_boolean(value)) {
        return api_field_bad(key, "true or false", err);
    }
    *out = json_is_true(value);
    return 0;
}

/* NULL when absent. */
int api_field_text(json_t *body, const char *key, const char **out, struct err *err)
{
    json_t *value = json_object_get(body, key);
    *out = NULL;
    if (value == NULL) {
        return 0;
    }
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value)) {
        return api_field_bad(key, "a text", err);
    }
    *out = json_string_value(value);
    return 0;
}

int api_find_node(const struct topology *topology,
                  const char *text,
                  struct node_id *out,
                  struct err *err)
{
    int node = topology_find_node(topology, text, err);
    if (node < 0) {
        return node;
    }
    *out = topology->nodes[node].id;
    return 0;
}

/* A node that must be there. */
int api_field_node(const struct topology *topology,
                   json_t *body,
                   const char *key,
                   struct node_id *out,
                   struct err *err)
{
    const char *text = NULL;
    int code = api_field_text(body, key, &text, err);
    if (code != 0) {
        return code;
    }
    if (text == NULL) {
        code = err_set(err, ERR_INVALID, "field \"%s\" is missing", key);
        err_hint(err, "name a node by its id, the start of its id, or host:port");
        return code;
    }
    return api_find_node(topology, text, out, err);
}
