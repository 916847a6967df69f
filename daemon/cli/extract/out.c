/* metammf extract --out and --npy: results in files that a killed run does not lose.
 *
 * FILE.part is a journal: one line a file, appended as results come, held by flock. FILE is made
 * from it when every file has its line: in the order of names, under a temporary name, renamed;
 * then the journal goes. At the start both are read; a line counts when it is whole, its path is
 * among the files and its key is today's, so a clip that changed, another build's encoders or
 * another title is extracted again. A crash between any two steps leaves lines that count.
 * Two lines of the same path and key are the same line, so nothing is synced but FILE: after a
 * loss of power the journal's end may be missing or torn, and that part is extracted again.
 *
 * Only the place of each line is held in memory. */
#include "daemon/cli/extract/extract.h"

#include "fusion/file/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum source { SOURCE_NONE, SOURCE_FILE, SOURCE_JOURNAL };

struct place {
    enum source source;
    bool failed;
    uint32_t bytes; /* with the line's end */
    off_t offset;
};

struct by_path {
    const char *shown;
    size_t i;
};

struct extract_out {
    const struct extract *e;
    const struct extract_files *files;
    struct by_path *order; /* (files->n) by path */
    struct place *places;  /* (files->n) */
    char *path, *journal_path;
    int fd, journal_fd; /* -1 = closed */
    off_t journal_bytes;
    size_t n, n_failed;
    bool intact; /* FILE has every line, and in order */
};

/* ---- reading ----------------------------------------------------------------------------- */

static int compare_paths(const void *a, const void *b)
{
    const struct by_path *x = a, *y = b;

    return strcmp(x->shown, y->shown);
}

/* The file that a line is about, when it counts. */
static bool line_counts(const struct extract_out *out, const char *line, size_t bytes,
                        size_t *ret_i, bool *ret_failed)
{
    json_t *json = json_loadb(line, bytes, 0, NULL);
    const char *path = json_string_value(json_object_get(json, "path"));
    const char *key = json_string_value(json_object_get(json, "key"));
    const char *reason = json_string_value(json_object_get(json, "reason"));
    struct by_path wanted = {.shown = path};
    const struct by_path *found =
        path ? bsearch(&wanted, out->order, out->files->n, sizeof(*out->order), compare_paths)
             : NULL;
    bool counts = found && key && strcmp(key, out->files->items[found->i].key) == 0 &&
                  !(reason && strcmp(reason, EXTRACT_UNREAD) == 0) &&
                  (reason || json_object_get(json, "modalities"));

    if (counts) {
        *ret_i = found->i;
        *ret_failed = reason != NULL;
    }
    json_decref(json);
    return counts;
}

static void set_place(struct extract_out *out, size_t i, struct place place)
{
    struct place *p = &out->places[i];

    if (p->source != SOURCE_NONE) {
        out->n--;
        out->n_failed -= p->failed;
    }
    *p = place;
    out->n++;
    out->n_failed += place.failed;
}

/* Reads the lines of fd; ret_whole_bytes: up to the end of the last whole one. */
static int read_lines(struct extract_out *out, int fd, enum source source,
                      off_t *ret_whole_bytes, struct err *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    FILE *f = copy < 0 ? NULL : fdopen(copy, "r");
    char *line = NULL;
    size_t room = 0, n_lines = 0;
    off_t at = 0;
    bool in_order = true;

    if (!f) {
        if (copy >= 0)
            close(copy);
        return err_oom(err, "lines of an earlier run");
    }
    rewind(f);
    for (ssize_t n = getline(&line, &room, f); n > 0 && line[n - 1] == '\n';
         n = getline(&line, &room, f)) {
        struct place place = {.source = source, .bytes = (uint32_t)n, .offset = at};
        size_t i = 0;

        if (n < UINT32_MAX && line_counts(out, line, (size_t)n, &i, &place.failed)) {
            set_place(out, i, place);
            in_order &= i == n_lines;
        } else {
            in_order = false;
        }
        n_lines++;
        at += n;
    }
    bool failed = ferror(f);
    free(line);
    (void)fclose(f);
    out->intact = source == SOURCE_FILE && in_order && n_lines == out->files->n;
    *ret_whole_bytes = at;
    return failed ? err_fatal(err, EX_IOERR, "%s: cannot be read", out->path) : ERR_OK;
}

