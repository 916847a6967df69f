#include "daemon/model/first_day_weights.h"

#include "fusion/math/gemm.h"
#include "fusion/math/rng.h"
#include "fusion/model/columns.h"
#include "fusion/model/neighbours.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 1, BLOCK = 16, PARTS = 4 };
const float first_day_popular[FIRST_DAY_TRIED + 1] = {0, 0.1F, 1, 3, FIRST_DAY_POPULAR};

/* An item that a user loses. */
struct lost {
    uint32_t user, item;
    double gain[FIRST_DAY_TRIED + 1];
};

struct choosing {
    const struct csr *R;
    const uint8_t *published;
    const float *c;
    size_t I, C;
    struct team *team;
    struct gemm_matrix content; /* of c */
    uint32_t *users;            /* (n_users) */
    size_t n_users, n_rounds;
    struct lost *lost; /* (n_lost) by round */
    size_t n_lost, start[FIRST_DAY_ROUNDS + 1];
    struct csr left; /* of a round */
    struct csr rows;
    float *scale, *popular; /* (I); popular in its unit */
    float *scratch;         /* (PARTS, stride) */
    size_t stride, ld;      /* ld of content's scores */
};

static void done(struct choosing *w)
{
    gemm_done(&w->content);
    csr_done(&w->left);
    csr_done(&w->rows);
    free(w->users);
    free(w->lost);
    free(w->scale);
    free(w->popular);
    free(w->scratch);
}

double first_day_weights_unit(const float *part, const uint8_t *published, size_t n)
{
    double squares = 0, says = 0;

    for (size_t i = 0; i < n; i++)
        if (published[i] && fabsf(part[i]) > 0) {
            squares += (double)part[i] * (double)part[i];
            says++;
        }
    return says > 0 ? sqrt(squares / says) : 0;
}

static void scale_by(float *part, float weight, const uint8_t *published, size_t n)
{
    double unit = first_day_weights_unit(part, published, n);
    float factor = unit > 0 ? weight / (float)unit : 0;

    for (size_t i = 0; i < n; i++)
        part[i] *= factor;
}

/* ---- who loses what ----------------------------------------------------------------------- */

static int take_users(struct choosing *w, struct err *err)
{
    struct rng rng;

    w->users = calloc((size_t)w->R->n_rows + 1, sizeof *w->users);
    if (!w->users)
        return err_oom(err, "a list");
    for (uint32_t u = 0; u < w->R->n_rows; u++)
        if (csr_degree(w->R, u) > 1)
            w->users[w->n_users++] = u;
    rng_init(&rng, SEED);
    rng_shuffle(&rng, w->users, w->n_users);
    size_t most = FIRST_DAY_SCORES / (w->I + 1);
    most = most < FIRST_DAY_LOST ? most : FIRST_DAY_LOST;
    if (w->n_users > FIRST_DAY_USERS)
        w->n_users = FIRST_DAY_USERS;
    if (w->n_users > most)
        w->n_users = most;
    w->n_rounds = w->n_users ? most / w->n_users : 0;
    if (w->n_rounds > FIRST_DAY_ROUNDS)
        w->n_rounds = FIRST_DAY_ROUNDS;
    return ERR_OK;
}

/* The first items of a shuffle, one a round. */
static int take_items(struct choosing *w, struct err *err)
{
    uint32_t *mine = malloc((w->I + 1) * sizeof *mine), n;
    uint32_t *lose = malloc((w->n_users * w->n_rounds + 1) * sizeof *lose);

    w->lost = calloc(w->n_users * w->n_rounds + 1, sizeof *w->lost);
    if (!w->lost || !mine || !lose) {
        free(mine);
        free(lose);
        return err_oom(err, "a list");
    }
    for (size_t k = 0; k < w->n_users; k++) {
        struct rng rng;

        n = 0;
        for (size_t e = w->R->start[w->users[k]]; e < w->R->start[w->users[k] + 1]; e++)
            if (w->published[w->R->col[e]])
                mine[n++] = w->R->col[e];
        rng_init_stream(&rng, SEED, k);
        rng_shuffle(&rng, mine, n);
        for (size_t r = 0; r < w->n_rounds; r++)
            lose[r * w->n_users + k] = r < n ? mine[r] : UINT32_MAX;
    }
    for (size_t r = 0; r < w->n_rounds; r++) {
        for (size_t k = 0; k < w->n_users; k++)
            if (lose[r * w->n_users + k] != UINT32_MAX)
                w->lost[w->n_lost++] =
                    (struct lost){.user = w->users[k], .item = lose[r * w->n_users + k]};
        w->start[r + 1] = w->n_lost;
    }
    free(mine);
    free(lose);
    return ERR_OK;
}

