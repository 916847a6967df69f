/* Where a training starts from: the active model's weights, or nothing. */
#include "daemon/model/training_internal.h"

#include "config/log.h"
#include "daemon/model/active_model.h"
#include "fusion/train/ensemble.h"

#include <stdlib.h>

/* Row here → row there by name. */
static int map_rows(char *const *here, size_t n, char *const *there, size_t n_there,
                    uint32_t **ret_map, struct err *err)
{
    struct tsv_index index;
    uint32_t *map = calloc(n + 1, sizeof *map);
    int r = map ? tsv_index_new(there, n_there, &index, err) : err_oom(err, "a warm start");

    if (r != ERR_OK) {
        free(map);
        return r;
    }
    for (size_t i = 0; i < n; i++)
        map[i] = tsv_index_find(&index, here[i]);
    tsv_index_done(&index);
    *ret_map = map;
    return ERR_OK;
}

/* A model without its folder (seeded, imported) gives its network, but no rows. */
static int load_warm(struct training_start *s, const struct settings *settings,
                     const struct training_data *t, struct err *err)
{
    int r = candidate_of_model(settings, &s->row, &s->files, err);

    if (r == ERR_OK) {
        s->model = s->files.model;
        s->files.model = NULL;
    } else if (r == ERR_NONE) {
        r = active_model_load(&s->row, settings, &s->model, err);
    }
    if (r == ERR_FATAL && active_model_is_lost(&s->row, settings)) {
        log_warning("%s: the training starts from nothing",
                    err ? err->text : "no active model");
        return ERR_OK;
    }
    if (r != ERR_OK)
        return r;
    r = map_rows(t->d.user_id, t->d.n_users, s->files.user_id, s->files.n_users, &s->user_map,
                 err);
    return r == ERR_OK ? map_rows(t->d.item_id, t->d.n_items, s->files.item_id,
                                  s->files.n_items, &s->item_map, err)
                       : r;
}

int training_start_find(struct store *reader, const struct settings *settings,
                        const struct training_request *r, const struct training_data *t,
                        struct training_start *s, struct err *err)
{
    int status = store_model_active(reader, &s->row, err);

    if (status == ERR_NONE)
        return ERR_OK;
    return status == ERR_OK && r->options->warm_start ? load_warm(s, settings, t, err) : status;
}

/* More members than the active model has: the others start from nothing, since two that start from
 * the same would agree in what chance added. */
int training_start_member(struct training_start *s, uint32_t member, bool *ret_warms,
                          struct train_warm *ret_warm, struct err *err)
{
    uint32_t n = s->model ? (uint32_t)model_shape(s->model)->members : 0;
    int r = ERR_OK;

    model_free(s->member);
    s->member = NULL;
    *ret_warms = member < n;
    if (*ret_warms && n > 1)
        r = ensemble_member(s->model, member, &s->member, err);
    *ret_warm = (struct train_warm){n > 1 ? s->member : s->model, s->user_map, s->item_map};
    return r;
}

void training_start_done(struct training_start *s)
{
    store_model_done(&s->row);
    model_free(s->member);
    model_free(s->model);
    candidate_done(&s->files);
    free(s->user_map);
    free(s->item_map);
}
