/* One side = one model's vectors of the same test users and the same items, then evaluate.h for the
 * figures and chance.h for what they owe to chance. */
#include "daemon/model/judge.h"

#include "daemon/base/tsv.h"
#include "daemon/model/active_model.h"
#include "daemon/model/candidate.h"
#include "daemon/model/chance.h"
#include "daemon/model/feature_row.h"
#include "fusion/math/rank.h"
#include "fusion/model/cold.h"
#include "fusion/model/fuse.h"
#include "fusion/model/signals.h"
#include "fusion/train/evaluate.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { FUSE_ROWS = 256 };
static const uint32_t cuts[] = {10, 20};

/* ---- what is judged by -------------------------------------------------------------------- */

struct judge {
    void (*beat)(const char *what); /* NULL = none */
    struct store_dataset d;
    struct candidate candidate, active; /* active.model NULL = none that can be read */
    struct tsv_index d_items, d_users, items, active_items, candidate_users, active_users;
    struct csr_pair *held; /* (n_held) user row in d, item row of the candidate; ascending */
    size_t n_held;
    uint32_t n_test;           /* users */
    size_t *test_user, *start; /* (n_test) rows in d, (n_test + 1) */
    uint32_t *test_item;       /* (n_held) */
    struct csr seen;           /* (n_test, candidate.n_items) */
    uint8_t *warm;             /* (candidate.n_items) in the active model */
    uint32_t *n_known;         /* (candidate.n_items) interactions that are not held out */
    uint32_t *position[2][2];  /* (n_held) active, candidate; overall, among the cold items */
};

static void beat_on(const struct judge *j, const char *what)
{
    if (j->beat)
        j->beat(what);
}

/* Pairs of users that the store knows; an item that the candidate does not have is left out for
 * both models. */
static int find_held(struct judge *j, const struct tsv_pair *pairs, size_t n, struct err *err)
{
    j->held = malloc((n + 1) * sizeof(*j->held));
    if (!j->held)
        return err_oom(err, "judging: held-out interactions");
    for (size_t i = 0; i < n; i++) {
        uint32_t user = tsv_index_find(&j->d_users, pairs[i].user);
        uint32_t item = tsv_index_find(&j->items, pairs[i].item);

        if (user != UINT32_MAX && item != UINT32_MAX)
            j->held[j->n_held++] = (struct csr_pair){user, item};
    }
    if (j->n_held)
        qsort(j->held, j->n_held, sizeof(*j->held), csr_pair_order);
    return ERR_OK;
}

static int read_pairs(struct judge *j, const char *path, struct err *err)
{
    struct tsv_pair *pairs = NULL;
    struct tsv t;
    int r = tsv_read(path, &t, err);

    if (r != ERR_OK)
        return r;
    r = tsv_cut_pairs(&t, path, &pairs, err);
    if (r == ERR_OK)
        r = find_held(j, pairs, t.n, err);
    free(pairs);
    tsv_done(&t);
    return r;
}

static int read_holdout(struct judge *j, const char *path, struct err *err)
{
    int r = read_pairs(j, path, err);

    if (r != ERR_OK)
        return r;
    j->test_user = malloc((j->n_held + 1) * sizeof(*j->test_user));
    j->start = calloc(j->n_held + 2, sizeof(*j->start));
    j->test_item = malloc((j->n_held + 1) * sizeof(*j->test_item));
    if (!j->test_user || !j->start || !j->test_item)
        return err_oom(err, "judging: held-out interactions");
    for (size_t i = 0; i < j->n_held; i++) {
        if (i == 0 || j->held[i].row != j->held[i - 1].row) {
            j->start[j->n_test] = i;
            j->test_user[j->n_test++] = j->held[i].row;
        }
        j->test_item[i] = j->held[i].col;
    }
    j->start[j->n_test] = j->n_held;
    return ERR_OK;
}

/* Of pairs (n), sorted by user, those of the test users, less what is held out: test user and, in `names`,
 * the item's row. */
static void add_known(const struct judge *j, const struct tsv_index *names, uint32_t (*of)[2],
                      size_t n, struct csr_pair *pairs, size_t *n_pairs)
{
    uint32_t test = 0;

    for (size_t i = 0; i < n; i++) {
        size_t user = of[i][0];

        while (test < j->n_test && j->test_user[test] < user)
            test++;
        if (test == j->n_test)
            break;
        if (j->test_user[test] != user)
            continue;
        const char *name = j->d.item_id[of[i][1]];
        const struct csr_pair key = {(uint32_t)user, tsv_index_find(&j->items, name)};
        uint32_t row = names == &j->items ? key.col : tsv_index_find(names, name);
        if (key.col != UINT32_MAX && row != UINT32_MAX &&
            !bsearch(&key, j->held, j->n_held, sizeof(key), csr_pair_order))
            pairs[(*n_pairs)++] = (struct csr_pair){test, row};
    }
}

