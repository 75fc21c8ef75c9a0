/* haproxy_text.c — see haproxy_text.h. */
#include "agent/core/haproxy_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 160 /* "show stat" of 2.6 has 99 */
#define NO_COLUMN (-1)
/* Of srv_admin_state, as the management guide lists them. */
#define ADMIN_MAINT 0x01
#define ADMIN_DRAIN 0x08

/* A line and where it is in the text. */
struct line {
    const char *at;
    size_t len;
};

/* Columns of one line; empty ones count when they are parted by commas. */
struct row {
    struct line cells[COLUMNS_MAX];
    int count;
};

static bool next_line(const char **text, size_t *left, struct line *line)
{
    if (*left == 0) {
        return false;
    }
    const char *end = memchr(*text, '\n', *left);
    size_t len = end == NULL ? *left : (size_t)(end - *text);
    *line = (struct line){*text, len};
    size_t taken = end == NULL ? len : len + 1;
    *text += taken;
    *left -= taken;
    if (line->len > 0 && line->at[line->len - 1] == '\r') {
        line->len--;
    }
    return true;
}

static void split(struct line line, char separator, struct row *row)
{
    row->count = 0;
    size_t start = 0;
    for (size_t i = 0; i <= line.len; i++) {
        if (i < line.len && line.at[i] != separator) {
            continue;
        }
        bool is_kept = separator == ',' || i > start;
        if (is_kept && row->count < COLUMNS_MAX) {
            row->cells[row->count++] = (struct line){line.at + start, i - start};
        }
        start = i + 1;
    }
}

static bool is_text(struct line cell, const char *text)
{
    return cell.len == strlen(text) && memcmp(cell.at, text, cell.len) == 0;
}

static int find_column(const struct row *header, const char *name)
{
    for (int i = 0; i < header->count; i++) {
        if (is_text(header->cells[i], name)) {
            return i;
        }
    }
    return NO_COLUMN;
}

static struct line cell(const struct row *row, int column)
{
    return column >= 0 && column < row->count ? row->cells[column] : (struct line){"", 0};
}

static bool copy_name(char to[HAPROXY_NAME_SIZE], struct line from)
{
    if (from.len == 0 || from.len >= HAPROXY_NAME_SIZE) {
        return false;
    }
    memcpy(to, from.at, from.len);
    to[from.len] = '\0';
    return true;
}

static int64_t number(struct line cell_text)
{
    char digits[24];
    if (cell_text.len == 0 || cell_text.len >= sizeof(digits)) {
        return 0;
    }
    memcpy(digits, cell_text.at, cell_text.len);
    digits[cell_text.len] = '\0';
    return strtoll(digits, NULL, 10);
}

/* "# a b c" without its mark. */
static bool take_header(struct line line, char separator, struct row *header)
{
    if (line.len < 2 || line.at[0] != '#') {
        return false;
    }
    split((struct line){line.at + 2, line.len - 2}, separator, header);
    return true;
}

/* ---- which servers ---- */

struct state_columns {
    int backend;
    int name;
    int address;
    int fqdn;
    int port;
    int admin;
};

static bool is_node(const struct row *row,
                    const struct state_columns *columns,
                    const struct address *address)
{
    bool is_host = is_text(cell(row, columns->address), address->host) ||
                   is_text(cell(row, columns->fqdn), address->host);
    return is_host && number(cell(row, columns->port)) == address->port;
}

static bool is_drained(const struct row *row, const struct state_columns *columns)
{
    int64_t admin = number(cell(row, columns->admin));
    bool is_known = cell(row, columns->admin).len > 0;
    return !is_known || ((admin & ADMIN_DRAIN) != 0 && (admin & ADMIN_MAINT) == 0);
}

