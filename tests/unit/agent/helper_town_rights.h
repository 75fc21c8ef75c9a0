/* helper_town_rights.h — what drover's user may do at a node of the town: ACL, and the harmless
 * forms of commands that are tried where ACL DRYRUN is not known. For helper_town.c. */
#ifndef DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_RIGHTS_H
#define DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_RIGHTS_H

#include "helper_town.h"

#define TOWN_WORDS 8
#define TOWN_WORD_SIZE 64

/* The answer to a question of rights, or to a command that is not allowed; *text stays NULL when
 * the command is to be carried out. */
enum reply_type town_rights_answer(const struct town_node *node,
                                   char words[TOWN_WORDS][TOWN_WORD_SIZE],
                                   const char **text);
/* It only asks what is allowed. */
bool town_rights_is_question(const struct town_node *node, char words[TOWN_WORDS][TOWN_WORD_SIZE]);

#endif
