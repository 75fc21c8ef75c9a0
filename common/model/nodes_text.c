/* nodes_text.c — see nodes_text.h. */
#include "common/model/nodes_text.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/model/digest.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_SHOWN_MAX 60 /* characters of foreign text that an error repeats */

_Static_assert(NODES_ROWS_MAX <= INT16_MAX, "owner[] holds row indices");
_Static_assert(SLOT_COUNT <= UINT16_MAX, "ranges hold slots");

/* A piece of the text; not closed by '\0'. */
struct piece {
    const char *text;
    size_t len;
};

struct flag_word {
    const char *word;
    uint16_t flag;
};

/* The words of redis cluster.c and valkey cluster_legacy.c; "primary" and "replica" for those to
 * come. */
static const struct flag_word flag_words[] = {
    {"myself", NODES_FLAG_MYSELF},
    {"master", NODES_FLAG_PRIMARY},
    {"primary", NODES_FLAG_PRIMARY},
    {"slave", NODES_FLAG_REPLICA},
    {"replica", NODES_FLAG_REPLICA},
    {"fail", NODES_FLAG_FAIL},
    {"fail?", NODES_FLAG_PFAIL},
    {"handshake", NODES_FLAG_HANDSHAKE},
    {"noaddr", NODES_FLAG_NOADDR},
    {"nofailover", NODES_FLAG_NOFAILOVER},
    {"noflags", 0},
};

static int view_check(const struct nodes_view *view, struct err *err);
static int parse_line(struct nodes_view *view, struct piece line, struct err *err);
static void view_sort(struct nodes_view *view);

static bool piece_is(struct piece piece, const char *word)
{
    return piece.len == strlen(word) && memcmp(piece.text, word, piece.len) == 0;
}

static int piece_shown(struct piece piece)
{
    return piece.len > TEXT_SHOWN_MAX ? TEXT_SHOWN_MAX : (int)piece.len;
}

/* Cuts the text up to the next 'separator' off 'rest'. */
static struct piece piece_cut(struct piece *rest, char separator)
{
    struct piece piece = *rest;
    const char *end = piece.len == 0 ? NULL : memchr(piece.text, separator, piece.len);
    if (end == NULL) {
        rest->text += piece.len;
        rest->len = 0;
        return piece;
    }
    piece.len = (size_t)(end - piece.text);
    rest->text = end + 1;
    rest->len -= piece.len + 1;
    return piece;
}

/* Where the last 'c' stands, or NULL. */
static const char *piece_last(struct piece piece, char c)
{
    for (size_t i = piece.len; i > 0; i--) {
        if (piece.text[i - 1] == c) {
            return piece.text + i - 1;
        }
    }
    return NULL;
}

