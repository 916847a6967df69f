#ifndef MMF_FUSION_FILE_SAFETENSORS_H
#define MMF_FUSION_FILE_SAFETENSORS_H

/* The safetensors format: 8 bytes little-endian header length, a JSON header that maps each
 * tensor's name to dtype, shape and byte range, then the data. Reading: F32, F64, F16, BF16, all
 * as float32. Writing: F32, the data begins at a multiple of 64 bytes.
 *
 * The file is hostile input. The header has its own strict parser for exactly this grammar
 * (safetensors_header.c); the ranges must tile the data without gap or overlap, as the format
 * demands, so no byte of the file is unaccounted for. Tensors are read by pread into the caller's
 * memory, never mapped: a file cut short while it is read is an error, not SIGBUS. Or the file is in
 * memory already, so that whoever has checked its digest reads the same bytes. Errors of the
 * content are ERR_FATAL with EX_DATAERR (65), a missing file EX_NOINPUT (66), others EX_IOERR.
 *
 * One owner; not thread-safe. */

#include "config/arena.h"
#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

#define SAFETENSORS_HEADER_MAX  ((uint64_t)8 << 20)
#define SAFETENSORS_TENSORS_MAX 4096
#define SAFETENSORS_DIMS_MAX    4
#define SAFETENSORS_NAME_MAX    255

enum safetensors_dtype { SAFETENSORS_F32, SAFETENSORS_F64, SAFETENSORS_F16, SAFETENSORS_BF16 };

struct safetensors_tensor {
    const char *name;
    enum safetensors_dtype dtype;
    int n_dims; /* 0 = a scalar */
    size_t shape[SAFETENSORS_DIMS_MAX];
    size_t n_elements;
    uint64_t begin, end; /* bytes, from the header's end */
};

struct safetensors_pair { /* of __metadata__ */
    const char *key, *value;
};

struct safetensors {
    int fd;            /* -1 = in memory */
    const char *bytes; /* NULL = by fd */
    uint64_t file_bytes;
    const char *path;
    uint64_t data_offset; /* bytes from the file's start */
    struct safetensors_tensor *tensors;
    size_t n_tensors;
    struct safetensors_pair *metadata;
    size_t n_metadata;
    struct arena arena; /* owns all of the above */
};

int safetensors_open(const char *path, struct safetensors *ret_st, struct err *err);
/* The same on an open file, which is owned from here on, also on failure. */
int safetensors_open_fd(int fd, const char *path, struct safetensors *ret_st, struct err *err);
/* The same of a file in memory, which stays there until safetensors_close. */
int safetensors_open_bytes(const void *data, size_t bytes, const char *path,
                           struct safetensors *ret_st, struct err *err);
/* ret_data (n_elements). An F64 value beyond float's range becomes an infinity. */
int safetensors_read(const struct safetensors *st, const struct safetensors_tensor *t,
                     float *ret_data, struct err *err);
void safetensors_close(struct safetensors *st);

struct safetensors_source {
    const char *name;
    int n_dims;
    size_t shape[SAFETENSORS_DIMS_MAX];
    const float *data;
};

/* Atomic (see outfile.h). */
int safetensors_write(const char *path, const struct safetensors_source *sources,
                      size_t n_sources, const struct safetensors_pair *metadata,
                      size_t n_metadata, struct err *err);

/* Between safetensors.c and safetensors_header.c: fills tensors and metadata from the header
 * text. data_bytes is what the file holds after it. */
int safetensors_header_parse(struct safetensors *st, const char *text, size_t bytes,
                             uint64_t data_bytes, struct err *err);

#endif
