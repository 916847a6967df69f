/* The files of a candidate. metrics.json is written last and names the digest of every other one,
 * so that a folder that was left half written, or mixed from two, is refused. */
#include "daemon/model/candidate.h"

#include "config/digest.h"
#include "config/infile.h"
#include "daemon/base/paths.h"
#include "daemon/base/tsv.h"
#include "daemon/model/candidate_internal.h"
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
enum file {
    MODEL,
    NPY,
    IDS,
    /* and those of the users */ STAMPS = 5,
    PAIRS,
    METRICS,
    NEIGHBOURS
};
const char *const candidate_files[CANDIDATE_N_FILES] = {
    "model.safetensors", "items.npy", "items.txt", "users.npy", "users.txt", "stamps", "pairs",
    "metrics.json",      "neighbours"};

static enum file file_of(enum file of_items, enum side side)
{
    return side == ITEMS ? of_items : of_items + 2;
}

/* ---- writing ------------------------------------------------------------------------------ */

static int write_bytes(const char *dir, enum file file, const void *data, size_t bytes,
                       struct err *err)
{
    char path[PATH_MAX];
    int r = paths_join(dir, candidate_files[file], path, err);

    return r == ERR_OK ? outfile_put(path, data, bytes, err) : r;
}

static int write_again(const char *dir, const struct candidate *c, enum file file,
                       struct err *err)
{
    return write_bytes(dir, file, c->file[file].data, c->file[file].bytes, err);
}

static int write_model(const char *dir, const struct candidate *c, struct err *err)
{
    char path[PATH_MAX];
    int r = paths_join(dir, candidate_files[MODEL], path, err);

    return r == ERR_OK ? model_save(c->model, path, err) : r;
}

/* From what candidate_read cut, the same lines. */
static int write_ids(const char *dir, const struct candidate *c, enum side side,
                     struct err *err)
{
    char *const *ids = side == ITEMS ? c->item_id : c->user_id;
    size_t n = side == ITEMS ? c->n_items : c->n_users, bytes = 1, at = 0;
    enum file file = file_of(IDS, side);

    for (size_t i = 0; i < n; i++) {
        if (strchr(ids[i], '\n'))
            return err_fatal(err, EX_DATAERR,
                             "%s, row %zu: the id holds a line feed: delete it",
                             candidate_files[file], i);
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
    int r = write_bytes(dir, file, text, at, err);
    free(text);
    return r;
}

static int write_vectors(const char *dir, const struct candidate *c, enum side side,
                         struct err *err)
{
    size_t n = side == ITEMS ? c->n_items : c->n_users;
    char path[PATH_MAX];
    int r = paths_join(dir, candidate_files[file_of(NPY, side)], path, err);

    return r == ERR_OK
               ? npy_write(path, side == ITEMS ? c->items : c->users, n, (size_t)c->dim, err)
               : r;
}

static int write_side(const char *dir, const struct candidate *c, enum side side,
                      struct err *err)
{
    enum file npy = file_of(NPY, side);
    int r =
        c->file[npy].data ? write_again(dir, c, npy, err) : write_vectors(dir, c, side, err);

    return r == ERR_OK ? write_ids(dir, c, side, err) : r;
}

static int write_neighbours(const char *dir, const struct candidate *c, struct err *err)
{
    char path[PATH_MAX];
    int r = paths_join(dir, candidate_files[NEIGHBOURS], path, err);

    return r == ERR_OK ? candidate_write_neighbours(path, c, err) : r;
}

static int digest_all(const char *dir, const struct candidate *c, json_t **ret_files,
                      struct err *err)
{
    json_t *files = json_object();
    char path[PATH_MAX], hex[DIGEST_HEX_BYTES];
    int r = files ? ERR_OK : err_oom(err, "a candidate's files");