/* What a test user has done, and what no list may have. */
static int mask_seen(struct judge *j, struct err *err)
{
    struct csr_pair *pairs = malloc((j->d.n_pairs + j->d.n_against + 1) * sizeof(*pairs));
    size_t n = 0;

    if (!pairs)
        return err_oom(err, "judging: the mask");
    add_known(j, &j->items, j->d.pair, j->d.n_pairs, pairs, &n);
    add_known(j, &j->items, j->d.against, j->d.n_against, pairs, &n);
    int r = csr_from_pairs(pairs, n, j->n_test, (uint32_t)j->candidate.n_items, &j->seen, err);
    free(pairs);
    return r;
}

/* ---- vectors ------------------------------------------------------------------------------ */

static uint8_t lay_out(const struct store_dataset *d, size_t row,
                       const struct model_shape *shape, float *x)
{
    struct feature_part part[MODALITY_COUNT] = {0};

    for (int m = 0; m < MODALITY_COUNT; m++)
        if (d->mask[row] & MODALITY_BIT(m))
            part[m] = (struct feature_part){d->feature[m] + row * (size_t)d->dim[m], d->dim[m],
                                            d->encoder_id[m]};
    return feature_row(shape, part, x);
}

/* The cold items of `items` (n_items, D) as the model would fuse them with so many interactions
 * (candidate.n_items) each; NULL = at their upload. */
static int fuse_cold(const struct judge *j, const struct model *model,
                     const uint32_t *n_interactions, float *items, struct err *err)
{
    const struct model_shape *shape = model_shape(model);
    size_t F = (size_t)shape->F, D = (size_t)shape->D;
    float *X = malloc(FUSE_ROWS * F * sizeof(*X) + 1), *E = malloc(FUSE_ROWS * D * sizeof(*E));
    uint8_t mask[FUSE_ROWS];
    uint32_t known[FUSE_ROWS];
    size_t rows[FUSE_ROWS], n = 0;
    int r = X && E ? ERR_OK : err_oom(err, "judging: cold items");

    for (size_t i = 0; r == ERR_OK && i < j->candidate.n_items; i++) {
        uint32_t row =
            j->warm[i] ? UINT32_MAX : tsv_index_find(&j->d_items, j->candidate.item_id[i]);

        if (!j->warm[i])
            memset(items + i * D, 0, D * sizeof(*items));
        if (row != UINT32_MAX) {
            mask[n] = lay_out(&j->d, row, shape, X + n * F);
            known[n] = n_interactions ? n_interactions[i] : 0;
            rows[n++] = i;
        }
        if (n && (n == FUSE_ROWS || i + 1 == j->candidate.n_items)) {
            beat_on(j, "judging: vectors of cold items");
            r = fuse_later_items(model, X, mask, known, n, E, err);
            for (size_t k = 0; r == ERR_OK && k < n; k++)
                memcpy(items + rows[k] * D, E + k * D, D * sizeof(*items));
            n = 0;
        }
    }
    free(X);
    free(E);
    return r;
}

/* What fuse_cold made with interactions, as at the upload. */
static int unlearn_cold(const struct judge *j, const struct model *model, float *items,
                        struct err *err)
{
    const struct model_shape *shape = model_shape(model);
    const float length = signals_of(model)->trained * shape->cold_length;

    if (model_has_signals(shape)) /* content has faded, too */
        return fuse_cold(j, model, NULL, items, err);
    for (size_t i = 0; i < j->candidate.n_items; i++)
        if (!j->warm[i])
            cold_lengthen(items + i * (size_t)shape->D, (size_t)shape->B, length, 0);
    return ERR_OK;
}

/* Rows of the test users, those whom the model does not know with its vector of no history. */
static float *user_rows(const struct judge *j, const struct candidate *c,
                        const struct tsv_index *names)
{
    size_t D = (size_t)c->dim;
    float *rows = calloc(j->n_test * D + 1, sizeof(*rows));
    float *unknown = candidate_no_history(c->metrics, c->dim);

    for (size_t i = 0; rows && i < j->n_test; i++) {
        uint32_t row = tsv_index_find(names, j->d.user_id[j->test_user[i]]);
        const float *from = row == UINT32_MAX ? unknown : c->users + row * D;

        if (from)
            memcpy(rows + i * D, from, D * sizeof(*rows));
    }
    free(unknown);
    return rows;
}

