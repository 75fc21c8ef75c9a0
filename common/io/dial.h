/* dial.h — can a TCP connection be made to an address? Nothing is said over it.
 *
 * For ports that speak no protocol of ours (the cluster bus) or that are asked about by somebody
 * who has no login. Names are resolved. Loop thread only. */
#ifndef DROVER_IO_DIAL_H
#define DROVER_IO_DIAL_H

#include "common/base/err.h"
#include "common/io/loop.h"
#include "common/model/ids.h"

struct dialer;

/* 'loop' must outlive it. */
struct dialer *dialer_new(struct loop *loop);
/* What is on its way ends with ERR_CANCELLED. Not from inside a 'done'. NULL is legal. */
void dialer_free(struct dialer *dialer);

/* Calls done(user) once, never from inside this call: err->code is 0 when the connection was made
 * (it is closed again by then), ERR_UNAVAILABLE when it was refused or the name is not known,
 * ERR_TIMEOUT after 'timeout_ms' (> 0), ERR_CANCELLED. 'done' may dial again. */
void dialer_dial(struct dialer *dialer,
                 const struct address *address,
                 int64_t timeout_ms,
                 void (*done)(void *user, const struct err *err),
                 void *user);

#endif
