/* table.c — see table.h. */
#include "ctl/table.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2 /* blanks between columns */

void table_column(struct table *table, const char *name, bool is_right)
{
    CHECK(table->column_count < TABLE_COLUMNS_MAX);
    CHECK(table->cell_count == 0);
    table->names[table->column_count] = name;
    table->is_right[table->column_count] = is_right;
    table->column_count++;
}

void table_cell(struct table *table, const char *text, enum paint paint)
{
    ARRAY_RESERVE(table->cells, table->cell_count, table->cell_capacity);
    char *copy = xstrdup(text);
    for (char *c = copy; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    table->cells[table->cell_count++] = (struct table_cell){.text = copy, .paint = paint};
}

void table_cellf(struct table *table, enum paint paint, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    table_cell(table, text, paint);
}

int table_row_count(const struct table *table)
{
    return table->column_count == 0 ? 0 : table->cell_count / table->column_count;
}

int text_width(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

void paint_add(struct strbuf *out, enum paint paint, bool has_color, const char *text)
{
    static const char *const codes[] = {
        [PAINT_NONE] = "",        [PAINT_GOOD] = "\033[32m", [PAINT_WARN] = "\033[33m",
        [PAINT_BAD] = "\033[31m", [PAINT_DIM] = "\033[2m",   [PAINT_BOLD] = "\033[1m",
    };
    bool is_painted = has_color && paint != PAINT_NONE;
    if (is_painted) {
        strbuf_add_text(out, codes[paint]);
    }
    strbuf_add_text(out, text);
    if (is_painted) {
        strbuf_add_text(out, "\033[0m");
    }
}

/* What is printed of one line; 'left' counts down the columns of the screen, -1 = no limit. */
struct line {
    struct strbuf *out;
    int left;
    bool has_color;
};

static void add_blanks(struct line *line, int count)
{
    if (line->left >= 0 && count > line->left) {
        count = line->left;
    }
    strbuf_addf(line->out, "%*s", count, "");
    line->left -= line->left >= 0 ? count : 0;
}

static void add_cell(struct line *line, const char *text, enum paint paint)
{
    int width = text_width(text);
    if (line->left < 0 || width <= line->left) {
        paint_add(line->out, paint, line->has_color, text);
        line->left -= line->left >= 0 ? width : 0;
        return;
    }
    if (line->left >= 4) {
        struct strbuf cut = {0};
        size_t bytes = 0;
        for (int shown = 0; text[bytes] != '\0'; bytes++) {
            shown += ((unsigned char)text[bytes] & 0xc0) != 0x80;
            if (shown > line->left - 3) {
                break;
            }
        }
        strbuf_add(&cut, text, bytes);
        strbuf_add_text(&cut, "...");
        paint_add(line->out, paint, line->has_color, strbuf_text(&cut));
        strbuf_release(&cut);
    }
    line->left = 0;
}

static const char *cell_text(const struct table *table, int row, int column)
{
    return row < 0 ? table->names[column] : table->cells[row * table->column_count + column].text;
}

static void measure(const struct table *table, int widths[TABLE_COLUMNS_MAX])
{
    for (int column = 0; column < table->column_count; column++) {
        widths[column] = 0;
        for (int row = -1; row < table_row_count(table); row++) {
            int width = text_width(cell_text(table, row, column));
            widths[column] = width > widths[column] ? width : widths[column];
        }
    }
}

void table_format(const struct table *table,
                  int indent,
                  int width_max,
                  bool has_color,
                  struct strbuf *out)
{
    int widths[TABLE_COLUMNS_MAX];
    measure(table, widths);
    for (int row = -1; row < table_row_count(table); row++) {
        struct line line = {
            .out = out, .left = width_max > 0 ? width_max : -1, .has_color = has_color};
        add_blanks(&line, indent);
        for (int column = 0; column < table->column_count; column++) {
            const char *text = cell_text(table, row, column);
            enum paint paint =
                row < 0 ? PAINT_DIM : table->cells[row * table->column_count + column].paint;
            int pad = widths[column] - text_width(text);
            bool is_last = column + 1 == table->column_count;
            if (table->is_right[column]) {
                add_blanks(&line, pad);
            }
            add_cell(&line, text, paint);
            if (!is_last) {
                add_blanks(&line, GAP + (table->is_right[column] ? 0 : pad));
            }
        }
        while (out->len > 0 && out->data[out->len - 1] == ' ') {
            out->data[--out->len] = '\0';
        }
        strbuf_add_char(out, '\n');
    }
}

void table_release(struct table *table)
{
    for (int i = 0; i < table->cell_count; i++) {
        free(table->cells[i].text);
    }
    free(table->cells);
    *table = (struct table){0};
}
