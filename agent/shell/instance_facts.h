/* instance_facts.h — how the servers of an instance folder are, read from the file system and
 * /proc. Internal to instance_host.c. Changes nothing. */
#ifndef DROVER_AGENT_SHELL_INSTANCE_FACTS_H
#define DROVER_AGENT_SHELL_INSTANCE_FACTS_H

#include "agent/core/host_call.h"

#define HOST_UNIT_SIZE 64

/* 'folder' holds all instances; the call names the server (port 0: none, only the host's facts). */
void instance_facts_read(const char *folder,
                         const struct host_call *call,
                         struct host_facts *facts);
/* The server that runs in this very folder, 0 = none. */
int64_t instance_facts_pid(const char *folder);
/* The systemd unit that the process belongs to; false when it is none of ours. */
bool instance_facts_unit(int64_t pid, uint16_t port, char unit[HOST_UNIT_SIZE]);
bool instance_facts_is_folder(const char *path);

#endif
