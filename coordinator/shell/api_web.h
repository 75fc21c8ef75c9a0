/* api_web.h — the dashboard's files (folder web/), which are part of the program. */
#ifndef DROVER_COORDINATOR_SHELL_API_WEB_H
#define DROVER_COORDINATOR_SHELL_API_WEB_H

#include "common/io/http_server.h"

#include <stdbool.h>
#include <stddef.h>

struct web_file {
    const char *path; /* "/" for index.html */
    const char *content_type;
    const void *data;
    size_t size;
};

/* Made at build time by web/embed.cmake. */
extern const struct web_file web_files[];
extern const int web_file_count;

/* Answers and ends the request when there is such a file. False: there is none, nothing was done.
 */
bool api_web_respond(struct http_request *request);

#endif
