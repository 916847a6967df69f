#ifndef MMF_TESTS_FUSION_FIXTURE_H
#define MMF_TESTS_FUSION_FIXTURE_H

/* Shared by the tests of fusion/: a temporary folder, whole files as bytes, and small random
 * models of every kind. */

#include "fusion/math/rng.h"
#include "fusion/model/fuse_plan.h"
#include "fusion/model/internal.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static char fixture_folder[64];

static inline int fixture_setup(void **state)
{
    (void)state;
    snprintf(fixture_folder, sizeof(fixture_folder), "/tmp/mmf-fusion-XXXXXX");
    return mkdtemp(fixture_folder) != NULL ? 0 : -1;
}

static inline int fixture_teardown(void **state)
{
    DIR *folder = opendir(fixture_folder);
    struct dirent *entry;

    (void)state;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder != NULL)
        closedir(folder);
    return rmdir(fixture_folder);
}

/* In memory of exactly that size, so that a read beyond it is found; free. */
static inline unsigned char *fixture_copy(const void *data, size_t bytes)
{
    unsigned char *copy = malloc(bytes + (bytes == 0));

    assert_non_null(copy);
    memcpy(copy, data, bytes);
    return copy;
}

/* A path in the temporary folder; one at a time. */
static inline const char *fixture_path(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", fixture_folder, name);
    return path;
}

static inline void fixture_write(const char *name, const void *data, size_t bytes)
{
    FILE *out = fopen(fixture_path(name), "wb");

    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, bytes, out), bytes);
    assert_int_equal(fclose(out), 0);
}

static inline unsigned char *fixture_read(const char *name, size_t *ret_bytes)
{
    FILE *in = fopen(fixture_path(name), "rb");
    unsigned char *data = malloc((size_t)1 << 22);

    assert_non_null(in);
    assert_non_null(data);
    *ret_bytes = fread(data, 1, (size_t)1 << 22, in);
    fclose(in);
    return data;
}

struct fixture_spec {
    enum fusion_kind fusion;
    enum backbone_kind backbone;
    bool collapsed;  /* C as the authors' (R·S, 1) */
    bool statistics; /* mmf.mean, mmf.std, metadata */
    int32_t content; /* content columns, with statistics */
};

enum { FIXTURE_F = 23, FIXTURE_H = 19, FIXTURE_S = 5, FIXTURE_R = 3, FIXTURE_L = 3 };
static const size_t fixture_width[FIXTURE_L + 1] = {FIXTURE_F, 17, 9, 4};

static inline void fixture_add(struct model *m, struct rng *rng, const char *name, size_t rows,
                               size_t cols)
{
    float *data;

    assert_int_equal(model_add(m, name, rows, cols, &data, NULL), ERR_OK);
    rng_fill(rng, data, rows * (cols == 0 ? 1 : cols), 0.6f);
}

/* n values uniform in [-bound, bound). */
static inline void fixture_fill(uint64_t seed, float *ret_x, size_t n, float bound)
{
    struct rng rng;

    rng_init(&rng, seed);
    rng_fill(&rng, ret_x, n, bound);
}

/* sage's: E → hidden → D. */
static inline void fixture_convolutions(struct model *m, struct rng *rng, size_t E,
                                        size_t hidden, size_t D)
{
    const size_t in[] = {E, hidden}, out[] = {hidden, D};

    for (int i = 0; i < 2; i++) {
        char name[3][32];

        snprintf(name[0], sizeof(name[0]), "conv%d.lin_l.weight", i + 1);
        snprintf(name[1], sizeof(name[1]), "conv%d.lin_l.bias", i + 1);
        snprintf(name[2], sizeof(name[2]), "conv%d.lin_r.weight", i + 1);
        fixture_add(m, rng, name[0], out[i], in[i]);
        fixture_add(m, rng, name[1], out[i], 0);
        fixture_add(m, rng, name[2], out[i], in[i]);
    }
}

