/* resp.h — writes commands as RESP arrays of bulk strings; arguments are any bytes. */
#ifndef DROVER_LOAD_RESP_H
#define DROVER_LOAD_RESP_H

#include "common/base/strbuf.h"

#include <stdint.h>

/* Starts a command of 'count' words (its name included); exactly that many resp_ calls below must
 * follow. */
void resp_command(struct strbuf *out, unsigned count);
void resp_bytes(struct strbuf *out, const void *data, size_t size);
void resp_text(struct strbuf *out, const char *text);
void resp_number(struct strbuf *out, int64_t number);

#endif
