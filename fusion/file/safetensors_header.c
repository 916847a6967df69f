/* The header of a safetensors file: a strict parser of exactly this grammar, white space allowed
 * between tokens, padding spaces at the end.
 *
 *   header   = "{" [ entry { "," entry } ] "}"
 *   entry    = "__metadata__" ":" "{" [ string ":" string { "," … } ] "}"
 *            | name ":" "{" field "," field "," field "}"       each field once, any order
 *   field    = "dtype" ":" string | "shape" ":" numbers | "data_offsets" ":" numbers
 *   numbers  = "[" [ number { "," number } ] "]"                decimal, no sign, no leading zero
 *
 * There is no recursion, so depth is bounded by the grammar, and every count by a constant. The
 * checks after parsing: unknown dtypes, duplicate names, shape times element size against the
 * range, and ranges that do not tile the data. */

#include "fusion/file/safetensors.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define METADATA_MAX 4096

struct reader {
    struct safetensors *st;
    const char *start, *at, *end;
    size_t tensors_room, metadata_room;
    bool has_metadata;
    struct err *err;
};

static int bad(struct reader *r, const char *what)
{
    return err_fatal(r->err, EX_DATAERR,
                     "read %s: header byte %zu: %s; the file is damaged or not safetensors",
                     r->st->path, (size_t)(r->at - r->start), what);
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end &&
           (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

/* True, and past it, when c is the next token. */
static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The four digits of \uXXXX; -1 when they are not. */
static int unicode_escape(struct reader *r)
{
    int value = 0;

    if (r->end - r->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(*r->at++);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* After a backslash; NULL when it is no escape of JSON, or U+0000, or half a surrogate pair. */
static char *escape(struct reader *r, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int c, low;

    if (r->at == r->end)
        return NULL;
    if (*r->at != 'u') {
        found = memchr(from, *r->at++, sizeof(from) - 1);
        if (found == NULL)
            return NULL;
        *out++ = to[found - from];
        return out;
    }
    r->at++;
    c = unicode_escape(r);
    if (c <= 0 || (c >= 0xdc00 && c <= 0xdfff))
        return NULL;
    if (c < 0xd800 || c > 0xdbff)
        return put_utf8(out, (uint32_t)c);
    if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
        return NULL;
    r->at += 2;
    low = unicode_escape(r);
    if (low < 0xdc00 || low > 0xdfff)
        return NULL;
    return put_utf8(out, 0x10000u + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
}

/* A string into the arena. Its decoded form is never longer than its text. */
static int read_string(struct reader *r, const char **ret_string)
{
    const char *close;
    char *string, *out;

    if (!take(r, '"'))
        return bad(r, "a string is missing");
    for (close = r->at; close < r->end && *close != '"'; close++) {
        if (*close == '\\' && close + 1 < r->end)
            close++;
    }
    if (close >= r->end)
        return bad(r, "a string does not end");
    string = out = arena_alloc(&r->st->arena, (size_t)(close - r->at) + 1);
    if (string == NULL)
        return err_oom(r->err, "header of a safetensors file");
    while (r->at < close) {
        unsigned char c = (unsigned char)*r->at++;

        if (c < 0x20)
            return bad(r, "a control character in a string");
        if (c != '\\')
            *out++ = (char)c;
        else if ((out = escape(r, out)) == NULL)
            return bad(r, "an escape that JSON does not know");
    }
    r->at = close + 1;
    *out = '\0';
    *ret_string = string;
    return ERR_OK;
}

static int read_number(struct reader *r, uint64_t *ret_value)
{
    const char *first;
    uint64_t value = 0;

    skip_space(r);
    first = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*r->at - '0'), &value))
            return bad(r, "a number above 64 bits");
        r->at++;
    }
    if (r->at == first)
        return bad(r, "a whole number is missing");
    if (*first == '0' && r->at - first > 1)
        return bad(r, "a number with a leading zero");
    *ret_value = value;
    return ERR_OK;
}

/* At most n_max numbers in brackets. */
static int read_numbers(struct reader *r, uint64_t *ret_values, size_t n_max, size_t *ret_n)
{
    size_t n = 0;

    if (!take(r, '['))
        return bad(r, "a list is missing");
    if (!take(r, ']')) {
        do {
            if (n == n_max)
                return bad(r, "a list is too long");
            if (read_number(r, &ret_values[n++]) != ERR_OK)
                return ERR_FATAL;
        } while (take(r, ','));
        if (!take(r, ']'))
            return bad(r, "a list does not end");
    }
    *ret_n = n;
    return ERR_OK;
}

static int dtype_parse(const char *name)
{
    static const char *const names[] = {"F32", "F64", "F16", "BF16"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    return -1;
}

/* One of dtype, shape, data_offsets; seen has a bit for each. */
static int read_field(struct reader *r, struct safetensors_tensor *t, unsigned *seen)
{
    uint64_t numbers[SAFETENSORS_DIMS_MAX];
    const char *key, *dtype;
    size_t n = 0;
    unsigned bit;
    int status = read_string(r, &key);

    if (status != ERR_OK)
        return status;
    bit = strcmp(key, "dtype") == 0          ? 1
          : strcmp(key, "shape") == 0        ? 2
          : strcmp(key, "data_offsets") == 0 ? 4
                                             : 0;
    if (bit == 0 || (*seen & bit) != 0)
        return bad(r, bit == 0 ? "an unknown field of a tensor" : "a field given twice");
    *seen |= bit;
    if (!take(r, ':'))
        return bad(r, "':' is missing");
    if (bit == 1) {
        status = read_string(r, &dtype);
        if (status != ERR_OK)
            return status;
        if (dtype_parse(dtype) < 0)
            return err_fatal(r->err, EX_DATAERR,
                             "read %s: tensor %s: dtype %s is not one of F32, F64, F16, BF16; "
                             "convert it before saving",
                             r->st->path, t->name, dtype);
        t->dtype = (enum safetensors_dtype)dtype_parse(dtype);
        return ERR_OK;
    }
    status = read_numbers(r, numbers, bit == 2 ? SAFETENSORS_DIMS_MAX : 2, &n);
    if (status != ERR_OK)
        return status;
    if (bit == 4) {
        if (n != 2)
            return bad(r, "data_offsets without two numbers");
        t->begin = numbers[0];
        t->end = numbers[1];
        return ERR_OK;
    }
    t->n_dims = (int)n;
    for (size_t i = 0; i < n; i++)
        t->shape[i] = (size_t)numbers[i];
    return ERR_OK;
}

/* The shape's bytes against the range and the file's data. */
static int check_tensor(struct reader *r, struct safetensors_tensor *t, uint64_t data_bytes)
{
    static const uint64_t sizes[] = {4, 8, 2, 2};
    uint64_t bytes = sizes[t->dtype];
    bool overflow = false;

    t->n_elements = 1;
    for (int i = 0; i < t->n_dims; i++) {
        overflow |= __builtin_mul_overflow(t->n_elements, t->shape[i], &t->n_elements);
        overflow |= __builtin_mul_overflow(bytes, (uint64_t)t->shape[i], &bytes);
    }
    if (overflow)
        return err_fatal(r->err, EX_DATAERR,
                         "read %s: tensor %s: its shape overflows; the "
                         "file is damaged",
                         r->st->path, t->name);
    if (t->begin > t->end || t->end > data_bytes)
        return err_fatal(r->err, EX_DATAERR,
                         "read %s: tensor %s: bytes %" PRIu64 " to %" PRIu64 " of %" PRIu64
                         " bytes of data; the file is cut short or damaged",
                         r->st->path, t->name, t->begin, t->end, data_bytes);
    if (t->end - t->begin != bytes)
        return err_fatal(r->err, EX_DATAERR,
                         "read %s: tensor %s: its shape needs %" PRIu64
                         " bytes, data_offsets give %" PRIu64 "; the file is damaged",
                         r->st->path, t->name, bytes, t->end - t->begin);
    return ERR_OK;
}

static int read_tensor(struct reader *r, const char *name, uint64_t data_bytes)
{
    struct safetensors *st = r->st;
    struct safetensors_tensor *t;
    unsigned seen = 0;

    if (st->n_tensors == r->tensors_room)
        return bad(r, "too many tensors");
    t = &st->tensors[st->n_tensors];
    t->name = name;
    if (!take(r, '{'))
        return bad(r, "a tensor's description is missing");
    do {
        int status = read_field(r, t, &seen);

        if (status != ERR_OK)
            return status;
    } while (take(r, ','));
    if (!take(r, '}') || seen != 7)
        return bad(r, "a tensor without dtype, shape and data_offsets, or more than those");
    st->n_tensors++;
    return check_tensor(r, t, data_bytes);
}

static int read_metadata(struct reader *r)
{
    struct safetensors *st = r->st;

    if (r->has_metadata)
        return bad(r, "__metadata__ given twice");
    r->has_metadata = true;
    if (!take(r, '{'))
        return bad(r, "__metadata__ without an object");
    if (take(r, '}'))
        return ERR_OK;
    do {
        struct safetensors_pair *pair = &st->metadata[st->n_metadata];
        int status;

        if (st->n_metadata == r->metadata_room)
            return bad(r, "too many entries in __metadata__");
        status = read_string(r, &pair->key);
        if (status != ERR_OK)
            return status;
        for (size_t i = 0; i < st->n_metadata; i++) {
            if (strcmp(st->metadata[i].key, pair->key) == 0)
                return bad(r, "a key given twice in __metadata__");
        }
        if (!take(r, ':'))
            return bad(r, "':' is missing");
        status = read_string(r, &pair->value);
        if (status != ERR_OK)
            return status;
        st->n_metadata++;
    } while (take(r, ','));
    return take(r, '}') ? ERR_OK : bad(r, "__metadata__ does not end");
}

static int read_entry(struct reader *r, uint64_t data_bytes)
{
    const char *name;
    int status = read_string(r, &name);

    if (status != ERR_OK)
        return status;
    if (!take(r, ':'))
        return bad(r, "':' is missing");
    if (strcmp(name, "__metadata__") == 0)
        return read_metadata(r);
    if (name[0] == '\0' || strlen(name) > SAFETENSORS_NAME_MAX)
        return bad(r, "a tensor's name is empty or above 255 bytes");
    return read_tensor(r, name, data_bytes);
}

static int by_name(const void *a, const void *b)
{
    const struct safetensors_tensor *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

static int by_range(const void *a, const void *b)
{
    const struct safetensors_tensor *const *left = a, *const *right = b;

    if ((*left)->begin != (*right)->begin)
        return (*left)->begin < (*right)->begin ? -1 : 1;
    return ((*left)->end > (*right)->end) - ((*left)->end < (*right)->end);
}

/* No name twice; sorted by range, each tensor begins where the one before ends. */
static int check_all(struct reader *r, uint64_t data_bytes)
{
    struct safetensors *st = r->st;
    const struct safetensors_tensor **sorted;
    uint64_t at = 0;

    sorted = arena_array(&st->arena, st->n_tensors, sizeof(struct safetensors_tensor *));
    if (sorted == NULL)
        return err_oom(r->err, "header of a safetensors file");
    for (size_t i = 0; i < st->n_tensors; i++)
        sorted[i] = &st->tensors[i];
    qsort(sorted, st->n_tensors, sizeof(struct safetensors_tensor *), by_name);
    for (size_t i = 1; i < st->n_tensors; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return err_fatal(r->err, EX_DATAERR,
                             "read %s: tensor %s is there twice; the file "
                             "is damaged",
                             st->path, sorted[i]->name);
    }
    qsort(sorted, st->n_tensors, sizeof(struct safetensors_tensor *), by_range);
    for (size_t i = 0; i < st->n_tensors; i++) {
        if (sorted[i]->begin != at)
            return err_fatal(r->err, EX_DATAERR,
                             "read %s: tensor %s begins at byte %" PRIu64
                             " of the data, not at %" PRIu64
                             ": ranges overlap or leave a gap; the file is damaged",
                             st->path, sorted[i]->name, sorted[i]->begin, at);
        at = sorted[i]->end;
    }
    if (at != data_bytes)
        return err_fatal(r->err, EX_DATAERR,
                         "read %s: the tensors take %" PRIu64 " bytes, the file has %" PRIu64
                         "; it is cut short or damaged",
                         st->path, at, data_bytes);
    return ERR_OK;
}

/* Upper bounds from the text, so that a short hostile header cannot ask for much memory: each
 * tensor costs more than 32 bytes of text, each pair of metadata at least 5. */
static int make_room(struct reader *r)
{
    struct safetensors *st = r->st;
    size_t bytes = (size_t)(r->end - r->start);

    r->tensors_room = bytes / 32 + 1;
    if (r->tensors_room > SAFETENSORS_TENSORS_MAX)
        r->tensors_room = SAFETENSORS_TENSORS_MAX;
    r->metadata_room = bytes / 5 + 1;
    if (r->metadata_room > METADATA_MAX)
        r->metadata_room = METADATA_MAX;
    st->tensors = arena_array(&st->arena, r->tensors_room, sizeof(*st->tensors));
    st->metadata = arena_array(&st->arena, r->metadata_room + 1, sizeof(*st->metadata));
    if (st->tensors == NULL || st->metadata == NULL)
        return err_oom(r->err, "header of a safetensors file");
    return ERR_OK;
}

int safetensors_header_parse(struct safetensors *st, const char *text, size_t bytes,
                             uint64_t data_bytes, struct err *err)
{
    struct reader r = {.st = st, .start = text, .at = text, .end = text + bytes, .err = err};
    int status = make_room(&r);

    if (status != ERR_OK)
        return status;
    if (bytes == 0 || *text != '{')
        return bad(&r, "'{' is missing");
    r.at++;
    if (!take(&r, '}')) {
        do {
            status = read_entry(&r, data_bytes);
            if (status != ERR_OK)
                return status;
        } while (take(&r, ','));
        if (!take(&r, '}'))
            return bad(&r, "',' or '}' is missing");
    }
    skip_space(&r);
    if (r.at != r.end)
        return bad(&r, "text after the end of the header");
    return check_all(&r, data_bytes);
}
