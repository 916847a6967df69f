/* Full ranking as tiles of gemm.h: a tile of users against one panel of items at a time, the panel
 * outermost inside a block of users so that it is read from L1/L2 by all of them. The kernel
 * compares the scores with each user's threshold while they are in registers; few leave them
 * (about k·ln(I/k) a user). A user's list is kept sorted by insertion. Items come in ascending
 * order, so that one cursor a user into the sorted mask finds the seen ones.
 *
 * The extra part is summed for a chunk of items at a time, a dense row for each user of the block,
 * by cursors into the rows of its history. A tile that it touches is made in full and added to; the
 * others go the way above. */

#include "fusion/math/rank.h"

#include "fusion/math/clones.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { BLOCK_USERS = 96, WIDTH_MAX = 32, ROWS_MAX = 16, CHUNK = 2048, CHUNK_ROOM = CHUNK + 16 };

/* The extra part of a block of users within one chunk of items. */
struct extra_sums {
    const struct csr *history, *rows; /* NULL = there is no extra part */
    float *multiplier;                /* (whole panels) weight · scale of an item */
    float *sums;      /* (users of the block, CHUNK_ROOM) zero where untouched */
    size_t *cursor;   /* (history of the block) into rows, user by user */
    uint8_t *touched; /* (tiles of the block, panels of the chunk) */
    size_t n_panels;  /* of a whole chunk */
    unsigned width_bits;
};

/* One block of users. */
struct ranking {
    const struct gemm_matrix *items;
    const struct csr *mask;
    struct extra_sums extra;
    uint32_t k;
    float *tiles;             /* (BLOCK_USERS, D) whole tiles of gemm.h's `full` */
    float limit[BLOCK_USERS]; /* the k-th best score so far */
    size_t cursor[BLOCK_USERS], end[BLOCK_USERS]; /* of the user's row in the mask */
    uint32_t *ids;                                /* (users of the block, k) */
    float *scores;                                /* (users of the block, k), descending */
};

int rank_pack(const float *items, size_t n_items, size_t D, struct gemm_matrix *ret_items,
              struct err *err)
{
    int status = gemm_new_rows(items, n_items, D, D, ret_items, err);
    return status ? err_wrap(err, "ranking %zu items of width %zu", n_items, D) : ERR_OK;
}

/* Items come in ascending order, so an equal score belongs behind: strictly greater moves up. */
static void insert(struct ranking *r, size_t slot, uint32_t item, float score)
{
    uint32_t *ids = r->ids + slot * r->k;
    float *scores = r->scores + slot * r->k;
    uint32_t at = r->k - 1;
    while (at > 0 && score > scores[at - 1]) {
        ids[at] = ids[at - 1];
        scores[at] = scores[at - 1];
        at--;
    }
    ids[at] = item;
    scores[at] = score;
    r->limit[slot] = scores[r->k - 1];
}

static bool is_seen(struct ranking *r, size_t slot, uint32_t item)
{
    size_t at = r->cursor[slot], end = r->end[slot];
    while (at < end && r->mask->col[at] < item)
        at++;
    r->cursor[slot] = at;
    return at < end && r->mask->col[at] == item;
}

/* hits: the columns that were above the limit when their tile was made. */
static void take_hits(struct ranking *r, size_t slot, uint32_t first_item, uint32_t hits,
                      const float *scores)
{
    for (; hits; hits &= hits - 1) {
        uint32_t j = (uint32_t)__builtin_ctz(hits);
        if (scores[j] > r->limit[slot] && !is_seen(r, slot, first_item + j))
            insert(r, slot, first_item + j, scores[j]);
    }
}

/* ---- the extra part -------------------------------------------------------------------------- */

/* One multiplication and one addition a score: what is added to a product is the same for a list
 * and for a position. Returns the scores above the limit, bit j for scores[j]. */
CLONES static uint32_t add_sums(const float *restrict sums, const float *restrict multiplier,
                                size_t n, float limit, float *restrict scores)
{
    uint32_t any = 0, hits = 0;
    for (size_t j = 0; j < n; j++) {
        scores[j] += multiplier[j] * sums[j];
        any |= scores[j] > limit;
    }
    for (size_t j = 0; any && j < n; j++)
        hits |= (uint32_t)(scores[j] > limit) << j;
    return hits;
}

