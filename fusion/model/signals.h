#ifndef MMF_FUSION_MODEL_SIGNALS_H
#define MMF_FUSION_MODEL_SIGNALS_H

/* What a model says about "will user u like item i", beyond what its backbone says:
 *
 *   score(u, i) = s_t v_u·v_i + p_u·(s_f y_i + γ/(1 + n_i) m_i) + (α + β/(1 + n_i)) ĉ_u·c_i
 *                 + s_n Σ_{j∈R_u} W_ji
 *
 *   v        the backbone's vectors, as propagation and cold.h leave them
 *   y, p     factors of the interactions alone: y_i a row of the model, p_u the exact fold of the
 *            items of u (fold.h); items without a trained row have zeros and take no part in a fold
 *   m        the factors that the item's features suggest (mapping.h)
 *   c, ĉ     content (columns.h), which fades as evidence comes in, as m does; n_i users have
 *            item i
 *   W        neighbours in closed form, beside the vectors; R_u the items of user u
 *
 * The first three are columns of the published vectors, all scales on the items' side:
 *
 *   item = [s_t v_i ‖ s_f y_i + γ/(1 + n_i) m_i ‖ (α + β/(1 + n_i)) c_i]
 *   user = [v_u ‖ p_u ‖ ĉ_u]
 *
 * so that whatever takes a model's vectors takes all of them. A model without the metadata
 * mmf.signals publishes what its backbone gives.
 *
 * In the file: mmf.factors (I, A), mmf.factors.power (A) and metadata mmf.factors.lambda of the
 * fold; mmf.columns.visual (F_m, K_m) and so on, mmf.columns.join (K, C); mmf.mapping (F, A),
 * mmf.mapping.bias (A); metadata mmf.signals "trained=1 factors=0.5 content=0.1 fade=2 neighbours=0.3
 * ridge=7 mapped=0.4", exact, of which older files have not the last.
 * Legend: U users, I items of the model (rows of item_E), B, A, C as in shape.h, D = B + A + C. */

#include "config/err.h"
#include "fusion/model/columns.h"
#include "fusion/model/fold.h"
#include "fusion/model/mapping.h"
#include "fusion/model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGNALS_SCALE_MAX 1e6F /* a scale beyond it is none that a training finds */

struct signals {
    float trained, factors; /* s_t, s_f */
    float content, fade;    /* α, β */
    float neighbours;       /* s_n */
    float ridge;            /* ρ of the neighbours' rows */
    float mapped;           /* γ */
};

/* Of the model; trained 1, the rest 0 for one that says nothing. */
const struct signals *signals_of(const struct model *model);
/* What an item's content counts for. */
static inline float signals_content(const struct signals *s, uint32_t n_interactions)
{
    return s->content + s->fade / (1 + (float)n_interactions);
}
/* And the factors that it suggests. */
static inline float signals_mapped(const struct signals *s, uint32_t n_interactions)
{
    return s->mapped / (1 + (float)n_interactions);
}
/* (n, A) of the model; NULL = none. */
const float *signals_factors(const struct model *model, size_t *ret_n, size_t *ret_A);
/* The fold of users; what it points to is the model's. false = the model has no factors. */
bool signals_fold(const struct model *model, struct fold *ret_fold);

/* What a training adds to a model; all of it is copied. */
struct signals_tensors {
    const struct columns *columns; /* NULL or C 0 = no content */
    const struct mapping *mapping; /* NULL or A 0 = none; needs columns and factors */
    /* (F) that its features were standardised with: for a model that does not hold them (fusion
     * none), else NULL is fine. */
    const float *mean, *std_dev;
    const float *factors;    /* (I, A); NULL = none */
    size_t n_items;          /* I */
    const struct fold *fold; /* of users, with factors */
};
/* Into a joined model before model_prepare, whose shape then is the whole one. On an error the model
 * is good for model_free alone. ERR_FATAL EX_DATAERR for what is not finite, below zero or does not
 * fit the model, as when it is loaded. */
int signals_put(struct model *model, const struct signals *signals,
                const struct signals_tensors *tensors, struct err *err);

/* The vectors of a whole training. */
struct signals_parts {
    size_t n_users, n_items;
    const float *backbone;                      /* (U + I, B) users, then items */
    const float *factor_users, *factor_items;   /* (U, A), (I, A); NULL with A 0 */
    const float *content_users, *content_items; /* (U, C), (I, C); NULL with C 0 */
    const float *mapped_items;                  /* (I, A); NULL without a mapping */
    const uint32_t *n_interactions;             /* (I) */
};
/* *ret_vectors (U + I, D), the caller's to free. */
int signals_join(const struct model *model, const struct signals_parts *parts,
                 float **ret_vectors, struct err *err);

/* One item as it is published; NULL for what the model has not. */
struct signals_row {
    const float *backbone, *factors, *content; /* (B), (A), (C) */
    const float *mapped;                       /* (A) */
    uint32_t n_interactions;
};
void signals_item(const struct model *model, const struct signals_row *row,
                  float *ret_y /* (D); may begin with the backbone's */);

/* Inside fusion/: the shape's factor_dim, column_dim and D, and the model's signals, from the
 * tensors and metadata above; after everything else. ERR_FATAL EX_DATAERR for what does not fit. */
int signals_derive(struct model *model, struct err *err);
/* The columns, and the mapping, of a model that has some; what they point to is the model's. */
void signals_columns(const struct model *model, struct columns *ret);
void signals_mapping(const struct model *model, struct mapping *ret);

#endif
