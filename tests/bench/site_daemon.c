/* metammfd with a feed on standard input, for simulated sites (simulate_site.py): items whose
 * features come from arrays instead of media. What it does not go through is the extraction; from
 * there on it is the sink's thread, the active model's fusion, one transaction.
 *
 *   site_daemon CONFIG IDS.txt VISUAL.npy ACOUSTIC.npy
 *   put ROW ROW …      rows of the arrays become items, one transaction each
 *   upload ROW ROW …   the same; prints one line of JSON: how many have an embedding, how many of
 *                      them are in the top 20 of at least one user once the commits are through
 *                      (seen items masked, by a reader, as recommend does), how many are with
 *                      recommend --fresh 2; after how many seconds the commits were through, and
 *                      a reader had read what recommend reads. What comes then is one product
 *                      for a recommend, and the lists of all users here */

#include "config/clock.h"
#include "daemon/base/tsv.h"
#include "daemon/model/active_model.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/service.h"
#include "fusion/file/npy.h"
#include "fusion/math/csr.h"
#include "fusion/math/rank.h"
#include "fusion/model/fuse.h"
#include "store/writing.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOP = 20, FRESH = 2, MAX_UPLOAD = 512 };

static struct service svc;
static struct tsv ids;
static struct npy x[2]; /* visual, acoustic */
static struct active_model model;
static int64_t offset;

struct upload {
    size_t n, n_embedded, row[MAX_UPLOAD];
};

static void die(const char *what, const struct err *err)
{
    fprintf(stderr, "site_daemon: %s: %s\n", what, err->text);
    exit(1);
}

static int write_item(struct store *st, size_t row, struct upload *u, struct err *err)
{
    const struct model_shape *shape = model_shape(model.model);
    float in[8192] = {0}, e[1024];
    uint8_t mask = 0;
    char encoder[2][64];
    struct store_video v = {.pos = {"site", 0, offset++},
                            .item_id = ids.line[row],
                            .received_us = clock_real_us(),
                            .model_id = model.model_id};
    size_t at = 0;
    for (int m = 0; m < 2; m++) {
        const float *vec = x[m].data + row * x[m].n_cols;
        snprintf(encoder[m], sizeof encoder[m], "import:npy:%zu", x[m].n_cols);
        v.feature[m] = (struct store_vector){vec, (int32_t)x[m].n_cols, encoder[m]};
        if (strcmp(encoder[m], shape->encoder_id[m]) == 0) {
            memcpy(in + at, vec, x[m].n_cols * sizeof *in);
            mask |= (uint8_t)MODALITY_BIT(m);
        }
        at += (size_t)shape->modality_dim[m];
    }
    int r = fuse_items(model.model, in, &mask, 1, e, err);
    if (r != ERR_OK)
        return r;
    for (int32_t i = 0; i < shape->D && !v.embedding.vec; i++)
        if (e[i] != 0)
            v.embedding = (struct store_vector){e, shape->D, NULL};
    u->n_embedded += v.embedding.vec != NULL;
    struct store_op op = {.kind = STORE_OP_VIDEO, .video = &v};
    struct store_batch_result result;
    return store_write_batch(st, &op, 1, NULL, 0, &result, err);
}

static int write_items(struct store *st, void *arg, struct err *err)
{
    struct upload *u = arg;
    struct active_model newer;
    int r = active_model_newer(&model, st, service_settings(&svc), &newer, err);
    if (r == ERR_OK) {
        active_model_done(&model);
        model = newer;
    } else if (r != ERR_NONE) {
        return r;
    }
    r = ERR_OK;
    for (size_t i = 0; r == ERR_OK && i < u->n; i++)
        r = write_item(st, u->row[i], u, err);
    return r;
}

/* ---- who would be shown them --------------------------------------------------------------- */

static size_t find(const int64_t *sorted, size_t n, int64_t id)
{
    size_t first = 0, last = n;
    while (first < last) {
        size_t middle = (first + last) / 2;
        if (sorted[middle] < id)
            first = middle + 1;
        else
            last = middle;
    }
    return first < n && sorted[first] == id ? first : n;
}