/* ---- a round ------------------------------------------------------------------------------ */

static int leave(struct choosing *w, size_t round, struct err *err)
{
    const struct csr *R = w->R;
    struct csr_pair *pairs = malloc((R->nnz + 1) * sizeof *pairs);
    uint32_t *gone = malloc(((size_t)R->n_rows + 1) * sizeof *gone);
    size_t n = 0;
    int status = pairs && gone ? ERR_OK : err_oom(err, "a list");

    if (status == ERR_OK) {
        for (uint32_t u = 0; u < R->n_rows; u++)
            gone[u] = UINT32_MAX;
        for (size_t k = w->start[round]; k < w->start[round + 1]; k++)
            gone[w->lost[k].user] = w->lost[k].item;
        for (uint32_t u = 0; u < R->n_rows; u++)
            for (size_t e = R->start[u]; e < R->start[u + 1]; e++)
                if (R->col[e] != gone[u])
                    pairs[n++] = (struct csr_pair){u, R->col[e]};
        csr_done(&w->left);
        status = csr_from_pairs(pairs, n, R->n_rows, R->n_cols, &w->left, err);
    }
    free(pairs);
    free(gone);
    return status;
}

static int make_parts(struct choosing *w, size_t round, struct err *err)
{
    float ridge;
    int status = leave(w, round, err);

    csr_done(&w->rows);
    free(w->scale);
    w->scale = NULL;
    if (status == ERR_OK)
        status = neighbours_build(&w->left, NULL, w->team, &w->rows, &w->scale, &ridge, err);
    if (status != ERR_OK)
        return status;
    memset(w->popular, 0, w->I * sizeof *w->popular);
    for (size_t e = 0; e < w->left.nnz; e++)
        w->popular[w->left.col[e]]++;
    for (size_t i = 0; i < w->I; i++)
        w->popular[i] = log1pf(w->popular[i]);
    scale_by(w->popular, 1, w->published, w->I);
    return ERR_OK;
}

/* What popularity is added to: neighbours (I) and, in `base`, content. */
static void add_base(const struct choosing *w, uint32_t user, float *neighbours, float *base)
{
    memset(neighbours, 0, w->I * sizeof *neighbours);
    for (size_t e = w->left.start[user]; e < w->left.start[user + 1]; e++) {
        uint32_t j = w->left.col[e];

        for (size_t k = w->rows.start[j]; k < w->rows.start[j + 1]; k++)
            neighbours[w->rows.col[k]] += w->rows.value[k];
    }
    for (size_t i = 0; i < w->I; i++)
        neighbours[i] *= w->scale[i];
    scale_by(neighbours, 1, w->published, w->I);
    scale_by(base, FIRST_DAY_CONTENT, w->published, w->I);
    for (size_t i = 0; i < w->I; i++)
        base[i] += neighbours[i];
}

/* Of equal scores the lower row comes first, as in the list. What cannot be listed has base -INFINITY. */
static double gain_of(const struct choosing *w, const float *base, uint32_t item, float weight)
{
    float mine = base[item] + weight * w->popular[item];
    uint32_t rank = 0;

    for (size_t i = 0; i < item; i++)
        rank += base[i] + weight * w->popular[i] >= mine;
    for (size_t i = item + 1; i < w->I; i++)
        rank += base[i] + weight * w->popular[i] > mine;
    return rank < FIRST_DAY_CUT ? 1 / log2(2 + (double)rank) : 0;
}

static void rank_one(const struct choosing *w, struct lost *l, float *neighbours, float *base)
{
    add_base(w, l->user, neighbours, base);
    for (size_t i = 0; i < w->I; i++)
        if (!w->published[i])
            base[i] = -INFINITY;
    for (size_t e = w->left.start[l->user]; e < w->left.start[l->user + 1]; e++)
        base[w->left.col[e]] = -INFINITY;
    for (size_t p = 0; p <= FIRST_DAY_TRIED; p++)
        l->gain[p] = gain_of(w, base, l->item, first_day_popular[p]);
}

struct block {
    struct choosing *w;
    size_t first, end;
};

