/* metammf fuse: the forward pass only, on arrays; no store. */
#include "daemon/cli/cli.h"

#include "fusion/file/npy.h"
#include "fusion/model/fuse.h"
#include "fusion/model/model.h"

#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

struct fuse {
    struct cli_input input; /* first */
    const char *model, *features, *out;
};

enum { OPTION_MODEL = 256, OPTION_FEATURES, OPTION_OUT };

static const struct argp_option options[] = {
    {"model", OPTION_MODEL, "M.safetensors", 0, "The model; an authors' state_dict works too",
     0},
    {"features", OPTION_FEATURES, "X.npy", 0,
     "(B, F) float16, 32 or 64, columns visual | acoustic | textual", 0},
    {"out", OPTION_OUT, "E.npy", 0, "Written: (B, width of the last layer) float32", 0},
    {0}};

static error_t parse_fuse(int key, char *arg, struct argp_state *state)
{
    struct fuse *f = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_MODEL:
        f->model = arg;
        return 0;
    case OPTION_FEATURES:
        f->features = arg;
        return 0;
    case OPTION_OUT:
        f->out = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\"", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (!f->model || !f->features || !f->out)
            argp_error(state, "needs --model, --features and --out");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_fuse,
    NULL,
    "Runs a model's forward pass over an array of features.\v"
    "X is used as it is: it is not standardised, and no modality is masked. E is the last "
    "layer's h, without unit length and without the ID half. A wrong number of columns exits "
    "65.\n\n"
    "Example:\n"
    "  metammf fuse --model M.safetensors --features X.npy --out E.npy",
    cli_common,
    NULL,
    NULL};

static int forward(const struct fuse *f, const struct model *model, const struct npy *x,
                   struct err *err)
{
    const struct model_shape *shape = model_shape(model);
    size_t width = (size_t)shape->width[shape->L];
    float *e;
    int r;

    if (x->n_cols != (size_t)shape->F)
        return err_fatal(err, EX_DATAERR,
                         "%s has %zu columns, but %s takes F = %d: give the columns visual | "
                         "acoustic | textual that it was trained on",
                         f->features, x->n_cols, f->model, shape->F);
    e = calloc(x->n_rows * width + 1, sizeof(*e));
    if (!e)
        return err_oom(err, "fuse");
    r = fuse_forward(model, x->data, x->n_rows, e, err);
    if (r == ERR_OK)
        r = npy_write(f->out, e, x->n_rows, width, err);
    free(e);
    return r;
}

int cli_fuse(struct cli *cli, int argc, char **argv)
{
    struct fuse f = {.input.cli = cli};
    struct model *model = NULL;
    struct npy x = {0};
    struct err err;
    int r;

    cli_parse(&argp, argc, argv, &f.input);
    err_clear(&err);
    if (access(f.model, R_OK) != 0 || access(f.features, R_OK) != 0) {
        err_fatal(&err, EX_NOINPUT, "%s: no such readable file",
                  access(f.model, R_OK) != 0 ? f.model : f.features);
        return cli_fail(&err);
    }
    r = model_load(f.model, &model, &err);
    if (r == ERR_OK)
        r = npy_read(f.features, &x, &err);
    if (r == ERR_OK)
        r = forward(&f, model, &x, &err);
    npy_done(&x);
    model_free(model);
    return r == ERR_OK ? 0 : cli_fail(&err);
}
