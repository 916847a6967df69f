/* metammf explain ITEM: where an item's vector comes from. Gathers one JSON object, and prints
 * that, or the same for people (explain_text.c). Nothing of it is stored: it describes the active
 * model, also for items that were fused long ago. */
#include "daemon/cli/explain.h"

#include "daemon/base/topk.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/inspect.h"
#include "extract/wire/layout.h"
#include "fusion/model/fuse.h"
#include "store/reading.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct explain {
    struct cli_input input; /* first */
    const char *item_id;
    int64_t k;
};

static const struct argp_option options[] = {
    {"number", 'k', "N", 0, "How many neighbours (10)", 0}, {0}};

static error_t parse_explain(int key, char *arg, struct argp_state *state)
{
    struct explain *e = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case 'k':
        e->k = cli_number(state, "-k", arg, 1, 1000);
        return 0;
    case ARGP_KEY_ARG:
        if (e->item_id)
            argp_error(state, "one item at a time: what is \"%s\"?", arg);
        e->item_id = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "explain which item? Example: metammf explain v1");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_explain,
    "ITEM",
    "Says where an item's vector comes from: what each modality contributes, how much of the "
    "fusion was generated for this item, what was missing, which model and encoders, its "
    "neighbours, what the signals count for it, whom it recommends, its source and its "
    "timing.\v"
    "A modality's contribution is measured by ablation. The item is fused as one without "
    "interactions, and again with the modality masked. moved = 1 - cosine of the two vectors. "
    "share = moved over the sum of all three. lost = how many of the N nearest neighbours "
    "change. What interactions add to a warm item's vector belongs to no modality.\n"
    "A layer computes h W = h M + h dW: M is common to all items, dW is generated from this "
    "item's meta information s. Both lengths are shown for each layer.\n"
    "Under signals stands what each counts (view current_signal), and what the item's content "
    "and "
    "the factors that its features suggest count with as many users as it has. Whoever "
    "interacts with the item is recommended those "
    "under because, by what is added to their scores.\n"
    "With --json one object: item_id, state, embedding, model, source, trail, modalities, "
    "missing, fusion, neighbours, because (signals, users, content, mapped, recommends), "
    "flags.\n\n"
    "Example:\n"
    "  metammf --store /var/lib/metammfd/metammf.db explain v1",
    cli_common,
    NULL,
    NULL};

/* What is known of the item before anything is gathered into JSON. */
struct findings {
    struct store_item item;
    struct store_embedding embedding; /* vec NULL = none */
    struct inspect inspect;
    struct inspect_item features;
    struct inspect_ablation ablation;
    float *E;                 /* (1 + MODALITY_COUNT, D); NULL = nothing to fuse */
    struct store_matrix all;  /* every current embedding */
    struct topk_row *nearest; /* (n_nearest) */
    size_t n_nearest, k;
    size_t lost[MODALITY_COUNT];
    struct fuse_norms norms;
    float *s; /* (S) */
    struct explain_signals signals;
};

static void findings_done(struct findings *f)
{
    store_item_done(&f->item);
    store_embedding_done(&f->embedding);
    inspect_item_done(&f->features);
    inspect_done(&f->inspect);
    store_matrix_done(&f->all);
    free(f->E);
    free(f->nearest);
    free(f->s);
    explain_signals_done(&f->signals);
}

/* ---- neighbours -------------------------------------------------------------------------- */

/* The item's row, n_rows when it has none. */
static size_t row_of(const struct store_matrix *m, const char *item_id)
{
    size_t row = 0;

    while (row < m->n_rows && strcmp(m->item_id[row], item_id) != 0)
        row++;
    return row;
}

static size_t count_lost(const struct topk_row *before, const struct topk_row *after, size_t n)
{
    size_t lost = n;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            lost -= before[i].row == after[j].row;
    return lost;
}

/* Neighbours of the vectors that were fused just now: each stands in the item's row for a while. */
static void compare_neighbours(struct findings *f, size_t row, struct topk_row *before,
                               struct topk_row *after)
{
    size_t D = (size_t)f->all.dim, n;
    float *slot = f->all.vec + row * D;

