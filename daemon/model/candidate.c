/* The files of a candidate. metrics.json is written last and names the digest of every other one,
 * so that a folder that was left half written, or mixed from two, is refused. */
#include "daemon/model/candidate.h"

#include "config/digest.h"
#include "config/infile.h"
#include "daemon/model/candidate_internal.h"
#include "daemon/base/paths.h"
#include "daemon/base/tsv.h"
#include "fusion/file/npy.h"
#include "fusion/file/outfile.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define METRICS_BYTES_MAX ((int64_t)64 << 20)

enum side { ITEMS, USERS };
static const char *const npy_names[] = {"items.npy", "users.npy"};
static const char *const id_names[] = {"items.txt", "users.txt"};
const char *const candidate_files[CANDIDATE_N_FILES] = {
    "model.safetensors", "items.npy", "items.txt", "users.npy",
    "users.txt",         "stamps",    "pairs",     "metrics.json"};
enum { N_DIGESTED = CANDIDATE_N_FILES - 1 };

/* ---- writing ------------------------------------------------------------------------------ */

static int write_bytes(const char *dir, const char *name, const void *data, size_t bytes,
                       struct err *err)
{
    struct outfile out;
    char path[PATH_MAX];
    int r = paths_join(dir, name, path, err);

    if (r == ERR_OK)
        r = outfile_open(path, &out, err);
    if (r != ERR_OK)
        return r;
    r = outfile_write(&out, data, bytes, err);
    if (r == ERR_OK)
        r = outfile_commit(&out, err);
    outfile_abort(&out);
    return r;
}

static int write_ids(const char *dir, const char *name, char *const *ids, size_t n,
                     struct err *err)
{
    size_t bytes = 1, at = 0;

    for (size_t i = 0; i < n; i++) {
        if (strchr(ids[i], '\n'))
            return err_fatal(err, EX_DATAERR,
                             "%s, row %zu: the id holds a line feed: delete it", name, i);
        bytes += strlen(ids[i]) + 1;
    }
    char *text = malloc(bytes);
    if (!text)
        return err_oom(err, "a candidate's ids");
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(ids[i]);

        memcpy(text + at, ids[i], length);
        text[at + length] = '\n';
        at += length + 1;
    }
    int r = write_bytes(dir, name, text, at, err);
    free(text);
    return r;
}

static int write_side(const char *dir, const struct candidate *c, enum side side,
                      struct err *err)
{
    size_t n = side == ITEMS ? c->n_items : c->n_users;
    char path[PATH_MAX];
    int r = paths_join(dir, npy_names[side], path, err);

    if (r == ERR_OK)
        r = npy_write(path, side == ITEMS ? c->items : c->users, n, (size_t)c->dim, err);
    if (r == ERR_OK)
        r = write_ids(dir, id_names[side], side == ITEMS ? c->item_id : c->user_id, n, err);
    return r;
}

static int digest_all(const char *dir, json_t **ret_files, struct err *err)
{
    json_t *files = json_object();
    char path[PATH_MAX], hex[DIGEST_HEX_BYTES];
    int r = files ? ERR_OK : err_oom(err, "a candidate's files");

    for (size_t i = 0; r == ERR_OK && i < N_DIGESTED; i++) {
        r = paths_join(dir, candidate_files[i], path, err);
        if (r == ERR_OK)
            r = digest_path_hex(path, hex, err);
        if (r == ERR_OK &&
            json_object_set_new(files, candidate_files[i], json_string(hex)) != 0)
            r = err_oom(err, "a candidate's files");
    }
    if (r == ERR_OK)
        *ret_files = files;
    else
        json_decref(files);
    return r;
}

