#include "daemon/model/models.h"

#include "config/digest.h"
#include "config/infile.h"
#include "daemon/base/paths.h"
#include "fusion/file/outfile.h"

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { LOCK_LOOK_MS = 200 };

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

bool models_lock(bool (*go_on)(void *arg), void *arg)
{
    while (pthread_mutex_trylock(&one_at_a_time) != 0) {
        if (!go_on(arg))
            return false;
        (void)poll(NULL, 0, LOCK_LOOK_MS);
    }
    return true;
}

void models_unlock(void)
{
    pthread_mutex_unlock(&one_at_a_time);
}

int models_publish(const struct candidate_target *t, const char *dir, bool activate,
                   int64_t *ret_model_id, struct err *err)
{
    struct candidate c;
    int r = candidate_read(dir, &c, err);

    if (r != ERR_OK)
        return r;
    r = candidate_publish(&c, t, err);
    if (r == ERR_OK && activate)
        r = candidate_promote(&c, t, err);
    if (r == ERR_OK)
        *ret_model_id = c.model_id;
    candidate_done(&c);
    return r;
}

/* ---- a model from a file ------------------------------------------------------------------- */

static int place(const struct settings *s, const char *file, size_t bytes,
                 struct store_model *row, struct err *err)
{
    char to[PATH_MAX];

    digest_hex(file, bytes, row->sha256);
    (void)snprintf(row->file, sizeof row->file, "imported-%.12s.safetensors", row->sha256);
    int r = paths_model_file(s, row->file, to, err);
    return r == ERR_OK ? outfile_put(to, file, bytes, err) : r;
}

static json_t *encoders_of(const struct model_shape *shape)
{
    json_t *object = json_object();

    for (int m = 0; object && m < MODALITY_COUNT; m++)
        if (shape->modality_dim[m] && shape->encoder_id[m][0])
            (void)json_object_set_new(object, modality_name((enum modality)m),
                                      json_string(shape->encoder_id[m]));
    return object;
}

static bool names_columns(const struct model_shape *shape)
{
    bool any = false;

    for (int m = 0; m < MODALITY_COUNT; m++)
        any = any || shape->encoder_id[m][0];
    return any;
}

/* The columns of a model that does not name them: the store's features, when they add up. The
 * file stays byte for byte what it was; its row remembers the columns. */
static int bind_to_store(struct store *reader, struct model *model, struct err *err)
{
    const struct model_shape *shape = model_shape(model);
    struct store_dataset d;
    int32_t F = 0;

    if (names_columns(shape) || shape->fusion == FUSION_NONE)
        return ERR_OK;
    int r = store_read_dataset(reader, &d, err);
    if (r != ERR_OK)
        return r;
    for (int m = 0; m < MODALITY_COUNT; m++)
        F += d.dim[m];
    if (F == shape->F)
        model_bind(model, d.dim, (const char(*)[64])d.encoder_id);
    store_dataset_done(&d);
    return ERR_OK;
}

static int describe(const struct model *model, struct store_model *row, struct err *err)
{
    const struct model_shape *shape = model_shape(model);
    const int32_t *dim = shape->modality_dim;
    json_t *encoders = encoders_of(shape);
    json_t *metrics = json_pack("{s:[i,i,i], s:b}", "modality_dim", dim[0], dim[1], dim[2],
                                "trained", shape->trained);

    row->origin = STORE_MODEL_IMPORTED;
    row->encoder_ids = encoders ? json_dumps(encoders, JSON_COMPACT) : NULL;
    row->metrics = metrics ? json_dumps(metrics, JSON_COMPACT) : NULL;
    json_decref(encoders);
    json_decref(metrics);
    (void)snprintf(row->backbone, sizeof row->backbone, "%s",
                   backbone_kind_name(shape->backbone));
    (void)snprintf(row->fusion, sizeof row->fusion, "%s", fusion_kind_name(shape->fusion));
    return row->encoder_ids && row->metrics ? ERR_OK : err_oom(err, "a model's row");
}

static int add(struct store *st, void *arg, struct err *err)
{
    return store_model_add(st, arg, err);
}

int models_import(const struct candidate_target *t, const char *path, bool activate,
                  int64_t *ret_model_id, struct err *err)
{
    struct store_model row = {0};
    struct model *model = NULL;
    char *file = NULL;
    size_t bytes;
    int r = infile_read(path, CANDIDATE_BYTES_MAX, &file, &bytes, err);

    if (r == ERR_OK)
        r = model_load_bytes(file, bytes, path, &model, err);
    if (r == ERR_OK)
        r = bind_to_store(t->reader, model, err);
    if (r == ERR_OK)
        r = describe(model, &row, err);
    if (r == ERR_OK)
        r = place(t->settings, file, bytes, &row, err);
    free(file);
    if (r == ERR_OK)
        r = store_work(&t->writer, add, &row, err);
    if (r == ERR_OK && activate)
        r = candidate_activate(t, row.model_id, err);
    if (r == ERR_OK)
        *ret_model_id = row.model_id;
    model_free(model);
    store_model_done(&row);
    return r;
}

/* ---- pin and previous ---------------------------------------------------------------------- */

static int pin(struct store *st, void *arg, struct err *err)
{
    return store_pin_model(st, *(int64_t *)arg, err);
}

int models_pin(const struct candidate_target *t, int64_t model_id, struct err *err)
{
    struct store_model row = {0};
    int r = model_id ? store_model_get(t->reader, model_id, &row, err) : ERR_OK;

    store_model_done(&row);
    if (r == ERR_NONE)
        return err_fatal(err, EX_NOINPUT, "no model %lld: see metammf model list",
                         (long long)model_id);
    return r == ERR_OK ? store_work(&t->writer, pin, &model_id, err) : r;
}

int models_previous(struct store *st, int64_t *ret_model_id, struct err *err)
{
    int r = store_model_previous(st, ret_model_id, err);

    return r == ERR_NONE ? err_fatal(err, EX_NOINPUT,
                                     "no earlier model to go back to: see metammf model list")
                         : r;
}
