/* The words of bench_recommend. */

#include "bench_recommend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_recommend: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

enum kind { U32, I32, F32, BOOL };
struct knob {
    const char *name;
    enum kind kind;
    size_t offset;
};
#define TRAIN(field) offsetof(struct bench, train.field)
#define MODEL(field) offsetof(struct bench, train.model.field)
static const struct knob knobs[] = {
    {"runs", U32, offsetof(struct bench, runs)},
    {"members", U32, offsetof(struct bench, members)},
    {"seed", U32, offsetof(struct bench, seed)},
    {"held", U32, offsetof(struct bench, held)},
    {"hide", U32, offsetof(struct bench, hide)},
    {"quiet", U32, offsetof(struct bench, quiet)},
    {"w1", I32, offsetof(struct bench, width[0])},
    {"w2", I32, offsetof(struct bench, width[1])},
    {"w3", I32, offsetof(struct bench, width[2])},
    {"w4", I32, offsetof(struct bench, width[3])},
    {"epochs", U32, TRAIN(max_epochs)},
    {"batch", U32, TRAIN(batch)},
    {"every", U32, TRAIN(evaluate_every)},
    {"patience", U32, TRAIN(patience)},
    {"decay_kind", U32, MODEL(decay_kind)},
    {"id_std", F32, MODEL(id_std)},
    {"gain", F32, MODEL(meta_gain)},
    {"floor", U32, offsetof(struct bench, floor)},
    {"net_lr", F32, MODEL(net_lr)},
    {"every_fuse", U32, MODEL(fuse_every)},
    {"diagnose", U32, offsetof(struct bench, diagnose)},
    {"average", F32, MODEL(average)},
    {"lr", F32, MODEL(lr)},
    {"decay", F32, MODEL(decay)},
    {"hops", I32, MODEL(shape.hops)},
    {"id", I32, MODEL(shape.id_dim)},
    {"S", I32, MODEL(shape.S)},
    {"R", I32, MODEL(shape.R)},
    {"fused", F32, MODEL(shape.fused_length)},
    {"idrop", F32, MODEL(id_dropout)},
    {"specific", F32, MODEL(item_specific_scale)},
    {"negatives", U32, MODEL(negatives)},
    {"hide_edges", BOOL, MODEL(hide_positives)},
    {"knn", BOOL, MODEL(item_graph)},
    {"k", U32, MODEL(knn.k)},
    {"cold", F32, MODEL(cold_length)},
    {"visual", F32, MODEL(knn.weight[0])},
    {"acoustic", F32, MODEL(knn.weight[1])},
    {"strength", F32, MODEL(knn_strength)},
};

static void set_knob(struct bench *b, const struct knob *k, const char *value)
{
    char *field = (char *)b + k->offset, *end;
    double v = strtod(value, &end);
    uint32_t u = (uint32_t)v;
    int32_t i = (int32_t)v;
    float f = (float)v;
    bool is_on = v > 0;
    if (*end || end == value)
        die(k->name, "not a number");
    switch (k->kind) {
    case U32:
        memcpy(field, &u, sizeof(u));
        break;
    case I32:
        memcpy(field, &i, sizeof(i));
        break;
    case F32:
        memcpy(field, &f, sizeof(f));
        break;
    case BOOL:
        memcpy(field, &is_on, sizeof(is_on));
        break;
    }
}

static void set_option(struct bench *b, const char *name, const char *value)
{
    if (!strcmp(name, "test")) {
        b->test = value;
    } else if (!strcmp(name, "fusion") || !strcmp(name, "backbone")) {
        bool is_fusion = name[0] == 'f';
        int kind = is_fusion ? fusion_kind_parse(value) : backbone_kind_parse(value);
        if (kind < 0)
            die(name, value);
        if (is_fusion)
            b->train.model.shape.fusion = (enum fusion_kind)kind;
        else
            b->train.model.shape.backbone = (enum backbone_kind)kind;
    } else {
        size_t n = sizeof(knobs) / sizeof(*knobs), i = 0;
        while (i < n && strcmp(knobs[i].name, name) != 0)
            i++;
        if (i == n)
            die(name, "no such option");
        set_knob(b, &knobs[i], value);
    }
}

void bench_recommend_parse(struct bench *b, int argc, char **argv)
{
    train_options_init(&b->train);
    trainee_options_paper(&b->train.model);
    b->train.evaluate_every = 1;
    b->train.least_gain = 0;
    b->train.valid_users = 0;
    b->runs = b->members = b->seed = 1;
    b->held = 2500;
    if (argc < 2)
        die("arguments", "the folder of the data is needed");
    b->folder = argv[1];
    for (int i = 2; i < argc; i++) {
        char name[32];
        size_t n = strcspn(argv[i], "=");
        if (!argv[i][n] || n >= sizeof(name))
            die(argv[i], "name=value is needed");
        memcpy(name, argv[i], n);
        name[n] = 0;
        set_option(b, name, argv[i] + n + 1);
    }
    struct model_shape *s = &b->train.model.shape;
    for (s->L = 0; s->L < MODEL_LAYERS_MAX && b->width[s->L]; s->L++)
        s->width[s->L + 1] = b->width[s->L];
}
