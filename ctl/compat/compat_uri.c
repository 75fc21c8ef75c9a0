/* compat_uri.c — see compat_uri.h. */
#include "ctl/compat/compat_uri.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PORT_MAX 65535

static const struct {
    const char *text;
    bool use_tls;
} schemes[] = {{"redis://", false},
               {"rediss://", true},
               {"valkey://", false},
               {"valkeys://", true}};
#define SCHEME_COUNT (sizeof(schemes) / sizeof(schemes[0]))

static int hex_value(char digit)
{
    char lower = (char)tolower((unsigned char)digit);
    return isdigit((unsigned char)lower) != 0 ? lower - '0' : lower - 'a' + 10;
}

/* Takes "%41" for "A"; what is no such pair stands for itself. */
static int decode(char *out, const char *from, size_t len, struct err *err)
{
    size_t size = 0;
    for (size_t i = 0; i < len; i++) {
        char next = from[i];
        if (next == '%' && i + 2 < len && isxdigit((unsigned char)from[i + 1]) != 0 &&
            isxdigit((unsigned char)from[i + 2]) != 0) {
            next = (char)(hex_value(from[i + 1]) * 16 + hex_value(from[i + 2]));
            i += 2;
        }
        if (size + 1 >= COMPAT_URI_TEXT_SIZE) {
            return err_set(err, ERR_INVALID, "user and password in -u have at most %d bytes",
                           COMPAT_URI_TEXT_SIZE - 1);
        }
        out[size++] = next;
    }
    out[size] = '\0';
    return 0;
}

static int read_login(struct compat_uri *out, const char *from, const char *at, struct err *err)
{
    const char *colon = memchr(from, ':', (size_t)(at - from));
    int code = 0;
    if (colon != NULL) {
        out->has_user = colon > from;
        code = decode(out->user, from, (size_t)(colon - from), err);
        from = colon + 1;
    }
    out->has_password = at > from;
    return code == 0 ? decode(out->password, from, (size_t)(at - from), err) : code;
}

/* Host and port are not used, but a port that is none is a slip worth telling. */
static int check_port(const char *from, struct err *err)
{
    const char *bracket = from[0] == '[' ? strchr(from, ']') : NULL;
    const char *colon = strchr(bracket == NULL ? from : bracket, ':');
    if (colon == NULL || colon > from + strcspn(from, "/")) {
        return 0;
    }
    long port = strtol(colon + 1, NULL, 10);
    return port < 0 || port > PORT_MAX ? err_set(err, ERR_INVALID, "Invalid server port.") : 0;
}

int compat_uri_parse(struct compat_uri *out, const char *text, struct err *err)
{
    struct compat_uri uri = {0};
    const char *rest = NULL;
    for (size_t i = 0; i < SCHEME_COUNT; i++) {
        size_t len = strlen(schemes[i].text);
        if (strncasecmp(text, schemes[i].text, len) == 0) {
            uri.use_tls = schemes[i].use_tls;
            rest = text + len;
        }
    }
    if (rest == NULL) {
        return err_set(err, ERR_INVALID, "Invalid URI scheme");
    }
    const char *at = strchr(rest, '@');
    int code = at == NULL ? 0 : read_login(&uri, rest, at, err);
    code = code == 0 ? check_port(at == NULL ? rest : at + 1, err) : code;
    if (code == 0) {
        *out = uri;
    }
    return code;
}