/* The candidate's items as `c` holds them; zeros where it does not know one. */
static float *item_rows(const struct judge *j, const struct candidate *c,
                        const struct tsv_index *names)
{
    size_t D = (size_t)c->dim;
    float *rows = calloc(j->candidate.n_items * D + 1, sizeof(*rows));

    for (size_t i = 0; rows && i < j->candidate.n_items; i++) {
        uint32_t row = tsv_index_find(names, j->candidate.item_id[i]);

        if (row != UINT32_MAX)
            memcpy(rows + i * D, c->items + row * D, D * sizeof(*rows));
    }
    return rows;
}

/* ---- neighbours ---------------------------------------------------------------------------- */

/* What a model's neighbours add to the scores of the candidate's items. */
struct said {
    struct csr history; /* (n_test, J) what a test user has done and is not held out */
    struct csr
        own; /* rows of the model, (J, candidate.n_items); empty where they are borrowed */
    float *own_scale; /* (candidate.n_items) */
    struct rank_extra extra;
};

static void said_done(struct said *x)
{
    csr_done(&x->history);
    csr_done(&x->own);
    free(x->own_scale);
}

struct entry {
    uint32_t col;
    float value;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return (x->col > y->col) - (x->col < y->col);
}

/* The model's rows with their columns as rows of the candidate, `row_of` (c->n_items); in its order, which may be
 * another one. room: for the longest row. */
static void renumber(const struct candidate *c, const uint32_t *row_of, struct entry *room,
                     struct csr *to)
{
    const struct csr *from = &c->neighbours;
    size_t at = 0;

    for (uint32_t row = 0; row < from->n_rows; row++) {
        size_t n = 0;

        for (size_t i = from->start[row]; i < from->start[row + 1]; i++)
            if (row_of[from->col[i]] != UINT32_MAX)
                room[n++] = (struct entry){row_of[from->col[i]], from->value[i]};
        if (n)
            qsort(room, n, sizeof(*room), compare_entries);
        for (size_t i = 0; i < n; i++) {
            if (i && room[i].col == room[i - 1].col) /* an item that its list names twice */
                continue;
            to->col[at] = room[i].col;
            to->value[at++] = room[i].value;
        }
        to->start[row + 1] = at;
    }
    to->nnz = at;
}

static int own_rows(const struct judge *j, const struct candidate *c, struct said *x,
                    struct err *err)
{
    const struct csr *from = &c->neighbours;
    uint32_t *row_of = malloc((c->n_items + 1) * sizeof(*row_of));
    struct entry *room = malloc((STORE_NEIGHBOURS_MAX + 1) * sizeof(*room));
    int r = csr_new(from->n_rows, (uint32_t)j->candidate.n_items, from->nnz, &x->own, err);

    x->own_scale = calloc(j->candidate.n_items + 1, sizeof(*x->own_scale));
    if (r == ERR_OK)
        x->own.value = malloc((from->nnz + 1) * sizeof(*x->own.value));
    if (r == ERR_OK && (!row_of || !room || !x->own_scale || !x->own.value))
        r = err_oom(err, "judging: neighbours");
    for (size_t i = 0; r == ERR_OK && i < c->n_items; i++) {
        row_of[i] = tsv_index_find(&j->items, c->item_id[i]);
        if (row_of[i] != UINT32_MAX)
            x->own_scale[row_of[i]] = c->neighbour_scale[i];
    }
    if (r == ERR_OK)
        renumber(c, row_of, room, &x->own);
    free(row_of);
    free(room);
    return r;
}

static int find_history(const struct judge *j, const struct tsv_index *names, uint32_t n_rows,
                        struct csr *ret, struct err *err)
{
    struct csr_pair *pairs = malloc((j->d.n_pairs + 1) * sizeof(*pairs));
    size_t n = 0;

    if (!pairs)
        return err_oom(err, "judging: what test users have done");
    add_known(j, names, j->d.pair, j->d.n_pairs, pairs, &n);
    int r = csr_from_pairs(pairs, n, j->n_test, n_rows, ret, err);
    free(pairs);
    return r;
}

