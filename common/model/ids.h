/* ids.h — how hosts, nodes, agents, plans and orders are named. */
#ifndef DROVER_MODEL_IDS_H
#define DROVER_MODEL_IDS_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_ID_LEN 40
/* A node's own name in the cluster: 40 lower-case hex digits and '\0'; "" means none. Identity is
 * this, never the address (facts: an address can be taken over by another node). */
struct node_id {
    char text[NODE_ID_LEN + 1];
};

#define HOST_SIZE 256 /* the longest DNS name and '\0' */
/* Where clients and agents reach a node. IPv6 hosts carry no brackets here. */
struct address {
    char host[HOST_SIZE];
    uint16_t port; /* 0 = unknown */
};

#define AGENT_ID_SIZE 64
/* Name of an agent, by default its host name. Letters, digits, '.', '-', '_'. */
struct agent_id {
    char text[AGENT_ID_SIZE];
};

#define RUN_ID_SIZE 41  /* INFO server run_id: changes whenever the process restarts */
#define VERSION_SIZE 32 /* "7.0.15" */
#define TEXT_SIZE 160   /* one-line texts for people inside records */

/* 40 hex digits, nothing else. */
bool node_id_is_valid(const char *text);
bool node_id_is_equal(const struct node_id *a, const struct node_id *b);
bool node_id_is_empty(const struct node_id *id);
/* Order by text, for deterministic iteration: <0, 0, >0. */
int node_id_compare(const struct node_id *a, const struct node_id *b);
/* The id from 'len' bytes of text, or an error naming them. */
int node_id_parse(struct node_id *id, const char *text, size_t len, struct err *err) WARN_UNUSED;

bool address_is_equal(const struct address *a, const struct address *b);
int address_compare(const struct address *a, const struct address *b);
/* "host:port", "[v6]:port" or "v6:port" (last colon splits). */
int address_parse(struct address *address, const char *text, struct err *err) WARN_UNUSED;
/* "host:port" or "[v6]:port" into 'text' of at least ADDRESS_TEXT_SIZE; returns text. */
#define ADDRESS_TEXT_SIZE (HOST_SIZE + 9)
const char *address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE]);

bool agent_id_is_valid(const char *text);

#endif
