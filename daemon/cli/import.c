/* metammf import items|interactions: bulk data that comes from files instead of events.
 *
 * The whole input is read and checked before the first row is written. Rows go in as an event at
 * (import:<sha256 of the files>, 0, line), 1,000 items or 10,000 interactions a
 * transaction, so that importing the same files
 * twice changes nothing and an import that was cut off goes on where it stopped. Imported items
 * get their embeddings at once when the active model was trained on their encoders, otherwise when
 * such a model is published. */
#include "daemon/cli/cli.h"

#include "config/clock.h"
#include "config/digest.h"
#include "daemon/base/tsv.h"
#include "daemon/model/active_model.h"
#include "daemon/model/factors.h"
#include "fusion/file/npy.h"
#include "fusion/model/fuse.h"
#include "store/models.h"
#include "store/writing.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { BLOCK = 1000, CLICKS = 10000, OPTION_IDS = 256, OPTION_ENCODER, OPTION_VISUAL };

struct import {
    struct cli_input input; /* first */
    const char *kind, *file, *ids, *encoder, *path[MODALITY_COUNT];
    struct tsv tsv; /* the ids or the interactions */
    char topic[80];
    struct npy npy[MODALITY_COUNT];
    char encoder_id[MODALITY_COUNT][64];
    int64_t now_us;
    uint64_t n_written, n_already;
    struct model *model; /* the active one, NULL = none */
    int64_t model_id;
    float *X, *E; /* (BLOCK, F), (BLOCK, D) */
};

static const struct argp_option options[] = {
    {"ids", OPTION_IDS, "FILE", 0, "items: one UTF-8 id a line; row n of each array is item n",
     0},
    {"visual", OPTION_VISUAL, "V.npy", 0, "items: (n, dim) float16, 32 or 64", 0},
    {"acoustic", OPTION_VISUAL + MODALITY_ACOUSTIC, "A.npy", 0, "items: the same", 0},
    {"textual", OPTION_VISUAL + MODALITY_TEXTUAL, "T.npy", 0, "items: the same", 0},
    {"encoder", OPTION_ENCODER, "NAME", 0,
     "items: what made the features; encoder id import:NAME:dim (npy)", 0},
    {0}};

static void check_arguments(struct import *im, struct argp_state *state)
{
    bool items = im->kind && strcmp(im->kind, "items") == 0;

    if (!im->kind || (!items && strcmp(im->kind, "interactions") != 0))
        argp_error(state, "import what? items or interactions");
    else if (items && (!im->ids || im->file))
        argp_error(state, "import items needs --ids FILE, and arrays by --visual and so on");
    else if (!items && (!im->file || im->ids))
        argp_error(state, "import interactions needs one FILE.tsv and no --ids");
    else if (strlen(im->encoder) > 32 || strpbrk(im->encoder, "\"\\\n:"))
        argp_error(state, "--encoder: at most 32 characters without quotes or colons");
}

