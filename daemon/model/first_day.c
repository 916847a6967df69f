#include "daemon/model/first_day.h"

#include "daemon/base/processors.h"
#include "fusion/math/team.h"
#include "fusion/model/columns.h"
#include "fusion/model/neighbours.h"
#include "store/reading.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { CONTENT_DIM = 64 }; /* C, as a training's */

/* While a list is made. */
struct making {
    struct first_day *f;
    struct csr R;  /* users × items */
    uint32_t user; /* UINT32_MAX: not in the store */
    float *X;      /* (I, F) */
    float *c;      /* (I, C) */
    size_t C;
    struct team *team;
};

void first_day_done(struct first_day *f)
{
    store_dataset_done(&f->d);
    because_done(&f->because);
    for (int p = 0; p < FIRST_DAY_PARTS; p++)
        free(f->part[p]);
    free(f->order);
    free(f->score);
    free(f->n_users);
    *f = (struct first_day){0};
}

static void making_done(struct making *m)
{
    csr_done(&m->R);
    free(m->X);
    free(m->c);
    team_free(m->team);
}

static int read_all(struct store *st, struct first_day *f, struct err *err)
{
    struct store_counts n;
    int status = store_count(st, &n, err);

    if (status != ERR_OK)
        return status;
    if (n.n_items > FIRST_DAY_ITEMS_MAX || n.n_interactions > FIRST_DAY_INTERACTIONS_MAX)
        return err_fatal(
            err, EX_NOINPUT,
            "no trained model is active, and a list without one is made of at most "
            "%d items and %d interactions; this store has %" PRId64 " and %" PRId64
            ": train a model (metammf train)",
            FIRST_DAY_ITEMS_MAX, FIRST_DAY_INTERACTIONS_MAX, n.n_items, n.n_interactions);
    return store_read_dataset(st, &f->d, err);
}

/* ---- who has what ------------------------------------------------------------------------- */

static int make_graph(struct making *m, const char *user_id, struct err *err)
{
    const struct store_dataset *d = &m->f->d;
    struct csr_pair *pairs = calloc(d->n_pairs + 1, sizeof *pairs);
    uint32_t U = (uint32_t)d->n_users, I = (uint32_t)d->n_items;

    if (!pairs)
        return err_oom(err, "the store's interactions");
    for (size_t i = 0; i < d->n_pairs; i++)
        pairs[i] = (struct csr_pair){d->pair[i][0], d->pair[i][1]};
    int status = csr_from_pairs(pairs, d->n_pairs, U, I, &m->R, err);
    free(pairs);
    m->user = UINT32_MAX;
    for (uint32_t u = 0; u < U && m->user == UINT32_MAX; u++)
        if (strcmp(d->user_id[u], user_id) == 0)
            m->user = u;
    m->f->personal = status == ERR_OK && m->user < U && csr_degree(&m->R, m->user) > 0;
    return status;
}

static int allocate(struct making *m, struct err *err)
{
    struct first_day *f = m->f;
    size_t I = f->d.n_items;

    f->score = calloc(I + 1, sizeof *f->score);
    f->order = calloc(I + 1, sizeof *f->order);
    f->n_users = calloc(I + 1, sizeof *f->n_users);
    bool whole = f->score && f->order && f->n_users;
    for (int p = 0; p < FIRST_DAY_PARTS; p++) {
        f->part[p] = calloc(I + 1, sizeof **f->part);
        whole = whole && f->part[p];
    }
    return whole ? ERR_OK : err_oom(err, "a list");
}

/* ---- the parts ---------------------------------------------------------------------------- */

static void scale_part(struct first_day *f, enum first_day_part p, float weight)
{
    float *part = f->part[p];
    double unit = first_day_weights_unit(part, f->d.published, f->d.n_items);
    float factor = unit > 0 ? weight / (float)unit : 0;

    for (size_t i = 0; i < f->d.n_items; i++)
        part[i] *= factor;
    if (p == FIRST_DAY_NEIGHBOURS)
        f->because.weight = factor;
}

