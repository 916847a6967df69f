/* metammf verify: does what is stored come out again? A sample of items is extracted and fused a
 * second time, by this process, and the bytes are compared. Reads only. */
#include "daemon/cli/cli.h"

#include "daemon/cli/verify.h"
#include "config/text.h"
#include "daemon/base/progress.h"
#include "daemon/cli/extract/extract.h"
#include "daemon/cli/inspect.h"
#include "daemon/event/event.h"
#include "daemon/event/item.h"
#include "daemon/media/media_open.h"
#include "daemon/refresh/world.h"
#include "fusion/math/rng.h"
#include "fusion/model/fuse.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/touch.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define EDGES_MAX ((size_t)50000000) /* of one item's neighbourhood */

struct verify {
    struct cli_input input; /* first */
    int64_t n, seed;
    const char *media_root;
    char **ids; /* named by the caller, (n_ids) of argv */
    size_t n_ids;
    char *root; /* media_root, canonical */
};

enum { OPTION_SEED = 256, OPTION_MEDIA_ROOT };

static const struct argp_option options[] = {
    {"number", 'n', "N", 0, "How many items to draw (20)", 0},
    {"seed", OPTION_SEED, "N", 0, "Draw the sample with this seed (1)", 0},
    {"media-root", OPTION_MEDIA_ROOT, "DIR", 0,
     "Allow media under DIR as well, and begin relative paths there (the settings' "
     "media.roots)",
     0},
    {0}};

