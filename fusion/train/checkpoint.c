/* The file is a sequence of parts, raw memory of this build, each followed by its checksum; saving
 * and loading walk the same list, so that they cannot disagree. The first part is the header. */

#include "fusion/train/checkpoint.h"

#include "config/digest.h"
#include "fusion/file/outfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define MAGIC      UINT64_C(0x3250434b4d4d4d) /* "MMMKCP2"; other random draws, another number */
#define POINTS_MAX 1000000
enum { PARTS_MAX = 10 };

struct header {
    uint64_t magic, key, n_weights, n_order, n_points, header_bytes, point_bytes;
    uint64_t rng[4];
    int64_t adam_step, net_adam_step;
    uint64_t window;
    uint64_t epoch, since, best_epoch;
    double loss, seconds;
};

struct part {
    void *data;
    size_t bytes;
};

/* ---- the key --------------------------------------------------------------------------------- */

static int64_t sum(const void *data, size_t bytes)
{
    return bytes ? digest_checksum(data, bytes) : 0;
}

/* Every option that changes what is learned has its place here (see trainee.h). */
uint64_t checkpoint_key(const struct train_options *o, const struct trainee_data *data,
                        const struct csr_pair *valid, size_t n_valid)
{
    const struct trainee_options *m = &o->model;
    const struct model_shape *s = &m->shape;
    char text[1024];
    size_t F = 0;

    for (int i = 0; i < MODALITY_COUNT; i++)
        F += (size_t)s->modality_dim[i];
    int n = snprintf(
        text, sizeof(text),
        "%d %d %d %d %d %d %d %a | %zu %a %a %a %a | %d %u %a %a %a %a | %a %a %d "
        "%d | %u %u %u | %u %u | %d %a %d "
        "%a %a %u %a | %d %u %a | %a %u",
        s->fusion, s->backbone, s->S, s->R, s->L, s->id_dim, s->hops, (double)s->fused_length,
        (size_t)m->seed, (double)m->lr, (double)m->decay, (double)m->id_dropout,
        (double)m->item_specific_scale, m->item_graph, m->knn.k, (double)m->knn.weight[0],
        (double)m->knn.weight[1], (double)m->knn.weight[2], (double)m->knn_strength,
        (double)m->sage_dropout[0], (double)m->sage_dropout[1], m->sage_width[0],
        m->sage_width[1], o->batch, o->evaluate_every, o->patience, data->n_users,
        data->n_items, m->decay_kind, (double)m->id_std, m->reference_loss, (double)m->net_lr,
        (double)m->meta_gain, m->fuse_every, (double)m->average, m->hide_positives,
        m->negatives, (double)m->cold_length, (double)o->least_gain, o->valid_users);
    const int64_t sums[] = {sum(text, (size_t)n),
                            sum(s->width, sizeof(s->width)),
                            sum(data->pairs, data->n_pairs * sizeof(*data->pairs)),
                            sum(valid, n_valid * sizeof(*valid)),
                            data->strength ? sum(data->strength, data->n_pairs * sizeof(float))
                                           : 0,
                            data->X ? sum(data->X, data->n_items * F * sizeof(float)) : 0,
                            data->mask ? sum(data->mask, data->n_items) : 0};
    return (uint64_t)digest_checksum(sums, sizeof(sums));
}

/* ---- parts ----------------------------------------------------------------------------------- */

static struct header describe(const struct checkpoint *c, uint64_t key)
{
    struct header h;

    memset(&h, 0, sizeof(h));
    h.magic = MAGIC;
    h.key = key;
    h.n_weights = c->t->n_weights;
    h.n_order = c->n_order;
    h.n_points = c->n_points;
    h.header_bytes = sizeof(h);
    h.point_bytes = sizeof(struct train_point);
    memcpy(h.rng, c->t->rng.s, sizeof(h.rng));
    h.adam_step = c->t->adam.step;
    h.net_adam_step = c->t->net_adam.step;
    h.window = c->t->window;
    h.epoch = c->epoch;
    h.since = c->since;
    h.best_epoch = c->best_epoch;
    h.loss = c->loss;
    h.seconds = c->seconds;
    return h;
}

static void take(const struct header *h, struct checkpoint *c)
{
    memcpy(c->t->rng.s, h->rng, sizeof(h->rng));
    c->t->adam.step = h->adam_step;
    c->t->net_adam.step = h->net_adam_step;
    c->t->window = (uint32_t)h->window;
    c->epoch = (uint32_t)h->epoch;
    c->since = (uint32_t)h->since;
    c->best_epoch = (uint32_t)h->best_epoch;
    c->loss = h->loss;
    c->seconds = h->seconds;
    c->n_points = (size_t)h->n_points;
}

