#include "daemon/model/gate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

const char *gate_verdict_name(enum gate_verdict verdict)
{
    static const char *const names[] = {"pass", "overall", "cold", "invalid", "pinned"};

    return names[verdict];
}

static bool is_figure(double v)
{
    return isfinite(v) && v >= 0 && v <= 1;
}

static bool are_figures(const struct gate_figures *f)
{
    return is_figure(f->ndcg_10) && is_figure(f->ndcg_20) && is_figure(f->recall_20) &&
           is_figure(f->cold_ndcg_20) && is_figure(f->cold_recall_20) && isfinite(f->rank) &&
           f->rank >= 0;
}

/* How much worse, in percent of the old; negative = better. */
static double loss_percent(double candidate, double active)
{
    return active > 0 ? 100 * (active - candidate) / active : 0;
}

/* What may be lost, in percent of the old. */
static double allowed_percent(double active, double error, int64_t tolerance)
{
    double chance = active > 0 ? 100 * GATE_ERRORS * error / active : 0;

    return fmax((double)tolerance, chance);
}

/* True, with the sentence, when it is worse than that. */
static bool is_worse(const char *what, double candidate, double active, double allowed,
                     int64_t active_id, char *ret_why, size_t bytes)
{
    double loss = loss_percent(candidate, active);

    if (!(loss > allowed))
        return false;
    (void)snprintf(ret_why, bytes,
                   "%s %.4f against %.4f of model %" PRId64 " is %.1f %% worse, %.1f %% is "
                   "allowed",
                   what, candidate, active, active_id, loss, allowed);
    return true;
}

/* NDCG@20 is worse than the tolerance, and positions say that it is not by chance. */
static bool is_lower(const struct gate_case *c, const struct settings *s, char *ret_why,
                     size_t bytes)
{
    double loss = loss_percent(c->candidate.ndcg_20, c->active.ndcg_20);
    double lower = c->active.rank > 0 ? 100 * (c->candidate.rank / c->active.rank - 1) : 0;
    double allowed =
        (double)s->training.rank_tolerance_percent + 100 * GATE_ERRORS * c->rank_error;

    if (!(loss > (double)s->training.tolerance_percent) || !(lower > allowed))
        return false;
    (void)snprintf(ret_why, bytes,
                   "NDCG@20 %.4f against %.4f of model %" PRId64
                   " is %.1f %% worse, and held-out "
                   "items rank %.1f %% lower (%.0f, %.0f), %.1f %% is allowed",
                   c->candidate.ndcg_20, c->active.ndcg_20, c->active_id, loss, lower,
                   c->candidate.rank, c->active.rank, allowed);
    return true;
}

static void explain_pass(const struct gate_case *c, bool cold_judged, const struct settings *s,
                         char *ret_why, size_t bytes)
{
    int n =
        snprintf(ret_why, bytes,
                 "NDCG@20 %.4f against %.4f of model %" PRId64 " on %zu interactions of "
                 "%zu users; cold ",
                 c->candidate.ndcg_20, c->active.ndcg_20, c->active_id, c->n_pairs, c->n_users);
    size_t used = n > 0 && (size_t)n < bytes ? (size_t)n : bytes;

    if (cold_judged)
        (void)snprintf(ret_why + used, bytes - used, "%.4f against %.4f on %zu",
                       c->candidate.cold_ndcg_20, c->active.cold_ndcg_20, c->n_cold_pairs);
    else
        (void)snprintf(ret_why + used, bytes - used,
                       "not judged: %zu interactions, %" PRId64 " needed", c->n_cold_pairs,
                       s->training.min_cold_pairs);
}

void gate_decide(const struct gate_case *c, const struct settings *s,
                 struct gate_decision *ret_decision)
{
    const struct gate_figures *a = &c->active, *b = &c->candidate;
    bool cold_judged = c->n_cold_pairs >= (size_t)s->training.min_cold_pairs;
    struct gate_decision d = {.verdict = GATE_PASS};
    double allowed = allowed_percent(a->ndcg_20, c->error, s->training.tolerance_percent);
    double cold_allowed =
        allowed_percent(a->cold_ndcg_20, c->cold_error, s->training.cold_tolerance_percent);

    if (!are_figures(a) || !are_figures(b) || !is_figure(c->error) ||
        !is_figure(c->cold_error) || !isfinite(c->rank_error) || c->rank_error < 0 ||
        c->n_pairs == 0) {
        d.verdict = GATE_INVALID;
        (void)snprintf(d.why, sizeof(d.why),
                       "the figures are impossible: NDCG@20 %g, cold %g, on "
                       "%zu interactions",
                       b->ndcg_20, b->cold_ndcg_20, c->n_pairs);
    } else if (is_worse("NDCG@20", b->ndcg_20, a->ndcg_20, allowed, c->active_id, d.why,
                        sizeof(d.why)) ||
               is_lower(c, s, d.why, sizeof(d.why))) {
        d.verdict = GATE_OVERALL;
    } else if (cold_judged &&
               is_worse("NDCG@20 of cold items", b->cold_ndcg_20, a->cold_ndcg_20, cold_allowed,
                        c->active_id, d.why, sizeof(d.why))) {
        d.verdict = GATE_COLD;
    } else if (c->pinned) {
        d.verdict = GATE_PINNED;
        (void)snprintf(d.why, sizeof(d.why), "model %" PRId64 " is pinned", c->active_id);
    } else {
        explain_pass(c, cold_judged, s, d.why, sizeof(d.why));
    }
    *ret_decision = d;
}