static error_t parse_verify(int key, char *arg, struct argp_state *state)
{
    struct verify *v = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case 'n':
        v->n = cli_number(state, "-n", arg, 1, 1000000);
        return 0;
    case OPTION_SEED:
        v->seed = cli_number(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case OPTION_MEDIA_ROOT:
        v->media_root = arg;
        return 0;
    case ARGP_KEY_ARGS:
        v->ids = state->argv + state->next;
        v->n_ids = (size_t)(state->argc - state->next);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_verify,
    "[ITEM...]",
    "Extracts and fuses a sample of items again, or the items named, and compares the bytes "
    "with what is stored.\v"
    "Each feature gets one word: equal (every byte), differs, gone (the media no longer "
    "exists), stale (another version of the encoders made it: metammf reextract), unread (the "
    "media cannot be read here) or none (there is nothing to extract from).\n"
    "Each vector is fused again from the stored features. The vector of an item without "
    "interactions must be equal in every byte. A warm item's vector, in which a training or "
    "the graph had a part, is computed anew (under mf its fused half, under a graph model from "
    "its neighbourhood) and must agree to 1e-5 of its largest element (close). Three words "
    "excuse a vector from that: behind (interactions came after the training, and the vector "
    "may follow them later), kept (its features were replaced by a re-extraction, and no model "
    "is trained on the new ones yet) and graph (its neighbourhood has more than 5e7 edges).\n"
    "With --json: {seed, items: [{item_id, features, vector, detail}], differ}. Exit code 65 "
    "when something differs.\n\n"
    "Example:\n"
    "  metammf --config /etc/metammfd/metammfd.conf verify -n 50",
    cli_common,
    NULL,
    NULL};

struct run {
    const struct verify *v;
    struct store *st;
    struct inspect inspect;
    struct pool *pool; /* NULL until there is something to extract */
    json_t *items;
    size_t n_differ;

    struct refresh_world world; /* opened for the first warm item of a graph model */
    bool has_world;
    bool moving; /* interactions have come since the training: vectors may follow them later */
};

/* ---- features ---------------------------------------------------------------------------- */

static int open_media(const struct run *run, const struct store_item *row, int *ret_fd,
                      struct err *err)
{
    const struct media_roots roots = media_roots_of(&run->v->input.cli->settings, run->v->root);

    *ret_fd = -1;
    return row->media_uri ? media_open(&roots, row->media_uri, ret_fd, err) : ERR_OK;
}

/* The pool's one job. ERR_SKIP: the media has a fault. */
static int extract(struct run *run, const struct store_item *row, int fd,
                   struct pool_result *ret, struct err *err)
{
    struct item *tags = item_new();
    int r = tags ? ERR_OK : err_oom(err, "verify");

    if (r == ERR_OK && row->tags_json)
        r = event_tags_parse(tags, row->tags_json, err);
    if (r == ERR_OK && !run->pool)
        r = extract_open_pool(run->v->input.cli, 1, &run->pool, err);
    if (r == ERR_OK) {
        const struct pool_job job = {.media_fd = fd,
                                     .text = {.title = row->title,
                                              .description = row->description,
                                              .lang = row->lang,
                                              .tags = tags->tags,
                                              .n_tags = tags->n_tags}};
        r = pool_submit(run->pool, &job, err);
    }
    item_free(tags);
    while (r == ERR_OK && !pool_wait(run->pool, -1, 1000, ret))
        ;
    if (r == ERR_OK && ret->err.status != ERR_OK) {
        *err = ret->err;
        r = ret->err.status;
    }
    return r;
}

/* A modality that could not be extracted from what the item has is as stored: imported. */
static const char *compare(const struct store_item *row, const struct inspect_item *have,
                           const struct features *now, char *detail, size_t bytes)
{
    for (int m = 0; m < MODALITY_COUNT; m++) {
        bool stored = have->stored & MODALITY_BIT(m), made = now->mask & MODALITY_BIT(m);
        const char *name = modality_name((enum modality)m);

        if (m != MODALITY_TEXTUAL && !row->media_uri)
            continue;
        if (stored != made) {
            snprintf(detail, bytes, "%s: %s", name,
                     stored ? "not made any more" : "not stored");
            return "differs";
        }
        if (stored && strcmp(have->encoder_id[m], now->encoder_id[m]) != 0) {
            snprintf(detail, bytes, "%s: by %s, now %s", name, have->encoder_id[m],
                     now->encoder_id[m]);
            return "stale";
        }
        if (stored && (have->dim[m] != now->dim[m] ||
                       memcmp(have->vec[m], now->vec[m],
                              (size_t)have->dim[m] * sizeof(*have->vec[m])) != 0)) {
            snprintf(detail, bytes, "%s: other bytes", name);
            return "differs";
        }
    }
    return "equal";
}

/* Picture or sound are stored, and a limit of today keeps them from being read: no fault of theirs. */
static bool is_over_a_limit(const struct inspect_item *have, const struct pool_result *now)
{
    return now->media_err.status == ERR_SKIP &&
           strcmp(now->media_err.reason, "media_too_big") == 0 &&
           (have->stored & ~MODALITY_BIT(MODALITY_TEXTUAL)) != 0;
}

static int verify_features(struct run *run, const struct store_item *row,
                           const struct inspect_item *have, const char **ret_word, char *detail,
                           size_t bytes, struct err *err)
{
    static struct pool_result now; /* 20 kB */
    int fd, r;

    *ret_word = "none";
    if (!row->media_uri && !row->title && !row->description && !row->tags_json)
        return ERR_OK;
    r = open_media(run, row, &fd, err);
    if (r == ERR_OK) {
        r = extract(run, row, fd, &now, err);
        if (fd >= 0)
            close(fd);
    }
    if (r == ERR_OK && is_over_a_limit(have, &now)) {
        *err = now.media_err;
        r = ERR_SKIP;
    }
    if (r == ERR_OK) {
        *ret_word = compare(row, have, &now.features, detail, bytes);
        return ERR_OK;
    }
    if (r != ERR_SKIP)
        return r;
    text_format(detail, bytes, "%s", err->text);
    if (strcmp(err->reason, "media_missing") == 0)
        *ret_word = "gone";
    else if (strncmp(err->reason, "media_", 6) == 0)
        *ret_word = "unread";
    else
        *ret_word = "differs"; /* it was extracted once */
    return ERR_OK;
}

/* ---- vectors ----------------------------------------------------------------------------- */

/* By the largest difference, as a share of the largest element. 1e-5, because a training
 * publishes what its own matrix products make, and a warm vector is computed anew by others. */
static const char *compare_vectors(const float *stored, const float *now, size_t n)
{
    float largest = 0, off = 0;

    if (memcmp(stored, now, n * sizeof(*now)) == 0)
        return "equal";
    for (size_t i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(stored[i]));
        off = fmaxf(off, fabsf(stored[i] - now[i]));
    }
    return off <= 1e-5F * largest ? "close" : "differs";
}

