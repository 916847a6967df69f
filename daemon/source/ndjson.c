#include "daemon/source/ndjson.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The buffer holds [start, end) unread bytes; it has room for the longest line and its newline,
 * so a full buffer without a newline is a line that is too long. */
struct ndjson {
    int fd;
    off_t offset;  /* our own: the descriptor may be shared */
    int64_t bytes; /* where the file ends for us */
    bool at_end;
    int64_t number; /* of the next line */
    size_t start, end, size;
    char buffer[];
};

int ndjson_open(int fd, int64_t bytes, size_t max_line_bytes, struct ndjson **ret_reader,
                struct err *err)
{
    size_t size = max_line_bytes + 2; /* "\r\n" */
    if (size < 2 * NDJSON_HEAD_BYTES)
        size = 2 * NDJSON_HEAD_BYTES;
    struct ndjson *reader = calloc(1, sizeof(*reader) + size);
    if (!reader)
        return err_oom(err, "event file: buffer of a line");
    reader->fd = fd;
    reader->bytes = bytes;
    reader->size = size;
    *ret_reader = reader;
    return ERR_OK;
}

void ndjson_close(struct ndjson *reader)
{
    free(reader);
}

/* *ret_n bytes into the buffer at `at`, 0 at the end of the file. */
static int read_at(struct ndjson *r, size_t at, size_t *ret_n, struct err *err)
{
    int64_t left = r->bytes - r->offset;
    size_t room = r->size - at;
    ssize_t n;
    do
        n = pread(r->fd, r->buffer + at, left < (int64_t)room ? (size_t)left : room, r->offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_retry(err, EX_IOERR, "event file: read after line %lld: %s",
                         (long long)r->number, strerror(errno));
    r->offset += n;
    r->at_end = n == 0;
    *ret_n = (size_t)n;
    return ERR_OK;
}

/* Reads once behind `end`, after moving what is unread to the front. */
static int fill(struct ndjson *r, struct err *err)
{
    memmove(r->buffer, r->buffer + r->start, r->end - r->start);
    r->end -= r->start;
    r->start = 0;
    size_t n = 0;
    int status = read_at(r, r->end, &n, err);
    r->end += n;
    return status;
}

/* Bytes of the next line without its newline, which is at that place unless the file ends.
 * Fills until there is one, the buffer is full or the file ends. */
static int find_line(struct ndjson *r, size_t *ret_bytes, bool *ret_whole, struct err *err)
{
    size_t searched = 0;
    for (;;) {
        const char *line = r->buffer + r->start;
        const char *newline = memchr(line + searched, '\n', r->end - r->start - searched);
        *ret_whole = newline != NULL;
        *ret_bytes = newline ? (size_t)(newline - line) : r->end - r->start;
        if (newline || r->at_end || r->end - r->start == r->size)
            return ERR_OK;
        searched = r->end - r->start;
        int status = fill(r, err);
        if (status != ERR_OK)
            return status;
    }
}

/* Reads past the rest of an over-long line, whose head stays at the front of the buffer. */
static int skip_rest(struct ndjson *r, int64_t *ret_skipped, struct err *err)
{
    bool whole = false;
    *ret_skipped = 0;
    memmove(r->buffer, r->buffer + r->start, r->end - r->start);
    r->start = r->end = NDJSON_HEAD_BYTES;
    while (!whole && !r->at_end) {
        size_t n;
        int status = read_at(r, r->start, &n, err);
        if (status != ERR_OK)
            return status;
        r->end = r->start + n;
        const char *newline = memchr(r->buffer + r->start, '\n', n);
        whole = newline != NULL;
        size_t skipped = whole ? (size_t)(newline - r->buffer) - r->start : n;
        *ret_skipped += (int64_t)skipped;
        if (whole)
            r->start += skipped + 1;
    }
    if (!whole)
        r->start = r->end;
    return ERR_OK;
}

static int next_too_long(struct ndjson *r, struct ndjson_line *ret_line, struct err *err)
{
    int64_t in_buffer = (int64_t)(r->end - r->start), skipped;
    int status = skip_rest(r, &skipped, err);
    if (status != ERR_OK)
        return status;
    *ret_line = (struct ndjson_line){.text = r->buffer,
                                     .n_bytes = NDJSON_HEAD_BYTES,
                                     .number = r->number++,
                                     .too_long = true,
                                     .full_bytes = in_buffer + skipped};
    return ERR_OK;
}

int ndjson_next(struct ndjson *r, struct ndjson_line *ret_line, struct err *err)
{
    for (;;) {
        size_t n_bytes;
        bool whole;
        int status = find_line(r, &n_bytes, &whole, err);
        if (status != ERR_OK)
            return status;
        if (!whole && n_bytes == r->size)
            return next_too_long(r, ret_line, err);
        if (!whole && n_bytes == 0)
            return ERR_END;
        const char *text = r->buffer + r->start;
        r->start += n_bytes + whole;
        int64_t number = r->number++;
        if (n_bytes > 0 && text[n_bytes - 1] == '\r')
            n_bytes--;
        if (n_bytes == 0)
            continue;
        *ret_line = (struct ndjson_line){
            .text = text, .n_bytes = n_bytes, .number = number, .full_bytes = (int64_t)n_bytes};
        return ERR_OK;
    }
}
