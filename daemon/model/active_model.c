#include "daemon/model/active_model.h"

#include "config/digest.h"
#include "config/infile.h"
#include "config/log.h"
#include "daemon/base/json_memory.h"
#include "daemon/base/paths.h"
#include "daemon/model/loaded.h"
#include "fusion/file/outfile.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { SEED = 20230610 }; /* of the untrained model: the same projection everywhere */

/* What the import found out about the columns of a file that does not name them. */
static int bind_columns(const struct store_model *row, struct model *model, struct err *err)
{
    unsigned long n_failures = json_memory_failures();
    json_t *encoders = row->encoder_ids ? json_loads(row->encoder_ids, 0, NULL) : NULL;
    json_t *metrics = row->metrics ? json_loads(row->metrics, 0, NULL) : NULL;
    const json_t *dims = json_object_get(metrics, "modality_dim");
    const struct model_shape *shape = model_shape(model);
    char encoder_id[MODALITY_COUNT][64] = {0};
    int32_t dim[MODALITY_COUNT], F = 0;
    bool named = false;

    for (int m = 0; m < MODALITY_COUNT; m++) {
        const char *id =
            json_string_value(json_object_get(encoders, modality_name((enum modality)m)));

        (void)snprintf(encoder_id[m], sizeof(encoder_id[m]), "%s", id ? id : "");
        dim[m] = (int32_t)json_integer_value(json_array_get(dims, (size_t)m));
        F += dim[m];
        named = named || shape->encoder_id[m][0];
    }
    bool is_short = json_memory_failures() != n_failures;
    if (!is_short && !named && row->origin == STORE_MODEL_IMPORTED && F == shape->F)
        model_bind(model, dim, (const char(*)[64])encoder_id);
    json_decref(encoders);
    json_decref(metrics);
    return is_short ? err_oom(err, "the columns of a model") : ERR_OK;
}

int active_model_has_file(const struct store_model *row, struct err *err)
{
    return row->file[0]
               ? ERR_OK
               : err_fatal(err, EX_NOINPUT,
                           "model %lld was refused, and its file not kept: see metammf "
                           "model list",
                           (long long)row->model_id);
}

int active_model_load(const struct store_model *row, const struct settings *s,
                      struct model **ret_model, struct err *err)
{
    char path[PATH_MAX], hex[DIGEST_HEX_BYTES], *file;
    size_t bytes;
    struct model *model;
    int status;
    if ((status = active_model_has_file(row, err)) != ERR_OK ||
        (status = paths_model_file(s, row->file, path, err)) != ERR_OK)
        return status;
    status = infile_read(path, INT64_MAX, &file, &bytes, err);
    if (status == ERR_RETRY)
        return err_wrap(err, "model %lld", (long long)row->model_id);
    if (status != ERR_OK)
        return err_wrap(
            err,
            "model %lld: put its file back, roll back to another model, or train a new one",
            (long long)row->model_id);
    digest_hex(file, bytes, hex);
    if (strcmp(hex, row->sha256) != 0)
        status = err_fatal(
            err, EX_DATAERR,
            "model %lld: %s: sha256 is %.12s…, the store says %.12s…: put the file back, "
            "roll back to another model, or train a new one",
            (long long)row->model_id, path, hex, row->sha256);
    else if ((status = model_load_bytes(file, bytes, path, &model, err)) != ERR_OK)
        status = err_wrap(err, "model %lld", (long long)row->model_id);
    else if ((status = bind_columns(row, model, err)) != ERR_OK)
        model_free(model);
    else
        *ret_model = model;
    free(file);
    return status;
}

bool active_model_is_lost(const struct store_model *row, const struct settings *s)
{
    struct model *model = NULL;
    int status = active_model_load(row, s, &model, NULL);

    if (status == ERR_OK)
        model_free(model);
    return status == ERR_FATAL;
}

/* Read from its file when nobody has it. */
static int share(const struct store_model *row, const struct settings *s,
                 struct model **ret_model, struct err *err)
{
    struct model *model = loaded_find(row->model_id, row->sha256);
    if (!model) {
        int status = active_model_load(row, s, &model, err);
        if (status != ERR_OK)
            return status;
        status = loaded_add(row->model_id, row->sha256, model, err);
        if (status != ERR_OK) {
            model_free(model);
            return status;
        }
    }
    *ret_model = model;
    return ERR_OK;
}

/* ---- the first model --------------------------------------------------------------------- */

/* The paper's widths and sizes; the input is what the encoders make. Nothing smaller is needed:
 * an upload spends 2.5 ms beside its extraction (docs/measured/pipeline.md). */
static void first_shape(const struct encoder_identity *encoders, struct model_shape *ret_shape)
{
    struct model_shape shape = {.fusion = FUSION_CP,
                                .backbone = BACKBONE_MF,
                                .S = MODEL_S,
                                .R = MODEL_R,
                                .L = 4,
                                .width = {0, 1024, 512, 256, 32},
                                .D = 64,
                                .has_statistics = true};
    for (int m = 0; m < MODALITY_COUNT; m++) {
        (void)snprintf(shape.encoder_id[m], sizeof(shape.encoder_id[m]), "%s", encoders[m].id);
        shape.modality_dim[m] = encoders[m].dim;
        shape.F += encoders[m].dim;
    }
    shape.width[0] = shape.F;
    *ret_shape = shape;
}