static void read_seen(struct store *st, const struct store_rows *users,
                      const struct store_rows *items, struct csr *seen)
{
    struct store_timed_pair *timed;
    struct err err;
    size_t n, kept = 0;
    if (store_read_timed_pairs(st, &timed, &n, &err) != ERR_OK)
        die("interactions", &err);
    struct csr_pair *pairs = malloc((n + 1) * sizeof *pairs);
    for (size_t i = 0; pairs && i < n; i++) {
        size_t u = find(users->id, users->n_rows, timed[i].uid);
        size_t item = find(items->id, items->n_rows, timed[i].rid);
        if (u < users->n_rows && item < items->n_rows)
            pairs[kept++] = (struct csr_pair){(uint32_t)u, (uint32_t)item};
    }
    if (csr_from_pairs(pairs, kept, (uint32_t)users->n_rows, (uint32_t)items->n_rows, seen,
                       &err) != ERR_OK)
        die("mask", &err);
    free(timed);
    free(pairs);
}

/* What a reader has before it ranks. */
struct site {
    struct store_rows users, items;
    struct csr seen;
    uint8_t *shown; /* (items) in a list of somebody's */
};

/* Marks the items of every user's list of k, warm ones left out on request. */
static void show(struct site *s, bool cold_only, uint32_t k)
{
    size_t D = (size_t)s->items.dim, n = 0;
    uint32_t *of = malloc((s->items.n_rows + 1) * sizeof *of);
    uint32_t *at = malloc((s->items.n_rows + 1) * sizeof *at);
    uint32_t *lists = malloc(s->users.n_rows * k * sizeof *lists);
    float *vec = malloc((s->items.n_rows * D + 1) * sizeof *vec);
    struct csr seen = {0};
    struct gemm_matrix packed;
    struct err err;
    struct csr_pair *pairs = malloc((s->seen.nnz + 1) * sizeof *pairs);
    size_t n_pairs = 0;
    if (!of || !at || !lists || !vec || !pairs)
        exit(1);
    for (size_t i = 0; i < s->items.n_rows; i++) {
        at[i] = cold_only && s->items.warm[i] ? RANK_NONE : (uint32_t)n;
        if (at[i] == RANK_NONE)
            continue;
        memcpy(vec + n * D, s->items.vec + i * D, D * sizeof *vec);
        of[n++] = (uint32_t)i;
    }
    for (uint32_t u = 0; u < s->users.n_rows; u++)
        for (size_t e = s->seen.start[u]; e < s->seen.start[u + 1]; e++)
            if (at[s->seen.col[e]] != RANK_NONE)
                pairs[n_pairs++] = (struct csr_pair){u, at[s->seen.col[e]]};
    if (n && (csr_from_pairs(pairs, n_pairs, (uint32_t)s->users.n_rows, (uint32_t)n, &seen,
                             &err) != ERR_OK ||
              rank_pack(vec, n, D, &packed, &err) != ERR_OK ||
              rank_topk(&packed, s->users.vec, s->users.n_rows, &seen, 0, NULL, k, lists, NULL,
                        &err) != ERR_OK))
        die("rank", &err);
    for (size_t i = 0; n && i < s->users.n_rows * k; i++)
        if (lists[i] != RANK_NONE)
            s->shown[of[lists[i]]] = 1;
    if (n)
        gemm_done(&packed);
    csr_done(&seen);
    free(of);
    free(at);
    free(lists);
    free(vec);
    free(pairs);
}

/* How many of the uploaded rows are marked. */
static size_t count_shown(const struct site *s, const struct upload *u)
{
    size_t n = 0;
    for (size_t i = 0; i < s->items.n_rows; i++)
        for (size_t k = 0; s->shown[i] && k < u->n; k++)
            n += strcmp(s->items.name[i], ids.line[u->row[k]]) == 0;
    return n;
}

