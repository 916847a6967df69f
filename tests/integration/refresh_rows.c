/* Neighbours that a refresh has made anew, against a build over everything. */

#include "refresh_fixture.h"

#include "daemon/model/candidate.h"
#include "fusion/model/neighbours.h"
#include "fusion/model/signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As neighbours_build, with another ridge than a multiple of the mean. */
static void build_with(struct refresh_fixture *f, const struct csr *R, float ridge,
                       struct csr *ret_rows, float **ret_scale)
{
    struct neighbours_options o = neighbours_defaults;
    float whole;

    refresh_ok(f, neighbours_build(R, &o, NULL, ret_rows, ret_scale, &whole, &f->err));
    csr_done(ret_rows);
    free(*ret_scale);
    o.ridge *= (double)ridge / (double)whole;
    refresh_ok(f, neighbours_build(R, &o, NULL, ret_rows, ret_scale, &whole, &f->err));
}

static double compare_row(const struct store_dataset *d, const struct csr *rows, uint32_t at,
                          const struct store_neighbours *stored)
{
    double worst = 0, largest = 0;
    size_t n = csr_degree(rows, at);

    if (stored->n_rows == 0 || stored->start[1] != n)
        return stored->n_rows == 0 && n == 0 ? 0 : 1;
    for (size_t k = 0; k < n; k++) {
        double want = (double)rows->value[rows->start[at] + k];

        if (stored->rids[k] != d->item_rid[rows->col[rows->start[at] + k]])
            return 1;
        worst = fmax(worst, fabs((double)stored->values[k] - want));
        largest = fmax(largest, fabs(want));
    }
    return n ? worst / largest : 0;
}

static double row_difference(struct refresh_fixture *f, const char *item, size_t *ret_n)
{
    struct fixture_whole w = {0};
    struct store_neighbours stored = {0};
    struct candidate c;
    struct model *model;
    struct csr rows;
    float *scale;
    uint32_t at = 0;

    fixture_read_data(f, &w);
    fixture_read_active(f, &model, &c);
    struct csr R = fixture_edges(f, &w);
    build_with(f, &R, signals_of(model)->ridge, &rows, &scale);
    while (at < w.data.n_items && strcmp(w.data.item_id[at], item) != 0)
        at++;
    assert_true(at < w.data.n_items);
    pthread_mutex_lock(&f->lock);
    refresh_ok(f, store_read_neighbour_rows(f->st, f->model_id, &w.data.item_rid[at], 1,
                                            &stored, &f->err));
    pthread_mutex_unlock(&f->lock);
    double difference = compare_row(&w.data, &rows, at, &stored);
    double has = stored.n_rows ? stored.scale[0] : 0;
    difference = fmax(difference, fabs(has - (double)scale[at]));
    *ret_n = csr_degree(&rows, at);
    store_neighbours_done(&stored);
    csr_done(&rows);
    free(scale);
    csr_done(&R);
    candidate_done(&c);
    fixture_whole_done(&w);
    return difference;
}

size_t fixture_check_row(struct refresh_fixture *f, const char *item)
{
    size_t n;
    double difference = row_difference(f, item, &n);

    if (difference > 1e-4)
        fail_msg("neighbours of %s: off by %g", item, difference);
    return n;
}
