#ifndef MMF_FUSION_FILE_NPY_H
#define MMF_FUSION_FILE_NPY_H

/* NumPy's .npy format, versions 1 to 3 (numpy.lib.format): little-endian float16, float32 and
 * float64 of one or two dimensions, in C or Fortran order, read as float32; C-ordered float32
 * written. Hostile input: every size is checked against the file's. */

#include "config/err.h"

#include <stddef.h>

struct outfile;

struct npy {
    size_t n_rows, n_cols; /* one dimension: n_cols = 1 */
    float *data;           /* (n_rows, n_cols), owned */
};

int npy_read(const char *path, struct npy *ret_npy, struct err *err);
/* The same of a file that is in memory; path is for messages. */
int npy_read_bytes(const void *file, size_t bytes, const char *path, struct npy *ret_npy,
                   struct err *err);
/* For arrays that do not fit into memory: opens the file and writes the header; the caller writes
 * n_rows · n_cols floats and commits (outfile.h). */
int npy_begin(const char *path, size_t n_rows, size_t n_cols, struct outfile *ret_out,
              struct err *err);
int npy_write(const char *path, const float *data, size_t n_rows, size_t n_cols,
              struct err *err);
void npy_done(struct npy *npy);

#endif