static bool piece_number(struct piece piece, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;
    if (piece.len == 0) {
        return false;
    }
    for (size_t i = 0; i < piece.len; i++) {
        unsigned digit = (unsigned)piece.text[i] - '0';
        if (digit > 9 || value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

int nodes_view_parse(struct nodes_view *view, const char *text, size_t len, struct err *err)
{
    struct piece rest = {text, len};
    int code = 0;
    int line_number = 0;
    *view = (struct nodes_view){.myself = NODES_NO_ROW};
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        view->owner[slot] = NODES_NO_ROW;
    }
    if (len > (size_t)VIEW_TEXT_SIZE_MAX) {
        return err_set(err, ERR_LIMIT, "CLUSTER NODES text has %zu bytes, %lu are allowed", len,
                       VIEW_TEXT_SIZE_MAX);
    }
    while (rest.len > 0 && code == 0) {
        struct piece line = piece_cut(&rest, '\n');
        line_number++;
        if (line.len > 0 && line.text[line.len - 1] == '\r') {
            line.len--;
        }
        /* nodes.conf, which people paste, ends with a line of variables. */
        bool is_vars = line.len >= 5 && memcmp(line.text, "vars ", 5) == 0;
        if (line.len > 0 && !is_vars) {
            code = parse_line(view, line, err);
        }
    }
    if (code != 0) {
        nodes_view_release(view);
        err_wrap(err, "CLUSTER NODES line %d", line_number);
        return code;
    }
    view_sort(view);
    code = view_check(view, err);
    if (code != 0) {
        nodes_view_release(view);
    }
    return code;
}

void nodes_view_release(struct nodes_view *view)
{
    if (view == NULL) {
        return;
    }
    free(view->rows);
    free(view->ranges);
    free(view->opens);
    free(view->rows_by_id);
    arena_release(&view->arena);
    view->rows = NULL;
    view->ranges = NULL;
    view->opens = NULL;
    view->rows_by_id = NULL;
    view->row_count = view->row_capacity = 0;
    view->range_count = view->range_capacity = 0;
    view->open_count = view->open_capacity = 0;
    view->myself = NODES_NO_ROW;
}

int nodes_view_find(const struct nodes_view *view, const struct node_id *id)
{
    int low = 0;
    int high = view->row_count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int row = view->rows_by_id[middle];
        int order = node_id_compare(&view->rows[row].id, id);
        if (order == 0) {
            return row;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return NODES_NO_ROW;
}

void nodes_view_set_own_address(struct nodes_view *view, const struct address *address)
{
    if (view->myself == NODES_NO_ROW || view->rows[view->myself].host[0] != '\0') {
        return;
    }
    struct nodes_row *row = &view->rows[view->myself];
    row->host = arena_copy(&view->arena, address->host, strnlen(address->host, HOST_SIZE - 1));
    if (row->port == 0) {
        row->port = address->port;
    }
}

void nodes_row_address(const struct nodes_row *row, struct address *address)
{
    size_t len = strlen(row->host);
    CHECK(len < HOST_SIZE);
    *address = (struct address){.port = row->port};
    memcpy(address->host, row->host, len);
}

static uint64_t row_digest(const struct nodes_row *row)
{
    uint64_t digest = digest_text(DIGEST_START, row->id.text);
    bool is_primary = (row->flags & NODES_FLAG_PRIMARY) != 0;
    digest = digest_number(digest, is_primary);
    digest = digest_text(digest, row->primary_id.text);
    digest = digest_text(digest, row->host);
    digest = digest_number(digest, row->port);
    digest = digest_number(digest, row->bus_port);
    /* Old versions print a replica's own config_epoch, which its peers may know differently for
     * good. */
    digest = digest_number(digest, is_primary ? row->config_epoch : 0);
    return digest_close(digest);
}

uint64_t nodes_view_digest(const struct nodes_view *view)
{
    uint64_t rows = 0;
    uint64_t slots = DIGEST_START;
    if (view->row_count == 0) {
        return 1;
    }
    for (int row = 0; row < view->row_count; row++) {
        if ((view->rows[row].flags & NODES_FLAG_HANDSHAKE) == 0) {
            rows += row_digest(&view->rows[row]);
        }
    }
    int before = NODES_NO_ROW;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int row = view->owner[slot];
        if (row != NODES_NO_ROW && (view->rows[row].flags & NODES_FLAG_HANDSHAKE) != 0) {
            row = NODES_NO_ROW;
        }
        if (row != before) {
            slots = digest_number(slots, (uint64_t)slot);
            slots = digest_text(slots, row == NODES_NO_ROW ? "" : view->rows[row].id.text);
        }
        before = row;
    }
    uint64_t digest = digest_close(rows ^ digest_close(slots));
    return digest == 0 ? 1 : digest;
}

void nodes_row_slots(const struct nodes_view *view, int row, struct slotset *slots)
{
    CHECK(row >= 0);
    CHECK(row < view->row_count);
    slotset_clear(slots);
    for (int i = 0; i < view->rows[row].range_count; i++) {
        const struct nodes_range *range = &view->ranges[view->rows[row].range_first + i];
        slotset_add_range(slots, range->first, range->last);
    }
}

/* "[v6]" and "v6" are both written by some version; the last colon before '@' splits either way. */
static int parse_endpoint(struct nodes_view *view,
                          struct nodes_row *row,
                          struct piece piece,
                          struct err *err)
{
    struct piece whole = piece;
    uint64_t port = 0;
    uint64_t bus_port = 0;
    const char *at = piece_last(piece, '@');
    if (at != NULL) {
        struct piece bus = {at + 1, piece.len - (size_t)(at + 1 - piece.text)};
        if (!piece_number(bus, UINT16_MAX, &bus_port)) {
            return err_set(err, ERR_PROTOCOL, "bad bus port in \"%.*s\"", piece_shown(whole),
                           whole.text);
        }
        piece.len = (size_t)(at - piece.text);
    }
    const char *colon = piece_last(piece, ':');
    if (colon == NULL) {
        return err_set(err, ERR_PROTOCOL, "no port in address \"%.*s\"", piece_shown(whole),
                       whole.text);
    }
    struct piece number = {colon + 1, piece.len - (size_t)(colon + 1 - piece.text)};
    if (!piece_number(number, UINT16_MAX, &port)) {
        return err_set(err, ERR_PROTOCOL, "bad port in \"%.*s\"", piece_shown(whole), whole.text);
    }
    piece.len = (size_t)(colon - piece.text);
    if (piece.len >= 2 && piece.text[0] == '[' && piece.text[piece.len - 1] == ']') {
        piece.text++;
        piece.len -= 2;
    }
    if (piece.len >= HOST_SIZE) {
        return err_set(err, ERR_PROTOCOL, "host of %zu characters, %d are allowed", piece.len,
                       HOST_SIZE - 1);
    }
    for (size_t i = 0; i < piece.len; i++) {
        unsigned char c = (unsigned char)piece.text[i];
        if (c < '!' || c == 0x7f) {
            return err_set(err, ERR_PROTOCOL, "host holds the control byte 0x%02x", c);
        }
    }
    /* "?" is what a node prints for an endpoint that it does not know. */
    row->host = piece_is(piece, "?") ? "" : arena_copy(&view->arena, piece.text, piece.len);
    row->port = (uint16_t)port;
    row->bus_port = (uint16_t)bus_port;
    return 0;
}

/* "host:port@bus,hostname,key=value,..."; what follows the first comma is optional. */
static int parse_address(struct nodes_view *view,
                         struct nodes_row *row,
                         struct piece piece,
                         struct err *err)
{
    struct piece endpoint = piece_cut(&piece, ',');
    bool is_first = true;
    row->hostname = "";
    row->shard_id = "";
    while (piece.len > 0) {
        struct piece item = piece_cut(&piece, ',');
        bool is_pair = item.len > 0 && memchr(item.text, '=', item.len) != NULL;
        if (item.len >= HOST_SIZE) {
            return err_set(err, ERR_PROTOCOL, "address field of %zu characters, %d are allowed",
                           item.len, HOST_SIZE - 1);
        }
        if (is_first && !is_pair) {
            row->hostname = arena_copy(&view->arena, item.text, item.len);
        } else if (item.len > 9 && memcmp(item.text, "shard-id=", 9) == 0) {
            row->shard_id = arena_copy(&view->arena, item.text + 9, item.len - 9);
        }
        is_first = false;
    }
    return parse_endpoint(view, row, endpoint, err);
}

static int parse_flags(struct nodes_row *row, struct piece piece, struct err *err)
{
    struct piece rest = piece;
    while (rest.len > 0) {
        struct piece word = piece_cut(&rest, ',');
        uint16_t flag = NODES_FLAG_OTHER;
        for (size_t i = 0; i < sizeof(flag_words) / sizeof(flag_words[0]); i++) {
            if (piece_is(word, flag_words[i].word)) {
                flag = flag_words[i].flag;
            }
        }
        row->flags |= flag;
    }
    if ((row->flags & NODES_FLAG_PRIMARY) != 0 && (row->flags & NODES_FLAG_REPLICA) != 0) {
        return err_set(err, ERR_PROTOCOL, "flags \"%.*s\" name both roles", piece_shown(piece),
                       piece.text);
    }
    return 0;
}

static int parse_id(struct node_id *id, struct piece piece, struct err *err)
{
    int code = node_id_parse(id, piece.text, piece.len, err);
    if (code != 0 && err != NULL) {
        err->code = ERR_PROTOCOL;
    }
    return code == 0 ? 0 : ERR_PROTOCOL;
}

/* "[42->-id]" is leaving for id, "[42-<-id]" is coming from id. */
static int parse_open(struct nodes_view *view,
                      const struct nodes_row *row,
                      struct piece piece,
                      struct err *err)
{
    struct piece whole = piece;
    struct open_slot open = {0};
    uint64_t slot = 0;
    if (piece.len < 2 || piece.text[piece.len - 1] != ']') {
        return err_set(err, ERR_PROTOCOL, "open slot \"%.*s\" is not closed by ]",
                       piece_shown(whole), whole.text);
    }
    piece.text++;
    piece.len -= 2;
    struct piece number = piece_cut(&piece, '-');
    bool is_migrating = piece.len >= 2 && memcmp(piece.text, ">-", 2) == 0;
    open.is_importing = piece.len >= 2 && memcmp(piece.text, "<-", 2) == 0;
    if (!piece_number(number, SLOT_COUNT - 1, &slot) || (!is_migrating && !open.is_importing)) {
        return err_set(err, ERR_PROTOCOL, "bad open slot \"%.*s\"", piece_shown(whole), whole.text);
    }
    piece.text += 2;
    piece.len -= 2;
    int code = parse_id(&open.peer, piece, err);
    if (code != 0) {
        return code;
    }
    if ((row->flags & NODES_FLAG_MYSELF) == 0) {
        return err_set(err, ERR_PROTOCOL, "open slot %d on a line that is not myself", (int)slot);
    }
    if (view->open_count == NODES_OPENS_MAX) {
        return err_set(err, ERR_LIMIT, "more than %d open slots", NODES_OPENS_MAX);
    }
    open.slot = (uint16_t)slot;
    ARRAY_RESERVE(view->opens, view->open_count, view->open_capacity);
    view->opens[view->open_count++] = open;
    return 0;
}

static int parse_range(struct nodes_view *view,
                       struct nodes_row *row,
                       struct piece piece,
                       struct err *err)
{
    struct piece rest = piece;
    uint64_t first = 0;
    uint64_t last = 0;
    bool has_dash = memchr(piece.text, '-', piece.len) != NULL;
    bool is_good = piece_number(piece_cut(&rest, '-'), SLOT_COUNT - 1, &first);
    last = first;
    if (has_dash) {
        is_good = is_good && piece_number(rest, SLOT_COUNT - 1, &last);
    }
    if (!is_good || last < first) {
        return err_set(err, ERR_PROTOCOL, "bad slot range \"%.*s\"", piece_shown(piece),
                       piece.text);
    }
    for (uint64_t slot = first; slot <= last; slot++) {
        int other = view->owner[slot];
        if (other != NODES_NO_ROW) {
            return err_set(err, ERR_PROTOCOL, "slot %d is already listed for %s", (int)slot,
                           view->rows[other].id.text);
        }
        view->owner[slot] = (int16_t)(view->row_count - 1);
    }
    /* No slot has two owners, so there are at most SLOT_COUNT ranges. */
    ARRAY_RESERVE(view->ranges, view->range_count, view->range_capacity);
    view->ranges[view->range_count++] = (struct nodes_range){(uint16_t)first, (uint16_t)last};
    row->range_count++;
    row->slot_count += (int)(last - first) + 1;
    return 0;
}

static int parse_slots(struct nodes_view *view,
                       struct nodes_row *row,
                       struct piece rest,
                       struct err *err)
{
    while (rest.len > 0) {
        struct piece piece = piece_cut(&rest, ' ');
        int code = 0;
        if (piece.len == 0) {
            continue;
        }
        if (piece.text[0] == '[') {
            code = parse_open(view, row, piece, err);
        } else {
            code = parse_range(view, row, piece, err);
        }
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

/* The four columns between the primary and the slots. */
static int parse_state(struct nodes_row *row, struct piece *rest, struct err *err)
{
    uint64_t ping = 0;
    uint64_t pong = 0;
    if (!piece_number(piece_cut(rest, ' '), INT64_MAX, &ping) ||
        !piece_number(piece_cut(rest, ' '), INT64_MAX, &pong)) {
        return err_set(err, ERR_PROTOCOL, "ping or pong time of %s is not a number", row->id.text);
    }
    if (!piece_number(piece_cut(rest, ' '), UINT64_MAX, &row->config_epoch)) {
        return err_set(err, ERR_PROTOCOL, "config epoch of %s is not a number", row->id.text);
    }
    struct piece link = piece_cut(rest, ' ');
    row->ping_sent_ms = (int64_t)ping;
    row->pong_received_ms = (int64_t)pong;
    row->is_link_connected = piece_is(link, "connected");
    if (!row->is_link_connected && !piece_is(link, "disconnected")) {
        return err_set(err, ERR_PROTOCOL,
                       "link state \"%.*s\" is neither connected nor disconnected",
                       piece_shown(link), link.text);
    }
    return 0;
}

static int parse_line(struct nodes_view *view, struct piece line, struct err *err)
{
    struct piece rest = line;
    struct nodes_row row = {.range_first = view->range_count};
    int code = parse_id(&row.id, piece_cut(&rest, ' '), err);
    if (code == 0) {
        code = parse_address(view, &row, piece_cut(&rest, ' '), err);
    }
    if (code == 0) {
        code = parse_flags(&row, piece_cut(&rest, ' '), err);
    }
    if (code == 0) {
        struct piece primary = piece_cut(&rest, ' ');
        code = piece_is(primary, "-") ? 0 : parse_id(&row.primary_id, primary, err);
    }
    if (code == 0) {
        code = parse_state(&row, &rest, err);
    }
    if (code != 0) {
        return code;
    }
    if (view->row_count == NODES_ROWS_MAX) {
        return err_set(err, ERR_LIMIT, "more than %d nodes", NODES_ROWS_MAX);
    }
    if ((row.flags & NODES_FLAG_MYSELF) != 0) {
        if (view->myself != NODES_NO_ROW) {
            return err_set(err, ERR_PROTOCOL, "%s is myself, but %s was so before", row.id.text,
                           view->rows[view->myself].id.text);
        }
        view->myself = view->row_count;
    }
    ARRAY_RESERVE(view->rows, view->row_count, view->row_capacity);
    view->rows[view->row_count++] = row;
    return parse_slots(view, &view->rows[view->row_count - 1], rest, err);
}

/* What the index of rows is sorted by. */
struct row_key {
    const char *id;
    int16_t row;
};

static int compare_row_keys(const void *a, const void *b)
{
    return strcmp(((const struct row_key *)a)->id, ((const struct row_key *)b)->id);
}

static int compare_opens(const void *a, const void *b)
{
    const struct open_slot *first = a;
    const struct open_slot *second = b;
    return first->slot - second->slot;
}

static void view_sort(struct nodes_view *view)
{
    if (view->row_count == 0) {
        return;
    }
    size_t count = (size_t)view->row_count;
    struct row_key *keys = xcalloc(count, sizeof(*keys));
    for (int row = 0; row < view->row_count; row++) {
        keys[row] = (struct row_key){.id = view->rows[row].id.text, .row = (int16_t)row};
    }
    qsort(keys, count, sizeof(*keys), compare_row_keys);
    view->rows_by_id = xcalloc(count, sizeof(*view->rows_by_id));
    for (int i = 0; i < view->row_count; i++) {
        view->rows_by_id[i] = keys[i].row;
    }
    free(keys);
    if (view->open_count > 0) {
        qsort(view->opens, (size_t)view->open_count, sizeof(*view->opens), compare_opens);
    }
}

static int view_check(const struct nodes_view *view, struct err *err)
{
    if (view->row_count == 0) {
        return err_set(err, ERR_PROTOCOL, "CLUSTER NODES text lists no node");
    }
    if (view->myself == NODES_NO_ROW) {
        return err_set(err, ERR_PROTOCOL, "CLUSTER NODES text has no line that is myself");
    }
    for (int i = 1; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[view->rows_by_id[i]];
        if (node_id_is_equal(&row->id, &view->rows[view->rows_by_id[i - 1]].id)) {
            return err_set(err, ERR_PROTOCOL, "CLUSTER NODES text lists %s twice", row->id.text);
        }
    }
    return 0;
}
