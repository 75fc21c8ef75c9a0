/* api_web.c — see api_web.h. */
#include "coordinator/shell/api_web.h"

#include <string.h>

bool api_web_respond(struct http_request *request)
{
    static const struct http_header headers[] = {
        {"Cache-Control", "no-cache"},
        /* The page asks its own coordinator only, and nobody may frame it. */
        {"Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
    };
    const char *path = http_request_path(request);
    for (int i = 0; i < web_file_count; i++) {
        const struct web_file *file = &web_files[i];
        if (strcmp(path, file->path) == 0) {
            struct http_response response = {.status = 200,
                                             .content_type = file->content_type,
                                             .headers = headers,
                                             .header_count = sizeof(headers) / sizeof(headers[0]),
                                             .body = file->data,
                                             .size = file->size};
            http_respond(request, &response);
            return true;
        }
    }
    return false;
}