    memcpy(slot, f->E, D * sizeof(*slot));
    n = topk_cosine(f->all.vec, f->all.n_rows, D, row, f->k, before);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if (!(f->features.used & MODALITY_BIT(m)))
            continue;
        memcpy(slot, f->E + (size_t)(1 + m) * D, D * sizeof(*slot));
        topk_cosine(f->all.vec, f->all.n_rows, D, row, f->k, after);
        f->lost[m] = count_lost(before, after, n);
    }
}

static int find_neighbours(struct findings *f, struct store *st, struct err *err)
{
    struct topk_row *rows;
    size_t row;
    int r = store_read_embeddings(st, &f->all, err);

    if (r != ERR_OK)
        return r;
    row = row_of(&f->all, f->item.item_id);
    if (row == f->all.n_rows)
        return ERR_OK;
    f->nearest = calloc(f->k + 1, sizeof(*f->nearest));
    rows = calloc(2 * (f->k + 1), sizeof(*rows));
    if (!f->nearest || !rows) {
        free(rows);
        return err_oom(err, "neighbours");
    }
    f->n_nearest =
        topk_cosine(f->all.vec, f->all.n_rows, (size_t)f->all.dim, row, f->k, f->nearest);
    if (f->E && f->inspect.D == f->all.dim)
        compare_neighbours(f, row, rows, rows + f->k + 1);
    free(rows);
    return ERR_OK;
}

/* ---- gathering --------------------------------------------------------------------------- */

static int fuse_again(struct findings *f, struct err *err)
{
    const struct model *model = f->inspect.model.model;
    int r;

    if (!model || f->features.used == 0 || !model_has_features(model_shape(model)))
        return ERR_OK;
    f->E = malloc((1 + MODALITY_COUNT) * (size_t)f->inspect.D * sizeof(*f->E));
    f->s = calloc((size_t)model_shape(model)->S + 1, sizeof(*f->s));
    if (!f->E || !f->s)
        return err_oom(err, "fusion");
    r = inspect_ablate(&f->inspect, &f->features, f->E, &f->ablation, err);
    return r == ERR_OK
               ? fuse_norms(model, f->features.x, f->features.used, f->s, &f->norms, err)
               : r;
}

static int find_item(struct findings *f, struct store *st, const char *item_id, struct err *err)
{
    int r = store_get_item(st, item_id, &f->item, err);

    if (r == ERR_NONE || (r == ERR_OK && f->item.deleted))
        return err_fatal(err, EX_NOINPUT, "no item \"%s\"%s in this store", item_id,
                         r == ERR_OK ? " any more (deleted)" : "");
    return r;
}

static int gather(struct findings *f, struct cli *cli, struct store *st, const char *item_id,
                  struct err *err)
{
    int r = find_item(f, st, item_id, err);

    if (r == ERR_OK)
        r = store_get_embedding(st, item_id, &f->embedding, err);
    if (r == ERR_OK || r == ERR_NONE)
        r = inspect_open(st, &cli->settings, &f->inspect, err);
    if (r == ERR_OK)
        r = inspect_read(&f->inspect, item_id, &f->features, err);
    if (r == ERR_OK)
        r = fuse_again(f, err);
    if (r == ERR_OK)
        r = find_neighbours(f, st, err);
    return r == ERR_OK
               ? explain_signals_read(st, f->inspect.model.model_id, f->inspect.model.model,
                                      f->item.rid, &f->all, f->k, &f->signals, err)
               : r;
}

/* ---- as JSON ----------------------------------------------------------------------------- */

static json_t *json_modality(const struct findings *f, int m)
{
    const struct inspect_item *x = &f->features;
    const struct encoder_identity ours = layout_identity((enum modality)m);

    return json_pack(
        "{s:b, s:b, s:b, s:s, s:i, s:f, s:f, s:I}", "present",
        (x->stored & MODALITY_BIT(m)) != 0, "used", (x->used & MODALITY_BIT(m)) != 0,
        "built_in", (x->stored & MODALITY_BIT(m)) && strcmp(ours.id, x->encoder_id[m]) == 0,
        "encoder_id", x->encoder_id[m], "dim", (int)x->dim[m], "moved", f->ablation.moved[m],
        "share", f->ablation.share[m], "neighbours_lost", (json_int_t)f->lost[m]);
}

