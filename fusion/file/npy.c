/* The .npy header: "\x93NUMPY", version (major, minor), header length (2 bytes in version 1, 4 in
 * 2 and 3), then a Python dictionary literal with exactly the keys descr, fortran_order and
 * shape, spaces and a newline. The reader below knows this literal and nothing else of Python. */

#include "fusion/file/npy.h"

#include "fusion/file/half.h"
#include "fusion/file/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "arrays are little-endian and read as they are"
#endif

#define PREFIX_BYTES 12 /* magic, version, the longer length */
#define HEADER_MAX   65536
#define CHUNK_BYTES  ((size_t)1 << 16)

struct source {
    int fd;            /* or */
    const char *bytes; /* (file_bytes), when it is not NULL */
    const char *path;
    uint64_t file_bytes, data_offset;
    size_t size; /* of an element: 2, 4, 8 */
    size_t n_rows, n_cols;
    bool by_column; /* Fortran order: the columns lie one after the other */
    struct err *err;
};

static int bad(const struct source *s, const char *what)
{
    return err_fatal(s->err, EX_DATAERR, "read %s: %s; write it with numpy.save", s->path,
                     what);
}

static int read_at(const struct source *s, void *data, size_t bytes, uint64_t offset)
{
    char *to = data;

    if (s->bytes && offset <= s->file_bytes && bytes <= s->file_bytes - offset) {
        memcpy(to, s->bytes + offset, bytes);
        return ERR_OK;
    }
    while (bytes > 0) {
        ssize_t n = s->bytes ? 0 : pread(s->fd, to, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_fatal(s->err, EX_IOERR, "read %s: %s", s->path, strerror(errno));
        if (n == 0)
            return bad(s, "the file is cut short");
        to += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return ERR_OK;
}

static const char *skip_space(const char *p)
{
    return p + strspn(p, " ");
}

/* Past `token` and the spaces around it; NULL when something else stands there. */
static const char *take(const char *p, const char *token)
{
    p = skip_space(p);
    if (strncmp(p, token, strlen(token)) != 0)
        return NULL;
    return skip_space(p + strlen(token));
}

/* '<f4' in either quote. */
static const char *read_descr(struct source *s, const char *p)
{
    char quote = *p;

    if ((quote != '\'' && quote != '"') || strlen(p) < 5 || p[4] != quote)
        return NULL;
    if (p[1] != '<' || p[2] != 'f' || (p[3] != '2' && p[3] != '4' && p[3] != '8'))
        return NULL;
    s->size = (size_t)(p[3] - '0');
    return p + 5;
}

static const char *read_order(struct source *s, const char *p)
{
    const char *end = take(p, "True");

    s->by_column = end != NULL;
    return end != NULL ? end : take(p, "False");
}

/* (n,) or (n, m) */
static const char *read_shape(struct source *s, const char *p)
{
    size_t dims[2] = {0, 1};
    int n = 0;

    if ((p = take(p, "(")) == NULL)
        return NULL;
    while (*p >= '0' && *p <= '9') {
        size_t value = 0;

        if (n == 2)
            return NULL;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (__builtin_mul_overflow(value, (size_t)10, &value) ||
                __builtin_add_overflow(value, (size_t)(*p - '0'), &value))
                return NULL;
        }
        dims[n++] = value;
        p = skip_space(p);
        if (*p != ',')
            break;
        p = skip_space(p + 1);
    }
    if (n == 0 || *p != ')')
        return NULL;
    s->n_rows = dims[0];
    s->n_cols = dims[1];
    return p + 1;
}

static int parse_literal(struct source *s, const char *p)
{
    static const char *const keys[] = {"'descr':", "'fortran_order':", "'shape':"};
    unsigned seen = 0;

    p = take(p, "{");
    while (p != NULL && *p != '}') {
        const char *value = NULL;
        int key = 0;

        while (key < 3 && (value = take(p, keys[key])) == NULL)
            key++;
        if (key == 3 || (seen & 1u << key) != 0)
            return bad(s, "the header is not one of .npy");
        seen |= 1u << key;
        p = key == 0   ? read_descr(s, value)
            : key == 1 ? read_order(s, value)
                       : read_shape(s, value);
        if (p == NULL && key == 0)
            return bad(s, "not little-endian float16, float32 or float64");
        if (p == NULL && key == 2)
            return bad(s, "not an array of one or two dimensions");
        if (p != NULL && *(p = skip_space(p)) == ',')
            p = skip_space(p + 1);
    }
    if (p == NULL || seen != 7 || p[1 + strspn(p + 1, " \n")] != '\0')
        return bad(s, "the header is not one of .npy");
    return ERR_OK;
}

static int read_header(struct source *s)
{
    unsigned char prefix[PREFIX_BYTES];
    uint32_t bytes;
    size_t start;
    char *text;
    int status;

    if (s->file_bytes < PREFIX_BYTES)
        return bad(s, "too short for .npy");
    status = read_at(s, prefix, sizeof(prefix), 0);
    if (status != ERR_OK)
        return status;
    if (memcmp(prefix, "\x93NUMPY", 6) != 0 || prefix[6] < 1 || prefix[6] > 3)
        return bad(s, "not .npy of version 1 to 3");
    start = prefix[6] == 1 ? 10 : 12;
    bytes = (uint32_t)prefix[8] | (uint32_t)prefix[9] << 8;
    if (start == 12)
        bytes |= (uint32_t)prefix[10] << 16 | (uint32_t)prefix[11] << 24;
    if (bytes > HEADER_MAX || bytes > s->file_bytes - start)
        return bad(s, "the header is longer than the file");
    text = malloc((size_t)bytes + 1);
    if (text == NULL)
        return err_oom(s->err, "header of an array file");
    status = read_at(s, text, bytes, start);
    text[status == ERR_OK ? bytes : 0] = '\0';
    if (status == ERR_OK && strlen(text) != bytes)
        status = bad(s, "the header is not one of .npy");
    if (status == ERR_OK)
        status = parse_literal(s, text);
    free(text);
    s->data_offset = start + bytes;
    return status;
}

/* n elements of the file from `first` on, as float32. */
static int read_chunk(const struct source *s, void *chunk, float *to, size_t first, size_t n)
{
    int status = read_at(s, chunk, n * s->size, s->data_offset + (uint64_t)first * s->size);

    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        if (s->size == 8)
            to[i] = (float)((const double *)chunk)[i];
        else
            to[i] = half_from_f16(((const uint16_t *)chunk)[i]);
    }
    return ERR_OK;
}