/* Each BLOCK of lost items in turn, a part takes every PARTS-th. */
static void rank_part(void *arg, size_t part)
{
    const struct block *b = arg;
    const struct choosing *w = b->w;
    float *neighbours = w->scratch + part * w->stride;
    float *users = neighbours + w->I, *base = users + BLOCK * (w->C + 1);
    float *gemm = base + BLOCK * w->ld;
    size_t step = BLOCK * (size_t)PARTS;

    for (size_t first = b->first + BLOCK * part; first < b->end; first += step) {
        size_t n = b->end - first < BLOCK ? b->end - first : BLOCK;

        for (size_t k = 0; w->C && k < n; k++) {
            uint32_t u = w->lost[first + k].user;
            struct csr mine = {.n_rows = 1,
                               .n_cols = w->left.n_cols,
                               .nnz = csr_degree(&w->left, u),
                               .start = (size_t[]){0, csr_degree(&w->left, u)},
                               .col = w->left.col + w->left.start[u]};

            columns_users(&mine, w->c, w->C, users + k * w->C);
        }
        if (w->C)
            gemm_run(&w->content, users, w->C, n, base, w->ld, false, gemm);
        else
            memset(base, 0, n * w->ld * sizeof *base);
        for (size_t k = 0; k < n; k++)
            rank_one(w, &w->lost[first + k], neighbours, base + k * w->ld);
    }
}

static int run_rounds(struct choosing *w, struct err *err)
{
    int status = ERR_OK;

    for (size_t r = 0; r < w->n_rounds && status == ERR_OK; r++) {
        struct block b = {w, w->start[r], w->start[r + 1]};

        status = make_parts(w, r, err);
        if (status == ERR_OK)
            team_run(w->team, PARTS, rank_part, &b);
    }
    return status;
}

static int allocate(struct choosing *w, struct err *err)
{
    int status = ERR_OK;

    if (w->C)
        status = gemm_new_rows(w->c, w->I, w->C, w->C, &w->content, err);
    if (status != ERR_OK)
        return status;
    w->ld = w->C ? gemm_padded(&w->content) : w->I;
    w->stride = w->I + BLOCK * (w->C + 1) + BLOCK * w->ld + GEMM_SCRATCH;
    w->popular = calloc(w->I + 1, sizeof *w->popular);
    w->scratch = calloc(PARTS * w->stride, sizeof *w->scratch);
    return w->popular && w->scratch ? ERR_OK : err_oom(err, "a list");
}

/* ---- the choice --------------------------------------------------------------------------- */

/* Over the users: the mean of their gains less those by weight `than` (of none where that is p), its error. */
static void compare(const struct choosing *w, size_t p, size_t than, double *ret_mean,
                    double *ret_error)
{
    double sum = 0, squares = 0, n = 0;

    for (size_t k = 0; k < w->n_users; k++) {
        double gain = 0, rounds = 0;

        for (size_t l = 0; l < w->n_lost; l++)
            if (w->lost[l].user == w->users[k]) {
                gain += w->lost[l].gain[p] - (than == p ? 0 : w->lost[l].gain[than]);
                rounds++;
            }
        if (rounds > 0) {
            sum += gain / rounds;
            squares += gain / rounds * gain / rounds;
            n++;
        }
    }
    *ret_mean = n > 0 ? sum / n : 0;
    double variance = n > 1 ? (squares - sum * sum / n) / (n - 1) : 0;
    *ret_error = variance > 0 ? sqrt(variance / n) : 0;
}

static void choose(const struct choosing *w, struct first_day_weights *ret_w)
{
    double best = 0, mean, error;

    for (size_t p = 0; p <= FIRST_DAY_TRIED; p++)
        compare(w, p, p, &ret_w->gain[p], &error);
    for (size_t p = 0; p < FIRST_DAY_TRIED; p++) {
        compare(w, p, FIRST_DAY_TRIED, &mean, &error);
        if (mean > best && mean > FIRST_DAY_ERRORS * error) {
            best = mean;
            ret_w->popularity = first_day_popular[p];
            ret_w->chosen = true;
        }
    }
}

int first_day_weights_choose(const struct csr *R, const uint8_t *published, const float *c,
                             size_t C, struct team *team, struct first_day_weights *ret_w,
                             struct err *err)
{
    struct choosing w = {
        .R = R, .published = published, .c = c, .I = R->n_cols, .C = C, .team = team};
    struct first_day_weights weights = {.popularity = FIRST_DAY_POPULAR};
    int status = R->nnz > FIRST_DAY_PAIRS ? ERR_OK : take_users(&w, err);

    if (status == ERR_OK && w.n_users >= FIRST_DAY_USERS_MIN)
        status = take_items(&w, err);
    if (status == ERR_OK && w.start[1] >= FIRST_DAY_USERS_MIN) {
        status = allocate(&w, err);
        if (status == ERR_OK)
            status = run_rounds(&w, err);
        if (status == ERR_OK) {
            weights.n_users = (uint32_t)w.start[1];
            weights.n_pairs = (uint32_t)w.n_lost;
            choose(&w, &weights);
        }
    }
    done(&w);
    if (status == ERR_OK)
        *ret_w = weights;
    return status;
}