/* All rows: the scale of each neighbour comes of its own. */
static int add_neighbours(struct making *m, struct err *err)
{
    struct first_day *f = m->f;
    struct because *b = &f->because;
    const uint32_t *mine = m->R.col + m->R.start[m->user];
    size_t n = csr_degree(&m->R, m->user);
    float ridge;
    int status = neighbours_build(&m->R, NULL, m->team, &b->rows, &b->scale, &ridge, err);

    if (status == ERR_OK)
        status = csr_new(1, b->rows.n_rows, n, &b->history, err);
    if (status != ERR_OK)
        return status;
    b->from = calloc(f->d.n_items + 1, sizeof *b->from);
    if (!b->from)
        return err_oom(err, "a list");
    for (uint32_t i = 0; i < f->d.n_items; i++)
        b->from[i] = f->d.published[i] ? i : RANK_NONE;
    memcpy(b->history.col, mine, n * sizeof *mine);
    b->history.start[1] = n;
    for (size_t h = 0; h < n; h++)
        for (size_t k = b->rows.start[mine[h]]; k < b->rows.start[mine[h] + 1]; k++)
            f->part[FIRST_DAY_NEIGHBOURS][b->rows.col[k]] += b->rows.value[k];
    for (size_t i = 0; i < f->d.n_items; i++)
        f->part[FIRST_DAY_NEIGHBOURS][i] *= b->scale[i];
    return ERR_OK;
}

/* X of one modality, standardised over the items that have it; others stay zero. Its features go. */
static void standardise(struct making *m, int modality, size_t first, size_t F)
{
    struct store_dataset *d = &m->f->d;
    size_t dim = (size_t)d->dim[modality];

    for (size_t j = 0; j < dim; j++) {
        double sum = 0, squares = 0, n = 0;

        for (size_t i = 0; i < d->n_items; i++)
            if (d->mask[i] & MODALITY_BIT(modality)) {
                sum += (double)d->feature[modality][i * dim + j];
                n++;
            }
        double mean = n > 0 ? sum / n : 0;
        for (size_t i = 0; i < d->n_items; i++)
            if (d->mask[i] & MODALITY_BIT(modality)) {
                double x = (double)d->feature[modality][i * dim + j] - mean;

                squares += x * x;
                m->X[i * F + first + j] = (float)x;
            }
        float deviation = n > 0 && squares / n > 1e-12 ? (float)sqrt(squares / n) : 1;
        for (size_t i = 0; i < d->n_items; i++)
            m->X[i * F + first + j] /= deviation;
    }
    free(d->feature[modality]);
    d->feature[modality] = NULL;
}

static int join_features(struct making *m, struct err *err)
{
    struct store_dataset *d = &m->f->d;
    size_t F = 0, first = 0;

    for (int k = 0; k < MODALITY_COUNT; k++)
        F += (size_t)d->dim[k];
    m->X = calloc(d->n_items * F + 1, sizeof *m->X);
    if (!m->X)
        return err_oom(err, "the items' features");
    for (int k = 0; k < MODALITY_COUNT; k++)
        if (d->feature[k]) {
            standardise(m, k, first, F);
            first += (size_t)d->dim[k];
        }
    return ERR_OK;
}

static int fit_content(struct making *m, struct err *err)
{
    const struct store_dataset *d = &m->f->d;
    struct columns columns = {0};
    int status = join_features(m, err);

    if (status == ERR_OK)
        status = columns_fit(m->X, d->mask, d->n_items, d->dim, CONTENT_DIM, &columns, err);
    m->C = columns.C;
    if (status == ERR_OK && m->C) {
        m->c = calloc(d->n_items * m->C + 1, sizeof *m->c);
        status = m->c ? columns_rows(&columns, m->X, d->mask, d->n_items, m->c, err)
                      : err_oom(err, "the content columns");
    }
    columns_done(&columns);
    free(m->X);
    m->X = NULL;
    return status;
}

