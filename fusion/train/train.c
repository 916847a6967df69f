/* An epoch visits every training pair once in a seeded order; each gets its negatives, drawn
 * uniformly among the items that its user has not in training (as the authors') but somebody has:
 * an item that nobody could choose yet would only ever be pushed away. That took Recall@20 among
 * items that nobody has from .079 to .084 (docs/design/fusion/208-negatives.md). */

#include "fusion/train/train.h"

#include "config/clock.h"
#include "fusion/math/gemm.h"
#include "fusion/train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

/* ---- sizes ---- */

enum { WIDTH_MAX = 1024, HIDDEN_MAX = 3, BATCH_MAX = 32768, BATCH_MIN = 64, STEPS = 16 };

void train_widths(int32_t F, int32_t out, struct model_shape *shape)
{
    int32_t width = WIDTH_MAX;

    while (width > F / 2)
        width /= 2;
    shape->L = 0;
    for (; shape->L < HIDDEN_MAX && width > out; width /= 2)
        shape->width[++shape->L] = width;
    shape->width[++shape->L] = out;
}

uint32_t train_batch(size_t n_pairs)
{
    size_t batch = n_pairs / STEPS + (n_pairs % STEPS != 0);

    return batch > BATCH_MAX ? BATCH_MAX : batch < BATCH_MIN ? BATCH_MIN : (uint32_t)batch;
}

/* ---- epochs ---- */

struct loop {
    const struct train_options *o;
    const struct trainee_data *data;
    struct trainee *t;
    struct csr seen; /* (users, items) */
    uint32_t *order; /* (n_pairs) */
    double *reach;   /* (n_pairs) sums of the strengths; NULL = all alike */
    uint32_t *users, *positives, *negatives; /* (batch), (batch), (batch, K) */
    uint32_t *warm, n_warm;                  /* items of the pairs, ascending */
    float *best;                             /* (n_weights) */
    const struct csr_pair *valid;
    size_t n_valid;
    struct csr_pair *judged; /* (n_judged) those of `valid` that validation ranks for */
    size_t n_judged;
    struct train_result *r;
    int64_t start_us;
    uint32_t since; /* epochs since the last point of the curve */
    double loss;    /* their sum */
    uint64_t key;   /* of the checkpoint */
    int64_t kept_us;
};

void train_options_init(struct train_options *o)
{
    *o = (struct train_options){.max_epochs = 200,
                                .batch = 3000,
                                .evaluate_every = 2,
                                .patience = 10,
                                .least_gain = 0.01F,
                                .valid_users = 4000,
                                .checkpoint_s = 60};
    trainee_options_init(&o->model);
}

static uint32_t draw_negative(struct loop *l, uint32_t user)
{
    uint32_t item = 0;
    for (int tries = 0; tries < 100; tries++) {
        item = l->warm[rng_below(&l->t->rng, l->n_warm)];
        if (!csr_has(&l->seen, user, item))
            return item;
    }
    return item;
}

/* The first pair whose sum is above x. */
static uint32_t find_pair(const double *reach, size_t n, double x)
{
    size_t first = 0, last = n - 1;

    while (first < last) {
        size_t middle = first + (last - first) / 2;

        if (reach[middle] > x)
            last = middle;
        else
            first = middle + 1;
    }
    return (uint32_t)first;
}

