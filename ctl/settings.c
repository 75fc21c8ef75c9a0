/* settings.c — see settings.h. */
#include "ctl/settings.h"

#include "common/base/alloc.h"
#include "common/base/strbuf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define FILE_SIZE_MAX (256UL * 1024)

/* ---- addresses ---- */

/* The part of 'text' up to 'len' bytes begins with 'prefix'. */
static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void add_without_wildcard(struct strbuf *out, const char *address)
{
    if (starts(address, "0.0.0.0:")) {
        strbuf_addf(out, "127.0.0.1:%s", address + strlen("0.0.0.0:"));
    } else if (starts(address, "[::]:")) {
        strbuf_addf(out, "[::1]:%s", address + strlen("[::]:"));
    } else {
        strbuf_add_text(out, address);
    }
}

static int add_url(struct settings *settings, const char *text, struct err *err)
{
    struct strbuf url = {0};
    if (starts(text, "http://")) {
        strbuf_add_text(&url, "http://");
        add_without_wildcard(&url, text + strlen("http://"));
    } else if (starts(text, "https://") || starts(text, "unix:///")) {
        strbuf_add_text(&url, text);
    } else if (text[0] == '/') {
        strbuf_addf(&url, "unix://%s", text);
    } else if (strstr(text, "://") == NULL) {
        strbuf_add_text(&url, "http://");
        add_without_wildcard(&url, text);
    }
    while (url.len > 0 && url.data[url.len - 1] == '/') {
        url.data[--url.len] = '\0';
    }
    int code = 0;
    if (url.len == 0 || url.len >= API_URL_SIZE || strpbrk(url.data, " \t\n\"<>") != NULL) {
        code = err_set(err, ERR_INVALID, "\"%.100s\" is no address of the API", text);
        err_hint(err, "write http://host:port, https://host:port or unix:///path");
    } else if (settings->url_count == API_URLS_MAX) {
        code = err_set(err, ERR_LIMIT, "more than %d addresses of the API", API_URLS_MAX);
    } else {
        memcpy(settings->urls[settings->url_count++], url.data, url.len + 1);
    }
    strbuf_release(&url);
    return code;
}

int settings_add_urls(struct settings *settings, const char *text, struct err *err)
{
    char *copy = xstrdup(text);
    char *rest = NULL;
    int code = 0;
    for (char *item = strtok_r(copy, ", ", &rest); code == 0 && item != NULL;
         item = strtok_r(NULL, ", ", &rest)) {
        code = add_url(settings, item, err);
    }
    free(copy);
    return code;
}

/* ---- the file ---- */

static yaml_node_t *find_api(yaml_document_t *document)
{
    yaml_node_t *root = yaml_document_get_root_node(document);
    if (root == NULL || root->type != YAML_MAPPING_NODE) {
        return NULL;
    }
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(document, pair->key);
        if (key->type == YAML_SCALAR_NODE &&
            strcmp((const char *)key->data.scalar.value, "api") == 0) {
            return yaml_document_get_node(document, pair->value);
        }
    }
    return NULL;
}

static int add_node(struct settings *settings,
                    yaml_document_t *document,
                    yaml_node_t *api,
                    struct err *err)
{
    if (api->type == YAML_SCALAR_NODE) {
        return settings_add_urls(settings, (const char *)api->data.scalar.value, err);
    }
    if (api->type != YAML_SEQUENCE_NODE) {
        return err_set(err, ERR_CONFIG, "api is neither an address nor a list of addresses");
    }
    for (yaml_node_item_t *item = api->data.sequence.items.start;
         item < api->data.sequence.items.top; item++) {
        yaml_node_t *value = yaml_document_get_node(document, *item);
        if (value->type != YAML_SCALAR_NODE) {
            return err_set(err, ERR_CONFIG, "api is neither an address nor a list of addresses");
        }
        int code = settings_add_urls(settings, (const char *)value->data.scalar.value, err);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

int settings_add_yaml(struct settings *settings,
                      const char *path,
                      const char *text,
                      size_t size,
                      struct err *err)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (yaml_parser_initialize(&parser) == 0) {
        return err_set(err, ERR_INTERNAL, "no YAML parser");
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    int code = 0;
    if (yaml_parser_load(&parser, &document) == 0) {
        code = err_set(err, ERR_CONFIG, "%s:%zu:%zu: %s", path, parser.problem_mark.line + 1,
                       parser.problem_mark.column + 1,
                       parser.problem == NULL ? "is no YAML" : parser.problem);
        yaml_parser_delete(&parser);
        return code;
    }
    yaml_node_t *api = find_api(&document);
    if (api != NULL) {
        code = add_node(settings, &document, api, err);
        if (code != 0) {
            err_wrap(err, "%s:%zu", path, api->start_mark.line + 1);
            code = ERR_CONFIG;
            if (err != NULL) {
                err->code = ERR_CONFIG;
            }
        }
    }
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    return code;
}

/* A file that is not there says nothing. */
static int add_file(struct settings *settings, const char *path, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    char *text = xmalloc(FILE_SIZE_MAX + 1);
    size_t size = fread(text, 1, FILE_SIZE_MAX + 1, file);
    int code = size > FILE_SIZE_MAX
                   ? err_set(err, ERR_CONFIG, "%s has more than %lu bytes", path, FILE_SIZE_MAX)
                   : settings_add_yaml(settings, path, text, size, err);
    free(text);
    (void)fclose(file);
    return code;
}

int settings_load(struct settings *settings, const struct arguments *arguments, struct err *err)
{
    *settings = (struct settings){0};
    int code = 0;
    int index = 0;
    const char *text = NULL;
    while (code == 0 && (text = arguments_next(arguments, "api", &index)) != NULL) {
        code = settings_add_urls(settings, text, err);
    }
    const char *env = getenv("DROVER_API");
    if (code == 0 && settings->url_count == 0 && env != NULL) {
        code = settings_add_urls(settings, env, err);
        if (code != 0) {
            err_wrap(err, "$DROVER_API");
        }
    }
    const char *home = getenv("HOME");
    if (code == 0 && settings->url_count == 0 && home != NULL) {
        char *path = xasprintf("%s/.config/drover.yaml", home);
        code = add_file(settings, path, err);
        free(path);
    }
    if (code == 0 && settings->url_count == 0) {
        code = add_file(settings, "/etc/drover/drover.yaml", err);
    }
    if (code == 0 && settings->url_count == 0) {
        code = settings_add_urls(settings, API_URL_DEFAULT, err);
    }
    return code;
}
