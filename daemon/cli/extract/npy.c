/* metammf extract --npy: the kept lines as arrays, row by row, so that memory holds one clip
 * whatever the folder. Each file appears whole; all are written again by every run, from lines
 * that are there, which is quick. */
#include "daemon/cli/extract/extract.h"

#include "fusion/file/npy.h"
#include "fusion/file/outfile.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { FILE_MASK = MODALITY_COUNT, FILE_IDS, N_ARRAYS }; /* behind a vector's each */

struct arrays {
    const char *folder, *dir;
    struct outfile file[N_ARRAYS];
    unsigned n_open;
    size_t n_rows;
    const struct encoder_identity *encoders; /* (MODALITY_COUNT) */
    float *vec;                              /* of the longest */
};

static int open_array(struct arrays *a, struct err *err)
{
    char name[PATH_MAX];
    unsigned k = a->n_open;
    int r;

    int n = snprintf(name, sizeof(name), "%s/%s", a->dir,
                     k < MODALITY_COUNT    ? modality_name((enum modality)k)
                     : k == MODALITY_COUNT ? "mask"
                                           : "ids");
    if (n < 0 || (size_t)n + 5 > sizeof(name))
        return err_fatal(err, EX_CANTCREAT, "%s: the name is too long", a->dir);
    strcat(name, k <= MODALITY_COUNT ? ".npy" : ".txt");
    if (k <= MODALITY_COUNT)
        r = npy_begin(name, a->n_rows, k < MODALITY_COUNT ? a->encoders[k].dim : MODALITY_COUNT,
                      &a->file[k], err);
    else
        r = outfile_open(name, &a->file[k], err);
    a->n_open += r == ERR_OK;
    return r;
}

/* vec (dim): zeros for a missing modality. */
static int read_vector(const json_t *modalities, enum modality m, size_t dim, float *vec,
                       float *ret_present, struct err *err)
{
    const json_t *vector =
        json_object_get(json_object_get(modalities, modality_name(m)), "vec");

    memset(vec, 0, dim * sizeof(*vec));
    *ret_present = vector != NULL;
    if (vector && json_array_size(vector) != dim)
        return err_fatal(err, EX_DATAERR, "a line has %zu numbers instead of %zu: remove it",
                         json_array_size(vector), dim);
    for (size_t i = 0; vector && i < dim; i++)
        vec[i] = (float)json_number_value(json_array_get(vector, i));
    return ERR_OK;
}

/* The file's path below the folder. */
static int write_id(struct arrays *a, const char *path, struct err *err)
{
    size_t n = strlen(a->folder);
    char *id = extract_shown(path + n + (n > 0 && a->folder[n - 1] != '/'));
    int r = id ? outfile_write(&a->file[FILE_IDS], id, strlen(id), err) : err_oom(err, "an id");

    free(id);
    return r == ERR_OK ? outfile_write(&a->file[FILE_IDS], "\n", 1, err) : r;
}

static int write_row(struct arrays *a, const char *path, const json_t *line, struct err *err)
{
    const json_t *modalities = json_object_get(line, "modalities");
    float mask[MODALITY_COUNT];
    int r = ERR_OK;

    for (unsigned m = 0; r == ERR_OK && m < MODALITY_COUNT; m++) {
        size_t dim = a->encoders[m].dim;

        r = read_vector(modalities, (enum modality)m, dim, a->vec, &mask[m], err);
        if (r == ERR_OK)
            r = outfile_write(&a->file[m], a->vec, dim * sizeof(*a->vec), err);
    }
    if (r == ERR_OK)
        r = outfile_write(&a->file[FILE_MASK], mask, sizeof(mask), err);
    return r == ERR_OK ? write_id(a, path, err) : r;
}

static int write_rows(struct arrays *a, const struct extract_files *files,
                      const struct extract_out *out, struct err *err)
{
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < files->n; i++) {
        char *line = NULL;

        if (extract_out_failed(out, i))
            continue;
        r = extract_out_line(out, i, &line, err);
        if (r)
            break;
        json_t *json = json_loads(line, 0, NULL);
        r = json ? write_row(a, files->items[i].path, json, err) : err_oom(err, "result");
        json_decref(json);
        free(line);
    }
    return r;
}

static int make_room(struct arrays *a, struct err *err)
{
    size_t most = 0;

    for (int m = 0; m < MODALITY_COUNT; m++)
        most = a->encoders[m].dim > most ? a->encoders[m].dim : most;
    a->vec = calloc(most, sizeof(*a->vec));
    return a->vec ? ERR_OK : err_oom(err, "a vector");
}

int extract_npy_write(const struct extract *e, const struct encoder_identity *encoders,
                      const struct extract_files *files, const struct extract_out *out,
                      struct err *err)
{
    struct arrays a = {.folder = e->path,
                       .dir = e->npy,
                       .n_rows = extract_out_n(out) - extract_out_n_failed(out),
                       .encoders = encoders};
    int r = make_room(&a, err);

    while (r == ERR_OK && a.n_open < N_ARRAYS)
        r = open_array(&a, err);
    if (r == ERR_OK)
        r = write_rows(&a, files, out, err);
    for (unsigned k = 0; r == ERR_OK && k < N_ARRAYS; k++)
        r = outfile_commit(&a.file[k], err);
    for (unsigned k = 0; k < a.n_open; k++)
        outfile_abort(&a.file[k]);
    free(a.vec);
    return r;
}