/* Saved under a temporary name first, because the final one carries the digest. */
static int save_named_by_digest(const struct model *model, const struct settings *s,
                                struct store_model *row, struct err *err)
{
    char dir[PATH_MAX], temporary[PATH_MAX], path[PATH_MAX];
    int status;
    if ((status = paths_model_file(s, "untrained.new", temporary, err)) != ERR_OK ||
        (status = model_save(model, temporary, err)) != ERR_OK ||
        (status = digest_path_hex(temporary, row->sha256, err)) != ERR_OK)
        return status;
    (void)snprintf(row->file, sizeof(row->file), "untrained-%.12s.safetensors", row->sha256);
    if ((status = paths_model_file(s, row->file, path, err)) != ERR_OK)
        return status;
    if (rename(temporary, path) < 0)
        return err_fatal(err, EX_IOERR, "model file %s: rename: %s", path, strerror(errno));
    if ((status = paths_model_dir(s, dir, err)) != ERR_OK)
        return status;
    return outfile_sync_folder(dir, err); /* before the store's row that speaks of it */
}

/* "{"visual": "…", …}": ids as announced hold no character that JSON escapes (protocol.h). */
static void print_encoder_ids(const struct model_shape *shape, char *ret_json, size_t bytes)
{
    (void)snprintf(ret_json, bytes, "{\"%s\":\"%s\",\"%s\":\"%s\",\"%s\":\"%s\"}",
                   modality_name(MODALITY_VISUAL), shape->encoder_id[MODALITY_VISUAL],
                   modality_name(MODALITY_ACOUSTIC), shape->encoder_id[MODALITY_ACOUSTIC],
                   modality_name(MODALITY_TEXTUAL), shape->encoder_id[MODALITY_TEXTUAL]);
}

/* The file of a seeded model once more. False when it has other bytes now: of other encoders. */
static bool seed_again(const struct store_model *row, const struct settings *s,
                       const struct encoder_identity *encoders)
{
    struct store_model made = {0};
    struct model_shape shape;
    struct model *model;
    char path[PATH_MAX];

    first_shape(encoders, &shape);
    if (model_seed(&shape, SEED, &model, NULL) != ERR_OK)
        return false;
    int status = save_named_by_digest(model, s, &made, NULL);
    model_free(model);
    if (status == ERR_OK && strcmp(made.sha256, row->sha256) == 0)
        return true;
    if (status == ERR_OK && strcmp(made.file, row->file) != 0 &&
        paths_model_file(s, made.file, path, NULL) == ERR_OK)
        (void)unlink(path);
    return false;
}

static int seed_first(struct store *st, const struct settings *s,
                      const struct encoder_identity *encoders, struct err *err)
{
    struct model_shape shape;
    struct model *model;
    first_shape(encoders, &shape);
    int status = model_seed(&shape, SEED, &model, err);
    if (status != ERR_OK)
        return status;

    char encoder_ids[3 * 96];
    print_encoder_ids(&shape, encoder_ids, sizeof(encoder_ids));
    struct store_model row = {.origin = STORE_MODEL_SEEDED, .encoder_ids = encoder_ids};
    (void)snprintf(row.backbone, sizeof(row.backbone), "%s",
                   backbone_kind_name(shape.backbone));
    (void)snprintf(row.fusion, sizeof(row.fusion), "%s", fusion_kind_name(shape.fusion));
    status = save_named_by_digest(model, s, &row, err);
    model_free(model);
    if (status == ERR_OK)
        status = store_model_add(st, &row, err);
    return status == ERR_OK ? store_model_activate(st, row.model_id, err) : status;
}

/* ---- loading ----------------------------------------------------------------------------- */

int active_model_newer(struct active_model *m, struct store *st, const struct settings *s,
                       struct active_model *ret_m, struct err *err)
{
    struct store_model row = {0};
    int status = store_model_active(st, &row, err);
    if (status != ERR_OK)
        return status;
    struct model *model;
    m->active_id = row.model_id;
    if (m->refused_id != row.model_id) /* it may have been put right meanwhile */
        m->refused_id = 0;
    if (row.model_id == m->model_id)
        status = ERR_NONE;
    else if (row.model_id == m->refused_id)
        status = (model = loaded_find(row.model_id, row.sha256)) ? ERR_OK : ERR_NONE;
    else
        status = share(&row, s, &model, err);
    if (status == ERR_OK)
        *ret_m = (struct active_model){
            .model_id = row.model_id, .model = model, .active_id = row.model_id};
    else if (status == ERR_FATAL)
        m->refused_id = row.model_id;
    store_model_done(&row);
    return status;
}

/* Its file is missing or damaged: err says so, and stays when nothing can be done here. */
static int open_lost(struct store *st, const struct settings *s,
                     const struct encoder_identity *encoders, int64_t model_id,
                     struct active_model *ret_m)
{
    struct active_model none = {0};
    struct store_model row = {0};
    bool again = store_model_active(st, &row, NULL) == ERR_OK &&
                 row.origin == STORE_MODEL_SEEDED && seed_again(&row, s, encoders);

    store_model_done(&row);
    if (again && active_model_newer(&none, st, s, ret_m, NULL) == ERR_OK) {
        log_warning(
            "model %lld, untrained: its file was missing or damaged and has been written "
            "again, the same bytes",
            (long long)model_id);
        return ERR_OK;
    }
    *ret_m = (struct active_model){.refused_id = model_id};
    return ERR_OK;
}

int active_model_open(struct store *st, const struct settings *s,
                      const struct encoder_identity *encoders, struct active_model *ret_m,
                      struct err *err)
{
    struct active_model none = {0};
    int status = active_model_newer(&none, st, s, ret_m, err);
    if (status == ERR_FATAL && none.refused_id)
        return open_lost(st, s, encoders, none.refused_id, ret_m);
    if (status != ERR_NONE) /* the store has none: m knows none, and has refused none */
        return status;
    status = seed_first(st, s, encoders, err);
    return status == ERR_OK ? active_model_newer(&none, st, s, ret_m, err) : status;
}

void active_model_done(struct active_model *m)
{
    loaded_release(m->model);
    *m = (struct active_model){0};
}
