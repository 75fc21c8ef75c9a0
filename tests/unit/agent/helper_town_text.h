/* helper_town_text.h — what a node of the town says about itself and the others: CLUSTER NODES and
 * INFO, made from the one truth of helper_town.h. */
#ifndef DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_TEXT_H
#define DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_TEXT_H

#include "helper_town.h"

/* Its node still has this identity; and runs. */
bool town_face_is_current(const struct town *town, int face);
bool town_face_is_alive(const struct town *town, int face);

/* Both append to 'out'. */
void town_nodes_text(struct town *town, const struct town_node *node, struct strbuf *out);
/* A replica that synchronises comes one look nearer. */
void town_info_text(struct town *town, int n, struct strbuf *out);

#endif