/* False when nobody has a vector that fits. */
static bool read_site(struct site *s)
{
    struct store *st;
    struct store_model active;
    struct err err;
    *s = (struct site){0};
    if (store_open(service_settings(&svc)->store.path, STORE_READ, &st, &err) != ERR_OK ||
        store_model_active(st, &active, &err) != ERR_OK ||
        store_read_vectors(st, active.model_id, STORE_SIDE_USERS, &s->users, &err) != ERR_OK ||
        store_read_vectors(st, active.model_id, STORE_SIDE_ITEMS, &s->items, &err) != ERR_OK)
        die("read", &err);
    bool usable = s->users.n_rows && s->users.dim == s->items.dim;
    if (usable)
        read_seen(st, &s->users, &s->items, &s->seen);
    s->shown = calloc(s->items.n_rows + 1, 1);
    store_model_done(&active);
    store_close(st);
    return usable && s->shown;
}

static void site_done(struct site *s)
{
    store_rows_done(&s->users);
    store_rows_done(&s->items);
    csr_done(&s->seen);
    free(s->shown);
}

static void take_rows(struct upload *u, char *text)
{
    char *end;
    *u = (struct upload){0};
    for (size_t row = strtoul(text, &end, 10); end != text && u->n < MAX_UPLOAD && row < ids.n;
         text = end, row = strtoul(text, &end, 10))
        u->row[u->n++] = row;
}

static double since_s(int64_t start_us)
{
    return (double)(clock_mono_us() - start_us) * 1e-6;
}

static void upload(struct upload *u)
{
    struct err err;
    struct site s;
    size_t n_shown = 0, n_fresh = 0;
    int64_t start_us = clock_mono_us();
    if (pipeline_write(svc.pipeline, write_items, u, &err) != ERR_OK)
        die("upload", &err);
    double commit_s = since_s(start_us);
    bool usable = read_site(&s);
    double ready_s = since_s(start_us);
    if (usable) {
        show(&s, false, TOP);
        n_shown = count_shown(&s, u);
        show(&s, true, FRESH);
        n_fresh = count_shown(&s, u);
    }
    site_done(&s);
    printf("{\"uploaded\": %zu, \"embedded\": %zu, \"shown\": %zu, \"fresh\": %zu, "
           "\"commit_s\": %.4f, \"ready_s\": %.4f, \"model\": %lld}\n",
           u->n, u->n_embedded, n_shown, n_fresh, commit_s, ready_s, (long long)model.model_id);
    (void)fflush(stdout);
}

static void *feed(void *arg)
{
    static char line[MAX_UPLOAD * 8];
    static struct upload u;
    struct err err;
    (void)arg;
    while (fgets(line, sizeof line, stdin)) {
        char *rows = strchr(line, ' ');
        if (!rows)
            continue;
        take_rows(&u, rows);
        if (strncmp(line, "upload", 6) == 0)
            upload(&u);
        else if (pipeline_write(svc.pipeline, write_items, &u, &err) != ERR_OK)
            die("put", &err);
    }
    kill(getpid(), SIGTERM);
    return NULL;
}

int main(int argc, char **argv)
{
    struct err err;
    pthread_t thread;
    err_clear(&err);
    if (argc != 5) {
        fprintf(stderr, "usage: site_daemon CONFIG IDS.txt VISUAL.npy ACOUSTIC.npy\n");
        return 64;
    }
    if (tsv_read(argv[2], &ids, &err) != ERR_OK || npy_read(argv[3], &x[0], &err) != ERR_OK ||
        npy_read(argv[4], &x[1], &err) != ERR_OK ||
        service_init(&svc, argv[1], &err) != ERR_OK || service_start(&svc, &err) != ERR_OK)
        die("start", &err);
    if (pthread_create(&thread, NULL, feed, NULL) != 0)
        return 71;
    int code = service_run(&svc);
    service_stop(&svc);
    _exit(code); /* the feed waits for a line */
}
