/* Recommendation on real data: trains models in C and prints one line for each run, so that a
 * recipe can be chosen and a table made. Data: a folder with image_feat.npy, audio_feat.npy (row =
 * item), trn.tsv (user TAB item); or "planted" or "control" (planted.h, from `seed`).
 *
 *     ninja bench_recommend && bin/bench_recommend DATA [name=value …] [runs=N]
 *
 * Without test=FILE the pairs are split: `held` pairs of trn.tsv, one a user, drawn without
 * replacement with weight deg(user)^-1 deg(item)^-0.35 among users of two pairs and more (the way
 * val.tsv looks; a uniform split lets popularity win), decide when to stop and are reported. With
 * test=FILE all of trn.tsv trains for `epochs` epochs and FILE is evaluated once. With hide=1 a
 * tenth of the items loses every pair, and the pairs lost are reported too, ranked among all items
 * and among the hidden ones. Run n has seed and split seed `seed` + n, and `members` trainings that are
 * judged as one. The names: bench_recommend_options.c. */

#include "bench_recommend.h"
#include "floor.h"
#include "planted.h"
#include "split.h"

#include "fusion/train/ensemble.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What one run trains and is judged on. */
struct task {
    struct pairs train, held, hidden;
    uint8_t *is_hidden; /* (n_items) */
};