/* Whether an item or a user was touched after the model was made. */
static int find_touches(struct run *run, bool *ret_any, struct err *err)
{
    struct store_touch touches[256];
    struct store_model m = {0};
    int64_t after = 0;
    size_t n = 1;
    int r = store_model_get(run->st, run->inspect.model.model_id, &m, err);

    *ret_any = false;
    while (r == ERR_OK && n > 0 && !*ret_any) {
        r = store_read_touches(run->st, after, sizeof(touches) / sizeof(*touches), touches, &n,
                               err);
        for (size_t i = 0; r == ERR_OK && i < n; i++) {
            *ret_any |= touches[i].ts_ms * 1000 > (double)m.created_us;
            after = touches[i].n;
        }
    }
    store_model_done(&m);
    return r;
}

static int find_moves(struct run *run, struct err *err)
{
    struct store_pair *pairs = NULL;
    size_t n_trained = 0, n_pairs = 0;
    int r = store_get_training(run->st, run->inspect.model.model_id, &pairs, &n_trained, err);

    if (r == ERR_OK)
        free(pairs);
    if (r == ERR_OK || r == ERR_NONE)
        r = store_read_pairs(run->st, &pairs, &n_pairs, err);
    if (r == ERR_OK) {
        free(pairs);
        r = find_touches(run, &run->moving, err);
    }
    run->moving |= n_pairs != n_trained;
    return r;
}

/* ERR_NONE: the store has no active model. */
static int open_world(struct run *run, struct err *err)
{
    const struct settings *s = &run->v->input.cli->settings;
    struct active_model none = {0}, model = {0};
    int r = active_model_newer(&none, run->st, s, &model, err);

    if (r == ERR_OK)
        r = refresh_world_open(&run->world, run->st, s, &model, err);
    active_model_done(&model); /* when it was not taken over */
    if (r == ERR_OK)
        r = find_moves(run, err);
    run->has_world = r == ERR_OK;
    return r;
}

/* A warm item under a graph model, from its neighbourhood (fusion/model/neighbourhood.h). The word
 * stays "graph" where there is nothing to compare with. */
static int verify_in_graph(struct run *run, const struct store_item *row,
                           const struct store_embedding *e, const char **ret_word,
                           struct err *err)
{
    int64_t node = neighbourhood_item(row->rid);
    uint32_t degree;
    bool too_big;
    int r = run->has_world ? ERR_OK : open_world(run, err);

    *ret_word = "graph";
    if (r != ERR_OK)
        return r == ERR_NONE ? ERR_OK : r;
    if (e->dim != run->inspect.D)
        return ERR_OK;
    float *vec = calloc((size_t)e->dim + 1, sizeof(*vec));
    if (!vec)
        return err_oom(err, "verify");
    r = refresh_world_vectors(&run->world, &node, 1, EDGES_MAX, vec, &degree, &too_big, err);
    if (r == ERR_OK && !too_big)
        *ret_word = compare_vectors(e->vec, vec, (size_t)e->dim);
    if (r == ERR_OK && run->moving && strcmp(*ret_word, "differs") == 0)
        *ret_word = "behind";
    free(vec);
    return r;
}

static int verify_vector(struct run *run, const struct store_item *row,
                         const struct inspect_item *have, const struct store_embedding *e,
                         const char **ret_word, struct err *err)
{
    const struct model *model = run->inspect.model.model;
    const struct model_shape *shape = model ? model_shape(model) : NULL;
    struct inspect_ablation unused;
    float *E;
    size_t n;
    int r;

    *ret_word = "none";
    if (!e->vec || !model || e->model_id != run->inspect.model.model_id ||
        !model_has_features(shape))
        return ERR_OK;
    if (strcmp(e->state, "warm") == 0 && (shape->hops > 0 || model_has_signals(shape)))
        return verify_in_graph(run, row, e, ret_word, err);
    E = calloc((1 + MODALITY_COUNT) * (size_t)shape->D, sizeof(*E));
    if (!E)
        return err_oom(err, "verify");
    r = inspect_ablate(&run->inspect, have, E, &unused, err);
    n = strcmp(e->state, "warm") == 0 ? model_feature_width(shape) : (size_t)shape->D;
    if (r == ERR_OK)
        *ret_word = e->dim == shape->D ? compare_vectors(e->vec, E, n) : "differs";
    /* Made before a re-extraction by encoders that the model does not know. */
    if (r == ERR_OK && have->used != have->stored && strcmp(*ret_word, "differs") == 0)
        *ret_word = "kept";
    free(E);
    return r;
}

/* ---- items ------------------------------------------------------------------------------- */

