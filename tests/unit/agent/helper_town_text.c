/* helper_town_text.c — see helper_town_text.h. */
#include "helper_town_text.h"

#include <string.h>

#define BUS_PORT_OFFSET 10000
#define PRIMARY_OFFSET 5000000

bool town_face_is_current(const struct town *town, int face)
{
    return town->nodes[town->faces[face].node].face == face;
}

bool town_face_is_alive(const struct town *town, int face)
{
    return town_face_is_current(town, face) && !town->nodes[town->faces[face].node].is_down;
}

/* The slots of every face as text, made anew only when an owner has changed. */
static void refresh_slots(struct town *town)
{
    if (memcmp(town->owner, town->owner_shown, sizeof(town->owner)) == 0) {
        return;
    }
    memcpy(town->owner_shown, town->owner, sizeof(town->owner));
    for (int face = 0; face < TOWN_FACES; face++) {
        strbuf_clear(&town->slots[face]);
    }
    for (int first = 0; first < SLOT_COUNT;) {
        int last = first;
        while (last + 1 < SLOT_COUNT && town->owner[last + 1] == town->owner[first]) {
            last++;
        }
        if (town->owner[first] >= 0) {
            strbuf_addf(&town->slots[town->owner[first]], first == last ? " %d" : " %d-%d", first,
                        last);
        }
        first = last + 1;
    }
}

static void add_row(const struct town *town,
                    const struct town_node *viewer,
                    int face,
                    struct strbuf *out)
{
    const struct town_face *known = &town->faces[face];
    const struct town_node *node = &town->nodes[known->node];
    bool is_itself = face == viewer->face;
    bool is_well = town_face_is_alive(town, face) && (is_itself || !node->is_given_up);
    const char *fail = is_well ? "" : town_face_is_current(town, face) ? ",fail" : ",noaddr";
    bool has_host = town_face_is_current(town, face) && !(is_itself && viewer->shows_name);
    int bus = node->announced_bus_port != 0 ? node->announced_bus_port
                                            : node->address.port + BUS_PORT_OFFSET;
    const struct town_face *leader = known->primary < 0 ? known : &town->faces[known->primary];
    strbuf_addf(out, "%s %s:%d@%d %s%s%s %s 0 0 %llu %s", known->id.text,
                has_host ? node->address.host : "",
                town_face_is_current(town, face) ? node->address.port : 0, bus,
                is_itself ? "myself," : "", known->primary < 0 ? "master" : "slave", fail,
                known->primary < 0 ? "-" : leader->id.text, (unsigned long long)leader->epoch,
                town_face_is_alive(town, face) ? "connected" : "disconnected");
    strbuf_add_text(out, strbuf_text(&town->slots[face]));
    if (is_itself && viewer->importing_from != 0) {
        strbuf_addf(out, " [%d-<-%s]", viewer->importing,
                    town->faces[viewer->importing_from - 1].id.text);
    }
    strbuf_add_char(out, '\n');
}

void town_nodes_text(struct town *town, const struct town_node *node, struct strbuf *out)
{
    refresh_slots(town);
    for (int face = 0; face < town->face_count; face++) {
        if (node->knows[face]) {
            add_row(town, node, face, out);
        }
    }
}

void town_info_text(struct town *town, int n, struct strbuf *out)
{
    struct town_node *node = &town->nodes[n];
    bool is_replica = town->faces[node->face].primary >= 0;
    if (is_replica && node->sync_left > 0) {
        node->sync_left--;
        node->synced_bytes += 1000;
    }
    strbuf_addf(out,
                "# Server\r\nredis_version:%s\r\nrun_id:%040d\r\n# Persistence\r\nloading:%d\r\n"
                "# Replication\r\nrole:%s\r\nmaster_repl_offset:%d\r\n",
                node->version, n, node->is_loading, is_replica ? "slave" : "master",
                PRIMARY_OFFSET);
    if (is_replica) {
        strbuf_addf(out,
                    "master_link_status:%s\r\nslave_repl_offset:%lld\r\n"
                    "master_sync_read_bytes:%lld\r\n",
                    node->sync_left > 0 ? "down" : "up",
                    (long long)(PRIMARY_OFFSET - node->behind_bytes),
                    (long long)node->synced_bytes);
    }
    strbuf_addf(out, "# Cluster\r\ncluster_enabled:%d\r\n# Keyspace\r\n", !node->is_standalone);
    if (node->keys > 0) {
        strbuf_addf(out, "db0:keys=%lld,expires=0,avg_ttl=0\r\n", (long long)node->keys);
    }
}
