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
/* The same a piece at a time, in constant memory. fd and path (for messages) are borrowed; the file's
 * header and size have been checked. */
struct npy_reader;
int npy_reader_open(int fd, const char *path, struct npy_reader **ret_reader, struct err *err);
size_t npy_reader_n_rows(const struct npy_reader *reader);
size_t npy_reader_n_cols(const struct npy_reader *reader);
/* Rows [first, first + n), which must be there. */
int npy_reader_read(struct npy_reader *reader, size_t first, size_t n,
                    float *ret_rows /* (n, n_cols) */, struct err *err);
void npy_reader_free(struct npy_reader *reader); /* takes NULL */
/* For arrays that do not fit into memory: opens the file and writes the header; the caller writes
 * n_rows · n_cols floats and commits (outfile.h). */
int npy_begin(const char *path, size_t n_rows, size_t n_cols, struct outfile *ret_out,
              struct err *err);
int npy_write(const char *path, const float *data, size_t n_rows, size_t n_cols,
              struct err *err);
void npy_done(struct npy *npy);

#endif