/* names: of the model's items. Nothing (extra.rows NULL) without that signal. */
static int find_said(const struct judge *j, const struct candidate *c,
                     const struct tsv_index *names, struct said *x, struct err *err)
{
    float weight = candidate_neighbour_weight(c->metrics);

    if (!c->neighbours.start || weight == 0)
        return ERR_OK;
    bool is_candidate = c == &j->candidate;
    int r = find_history(j, names, c->neighbours.n_rows, &x->history, err);
    if (r == ERR_OK && !is_candidate)
        r = own_rows(j, c, x, err);
    if (r == ERR_OK)
        x->extra =
            (struct rank_extra){&x->history, is_candidate ? &c->neighbours : &x->own,
                                is_candidate ? c->neighbour_scale : x->own_scale, weight};
    return r;
}

static const struct rank_extra *extra_of(const struct said *x)
{
    return x->extra.rows ? &x->extra : NULL;
}

/* ---- figures ------------------------------------------------------------------------------- */

/* extra: NULL for cold items, which are judged as at their upload: nobody's neighbours. */
static int evaluate(const struct judge *j, const float *users, const float *items, int32_t dim,
                    const struct rank_extra *extra, struct evaluate_result *ret,
                    struct err *err)
{
    const struct evaluate_task task = {.users = users,
                                       .items = items,
                                       .n_users = j->n_test,
                                       .n_items = (uint32_t)j->candidate.n_items,
                                       .D = (uint32_t)dim,
                                       .seen = &j->seen,
                                       .extra = extra,
                                       .item_warm = j->warm,
                                       .test_start = j->start,
                                       .test_item = j->test_item,
                                       .cuts = cuts,
                                       .n_cuts = 2};

    return evaluate_run(&task, ret, err);
}

static int find_positions(const struct judge *j, const float *users, const float *items,
                          int32_t dim, const struct rank_extra *extra, const uint8_t *out,
                          uint32_t *ret_position, struct err *err)
{
    struct gemm_matrix packed;
    int r = rank_pack(items, j->candidate.n_items, (size_t)dim, &packed, err);

    if (r != ERR_OK)
        return r;
    r = rank_positions(&packed, users, j->n_test, &j->seen, extra, out, j->start, j->test_item,
                       ret_position, err);
    gemm_done(&packed);
    return r;
}

static void take_overall(const struct evaluate_result *e, struct gate_figures *f)
{
    f->ndcg_10 = e->at[EVALUATE_OVERALL][0].ndcg;
    f->ndcg_20 = e->at[EVALUATE_OVERALL][1].ndcg;
    f->recall_20 = e->at[EVALUATE_OVERALL][1].recall;
}

static void take_cold(const struct evaluate_result *e, struct gate_figures *f)
{
    f->cold_ndcg_20 = e->at[EVALUATE_COLD_ONLY][1].ndcg;
    f->cold_recall_20 = e->at[EVALUATE_COLD_ONLY][1].recall;
}

static int judge_active(const struct judge *j, struct gate_case *g, struct err *err)
{
    const struct candidate *c = &j->active;
    struct evaluate_result e;
    struct said said = {0};

    if (!c->model) /* untrained: it ranks nothing */
        return ERR_OK;
    float *users = user_rows(j, c, &j->active_users);
    float *items = item_rows(j, c, &j->active_items);
    int r = users && items ? fuse_cold(j, c->model, j->n_known, items, err)
                           : err_oom(err, "judging");
    if (r == ERR_OK)
        r = find_said(j, c, &j->active_items, &said, err);
    if (r == ERR_OK)
        r = evaluate(j, users, items, c->dim, extra_of(&said), &e, err);
    if (r == ERR_OK) {
        take_overall(&e, &g->active);
        r = find_positions(j, users, items, c->dim, extra_of(&said), NULL, j->position[0][0],
                           err);
    }
    if (r == ERR_OK)
        r = unlearn_cold(j, c->model, items, err);
    if (r == ERR_OK)
        r = evaluate(j, users, items, c->dim, NULL, &e, err);
    if (r == ERR_OK) {
        take_cold(&e, &g->active);
        r = find_positions(j, users, items, c->dim, NULL, j->warm, j->position[0][1], err);
    }
    said_done(&said);
    free(users);
    free(items);
    return r;
}