static void extra_done(struct extra_sums *x)
{
    free(x->multiplier);
    free(x->sums);
    free(x->cursor);
    free(x->touched);
}

/* The items' side of the sum, (whole panels); zero for the padding. */
static float *new_multiplier(const struct rank_extra *extra, const struct gemm_matrix *items)
{
    float *multiplier = gemm_alloc(gemm_padded(items));
    for (size_t i = 0; multiplier && i < items->N; i++)
        multiplier[i] = extra->scale ? extra->weight * extra->scale[i] : extra->weight;
    return multiplier;
}

static bool is_used(const struct rank_extra *extra, const struct gemm_matrix *items,
                    size_t n_rows)
{
    if (!extra || extra->weight == 0 || !extra->rows->start || !extra->history->start)
        return false;
    assert(extra->history->n_cols == extra->rows->n_rows && extra->rows->n_cols == items->N);
    assert(extra->history->n_rows >= n_rows);
    return true;
}

/* Leaves x alone where there is no extra part. */
static int extra_init(struct extra_sums *x, const struct rank_extra *extra,
                      const struct gemm_matrix *items, size_t first_row, size_t n_users,
                      struct err *err)
{
    size_t room = n_users < BLOCK_USERS ? n_users : BLOCK_USERS, n_cursors = 0;
    if (!is_used(extra, items, first_row + n_users))
        return ERR_OK;
    for (size_t u = 0; u < n_users; u += BLOCK_USERS) {
        size_t end = u + BLOCK_USERS < n_users ? u + BLOCK_USERS : n_users;
        size_t n =
            extra->history->start[first_row + end] - extra->history->start[first_row + u];
        n_cursors = n > n_cursors ? n : n_cursors;
    }
    *x = (struct extra_sums){.history = extra->history,
                             .rows = extra->rows,
                             .n_panels = CHUNK / items->kernel->width,
                             .width_bits = (unsigned)__builtin_ctzl(items->kernel->width)};
    x->multiplier = new_multiplier(extra, items);
    x->sums = calloc(room * CHUNK_ROOM, sizeof(*x->sums));
    x->cursor = malloc((n_cursors + 1) * sizeof(*x->cursor));
    x->touched = malloc(BLOCK_USERS / items->kernel->rows * x->n_panels);
    return x->multiplier && x->sums && x->cursor && x->touched ? ERR_OK
                                                               : err_oom(err, "a ranking");
}

/* Every cursor at the start of its row. */
static void extra_begin_block(struct extra_sums *x, size_t first_row, size_t n)
{
    const size_t *start = x->history->start + first_row;
    for (size_t e = start[0]; e < start[n]; e++)
        x->cursor[e - start[0]] = x->rows->start[x->history->col[e]];
}

/* The sums of the items from first on, chunks in ascending order. tile_rows: users of a tile. */
static void extra_sum_chunk(struct extra_sums *x, size_t first_row, size_t n, uint32_t first,
                            size_t tile_rows)
{
    const size_t *start = x->history->start + first_row;
    const struct csr *rows = x->rows;
    uint32_t left = rows->n_cols - first, n_cols = left < CHUNK ? left : CHUNK;
    memset(x->touched, 0, BLOCK_USERS / tile_rows * x->n_panels);
    for (size_t u = 0; u < n; u++) {
        float *sums = x->sums + u * CHUNK_ROOM;
        uint8_t *touched = x->touched + u / tile_rows * x->n_panels;
        memset(sums, 0, n_cols * sizeof(*sums));
        for (size_t h = start[u]; h < start[u + 1]; h++) {
            size_t *cursor = x->cursor + (h - start[0]), e = *cursor;
            size_t end = rows->start[x->history->col[h] + 1];
            for (; e < end && rows->col[e] - first < n_cols; e++) {
                uint32_t at = rows->col[e] - first;
                sums[at] += rows->value ? rows->value[e] : 1;
                touched[at >> x->width_bits] = 1;
            }
            *cursor = e;
        }
    }
}

