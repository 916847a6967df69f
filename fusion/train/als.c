#include "fusion/train/als.h"

#include "fusion/math/pca.h"
#include "fusion/math/rng.h"
#include "fusion/math/spd.h"
#include "fusion/math/team.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum {
    SLICES_MAX = 32,         /* of the rows: Gram matrices made apart, added in order */
    SLICE_NUMBERS = 1 << 22, /* of all of them together: fewer slices for a great width */
    SLICE_ROWS = 1024,       /* summed in float, at least; more are added in double */
    CHUNK_PAIRS = 2048,      /* that a thread takes at a time, and the rest of a row */
    TURN_ROWS = 192,         /* that a thread turns at a time */
};

#define START_LENGTH .1F /* of an item's vector, on average */

/* One side while it trains; rows of stride D = spd_padded(d), zero from column d on. */
struct side {
    struct csr pairs; /* rows of this side */
    float *rows;      /* (n, D) */
    uint32_t *active; /* (n_active) rows with a pair */
    uint32_t n_active;
    uint32_t *chunk; /* (n_chunks + 1) first rows */
    size_t n_chunks;
};

struct job {
    const struct als_options *o;
    struct team *team;
    unsigned n_workers;
    size_t D, scratch_floats;
    float *scratch;         /* (n_workers, scratch_floats) */
    const float **pointers; /* (n_workers, n_pointers) */
    size_t n_pointers;      /* the most pairs of a row, and SLICE_ROWS */
    size_t slices_max;
    double *grams;             /* (slices_max, D, D) */
    double *C, *strength, *V;  /* (d, d), (d), (d, d) */
    float *turn;               /* (d, d) rows = the new axes */
    float *power;              /* (d) */
    struct gemm_matrix packed; /* turn */
    struct side side[2];       /* users, items */
    float a0, lambda;
    /* Of the loop that runs. */
    struct side *solved, *given;
    struct fold fold;
    size_t n_slices;
    atomic_size_t next;
    atomic_bool overflow;
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void als_options_init(struct als_options *o)
{
    *o = (struct als_options){.d = 128, .sweeps = 12, .c = .5F, .seed = 1, .threads = 1};
}

/* The pairs of R with rows and columns exchanged. */
static int transpose(const struct csr *R, struct csr *ret_T, struct err *err)
{
    struct csr T;
    int status = csr_new(R->n_cols, R->n_rows, R->nnz, &T, err);
    size_t *next = malloc(((size_t)R->n_cols + 1) * sizeof(*next));

    if (status == ERR_OK && next == NULL) {
        csr_done(&T);
        status = err_oom(err, "alternating least squares");
    }
    if (status == ERR_OK) {
        for (size_t e = 0; e < R->nnz; e++)
            T.start[R->col[e] + 1]++;
        for (uint32_t i = 0; i < T.n_rows; i++)
            T.start[i + 1] += T.start[i];
        memcpy(next, T.start, T.n_rows * sizeof(*next));
        for (uint32_t u = 0; u < R->n_rows; u++)
            for (size_t e = R->start[u]; e < R->start[u + 1]; e++)
                T.col[next[R->col[e]]++] = u;
        *ret_T = T;
    }
    free(next);
    return status;
}

/* Rows with about CHUNK_PAIRS pairs together, so that threads end at about the same time. */
static int side_new(struct side *side, size_t D, struct err *err)
{
    const struct csr *pairs = &side->pairs;
    size_t n = pairs->n_rows, n_max = n / CHUNK_PAIRS + pairs->nnz / CHUNK_PAIRS + 2;
    uint32_t first = 0;

    side->rows = gemm_alloc(n * D);
    side->chunk = malloc((n_max + 1) * sizeof(*side->chunk));
    side->active = malloc((n + 1) * sizeof(*side->active));
    if (side->rows == NULL || side->chunk == NULL || side->active == NULL)
        return err_oom(err, "alternating least squares");
    for (uint32_t i = 0; i < n; i++) {
        if (csr_degree(pairs, i) > 0)
            side->active[side->n_active++] = i;
        if (pairs->start[i + 1] - pairs->start[first] + (i + 1 - first) >= CHUNK_PAIRS ||
            i + 1 == n) {
            side->chunk[side->n_chunks++] = first;
            first = i + 1;
        }
    }
    side->chunk[side->n_chunks] = (uint32_t)n;
    return ERR_OK;
}

static void side_done(struct side *side)
{
    free(side->rows);
    free(side->chunk);
    free(side->active);
}

/* Normal numbers by Box and Muller's polar method as Marsaglia has it: two at a time. */
static void fill_normal(struct rng *rng, float *ret_x, size_t n, float deviation)
{
    for (size_t i = 0; i < n; i += 2) {
        double x, y, square;

        do {
            x = 2 * (double)rng_float(rng) - 1;
            y = 2 * (double)rng_float(rng) - 1;
            square = x * x + y * y;
        } while (square >= 1 || square == 0);
        square = sqrt(-2 * log(square) / square);
        ret_x[i] = deviation * (float)(x * square);
        if (i + 1 < n)
            ret_x[i + 1] = deviation * (float)(y * square);
    }
}

/* Items without pairs draw nothing: where they stand among the others changes nothing. */
static void start_items(struct job *job)
{
    struct side *items = &job->side[1];
    const float deviation = START_LENGTH / sqrtf((float)job->o->d);
    struct rng rng;

    rng_init(&rng, job->o->seed);
    for (uint32_t i = 0; i < items->n_active; i++)
        fill_normal(&rng, items->rows + items->active[i] * job->D, job->o->d, deviation);
}

/* The upper triangle of YᵀY of one slice of the given side. */
static void gram_slice(void *arg, size_t worker)
{
    struct job *job = arg;
    const struct gemm_kernel *kernel = gemm_kernel_best();
    const size_t D = job->D, n = job->given->n_active, n_slices = job->n_slices;
    float *sum = job->scratch + worker * job->scratch_floats, *pack = sum + D * D;
    const float **rows = job->pointers + worker * job->n_pointers;

    for (size_t slice; (slice = atomic_fetch_add(&job->next, 1)) < n_slices;) {
        size_t first = n * slice / n_slices, end = n * (slice + 1) / n_slices;
        double *gram = job->grams + slice * D * D;

        memset(gram, 0, D * D * sizeof(*gram));
        for (size_t i = first; i < end; i += SLICE_ROWS) {
            size_t n_rows = end - i < SLICE_ROWS ? end - i : SLICE_ROWS;

            memset(sum, 0, D * D * sizeof(*sum));
            for (size_t s = 0; s < n_rows; s++)
                rows[s] = job->given->rows + job->given->active[i + s] * D;
            spd_add_rows(kernel, rows, n_rows, D, pack, sum);
            for (size_t e = 0; e < D * D; e++)
                gram[e] += (double)sum[e];
        }
    }
}

static void run_workers(struct job *job, void (*work)(void *arg, size_t worker))
{
    atomic_store(&job->next, 0);
    team_run(job->team, job->n_workers, work, job);
}

static void turn_rows(void *arg, size_t worker)
{
    struct job *job = arg;
    const size_t D = job->D, n = job->given->pairs.n_rows;
    float *turned = job->scratch + worker * job->scratch_floats, *work = turned + TURN_ROWS * D;

    for (size_t first; (first = TURN_ROWS * atomic_fetch_add(&job->next, 1)) < n;) {
        size_t n_rows = n - first < TURN_ROWS ? n - first : TURN_ROWS;
        float *rows = job->given->rows + first * D;

        gemm_run(&job->packed, rows, D, n_rows, turned, D, false, work);
        for (size_t i = 0; i < n_rows; i++)
            memcpy(rows + i * D, turned + i * D, job->o->d * sizeof(*rows));
    }
}

/* The given side in the basis in which its Gram matrix is diagonal; job->power. */
static int turn_given(struct job *job, struct err *err)
{
    const size_t d = job->o->d, D = job->D, n = job->given->n_active;
    int status;

    job->n_slices = (n + SLICE_ROWS - 1) / SLICE_ROWS;
    if (job->n_slices > job->slices_max)
        job->n_slices = job->slices_max;
    run_workers(job, gram_slice);
    memset(job->C, 0, d * d * sizeof(*job->C));
    for (size_t slice = 0; slice < job->n_slices; slice++)
        for (size_t a = 0; a < d; a++)
            for (size_t b = a; b < d; b++)
                job->C[a * d + b] += job->grams[slice * D * D + a * D + b];
    status = pca_strongest(job->C, d, d, job->strength, job->V, err);
    if (status != ERR_OK)
        return status;
    for (size_t a = 0; a < d; a++) {
        double strength = job->strength[a] > 0 ? job->strength[a] : 0;

        job->power[a] =
            (float)((double)job->a0 *
                    (strength + (double)job->lambda * (double)job->given->n_active));
    }
    for (size_t e = 0; e < d * d; e++)
        job->turn[e] = (float)job->V[e];
    gemm_pack(&job->packed, 0, job->turn, d, 1, d);
    run_workers(job, turn_rows);
    return ERR_OK;
}

/* Asks for the vectors that row i rests on while the row before it is solved, which is worth 6 % with
 * 50,000 users. */
static void fetch_ahead(const struct job *job, uint32_t i)
{
    enum { ROWS_AHEAD = 64, LINE = 16 }; /* floats */
    const struct csr *pairs = &job->solved->pairs;
    size_t first = pairs->start[i], end = pairs->start[i + 1];

    if (end - first > ROWS_AHEAD)
        end = first + ROWS_AHEAD;
    for (size_t e = first; e < end; e++) {
        const float *row = job->given->rows + pairs->col[e] * job->D;

        for (size_t a = 0; a < job->o->d; a += LINE)
            __builtin_prefetch(row + a);
    }
}

static void solve_rows(void *arg, size_t worker)
{
    struct job *job = arg;
    const struct csr *pairs = &job->solved->pairs;
    const size_t D = job->D;
    float *scratch = job->scratch + worker * job->scratch_floats;
    const float **rows = job->pointers + worker * job->n_pointers;

    for (size_t chunk; (chunk = atomic_fetch_add(&job->next, 1)) < job->solved->n_chunks;) {
        for (uint32_t i = job->solved->chunk[chunk]; i < job->solved->chunk[chunk + 1]; i++) {
            size_t n = csr_degree(pairs, i);

            for (size_t s = 0; s < n; s++)
                rows[s] = job->given->rows + pairs->col[pairs->start[i] + s] * D;
            if (i + 1 < pairs->n_rows)
                fetch_ahead(job, i + 1);
            if (fold_user(&job->fold, rows, n, scratch, job->solved->rows + i * D, NULL) !=
                ERR_OK)
                atomic_store(&job->overflow, true);
        }
    }
}

static int half_sweep(struct job *job, int solved, struct err *err)
{
    int status;

    job->solved = &job->side[solved];
    job->given = &job->side[!solved];
    status = turn_given(job, err);
    if (status != ERR_OK)
        return status;
    job->fold = (struct fold){.d = job->o->d, .lambda = job->lambda, .power = job->power};
    run_workers(job, solve_rows);
    if (atomic_load(&job->overflow))
        return err_fatal(err, EX_SOFTWARE, "alternating least squares diverged");
    return ERR_OK;
}

/* Of the formulas at the head of als.h. */
static void weigh(struct job *job, size_t n_pairs)
{
    const double pairs = (double)n_pairs;
    const double users = job->side[0].n_active, items = job->side[1].n_active;

    if (n_pairs == 0)
        return;
    job->a0 = (float)(ALS_EMPTY * pairs / (users * items));
    job->lambda = (float)((double)job->o->c / 5 * (sqrt(users / pairs) + sqrt(items / pairs)));
}

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int job_new(struct job *job, struct err *err)
{
    const size_t d = job->o->d, D = job->D;
    const struct fold fold = {.d = job->o->d};
    int status = ERR_OK;

    job->n_pointers = SLICE_ROWS;
    for (int i = 0; i < 2 && status == ERR_OK; i++) {
        const struct csr *pairs = &job->side[i].pairs;

        for (uint32_t row = 0; row < pairs->n_rows; row++)
            job->n_pointers = largest(job->n_pointers, csr_degree(pairs, row));
        status = side_new(&job->side[i], D, err);
    }
    if (status == ERR_OK)
        status = gemm_new(d, d, NULL, &job->packed, err);
    if (status == ERR_OK)
        status = team_new(job->n_workers, &job->team, err);
    job->scratch_floats = largest(fold_scratch(&fold), D * D + D * SPD_DEPTH);
    job->scratch_floats = largest(job->scratch_floats, TURN_ROWS * D + GEMM_SCRATCH);
    job->scratch = gemm_alloc(job->n_workers * job->scratch_floats);
    job->pointers = calloc(job->n_workers * job->n_pointers, sizeof(*job->pointers));
    job->slices_max =
        SLICE_NUMBERS / (D * D) < SLICES_MAX ? SLICE_NUMBERS / (D * D) : SLICES_MAX;
    job->grams = calloc(job->slices_max * D * D, sizeof(*job->grams));
    job->C = calloc(2 * d * d + d, sizeof(*job->C));
    job->turn = calloc(d * d, sizeof(*job->turn));
    job->power = calloc(d, sizeof(*job->power));
    if (status == ERR_OK &&
        !(job->scratch && job->pointers && job->grams && job->C && job->turn && job->power))
        status = err_oom(err, "alternating least squares");
    if (status == ERR_OK) {
        job->V = job->C + d * d;
        job->strength = job->V + d * d;
    }
    return status;
}

static void job_done(struct job *job)
{
    for (int i = 0; i < 2; i++)
        side_done(&job->side[i]);
    csr_done(&job->side[1].pairs);
    gemm_done(&job->packed);
    team_free(job->team);
    free(job->scratch);
    free(job->pointers);
    free(job->grams);
    free(job->C);
    free(job->turn);
    free(job->power);
}

static int sweeps(struct job *job, struct err *err)
{
    const struct als_options *o = job->o;
    int status;

    start_items(job);
    status = half_sweep(job, 0, err);
    for (uint32_t sweep = 1; status == ERR_OK && sweep <= o->sweeps; sweep++) {
        status = half_sweep(job, 1, err);
        if (status == ERR_OK)
            status = half_sweep(job, 0, err);
        if (status == ERR_OK && o->progress != NULL && !o->progress(o->arg, sweep))
            break;
    }
    return status;
}

/* The rows without their padding. */
static float *take_rows(const struct side *side, size_t d, size_t D)
{
    const size_t n = side->pairs.n_rows;
    float *rows = gemm_alloc(n * d);

    for (size_t i = 0; rows != NULL && i < n; i++)
        memcpy(rows + i * d, side->rows + i * D, d * sizeof(*rows));
    return rows;
}

static int take(struct job *job, struct als *ret, struct err *err)
{
    const uint32_t d = job->o->d;
    struct als als = {.n_users = job->side[0].pairs.n_rows,
                      .n_items = job->side[1].pairs.n_rows,
                      .d = d,
                      .users = take_rows(&job->side[0], d, job->D),
                      .items = take_rows(&job->side[1], d, job->D)};

    if (als.users == NULL || als.items == NULL) {
        als_done(&als);
        return err_oom(err, "alternating least squares");
    }
    als.power = job->power;
    als.fold = (struct fold){.d = d, .lambda = job->lambda, .power = als.power};
    job->power = NULL;
    *ret = als;
    return ERR_OK;
}

int als_train(const struct als_options *o, const struct csr *R, struct als *ret,
              struct err *err)
{
    const double start = now_s();
    struct job job = {.o = o,
                      .D = spd_padded(o->d),
                      .n_workers = o->threads > 1 ? o->threads : 1,
                      .lambda = 1};
    int status;

    assert(o->d >= 1 && o->d <= FOLD_WIDTH_MAX && o->sweeps >= 1);
    assert(isfinite(o->c) && o->c > 0);
    job.side[0].pairs = *R;
    status = transpose(R, &job.side[1].pairs, err);
    if (status == ERR_OK)
        status = job_new(&job, err);
    if (status == ERR_OK) {
        weigh(&job, R->nnz);
        if (R->nnz > 0)
            status = sweeps(&job, err);
        for (uint32_t a = 0; R->nnz == 0 && a < o->d; a++)
            job.power[a] = 1;
    }
    if (status == ERR_OK)
        status = take(&job, ret, err);
    if (status == ERR_OK)
        ret->seconds = now_s() - start;
    job_done(&job);
    return status;
}

void als_done(struct als *als)
{
    free(als->users);
    free(als->items);
    free(als->power);
    *als = (struct als){0};
}
