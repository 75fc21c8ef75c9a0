/* lifecycle.c — see lifecycle.h. */
#include "coordinator/core/lifecycle.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>

bool lifecycle_applies(enum operation_kind kind)
{
    return kind >= OPERATION_CREATE && (int)kind <= OPERATION_KIND_MAX;
}

void lifecycle_next(const struct operation_request *request,
                    const struct lifecycle_facts *facts,
                    struct lifecycle_answer *out)
{
    (void)facts;
    *out = (struct lifecycle_answer){.verdict = LIFECYCLE_REFUSED, .code = ERR_REFUSED};
    (void)snprintf(out->reason, sizeof(out->reason), "%s is not known here",
                   operation_kind_name(request->kind));
}

void lifecycle_answer_release(struct lifecycle_answer *answer)
{
    if (answer == NULL) {
        return;
    }
    for (int i = 0; i < answer->batch_count; i++) {
        batch_release(&answer->batches[i]);
    }
    free(answer->batches);
    *answer = (struct lifecycle_answer){0};
}

void lifecycle_describe(const struct operation_request *request,
                        const struct lifecycle_facts *facts,
                        struct strbuf *out)
{
    struct lifecycle_answer answer = {0};
    lifecycle_next(request, facts, &answer);
    strbuf_addf(out, "%s\n", answer.reason);
    lifecycle_answer_release(&answer);
}