/* ---- opening ----------------------------------------------------------------------------- */

static int index_files(struct extract_out *out, struct err *err)
{
    size_t n = out->files->n;

    out->order = calloc(n, sizeof(*out->order));
    out->places = calloc(n, sizeof(*out->places));
    if (!out->order || !out->places)
        return err_oom(err, "list of files");
    for (size_t i = 0; i < n; i++)
        out->order[i] = (struct by_path){out->files->items[i].shown, i};
    qsort(out->order, n, sizeof(*out->order), compare_paths);
    return ERR_OK;
}

static int name_files(struct extract_out *out, struct err *err)
{
    const struct extract *e = out->e;
    int n = e->out ? asprintf(&out->path, "%s", e->out)
                   : asprintf(&out->path, "%s/features.ndjson", e->npy);

    if (n < 0) {
        out->path = NULL;
        return err_oom(err, "name of a file");
    }
    if (asprintf(&out->journal_path, "%s.part", out->path) < 0) {
        out->journal_path = NULL;
        return err_oom(err, "name of a file");
    }
    if (e->npy && mkdir(e->npy, 0777) != 0 && errno != EEXIST)
        return err_fatal(err, EX_CANTCREAT, "%s: %s", e->npy, strerror(errno));
    return ERR_OK;
}

/* Another run may finish, and remove the journal, between our opening and locking it. */
static int open_journal(struct extract_out *out, struct err *err)
{
    struct stat info = {0};

    while (info.st_nlink == 0) {
        if (out->journal_fd >= 0)
            close(out->journal_fd);
        out->journal_fd = open(out->journal_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (out->journal_fd < 0)
            return err_fatal(err, EX_CANTCREAT, "%s: %s", out->journal_path, strerror(errno));
        if (flock(out->journal_fd, LOCK_EX | LOCK_NB) != 0)
            return err_retry(err, EX_TEMPFAIL,
                             "%s: another run is writing it: wait until it has ended",
                             out->journal_path);
        if (fstat(out->journal_fd, &info) != 0)
            return err_fatal(err, EX_IOERR, "%s: %s", out->journal_path, strerror(errno));
    }
    return ERR_OK;
}

static int read_earlier(struct extract_out *out, struct err *err)
{
    off_t whole = 0;
    int r = ERR_OK;

    out->fd = open(out->path, O_RDONLY | O_CLOEXEC);
    if (out->fd < 0 && errno != ENOENT)
        return err_fatal(err, EX_NOINPUT, "%s: %s", out->path, strerror(errno));
    if (out->fd >= 0)
        r = read_lines(out, out->fd, SOURCE_FILE, &whole, err);
    bool intact = out->intact;
    if (r == ERR_OK)
        r = read_lines(out, out->journal_fd, SOURCE_JOURNAL, &out->journal_bytes, err);
    out->intact = intact;
    if (r == ERR_OK && ftruncate(out->journal_fd, out->journal_bytes) != 0)
        return err_fatal(err, EX_IOERR, "%s: %s", out->journal_path, strerror(errno));
    return r;
}

/* An id is a line of ids.txt. */
static int check_names(const struct extract *e, const struct extract_files *files,
                       struct err *err)
{
    for (size_t i = 0; e->npy && i < files->n; i++)
        if (strchr(files->items[i].path, '\n'))
            return err_fatal(
                err, EX_DATAERR,
                "%s: file %zu has a line feed in its name: rename it, or use --out", e->path,
                i + 1);
    return ERR_OK;
}

int extract_out_open(const struct extract *e, const struct extract_files *files,
                     struct extract_out **ret_out, struct err *err)
{
    struct extract_out *out = calloc(1, sizeof(*out));
    int r = out ? check_names(e, files, err) : err_oom(err, "output");

    if (r == ERR_OK) {
        *out = (struct extract_out){.e = e, .files = files, .fd = -1, .journal_fd = -1};
        r = index_files(out, err);
    }
    if (r == ERR_OK)
        r = name_files(out, err);
    if (r == ERR_OK)
        r = open_journal(out, err);
    if (r == ERR_OK)
        r = read_earlier(out, err);
    if (r == ERR_OK)
        *ret_out = out;
    else
        extract_out_close(out);
    return r;
}

void extract_out_close(struct extract_out *out)
{
    if (!out)
        return;
    if (out->files) { /* else it was never set up */
        if (out->fd >= 0)
            close(out->fd);
        if (out->journal_fd >= 0)
            close(out->journal_fd);
    }
    free(out->order);
    free(out->places);
    free(out->path);
    free(out->journal_path);
    free(out);
}

bool extract_out_has(const struct extract_out *out, size_t i)
{
    return out->places[i].source != SOURCE_NONE;
}

bool extract_out_failed(const struct extract_out *out, size_t i)
{
    return out->places[i].failed;
}

size_t extract_out_n(const struct extract_out *out)
{
    return out->n;
}

size_t extract_out_n_failed(const struct extract_out *out)
{
    return out->n_failed;
}

/* ---- writing ----------------------------------------------------------------------------- */

int extract_out_add(struct extract_out *out, size_t i, const char *line, bool failed,
                    struct err *err)
{
    size_t bytes = strlen(line) + 1;
    char *text = malloc(bytes);

    if (!text)
        return err_oom(err, "result");
    memcpy(text, line, bytes - 1);
    text[bytes - 1] = '\n';
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(out->journal_fd, text + done, bytes - done,
                           out->journal_bytes + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(text);
            return err_fatal(err, EX_IOERR, "%s: %s", out->journal_path, strerror(errno));
        }
        done += (size_t)n;
    }
    free(text);
    set_place(out, i,
              (struct place){.source = SOURCE_JOURNAL,
                             .failed = failed,
                             .bytes = (uint32_t)bytes,
                             .offset = out->journal_bytes});
    out->journal_bytes += (off_t)bytes;
    return ERR_OK;
}

