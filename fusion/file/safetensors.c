#include "fusion/file/safetensors.h"

#include "fusion/file/half.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little-endian and read as they are"
#endif

#define CHUNK_BYTES ((size_t)1 << 16)

/* All of `bytes` from offset on. */
static int read_at(const struct safetensors *st, void *data, size_t bytes, uint64_t offset,
                   struct err *err)
{
    char *to = data;

    if (st->bytes && offset <= st->file_bytes && bytes <= st->file_bytes - offset) {
        memcpy(to, st->bytes + offset, bytes);
        return ERR_OK;
    }
    while (bytes > 0) {
        ssize_t n = st->bytes ? 0 : pread(st->fd, to, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_fatal(err, EX_IOERR, "read %s: %s", st->path, strerror(errno));
        if (n == 0)
            return err_fatal(err, EX_DATAERR,
                             "read %s: the file ends at byte %" PRIu64
                             ", %zu bytes too early; it is cut short",
                             st->path, offset, bytes);
        to += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return ERR_OK;
}

static int find_size(struct safetensors *st, struct err *err)
{
    struct stat info;

    if (fstat(st->fd, &info) != 0)
        return err_fatal(err, EX_IOERR, "read %s: %s", st->path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return err_fatal(err, EX_DATAERR, "read %s: not a regular file", st->path);
    st->file_bytes = (uint64_t)info.st_size;
    return ERR_OK;
}

static int read_header(struct safetensors *st, struct err *err)
{
    uint64_t file_bytes = st->file_bytes, header_bytes;
    char *text;
    int status;

    if (file_bytes < 8)
        return err_fatal(err, EX_DATAERR,
                         "read %s: %" PRIu64 " bytes, too short for safetensors; is it the "
                         "right file?",
                         st->path, file_bytes);
    status = read_at(st, &header_bytes, sizeof(header_bytes), 0, err);
    if (status != ERR_OK)
        return status;
    if (header_bytes > file_bytes - 8 || header_bytes > SAFETENSORS_HEADER_MAX)
        return err_fatal(err, EX_DATAERR,
                         "read %s: a header of %" PRIu64 " bytes in a file of %" PRIu64
                         " bytes (at most %" PRIu64 "); damaged or not safetensors",
                         st->path, header_bytes, file_bytes, SAFETENSORS_HEADER_MAX);
    text = malloc((size_t)header_bytes + 1);
    if (text == NULL)
        return err_oom(err, "header of a safetensors file");
    st->data_offset = 8 + header_bytes;
    status = read_at(st, text, (size_t)header_bytes, 8, err);
    if (status == ERR_OK)
        status = safetensors_header_parse(st, text, (size_t)header_bytes,
                                          file_bytes - st->data_offset, err);
    free(text);
    return status;
}

static int open_as(struct safetensors st, const char *path, struct safetensors *ret_st,
                   struct err *err)
{
    int status;

    arena_init(&st.arena);
    st.path = arena_strdup(&st.arena, path);
    status = st.path != NULL ? ERR_OK : err_oom(err, "name of a model file");
    if (status == ERR_OK && st.bytes == NULL)
        status = find_size(&st, err);
    if (status == ERR_OK)
        status = read_header(&st, err);
    if (status != ERR_OK) {
        safetensors_close(&st);
        return status;
    }
    *ret_st = st;
    return ERR_OK;
}

int safetensors_open_fd(int fd, const char *path, struct safetensors *ret_st, struct err *err)
{
    return open_as((struct safetensors){.fd = fd}, path, ret_st, err);
}

int safetensors_open_bytes(const void *data, size_t bytes, const char *path,
                           struct safetensors *ret_st, struct err *err)
{
    return open_as((struct safetensors){.fd = -1, .bytes = data, .file_bytes = bytes}, path,
                   ret_st, err);
}

int safetensors_open(const char *path, struct safetensors *ret_st, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */

    if (fd < 0)
        return err_open(err, errno == ENOENT ? EX_NOINPUT : EX_IOERR, path, errno);
    return safetensors_open_fd(fd, path, ret_st, err);
}

static void convert(enum safetensors_dtype dtype, const void *from, float *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype == SAFETENSORS_F64)
            to[i] = (float)((const double *)from)[i];
        else if (dtype == SAFETENSORS_F16)
            to[i] = half_from_f16(((const uint16_t *)from)[i]);
        else
            to[i] = half_from_bf16(((const uint16_t *)from)[i]);
    }
}

int safetensors_read(const struct safetensors *st, const struct safetensors_tensor *t,
                     float *ret_data, struct err *err)
{
    const size_t size = t->dtype == SAFETENSORS_F64 ? 8 : 2;
    uint64_t offset = st->data_offset + t->begin;
    void *chunk;
    int status = ERR_OK;

    if (t->dtype == SAFETENSORS_F32)
        return read_at(st, ret_data, t->n_elements * sizeof(float), offset, err);
    chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL)
        return err_oom(err, "reading a tensor");
    for (size_t i = 0, n; i < t->n_elements && status == ERR_OK; i += n) {
        n = CHUNK_BYTES / size;
        if (n > t->n_elements - i)
            n = t->n_elements - i;
        status = read_at(st, chunk, n * size, offset + i * size, err);
        if (status == ERR_OK)
            convert(t->dtype, chunk, ret_data + i, n);
    }
    free(chunk);
    return status;
}

void safetensors_close(struct safetensors *st)
{
    if (st->fd >= 0)
        (void)close(st->fd); /* read-only: nothing is lost */
    arena_done(&st->arena);
    *st = (struct safetensors){.fd = -1};
}
