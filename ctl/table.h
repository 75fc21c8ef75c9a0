/* table.h — plain aligned columns. Pure. */
#ifndef DROVER_CTL_TABLE_H
#define DROVER_CTL_TABLE_H

#include "common/base/strbuf.h"

#include <stdbool.h>

#define TABLE_COLUMNS_MAX 24

enum paint { PAINT_NONE, PAINT_GOOD, PAINT_WARN, PAINT_BAD, PAINT_DIM, PAINT_BOLD };

struct table_cell {
    char *text; /* owned */
    enum paint paint;
};

/* A zeroed table is empty; table_column() comes before the first cell. */
struct table {
    const char *names[TABLE_COLUMNS_MAX]; /* not owned */
    bool is_right[TABLE_COLUMNS_MAX];     /* numbers stand right */
    int column_count;
    struct table_cell *cells; /* row by row; owned */
    int cell_count;
    int cell_capacity;
};

void table_column(struct table *table, const char *name, bool is_right);
/* The next cell, row by row. Control characters become '?'. */
void table_cell(struct table *table, const char *text, enum paint paint);
void table_cellf(struct table *table, enum paint paint, const char *format, ...) PRINTF_LIKE(3, 4);
int table_row_count(const struct table *table);
/* Head line and rows, each with 'indent' blanks before. width_max > 0 cuts lines (with "..."). */
void table_format(const struct table *table,
                  int indent,
                  int width_max,
                  bool has_color,
                  struct strbuf *out);
void table_release(struct table *table);

/* 'text' in a colour when has_color. */
void paint_add(struct strbuf *out, enum paint paint, bool has_color, const char *text);
/* Characters that a terminal shows for UTF-8 text without control characters. */
int text_width(const char *text);

#endif
