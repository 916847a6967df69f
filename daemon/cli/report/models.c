#include "daemon/cli/report/page.h"

#include "daemon/base/json_field.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/report/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_rejected(const json_t *model)
{
    return strcmp(json_field_text(model, "state"), "rejected") == 0;
}

/* ---- quality over time --------------------------------------------------------------------- */

/* Models with figures, oldest first. */
struct quality {
    size_t n;
    double *x, *y[3]; /* (n): id; NDCG overall, warm, cold */
    bool *rejected;
};

static bool has_figures(const json_t *model)
{
    return isfinite(report_real(model, "ndcg"));
}

static bool quality_read(const json_t *models, struct quality *ret)
{
    static const char *const names[] = {"ndcg", "ndcg_warm", "ndcg_cold"};
    const json_t *model;
    size_t i, room = json_array_size(models) + 1;

    *ret = (struct quality){.x = calloc(4 * room, sizeof(double)),
                            .rejected = calloc(room, sizeof(bool))};
    if (!ret->x || !ret->rejected)
        return false;
    for (size_t k = 0; k < 3; k++)
        ret->y[k] = ret->x + (k + 1) * room;
    json_array_foreach(models, i, model)
    {
        if (!has_figures(model))
            continue;
        ret->x[ret->n] = (double)json_field_int(model, "id");
        ret->rejected[ret->n] = is_rejected(model);
        for (size_t k = 0; k < 3; k++)
            ret->y[k][ret->n] = report_real(model, names[k]);
        ret->n++;
    }
    return true;
}

static bool any_value(const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isfinite(y[i]))
            return true;
    return false;
}

static void plot_quality(FILE *out, const struct quality *q)
{
    const struct report_series all[] = {{"overall", "a", q->y[0], q->rejected},
                                        {"warm items", "c", q->y[1], q->rejected},
                                        {"cold items", "b", q->y[2], q->rejected}};
    struct report_series shown[3];
    size_t n = 0;

    for (size_t k = 0; k < 3; k++)
        if (any_value(q->y[k], q->n))
            shown[n++] = all[k];
    const struct report_lines lines = {
        .id = "quality",
        .title = "NDCG at 20 by model",
        .about = "Lines over the models' numbers, on held-out interactions: all items, warm "
                 "ones, cold ones. The table below has the numbers.",
        .x_label = "model",
        .y_label = "NDCG@20",
        .x = q->x,
        .n = q->n,
        .series = shown,
        .n_series = n,
        .height = 400,
        .from_zero = true,
        .whole_x = true};
    report_plot_lines(out, &lines);
}

void report_print_quality(FILE *out, const json_t *r)
{
    struct quality q;

    report_open(out, "Ranking quality, model after model", false);
    if (!quality_read(json_field(r, "models"), &q)) {
        report_empty(out, "No memory for this drawing.");
    } else if (q.n == 0) {
        report_empty(
            out, "No model has been trained yet: vectors tell items apart by what they look, "
                 "sound and read like, and know nothing of taste.");
    } else {
        fputs(
            "<p>NDCG@20 of each trained model on interactions that it was not trained on. Cold "
            "items are those that it had seen no interaction of, ranked among all "
            "items.</p>\n<figure>",
            out);
        plot_quality(out, &q);
        fputs("</figure>\n<p>The numbers are in the history of models.</p>\n", out);
    }
    free(q.x);
    free(q.rejected);
    fputs("</section>\n", out);
}

/* ---- the learning curve -------------------------------------------------------------------- */

static void plot_curve(FILE *out, const json_t *points, const char *name, const char *id,
                       const char *title, const char *y_label, const char *style,
                       double *memory)
{
    const json_t *point;
    size_t i, n = json_array_size(points);
    double *x = memory, *y = memory + n;

    json_array_foreach(points, i, point)
    {
        x[i] = (double)json_field_int(point, "epoch");
        y[i] = report_real(point, name);
    }
    if (!any_value(y, n))
        return;
    const struct report_series series = {title, style, y, NULL};
    const struct report_lines lines = {
        .id = id,
        .title = title,
        .about = "A line over the epochs, of several members one after the other; the "
                 "table has the numbers.",
        .x_label = "epoch",
        .y_label = y_label,
        .x = x,
        .n = n,
        .series = &series,
        .n_series = 1,
        .height = 210,
        .whole_x = true};
    fputs("<figure>", out);
    report_plot_lines(out, &lines);
    fputs("</figure>\n", out);
}

static void print_points(FILE *out, const json_t *points)
{
    const json_t *point;
    size_t i;

    report_table_open(
        out, true,
        "<th class=\"n\">epoch</th><th class=\"n\">loss</th><th class=\"n\">NDCG@20"
        "</th><th class=\"n\">Recall@20</th><th class=\"n\">NDCG@10</th>");
    json_array_foreach(points, i, point)
    {
        fprintf(out, "<tr><td class=\"n\">%" PRId64 "</td>", json_field_int(point, "epoch"));
        report_cell_real(out, "4", report_real(point, "loss"));
        report_cell_real(out, "4", report_real(point, "ndcg_20"));
        report_cell_real(out, "4", report_real(point, "recall_20"));
        report_cell_real(out, "4", report_real(point, "ndcg_10"));
        fputs("</tr>\n", out);
    }
    report_table_close(out, true);
}

