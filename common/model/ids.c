/* ids.c — see ids.h. */
#include "common/model/ids.h"

#include <stdio.h>
#include <string.h>

static bool is_id_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool node_id_is_valid(const char *text)
{
    for (int i = 0; i < NODE_ID_LEN; i++) {
        if (!is_id_char(text[i])) {
            return false;
        }
    }
    return text[NODE_ID_LEN] == '\0';
}

bool node_id_is_equal(const struct node_id *a, const struct node_id *b)
{
    return strcmp(a->text, b->text) == 0;
}

bool node_id_is_empty(const struct node_id *id)
{
    return id->text[0] == '\0';
}

int node_id_compare(const struct node_id *a, const struct node_id *b)
{
    return strcmp(a->text, b->text);
}

int node_id_parse(struct node_id *id, const char *text, size_t len, struct err *err)
{
    struct node_id parsed = {0};
    int shown = len > 60 ? 60 : (int)len;
    if (len != NODE_ID_LEN) {
        return err_set(err, ERR_INVALID, "node id \"%.*s\" has %zu characters instead of %d", shown,
                       text, len, NODE_ID_LEN);
    }
    memcpy(parsed.text, text, NODE_ID_LEN);
    if (!node_id_is_valid(parsed.text)) {
        return err_set(err, ERR_INVALID, "node id \"%.*s\" is not %d lower-case hex digits", shown,
                       text, NODE_ID_LEN);
    }
    *id = parsed;
    return 0;
}

bool address_is_equal(const struct address *a, const struct address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

int address_compare(const struct address *a, const struct address *b)
{
    int order = strcmp(a->host, b->host);
    return order != 0 ? order : (a->port > b->port) - (a->port < b->port);
}

/* A port of 1..65535 in decimal, nothing else; 0 when it is none. */
static uint16_t parse_port(const char *text)
{
    unsigned port = 0;
    if (*text == '\0') {
        return 0;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return 0;
        }
        port = port * 10 + (unsigned)(*text - '0');
        if (port > UINT16_MAX) {
            return 0;
        }
    }
    return (uint16_t)port;
}

static bool is_host_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 0x7f || c == '[' || c == ']') {
            return false;
        }
    }
    return len > 0;
}

int address_parse(struct address *address, const char *text, struct err *err)
{
    struct address parsed = {0};
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (colon == NULL || !is_host_text(host, len)) {
        int code = err_set(err, ERR_INVALID, "\"%.100s\" is not an address", text);
        err_hint(err, "write host:port, for IPv6 [::1]:6379");
        return code;
    }
    if (len >= HOST_SIZE) {
        return err_set(err, ERR_INVALID,
                       "host name in \"%.60s...\" has %zu characters, %d are allowed", text, len,
                       HOST_SIZE - 1);
    }
    memcpy(parsed.host, host, len);
    parsed.port = parse_port(colon + 1);
    if (parsed.port == 0) {
        int code = err_set(err, ERR_INVALID,
                           "port \"%.20s\" in \"%.100s\" is not a number from 1 to 65535",
                           colon + 1, text);
        err_hint(err, "write host:port, for IPv6 [::1]:6379");
        return code;
    }
    *address = parsed;
    return 0;
}

const char *address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE])
{
    bool is_v6 = strchr(address->host, ':') != NULL;
    snprintf(text, ADDRESS_TEXT_SIZE, is_v6 ? "[%s]:%u" : "%s:%u", address->host,
             (unsigned)address->port);
    return text;
}

bool agent_id_is_valid(const char *text)
{
    size_t len = strnlen(text, AGENT_ID_SIZE);
    if (len == 0 || len == AGENT_ID_SIZE) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}
