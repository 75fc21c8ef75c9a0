/* helper_world_parts.h — what the files of helper_world share. */
#ifndef DROVER_TESTS_UNIT_COORDINATOR_HELPER_WORLD_PARTS_H
#define DROVER_TESTS_UNIT_COORDINATOR_HELPER_WORLD_PARTS_H

#include "helper_world.h"

/* helper_world_store.c */
void store_delete(struct world_store *store, const char *key);
void request_release(struct world_request *request);
bool store_run(struct world *w); /* serves what is due; true when it did something */
/* helper_world_cluster.c */
void fill_node(struct world *w, int n, struct node_report *out); /* the agent probes the node */
/* What a task does to the nodes. */
void carry_out(struct world *w, const struct task *task);
int find_node(const struct world *w, const struct node_id *id);
/* helper_world_agents.c */
void agents_run(struct world *w);
void agent_answer(struct world *w, int i, const struct message *message, uint64_t handle);

#endif
