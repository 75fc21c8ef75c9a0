/* lifecycle_model.h — a topology in which steps are carried out on paper.
 *
 * The dry run asks lifecycle_next() again and again and lets the model pretend that each step went
 * well. It is as good as what is known: ids of nodes that do not run yet are made up, and Redis may
 * attach replicas elsewhere. Pure. */
#ifndef DROVER_COORDINATOR_CORE_LIFECYCLE_MODEL_H
#define DROVER_COORDINATOR_CORE_LIFECYCLE_MODEL_H

#include "coordinator/core/lifecycle.h"

struct lifecycle_model {
    struct topology topology;     /* owned */
    struct lifecycle_facts facts; /* points into this struct */
    struct address *spares;       /* owned */
    int spare_capacity;
    struct lifecycle_host *hosts; /* owned */
    struct batch *batches;        /* all that were carried out; owned */
    int batch_capacity;
};

/* Copies what 'facts' points to. */
void lifecycle_model_init(struct lifecycle_model *model, const struct lifecycle_facts *facts);
void lifecycle_model_release(struct lifecycle_model *model);
/* Carries the batches out, in order, and takes them over as history. */
void lifecycle_model_apply(struct lifecycle_model *model, const struct lifecycle_answer *answer);
/* Brings shards, counts and indices in order after the nodes were changed by hand. */
void lifecycle_model_rebuild(struct topology *topology);

#endif
