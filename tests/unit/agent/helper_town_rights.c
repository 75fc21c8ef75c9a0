/* helper_town_rights.c — see helper_town_rights.h. */
#include "helper_town_rights.h"

#include <stdio.h>
#include <string.h>

static bool is_denied(const struct town_node *node,
                      char words[TOWN_WORDS][TOWN_WORD_SIZE],
                      int first)
{
    char text[2 * TOWN_WORD_SIZE + 1];
    (void)snprintf(text, sizeof(text), "%s %s", words[first], words[first + 1]);
    return node->denied != NULL && strncmp(text, node->denied, strlen(node->denied)) == 0;
}

/* Forms that every server refuses, or that do nothing at an empty node. */
static bool is_trial(char words[TOWN_WORDS][TOWN_WORD_SIZE])
{
    static const char *const marks[] = {"drover:none",
                                        "NEITHER",
                                        "nowhere",
                                        "none",
                                        "-1",
                                        "DBSIZE",
                                        "ROLE",
                                        "COUNTKEYSINSLOT",
                                        "GETKEYSINSLOT",
                                        "0000000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        for (int w = 0; w < TOWN_WORDS; w++) {
            if (strcmp(words[w], marks[i]) == 0) {
                return true;
            }
        }
    }
    return false;
}

bool town_rights_is_question(const struct town_node *node, char words[TOWN_WORDS][TOWN_WORD_SIZE])
{
    return strcmp(words[0], "ACL") == 0 || (node->has_no_dryrun && is_trial(words));
}

enum reply_type town_rights_answer(const struct town_node *node,
                                   char words[TOWN_WORDS][TOWN_WORD_SIZE],
                                   const char **text)
{
    bool is_acl = strcmp(words[0], "ACL") == 0;
    if (is_denied(node, words, 0)) {
        *text = "NOPERM this user has no permissions to run the command";
        return REPLY_ERROR;
    }
    if (is_acl && strcmp(words[1], "WHOAMI") == 0) {
        *text = "drover";
        return REPLY_STRING;
    }
    if (is_acl && node->has_no_dryrun) {
        *text = "ERR unknown subcommand 'DRYRUN'. Try ACL HELP.";
        return REPLY_ERROR;
    }
    if (is_acl && is_denied(node, words, 3)) {
        *text = "User drover has no permissions to run the command";
        return REPLY_STRING;
    }
    if (is_acl) {
        *text = "OK";
        return REPLY_STATUS;
    }
    if (node->has_no_dryrun && is_trial(words)) {
        *text = "ERR syntax error";
        return REPLY_ERROR;
    }
    return REPLY_ERROR;
}
