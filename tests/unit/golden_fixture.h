#ifndef MMF_TESTS_GOLDEN_FIXTURE_H
#define MMF_TESTS_GOLDEN_FIXTURE_H

/* The dumps of tests/golden, see its README. */

#include "fusion_fixture.h"

static const char *const cases[] = {
    "static_mf", "static_sage",     "dense_mf",          "dense_sage",       "cp_mf",
    "cp_sage",   "cp_collapsed_mf", "cp_collapsed_sage", "cp_lightgcn_unit", "cp_sage_unit",
};

static inline const char *golden(const char *folder, const char *file)
{
    static char path[512];

    snprintf(path, sizeof(path), MMF_GOLDEN_DIR "/%s/%s", folder, file);
    return path;
}

/* A tensor of the results; the caller frees it. */
static inline float *result(const char *folder, const char *name, size_t *ret_n)
{
    const struct safetensors_tensor *t = NULL;
    struct safetensors st;
    float *data;

    assert_int_equal(safetensors_open(golden(folder, "results.safetensors"), &st, NULL),
                     ERR_OK);
    for (size_t i = 0; i < st.n_tensors && t == NULL; i++)
        if (strcmp(st.tensors[i].name, name) == 0)
            t = &st.tensors[i];
    assert_non_null(t);
    data = malloc(t->n_elements * sizeof(float) + 1);
    assert_non_null(data);
    assert_int_equal(safetensors_read(&st, t, data, NULL), ERR_OK);
    *ret_n = t->n_elements;
    safetensors_close(&st);
    return data;
}

#endif