/* What follows the header: all that a trainee carries from one step to the next. */
static size_t list_parts(struct checkpoint *c, struct part parts[PARTS_MAX])
{
    size_t weights = c->t->n_weights * sizeof(float);
    const struct part all[] = {
        {c->order, c->n_order * sizeof(*c->order)},
        {c->t->w, weights},
        {c->t->m, weights},
        {c->t->v, weights},
        {c->best, weights},
        {c->t->average, c->t->average ? weights : 0},
        {c->t->dH, c->t->data->n_items * c->t->n_fused * sizeof(float)},
        {&c->valid, sizeof(c->valid)},
        {c->curve, c->n_points * sizeof(*c->curve)},
    };

    memcpy(parts, all, sizeof(all));
    return sizeof(all) / sizeof(all[0]);
}

static int write_part(struct outfile *out, const void *data, size_t bytes, struct err *err)
{
    const int64_t checksum = sum(data, bytes);
    int status = bytes ? outfile_write(out, data, bytes, err) : ERR_OK;

    return status == ERR_OK ? outfile_write(out, &checksum, sizeof(checksum), err) : status;
}

int checkpoint_save(const char *path, const struct checkpoint *c, uint64_t key, struct err *err)
{
    const struct header h = describe(c, key);
    struct checkpoint copy = *c;
    struct part parts[PARTS_MAX];
    struct outfile out;
    size_t n = list_parts(&copy, parts);
    int status = outfile_open(path, &out, err);

    if (status != ERR_OK)
        return status;
    status = write_part(&out, &h, sizeof(h), err);
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = write_part(&out, parts[i].data, parts[i].bytes, err);
    if (status == ERR_OK)
        status = outfile_commit(&out, err);
    outfile_abort(&out);
    return status;
}

static int damaged(const char *path, const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "checkpoint %s: %s; train without it", path, what);
}

static int read_part(FILE *f, const char *path, void *data, size_t bytes, struct err *err)
{
    int64_t checksum;

    if ((bytes && fread(data, 1, bytes, f) != bytes) ||
        fread(&checksum, sizeof(checksum), 1, f) != 1)
        return damaged(path, "cut short", err);
    return checksum == sum(data, bytes) ? ERR_OK : damaged(path, "damaged", err);
}

static int read_header(FILE *f, const char *path, const struct checkpoint *c, uint64_t key,
                       struct header *ret_h, struct err *err)
{
    int status = read_part(f, path, ret_h, sizeof(*ret_h), err);

    if (status != ERR_OK)
        return status;
    if (ret_h->magic != MAGIC || ret_h->header_bytes != sizeof(*ret_h) ||
        ret_h->point_bytes != sizeof(struct train_point) || ret_h->n_points > POINTS_MAX)
        return damaged(path, "not a checkpoint of this build", err);
    if (ret_h->key != key || ret_h->n_weights != c->t->n_weights ||
        ret_h->n_order != c->n_order)
        return damaged(path, "made by other options or from other data", err);
    return ERR_OK;
}

static int read_parts(FILE *f, const char *path, struct checkpoint *c, struct err *err)
{
    struct part parts[PARTS_MAX];
    int status = ERR_OK;

    c->curve = calloc(c->n_points + 1, sizeof(*c->curve));
    if (c->curve == NULL)
        return err_oom(err, "a checkpoint");
    size_t n = list_parts(c, parts);
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = read_part(f, path, parts[i].data, parts[i].bytes, err);
    for (size_t i = 0; status == ERR_OK && i < c->n_order; i++)
        if (c->order[i] >= c->n_order)
            status = damaged(path, "an order out of range", err);
    if (status != ERR_OK) {
        free(c->curve);
        c->curve = NULL;
    }
    return status;
}

int checkpoint_load(const char *path, struct checkpoint *c, uint64_t key, struct err *err)
{
    struct header h;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return err_fatal(err, EX_NOINPUT, "checkpoint %s: %s", path, strerror(errno));
    int status = read_header(f, path, c, key, &h, err);
    if (status == ERR_OK) {
        take(&h, c);
        status = read_parts(f, path, c, err);
    }
    (void)fclose(f);
    return status;
}

bool checkpoint_is(const char *path)
{
    uint64_t magic = 0;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return false;
    bool is = fread(&magic, sizeof(magic), 1, f) == 1 && magic == MAGIC;
    (void)fclose(f);
    return is;
}
