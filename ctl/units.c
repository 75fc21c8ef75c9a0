/* units.c — see units.h. */
#include "ctl/units.h"

#include <stdio.h>
#include <string.h>

void units_add_bytes(struct strbuf *out, double bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    /* 1023.95 would print as 1024.0: the next unit is meant. */
    while (bytes >= 1023.95 && unit + 1 < sizeof(names) / sizeof(names[0])) {
        bytes /= 1024;
        unit++;
    }
    if (unit == 0) {
        strbuf_addf(out, "%.0f B", bytes);
    } else {
        strbuf_addf(out, "%.1f %s", bytes, names[unit]);
    }
}

void units_add_count(struct strbuf *out, double count)
{
    static const char *const names[] = {"", "k", "M", "G", "T"};
    size_t unit = 0;
    while (count >= 999.95 && unit + 1 < sizeof(names) / sizeof(names[0])) {
        count /= 1000;
        unit++;
    }
    if (unit == 0) {
        strbuf_addf(out, "%.0f", count);
    } else {
        strbuf_addf(out, "%.1f%s", count, names[unit]);
    }
}

void units_add_exact(struct strbuf *out, int64_t count)
{
    char digits[32];
    (void)snprintf(digits, sizeof(digits), "%lld", (long long)count);
    size_t len = strlen(digits);
    size_t first = digits[0] == '-' ? 1 : 0;
    for (size_t i = 0; i < len; i++) {
        if (i > first && (len - i) % 3 == 0) {
            strbuf_add_char(out, ',');
        }
        strbuf_add_char(out, digits[i]);
    }
}

void units_add_duration(struct strbuf *out, int64_t ms)
{
    if (ms < 0) {
        strbuf_add_char(out, '-');
        return;
    }
    if (ms < 9950) {
        strbuf_addf(out, "%.1f s", (double)ms / 1000);
        return;
    }
    long long s = (long long)((ms + 500) / 1000);
    if (s < 60) {
        strbuf_addf(out, "%lld s", s);
    } else if (s < 3600) {
        strbuf_addf(out, "%lldm %02llds", s / 60, s % 60);
    } else if (s < 86400) {
        strbuf_addf(out, "%lldh %02lldm", s / 3600, s % 3600 / 60);
    } else {
        strbuf_addf(out, "%lldd %02lldh", s / 86400, s % 86400 / 3600);
    }
}

void units_add_latency(struct strbuf *out, int64_t us)
{
    if (us < 0) {
        strbuf_add_char(out, '-');
    } else if (us < 1000) {
        strbuf_addf(out, "%lld us", (long long)us);
    } else if (us < 999950) {
        strbuf_addf(out, "%.1f ms", (double)us / 1000);
    } else {
        strbuf_addf(out, "%.1f s", (double)us / 1e6);
    }
}

void units_add_percent(struct strbuf *out, int64_t done, int64_t total)
{
    if (total <= 0 || done >= total) {
        strbuf_add_text(out, "100%");
        return;
    }
    double percent = 100.0 * (double)(done < 0 ? 0 : done) / (double)total;
    if (percent > 99.0) {
        strbuf_addf(out, "%.1f%%", percent > 99.9 ? 99.9 : percent);
    } else {
        strbuf_addf(out, "%d%%", (int)percent);
    }
}