void report_print_curve(FILE *out, const json_t *r)
{
    const json_t *curve = json_field(r, "curve"), *points = json_field(curve, "points");
    size_t n = json_array_size(points);
    double *memory = calloc(2 * n + 1, sizeof(*memory));

    report_open(out, "Learning curve", false);
    if (!memory || n == 0) {
        report_empty(out, "There is none: no model in this store was trained here.");
    } else {
        fprintf(out,
                "<p>Model %" PRId64 ", validated on its own held-out pairs while it was "
                "trained.</p>\n",
                json_field_int(curve, "model_id"));
        plot_curve(out, points, "ndcg_20", "curve-ndcg", "validation NDCG@20", "NDCG@20", "a",
                   memory);
        plot_curve(out, points, "loss", "curve-loss", "training loss", "loss", "b", memory);
        print_points(out, points);
    }
    free(memory);
    fputs("</section>\n", out);
}

/* ---- history ------------------------------------------------------------------------------- */

static void print_model(FILE *out, const json_t *m)
{
    const char *state = json_field_text(m, "state");
    char when[32], name[64];

    cli_time(json_field_int(m, "created_us"), when, sizeof(when));
    fprintf(out, "<tr%s><td class=\"n\">%" PRId64 "</td>",
            strcmp(state, "active") == 0 ? " class=\"on\"" : "", json_field_int(m, "id"));
    report_cell(out, "t", when);
    report_cell(out, is_rejected(m) ? "no" : "", state);
    snprintf(name, sizeof(name), "%s, %s, %s", json_field_text(m, "origin"),
             json_field_text(m, "backbone"), json_field_text(m, "fusion"));
    report_cell(out, "", name);
    if (json_field_int(m, "parent") > 0)
        fprintf(out, "<td class=\"n\">%" PRId64 "</td>", json_field_int(m, "parent"));
    else
        fputs("<td class=\"n\">–</td>", out);
    report_cell_real(out, "4", report_real(m, "ndcg"));
    report_cell_real(out, "4", report_real(m, "ndcg_warm"));
    report_cell_real(out, "4", report_real(m, "ndcg_cold"));
    report_cell(out, "why", json_field_text(m, "why"));
    fputs("</tr>\n", out);
}

void report_print_history(FILE *out, const json_t *r)
{
    const json_t *models = json_field(r, "models");
    size_t n = json_array_size(models);

    report_open(out, "Models", true);
    if (n == 0) {
        report_empty(out, "None yet: the daemon makes one when it starts.");
    } else {
        fputs("<p>Newest first. A candidate is published only when it ranks no worse than the "
              "active model on the same held-out interactions; a rejected one stays here with "
              "its figures.</p>\n",
              out);
        report_table_open(
            out, false,
            "<th class=\"n\">model</th><th>made, UTC</th><th>state</th><th>kind</th>"
            "<th class=\"n\">after</th><th class=\"n\">NDCG@20</th>"
            "<th class=\"n\">warm</th><th class=\"n\">cold</th><th>gate</th>");
        for (size_t i = n; i-- > 0;)
            print_model(out, json_array_get(models, i));
        report_table_close(out, false);
    }
    fputs("</section>\n", out);
}

/* ---- the map ------------------------------------------------------------------------------- */

static void plot_map(FILE *out, const json_t *points, struct report_point *memory,
                     size_t *ret_cold)
{
    const json_t *point;
    size_t i;

    *ret_cold = 0;
    json_array_foreach(points, i, point)
    {
        memory[i] = (struct report_point){json_field_text(point, "item_id"),
                                          report_real(point, "x"), report_real(point, "y"),
                                          strcmp(json_field_text(point, "state"), "warm") != 0};
        *ret_cold += memory[i].cold;
    }
    fprintf(
        out,
        "<ul class=\"legend\"><li><svg viewBox=\"0 0 32 12\" aria-hidden=\"true\"><circle "
        "class=\"warm\" cx=\"16\" cy=\"6\" r=\"4\"/></svg>warm, %zu</li><li><svg viewBox=\"0 0 "
        "32 12\" aria-hidden=\"true\"><circle class=\"cold\" cx=\"16\" cy=\"6\" r=\"4.5\"/>"
        "</svg>cold, %zu</li></ul>\n<figure>",
        i - *ret_cold, *ret_cold);
    report_plot_map(
        out, "map", "Map of embeddings",
        "Items in the plane of the two directions in which their vectors differ most; "
        "cold items are rings. The table has the numbers.",
        memory, i);
    fputs("</figure>\n", out);
}

static void print_map_table(FILE *out, const json_t *points)
{
    const json_t *point;
    size_t i;

    report_table_open(
        out, true, "<th>item</th><th>state</th><th class=\"n\">x</th><th class=\"n\">y</th>");
    json_array_foreach(points, i, point)
    {
        fputs("<tr>", out);
        report_cell(out, "id", json_field_text(point, "item_id"));
        report_cell(out, "", json_field_text(point, "state"));
        report_cell_real(out, "4", report_real(point, "x"));
        report_cell_real(out, "4", report_real(point, "y"));
        fputs("</tr>\n", out);
    }
    report_table_close(out, true);
}

void report_print_map(FILE *out, const json_t *r)
{
    const json_t *map = json_field(r, "map"), *points = json_field(map, "points");
    const json_t *share = json_field(map, "share");
    size_t n = json_array_size(points), n_cold;
    struct report_point *memory = calloc(n + 1, sizeof(*memory));

    report_open(out, "Map of embeddings", false);
    if (!memory || n == 0) {
        report_empty(out, "No item has a vector yet.");
    } else {
        fprintf(out,
                "<p>%zu items of %" PRId64 ", vectors at length 1, in the plane in which they "
                "differ most (principal components; it holds %.0f %% of the variance). Near is "
                "similar, far is not always different: the rest lies behind this plane.</p>\n",
                n, json_field_int(json_field(r, "counts"), "embeddings"),
                100 * (json_number_value(json_array_get(share, 0)) +
                       json_number_value(json_array_get(share, 1))));
        plot_map(out, points, memory, &n_cold);
        print_map_table(out, points);
    }
    free(memory);
    fputs("</section>\n", out);
}