static void add_content(struct making *m)
{
    struct first_day *f = m->f;
    float user[CONTENT_DIM] = {0};
    struct csr mine = {.n_rows = 1,
                       .n_cols = m->R.n_cols,
                       .nnz = csr_degree(&m->R, m->user),
                       .start = (size_t[]){0, csr_degree(&m->R, m->user)},
                       .col = m->R.col + m->R.start[m->user]};

    if (m->C)
        columns_users(&mine, m->c, m->C, user);
    for (size_t i = 0; i < f->d.n_items; i++)
        for (size_t k = 0; k < m->C; k++)
            f->part[FIRST_DAY_COLUMNS][i] += user[k] * m->c[i * m->C + k];
}

static void add_popularity(struct making *m)
{
    struct first_day *f = m->f;

    for (size_t k = 0; k < m->R.nnz; k++)
        f->n_users[m->R.col[k]]++;
    for (size_t i = 0; i < f->d.n_items; i++)
        f->part[FIRST_DAY_POPULARITY][i] = log1pf((float)f->n_users[i]);
}

/* ---- the list ----------------------------------------------------------------------------- */

struct place {
    float score;
    uint32_t row, newest; /* of equal scores the smaller of newest comes first */
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return (x->newest > y->newest) - (x->newest < y->newest);
}

/* Ties: the item that came first, as in other lists; without a user's items the one that came last. */
static int make_order(struct first_day *f, struct err *err)
{
    struct place *places = calloc(f->d.n_items + 1, sizeof *places);

    if (!places)
        return err_oom(err, "a list");
    for (uint32_t i = 0; i < f->d.n_items; i++) {
        for (int p = 0; p < FIRST_DAY_PARTS; p++)
            f->score[i] += f->part[p][i];
        if (f->d.published[i])
            places[f->n_order++] =
                (struct place){f->score[i], i, f->personal ? i : UINT32_MAX - i};
    }
    qsort(places, f->n_order, sizeof *places, compare_places);
    for (size_t i = 0; i < f->n_order; i++)
        f->order[i] = places[i].row;
    free(places);
    return f->n_order ? ERR_OK
                      : err_fatal(err, EX_NOINPUT,
                                  "no item that could be recommended: see metammf import items "
                                  "and metammf ingest");
}

static int make_personal(struct making *m, struct err *err)
{
    struct first_day *f = m->f;
    int status = team_new(processors_online(), &m->team, err);

    if (status == ERR_OK)
        status = fit_content(m, err);
    if (status == ERR_OK)
        status = first_day_weights_choose(&m->R, f->d.published, m->c, m->C, m->team,
                                          &f->weights, err);
    if (status == ERR_OK)
        status = add_neighbours(m, err);
    if (status != ERR_OK)
        return status;
    add_content(m);
    scale_part(f, FIRST_DAY_NEIGHBOURS, 1);
    scale_part(f, FIRST_DAY_COLUMNS, FIRST_DAY_CONTENT);
    scale_part(f, FIRST_DAY_POPULARITY, f->weights.popularity);
    return ERR_OK;
}

static int make(struct store *st, const char *user_id, struct making *m, struct err *err)
{
    int status = read_all(st, m->f, err);

    if (status == ERR_OK)
        status = make_graph(m, user_id, err);
    if (status == ERR_OK)
        status = allocate(m, err);
    if (status == ERR_OK)
        add_popularity(m);
    if (status == ERR_OK && m->f->personal)
        status = make_personal(m, err);
    return status == ERR_OK ? make_order(m->f, err) : status;
}

int first_day_make(struct store *st, const char *user_id, struct first_day *ret_f,
                   struct err *err)
{
    struct first_day f = {0};
    struct making m = {.f = &f};
    int status = make(st, user_id, &m, err);

    making_done(&m);
    if (status == ERR_OK)
        *ret_f = f;
    else
        first_day_done(&f);
    return status;
}
