/* A tensor is at most a block of three dimensions, and each dimension of it either is the same for
 * all members (features, users, items) or has a part for each. The table says which; joining and
 * taking apart walk it. What no member has stays zero. */

#include "fusion/train/ensemble.h"

#include "fusion/model/internal.h"
#include "fusion/train/trainee.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Of a layer, by the part of the name behind "layer_N."; layer 1 takes features. T_1 is a block. */
static const struct tensor_layout layers[] = {
    {"M_1", 2, {TENSOR_EACH, TENSOR_EACH}}, {"T_1", 2, {TENSOR_EACH, TENSOR_EACH, TENSOR_EACH}},
    {"A", 2, {TENSOR_EACH, TENSOR_EACH}},   {"B", 2, {TENSOR_EACH, TENSOR_EACH}},
    {"C", 2, {TENSOR_EACH, TENSOR_EACH}},
};
static const struct tensor_layout others[] = {
    {"mlp_signal.0.weight", 2, {TENSOR_EACH, TENSOR_SHARED}},
    {"mlp_signal.0.bias", 1, {TENSOR_EACH}},
    {"mlp_signal.2.weight", 2, {TENSOR_EACH, TENSOR_EACH}},
    {"mlp_signal.2.bias", 1, {TENSOR_EACH}},
    {"item_E", 2, {TENSOR_SHARED, TENSOR_EACH}},
    {"user", 2, {TENSOR_SHARED, TENSOR_NODE}},
    {"mmf.knn.z", 2, {TENSOR_SHARED, TENSOR_VECTOR}},
};

static const struct tensor_layout *find(const struct tensor_layout *in, size_t n,
                                        const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(in[i].name, name) == 0)
            return &in[i];
    return NULL;
}

/* What is in no table is shared. */
static struct tensor_layout layout_of(const struct model_shape *shape, const char *name)
{
    const struct backbone *b = backbone_of(shape->backbone);
    const struct tensor_layout *found;
    struct tensor_layout l = {name, 0, {TENSOR_SHARED, TENSOR_SHARED, TENSOR_SHARED}};
    bool first_layer = strncmp(name, "layer_1.", 8) == 0;

    if (strncmp(name, "layer_", 6) != 0) {
        found = find(others, sizeof(others) / sizeof(others[0]), name);
        if (!found)
            found = find(b->tensors, b->n_tensors, name);
        return found ? *found : l;
    }
    found = find(layers, sizeof(layers) / sizeof(layers[0]), name + strlen("layer_N."));
    if (found)
        l = *found;
    if (first_layer && (strcmp(l.name, "M_1") == 0 || strcmp(l.name, "A") == 0))
        l.axis[0] = TENSOR_SHARED;
    if (first_layer && strcmp(l.name, "T_1") == 0)
        l.axis[1] = TENSOR_SHARED;
    return l;
}

/* How one member's tensors lie in the joined model's. */
struct place {
    const struct model_shape *shape; /* of a member */
    uint32_t n, member;
};

static enum tensor_axis resolve(const struct place *p, enum tensor_axis axis)
{
    if (axis != TENSOR_VECTOR)
        return axis;
    return backbone_of(p->shape->backbone)->vector;
}

/* Where index i of a member's axis, `size` long, is. */
static size_t at(const struct place *p, enum tensor_axis axis, size_t size, size_t i)
{
    const size_t fused = model_feature_width(p->shape), id = (size_t)p->shape->id_dim;

    axis = resolve(p, axis);
    if (axis == TENSOR_SHARED)
        return i;
    if (axis == TENSOR_EACH)
        return p->member * size + i;
    return i < fused ? p->member * fused + i : p->n * fused + p->member * id + (i - fused);
}

static size_t joined_size(const struct place *p, enum tensor_axis axis, size_t size)
{
    return axis == TENSOR_SHARED ? size : p->n * size;
}

/* A tensor's sizes in one member, of a member's tensor (parts 1) or of the joined model's (parts n).
 * False: it is shared, or not shaped as its name says, which is then no part of the network (a
 * stray one of a file from elsewhere). */
static bool member_sizes(const struct place *p, const struct tensor_layout *l,
                         const struct model_tensor *t, uint32_t parts, size_t ret_size[3])
{
    const size_t node = model_feature_width(p->shape) + (size_t)p->shape->id_dim;
    const bool is_block = strcmp(l->name, "T_1") == 0;

    if (l->n_dims == 0 || t->n_dims != l->n_dims)
        return false;
    ret_size[1] = ret_size[2] = 1;
    for (int a = 0; a < t->n_dims; a++) {
        const enum tensor_axis axis = resolve(p, l->axis[a]);

        ret_size[a] = t->shape[a] / (axis == TENSOR_SHARED ? 1 : parts);
        if (is_block && a == 1)
            continue;
        if ((axis != TENSOR_SHARED && ret_size[a] * parts != t->shape[a]) ||
            (axis == TENSOR_NODE && ret_size[a] != node))
            return false;
    }
    if (is_block) { /* (S, in·out) */
        int layer = t->name[strlen("layer_")] - '0';
        size_t in_parts = l->axis[1] == TENSOR_SHARED ? 1 : parts;

        ret_size[1] = (size_t)p->shape->width[layer - 1];
        ret_size[2] = (size_t)p->shape->width[layer];
        return t->shape[1] == in_parts * ret_size[1] * parts * ret_size[2];
    }
    return true;
}

