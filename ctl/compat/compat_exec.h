/* compat_exec.h — programs beside and behind us: the real client in PATH, the coordinator beside
 * our own file. */
#ifndef DROVER_CTL_COMPAT_COMPAT_EXEC_H
#define DROVER_CTL_COMPAT_COMPAT_EXEC_H

/* The last part of a path. */
const char *compat_base_name(const char *path);

/* Becomes the program 'name' of PATH that is not ourselves; returns only when there is none (an
 * exit code, the reason was printed). */
int compat_exec_real(const char *name, char *const *argv);

/* The path of 'name' in the folder of our own file, else in PATH; NULL when there is none. The
 * caller frees it. */
char *compat_find_sibling(const char *name);

#endif
