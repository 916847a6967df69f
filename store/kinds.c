/* What interactions count: the factors of their kinds, in a table of the store. */

#include "store/kinds.h"

#include "config/clock.h"
#include "store/internal.h"

#include <assert.h>
#include <stdlib.h>

/* Counted one by one up to this many interactions, 0.1 s; beyond from SAMPLES ranges of users. */
enum { EXACT_MAX = 200000, SAMPLES = 64, SAMPLE_INTERACTIONS = 2000 };

int store_has_factors(struct store *st, bool *ret_has, struct err *err)
{
    struct query q = query_begin(st, SQL_FACTORS_ARE_SET);
    int status = query_row(&q, "read the factors of kinds", err);

    if (status != ERR_OK && status != ERR_NONE)
        return status;
    *ret_has = status == ERR_OK;
    query_end(&q);
    return ERR_OK;
}

static int put_factor(struct store *st, const char *kind, double factor, struct err *err)
{
    struct query q = query_begin(st, SQL_FACTOR_PUT);

    query_text(&q, kind);
    query_real(&q, factor);
    return query_run(&q, "write the factor of a kind", err);
}

static int put_factors(struct store *st, const struct store_factors *f, struct err *err)
{
    struct query q = query_begin(st, SQL_FACTORS_CLEAR);
    int status = query_run(&q, "write the factors of kinds", err);

    for (size_t i = 0; status == ERR_OK && i < f->n; i++)
        status = put_factor(st, f->of[i].kind, f->of[i].factor, err);
    return status == ERR_OK ? put_factor(st, "", f->other, err) : status;
}

/* *ret_counts: whether a kind that is stored has another factor than before. */
static int compare(struct store *st, bool *ret_changed, bool *ret_counts, struct err *err)
{
    struct query q = query_begin(st, SQL_FACTORS_CHANGED);
    int status = query_row(&q, "compare the factors of kinds", err);

    if (status != ERR_OK)
        return status;
    *ret_changed = query_column_int(&q, 0) > 0;
    *ret_counts = query_column_int(&q, 1) > 0;
    query_end(&q);
    return ERR_OK;
}

/* Before the factors were set the first time, every pair was an edge. */
static int touch_flipped(struct store *st, bool is_first, struct store_factors_result *r,
                         struct err *err)
{
    struct query q = query_begin(st, is_first ? SQL_FACTORS_TOUCH_FIRST : SQL_FACTORS_TOUCH);

    query_us(&q, clock_real_us());
    int status = query_run(&q, "touch what became an edge or ceased to be one", err);
    if (status == ERR_OK)
        r->n_pairs = store_changes(st);
    return status;
}

static int set_factors(struct store *st, const struct store_factors *f,
                       struct store_factors_result *r, struct err *err)
{
    bool was_set = false, counts = false;
    int status = store_has_factors(st, &was_set, err);

    if (status == ERR_OK)
        status = put_factors(st, f, err);
    if (status == ERR_OK)
        status = compare(st, &r->changed, &counts, err);
    if (status != ERR_OK || (was_set && !counts))
        return status;
    return touch_flipped(st, !was_set, r, err);
}

int store_set_factors(struct store *st, const struct store_factors *f,
                      struct store_factors_result *ret_result, struct err *err)
{
    struct store_factors_result r = {0};

    assert(st->mode == STORE_WRITE);
    int status = store_begin(st, err);
    if (status != ERR_OK)
        return status;
    status = set_factors(st, f, &r, err);
    if (status == ERR_OK && !r.changed) { /* nothing to be written */
        store_rollback(st);
        *ret_result = r;
        return ERR_OK;
    }
    status = store_finish(st, status, err);
    if (status == ERR_OK)
        *ret_result = r;
    return status;
}

/* ---- what there is ------------------------------------------------------------------------- */

int store_read_kinds(struct store *st, struct store_kind **ret_rows, size_t *ret_n,
                     double *ret_other, struct err *err)
{
    struct query q = query_begin(st, SQL_KINDS);
    struct store_kind *rows = NULL;
    size_t n = 0;
    int status;

    *ret_other = 1;
    while ((status = query_step(&q, "read the kinds of interactions", err)) == ERR_OK) {
        struct store_kind *more = store_grow(rows, n, sizeof *rows);

        if (!more) {
            status = err_oom(err, "the kinds of interactions");
            break;
        }
        rows = more;
        rows[n] = (struct store_kind){.n = query_column_int(&q, 1),
                                      .is_named = query_column_int(&q, 2) != 0,
                                      .factor = query_column_real(&q, 3)};
        query_column_word(&q, 0, rows[n].kind, sizeof rows[n].kind);
        if (rows[n].kind[0] == '\0')
            *ret_other = rows[n].factor;
        n += rows[n].kind[0] != '\0';
    }
    query_end(&q);
    if (status != ERR_END) {
        free(rows);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

struct tally {
    double pairs, edges, against, interactions;
};

static int tally_users(struct store *st, int64_t first_uid, int64_t last_uid, struct tally *t,
                       struct err *err)
{
    struct query q = query_begin(st, SQL_PAIRS_COUNT);

    query_int(&q, first_uid);
    query_int(&q, last_uid);
    int status = query_row(&q, "count pairs", err);
    if (status != ERR_OK)
        return status;
    t->pairs += query_column_real(&q, 0);
    t->edges += query_column_real(&q, 1);
    t->against += query_column_real(&q, 2);
    t->interactions += query_column_real(&q, 3);
    query_end(&q);
    return ERR_OK;
}

static int last_user(struct store *st, int64_t *ret_uid, struct err *err)
{
    struct query q = query_begin(st, SQL_USER_LAST);
    int status = query_row(&q, "find the last user", err);

    if (status != ERR_OK)
        return status;
    *ret_uid = query_column_int(&q, 0);
    query_end(&q);
    return ERR_OK;
}

/* Ranges of users, spread evenly over their ids. */
static int tally_sample(struct store *st, int64_t n_interactions, struct tally *t,
                        struct err *err)
{
    int64_t n_users = 0;
    int status = last_user(st, &n_users, err);
    double width = (double)SAMPLE_INTERACTIONS / (double)n_interactions * (double)n_users;
    int64_t step = n_users / SAMPLES, range = width < 1 ? 1 : (int64_t)width;

    for (int i = 0; status == ERR_OK && i < SAMPLES; i++) {
        int64_t first = 1 + i * step + step / 2;

        status = tally_users(st, first, first + range - 1, t, err);
    }
    return status;
}

int store_count_pairs(struct store *st, int64_t n_interactions,
                      struct store_pair_counts *ret_counts, struct err *err)
{
    bool estimated = n_interactions > EXACT_MAX;
    struct tally t = {0};
    int status = estimated ? tally_sample(st, n_interactions, &t, err)
                           : tally_users(st, 0, INT64_MAX, &t, err);

    if (status != ERR_OK)
        return status;
    double scale =
        estimated && t.interactions > 0 ? (double)n_interactions / t.interactions : 1;
    *ret_counts = (struct store_pair_counts){.n_pairs = (int64_t)(t.pairs * scale),
                                             .n_edges = (int64_t)(t.edges * scale),
                                             .n_against = (int64_t)(t.against * scale),
                                             .estimated = estimated};
    return ERR_OK;
}
