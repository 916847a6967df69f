/* Any bytes as a model file: the header's parser, then, when the file is one of safetensors, the
 * model's own checks, the forward pass of one item and the fold of a user. */

#include "fusion/file/safetensors.h"
#include "fusion/model/fuse.h"
#include "fusion/model/model.h"
#include "fusion/model/signals.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A user of the model's first items. */
static void run_fold(const struct model *m)
{
    size_t n, A;
    const float *factors = signals_factors(m, &n, &A), *rows[4];
    struct fold fold;

    if (!signals_fold(m, &fold))
        return;
    float *v = malloc((A + fold_scratch(&fold)) * sizeof(*v));

    n = n < 4 ? n : 4;
    for (size_t i = 0; i < n; i++)
        rows[i] = factors + i * A;
    if (v != NULL)
        (void)fold_user(&fold, rows, n, v + A, v, NULL);
    free(v);
}

/* A model small enough to run, so that a shape of a million columns does not take the time. */
static void run_model(const struct model *m)
{
    const struct model_shape *s = model_shape(m);
    const uint8_t mask[2] = {7, 1};
    float *X, *E;

    if (s->F > 4096 || s->D > 4096)
        return;
    X = calloc(2 * (size_t)s->F + 1, sizeof(float));
    E = calloc(2 * (size_t)s->D + 1, sizeof(float));
    if (X != NULL && E != NULL)
        (void)fuse_items(m, X, mask, 2, E, NULL);
    free(X);
    free(E);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    int fd = memfd_create("model", MFD_CLOEXEC);
    char path[32];
    struct safetensors st;
    struct model *m;

    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (safetensors_open(path, &st, NULL) == ERR_OK) {
        for (size_t i = 0; i < st.n_tensors; i++) {
            float *values = malloc(st.tensors[i].n_elements * sizeof(float) + 1);

            if (values != NULL)
                (void)safetensors_read(&st, &st.tensors[i], values, NULL);
            free(values);
        }
        safetensors_close(&st);
        if (model_load(path, &m, NULL) == ERR_OK) {
            run_model(m);
            run_fold(m);
            model_free(m);
        }
    }
    close(fd);
    return 0;
}
