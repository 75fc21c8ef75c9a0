/* api_json.c — small JSON values for the API's answers; see api_internal.h. */
#include "coordinator/shell/api_internal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *api_text(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL) {
        return value;
    }
    /* Servers' words and cut texts need not be UTF-8. */
    char *copy = xstrdup(text);
    for (char *c = copy; *c != '\0'; c++) {
        if ((unsigned char)*c >= 0x80) {
            *c = '?';
        }
    }
    value = json_string(copy);
    free(copy);
    CHECK(value != NULL);
    return value;
}

json_t *api_text_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : api_text(text);
}

json_t *api_count(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *api_known(int64_t value)
{
    return value < 0 ? json_null() : json_integer(value);
}

json_t *api_hex(uint64_t value)
{
    char text[20];
    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    return json_string(text);
}

json_t *api_slots(const struct slotset *slots)
{
    struct strbuf text = {0};
    slotset_format(slots, &text);
    json_t *value = json_string(strbuf_text(&text));
    strbuf_release(&text);
    return value;
}

json_t *api_wall_time(int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];
    return wall_ms <= 0 ? json_null() : json_string(clock_format(wall_ms, text));
}

void api_set(json_t *object, const char *key, json_t *value)
{
    CHECK(value != NULL);
    int failed = json_object_set_new_nocheck(object, key, value);
    CHECK(failed == 0);
}

json_t *api_node_address(const struct topology *topology, int node)
{
    if (topology == NULL || node == NO_NODE || topology->nodes[node].address.port == 0) {
        return json_null();
    }
    char text[ADDRESS_TEXT_SIZE];
    return api_text(address_format(&topology->nodes[node].address, text));
}

void api_set_node(json_t *object,
                  const char *key,
                  const struct topology *topology,
                  const struct node_id *id)
{
    char address_key[64];
    (void)snprintf(address_key, sizeof(address_key), "%s_address", key);
    api_set(object, key, api_text_or_null(id->text));
    int node = topology == NULL || node_id_is_empty(id) ? NO_NODE : topology_find(topology, id);
    api_set(object, address_key, api_node_address(topology, node));
}