/* The pairs of an epoch: each once, or, where their strengths differ, n draws by strength. */
static void order_pairs(struct loop *l)
{
    size_t n = l->data->n_pairs;

    if (!l->reach) {
        rng_shuffle(&l->t->rng, l->order, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double x = (double)(rng_next(&l->t->rng) >> 11) * 0x1p-53; /* [0, 1) */

        l->order[i] = find_pair(l->reach, n, x * l->reach[n - 1]);
    }
}

static double run_epoch(struct loop *l)
{
    size_t n = l->data->n_pairs, n_steps = 0, K = l->t->o.negatives;
    double loss = 0;
    order_pairs(l);
    for (size_t first = 0; first < n; first += l->o->batch) {
        size_t B = n - first < l->o->batch ? n - first : l->o->batch;
        for (size_t b = 0; b < B; b++) {
            const struct csr_pair *pair = &l->data->pairs[l->order[first + b]];
            l->users[b] = pair->row;
            l->positives[b] = pair->col;
            for (size_t k = 0; k < K; k++)
                l->negatives[b * K + k] = draw_negative(l, pair->row);
        }
        loss += trainee_step(l->t, l->users, l->positives, l->negatives, B);
        n_steps++;
        if (l->o->on_step)
            l->o->on_step(l->o->on_step_arg, l->r->n_epochs + 1, n_steps,
                          (n + l->o->batch - 1) / l->o->batch);
    }
    return n_steps ? loss / (double)n_steps : 0;
}

/* ---- evaluation: the users of the test pairs, gathered into rows of their own ---- */

struct test {
    uint32_t n_users;
    uint32_t *user;  /* (n_users) row in the model */
    size_t *start;   /* (n_users + 1) */
    uint32_t *item;  /* (n_test) */
    float *vectors;  /* (n_users, D) */
    struct csr seen; /* (n_users, n_items) */
    uint8_t *warm;   /* (n_items) */
};

static void test_done(struct test *test)
{
    free(test->user);
    free(test->start);
    free(test->item);
    free(test->vectors);
    free(test->warm);
    csr_done(&test->seen);
}

/* The seen pairs of the test's users, and which items are warm. */
static int test_mask(const struct trainee *t, struct test *test, struct err *err)
{
    const struct csr *adjacency = &t->graph.adjacency;
    uint32_t n_users = t->data->n_users;
    size_t n = 0, nnz = 0;
    for (uint32_t i = 0; i < t->data->n_items; i++)
        test->warm[i] = t->n_interactions[i] > 0;
    for (uint32_t u = 0; u < test->n_users; u++)
        nnz += csr_degree(adjacency, test->user[u]);
    struct csr_pair *pairs = malloc((nnz + 1) * sizeof(*pairs));
    if (!pairs)
        return err_oom(err, "an evaluation");
    for (uint32_t u = 0; u < test->n_users; u++)
        for (size_t e = adjacency->start[test->user[u]];
             e < adjacency->start[test->user[u] + 1]; e++)
            pairs[n++] = (struct csr_pair){u, adjacency->col[e] - n_users};
    int status = csr_from_pairs(pairs, n, test->n_users, t->data->n_items, &test->seen, err);
    free(pairs);
    return status;
}

static int test_init(const struct trainee *t, const struct csr_pair *pairs, size_t n,
                     struct test *test, struct err *err)
{
    *test = (struct test){0};
    struct csr_pair *sorted = malloc((n + 1) * sizeof(*sorted));
    test->user = malloc((n + 1) * sizeof(*test->user));
    test->start = calloc(n + 2, sizeof(*test->start));
    test->item = malloc((n + 1) * sizeof(*test->item));
    test->warm = malloc((size_t)t->data->n_items + 1);
    test->vectors = malloc((n * t->D + 1) * sizeof(*test->vectors));
    if (!sorted || !test->user || !test->start || !test->item || !test->warm ||
        !test->vectors) {
        free(sorted);
        return err_oom(err, "an evaluation");
    }
    memcpy(sorted, pairs, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), csr_pair_order);
    for (size_t i = 0; i < n; i++) {
        if (!i || sorted[i].row != sorted[i - 1].row) {
            test->user[test->n_users] = sorted[i].row;
            memcpy(test->vectors + test->n_users * t->D, t->out + sorted[i].row * t->D,
                   t->D * sizeof(float));
            test->start[test->n_users++] = i;
        }
        test->item[i] = sorted[i].col;
    }
    test->start[test->n_users] = n;
    free(sorted);
    return test_mask(t, test, err);
}

int train_evaluate(const struct trainee *t, const struct csr_pair *pairs, size_t n_test,
                   const uint32_t *cuts, uint32_t n_cuts, struct evaluate_result *ret_result,
                   struct err *err)
{
    struct test test;
    int status = test_init(t, pairs, n_test, &test, err);
    if (!status) {
        struct evaluate_task task = {
            .users = test.vectors,
            .items = t->out + (size_t)t->data->n_users * t->D,
            .n_users = test.n_users,
            .n_items = t->data->n_items,
            .D = (uint32_t)t->D,
            .seen = &test.seen,
            .item_warm = test.warm,
            .test_start = test.start,
            .test_item = test.item,
            .cuts = cuts,
            .n_cuts = n_cuts,
            .team = t->team,
        };
        status = evaluate_run(&task, ret_result, err);
    }
    test_done(&test);
    return status;
}

/* ---- the loop ---- */

static int validate(struct loop *l, struct train_point *point, struct err *err)
{
    static const uint32_t cuts[] = {10, 20};
    struct evaluate_result result;
    trainee_swap_average(l->t);
    trainee_forward(l->t);
    int status = train_evaluate(l->t, l->judged, l->n_judged, cuts, 2, &result, err);
    if (status)
        return status; /* the training ends */
    point->ndcg_10 = result.at[EVALUATE_OVERALL][0].ndcg;
    point->ndcg = result.at[EVALUATE_OVERALL][1].ndcg;
    point->recall = result.at[EVALUATE_OVERALL][1].recall;
    point->best = true;
    for (size_t i = 0; i < l->r->n_points; i++)
        point->best = point->best && point->ndcg > l->r->curve[i].ndcg;
    if (point->best) {
        memcpy(l->best, l->t->w, l->t->n_weights * sizeof(*l->best));
        l->r->best_epoch = point->epoch;
        l->r->valid = result;
    }
    trainee_swap_average(l->t);
    return ERR_OK;
}