static int judge_candidate(const struct judge *j, struct gate_case *g, struct err *err)
{
    const struct candidate *c = &j->candidate;
    float *users = user_rows(j, c, &j->candidate_users);
    float *items = item_rows(j, c, &j->items);
    struct evaluate_result e;
    struct said said = {0};
    int r = users && items ? ERR_OK : err_oom(err, "judging");

    if (r == ERR_OK)
        r = find_said(j, c, &j->items, &said, err);
    if (r == ERR_OK)
        r = evaluate(j, users, items, c->dim, extra_of(&said), &e, err);
    if (r == ERR_OK) {
        take_overall(&e, &g->candidate);
        g->n_users = e.n_users[EVALUATE_OVERALL];
        g->n_pairs = e.n_pairs[EVALUATE_OVERALL];
        g->n_cold_pairs = e.n_pairs[EVALUATE_COLD];
        r = find_positions(j, users, items, c->dim, extra_of(&said), NULL, j->position[1][0],
                           err);
    }
    if (r == ERR_OK)
        r = fuse_cold(j, c->model, NULL, items, err);
    if (r == ERR_OK)
        r = evaluate(j, users, items, c->dim, NULL, &e, err);
    if (r == ERR_OK) {
        take_cold(&e, &g->candidate);
        r = find_positions(j, users, items, c->dim, NULL, j->warm, j->position[1][1], err);
    }
    said_done(&said);
    free(users);
    free(items);
    return r;
}

/* ---- chance ------------------------------------------------------------------------------- */

static int make_positions(struct judge *j, struct err *err)
{
    for (int i = 0; i < 4; i++) {
        j->position[i / 2][i % 2] = calloc(j->n_held + 1, sizeof(uint32_t));
        if (!j->position[i / 2][i % 2])
            return err_oom(err, "judging");
    }
    return ERR_OK;
}

static struct chance_pairs pairs_of(const struct judge *j, int slice)
{
    return (struct chance_pairs){.n_users = j->n_test,
                                 .n_items = j->candidate.n_items,
                                 .start = j->start,
                                 .item = j->test_item,
                                 .before = j->position[0][slice],
                                 .now = j->position[1][slice]};
}