static int read_data(const struct source *s, float *data, size_t n)
{
    void *chunk;
    int status = ERR_OK;

    if (s->size == sizeof(float))
        return read_at(s, data, n * sizeof(float), s->data_offset);
    chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL)
        return err_oom(s->err, "reading an array file");
    for (size_t i = 0, step; i < n && status == ERR_OK; i += step) {
        step = CHUNK_BYTES / s->size < n - i ? CHUNK_BYTES / s->size : n - i;
        status = read_chunk(s, chunk, data + i, i, step);
    }
    free(chunk);
    return status;
}

/* *data comes as (n_cols, n_rows) and becomes (n_rows, n_cols). */
static int turn(const struct source *s, float **data)
{
    float *rows = malloc(s->n_rows * s->n_cols * sizeof(float) + 1);

    if (rows == NULL)
        return err_oom(s->err, "an array file in Fortran order");
    for (size_t i = 0; i < s->n_rows; i++)
        for (size_t j = 0; j < s->n_cols; j++)
            rows[i * s->n_cols + j] = (*data)[j * s->n_rows + i];
    free(*data);
    *data = rows;
    return ERR_OK;
}

/* The header, and that the file's size is what it says. */
static int read_size(struct source *s, size_t *ret_n)
{
    uint64_t have;
    size_t n, bytes;
    int status = read_header(s);

    if (status != ERR_OK)
        return status;
    have = s->file_bytes - s->data_offset;
    if (__builtin_mul_overflow(s->n_rows, s->n_cols, &n) ||
        __builtin_mul_overflow(n, s->size, &bytes) || bytes != have)
        return err_fatal(s->err, EX_DATAERR,
                         "read %s: (%zu, %zu) elements of %zu bytes do not make the %" PRIu64
                         " bytes of data; it is cut short or damaged",
                         s->path, s->n_rows, s->n_cols, s->size, have);
    if (n > SIZE_MAX / sizeof(float) - 1)
        return bad(s, "too large");
    *ret_n = n;
    return ERR_OK;
}

static int read_array(struct source *s, struct npy *ret_npy)
{
    size_t n;
    float *data;
    int status = read_size(s, &n);

    if (status != ERR_OK)
        return status;
    data = malloc(n * sizeof(float) + 1); /* + 1: an empty array is not NULL */
    if (data == NULL)
        return err_oom(s->err, "an array file");
    status = read_data(s, data, n);
    if (status == ERR_OK && s->by_column)
        status = turn(s, &data);
    if (status != ERR_OK) {
        free(data);
        return status;
    }
    *ret_npy = (struct npy){.n_rows = s->n_rows, .n_cols = s->n_cols, .data = data};
    return ERR_OK;
}

