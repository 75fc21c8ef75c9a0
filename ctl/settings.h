/* settings.h — where the API is: --api, $DROVER_API, the configuration file, or this machine.
 *
 * The file may be the daemons' own (/etc/drover/drover.yaml): only its key "api" is read. Its value
 * is one address or a list; an address that means "every interface" is read as this machine. */
#ifndef DROVER_CTL_SETTINGS_H
#define DROVER_CTL_SETTINGS_H

#include "common/base/err.h"
#include "ctl/arguments.h"

#define API_URLS_MAX 8
#define API_URL_SIZE 320
#define API_URL_DEFAULT "http://127.0.0.1:7411"

struct settings {
    char urls[API_URLS_MAX][API_URL_SIZE]; /* without a slash at the end */
    int url_count;                         /* at least 1 */
};

/* Fills the settings from the first source that says something. */
int settings_load(struct settings *settings,
                  const struct arguments *arguments,
                  struct err *err) WARN_UNUSED;

/* Adds the addresses of a comma list: "host:port", "http://...", "https://...", "unix:///path".
 * Pure. */
int settings_add_urls(struct settings *settings, const char *text, struct err *err) WARN_UNUSED;

/* Reads "api" of a YAML text. Pure. 'path' is for errors. */
int settings_add_yaml(struct settings *settings,
                      const char *path,
                      const char *text,
                      size_t size,
                      struct err *err) WARN_UNUSED;

#endif
