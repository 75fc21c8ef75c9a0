/* options_internal.h — what options.c and options_text.c share. Nobody else includes it. */
#ifndef DROVER_IO_OPTIONS_INTERNAL_H
#define DROVER_IO_OPTIONS_INTERNAL_H

#include "common/io/options.h"

#define OPTIONS_SOURCE_DEFAULT "default"

enum option_name { OPTION_NAME_KEY, OPTION_NAME_FLAG, OPTION_NAME_ENV };

/* The value of one row. */
struct option_value {
    char *text;     /* as it was given; owned; NULL: unset, and for lists */
    int64_t number; /* BOOL: 0 or 1; ENUM: index */
    char **items;   /* LIST; owned */
    int item_count;
    int item_capacity;
    char *source; /* owned; NULL: nothing has set it */
    bool is_set;  /* by anything but the default */
};

struct options {
    const struct option *table;
    int count;
    struct option_value *values; /* one a row; owned */
    char **words;                /* owned */
    int word_count;
    int word_capacity;
};

/* "10s", "64mb", "42": the shortest text that means the number. */
void options_format_number(enum option_type type, int64_t number, char text[32]);

#endif