static error_t parse_import(int key, char *arg, struct argp_state *state)
{
    struct import *im = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key >= OPTION_VISUAL && key < OPTION_VISUAL + MODALITY_COUNT) {
        im->path[key - OPTION_VISUAL] = arg;
        return 0;
    }
    switch (key) {
    case OPTION_IDS:
        im->ids = arg;
        return 0;
    case OPTION_ENCODER:
        im->encoder = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (im->kind && im->file)
            argp_error(state, "unexpected argument \"%s\"", arg);
        *(im->kind ? &im->file : &im->kind) = arg;
        return 0;
    case ARGP_KEY_END:
        check_arguments(im, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_import,
    "items\ninteractions FILE.tsv",
    "Imports items with features, or interactions, into the store.\v"
    "Interactions are lines of user TAB item [TAB seconds since 1970]; a .csv has commas "
    "instead of tabs. An unknown item becomes an item without features. Importing the same "
    "files twice changes nothing. While metammfd runs on the store, this command exits 75.\n\n"
    "Example:\n"
    "  metammf --store s.db import items --ids ids.txt --visual V.npy",
    cli_common,
    NULL,
    NULL};

static int add_digest(const char *path, char *hexes, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int r = digest_path_hex(path, hex, err);

    if (r == ERR_OK)
        strcat(hexes, hex);
    return r;
}

static int read_array(struct import *im, int m, struct err *err)
{
    struct npy *x = &im->npy[m];
    int r = npy_read(im->path[m], x, err);

    if (r != ERR_OK)
        return r;
    if (x->n_rows != im->tsv.n || x->n_cols == 0 || x->n_cols > 65536)
        return err_fatal(err, EX_DATAERR,
                         "%s is (%zu, %zu), but %s has %zu ids: give each id one row",
                         im->path[m], x->n_rows, x->n_cols, im->ids, im->tsv.n);
    for (size_t i = 0; i < x->n_rows * x->n_cols; i++)
        if (!isfinite(x->data[i]))
            return err_fatal(err, EX_DATAERR, "%s: row %zu is not finite; mend it", im->path[m],
                             i / x->n_cols);
    snprintf(im->encoder_id[m], sizeof im->encoder_id[m], "import:%s:%zu", im->encoder,
             x->n_cols);
    return ERR_OK;
}

/* Row n of each array is item n: two rows of one id would leave one of them unread. */
static int check_twice(const struct import *im, struct err *err)
{
    struct tsv_index x;
    int r = tsv_index_new(im->tsv.line, im->tsv.n, &x, err);

    if (r != ERR_OK)
        return r;
    for (size_t i = 1; r == ERR_OK && i < x.n; i++)
        if (strcmp(x.sorted[i - 1].name, x.sorted[i].name) == 0)
            r = err_fatal(
                err, EX_DATAERR,
                "%s:%" PRIu32 ": \"%s\" is on line %" PRIu32 " too; give each id one row",
                im->ids, x.sorted[i].row + 1, x.sorted[i].name, x.sorted[i - 1].row + 1);
    tsv_index_done(&x);
    return r;
}

static int read_items(struct import *im, char *hexes, struct err *err)
{
    int r = tsv_read(im->ids, &im->tsv, err);

    for (size_t i = 0; r == ERR_OK && i < im->tsv.n; i++)
        if (!tsv_is_id(im->tsv.line[i]))
            r = err_fatal(err, EX_DATAERR,
                          "%s:%zu: not an id in UTF-8 of 1 to 256 bytes without "
                          "control characters",
                          im->ids, i + 1);
    if (r == ERR_OK)
        r = check_twice(im, err);
    if (r == ERR_OK)
        r = add_digest(im->ids, hexes, err);
    for (int m = 0; r == ERR_OK && m < MODALITY_COUNT; m++) {
        if (!im->path[m])
            continue;
        r = add_digest(im->path[m], hexes, err);
        if (r == ERR_OK)
            r = read_array(im, m, err);
        if (r == ERR_OK)
            strcat(hexes, modality_name((enum modality)m));
    }
    return r;
}

static int write_block(struct import *im, struct store *st, const struct store_op *ops,
                       size_t n, struct err *err)
{
    struct store_batch_result r;
    int status = store_write_batch(st, ops, n, NULL, 0, &r, err);

    if (status != ERR_OK)
        return status;
    im->n_written += r.n_inserted + r.n_updated + r.n_interactions;
    im->n_already += r.n_stale;
    return ERR_OK;
}

static int write_interactions(struct import *im, struct store *st,
                              const struct store_interaction *x, struct err *err)
{
    struct store_op ops[CLICKS];
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < im->tsv.n; i += CLICKS) {
        size_t n = im->tsv.n - i < CLICKS ? im->tsv.n - i : CLICKS;
        for (size_t k = 0; k < n; k++)
            ops[k] = (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x[i + k]};
        r = write_block(im, st, ops, n, err);
    }
    return r;
}

static int import_interactions(struct import *im, struct err *err)
{
    struct store *st = NULL;
    struct tsv_pair *pairs = NULL;
    char hexes[4 * DIGEST_HEX_BYTES] = "";
    int r = add_digest(im->file, hexes, err);

    if (r == ERR_OK)
        r = tsv_read(im->file, &im->tsv, err);
    snprintf(im->topic, sizeof im->topic, "import:%.64s", hexes);
    if (r == ERR_OK)
        r = tsv_cut_pairs(&im->tsv, im->file, &pairs, err);
    struct store_interaction *x = calloc(im->tsv.n + 1, sizeof *x);
    if (r == ERR_OK && !x)
        r = err_oom(err, "import");
    for (size_t i = 0; r == ERR_OK && i < im->tsv.n; i++)
        x[i] = (struct store_interaction){
            .pos = {im->topic, 0, (int64_t)i},
            .user_id = pairs[i].user,
            .item_id = pairs[i].item,
            .weight = 1,
            .ts_us = isnan(pairs[i].seconds) ? im->now_us : (int64_t)(pairs[i].seconds * 1e6)};
    if (r == ERR_OK)
        r = store_open(im->input.cli->settings.store.path, STORE_WRITE, &st, err);
    if (r == ERR_OK)
        r = factors_apply(st, &im->input.cli->settings, err);
    if (r == ERR_OK)
        r = write_interactions(im, st, x, err);
    store_close(st);
    free(x);
    free(pairs);
    return r;
}

/* ---- embeddings by the active model -------------------------------------------------------- */

static int open_model(struct import *im, struct store *st, struct err *err)
{
    struct store_model row = {0};
    int r = store_model_active(st, &row, err);

    if (r == ERR_OK)
        r = active_model_load(&row, &im->input.cli->settings, &im->model, err);
    im->model_id = row.model_id;
    store_model_done(&row);
    if (r != ERR_OK)
        return r == ERR_NONE ? ERR_OK : r; /* no model yet: no embeddings */
    const struct model_shape *shape = model_shape(im->model);
    im->X = calloc(BLOCK * (size_t)shape->F + 1, sizeof *im->X);
    im->E = calloc(BLOCK * (size_t)shape->D + 1, sizeof *im->E);
    return im->X && im->E ? ERR_OK : err_oom(err, "import");
}