static void *need(void *memory)
{
    if (!memory)
        die("memory", "none left");
    return memory;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- data ---- */

static struct pairs read_pairs(const char *path)
{
    struct pairs p = {0};
    size_t room = 0;
    FILE *in = fopen(path, "r");
    if (!in)
        die(path, strerror(errno));
    struct csr_pair pair;
    while (fscanf(in, "%u %u", &pair.row, &pair.col) == 2) {
        if (p.n == room) {
            room = 2 * room + 1024;
            p.pair = need(realloc(p.pair, room * sizeof(*p.pair)));
        }
        p.pair[p.n++] = pair;
    }
    fclose(in);
    return p;
}

static const char *in_folder(const struct bench *b, const char *file)
{
    static char path[4096];
    snprintf(path, sizeof(path), "%s/%s", b->folder, file);
    return path;
}

/* The folder's name is "planted" or "control" (planted.h). */
static void load_planted(struct bench *b, bool is_item_specific)
{
    if (!planted_make(is_item_specific, b->seed, &b->X, &b->all.pair))
        die("memory", "none left");
    b->all.n = (size_t)PLANTED_USERS * PLANTED_PICKS;
    b->n_users = PLANTED_USERS;
    b->n_items = PLANTED_ITEMS;
    b->mask = need(malloc(b->n_items));
    memset(b->mask, MODALITY_BIT(MODALITY_VISUAL) | MODALITY_BIT(MODALITY_ACOUSTIC),
           b->n_items);
    b->train.model.shape.modality_dim[MODALITY_VISUAL] = PLANTED_COLUMNS;
    b->train.model.shape.modality_dim[MODALITY_ACOUSTIC] = PLANTED_COLUMNS;
}

static void load(struct bench *b)
{
    struct err err = {0};
    if (npy_read(in_folder(b, "image_feat.npy"), &b->image, &err) ||
        npy_read(in_folder(b, "audio_feat.npy"), &b->audio, &err))
        die(b->folder, err.text);
    size_t V = b->image.n_cols, A = b->audio.n_cols;
    b->n_items = (uint32_t)b->image.n_rows;
    if (b->audio.n_rows != b->image.n_rows)
        die("audio_feat.npy", "another number of rows than image_feat.npy");
    b->X = need(malloc((size_t)b->n_items * (V + A) * sizeof(*b->X)));
    b->mask = need(malloc(b->n_items));
    for (size_t i = 0; i < b->n_items; i++) {
        memcpy(b->X + i * (V + A), b->image.data + i * V, V * sizeof(*b->X));
        memcpy(b->X + i * (V + A) + V, b->audio.data + i * A, A * sizeof(*b->X));
        b->mask[i] = MODALITY_BIT(MODALITY_VISUAL) | MODALITY_BIT(MODALITY_ACOUSTIC);
    }
    b->train.model.shape.modality_dim[MODALITY_VISUAL] = (int32_t)V;
    b->train.model.shape.modality_dim[MODALITY_ACOUSTIC] = (int32_t)A;
    b->all = read_pairs(in_folder(b, "trn.tsv"));
    if (b->test)
        b->test_pairs = read_pairs(b->test);
    for (size_t i = 0; i < b->all.n + b->test_pairs.n; i++) {
        const struct csr_pair *p =
            i < b->all.n ? &b->all.pair[i] : &b->test_pairs.pair[i - b->all.n];
        if (p->row >= b->n_users)
            b->n_users = p->row + 1;
        if (p->col >= b->n_items)
            die("pairs", "an item beyond the features");
    }
}

/* ---- the split ---- */

static void push(struct pairs *p, struct csr_pair pair)
{
    p->pair[p->n++] = pair;
}

/* Hidden pairs count for users who keep a training pair: the others have no history. */
static void keep_known_users(const struct bench *b, struct task *t)
{
    uint8_t *known = need(calloc(b->n_users, 1));
    size_t n = 0;
    for (size_t i = 0; i < t->train.n; i++)
        known[t->train.pair[i].row] = 1;
    for (size_t i = 0; i < t->hidden.n; i++)
        if (known[t->hidden.pair[i].row])
            t->hidden.pair[n++] = t->hidden.pair[i];
    t->hidden.n = n;
    free(known);
}

static void make_task(const struct bench *b, uint32_t seed, struct task *t)
{
    struct rng rng;
    uint8_t *held = need(calloc(b->all.n, 1));
    t->train.pair = need(malloc(b->all.n * sizeof(*t->train.pair)));
    t->held.pair = need(malloc(b->all.n * sizeof(*t->held.pair)));
    t->hidden.pair = need(malloc(b->all.n * sizeof(*t->hidden.pair)));
    t->is_hidden = need(calloc(b->n_items, 1));
    rng_init_stream(&rng, seed, 1);
    if (!b->test)
        split_hold_out(b->all.pair, b->all.n, b->n_users, b->n_items, b->held, &rng, held);
    for (uint32_t i = 0; b->hide && i < b->n_items; i++)
        t->is_hidden[i] = rng_below(&rng, 10) == 0;
    for (size_t i = 0; i < b->all.n; i++) {
        struct csr_pair pair = b->all.pair[i];
        if (held[i])
            push(&t->held, pair);
        if (t->is_hidden[pair.col])
            push(&t->hidden, pair);
        else if (!held[i])
            push(&t->train, pair);
    }
    keep_known_users(b, t);
    free(held);
}

static void task_done(struct task *t)
{
    free(t->train.pair);
    free(t->held.pair);
    free(t->hidden.pair);
    free(t->is_hidden);
}

/* ---- a run ---- */

static bool say(void *arg, uint32_t epoch, const struct train_point *p)
{
    const bool *quiet = arg;
    if (p && !*quiet)
        fprintf(stderr, "  epoch %3u loss %.4f R@20 %.4f NDCG@20 %.4f%s  %.1f s cpu\n", epoch,
                p->loss, p->recall, p->ndcg, p->best ? " *" : "", cpu_s());
    return true;
}

/* Content neighbours on the hidden pairs, instead of a training. */
static void print_floor(const struct bench *b, const struct task *t)
{
    struct csr history, test;
    struct err err = {0};
    double all, hidden;
    const int32_t *dim = b->train.model.shape.modality_dim;
    if (csr_from_pairs(t->train.pair, t->train.n, b->n_users, b->n_items, &history, &err) ||
        csr_from_pairs(t->hidden.pair, t->hidden.n, b->n_users, b->n_items, &test, &err))
        die("pairs", err.text);
    floor_content(b->X, b->n_items, (uint32_t)(dim[0] + dim[1]), (uint32_t)dim[0], &history,
                  &test, t->is_hidden, &all, &hidden);
    printf("content neighbours, hidden: Recall@20 %.4f among all, %.4f among hidden\n", all,
           hidden);
    csr_done(&history);
    csr_done(&test);
}

/* Hidden pairs ranked among the hidden items alone: cold_only without the items that have no
 * interaction at all. */
static void print_hidden_only(const struct bench *b, const struct trainee *t,
                              const struct task *task)
{
    static const uint32_t cut = 20;
    struct evaluate_result r;
    struct err err = {0};
    struct trainee copy = *t;
    size_t first = (size_t)b->n_users * t->D, n = (first + (size_t)b->n_items * t->D);
    if (!task->hidden.n)
        return;
    copy.out = need(malloc(n * sizeof(float)));
    memcpy(copy.out, t->out, n * sizeof(float));
    for (size_t i = 0; i < b->n_items; i++)
        for (size_t j = 0; j < t->D && !task->is_hidden[i]; j++)
            copy.out[first + i * t->D + j] = NAN;
    if (train_evaluate(&copy, task->hidden.pair, task->hidden.n, &cut, 1, &r, &err))
        die("hidden", err.text);
    printf(" | among hidden %.4f/%.4f", r.at[EVALUATE_OVERALL][0].recall,
           r.at[EVALUATE_OVERALL][0].ndcg);
    free(copy.out);
}

static void print_pairs(const char *what, const struct trainee *t, const struct pairs *p)
{
    static const uint32_t cut = 20;
    struct evaluate_result r;
    struct err err = {0};
    if (!p->n)
        return;
    if (train_evaluate(t, p->pair, p->n, &cut, 1, &r, &err))
        die(what, err.text);
    printf(" | %s", what);
    for (int s = 0; s < EVALUATE_SLICES; s++)
        printf(" %s %.4f/%.4f", evaluate_slice_name((enum evaluate_slice)s), r.at[s][0].recall,
               r.at[s][0].ndcg);
}

/* What the item-specific part does: every item gets the mean meta information instead of its own.
 * Prints by how much the fused half moves, relative to its length, and the figures then. */
static void diagnose(struct trainee *t, const struct pairs *held)
{
    struct fusenet *net = &t->net;
    size_t S = (size_t)net->shape.S, I = t->data->n_items, n = I * t->n_fused;
    if (!S)
        return;
    float *w = need(malloc(t->n_weights * sizeof(*w)));
    float *own = need(malloc(n * sizeof(*own)));
    double moved = 0, length = 0, spread = 0, mean_square = 0;
    memcpy(w, t->w, t->n_weights * sizeof(*w));
    memcpy(own, t->H, n * sizeof(*own));
    memset(t->w + net->W2, 0, net->H * S * sizeof(*w));
    for (size_t k = 0; k < S; k++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < I; i++) {
            sum += (double)net->s[i * S + k];
            squares += (double)net->s[i * S + k] * (double)net->s[i * S + k];
        }
        double mean = sum / (double)I;
        t->w[net->b2 + k] = (float)mean;
        mean_square += mean * mean;
        spread += squares / (double)I - mean * mean;
    }
    trainee_forward(t);
    for (size_t i = 0; i < n; i++) {
        double d = (double)(t->H[i] - own[i]);
        moved += d * d;
        length += (double)own[i] * (double)own[i];
    }
    printf(" | s: mean %.3g deviation %.3g; fused half moves by %.3f with the mean s",
           sqrt(mean_square), sqrt(spread), sqrt(moved / length));
    print_pairs("held, mean s", t, held);
    memcpy(t->w, w, t->n_weights * sizeof(*w));
    trainee_forward(t);
    free(w);
    free(own);
}