static int add_point(struct loop *l, const struct train_point *point, struct err *err)
{
    struct train_point *curve = realloc(l->r->curve, (l->r->n_points + 1) * sizeof(*curve));
    if (!curve)
        return err_oom(err, "the learning curve");
    l->r->curve = curve;
    curve[l->r->n_points++] = *point;
    return ERR_OK;
}

static bool has_enough(const struct loop *l)
{
    const struct train_point *curve = l->r->curve;
    uint32_t last = l->r->n_points ? curve[l->r->n_points - 1].epoch : 0;
    double before = 0, best = 0;

    if (!l->n_valid || last <= l->o->patience)
        return false;
    for (size_t i = 0; i < l->r->n_points; i++) {
        best = curve[i].ndcg > best ? curve[i].ndcg : best;
        if (curve[i].epoch + l->o->patience <= last)
            before = best;
    }
    return best <= (1 + (double)l->o->least_gain) * before;
}

static struct checkpoint state(const struct loop *l)
{
    return (struct checkpoint){.t = l->t,
                               .order = l->order,
                               .n_order = l->data->n_pairs,
                               .best = l->best,
                               .epoch = l->r->n_epochs,
                               .since = l->since,
                               .loss = l->loss,
                               .seconds = (double)(clock_mono_us() - l->start_us) * 1e-6,
                               .best_epoch = l->r->best_epoch,
                               .valid = l->r->valid,
                               .curve = l->r->curve,
                               .n_points = l->r->n_points};
}

static int keep(struct loop *l, bool now, struct err *err)
{
    int64_t due_us = l->kept_us + (int64_t)(l->o->checkpoint_s * 1e6);
    if (!l->o->checkpoint || (!now && clock_mono_us() < due_us))
        return ERR_OK;
    const struct checkpoint c = state(l);
    int status = checkpoint_save(l->o->checkpoint, &c, l->key, err);
    l->kept_us = clock_mono_us();
    return status;
}

static int resume(struct loop *l, struct err *err)
{
    l->key = l->o->checkpoint ? checkpoint_key(l->o, l->data, l->valid, l->n_valid) : 0;
    if (!l->o->checkpoint || !l->o->resume)
        return ERR_OK;
    struct checkpoint c = state(l);
    int status = checkpoint_load(l->o->checkpoint, &c, l->key, err);
    if (status)
        return status;
    l->since = c.since;
    l->loss = c.loss;
    l->start_us -= (int64_t)(c.seconds * 1e6);
    l->r->curve = c.curve;
    l->r->n_points = c.n_points;
    l->r->n_epochs = c.epoch;
    l->r->best_epoch = c.best_epoch;
    l->r->valid = c.valid;
    return ERR_OK;
}

/* One point of the curve; *ret_go_on: there is something to be hoped for. */
static int take_point(struct loop *l, struct train_point *point, bool *ret_go_on,
                      struct err *err)
{
    *point = (struct train_point){.epoch = l->r->n_epochs, .loss = l->loss / l->since};
    int status = l->n_valid ? validate(l, point, err) : ERR_OK;
    point->seconds = (double)(clock_mono_us() - l->start_us) * 1e-6;
    if (!status)
        status = add_point(l, point, err);
    *ret_go_on = !status && !has_enough(l);
    l->loss = l->since = 0;
    return status;
}

static int run(struct loop *l, train_progress *progress, void *arg, struct err *err)
{
    bool go_on = !has_enough(l); /* else it was resumed */
    bool given_up = false;
    uint32_t every = l->o->evaluate_every ? l->o->evaluate_every : 1;
    struct train_point point;
    if (l->since && l->r->n_epochs >= l->o->max_epochs) { /* kept before its last point */
        int status = take_point(l, &point, &go_on, err);
        if (status)
            return status;
    }
    while (l->r->n_epochs < l->o->max_epochs && go_on) {
        l->loss += run_epoch(l);
        l->since++;
        bool last = ++l->r->n_epochs == l->o->max_epochs, due = l->r->n_epochs % every == 0;
        /* The last point of a short training is none of a longer one's. */
        int status = last && !due ? keep(l, true, err) : ERR_OK;
        if (!status && (due || last))
            status = take_point(l, &point, &go_on, err);
        if (status)
            return status;
        given_up = progress && !progress(arg, l->r->n_epochs, due || last ? &point : NULL);
        go_on = go_on && !given_up;
        status = last && !due ? ERR_OK : keep(l, last || !go_on, err);
        if (status)
            return status;
    }
    l->r->end = given_up ? TRAIN_GIVEN_UP : go_on ? TRAIN_AT_BOUND : TRAIN_HAS_ENOUGH;
    trainee_swap_average(l->t); /* what is published */
    if (l->n_valid && l->r->best_epoch)
        memcpy(l->t->w, l->best, l->t->n_weights * sizeof(*l->best));
    trainee_forward(l->t);
    return ERR_OK;
}