static int write_metrics(const char *dir, const struct candidate *c, struct err *err)
{
    json_t *files = NULL;
    int r = digest_all(dir, &files, err);

    if (r != ERR_OK)
        return r;
    char *text = NULL;
    if (json_object_set_new(c->metrics, "files", files) == 0)
        text = json_dumps(c->metrics, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    r = text ? write_bytes(dir, "metrics.json", text, strlen(text), err)
             : err_oom(err, "a candidate's metrics");
    free(text);
    return r;
}

int candidate_write(const char *dir, const struct candidate *c, struct err *err)
{
    char path[PATH_MAX];
    int r = paths_join(dir, "model.safetensors", path, err);

    if (r == ERR_OK && mkdir(dir, 0777) != 0 && errno != EEXIST)
        r = err_fatal(err, EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    if (r == ERR_OK)
        r = model_save(c->model, path, err);
    if (r == ERR_OK)
        r = write_side(dir, c, ITEMS, err);
    if (r == ERR_OK)
        r = write_side(dir, c, USERS, err);
    if (r == ERR_OK)
        r = write_bytes(dir, "stamps", c->stamp, c->n_items * sizeof *c->stamp, err);
    if (r == ERR_OK)
        r = write_bytes(dir, "pairs", c->pair, c->n_pairs * sizeof *c->pair, err);
    return r == ERR_OK ? write_metrics(dir, c, err) : r;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int damaged(const struct candidate *c, const char *name, const char *what,
                   struct err *err)
{
    return err_fatal(err, EX_DATAERR, "candidate %s: %s: %s; train it again", c->dir, name,
                     what);
}

static int read_all(const struct candidate *c, const char *name, int fd, char *data,
                    size_t bytes, struct err *err)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = read(fd, data + at, bytes - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return damaged(c, name, n < 0 ? strerror(errno) : "cut short while it was read",
                           err);
        at += (size_t)n;
    }
    return ERR_OK;
}

/* The whole file and a NUL after it; malloc'ed. */
static int read_bytes(const struct candidate *c, const char *name, char **ret_data,
                      size_t *ret_bytes, struct err *err)
{
    char path[PATH_MAX];
    int64_t bytes;
    int fd, r = paths_join(c->dir, name, path, err);

    if (r == ERR_OK)
        r = infile_open(path, &fd, &bytes, err);
    if (r != ERR_OK)
        return err_wrap(err, "candidate");
    int64_t max = strcmp(name, "metrics.json") == 0 ? METRICS_BYTES_MAX : CANDIDATE_BYTES_MAX;
    char *data = bytes <= max ? malloc((size_t)bytes + 1) : NULL;
    if (bytes > max)
        r = damaged(c, name, "larger than any such file", err);
    else if (!data)
        r = err_oom(err, "a candidate");
    else
        r = read_all(c, name, fd, data, (size_t)bytes, err);
    (void)close(fd);
    if (r != ERR_OK) {
        free(data);
        return r;
    }
    data[bytes] = '\0';
    *ret_data = data;
    *ret_bytes = (size_t)bytes;
    return ERR_OK;
}

static int read_metrics(struct candidate *c, struct err *err)
{
    char *text;
    size_t bytes;
    int r = read_bytes(c, "metrics.json", &text, &bytes, err);

    if (r != ERR_OK)
        return r;
    c->metrics = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    return json_is_object(c->metrics) ? ERR_OK
                                      : damaged(c, "metrics.json", "not a JSON object", err);
}

static int check_digests(const struct candidate *c, struct err *err)
{
    const json_t *files = json_object_get(c->metrics, "files");
    char path[PATH_MAX], hex[DIGEST_HEX_BYTES];

    for (size_t i = 0; i < N_DIGESTED; i++) {
        const char *want = json_string_value(json_object_get(files, candidate_files[i]));
        int r = paths_join(c->dir, candidate_files[i], path, err);

        if (r == ERR_OK)
            r = digest_path_hex(path, hex, err);
        if (r != ERR_OK)
            return r;
        if (!want || strcmp(want, hex) != 0)
            return damaged(c, candidate_files[i], "metrics.json says another digest", err);
    }
    return ERR_OK;
}

/* Cuts the block into lines in place. */
static int cut_ids(const struct candidate *c, enum side side, char *text, size_t bytes,
                   char ***ret_ids, size_t *ret_n, struct err *err)
{
    size_t n = 0, at = 0;

    for (size_t i = 0; i < bytes; i++)
        n += text[i] == '\n';
    char **ids = calloc(n + 1, sizeof *ids);
    if (!ids)
        return err_oom(err, "a candidate's ids");
    for (char *line = text; line < text + bytes; at++) {
        char *end = memchr(line, '\n', (size_t)(text + bytes - line));

        if (end)
            *end = '\0';
        if (!end || strlen(line) != (size_t)(end - line) || !tsv_is_id(line)) {
            free(ids);
            return damaged(c, id_names[side], "a line is not an id in UTF-8", err);
        }
        ids[at] = line;
        line = end + 1;
    }
    *ret_ids = ids;
    *ret_n = n;
    return ERR_OK;
}

static int read_vectors(const struct candidate *c, enum side side, size_t n, float **ret_vec,
                        struct err *err)
{
    char path[PATH_MAX];
    struct npy x;
    int r = paths_join(c->dir, npy_names[side], path, err);

    if (r == ERR_OK)
        r = npy_read(path, &x, err);
    if (r != ERR_OK)
        return r;
    if (x.n_rows != n || x.n_cols != (size_t)c->dim)
        r = damaged(c, npy_names[side], "not one row an id, of the model's width", err);
    for (size_t i = 0; r == ERR_OK && i < x.n_rows * x.n_cols; i++)
        if (!isfinite(x.data[i]))
            r = damaged(c, npy_names[side], "holds NaN or infinity", err);
    if (r == ERR_OK)
        *ret_vec = x.data;
    else
        npy_done(&x);
    return r;
}

static int read_side(struct candidate *c, enum side side, struct err *err)
{
    char ***ids = side == ITEMS ? &c->item_id : &c->user_id;
    size_t bytes = 0, *n = side == ITEMS ? &c->n_items : &c->n_users;
    int r = read_bytes(c, id_names[side], &c->id_block[side], &bytes, err);

    if (r == ERR_OK)
        r = cut_ids(c, side, c->id_block[side], bytes, ids, n, err);
    if (r == ERR_OK && (*n == 0 || *n > UINT32_MAX - 1))
        r = damaged(c, id_names[side], "no usable number of ids", err);
    return r == ERR_OK ? read_vectors(c, side, *n, side == ITEMS ? &c->items : &c->users, err)
                       : r;
}

static int read_stamps(struct candidate *c, struct err *err)
{
    char *data;
    size_t bytes;
    int r = read_bytes(c, "stamps", &data, &bytes, err);

    if (r != ERR_OK)
        return r;
    c->stamp = (uint64_t *)(void *)data;
    return bytes == c->n_items * sizeof *c->stamp
               ? ERR_OK
               : damaged(c, "stamps", "not one an item", err);
}

static int read_pairs(struct candidate *c, struct err *err)
{
    char *data;
    size_t bytes;
    int r = read_bytes(c, "pairs", &data, &bytes, err);

    if (r != ERR_OK)
        return r;
    c->pair = (uint32_t(*)[2])(void *)data;
    c->n_pairs = bytes / sizeof *c->pair;
    c->warm = calloc(c->n_items, 1);
    if (!c->warm)
        return err_oom(err, "a candidate");
    if (bytes % sizeof *c->pair)
        return damaged(c, "pairs", "cut short", err);
    for (size_t i = 0; i < c->n_pairs; i++) {
        if (c->pair[i][0] >= c->n_users || c->pair[i][1] >= c->n_items)
            return damaged(c, "pairs", "a row out of range", err);
        c->warm[c->pair[i][1]] = 1;
    }
    return ERR_OK;
}

static int read_model(struct candidate *c, struct err *err)
{
    char path[PATH_MAX];
    int r = paths_join(c->dir, "model.safetensors", path, err);

    if (r == ERR_OK)
        r = model_load(path, &c->model, err);
    if (r == ERR_OK)
        c->dim = model_shape(c->model)->D;
    return r;
}

int candidate_read(const char *dir, struct candidate *ret_c, struct err *err)
{
    struct candidate c = {0};

    (void)snprintf(c.dir, sizeof c.dir, "%s", dir);
    int r = read_metrics(&c, err);
    if (r == ERR_OK)
        r = check_digests(&c, err);
    if (r == ERR_OK)
        r = read_model(&c, err);
    if (r == ERR_OK)
        r = read_side(&c, ITEMS, err);
    if (r == ERR_OK)
        r = read_side(&c, USERS, err);
    if (r == ERR_OK)
        r = read_stamps(&c, err);
    if (r == ERR_OK)
        r = read_pairs(&c, err);
    if (r != ERR_OK) {
        candidate_done(&c);
        return r;
    }
    *ret_c = c;
    return ERR_OK;
}

void candidate_done(struct candidate *c)
{
    model_free(c->model);
    free(c->item_id);
    free(c->user_id);
    free(c->items);
    free(c->users);
    free(c->stamp);
    free(c->warm);
    free(c->pair);
    json_decref(c->metrics);
    free(c->id_block[ITEMS]);
    free(c->id_block[USERS]);
    *c = (struct candidate){0};
}

float *candidate_no_history(const struct json_t *metrics, int32_t dim)
{
    const json_t *array = json_object_get(metrics, "no_history");

    if (dim < 1 || json_array_size(array) != (size_t)dim)
        return NULL;
    float *vec = calloc((size_t)dim, sizeof *vec);
    for (size_t i = 0; vec && i < (size_t)dim; i++)
        vec[i] = (float)json_number_value(json_array_get(array, i));
    return vec;
}
