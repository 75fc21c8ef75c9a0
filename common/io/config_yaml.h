/* config_yaml.h — a YAML file as a flat list of settings: dotted key, text, line, column.
 *
 *   redis:
 *     nodes: [a:1, b:2]      ->  redis.nodes[0] = a:1, redis.nodes[1] = b:2
 *
 * Refuses what is a trap in a configuration: duplicate keys, anchors and aliases, tags, several
 * documents, keys that are not plain words. Values stay text; options.h gives them types. */
#ifndef DROVER_IO_CONFIG_YAML_H
#define DROVER_IO_CONFIG_YAML_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_SIZE_MAX 262144 /* bytes of a file: 256 KiB */
#define CONFIG_DEPTH_MAX 8     /* maps and lists inside each other */
#define CONFIG_VALUES_MAX 4096 /* settings of a file */
#define CONFIG_KEY_SIZE 256    /* bytes of a dotted key with its '\0' */
#define CONFIG_PATH_SIZE 512   /* bytes of the file's name as errors print it */

struct config_value {
    char *key;          /* "redis.nodes[0]"; owned */
    char *value;        /* "" for an empty one; owned */
    int line;           /* of the value, from 1 */
    int column;         /* from 1 */
    bool is_empty_list; /* "key: []": value is "" */
};

/* A zeroed struct is valid and empty. */
struct config_file {
    char path[CONFIG_PATH_SIZE];
    struct config_value *values; /* in the order of the file; owned */
    int count;
    int capacity;
};

void config_file_release(struct config_file *file);
/* Reads and parses. ERR_CONFIG: "drover.yaml:7:3: ..." and a hint; ERR_NOT_FOUND, ERR_IO,
 * ERR_LIMIT. */
int config_file_read(struct config_file *file, const char *path, struct err *err) WARN_UNUSED;
/* Parses text; 'path' is for the errors only. */
int config_file_parse(struct config_file *file,
                      const char *path,
                      const char *text,
                      size_t size,
                      struct err *err) WARN_UNUSED;
/* The setting with that key, or NULL. */
const struct config_value *config_file_find(const struct config_file *file, const char *key);

#endif
