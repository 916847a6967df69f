#ifndef MMF_DAEMON_MODEL_GATE_H
#define MMF_DAEMON_MODEL_GATE_H

/* Whether a candidate may replace the active model. Pure: both models' figures on the same
 * held-out interactions in, a decision and a sentence out.
 *
 *   NDCG@20 overall   worse by more than tolerance_percent of the active model's, and that beyond
 *                     chance: refused
 *   NDCG@20 cold      the same with cold_tolerance_percent, when there are min_cold_pairs;
 *                     otherwise the sentence says that it was not judged
 *
 * Beyond chance: the difference is a mean over the same users (chance.h), and is more than GATE_ERRORS
 * of its standard errors; or, overall, the held-out items stand lower as well, their geometric mean
 * position by more than rank_tolerance_percent and GATE_ERRORS of its own. The position sees the
 * whole list and so tells models apart on sites where NDCG@20 cannot; alone it refuses nobody.
 *
 * Example: "NDCG@20 0.1712 against 0.1840 of model 7 is 7.0 % worse, 4.1 % are allowed". */

#include "config/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_ERRORS 2

enum gate_verdict { GATE_PASS, GATE_OVERALL, GATE_COLD, GATE_INVALID, GATE_PINNED };

struct gate_figures {
    double ndcg_10, ndcg_20, recall_20;  /* overall */
    double cold_ndcg_20, cold_recall_20; /* of the cold items among themselves */
    double rank; /* geometric mean position of what is held out, overall; 0 = not known */
};

struct gate_case {
    int64_t active_id;
    bool pinned; /* the active model is not to be replaced */
    struct gate_figures active, candidate;
    size_t n_users, n_pairs, n_cold_pairs; /* held out */
    double error, cold_error; /* standard errors of the models' difference in (cold_)ndcg_20 */
    double rank_error;        /* of the difference of the logarithms of rank */
};

struct gate_decision {
    enum gate_verdict verdict;
    char why[256];
};

void gate_decide(const struct gate_case *c, const struct settings *s,
                 struct gate_decision *ret_decision);
/* "pass", "overall", "cold", "invalid", "pinned": the label of metammf_model_rejected_total. */
const char *gate_verdict_name(enum gate_verdict verdict);

#endif