static void add_modalities(const struct findings *f, json_t *root)
{
    json_t *modalities = json_object(), *missing = json_array();

    for (int m = 0; m < MODALITY_COUNT; m++) {
        const char *name = modality_name((enum modality)m);

        json_object_set_new(modalities, name, json_modality(f, m));
        if (!(f->features.used & MODALITY_BIT(m)))
            json_array_append_new(missing, json_string(name));
    }
    json_object_set_new(root, "modalities", modalities);
    json_object_set_new(root, "missing", missing);
}

static json_t *json_fusion(const struct findings *f)
{
    json_t *layers = json_array();
    size_t S = f->E ? (size_t)model_shape(f->inspect.model.model)->S : 0;

    for (size_t i = 0; i < f->norms.n_layers; i++)
        json_array_append_new(layers, json_pack("{s:f, s:f}", "common", f->norms.common[i],
                                                "generated", f->norms.generated[i]));
    return json_pack("{s:o, s:o}", "s", cli_json_floats(f->s, S), "layers", layers);
}

static json_t *json_neighbours(const struct findings *f)
{
    json_t *array = json_array();

    for (size_t i = 0; i < f->n_nearest; i++)
        json_array_append_new(array, json_pack("{s:s, s:f}", "item_id",
                                               f->all.item_id[f->nearest[i].row], "score",
                                               f->nearest[i].score));
    return array;
}

static json_t *json_model(struct findings *f)
{
    const struct model_shape *shape;
    json_t *encoders = json_object();

    if (!f->inspect.model.model) {
        json_decref(encoders);
        return json_null();
    }
    shape = model_shape(f->inspect.model.model);
    for (int m = 0; m < MODALITY_COUNT; m++)
        json_object_set_new(encoders, modality_name((enum modality)m),
                            json_string(shape->encoder_id[m]));
    return json_pack(
        "{s:I, s:b, s:s, s:s, s:i, s:o}", "id", (json_int_t)f->inspect.model.model_id,
        "trained", shape->trained, "fusion", fusion_kind_name(shape->fusion), "backbone",
        backbone_kind_name(shape->backbone), "dim", (int)shape->D, "encoder_ids", encoders);
}

static json_int_t us(double ms)
{
    return (json_int_t)llround(ms * 1000);
}

static json_t *json_embedding(const struct store_embedding *e)
{
    return e->vec
               ? json_pack("{s:s, s:i, s:I, s:I, s:I}", "state", e->state, "dim", (int)e->dim,
                           "model_id", (json_int_t)e->model_id, "seq", (json_int_t)e->seq,
                           "updated_ms", (json_int_t)llround(e->updated_ms))
               : json_null();
}

static json_t *json_trail(const struct store_item *i)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "published_us", us(i->published_ms),
                     "received_us", us(i->received_ms), "extracted_us", us(i->extracted_ms),
                     "queryable_us", us(i->queryable_ms), "extract_us", us(i->extract_ms));
}

static json_t *json_findings(struct findings *f)
{
    const struct store_item *i = &f->item;
    json_t *flags = i->flags_json ? json_loads(i->flags_json, 0, NULL) : NULL;
    json_t *root = json_pack(
        "{s:s, s:s, s:s*, s:s*, s:o, s:o, s:{s:s?, s:i, s:I}, s:o, s:i, s:o, s:o, s:o}",
        "item_id", i->item_id, "state", i->state, "title", i->title, "media_uri", i->media_uri,
        "embedding", json_embedding(&f->embedding), "model", json_model(f), "source", "topic",
        i->topic, "partition", (int)i->partition, "offset", (json_int_t)i->offset, "trail",
        json_trail(i), "k", (int)f->k, "fusion", json_fusion(f), "neighbours",
        json_neighbours(f), "flags", flags ? flags : json_null());

    if (root) {
        add_modalities(f, root);
        json_object_set_new(root, "because", explain_signals_json(&f->signals));
    }
    return root;
}

int cli_explain(struct cli *cli, int argc, char **argv)
{
    struct explain e = {.input.cli = cli, .k = 10};
    struct findings f = {0};
    struct store *st;
    struct err err;
    int code;

    cli_parse(&argp, argc, argv, &e.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    f.k = (size_t)e.k;
    if (gather(&f, cli, st, e.item_id, &err) != ERR_OK) {
        code = cli_fail(&err);
    } else if (cli->json) {
        code = cli_print_json(json_findings(&f));
    } else {
        json_t *root = json_findings(&f);

        code = cli_explain_text(root);
        json_decref(root);
    }
    findings_done(&f);
    store_close(st);
    return code;
}
