/* Any bytes as a model file: the header's parser, then, when the file is one of safetensors, the
 * model's own checks and the forward pass of one item. */

#include "fusion/file/safetensors.h"
#include "fusion/model/fuse.h"
#include "fusion/model/model.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

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
            model_free(m);
        }
    }
    close(fd);
    return 0;
}
