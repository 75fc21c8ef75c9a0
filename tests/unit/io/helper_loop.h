/* helper_loop.h — waiting for a state on a loop, free ports, private folders, child processes. For
 * tests only. */
#ifndef DROVER_TESTS_UNIT_IO_HELPER_LOOP_H
#define DROVER_TESTS_UNIT_IO_HELPER_LOOP_H

#include "common/io/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WAIT_MS_MAX 20000 /* generous: a busy machine must not fail a test */

/* Turns the loop until *done becomes true; fails the test after WAIT_MS_MAX. */
void wait_for(struct loop *loop, const bool *done);
/* The same for *count >= wanted. */
void wait_for_count(struct loop *loop, const int *count, int wanted);
/* Turns the loop for that long. */
void turn_for(struct loop *loop, int64_t ms);

/* A TCP port of 127.0.0.1 that nobody listens on now. */
int free_port(void);

/* A new private folder; folder_remove() deletes it with its files (no folders inside). */
char *folder_new(void);
void folder_remove(char *path);

/* Starts a program (argv NULL-ended) with its output in 'log' (NULL: /dev/null). */
pid_t process_start(char *const *argv, const char *log);
/* Kills and reaps it. */
void process_kill(pid_t pid);
/* Runs to its end and returns the exit code; its standard output goes into out (size bytes, '\0'
 * added). */
int process_run(char *const *argv, char *out, size_t size);

/* Turns the loop until the process has ended; returns its exit code. */
int process_wait(struct loop *loop, pid_t pid);
/* The text of a file, at most size - 1 bytes; "" when there is none. */
void file_text(const char *path, char *out, size_t size);

/* Waits until 127.0.0.1:port accepts connections. */
void wait_for_port(int port);

/* Writes a CA, and a certificate with key for 127.0.0.1 and localhost signed by it: ca.pem,
 * cert.pem, key.pem. False when there is no openssl program. */
bool certificates_make(const char *folder);

#endif