    for (size_t i = 0; r == ERR_OK && i < CANDIDATE_N_FILES; i++) {
        if (i == METRICS || (i == NEIGHBOURS && !c->neighbours.start))
            continue;
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
    int r = digest_all(dir, c, &files, err);

    if (r != ERR_OK)
        return r;
    char *text = NULL;
    if (json_object_set_new(c->metrics, "files", files) == 0)
        text = json_dumps(c->metrics, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    r = text ? write_bytes(dir, METRICS, text, strlen(text), err)
             : err_oom(err, "a candidate's metrics");
    free(text);
    return r;
}

int candidate_write(const char *dir, const struct candidate *c, struct err *err)
{
    int r;

    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return err_fatal(err, EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    r = c->file[MODEL].data ? write_again(dir, c, MODEL, err) : write_model(dir, c, err);
    if (r == ERR_OK)
        r = write_side(dir, c, ITEMS, err);
    if (r == ERR_OK)
        r = write_side(dir, c, USERS, err);
    if (r == ERR_OK)
        r = write_bytes(dir, STAMPS, c->stamp, c->n_items * sizeof *c->stamp, err);
    if (r == ERR_OK)
        r = write_bytes(dir, PAIRS, c->pair, c->n_pairs * sizeof *c->pair, err);
    if (r == ERR_OK)
        r = write_neighbours(dir, c, err);
    if (r != ERR_OK)
        return r;
    return c->file[METRICS].data ? write_again(dir, c, METRICS, err)
                                 : write_metrics(dir, c, err);
}

/* ---- reading ------------------------------------------------------------------------------ */

static int damaged(const struct candidate *c, enum file file, const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "candidate %s: %s: %s; train it again", c->dir,
                     candidate_files[file], what);
}

static int read_bytes(const struct candidate *c, enum file file, int64_t max_bytes,
                      struct candidate_file *ret_f, struct err *err)
{
    char path[PATH_MAX];
    int r = paths_join(c->dir, candidate_files[file], path, err);

    if (r == ERR_OK)
        r = infile_read(path, max_bytes, &ret_f->data, &ret_f->bytes, err);
    return r == ERR_OK ? ERR_OK : err_wrap(err, "candidate");
}

/* What it holds has been made into something else. */
static void drop_file(struct candidate *c, enum file file)
{
    free(c->file[file].data);
    c->file[file] = (struct candidate_file){0};
}

static int read_metrics(struct candidate *c, bool keeps, struct err *err)
{
    struct candidate_file *f = &c->file[METRICS];
    int r = read_bytes(c, METRICS, METRICS_BYTES_MAX, f, err);

    if (r != ERR_OK)
        return r;
    c->metrics = json_loadb(f->data, f->bytes, JSON_REJECT_DUPLICATES, NULL);
    if (!keeps)
        drop_file(c, METRICS);
    if (!json_is_object(c->metrics))
        return damaged(c, METRICS, "not a JSON object", err);
    const char *wrong = candidate_check_signals(c->metrics);
    return wrong ? damaged(c, METRICS, wrong, err) : ERR_OK;
}

/* As metrics.json says, NULL when it does not. */
static const char *digest_of(const struct candidate *c, enum file file)
{
    const json_t *files = json_object_get(c->metrics, "files");

    return json_string_value(json_object_get(files, candidate_files[file]));
}

/* The bytes that metrics.json means. */
static int read_checked(const struct candidate *c, enum file file, struct candidate_file *ret_f,
                        struct err *err)
{
    const char *want = digest_of(c, file);
    struct candidate_file f;
    char hex[DIGEST_HEX_BYTES];
    int r = read_bytes(c, file, CANDIDATE_BYTES_MAX, &f, err);

    if (r != ERR_OK)
        return r;
    digest_hex(f.data, f.bytes, hex);
    if (!want || strcmp(want, hex) != 0) {
        free(f.data);
        return damaged(c, file, "its digest is not the one in metrics.json", err);
    }
    *ret_f = f;
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
            return damaged(c, file_of(IDS, side), "a line is not an id in UTF-8", err);
        }
        ids[at] = line;
        line = end + 1;
    }
    *ret_ids = ids;
    *ret_n = n;
    return ERR_OK;
}

static int read_vectors(struct candidate *c, bool keeps, enum side side, size_t n,
                        float **ret_vec, struct err *err)
{
    enum file file = file_of(NPY, side);
    struct candidate_file *f = &c->file[file];
    char path[PATH_MAX]; /* for messages */
    struct npy x;
    int r = paths_join(c->dir, candidate_files[file], path, err);

    if (r == ERR_OK)
        r = read_checked(c, file, f, err);
    if (r == ERR_OK)
        r = npy_read_bytes(f->data, f->bytes, path, &x, err);
    if (r != ERR_OK)
        return r;
    if (!keeps)
        drop_file(c, file);
    if (x.n_rows != n || x.n_cols != (size_t)c->dim)
        r = damaged(c, file, "does not have one row for each id, of the model's width", err);
    for (size_t i = 0; r == ERR_OK && i < x.n_rows * x.n_cols; i++)
        if (!isfinite(x.data[i]))
            r = damaged(c, file, "holds NaN or infinity", err);
    if (r == ERR_OK)
        *ret_vec = x.data;
    else
        npy_done(&x);
    return r;
}

static int read_side(struct candidate *c, bool keeps, enum side side, struct err *err)
{
    char ***ids = side == ITEMS ? &c->item_id : &c->user_id;
    size_t *n = side == ITEMS ? &c->n_items : &c->n_users;
    enum file file = file_of(IDS, side);
    struct candidate_file f;
    int r = read_checked(c, file, &f, err);

    if (r != ERR_OK)
        return r;
    c->id_block[side] = f.data;
    r = cut_ids(c, side, f.data, f.bytes, ids, n, err);
    if (r == ERR_OK && (*n == 0 || *n > UINT32_MAX - 1))
        r = damaged(c, file, "has no ids, or too many", err);
    float **vec = side == ITEMS ? &c->items : &c->users;
    return r == ERR_OK ? read_vectors(c, keeps, side, *n, vec, err) : r;
}

static int read_stamps(struct candidate *c, struct err *err)
{
    struct candidate_file f;
    int r = read_checked(c, STAMPS, &f, err);

    if (r != ERR_OK)
        return r;
    c->stamp = (uint64_t *)(void *)f.data;
    return f.bytes == c->n_items * sizeof *c->stamp
               ? ERR_OK
               : damaged(c, STAMPS, "does not have one number for each item", err);
}

static int read_pairs(struct candidate *c, struct err *err)
{
    struct candidate_file f;
    int r = read_checked(c, PAIRS, &f, err);

    if (r != ERR_OK)
        return r;
    c->pair = (uint32_t(*)[2])(void *)f.data;
    c->n_pairs = f.bytes / sizeof *c->pair;
    c->warm = calloc(c->n_items, 1);
    if (!c->warm)
        return err_oom(err, "a candidate");
    if (f.bytes % sizeof *c->pair)
        return damaged(c, PAIRS, "is cut short", err);
    for (size_t i = 0; i < c->n_pairs; i++) {
        if (c->pair[i][0] >= c->n_users || c->pair[i][1] >= c->n_items)
            return damaged(c, PAIRS, "has a row out of range", err);
        c->warm[c->pair[i][1]] = 1;
    }
    return ERR_OK;
}

/* Of an older model there are none. */
static int read_neighbours(struct candidate *c, struct err *err)
{
    struct candidate_file f;

    if (!digest_of(c, NEIGHBOURS))
        return candidate_neighbour_weight(c->metrics) > 0
                   ? damaged(c, NEIGHBOURS, "is missing, though metrics.json weighs it", err)
                   : ERR_OK;
    int r = read_checked(c, NEIGHBOURS, &f, err);
    if (r != ERR_OK)
        return r;
    const char *wrong = candidate_cut_neighbours(c, f.data, f.bytes);
    return wrong ? damaged(c, NEIGHBOURS, wrong, err) : ERR_OK;
}

static int read_model(struct candidate *c, bool keeps, struct err *err)
{
    struct candidate_file *f = &c->file[MODEL];
    char path[PATH_MAX]; /* for messages */
    int r = paths_join(c->dir, candidate_files[MODEL], path, err);

    if (r == ERR_OK)
        r = read_checked(c, MODEL, f, err);
    if (r == ERR_OK)
        r = model_load_bytes(f->data, f->bytes, path, &c->model, err);
    if (r != ERR_OK)
        return r;
    if (!keeps)
        drop_file(c, MODEL);
    (void)snprintf(c->sha256, sizeof c->sha256, "%s", digest_of(c, MODEL));
    c->dim = model_shape(c->model)->D;
    return ERR_OK;
}

/* keeps: the bytes of the files too. */
static int read_folder(const char *dir, bool keeps, struct candidate *ret_c, struct err *err)
{
    struct candidate c = {0};

    (void)snprintf(c.dir, sizeof c.dir, "%s", dir);
    int r = read_metrics(&c, keeps, err);
    if (r == ERR_OK)
        r = read_model(&c, keeps, err);
    if (r == ERR_OK)
        r = read_side(&c, keeps, ITEMS, err);
    if (r == ERR_OK)
        r = read_side(&c, keeps, USERS, err);
    if (r == ERR_OK)
        r = read_stamps(&c, err);
    if (r == ERR_OK)
        r = read_pairs(&c, err);
    if (r == ERR_OK)
        r = read_neighbours(&c, err);
    if (r != ERR_OK) {
        candidate_done(&c);
        return r;
    }
    *ret_c = c;
    return ERR_OK;
}

int candidate_read(const char *dir, struct candidate *ret_c, struct err *err)
{
    return read_folder(dir, true, ret_c, err);
}

int candidate_look(const char *dir, struct candidate *ret_c, struct err *err)
{
    return read_folder(dir, false, ret_c, err);
}

void candidate_drop_files(struct candidate *c)
{
    for (size_t i = 0; i < CANDIDATE_N_FILES; i++)
        drop_file(c, (enum file)i);
}

void candidate_drop_user_files(struct candidate *c)
{
    drop_file(c, file_of(NPY, USERS));
    drop_file(c, METRICS); /* which has the digests */
}

void candidate_done(struct candidate *c)
{
    candidate_drop_files(c);
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
    free(c->nobody);
    free(c->neighbour_block);
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
