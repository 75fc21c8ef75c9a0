/* units.h — numbers as people read them. Pure. Each appends to 'out'. */
#ifndef DROVER_CTL_UNITS_H
#define DROVER_CTL_UNITS_H

#include "common/base/strbuf.h"

#include <stdint.h>

/* "0 B" "999 B" "1.5 KiB" "64.0 MiB" "1.2 TiB" */
void units_add_bytes(struct strbuf *out, double bytes);
/* "999" "12.3k" "1.2M" "4.5G": for counts that need not be exact. */
void units_add_count(struct strbuf *out, double count);
/* "1,234,567": for counts that are. */
void units_add_exact(struct strbuf *out, int64_t count);
/* "0.4 s" "12 s" "1m 05s" "2h 03m" "3d 04h"; "-" for a negative one. */
void units_add_duration(struct strbuf *out, int64_t ms);
/* "80 us" "1.2 ms" "2.5 s"; "-" for a negative one. */
void units_add_latency(struct strbuf *out, int64_t us);
/* "45%" "99.9%": never 100 % before all is done. */
void units_add_percent(struct strbuf *out, int64_t done, int64_t total);

#endif