static inline void fixture_layers(struct model *m, struct rng *rng,
                                  const struct fixture_spec *spec)
{
    for (size_t n = 1; n <= FIXTURE_L; n++) {
        size_t in = fixture_width[n - 1], out = fixture_width[n];
        char name[5][32];

        for (int i = 0; i < 5; i++)
            snprintf(name[i], sizeof(name[i]), "layer_%zu.%s", n,
                     (const char *[]){"M_1", "T_1", "A", "B", "C"}[i]);
        fixture_add(m, rng, name[0], in, out);
        if (spec->fusion == FUSION_DENSE)
            fixture_add(m, rng, name[1], FIXTURE_S, in * out);
        if (spec->fusion != FUSION_CP)
            continue;
        fixture_add(m, rng, name[2], in, FIXTURE_R);
        fixture_add(m, rng, name[3], FIXTURE_R, out);
        if (spec->collapsed)
            fixture_add(m, rng, name[4], (size_t)FIXTURE_R * FIXTURE_S, 1);
        else
            fixture_add(m, rng, name[4], FIXTURE_R, FIXTURE_S);
    }
}

static inline void fixture_statistics(struct model *m, struct rng *rng,
                                      const struct fixture_spec *spec)
{
    struct model_shape shape = {.fusion = spec->fusion,
                                .backbone = spec->backbone,
                                .modality_dim = {11, 7, 5},
                                .content_dim = spec->content,
                                .content_scale = 2,
                                .id_dim = 4,
                                .hops = 3,
                                .fused_length = 1,
                                .trained = true,
                                .encoder_id = {"v:1", "a:1", "t:1"}};
    float *data;

    fixture_add(m, rng, "mmf.mean", FIXTURE_F, 0);
    assert_int_equal(model_add(m, "mmf.std", FIXTURE_F, 0, &data, NULL), ERR_OK);
    for (size_t i = 0; i < FIXTURE_F; i++)
        data[i] = 0.5f + rng_float(rng);
    if (spec->content > 0)
        fixture_add(m, rng, "mmf.content", FIXTURE_F, (size_t)spec->content);
    assert_int_equal(model_set_shape(m, &shape, NULL), ERR_OK);
}

/* Without model_finish and model_prepare, so that a test can still break it. */
static inline struct model *fixture_parts(const struct fixture_spec *spec, uint64_t seed)
{
    struct model *m;
    struct rng rng;

    rng_init(&rng, seed);
    assert_int_equal(model_new_empty("(test)", &m, NULL), ERR_OK);
    if (spec->fusion == FUSION_DENSE || spec->fusion == FUSION_CP) {
        fixture_add(m, &rng, "mlp_signal.0.weight", FIXTURE_H, FIXTURE_F);
        fixture_add(m, &rng, "mlp_signal.0.bias", FIXTURE_H, 0);
        fixture_add(m, &rng, "mlp_signal.2.weight", FIXTURE_S, FIXTURE_H);
        fixture_add(m, &rng, "mlp_signal.2.bias", FIXTURE_S, 0);
    }
    if (spec->fusion != FUSION_NONE)
        fixture_layers(m, &rng, spec);
    fixture_add(m, &rng, "item_E", 6, 4);
    if (spec->backbone == BACKBONE_SAGE)
        fixture_convolutions(m, &rng, 8, 6, 7);
    if (spec->statistics)
        fixture_statistics(m, &rng, spec);
    return m;
}

static inline void fixture_finish(struct model *m)
{
    struct err err = {0};

    fuse_plan_free(m->plan);
    m->plan = NULL;
    if (model_finish(m, &err) != ERR_OK || model_prepare(m, &err) != ERR_OK)
        fail_msg("%s", err.text);
}

static inline struct model *fixture_model(const struct fixture_spec *spec, uint64_t seed)
{
    struct model *m = fixture_parts(spec, seed);

    fixture_finish(m);
    return m;
}

#endif
