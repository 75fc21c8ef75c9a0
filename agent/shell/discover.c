/* discover.c — see discover.h. */
#include "agent/shell/discover.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TITLE_SIZE 512
#define LINK_SIZE 64

static bool is_server_name(const char *word, size_t len)
{
    static const char *const names[] = {"redis-server", "valkey-server"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t name_len = strlen(names[i]);
        bool ends_so = len >= name_len && memcmp(word + len - name_len, names[i], name_len) == 0;
        if (ends_so && (len == name_len || word[len - name_len - 1] == '/')) {
            return true;
        }
    }
    return false;
}

bool discover_parse_title(const char *title, size_t len, struct address *address)
{
    char text[TITLE_SIZE];
    size_t used = len < sizeof(text) - 1 ? len : sizeof(text) - 1;
    memcpy(text, title, used);
    text[used] = '\0';
    for (size_t i = 0; i < used; i++) {
        if (text[i] == '\0') {
            text[i] = ' ';
        }
    }
    size_t name_len = strcspn(text, " ");
    if (!is_server_name(text, name_len) || strstr(text, "[cluster]") == NULL) {
        return false;
    }
    char *place = text + name_len + strspn(text + name_len, " ");
    place[strcspn(place, " ")] = '\0';
    char whole[TITLE_SIZE + 16];
    if (place[0] == '*') {
        (void)snprintf(whole, sizeof(whole), "127.0.0.1%s", place + 1);
    } else {
        (void)snprintf(whole, sizeof(whole), "%s", place);
    }
    struct err err;
    return address_parse(address, whole, &err) == 0;
}

static bool read_link(const char *path, char text[LINK_SIZE])
{
    ssize_t len = readlink(path, text, LINK_SIZE - 1);
    if (len <= 0) {
        return false;
    }
    text[len] = '\0';
    return true;
}

/* False also when the process is gone or not ours to look at. */
static bool read_title(const char *pid, char title[TITLE_SIZE], size_t *len)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    *len = fread(title, 1, TITLE_SIZE, file);
    (void)fclose(file);
    return *len > 0;
}

static bool is_on_this_host(const char *pid, const char *own_net)
{
    char path[64];
    char net[LINK_SIZE];
    (void)snprintf(path, sizeof(path), "/proc/%.20s/ns/net", pid);
    return own_net[0] == '\0' || (read_link(path, net) && strcmp(net, own_net) == 0);
}

static int compare(const void *a, const void *b)
{
    return address_compare(a, b);
}

int discover_nodes(struct address addresses[DISCOVER_NODES_MAX])
{
    DIR *folder = opendir("/proc");
    if (folder == NULL) {
        return 0;
    }
    char own_net[LINK_SIZE];
    if (!read_link("/proc/self/ns/net", own_net)) {
        own_net[0] = '\0';
    }
    int count = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL && count < DISCOVER_NODES_MAX;
         entry = readdir(folder)) {
        char title[TITLE_SIZE];
        size_t len = 0;
        struct address found = {0};
        if (isdigit((unsigned char)entry->d_name[0]) && read_title(entry->d_name, title, &len) &&
            discover_parse_title(title, len, &found) && is_on_this_host(entry->d_name, own_net)) {
            addresses[count++] = found;
        }
    }
    (void)closedir(folder);
    qsort(addresses, (size_t)count, sizeof(*addresses), compare);
    int unique = 0;
    for (int i = 0; i < count; i++) {
        if (unique == 0 || !address_is_equal(&addresses[unique - 1], &addresses[i])) {
            addresses[unique++] = addresses[i];
        }
    }
    return unique;
}