int npy_read(const char *path, struct npy *ret_npy, struct err *err)
{
    struct source s = {.path = path, .err = err};
    struct stat info;
    int status;

    s.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    if (s.fd < 0)
        return err_open(err, errno == ENOENT ? EX_NOINPUT : EX_IOERR, path, errno);
    if (fstat(s.fd, &info) != 0) {
        status = err_fatal(err, EX_IOERR, "read %s: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status = bad(&s, "not a regular file");
    } else {
        s.file_bytes = (uint64_t)info.st_size;
        status = read_array(&s, ret_npy);
    }
    (void)close(s.fd); /* read-only: nothing is lost */
    return status;
}

int npy_read_bytes(const void *file, size_t bytes, const char *path, struct npy *ret_npy,
                   struct err *err)
{
    struct source s = {.bytes = file, .file_bytes = bytes, .path = path, .err = err};

    return read_array(&s, ret_npy);
}

/* ---- a piece at a time ----------------------------------------------------------------------- */

struct npy_reader {
    struct source s;
    char chunk[CHUNK_BYTES];
    float column[CHUNK_BYTES / 2]; /* what a chunk of float16 becomes */
};

int npy_reader_open(int fd, const char *path, struct npy_reader **ret_reader, struct err *err)
{
    struct npy_reader *r = calloc(1, sizeof(*r));
    struct stat info;
    size_t n;
    int status;

    if (r == NULL)
        return err_oom(err, path);
    r->s = (struct source){.fd = fd, .path = path, .err = err};
    if (fstat(fd, &info) != 0) {
        status = err_fatal(err, EX_IOERR, "read %s: %s", path, strerror(errno));
    } else {
        r->s.file_bytes = (uint64_t)info.st_size;
        status = read_size(&r->s, &n);
    }
    if (status == ERR_OK)
        *ret_reader = r;
    else
        npy_reader_free(r);
    return status;
}

size_t npy_reader_n_rows(const struct npy_reader *reader)
{
    return reader->s.n_rows;
}

size_t npy_reader_n_cols(const struct npy_reader *reader)
{
    return reader->s.n_cols;
}

/* n elements of the file from `first` on, one every `stride` floats. */
static int read_run(struct npy_reader *r, size_t first, size_t n, float *to, size_t stride)
{
    const struct source *s = &r->s;
    int status = ERR_OK;

    for (size_t i = 0, step; i < n && status == ERR_OK; i += step) {
        step = CHUNK_BYTES / s->size < n - i ? CHUNK_BYTES / s->size : n - i;
        status = s->size == sizeof(float)
                     ? read_at(s, r->column, step * sizeof(float),
                               s->data_offset + (uint64_t)(first + i) * sizeof(float))
                     : read_chunk(s, r->chunk, r->column, first + i, step);
        for (size_t k = 0; k < step && status == ERR_OK; k++)
            to[(i + k) * stride] = r->column[k];
    }
    return status;
}

int npy_reader_read(struct npy_reader *reader, size_t first, size_t n, float *ret_rows,
                    struct err *err)
{
    struct source *s = &reader->s;
    int status = ERR_OK;

    s->err = err;
    if (!s->by_column)
        return read_run(reader, first * s->n_cols, n * s->n_cols, ret_rows, 1);
    for (size_t j = 0; status == ERR_OK && j < s->n_cols; j++)
        status = read_run(reader, j * s->n_rows + first, n, ret_rows + j, s->n_cols);
    return status;
}

void npy_reader_free(struct npy_reader *reader)
{
    free(reader);
}

/* Version 1, the header padded so that the data begins at a multiple of 64 bytes. */
static size_t make_header(char *ret_header, size_t n_rows, size_t n_cols)
{
    char literal[128];
    int n = snprintf(literal, sizeof(literal),
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", n_rows,
                     n_cols);
    size_t used = (size_t)n, total = (10 + used + 1 + 63) / 64 * 64, text = total - 10;

    memset(ret_header, ' ', total);
    memcpy(ret_header, "\x93NUMPY\x01\x00", 8);
    ret_header[8] = (char)(text & 0xff);
    ret_header[9] = (char)(text >> 8);
    memcpy(ret_header + 10, literal, used);
    ret_header[total - 1] = '\n';
    return total;
}

int npy_begin(const char *path, size_t n_rows, size_t n_cols, struct outfile *ret_out,
              struct err *err)
{
    char header[256];
    size_t bytes = make_header(header, n_rows, n_cols);
    struct outfile out;
    int status = outfile_open(path, &out, err);

    if (status != ERR_OK)
        return status;
    status = outfile_write(&out, header, bytes, err);
    if (status != ERR_OK)
        outfile_abort(&out);
    else
        *ret_out = out;
    return status;
}

int npy_write(const char *path, const float *data, size_t n_rows, size_t n_cols,
              struct err *err)
{
    struct outfile out;
    int status = npy_begin(path, n_rows, n_cols, &out, err);

    if (status != ERR_OK)
        return status;
    status = outfile_write(&out, data, n_rows * n_cols * sizeof(float), err);
    if (status == ERR_OK)
        status = outfile_commit(&out, err);
    outfile_abort(&out);
    return status;
}

void npy_done(struct npy *npy)
{
    free(npy->data);
    *npy = (struct npy){0};
}