/* As kernel->above, for a tile that the sums touch. */
static bool above_with_extra(const struct ranking *r, size_t panel, size_t u, size_t n_users,
                             const float *w, uint32_t *ret_hits, float *ret_scores)
{
    const struct gemm_matrix *W = r->items;
    const size_t width = W->kernel->width;
    const float *sums = r->extra.sums + panel % r->extra.n_panels * width;
    uint32_t any = 0;
    W->kernel->full(r->tiles + u * W->K, w, W->K, ret_scores, width, false);
    for (size_t i = 0; i < W->kernel->rows && u + i < n_users; i++) {
        ret_hits[i] = add_sums(sums + (u + i) * CHUNK_ROOM, r->extra.multiplier + panel * width,
                               width, r->limit[u + i], ret_scores + i * width);
        any |= ret_hits[i];
    }
    return any;
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void rank_panel(struct ranking *r, size_t panel, size_t n_users)
{
    const struct gemm_matrix *W = r->items;
    const struct gemm_kernel *kernel = W->kernel;
    const float *w = W->panels + panel * W->K * kernel->width;
    const uint8_t *touched =
        r->extra.rows ? r->extra.touched + panel % r->extra.n_panels : NULL;
    uint32_t first = (uint32_t)(panel * kernel->width), hits[ROWS_MAX];
    size_t left = W->N - first;
    uint32_t real = left < 32 ? (1U << left) - 1 : UINT32_MAX; /* not the padding */
    _Alignas(64) float scores[ROWS_MAX * WIDTH_MAX];
    for (size_t u = 0; u < n_users; u += kernel->rows) {
        bool any =
            touched && touched[u / kernel->rows * r->extra.n_panels]
                ? above_with_extra(r, panel, u, n_users, w, hits, scores)
                : kernel->above(r->tiles + u * W->K, w, W->K, r->limit + u, hits, scores);
        if (!any)
            continue;
        for (size_t i = 0; i < kernel->rows && u + i < n_users; i++)
            if (hits[i] & real)
                take_hits(r, u + i, first, hits[i] & real, scores + i * kernel->width);
    }
}

/* Tiles of the block's users, empty lists, cursors at the start of each row of the mask. */
static void begin_block(struct ranking *r, const float *users, size_t n, uint32_t mask_row)
{
    size_t rows = r->items->kernel->rows, K = r->items->K;
    memset(r->tiles, 0, BLOCK_USERS * K * sizeof(*r->tiles));
    for (size_t u = 0; u < BLOCK_USERS; u++) {
        float *to = r->tiles + u / rows * rows * K + u % rows;
        bool seen = r->mask && u < n;
        r->limit[u] = u < n ? -INFINITY : INFINITY;
        r->cursor[u] = seen ? r->mask->start[mask_row + u] : 0;
        r->end[u] = seen ? r->mask->start[mask_row + u + 1] : 0;
        for (size_t s = 0; u < n && s < K; s++)
            to[s * rows] = users[u * K + s];
    }
    for (size_t i = 0; i < n * r->k; i++) {
        r->ids[i] = RANK_NONE;
        r->scores[i] = -INFINITY;
    }
}

static void rank_block(struct ranking *r, size_t first_row, size_t n)
{
    struct extra_sums *x = &r->extra;
    if (x->rows)
        extra_begin_block(x, first_row, n);
    for (size_t panel = 0; panel < r->items->n_panels; panel++) {
        if (x->rows && panel % x->n_panels == 0)
            extra_sum_chunk(x, first_row, n, (uint32_t)(panel << x->width_bits),
                            r->items->kernel->rows);
        rank_panel(r, panel, n);
    }
}

int rank_topk(const struct gemm_matrix *items, const float *users, size_t n_users,
              const struct csr *mask, uint32_t first_row, const struct rank_extra *extra,
              uint32_t k, uint32_t *ret_items, float *ret_scores, struct err *err)
{
    struct ranking r = {.items = items, .mask = mask, .k = k};
    assert(items->kernel->width <= WIDTH_MAX && items->kernel->rows <= ROWS_MAX && k > 0);
    assert(BLOCK_USERS % items->kernel->rows == 0 && CHUNK % items->kernel->width == 0);
    r.scores = malloc((size_t)BLOCK_USERS * k * sizeof(*r.scores));
    r.tiles = malloc(BLOCK_USERS * items->K * sizeof(*r.tiles));
    int status = r.scores && r.tiles ? ERR_OK : err_oom(err, "a ranking");
    if (!status)
        status = extra_init(&r.extra, extra, items, first_row, n_users, err);
    for (size_t u = 0; !status && u < n_users; u += BLOCK_USERS) {
        size_t n = n_users - u < BLOCK_USERS ? n_users - u : BLOCK_USERS;
        r.ids = ret_items + u * k;
        begin_block(&r, users + u * items->K, n, first_row + (uint32_t)u);
        rank_block(&r, first_row + u, n);
        if (ret_scores)
            memcpy(ret_scores + u * k, r.scores, n * k * sizeof(*r.scores));
    }
    extra_done(&r.extra);
    free(r.scores);
    free(r.tiles);
    return status;
}

/* ---- positions ------------------------------------------------------------------------------- */

enum { POSITION_USERS = 32 };

static uint32_t position_of(const float *scores, size_t n_items, uint32_t item)
{
    const float own = scores[item];
    uint32_t before = 0;

    for (size_t i = 0; i < item; i++)
        before += scores[i] >= own;
    for (size_t i = (size_t)item + 1; i < n_items; i++)
        before += scores[i] > own;
    return before + 1;
}

/* sums, multiplier: (whole panels); sums is scratch. */
static void add_extra(const struct rank_extra *extra, size_t user, const float *multiplier,
                      float *sums, float *scores)
{
    const struct csr *history = extra->history, *rows = extra->rows;
    memset(sums, 0, rows->n_cols * sizeof(*sums));
    for (size_t h = history->start[user]; h < history->start[user + 1]; h++) {
        uint32_t j = history->col[h];
        for (size_t e = rows->start[j]; e < rows->start[j + 1]; e++)
            sums[rows->col[e]] += rows->value ? rows->value[e] : 1;
    }
    for (size_t i = 0; i < rows->n_cols; i += WIDTH_MAX) {
        size_t left = rows->n_cols - i;
        (void)add_sums(sums + i, multiplier + i, left < WIDTH_MAX ? left : WIDTH_MAX, INFINITY,
                       scores + i);
    }
}

/* What does not compete gets the score -INFINITY. */
static void leave_out(const struct csr *mask, size_t user, const uint8_t *out, size_t n_items,
                      float *scores)
{
    for (size_t e = mask ? mask->start[user] : 0; mask && e < mask->start[user + 1]; e++)
        scores[mask->col[e]] = -INFINITY;
    for (size_t k = 0; out && k < n_items; k++)
        scores[k] = out[k] ? -INFINITY : scores[k];
}

int rank_positions(const struct gemm_matrix *items, const float *users, size_t n_users,
                   const struct csr *mask, const struct rank_extra *extra, const uint8_t *out,
                   const size_t *start, const uint32_t *item, uint32_t *ret_position,
                   struct err *err)
{
    const bool has_extra = is_used(extra, items, n_users);
    size_t ld = gemm_padded(items);
    float *scores = gemm_alloc(POSITION_USERS * ld), *scratch = gemm_alloc(GEMM_SCRATCH);
    float *multiplier = has_extra ? new_multiplier(extra, items) : NULL;
    float *sums = has_extra ? gemm_alloc(ld) : NULL;
    int status = scores && scratch && (!has_extra || (multiplier && sums))
                     ? ERR_OK
                     : err_oom(err, "a ranking");
    for (size_t u = 0; !status && u < n_users; u += POSITION_USERS) {
        size_t n = n_users - u < POSITION_USERS ? n_users - u : POSITION_USERS;
        gemm_run(items, users + u * items->K, items->K, n, scores, ld, false, scratch);
        for (size_t i = 0; i < n; i++) {
            float *row = scores + i * ld;
            if (has_extra)
                add_extra(extra, u + i, multiplier, sums, row);
            leave_out(mask, u + i, out, items->N, row);
            for (size_t e = start[u + i]; e < start[u + i + 1]; e++)
                ret_position[e] = item[e] == RANK_NONE || row[item[e]] == -INFINITY
                                      ? RANK_NONE
                                      : position_of(row, items->N, item[e]);
        }
    }
    free(scores);
    free(scratch);
    free(multiplier);
    free(sums);
    return status;
}
