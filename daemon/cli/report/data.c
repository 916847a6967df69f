#include "daemon/cli/report/report.h"

#include "config/clock.h"
#include "config/version.h"
#include "daemon/base/json_field.h"
#include "daemon/cli/extract/extract.h"
#include "daemon/cli/inspect.h"
#include "fusion/math/pca.h"
#include "store/models.h"
#include "store/reading.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- counts ------------------------------------------------------------------------------ */

static int add_counts(struct cli *cli, struct store *st, json_t *root, struct err *err)
{
    struct store_counts c = {0};
    int64_t n_stale = extract_count_stale(cli, st);
    int r = store_count(st, &c, err);

    json_object_set_new(
        root, "counts",
        json_pack("{s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I}", "items",
                  (json_int_t)c.n_items, "embeddings", (json_int_t)c.n_embeddings, "no_signal",
                  (json_int_t)c.n_no_signal, "no_features", (json_int_t)c.n_no_features,
                  "stale", n_stale < 0 ? json_null() : json_integer(n_stale), "users",
                  (json_int_t)c.n_users, "interactions", (json_int_t)c.n_interactions,
                  "dead_letters", (json_int_t)c.n_dead_letters, "gaps", (json_int_t)c.n_gaps));
    return r;
}

/* ---- models ------------------------------------------------------------------------------ */

/* A number below `a` (then `b`, `c`), null when one of them is not there. */
static json_t *figure(const json_t *object, const char *a, const char *b, const char *c)
{
    const json_t *v = json_object_get(json_object_get(object, a), b);

    if (c)
        v = json_object_get(v, c);
    return json_is_number(v) && isfinite(json_number_value(v)) && json_number_value(v) >= 0
               ? json_real(json_number_value(v))
               : NULL;
}

/* What the gate measured; for models trained by hand, what training measured on its own split. */
static void add_figure(json_t *model, const json_t *metrics, const char *name,
                       const char *gate_name, const char *slice)
{
    const json_t *at = json_object_get(json_object_get(metrics, "valid"), slice);
    json_t *v = gate_name
                    ? figure(json_object_get(metrics, "gate"), "candidate", gate_name, NULL)
                    : NULL;

    if (!v)
        v = figure(at, "20", "ndcg", NULL);
    json_object_set_new(model, name, v ? v : json_null());
}

static json_t *json_model(const struct store_model *m)
{
    static const char *const origins[] = {"seeded", "trained", "imported"};
    json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;
    const json_t *gate = json_object_get(metrics, "gate");
    const char *why = json_string_value(json_object_get(gate, "why"));
    const char *verdict = json_string_value(json_object_get(gate, "verdict"));
    json_t *model = json_pack(
        "{s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "id", (json_int_t)m->model_id,
        "parent", (json_int_t)m->parent_id, "created_us", (json_int_t)m->created_us, "state",
        m->state, "origin", origins[m->origin], "backbone", m->backbone, "fusion", m->fusion,
        "verdict", verdict ? verdict : "", "why", why ? why : "");

    if (model) {
        add_figure(model, metrics, "ndcg", "ndcg_20", "overall");
        add_figure(model, metrics, "ndcg_warm", NULL, "warm");
        add_figure(model, metrics, "ndcg_cold", "cold_ndcg_20", "cold");
    }
    json_decref(metrics);
    return model;
}

static int add_curve(struct store *st, int64_t model_id, json_t *root, struct err *err)
{
    struct store_metric *points = NULL;
    json_t *array, *point = NULL;
    size_t n = 0;
    int r = store_get_curve(st, model_id, &points, &n, err);

    if (r != ERR_OK || n == 0) {
        free(points);
        return r;
    }
    array = json_array();
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || points[i].epoch != points[i - 1].epoch) {
            point = json_pack("{s:I}", "epoch", (json_int_t)points[i].epoch);
            json_array_append_new(array, point); /* borrowed from now on */
        }
        json_object_set_new(point, points[i].name, json_real(points[i].value));
    }
    free(points);
    json_object_set_new(
        root, "curve",
        json_pack("{s:I, s:o}", "model_id", (json_int_t)model_id, "points", array));
    return ERR_OK;
}

/* Oldest first. The curve is the active model's, else the newest one that has one. */
static int add_models(struct store *st, json_t *root, struct err *err)
{
    struct store_model *rows = NULL;
    json_t *models = json_array();
    size_t n = 0;
    int r = store_model_list(st, REPORT_MODELS, &rows, &n, err);

    for (size_t i = n; r == ERR_OK && i-- > 0;) {
        bool active = strcmp(rows[i].state, "active") == 0;

        json_array_append_new(models, json_model(&rows[i]));
        if (active) {
            json_object_set_new(root, "active_model", json_integer(rows[i].model_id));
            r = add_curve(st, rows[i].model_id, root, err);
        }
    }
    for (size_t i = 0; r == ERR_OK && i < n && json_is_null(json_object_get(root, "curve"));
         i++)
        r = add_curve(st, rows[i].model_id, root, err);
    for (size_t i = 0; i < n; i++)
        store_model_done(&rows[i]);
    free(rows);
    json_object_set_new(root, "models", models);
    return r;
}

