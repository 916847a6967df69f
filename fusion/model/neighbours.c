/* The rows of all items. Item by item: its row of G by its users' items, the choice, the block of G
 * around it, the equation. Entries of the block are read from a table where both items are among the
 * HEAD whose users have most items (the ones that are chosen again and again, and whose entries are
 * dear); the others are summed anew, from the users of the item that is not in the table. Parts of
 * items are independent, and each writes rows of a fixed length, which are closed up at the end. */

#include "fusion/model/neighbours.h"

#include "fusion/model/neighbours_solve.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 4096, PARTS = 64 };
/* A user's items are gone through; from so many times the chosen ones on, these are searched. */
enum { SEARCH_FROM = 16 };

struct building {
    const struct csr *R; /* (U, I) */
    struct csr T;        /* (I, U) */
    struct neighbours_options o;
    double *weight;   /* (U) d_u^-½ */
    double *diagonal; /* (I) G_ii */
    double *pick;     /* (I) G_ii^-¼ */
    float ridge;
    uint32_t *head_at;   /* (I) row in head, UINT32_MAX = not in it */
    uint32_t *head_item; /* (n_head) */
    float *head;         /* (n_head, n_head) of G */
    size_t n_head;
    uint32_t *col; /* (I, M) */
    float *value;  /* (I, M) */
    uint32_t *n;   /* (I) entries of each row */
    float *scale;  /* (I) */
    int status[PARTS];
    struct err err[PARTS];
};

/* One part's. */
struct scratch {
    double *sum;     /* (I) a row of G; zero outside `touched` */
    uint32_t *which; /* (I) touched columns */
    size_t n_touched;
    uint16_t *slot; /* (I) 1 + place in S, 0 = not chosen */
    struct neighbours_choice choice;
    double *entries; /* (M) a row of G_SS */
    float *A;        /* (M, stride) */
    size_t stride;
};

static void scratch_done(struct scratch *s)
{
    free(s->sum);
    free(s->which);
    free(s->slot);
    free(s->entries);
    free(s->A);
    neighbours_choice_done(&s->choice);
}

static int scratch_init(struct scratch *s, const struct building *b, struct err *err)
{
    size_t n_items = (size_t)b->R->n_cols + 1, M = b->o.n_max;
    *s = (struct scratch){.stride = neighbours_stride(M)};
    s->sum = calloc(n_items, sizeof(*s->sum));
    s->which = malloc(n_items * sizeof(*s->which));
    s->slot = calloc(n_items, sizeof(*s->slot));
    s->entries = malloc(M * sizeof(*s->entries));
    s->A = calloc(M * s->stride, sizeof(*s->A));
    int status = neighbours_choice_init(&s->choice, M, err);
    if (status == ERR_OK && !(s->sum && s->which && s->slot && s->entries && s->A))
        status = err_oom(err, "neighbours");
    if (status != ERR_OK)
        scratch_done(s);
    return status;
}

/* ---- G --------------------------------------------------------------------------------------- */

/* Row j of G into sum and which. */
static void sum_row(const struct building *b, uint32_t j, struct scratch *s)
{
    const struct csr *R = b->R, *T = &b->T;
    s->n_touched = 0;
    for (size_t t = T->start[j]; t < T->start[j + 1]; t++) {
        uint32_t u = T->col[t];
        double w = b->weight[u];
        for (size_t e = R->start[u]; e < R->start[u + 1]; e++) {
            uint32_t i = R->col[e];
            if (s->sum[i] == 0)
                s->which[s->n_touched++] = i;
            s->sum[i] += w;
        }
    }
}

static void clear_row(struct scratch *s)
{
    for (size_t t = 0; t < s->n_touched; t++)
        s->sum[s->which[t]] = 0;
}

/* entries (n) += w for each chosen item that the user has. */
static void add_user(const struct building *b, const struct scratch *s, uint32_t u)
{
    const struct csr *R = b->R;
    const size_t n = s->choice.n;
    const double w = b->weight[u];
    if (csr_degree(R, u) > SEARCH_FROM * n) {
        for (size_t k = 0; k < n; k++)
            s->entries[k] += csr_has(R, u, (uint32_t)s->choice.best[k].id) ? w : 0;
        return;
    }
    for (size_t e = R->start[u]; e < R->start[u + 1]; e++) {
        uint16_t slot = s->slot[R->col[e]];
        if (slot)
            s->entries[slot - 1] += w;
    }
}

/* Row a of G_SS of an item that is not in the table, and by symmetry its column. */
static void sum_entries(const struct building *b, struct scratch *s, size_t a)
{
    const struct csr *T = &b->T;
    const uint32_t item = (uint32_t)s->choice.best[a].id;
    const size_t n = s->choice.n;
    memset(s->entries, 0, n * sizeof(*s->entries));
    for (size_t t = T->start[item]; t < T->start[item + 1]; t++)
        add_user(b, s, T->col[t]);
    for (size_t k = 0; k < a; k++)
        s->A[k * s->stride + a] = (float)s->entries[k];
    for (size_t k = a; k < n; k++)
        s->A[a * s->stride + k] = (float)s->entries[k];
}