int extract_out_line(const struct extract_out *out, size_t i, char **ret_line, struct err *err)
{
    const struct place *p = &out->places[i];
    int fd = p->source == SOURCE_FILE ? out->fd : out->journal_fd;
    char *line = malloc(p->bytes);
    size_t done = 0;

    while (line && done < p->bytes) {
        ssize_t n = pread(fd, line + done, p->bytes - done, p->offset + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(line);
            return err_fatal(err, EX_IOERR, "%s: changed while it was read", out->path);
        }
        done += (size_t)n;
    }
    if (!line)
        return err_oom(err, "result");
    line[p->bytes - 1] = '\0';
    *ret_line = line;
    return ERR_OK;
}

static int write_line(const struct extract_out *out, size_t i, struct outfile *file,
                      struct err *err)
{
    char *line = NULL;
    int r = extract_out_line(out, i, &line, err);

    if (r)
        return r;
    line[out->places[i].bytes - 1] = '\n';
    r = outfile_write(file, line, out->places[i].bytes, err);
    free(line);
    return r;
}

static int write_lines(const struct extract_out *out, struct err *err)
{
    struct outfile file;
    int r = outfile_open(out->path, &file, err);

    if (r)
        return r;
    for (size_t i = 0; r == ERR_OK && i < out->files->n; i++)
        r = write_line(out, i, &file, err);
    if (r == ERR_OK)
        r = outfile_commit(&file, err);
    outfile_abort(&file);
    return r;
}

int extract_out_write(const struct extract_out *out, struct err *err)
{
    return out->intact && out->journal_bytes == 0 ? ERR_OK : write_lines(out, err);
}

int extract_out_end(struct extract_out *out, struct err *err)
{
    return unlink(out->journal_path) == 0
               ? ERR_OK
               : err_fatal(err, EX_IOERR, "%s: %s", out->journal_path, strerror(errno));
}