/* A modality of another encoder than the model's counts as missing. */
static uint8_t lay_out_row(const struct import *im, size_t row, float *x)
{
    const struct model_shape *shape = model_shape(im->model);
    uint8_t mask = 0;

    for (int m = 0; m < MODALITY_COUNT; m++) {
        size_t dim = (size_t)shape->modality_dim[m];

        if (dim && im->npy[m].data && im->npy[m].n_cols == dim &&
            strcmp(im->encoder_id[m], shape->encoder_id[m]) == 0) {
            memcpy(x, im->npy[m].data + row * dim, dim * sizeof *x);
            mask |= (uint8_t)MODALITY_BIT(m);
        }
        x += dim;
    }
    return mask;
}

static int embed_block(struct import *im, struct store_video *videos, size_t first, size_t n,
                       struct err *err)
{
    uint8_t mask[BLOCK];

    if (!im->model)
        return ERR_OK;
    const struct model_shape *shape = model_shape(im->model);
    size_t F = (size_t)shape->F, D = (size_t)shape->D;
    memset(im->X, 0, n * F * sizeof *im->X);
    for (size_t k = 0; k < n; k++)
        mask[k] = lay_out_row(im, first + k, im->X + k * F);
    int r = fuse_items(im->model, im->X, mask, n, im->E, err);
    for (size_t k = 0; r == ERR_OK && k < n; k++) {
        bool zero = true;

        for (size_t j = 0; zero && j < D; j++)
            zero = im->E[k * D + j] == 0.0F;
        if (!zero)
            videos[k].embedding = (struct store_vector){im->E + k * D, shape->D, NULL};
        videos[k].model_id = im->model_id;
    }
    return r;
}

static int write_items(struct import *im, struct store *st, struct err *err)
{
    static struct store_video videos[BLOCK];
    struct store_op ops[BLOCK];
    int r = open_model(im, st, err);

    for (size_t i = 0; r == ERR_OK && i < im->tsv.n; i += BLOCK) {
        size_t n = im->tsv.n - i < BLOCK ? im->tsv.n - i : BLOCK;
        for (size_t k = 0; k < n; k++) {
            struct store_video *v = &videos[k];
            *v = (struct store_video){.pos = {im->topic, 0, (int64_t)(i + k)},
                                      .item_id = im->tsv.line[i + k],
                                      .received_us = im->now_us};
            for (int m = 0; m < MODALITY_COUNT; m++)
                if (im->npy[m].data)
                    v->feature[m] =
                        (struct store_vector){im->npy[m].data + (i + k) * im->npy[m].n_cols,
                                              (int32_t)im->npy[m].n_cols, im->encoder_id[m]};
            ops[k] = (struct store_op){.kind = STORE_OP_VIDEO, .video = v};
        }
        r = embed_block(im, videos, i, n, err);
        if (r == ERR_OK)
            r = write_block(im, st, ops, n, err);
    }
    return r;
}

static int import_items(struct import *im, struct err *err)
{
    struct store *st = NULL;
    char hexes[8 * DIGEST_HEX_BYTES] = "", hex[DIGEST_HEX_BYTES];
    int r = read_items(im, hexes, err);

    strcat(hexes, im->encoder);
    digest_hex(hexes, strlen(hexes), hex);
    snprintf(im->topic, sizeof im->topic, "import:%.64s", hex);
    if (r == ERR_OK)
        r = store_open(im->input.cli->settings.store.path, STORE_WRITE, &st, err);
    if (r == ERR_OK)
        r = write_items(im, st, err);
    store_close(st);
    return r;
}

static int print_result(const struct import *im)
{
    if (im->input.cli->json)
        return cli_print_json(json_pack("{s:I, s:I, s:I}", "lines", (json_int_t)im->tsv.n,
                                        "stored", (json_int_t)im->n_written, "already",
                                        (json_int_t)im->n_already));
    printf("import %s: %zu lines, %llu stored, %llu were there already\n", im->kind, im->tsv.n,
           (unsigned long long)im->n_written, (unsigned long long)im->n_already);
    return cli_finish();
}

int cli_import(struct cli *cli, int argc, char **argv)
{
    struct import im = {.input.cli = cli, .encoder = "npy", .now_us = clock_real_us()};
    struct err err;

    cli_parse(&argp, argc, argv, &im.input);
    err_clear(&err);
    int r = cli_load(cli, &err);
    if (r == ERR_OK)
        r = im.ids ? import_items(&im, &err) : import_interactions(&im, &err);
    int code = r == ERR_OK ? print_result(&im) : cli_fail(&err);
    for (int m = 0; m < MODALITY_COUNT; m++)
        npy_done(&im.npy[m]);
    tsv_done(&im.tsv);
    model_free(im.model);
    free(im.X);
    free(im.E);
    return code;
}