/* The upper triangle of G_SS and column n, G_Sj. */
static void fill_equation(const struct building *b, struct scratch *s)
{
    const struct neighbours_chosen *best = s->choice.best;
    const size_t n = s->choice.n;
    for (size_t a = 0; a < n; a++)
        s->slot[best[a].id] = (uint16_t)(a + 1);
    for (size_t a = 0; a < n; a++) {
        float *row = s->A + a * s->stride;
        uint32_t at = b->head_at[best[a].id];
        row[n] = best[a].g;
        if (at == UINT32_MAX) {
            sum_entries(b, s, a);
            continue;
        }
        for (size_t k = a; k < n; k++) {
            uint32_t other = b->head_at[best[k].id];
            if (other != UINT32_MAX)
                row[k] = b->head[at * b->n_head + other];
        }
    }
    for (size_t a = 0; a < n; a++)
        s->slot[best[a].id] = 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void choose(const struct building *b, uint32_t j, struct scratch *s)
{
    s->choice.n = 0;
    for (size_t t = 0; t < s->n_touched; t++) {
        uint32_t i = s->which[t];
        float g = (float)s->sum[i];
        if (i != j)
            neighbours_choice_offer(
                &s->choice, (struct neighbours_chosen){(double)g * b->pick[i], i, 0, g});
    }
    neighbours_choice_sort(&s->choice);
}

static void make_row(struct building *b, uint32_t j, struct scratch *s)
{
    float *x = b->value + (size_t)j * b->o.n_max;
    uint32_t *col = b->col + (size_t)j * b->o.n_max;
    size_t n_users = csr_degree(&b->T, j);
    if (n_users == 0)
        return;
    sum_row(b, j, s);
    choose(b, j, s);
    clear_row(s);
    fill_equation(b, s);
    size_t n = s->choice.n;
    double explained = neighbours_solve(n, s->stride, b->ridge, s->A, x);
    b->scale[j] = neighbours_close(&b->o, b->diagonal[j], b->ridge, explained, n_users, n, x);
    for (size_t k = 0; k < n; k++)
        col[k] = (uint32_t)s->choice.best[k].id;
    b->n[j] = (uint32_t)n;
}

/* Part p has the items p, p + PARTS, …: each some of the popular ones, wherever these are. */
static void make_rows(void *arg, size_t part)
{
    struct building *b = arg;
    struct scratch s;
    b->status[part] = scratch_init(&s, b, &b->err[part]);
    if (b->status[part] != ERR_OK)
        return;
    for (size_t j = part; j < b->R->n_cols; j += PARTS)
        make_row(b, (uint32_t)j, &s);
    scratch_done(&s);
}

static void fill_head(void *arg, size_t part)
{
    struct building *b = arg;
    struct scratch s;
    b->status[part] = scratch_init(&s, b, &b->err[part]);
    if (b->status[part] != ERR_OK)
        return;
    for (size_t h = part; h < b->n_head; h += PARTS) {
        sum_row(b, b->head_item[h], &s);
        for (size_t t = 0; t < s.n_touched; t++) {
            uint32_t other = b->head_at[s.which[t]];
            if (other != UINT32_MAX)
                b->head[h * b->n_head + other] = (float)s.sum[s.which[t]];
        }
        clear_row(&s);
    }
    scratch_done(&s);
}

static int run_parts(struct building *b, struct team *team, void (*work)(void *, size_t),
                     struct err *err)
{
    team_run(team, PARTS, work, b);
    for (size_t part = 0; part < PARTS; part++)
        if (b->status[part] != ERR_OK) {
            if (err)
                *err = b->err[part];
            return b->status[part];
        }
    return ERR_OK;
}

/* ---- what all rows need ---------------------------------------------------------------------- */

static int transpose(const struct csr *R, struct csr *ret_T, struct err *err)
{
    struct csr T;
    int status = csr_new(R->n_cols, R->n_rows, R->nnz, &T, err);
    if (status != ERR_OK)
        return status;
    for (size_t e = 0; e < R->nnz; e++)
        T.start[R->col[e] + 1]++;
    for (uint32_t i = 0; i < T.n_rows; i++)
        T.start[i + 1] += T.start[i];
    for (uint32_t u = 0; u < R->n_rows; u++)
        for (size_t e = R->start[u]; e < R->start[u + 1]; e++)
            T.col[T.start[R->col[e]]++] = u;
    memmove(T.start + 1, T.start, T.n_rows * sizeof(*T.start));
    T.start[0] = 0;
    *ret_T = T;
    return ERR_OK;
}

static void measure(struct building *b)
{
    const struct csr *R = b->R, *T = &b->T;
    double total = 0;
    size_t n_used = 0;
    for (uint32_t u = 0; u < R->n_rows; u++)
        b->weight[u] = neighbours_power(csr_degree(R, u), b->o.user_exponent);
    for (uint32_t i = 0; i < T->n_rows; i++) {
        for (size_t t = T->start[i]; t < T->start[i + 1]; t++)
            b->diagonal[i] += b->weight[T->col[t]];
        b->pick[i] = neighbours_pick(&b->o, b->diagonal[i]);
        total += b->diagonal[i];
        n_used += T->start[i + 1] > T->start[i];
    }
    b->ridge = n_used ? (float)(b->o.ridge * (total / (double)n_used)) : 0;
}

static int choose_head(struct building *b, struct err *err)
{
    const struct csr *R = b->R, *T = &b->T;
    struct neighbours_choice c;
    int status = neighbours_choice_init(&c, HEAD, err);
    if (status != ERR_OK)
        return status;
    for (uint32_t i = 0; i < T->n_rows; i++) {
        size_t n = 0;
        for (size_t t = T->start[i]; t < T->start[i + 1]; t++)
            n += csr_degree(R, T->col[t]);
        b->head_at[i] = UINT32_MAX;
        if (n)
            neighbours_choice_offer(&c, (struct neighbours_chosen){(double)n, i, 0, 0});
    }
    neighbours_choice_sort(&c);
    b->n_head = c.n;
    b->head = calloc(c.n * c.n + 1, sizeof(*b->head));
    b->head_item = malloc((c.n + 1) * sizeof(*b->head_item));
    if (!b->head || !b->head_item)
        status = err_oom(err, "neighbours");
    for (size_t h = 0; status == ERR_OK && h < c.n; h++) {
        b->head_item[h] = (uint32_t)c.best[h].id;
        b->head_at[c.best[h].id] = (uint32_t)h;
    }
    neighbours_choice_done(&c);
    return status;
}

static void building_done(struct building *b)
{
    csr_done(&b->T);
    free(b->weight);
    free(b->diagonal);
    free(b->pick);
    free(b->head_at);
    free(b->head_item);
    free(b->head);
    free(b->col);
    free(b->value);
    free(b->n);
    free(b->scale);
}

static int building_init(struct building *b, struct err *err)
{
    size_t n_items = (size_t)b->R->n_cols + 1, n_users = (size_t)b->R->n_rows + 1;
    b->weight = malloc(n_users * sizeof(*b->weight));
    b->diagonal = calloc(n_items, sizeof(*b->diagonal));
    b->pick = malloc(n_items * sizeof(*b->pick));
    b->head_at = malloc(n_items * sizeof(*b->head_at));
    b->n = calloc(n_items, sizeof(*b->n));
    b->scale = calloc(n_items, sizeof(*b->scale));
    /* Pages of rows that stay short are never touched. */
    b->col = malloc(n_items * b->o.n_max * sizeof(*b->col));
    b->value = malloc(n_items * b->o.n_max * sizeof(*b->value));
    if (!b->weight || !b->diagonal || !b->pick || !b->head_at || !b->n || !b->scale ||
        !b->col || !b->value)
        return err_oom(err, "neighbours");
    return transpose(b->R, &b->T, err);
}

/* Closes the rows up, from the first on, and hands them over. */
static int take_rows(struct building *b, struct csr *ret_rows, struct err *err)
{
    const uint32_t n_items = b->R->n_cols;
    struct csr rows = {.n_rows = n_items, .n_cols = n_items};
    rows.start = calloc((size_t)n_items + 1, sizeof(*rows.start));
    if (!rows.start)
        return err_oom(err, "neighbours");
    for (uint32_t j = 0; j < n_items; j++) {
        size_t from = (size_t)j * b->o.n_max;
        memmove(b->col + rows.nnz, b->col + from, b->n[j] * sizeof(*b->col));
        memmove(b->value + rows.nnz, b->value + from, b->n[j] * sizeof(*b->value));
        rows.nnz += b->n[j];
        rows.start[j + 1] = rows.nnz;
    }
    rows.col = realloc(b->col, (rows.nnz + 1) * sizeof(*rows.col));
    rows.col = rows.col ? rows.col : b->col; /* what cannot shrink stays */
    rows.value = realloc(b->value, (rows.nnz + 1) * sizeof(*rows.value));
    rows.value = rows.value ? rows.value : b->value;
    b->col = NULL;
    b->value = NULL;
    *ret_rows = rows;
    return ERR_OK;
}

int neighbours_build(const struct csr *R, const struct neighbours_options *options,
                     struct team *team, struct csr *ret_rows, float **ret_scale,
                     float *ret_ridge, struct err *err)
{
    struct building *b = calloc(1, sizeof(*b));
    if (!b)
        return err_oom(err, "neighbours");
    b->R = R;
    b->o = options ? *options : neighbours_defaults;
    neighbours_check(&b->o);
    int status = building_init(b, err);
    if (status == ERR_OK) {
        measure(b);
        status = choose_head(b, err);
    }
    if (status == ERR_OK)
        status = run_parts(b, team, fill_head, err);
    if (status == ERR_OK)
        status = run_parts(b, team, make_rows, err);
    if (status == ERR_OK)
        status = take_rows(b, ret_rows, err);
    if (status == ERR_OK) {
        *ret_scale = b->scale;
        *ret_ridge = b->ridge;
        b->scale = NULL;
    }
    building_done(b);
    free(b);
    return status;
}
