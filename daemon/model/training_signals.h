#ifndef MMF_DAEMON_MODEL_TRAINING_SIGNALS_H
#define MMF_DAEMON_MODEL_TRAINING_SIGNALS_H

/* Inside daemon/model: what a training adds to what its backbone has learned (fusion/model/signals.h):
 * factors and neighbours in closed form from the interactions, content and mapped factors from the
 * features, and for each the weight that the held-out pairs give it. The vectors grow by their
 * columns, the neighbours go beside them. */

#include "daemon/model/training.h"
#include "fusion/train/calibrate.h"

struct trainee;

struct training_signals {
    bool has[CALIBRATE_SIGNALS]; /* made, whatever its weight */
    struct calibrate_result chosen;
    float c;                      /* of als.h, for the factors */
    uint32_t factor_dim, n_tried; /* numbers of a vector; factorisations until c was chosen */
    uint32_t column_dim;
    struct training_mapping {
        float lambda; /* of mapping_fit.h */
        /* μ of calibrate.h: β μ / (α + β) of content and mapped factors alone, every item new. */
        float share;
        double error; /* of the items left out, of the variance; 1 = no mapping */
        size_t n_items;
    } mapping;
    size_t n_neighbours;    /* entries of all rows, also of those that count for nothing */
    struct csr neighbours;  /* (I, I) */
    float *neighbour_scale; /* (I) */
    double seconds;         /* all of it */
};

struct training_signals_task {
    const struct training_request *r;
    const struct training_data *t;
    const struct trainee *trainee; /* of the last member: features, interactions an item */
    unsigned threads;
};

/* Adds them to a joined model that is not prepared yet, and to its vectors: *vectors (U + I, B) is
 * replaced by (U + I, D). */
int training_signals_add(const struct training_signals_task *task, struct model *model,
                         float **vectors, struct training_signals *ret_s, struct err *err);
/* For metrics.json: by name, those that the model has. */
struct json_t *training_signals_json(const struct training_signals *s);
/* And how their weights were chosen. */
struct json_t *training_signals_choice_json(const struct training_signals *s);
void training_signals_done(struct training_signals *s);

#endif
