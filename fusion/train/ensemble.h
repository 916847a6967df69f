#ifndef MMF_FUSION_TRAIN_ENSEMBLE_H
#define MMF_FUSION_TRAIN_ENSEMBLE_H

/* Several trainings as one model. Trainings of one shape that differ by their seed agree about what
 * the data say and differ in what chance added, so the mean of their scores is better than each of
 * them (Hansen and Salamon, PAMI 1990). A score is a product: the sum of N members' is the product
 * of their vectors side by side. And networks side by side are one network of the same kind, N
 * times as wide, whose members do not see each other:
 *
 *   layer 1      [M¹ … Mᴺ] over the same features; further layers blockdiag(M¹ … Mᴺ); T, A, B, C,
 *                the extractor with N·S numbers of meta information and SAGE's convolutions likewise
 *   node inputs  [fused¹ … fusedᴺ ‖ ID¹ … IDᴺ]
 *
 * so that whatever takes a model takes this one. Only the fused half's length is each member's
 * own: metadata mmf.members, model_shape.members. */

#include "config/err.h"
#include "fusion/model/model.h"

#include <stdint.h>

struct trainee;

/* The trainings so far. */
struct ensemble {
    uint32_t n;
    struct model *model[MODEL_MEMBERS_MAX];
    float *out[MODEL_MEMBERS_MAX]; /* (users + items, D) as propagation leaves them (cold.h) */
};

/* Of the training of that number. The first has the seed itself: alone it is what it is among
 * others. */
uint64_t ensemble_seed(uint64_t seed, uint32_t member);

/* Takes over what a trained t publishes, its cold items' identities forgotten; t may then go.
 * Members are of one shape and the same data, without content columns unless there is one. */
int ensemble_add(struct ensemble *e, struct trainee *t, struct err *err);
/* The model, and what its backbone publishes: *ret_out (users + items, N·D), items at the length of
 * cold.h, t being the last member. Before anything is fused by it, the caller adds its signals, if
 * there are any (signals.h), and prepares it (ensemble_prepare). e is empty afterwards, for the sake
 * of memory. */
int ensemble_join(struct ensemble *e, const struct trainee *t, struct model **ret_model,
                  float **ret_out, struct err *err);
void ensemble_done(struct ensemble *e);

/* Packs a joined model's weights, once: it is immutable from then on. */
int ensemble_prepare(struct model *joined, struct err *err);

/* One member of a joined model, to start a training from: everything of it but what fuse_* needs and
 * its signals. */
int ensemble_member(const struct model *joined, uint32_t member, struct model **ret_model,
                    struct err *err);

#endif