/* Between a member's tensor and its places in the joined one. */
static void copy(const struct place *p, const struct tensor_layout *l, const size_t size[3],
                 float *member, float *joined, bool to_joined)
{
    const size_t rows = joined_size(p, l->axis[1], size[1]);
    const size_t cols = joined_size(p, l->axis[2], size[2]);

    for (size_t i = 0; i < size[0]; i++)
        for (size_t j = 0; j < size[1]; j++) {
            float *one = member + (i * size[1] + j) * size[2];
            float *all =
                joined +
                (at(p, l->axis[0], size[0], i) * rows + at(p, l->axis[1], size[1], j)) * cols +
                at(p, l->axis[2], size[2], 0);

            memcpy(to_joined ? all : one, to_joined ? one : all, size[2] * sizeof(*one));
        }
}

uint64_t ensemble_seed(uint64_t seed, uint32_t member)
{
    struct rng rng;

    rng_init_stream(&rng, seed, member);
    return member ? rng_next(&rng) : seed;
}

/* ---- joining --------------------------------------------------------------------------------- */

/* Of later members; the first one's are the joined model's. */
static void drop_shared(struct model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (layout_of(&m->shape, m->tensors[i].name).n_dims == 0) {
            free(m->tensors[i].data);
            m->tensors[i].data = NULL;
        }
}

int ensemble_add(struct ensemble *e, struct trainee *t, struct err *err)
{
    const size_t n = (size_t)t->graph.n_nodes * t->D;
    const float cold_length = t->o.cold_length;

    if (e->n == MODEL_MEMBERS_MAX)
        return err_fatal(err, EX_USAGE, "an ensemble has at most %d members",
                         MODEL_MEMBERS_MAX);
    t->o.cold_length = 0; /* the length is the joined vectors' */
    trainee_forget_cold(t);
    int status = trainee_export(t, &e->model[e->n], err);
    t->o.cold_length = cold_length;
    if (status != ERR_OK)
        return status;
    e->out[e->n] = malloc((n + 1) * sizeof(float));
    if (e->out[e->n] == NULL) {
        model_free(e->model[e->n]);
        return err_oom(err, "the members of an ensemble");
    }
    memcpy(e->out[e->n], t->out, n * sizeof(float));
    if (e->n > 0)
        drop_shared(e->model[e->n]);
    e->n++;
    return ERR_OK;
}

/* The same tensor once more. */
static int copy_tensor(const struct model_tensor *t, struct model *to, struct err *err)
{
    float *data;
    int status = model_add_shape(to, t->name, t->n_dims, t->shape, &data, err);

    if (status == ERR_OK)
        memcpy(data, t->data, t->n_elements * sizeof(*data));
    return status;
}

/* The members' memory of it is given back. The zeros between members cost: layers behind the
 * first have N² blocks instead of N, dense's tensors N² in the first layer and N³ in the
 * others. Hence no dense ensemble above 1 GB is begun (docs/design/fusion/212-ensembles.md). */
static int join_tensor(struct ensemble *e, size_t tensor, struct model *joined, struct err *err)
{
    const struct model_tensor *t = &e->model[0]->tensors[tensor];
    struct place p = {model_shape(e->model[0]), e->n, 0};
    const struct tensor_layout l = layout_of(p.shape, t->name);
    size_t size[3], shape[2];
    float *data;
    int status;

    if (!member_sizes(&p, &l, t, 1, size)) {
        status = copy_tensor(t, joined, err);
    } else {
        shape[0] = joined_size(&p, l.axis[0], size[0]);
        shape[1] = joined_size(&p, l.axis[1], size[1]) * joined_size(&p, l.axis[2], size[2]);
        status = model_add_shape(joined, t->name, t->n_dims, shape, &data, err);
        for (; status == ERR_OK && p.member < e->n; p.member++)
            copy(&p, &l, size, e->model[p.member]->tensors[tensor].data, data, true);
    }
    for (uint32_t m = 0; m < e->n; m++) {
        free(e->model[m]->tensors[tensor].data);
        e->model[m]->tensors[tensor].data = NULL;
    }
    return status;
}

/* What a training adds when its members are joined: no part of one. */
static bool is_signal(const char *name)
{
    return strncmp(name, "mmf.factors", 11) == 0 || strncmp(name, "mmf.columns.", 12) == 0 ||
           strncmp(name, "mmf.mapping", 11) == 0 || strcmp(name, "mmf.signals") == 0;
}