/* Nothing to compare with where the active model is untrained. */
static int weigh_chance(const struct judge *j, struct gate_case *g, struct err *err)
{
    const struct chance_pairs overall = pairs_of(j, 0), cold = pairs_of(j, 1);
    struct chance_ranks ranks;

    if (!j->active.model)
        return ERR_OK;
    int r = chance_ndcg_by_users(&overall, cuts[1], &g->error, err);
    if (r == ERR_OK)
        r = chance_ndcg_by_both(&cold, cuts[1], &g->cold_error, err);
    if (r == ERR_OK)
        r = chance_rank(&overall, &ranks, err);
    if (r != ERR_OK)
        return r;
    g->active.rank = ranks.before;
    g->candidate.rank = ranks.now;
    g->rank_error = ranks.error;
    return ERR_OK;
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* The active model's id, and its files. ERR_NONE comes twice and is no fault: of the model, when
 * there is none yet, and of its folder, when it was not trained here; j->active stays empty. It is
 * judged as it was trained, not as refresh has moved it: refreshed vectors have absorbed the
 * held-out pairs. That favours the candidate a little where refresh helps. */
static int open_active(struct judge *j, struct store *st, const struct settings *s,
                       int64_t *ret_id, struct err *err)
{
    struct store_model m = {0};
    int r = store_model_active(st, &m, err);

    if (r != ERR_OK)
        return r == ERR_NONE ? ERR_OK : r;
    *ret_id = m.model_id;
    r = candidate_of_model(s, &m, &j->active, err);
    store_model_done(&m);
    return r == ERR_NONE ? ERR_OK : r;
}

static int index_names(struct judge *j, struct err *err)
{
    const struct candidate *c = &j->candidate, *a = &j->active;
    int r;

    if ((r = tsv_index_new(j->d.item_id, j->d.n_items, &j->d_items, err)) != ERR_OK ||
        (r = tsv_index_new(j->d.user_id, j->d.n_users, &j->d_users, err)) != ERR_OK ||
        (r = tsv_index_new(c->item_id, c->n_items, &j->items, err)) != ERR_OK ||
        (r = tsv_index_new(c->user_id, c->n_users, &j->candidate_users, err)) != ERR_OK ||
        (r = tsv_index_new(a->item_id, a->n_items, &j->active_items, err)) != ERR_OK)
        return r;
    return tsv_index_new(a->user_id, a->n_users, &j->active_users, err);
}

static int find_warm(struct judge *j, struct err *err)
{
    j->warm = calloc(j->candidate.n_items + 1, 1);
    if (!j->warm)
        return err_oom(err, "judging");
    for (size_t i = 0; i < j->candidate.n_items; i++) {
        uint32_t row = tsv_index_find(&j->active_items, j->candidate.item_id[i]);

        j->warm[i] = row != UINT32_MAX && j->active.warm[row];
    }
    return ERR_OK;
}

static int count_known(struct judge *j, struct err *err)
{
    uint32_t *row = malloc((j->d.n_items + 1) * sizeof(*row));

    j->n_known = calloc(j->candidate.n_items + 1, sizeof(*j->n_known));
    if (!row || !j->n_known) {
        free(row);
        return err_oom(err, "judging");
    }
    for (size_t i = 0; i < j->d.n_items; i++)
        row[i] = tsv_index_find(&j->items, j->d.item_id[i]);
    for (size_t i = 0; i < j->d.n_pairs; i++) {
        const struct csr_pair pair = {j->d.pair[i][0], row[j->d.pair[i][1]]};

        if (pair.col != UINT32_MAX &&
            !bsearch(&pair, j->held, j->n_held, sizeof(pair), csr_pair_order))
            j->n_known[pair.col]++;
    }
    free(row);
    return ERR_OK;
}

static void judge_done(struct judge *j)
{
    struct tsv_index *const all[] = {&j->d_items,      &j->d_users,         &j->items,
                                     &j->active_items, &j->candidate_users, &j->active_users};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        tsv_index_done(all[i]);
    store_dataset_done(&j->d);
    candidate_done(&j->candidate);
    candidate_done(&j->active);
    csr_done(&j->seen);
    free(j->held);
    free(j->test_user);
    free(j->start);
    free(j->test_item);
    free(j->warm);
    free(j->n_known);
    for (int i = 0; i < 4; i++)
        free(j->position[i / 2][i % 2]);
}

/* Instead of that, when there is nothing to compare with. */
static int open_lost(struct store *st, const struct settings *s, int64_t *ret_id,
                     struct err *err)
{
    struct store_model m = {0};
    int r = store_model_active(st, &m, err);

    if (r != ERR_OK)
        return r == ERR_NONE ? ERR_OK : r;
    *ret_id = m.model_id;
    bool lost = active_model_is_lost(&m, s);
    store_model_done(&m);
    return lost ? ERR_OK
                : err_fatal(err, EX_DATAERR,
                            "model %lld is active and its file is there: compare with it",
                            (long long)*ret_id);
}

static int judge_it(struct store *st, const struct settings *s, const char *candidate_dir,
                    const char *holdout, bool alone, void (*beat)(const char *what),
                    struct gate_case *ret_case, struct err *err)
{
    struct judge j = {.beat = beat};
    struct gate_case g = {0};
    int r = candidate_look(candidate_dir, &j.candidate, err);

    if (r == ERR_OK &&
        (r = alone ? open_lost(st, s, &g.active_id, err)
                   : open_active(&j, st, s, &g.active_id, err)) == ERR_OK &&
        (r = store_read_dataset(st, &j.d, err)) == ERR_OK &&
        (r = index_names(&j, err)) == ERR_OK && (r = find_warm(&j, err)) == ERR_OK &&
        (r = read_holdout(&j, holdout, err)) == ERR_OK && (r = mask_seen(&j, err)) == ERR_OK &&
        (r = count_known(&j, err)) == ERR_OK && (r = make_positions(&j, err)) == ERR_OK) {
        beat_on(&j, "judging the candidate");
        r = judge_candidate(&j, &g, err);
    }
    if (r == ERR_OK) {
        beat_on(&j, "judging the active model");
        r = judge_active(&j, &g, err);
    }
    if (r == ERR_OK)
        r = weigh_chance(&j, &g, err);
    judge_done(&j);
    if (r == ERR_OK)
        *ret_case = g;
    return r;
}

int judge_run(struct store *st, const struct settings *s, const char *candidate_dir,
              const char *holdout, void (*beat)(const char *what), struct gate_case *ret_case,
              struct err *err)
{
    return judge_it(st, s, candidate_dir, holdout, false, beat, ret_case, err);
}

int judge_alone(struct store *st, const struct settings *s, const char *candidate_dir,
                const char *holdout, void (*beat)(const char *what), struct gate_case *ret_case,
                struct err *err)
{
    return judge_it(st, s, candidate_dir, holdout, true, beat, ret_case, err);
}
