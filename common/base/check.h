/* check.h — assertions that stay on in release builds.
 *
 * For rules between our own functions only. What comes from outside is an error or an event, never
 * a CHECK. */
#ifndef DROVER_BASE_CHECK_H
#define DROVER_BASE_CHECK_H

_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition)                                  \
    do {                                                  \
        if (!(condition)) {                               \
            check_failed(#condition, __FILE__, __LINE__); \
        }                                                 \
    } while (0)

/* A place no path may reach, e.g. after a switch that returns for every value of its enum. */
#define UNREACHABLE(what) check_failed("unreachable: " what, __FILE__, __LINE__)

#endif
