/* port_lease.h — a port that a test has chosen stays its own until the test's process ends.
 *
 * Tests run side by side and kill servers: without a lease the port of a server that is down is
 * free, another test takes it, and the first one's nodes meet the other one's. A lease is a lock on
 * a file, which the kernel gives back whatever becomes of the process. tests/integration/harness.py
 * takes the same ones. */
#ifndef DROVER_TESTS_TOOLS_PORT_LEASE_H
#define DROVER_TESTS_TOOLS_PORT_LEASE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* False when another process has it. Kept open on purpose. */
static inline bool port_lease(uint16_t port)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/drover-test-ports-%u", (unsigned)getuid());
    (void)mkdir(path, 0700);
    (void)snprintf(path, sizeof(path), "/tmp/drover-test-ports-%u/%u", (unsigned)getuid(), port);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return false;
    }
    return true;
}

#endif