static int add_item(struct run *run, const char *item_id, struct err *err)
{
    struct store_item row = {0};
    struct store_embedding e = {0};
    struct inspect_item have = {0};
    const char *features = "none", *vector = "none";
    char detail[256] = "";
    int r = store_get_item(run->st, item_id, &row, err);

    if (r == ERR_NONE || (r == ERR_OK && row.deleted))
        r = err_fatal(err, EX_NOINPUT, "no item \"%s\" in this store", item_id);
    if (r == ERR_OK)
        r = store_get_embedding(run->st, item_id, &e, err);
    if (r == ERR_OK || r == ERR_NONE)
        r = inspect_read(&run->inspect, item_id, &have, err);
    if (r == ERR_OK)
        r = verify_features(run, &row, &have, &features, detail, sizeof(detail), err);
    if (r == ERR_OK)
        r = verify_vector(run, &row, &have, &e, &vector, err);
    if (r == ERR_OK) {
        run->n_differ += strcmp(features, "differs") == 0 || strcmp(vector, "differs") == 0;
        json_array_append_new(run->items,
                              json_pack("{s:s, s:s, s:s, s:s}", "item_id", item_id, "features",
                                        features, "vector", vector, "detail", detail));
    }
    inspect_item_done(&have);
    store_embedding_done(&e);
    store_item_done(&row);
    return r;
}

/* N of all items with a vector, drawn without putting back. */
static int draw(const struct verify *v, const struct store_matrix *all, uint32_t **ret_rows,
                size_t *ret_n, struct err *err)
{
    uint32_t *rows = malloc((all->n_rows + 1) * sizeof(*rows));
    struct rng rng;

    if (!rows)
        return err_oom(err, "verify");
    rng_init(&rng, (uint64_t)v->seed);
    for (size_t i = 0; i < all->n_rows; i++)
        rows[i] = (uint32_t)i;
    rng_shuffle(&rng, rows, all->n_rows);
    *ret_rows = rows;
    *ret_n = (size_t)v->n < all->n_rows ? (size_t)v->n : all->n_rows;
    return ERR_OK;
}

static int verify_drawn(struct run *run, struct err *err)
{
    struct store_matrix all = {0};
    struct progress bar;
    uint32_t *rows = NULL;
    size_t n = 0;
    int r = store_read_embeddings(run->st, &all, err);

    if (r == ERR_OK)
        r = draw(run->v, &all, &rows, &n, err);
    progress_start(&bar, stderr, "verify", (int64_t)n);
    for (size_t i = 0; r == ERR_OK && i < n; i++) {
        r = add_item(run, all.item_id[rows[i]], err);
        progress_update(&bar, (int64_t)i + 1, NULL);
    }
    progress_end(&bar, (int64_t)n);
    free(rows);
    store_matrix_done(&all);
    return r;
}

static int verify_all(struct run *run, struct err *err)
{
    int r = inspect_open(run->st, &run->v->input.cli->settings, &run->inspect, err);

    if (r == ERR_OK && run->v->n_ids == 0)
        r = verify_drawn(run, err);
    for (size_t i = 0; r == ERR_OK && i < run->v->n_ids; i++)
        r = add_item(run, run->v->ids[i], err);
    refresh_world_done(&run->world);
    inspect_done(&run->inspect);
    pool_close(run->pool);
    return r;
}

int cli_verify(struct cli *cli, int argc, char **argv)
{
    struct verify v = {.input.cli = cli, .n = 20, .seed = 1};
    struct run run = {.v = &v};
    struct err err;
    int code;

    cli_parse(&argp, argc, argv, &v.input);
    err_clear(&err);
    if (cli_open_store(cli, &run.st, &err) != ERR_OK)
        return cli_fail(&err);
    run.items = json_array();
    if (v.media_root && !(v.root = realpath(v.media_root, NULL)))
        err_fatal(&err, EX_NOINPUT, "media root %s: %s", v.media_root, strerror(errno));
    else if (verify_all(&run, &err) == ERR_OK)
        err_clear(&err);
    store_close(run.st);
    free(v.root);
    if (err.status != ERR_OK) {
        json_decref(run.items);
        return cli_fail(&err);
    }
    code =
        cli->json
            ? cli_print_json(json_pack("{s:I, s:O, s:I}", "seed", (json_int_t)v.seed, "items",
                                       run.items, "differ", (json_int_t)run.n_differ))
            : cli_verify_text(run.items);
    json_decref(run.items);
    if (code || run.n_differ == 0)
        return code;
    fprintf(stderr, "metammf: %zu items are not as they were stored\n", run.n_differ);
    return EX_DATAERR;
}