/* All but the signals, and what model_set_shape says only where there is something to be said. */
static int copy_texts(const struct model *from, struct model *to, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < from->n_texts; i++)
        if (strcmp(from->texts[i].key, "mmf.members") != 0 &&
            strcmp(from->texts[i].key, "mmf.cold_length") != 0 &&
            !is_signal(from->texts[i].key))
            status = model_set(to, from->texts[i].key, from->texts[i].value, err);
    return status;
}

static int join_model(struct ensemble *e, float cold_length, struct model **ret_model,
                      struct err *err)
{
    const struct model *first = e->model[0];
    struct model_shape shape = first->shape;
    struct model *joined = NULL;
    int status = model_new_empty(first->path, &joined, err);

    shape.members = (int32_t)e->n;
    shape.id_dim *= (int32_t)e->n;
    shape.cold_length = cold_length;
    if (status == ERR_OK)
        status = copy_texts(first, joined, err);
    if (status == ERR_OK)
        status = model_set_shape(joined, &shape, err);
    for (size_t i = 0; status == ERR_OK && i < first->n_tensors; i++)
        status = join_tensor(e, i, joined, err);
    if (status == ERR_OK)
        status = model_finish(joined, err);
    if (status == ERR_OK)
        *ret_model = joined;
    else
        model_free(joined);
    return status;
}

/* The members' vectors, side by side. */
static float *join_vectors(struct ensemble *e, const struct trainee *t)
{
    static const struct tensor_layout l = {
        "", 2, {TENSOR_SHARED, TENSOR_VECTOR, TENSOR_SHARED}};
    const size_t size[3] = {t->graph.n_nodes, t->D, 1};
    struct place p = {model_shape(e->model[0]), e->n, 0};
    float *out = malloc((size[0] * size[1] * e->n + 1) * sizeof(*out));

    for (; out && p.member < e->n; p.member++) {
        copy(&p, &l, size, e->out[p.member], out, true);
        free(e->out[p.member]);
        e->out[p.member] = NULL;
    }
    return out;
}

int ensemble_join(struct ensemble *e, const struct trainee *t, struct model **ret_model,
                  float **ret_out, struct err *err)
{
    float *out = join_vectors(e, t), length;
    struct cold_items items = trainee_items(t);
    struct model *joined = NULL;

    if (out == NULL) {
        ensemble_done(e);
        return err_oom(err, "the vectors of an ensemble");
    }
    items.D *= e->n;
    items.Y = out + t->data->n_users * items.D;
    length = t->o.cold_length * cold_mean_length(&items);
    cold_lengthen_items(&items, length);
    int status = join_model(e, length, &joined, err);
    ensemble_done(e);
    if (status != ERR_OK) {
        free(out);
        return status;
    }
    *ret_model = joined;
    *ret_out = out;
    return ERR_OK;
}

int ensemble_prepare(struct model *joined, struct err *err)
{
    return model_prepare(joined, err);
}

void ensemble_done(struct ensemble *e)
{
    for (uint32_t m = 0; m < e->n; m++) {
        model_free(e->model[m]);
        free(e->out[m]);
    }
    *e = (struct ensemble){0};
}

/* ---- taking apart ---------------------------------------------------------------------------- */

static int take_tensor(const struct place *p, const struct model_tensor *t,
                       struct model *member, struct err *err)
{
    const struct tensor_layout l = layout_of(p->shape, t->name);
    size_t size[3], shape[2];
    float *data;

    if (!member_sizes(p, &l, t, p->n, size))
        return copy_tensor(t, member, err);
    shape[0] = size[0];
    shape[1] = size[1] * size[2];
    int status = model_add_shape(member, t->name, t->n_dims, shape, &data, err);
    if (status == ERR_OK)
        copy(p, &l, size, data, t->data, false);
    return status;
}

static struct model_shape member_shape(const struct model_shape *joined)
{
    struct model_shape shape = *joined;
    const int32_t n = joined->members;

    for (int32_t l = 1; l <= shape.L; l++)
        shape.width[l] /= n;
    shape.id_dim /= n;
    shape.members = 1;
    shape.cold_length = 0;
    return shape;
}

int ensemble_member(const struct model *joined, uint32_t member, struct model **ret_model,
                    struct err *err)
{
    const struct model_shape shape = member_shape(&joined->shape);
    const struct place p = {&shape, (uint32_t)joined->shape.members, member};
    struct model *model;
    int status = model_new_empty(joined->path, &model, err);

    if (status != ERR_OK)
        return status;
    status = copy_texts(joined, model, err);
    if (status == ERR_OK)
        status = model_set_shape(model, &shape, err);
    for (size_t i = 0; status == ERR_OK && i < joined->n_tensors; i++)
        if (!is_signal(joined->tensors[i].name))
            status = take_tensor(&p, &joined->tensors[i], model, err);
    if (status == ERR_OK)
        status = model_finish(model, err);
    if (status == ERR_OK)
        *ret_model = model;
    else
        model_free(model);
    return status;
}