static void print_run(const struct bench *b, const struct task *task, struct ensemble *members,
                      struct train_result *last)
{
    struct trainee joined = *last->trainee;
    struct model *model;
    struct err err = {0};
    if (ensemble_join(members, last->trainee, &model, &joined.out, &err))
        die("joining", err.text);
    joined.D = (size_t)model_shape(model)->D;
    print_pairs("held", &joined, &task->held);
    print_pairs("hidden", &joined, &task->hidden);
    print_hidden_only(b, &joined, task);
    print_pairs("test", &joined, &b->test_pairs);
    if (b->diagnose)
        diagnose(last->trainee, &task->held);
    printf("\n");
    fflush(stdout);
    free(joined.out);
    model_free(model);
}

static void run(const struct bench *b, uint32_t seed)
{
    struct task task = {0};
    struct train_options o = b->train;
    struct train_result r = {0};
    struct ensemble members = {0};
    struct err err = {0};
    bool quiet = b->quiet > 0;
    make_task(b, seed, &task);
    struct trainee_data data = {.X = b->X,
                                .mask = b->mask,
                                .n_users = b->n_users,
                                .n_items = b->n_items,
                                .pairs = task.train.pair,
                                .n_pairs = task.train.n};
    if (b->floor)
        print_floor(b, &task);
    double start = cpu_s();
    for (uint32_t m = 0; m < b->members && !b->floor; m++) {
        train_result_done(&r);
        o.model.seed = ensemble_seed(seed, m);
        if (train_run(&o, &data, task.held.pair, task.held.n, NULL, say, &quiet, &r, &err) ||
            ensemble_add(&members, r.trainee, &err))
            die("training", err.text);
        printf("%s %u of %u", m ? "," : "best", r.best_epoch, r.n_epochs);
    }
    if (!b->floor) {
        printf(", seed %u, %.1f s", seed, cpu_s() - start);
        print_run(b, &task, &members, &r);
    }
    train_result_done(&r);
    ensemble_done(&members);
    task_done(&task);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    bench_recommend_parse(&b, argc, argv);
    if (!strcmp(b.folder, "planted") || !strcmp(b.folder, "control"))
        load_planted(&b, b.folder[0] == 'p');
    else
        load(&b);
    for (uint32_t i = 0; i < b.runs; i++)
        run(&b, b.seed + i);
    npy_done(&b.image);
    npy_done(&b.audio);
    free(b.X);
    free(b.mask);
    free(b.all.pair);
    free(b.test_pairs.pair);
    return EXIT_SUCCESS;
}