/* ---- the map ----------------------------------------------------------------------------- */

struct map {
    struct store_ref *refs;
    size_t n_refs;
    size_t n, dim;  /* rows read; all of one dimension */
    float *vec;     /* (n, dim) each of length 1 */
    json_t *points; /* one for each row */
};

static void unit_length(float *v, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    for (size_t i = 0; i < n && sum > 0; i++)
        v[i] = (float)((double)v[i] / sqrt(sum));
}

static int add_row(struct map *m, struct store *st, const char *item_id, struct err *err)
{
    struct store_embedding e = {0};
    int r = store_get_embedding(st, item_id, &e, err);

    if (r == ERR_OK && !m->vec) {
        m->dim = (size_t)e.dim;
        m->vec = calloc(m->n_refs * m->dim, sizeof(*m->vec));
        if (!m->vec)
            r = err_oom(err, "a map of embeddings");
    }
    if (r == ERR_OK && (size_t)e.dim == m->dim) {
        memcpy(m->vec + m->n * m->dim, e.vec, m->dim * sizeof(*m->vec));
        unit_length(m->vec + m->n++ * m->dim, m->dim);
        json_array_append_new(m->points,
                              json_pack("{s:s, s:s}", "item_id", item_id, "state", e.state));
    }
    store_embedding_done(&e);
    return r == ERR_NONE ? ERR_OK : r;
}

static int draw_map(struct map *m, double ret_share[2], struct err *err)
{
    float *plane = malloc((2 * m->n + 1) * sizeof(*plane));
    int r = plane ? ERR_OK : err_oom(err, "a map of embeddings");

    if (r == ERR_OK && m->dim <= PCA_COLUMNS_MAX)
        r = pca_plane(m->vec, m->n, m->dim, plane, ret_share, err);
    for (size_t i = 0; r == ERR_OK && i < m->n; i++) {
        json_t *point = json_array_get(m->points, i);

        json_object_set_new(point, "x", json_real((double)plane[2 * i]));
        json_object_set_new(point, "y", json_real((double)plane[2 * i + 1]));
    }
    free(plane);
    return r;
}

static int add_map(struct store *st, json_t *root, struct err *err)
{
    struct map m = {.points = json_array()};
    double share[2] = {0, 0};
    int r = store_sample(st, REPORT_MAP_ITEMS, &m.refs, &m.n_refs, err);

    for (size_t i = 0; r == ERR_OK && i < m.n_refs; i++)
        r = add_row(&m, st, m.refs[i].item_id, err);
    if (r == ERR_OK && m.n > 0)
        r = draw_map(&m, share, err);
    json_object_set_new(
        root, "map",
        json_pack("{s:[f, f], s:o}", "share", share[0], share[1], "points", m.points));
    store_refs_free(m.refs, m.n_refs);
    free(m.vec);
    return r;
}

/* ---- contributions ----------------------------------------------------------------------- */

struct contributions {
    size_t n, present[MODALITY_COUNT];
    double share[MODALITY_COUNT], moved[MODALITY_COUNT];
};

static int add_item(struct inspect *i, const char *item_id, struct contributions *c, float *E,
                    struct err *err)
{
    struct inspect_item item;
    struct inspect_ablation a;
    int r = inspect_read(i, item_id, &item, err);

    if (r != ERR_OK)
        return r;
    if (item.used != 0) {
        r = inspect_ablate(i, &item, E, &a, err);
        c->n += r == ERR_OK;
    }
    for (int m = 0; r == ERR_OK && item.used != 0 && m < MODALITY_COUNT; m++) {
        c->present[m] += (item.used & MODALITY_BIT(m)) != 0;
        c->share[m] += a.share[m];
        c->moved[m] += a.moved[m];
    }
    inspect_item_done(&item);
    return r;
}

static json_t *json_contributions(const struct contributions *c)
{
    json_t *modalities = json_object();
    double n = c->n > 0 ? (double)c->n : 1;

    for (int m = 0; m < MODALITY_COUNT; m++)
        json_object_set_new(modalities, modality_name((enum modality)m),
                            json_pack("{s:f, s:f, s:f}", "share", c->share[m] / n, "moved",
                                      c->moved[m] / n, "present", (double)c->present[m] / n));
    return json_pack("{s:I, s:o}", "sampled", (json_int_t)c->n, "modalities", modalities);
}

static int add_contributions(struct store *st, const struct settings *s, json_t *root,
                             struct err *err)
{
    struct contributions c = {0};
    struct inspect i = {0};
    struct store_ref *refs = NULL;
    size_t n = 0;
    float *E = NULL;
    int r = inspect_open(st, s, &i, err);

    if (r == ERR_OK && i.model.model && i.D > 0) {
        E = malloc((1 + MODALITY_COUNT) * (size_t)i.D * sizeof(*E));
        r = E ? store_sample(st, REPORT_ABLATED_ITEMS, &refs, &n, err)
              : err_oom(err, "contributions");
    }
    for (size_t k = 0; r == ERR_OK && k < n; k++)
        r = add_item(&i, refs[k].item_id, &c, E, err);
    json_object_set_new(root, "contributions", json_contributions(&c));
    store_refs_free(refs, n);
    inspect_done(&i);
    free(E);
    return r;
}