static int add_server(struct haproxy_servers *servers,
                      const struct row *row,
                      const struct state_columns *columns,
                      struct err *err)
{
    if (servers->count == HAPROXY_SERVERS_MAX) {
        return err_set(err, ERR_LIMIT, "more than %d backends have this node", HAPROXY_SERVERS_MAX);
    }
    struct haproxy_server *server = &servers->items[servers->count];
    if (!copy_name(server->backend, cell(row, columns->backend)) ||
        !copy_name(server->name, cell(row, columns->name))) {
        return err_set(err, ERR_LIMIT, "the name of a backend or server is longer than %d bytes",
                       HAPROXY_NAME_SIZE - 1);
    }
    server->is_drained = is_drained(row, columns);
    servers->count++;
    return 0;
}

int haproxy_find_servers(struct haproxy_servers *servers,
                         const char *text,
                         size_t len,
                         const struct address *address,
                         struct err *err)
{
    struct line line;
    struct row row;
    struct state_columns columns = {.address = NO_COLUMN, .admin = NO_COLUMN};
    servers->count = 0;
    while (next_line(&text, &len, &line)) {
        if (take_header(line, ' ', &row)) {
            columns = (struct state_columns){
                .backend = find_column(&row, "be_name"),
                .name = find_column(&row, "srv_name"),
                .address = find_column(&row, "srv_addr"),
                .fqdn = find_column(&row, "srv_fqdn"),
                .port = find_column(&row, "srv_port"),
                .admin = find_column(&row, "srv_admin_state"),
            };
            continue;
        }
        split(line, ' ', &row);
        if (columns.address != NO_COLUMN && is_node(&row, &columns, address)) {
            int code = add_server(servers, &row, &columns, err);
            if (code != 0) {
                return code;
            }
        }
    }
    bool has_columns = columns.address != NO_COLUMN && columns.port != NO_COLUMN &&
                       columns.backend != NO_COLUMN && columns.name != NO_COLUMN;
    return has_columns ? 0
                       : err_set(err, ERR_PROTOCOL, "the answer is no list of HAProxy's servers");
}

void haproxy_keep_drained(struct haproxy_servers *servers)
{
    int count = 0;
    for (int i = 0; i < servers->count; i++) {
        if (servers->items[i].is_drained) {
            servers->items[count++] = servers->items[i];
        }
    }
    servers->count = count;
}

/* ---- what is said to them ---- */

void haproxy_add_commands(const struct haproxy_servers *servers, bool is_drain, struct strbuf *out)
{
    for (int i = 0; i < servers->count; i++) {
        strbuf_addf(out, "set server %s/%s state %s;", servers->items[i].backend,
                    servers->items[i].name, is_drain ? "drain" : "ready");
    }
    strbuf_add_text(out, "show stat -1 4 -1\n"); /* 4: servers, no frontends and backends */
}

static bool is_one_of(const struct haproxy_servers *servers, struct line backend, struct line name)
{
    for (int i = 0; i < servers->count; i++) {
        if (is_text(backend, servers->items[i].backend) && is_text(name, servers->items[i].name)) {
            return true;
        }
    }
    return false;
}

/* A server that somebody took out of the configuration meanwhile. */
static bool is_gone(struct line line)
{
    const char *text = "No such server";
    return line.len >= strlen(text) && memcmp(line.at, text, strlen(text)) == 0;
}

int haproxy_read_sessions(const struct haproxy_servers *servers,
                          const char *text,
                          size_t len,
                          int64_t *sessions,
                          struct err *err)
{
    struct line line;
    struct row row;
    int scur = NO_COLUMN;
    int64_t sum = 0;
    while (next_line(&text, &len, &line)) {
        if (take_header(line, ',', &row)) {
            scur = find_column(&row, "scur");
        } else if (scur != NO_COLUMN) {
            split(line, ',', &row);
            sum += is_one_of(servers, cell(&row, 0), cell(&row, 1)) ? number(cell(&row, scur)) : 0;
        } else if (line.len > 0 && !is_gone(line)) {
            return err_set(err, ERR_REFUSED, "HAProxy says: %.*s",
                           (int)(line.len < 100 ? line.len : 100), line.at);
        }
    }
    if (scur == NO_COLUMN) {
        return err_set(err, ERR_PROTOCOL, "the answer holds no statistics");
    }
    *sessions = sum;
    return 0;
}