/* None where all pairs are alike, so that such data train as they always have. */
static int sum_strengths(struct loop *l, struct err *err)
{
    const float *strength = l->data->strength;
    size_t n = l->data->n_pairs, n_alike = 0;
    double sum = 0;

    while (strength && n_alike < n && strength[n_alike] == strength[0])
        n_alike++;
    if (!strength || n_alike == n)
        return ERR_OK;
    l->reach = malloc((n + 1) * sizeof(*l->reach));
    if (!l->reach)
        return err_oom(err, "training");
    for (size_t i = 0; i < n; i++)
        l->reach[i] = sum += (double)strength[i];
    return ERR_OK;
}

/* The pairs of every so many-th user who has any, all of each. */
static int choose_judged(struct loop *l, struct err *err)
{
    size_t n = l->n_valid, n_users = 0, user = 0, most = l->o->valid_users;
    struct csr_pair *sorted = malloc((n + 1) * sizeof(*sorted));

    if (!sorted)
        return err_oom(err, "the validation pairs");
    l->judged = sorted;
    l->n_judged = n;
    if (n)
        memcpy(sorted, l->valid, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), csr_pair_order);
    for (size_t i = 0; i < n; i++)
        n_users += !i || sorted[i].row != sorted[i - 1].row;
    if (!most || n_users <= most)
        return ERR_OK;
    l->n_judged = 0;
    for (size_t i = 0, last = 0; i < n; i++) {
        user += i && sorted[i].row != last;
        last = sorted[i].row;
        if (user * most / n_users != (user + 1) * most / n_users)
            sorted[l->n_judged++] = sorted[i];
    }
    return ERR_OK;
}

static int loop_init(struct loop *l, struct err *err)
{
    size_t n = l->data->n_pairs, B = l->o->batch < n ? l->o->batch : n;
    int status =
        csr_from_pairs(l->data->pairs, n, l->data->n_users, l->data->n_items, &l->seen, err);
    if (status)
        return status;
    l->order = malloc((n + 1) * sizeof(*l->order));
    l->users = malloc(((2 + l->t->o.negatives) * B + 1) * sizeof(*l->users));
    l->warm = malloc((l->data->n_items + 1) * sizeof(*l->warm));
    l->best = gemm_alloc(l->t->n_weights);
    if (!l->order || !l->users || !l->warm || !l->best)
        return err_oom(err, "training");
    for (uint32_t i = 0; i < l->data->n_items; i++)
        if (l->t->n_interactions[i] > 0)
            l->warm[l->n_warm++] = i;
    l->positives = l->users + B;
    l->negatives = l->positives + B;
    for (size_t i = 0; i < n; i++)
        l->order[i] = (uint32_t)i;
    status = sum_strengths(l, err);
    return status ? status : choose_judged(l, err);
}

int train_run(const struct train_options *o, const struct trainee_data *data,
              const struct csr_pair *valid, size_t n_valid, const struct train_warm *warm,
              train_progress *progress, void *arg, struct train_result *ret_result,
              struct err *err)
{
    struct train_result result = {0};
    struct loop l = {.o = o,
                     .data = data,
                     .valid = valid,
                     .n_valid = n_valid,
                     .r = &result,
                     .start_us = clock_mono_us()};
    int status = trainee_new(&o->model, data, &l.t, err);
    if (!status && warm)
        status = trainee_warm_start(l.t, warm->from, warm->user_map, warm->item_map, err);
    if (!status)
        status = loop_init(&l, err);
    if (!status)
        status = resume(&l, err);
    if (!status)
        status = run(&l, progress, arg, err);
    csr_done(&l.seen);
    free(l.order);
    free(l.reach);
    free(l.judged);
    free(l.users);
    free(l.warm);
    free(l.best);
    result.trainee = l.t;
    result.seconds = (double)(clock_mono_us() - l.start_us) * 1e-6;
    if (status)
        train_result_done(&result);
    else
        *ret_result = result;
    return status;
}

void train_result_done(struct train_result *r)
{
    trainee_free(r->trainee);
    free(r->curve);
    *r = (struct train_result){0};
}