/* ---- latency ----------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double q)
{
    return sorted[(size_t)(q * (double)(n - 1) + 0.5)];
}

/* Bins at 1, 2, 5, 10, … ms: from the one that holds the quickest to that of the slowest. */
static json_t *json_bins(const double *sorted, size_t n)
{
    static const double steps[] = {1, 2, 5};
    json_t *bins = json_array();
    double from = 0, to = 1;
    size_t at = 0;

    for (int k = 0; at < n && k < REPORT_LATENCY_BINS_MAX; k++) {
        size_t first = at;

        to = steps[k % 3] * pow(10, k / 3);
        if (k + 1 == REPORT_LATENCY_BINS_MAX)
            to = sorted[n - 1] + 1;
        while (at < n && sorted[at] < to)
            at++;
        if (at > first || json_array_size(bins) > 0)
            json_array_append_new(bins, json_pack("{s:f, s:f, s:I}", "from_ms", from, "to_ms",
                                                  to, "n", (json_int_t)(at - first)));
        from = to;
    }
    return bins;
}

static int add_latency(struct store *st, json_t *root, struct err *err)
{
    double *ms = NULL;
    size_t n = 0;
    int r = store_read_latencies(st, REPORT_LATENCIES, &ms, &n, err);

    if (r == ERR_OK && n > 0) {
        qsort(ms, n, sizeof(*ms), compare_doubles);
        json_object_set_new(root, "latency",
                            json_pack("{s:I, s:f, s:f, s:f, s:f, s:o}", "n", (json_int_t)n,
                                      "p50_ms", quantile(ms, n, 0.5), "p90_ms",
                                      quantile(ms, n, 0.9), "p99_ms", quantile(ms, n, 0.99),
                                      "max_ms", ms[n - 1], "bins", json_bins(ms, n)));
    }
    free(ms);
    return r;
}

/* ---- what was lost, and how far the log was read ------------------------------------------- */

static int add_losses(struct store *st, json_t *root, struct err *err)
{
    struct store_count_by *reasons = NULL;
    struct store_gap_row *gaps = NULL;
    json_t *dead = json_object(), *array = json_array();
    size_t n = 0, n_gaps = 0;
    int r = store_count_dead_letters(st, &reasons, &n, err);

    for (size_t i = 0; r == ERR_OK && i < n; i++)
        json_object_set_new(dead, reasons[i].name, json_integer(reasons[i].n));
    if (r == ERR_OK)
        r = store_read_gaps(st, 100, &gaps, &n_gaps, err);
    for (size_t i = 0; r == ERR_OK && i < n_gaps; i++)
        json_array_append_new(
            array, json_pack("{s:s, s:i, s:I, s:I, s:I}", "topic", gaps[i].topic, "partition",
                             (int)gaps[i].partition, "from", (json_int_t)gaps[i].from_offset,
                             "to", (json_int_t)gaps[i].to_offset, "seen_us",
                             (json_int_t)(gaps[i].ts_ms * 1000)));
    free(reasons);
    store_gaps_free(gaps, n_gaps);
    json_object_set_new(root, "dead_letters", dead);
    json_object_set_new(root, "gaps", array);
    return r;
}

static int add_offsets(struct store *st, json_t *root, struct err *err)
{
    struct store_offset_row *rows = NULL;
    json_t *array = json_array();
    size_t n = 0;
    int r = store_read_offsets(st, &rows, &n, err);

    for (size_t i = 0; r == ERR_OK && i < n; i++)
        json_array_append_new(array,
                              json_pack("{s:s, s:i, s:I, s:I}", "topic", rows[i].topic,
                                        "partition", (int)rows[i].partition, "next_offset",
                                        (json_int_t)rows[i].next_offset, "updated_us",
                                        (json_int_t)(rows[i].updated_ms * 1000)));
    if (r == ERR_OK)
        store_offsets_free(rows, n);
    json_object_set_new(root, "offsets", array);
    return r;
}

int report_gather(struct cli *cli, struct store *st, struct json_t **ret, struct err *err)
{
    json_t *root =
        json_pack("{s:I, s:s, s:o, s:n, s:n, s:n}", "generated_us", (json_int_t)clock_real_us(),
                  "version", version_text, "store", json_of_text(cli->settings.store.path),
                  "active_model", "curve", "latency");
    int r = root ? add_counts(cli, st, root, err) : err_oom(err, "report");

    if (r == ERR_OK)
        r = add_models(st, root, err);
    if (r == ERR_OK)
        r = add_map(st, root, err);
    if (r == ERR_OK)
        r = add_contributions(st, &cli->settings, root, err);
    if (r == ERR_OK)
        r = add_latency(st, root, err);
    if (r == ERR_OK)
        r = add_losses(st, root, err);
    if (r == ERR_OK)
        r = add_offsets(st, root, err);
    if (r == ERR_OK)
        *ret = root;
    else
        json_decref(root);
    return r;
}
