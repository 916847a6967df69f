/* Full ranking as tiles of gemm.h: a tile of users against one panel of items at a time, the panel
 * outermost inside a block of users so that it is read from L1/L2 by all of them. The kernel
 * compares the scores with each user's threshold while they are in registers; few leave them
 * (about k·ln(I/k) a user). A user's list is kept sorted by insertion. Items come in ascending
 * order, so that one cursor a user into the sorted mask finds the seen ones. */

#include "fusion/math/rank.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { BLOCK_USERS = 96, WIDTH_MAX = 32, ROWS_MAX = 16 };

/* One block of users. */
struct ranking {
    const struct gemm_matrix *items;
    const struct csr *mask;
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

static void rank_panel(struct ranking *r, size_t panel, size_t n_users)
{
    const struct gemm_matrix *W = r->items;
    const struct gemm_kernel *kernel = W->kernel;
    const float *w = W->panels + panel * W->K * kernel->width;
    uint32_t first = (uint32_t)(panel * kernel->width), hits[ROWS_MAX];
    size_t left = W->N - first;
    uint32_t real = left < 32 ? (1U << left) - 1 : UINT32_MAX; /* not the padding */
    _Alignas(64) float scores[ROWS_MAX * WIDTH_MAX];
    for (size_t u = 0; u < n_users; u += kernel->rows) {
        if (!kernel->above(r->tiles + u * W->K, w, W->K, r->limit + u, hits, scores))
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

int rank_topk(const struct gemm_matrix *items, const float *users, size_t n_users,
              const struct csr *mask, uint32_t first_row, uint32_t k, uint32_t *ret_items,
              float *ret_scores, struct err *err)
{
    struct ranking r = {.items = items, .mask = mask, .k = k};
    assert(items->kernel->width <= WIDTH_MAX && items->kernel->rows <= ROWS_MAX && k > 0);
    assert(BLOCK_USERS % items->kernel->rows == 0);
    r.scores = malloc((size_t)BLOCK_USERS * k * sizeof(*r.scores));
    r.tiles = malloc(BLOCK_USERS * items->K * sizeof(*r.tiles));
    int status = r.scores && r.tiles ? ERR_OK : err_oom(err, "a ranking");
    for (size_t u = 0; !status && u < n_users; u += BLOCK_USERS) {
        size_t n = n_users - u < BLOCK_USERS ? n_users - u : BLOCK_USERS;
        r.ids = ret_items + u * k;
        begin_block(&r, users + u * items->K, n, first_row + (uint32_t)u);
        for (size_t panel = 0; panel < items->n_panels; panel++)
            rank_panel(&r, panel, n);
        if (ret_scores)
            memcpy(ret_scores + u * k, r.scores, n * k * sizeof(*r.scores));
    }
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

int rank_positions(const struct gemm_matrix *items, const float *users, size_t n_users,
                   const struct csr *mask, const uint8_t *out, const size_t *start,
                   const uint32_t *item, uint32_t *ret_position, struct err *err)
{
    size_t ld = gemm_padded(items);
    float *scores = gemm_alloc(POSITION_USERS * ld), *scratch = gemm_alloc(GEMM_SCRATCH);
    int status = scores && scratch ? ERR_OK : err_oom(err, "a ranking");
    for (size_t u = 0; !status && u < n_users; u += POSITION_USERS) {
        size_t n = n_users - u < POSITION_USERS ? n_users - u : POSITION_USERS;
        gemm_run(items, users + u * items->K, items->K, n, scores, ld, false, scratch);
        for (size_t i = 0; i < n; i++) {
            float *row = scores + i * ld;
            for (size_t e = mask ? mask->start[u + i] : 0; mask && e < mask->start[u + i + 1];
                 e++)
                row[mask->col[e]] = -INFINITY;
            for (size_t k = 0; out && k < items->N; k++)
                row[k] = out[k] ? -INFINITY : row[k];
            for (size_t e = start[u + i]; e < start[u + i + 1]; e++)
                ret_position[e] = item[e] == RANK_NONE || row[item[e]] == -INFINITY
                                      ? RANK_NONE
                                      : position_of(row, items->N, item[e]);
        }
    }
    free(scores);
    free(scratch);
    return status;
}
