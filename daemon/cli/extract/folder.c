/* metammf extract on a folder: every file below it through the pool, as many at a time as there
 * are workers. On standard output lines come in the order of names whatever the number of
 * workers: results wait for their turn, at most a few per worker. With --out and --npy
 * (out.c) each is kept as it comes, and files that have their line are left out. */
#include "daemon/cli/extract/extract.h"

#include "config/array.h"
#include "config/clock.h"
#include "config/digest.h"
#include "daemon/base/progress.h"

#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define EXTRACT_AHEAD  8 /* results that may wait for their turn, per worker */
#define EXTRACT_DOWN_S 5 /* without a worker, then the run ends */

struct run {
    const struct extract *e;
    struct extract_files files;
    struct pool *pool;
    struct extract_out *out; /* NULL = standard output */
    char **lines;            /* (n) JSON of a result whose turn has not come */
    int *fds;                /* (n) -1 = closed */
    size_t n_kept;           /* files that had their line before */
    size_t n_next, n_done, n_printed, n_failed, n_again, ahead;
    int64_t down_us; /* when the workers were found to be gone; 0 = they are not */
};

/* ---- which files ------------------------------------------------------------------------- */

static int files_add(struct extract_files *f, const char *path)
{
    struct extract_file *items = array_reserve(f->items, &f->room, f->n + 1, sizeof(*items));

    if (!items)
        return -1;
    f->items = items;
    struct extract_file *file = &f->items[f->n++];
    *file = (struct extract_file){.path = strdup(path), .shown = extract_shown(path)};
    return file->path && file->shown ? 0 : -1;
}

static int compare_names(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* What an earlier run wrote is no media, even below the folder. */
static bool is_ours(const struct extract *e, const struct stat *entry)
{
    const char *path = e->out ? e->out : e->npy;
    struct stat info;
    char *part = NULL;

    if (!path)
        return false;
    if (stat(path, &info) == 0 && is_same(&info, entry))
        return true;
    bool ours = e->out && asprintf(&part, "%s.part", path) >= 0 && stat(part, &info) == 0 &&
                is_same(&info, entry);
    free(part);
    return ours;
}

/* Every regular file below the folder, hidden ones and our own left out, in the order of their
 * names. */
static int find_files(const struct extract *e, struct extract_files *ret, struct err *err)
{
    const char *folder = e->path;
    char *copy = strdup(folder);
    char *const roots[] = {copy, NULL};
    FTS *fts = copy ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, compare_names) : NULL;
    FTSENT *entry;
    int r = fts ? ERR_OK : err_fatal(err, EX_OSERR, "%s: %s", folder, strerror(errno));

    while (r == ERR_OK && (entry = fts_read(fts)) != NULL) {
        bool is_file = entry->fts_info == FTS_F, is_folder = entry->fts_info == FTS_D;
        bool skip = entry->fts_level > 0 && (is_file || is_folder) &&
                    (entry->fts_name[0] == '.' || is_ours(e, entry->fts_statp));

        if (is_folder && skip)
            fts_set(fts, entry, FTS_SKIP);
        else if (is_file && !skip && files_add(ret, entry->fts_path) != 0)
            r = err_oom(err, "list of files");
    }
    if (fts)
        fts_close(fts);
    free(copy);
    if (r == ERR_OK && ret->n == 0)
        r = err_fatal(err, EX_NOINPUT, "%s: no files in it", folder);
    return r;
}

static void print_text(FILE *f, const char *text)
{
    fprintf(f, "%c%s%c", text ? '+' : '-', text ? text : "", 0);
}

/* All that a file's vectors depend on, but for the file. malloc'ed. */
static char *describe_setting(const struct run *run, size_t *ret_bytes)
{
    const struct features_text *t = &run->e->text;
    char *text = NULL;
    FILE *f = open_memstream(&text, ret_bytes);

    if (!f)
        return NULL;
    for (int m = 0; m < MODALITY_COUNT; m++)
        print_text(f, pool_encoders(run->pool)[m].id);
    print_text(f, t->title);
    print_text(f, t->description);
    print_text(f, t->lang);
    for (uint32_t i = 0; i < t->n_tags; i++)
        print_text(f, t->tags[i]);
    fprintf(f, "%" PRId64, run->e->input.cli->settings.media.max_bytes);
    return fclose(f) == 0 ? text : NULL;
}

/* 16 digits of the SHA-256 of the clip's size and time, the encoders, the text and
 * media.max_bytes; neither the folder's order nor the number of workers. A file that is gone by
 * now fails when its turn comes. */
static int make_keys(struct run *run, struct err *err)
{
    size_t bytes = 0;
    char *setting = describe_setting(run, &bytes);
    char *text = setting ? malloc(bytes + 64) : NULL;

    for (size_t i = 0; text && i < run->files.n; i++) {
        struct extract_file *file = &run->files.items[i];
        struct stat info = {0};
        char hex[DIGEST_HEX_BYTES];

        (void)stat(file->path, &info);
        memcpy(text, setting, bytes);
        int n =
            snprintf(text + bytes, 64, "|%" PRId64 "|%" PRId64 ".%09ld", (int64_t)info.st_size,
                     (int64_t)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
        digest_hex(text, bytes + (size_t)n, hex);
        snprintf(file->key, sizeof(file->key), "%.*s", EXTRACT_KEY_BYTES - 1, hex);
    }
    free(setting);
    free(text);
    return text ? ERR_OK : err_oom(err, "keys of files");
}

/* ---- results ----------------------------------------------------------------------------- */

/* What is nobody's fault, a worker that cannot be started, is for the next run. */
static int keep_result(struct run *run, size_t i, const struct pool_result *result,
                       struct err *err)
{
    struct extract_file *file = &run->files.items[i];
    const char *key = run->out ? file->key : NULL;
    bool failed = result->err.status != ERR_OK;

    run->n_done++;
    if (run->out && result->err.status == ERR_RETRY) {
        run->n_again++;
        fprintf(stderr, "metammf: %s: %s\n", cli_text(file->shown), cli_text(result->err.text));
        return ERR_OK;
    }
    json_t *json = extract_json(file->shown, key, result);
    char *line = json ? cli_json_text(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(json);
    if (!line)
        return err_oom(err, "result");
    run->n_failed += failed;
    if (!run->out) {
        run->lines[i] = line;
        return ERR_OK;
    }
    int r = extract_out_add(run->out, i, line, failed, err);
    free(line);
    return r;
}

static bool is_full(const struct run *run)
{
    return pool_n_idle(run->pool) == 0 ||
           (!run->out && run->n_next >= run->n_printed + run->ahead);
}

static int submit_more(struct run *run, struct err *err)
{
    int r = ERR_OK;

    for (; r == ERR_OK && run->n_next < run->files.n && !is_full(run); run->n_next++) {
        size_t i = run->n_next;
        struct pool_result failed = {.id = i};
        struct pool_job job = {.id = i, .media_fd = -1, .text = run->e->text};

        if (run->out && extract_out_has(run->out, i))
            continue;
        if (extract_open_media(run->files.items[i].path, &run->fds[i], &failed.err) != ERR_OK) {
            snprintf(failed.err.reason, sizeof(failed.err.reason), EXTRACT_UNREAD);
            r = keep_result(run, i, &failed, err);
            continue;
        }
        job.media_fd = run->fds[i];
        r = pool_submit(run->pool, &job, err);
    }
    return r;
}

static int print_ready(struct run *run, struct err *err)
{
    while (!run->out && run->n_printed < run->files.n && run->lines[run->n_printed]) {
        if (puts(run->lines[run->n_printed]) == EOF)
            return err_fatal(err, EX_IOERR, "standard output: %s", strerror(errno));
        free(run->lines[run->n_printed]);
        run->lines[run->n_printed++] = NULL;
    }
    return ERR_OK;
}

/* Ends a run whose workers are gone for good: what is kept is kept for the next one. */
static int look_at_workers(struct run *run, struct err *err)
{
    struct err why;
    int64_t now_us = clock_mono_us();

    if (!pool_is_down(run->pool, &why)) {
        run->down_us = 0;
        return ERR_OK;
    }
    if (run->down_us == 0)
        run->down_us = now_us;
    if (why.status == ERR_RETRY && now_us - run->down_us < EXTRACT_DOWN_S * INT64_C(1000000))
        return ERR_OK;
    return err_fatal(err, why.exit_code, "no worker can be started: %s", why.text);
}

/* Also serves the replacement of workers when none is busy. */
static int take_result(struct run *run, struct err *err)
{
    struct pool_result result;

    if (!pool_wait(run->pool, -1, 1000, &result))
        return look_at_workers(run, err);
    close(run->fds[result.id]);
    run->fds[result.id] = -1;
    return keep_result(run, result.id, &result, err);
}

static int run_files(struct run *run, struct err *err)
{
    size_t n_todo = run->files.n - run->n_kept;
    struct progress bar;
    int r = ERR_OK;

    progress_start(&bar, stderr, "extract", (int64_t)n_todo);
    while (r == ERR_OK && run->n_done < n_todo) {
        r = submit_more(run, err);
        if (r == ERR_OK && run->n_done < n_todo)
            r = take_result(run, err);
        if (r == ERR_OK)
            r = print_ready(run, err);
        progress_update(&bar, (int64_t)run->n_done, NULL);
    }
    progress_end(&bar, (int64_t)run->n_done);
    return r;
}

/* ---- the folder -------------------------------------------------------------------------- */

static void run_done(struct run *run)
{
    for (size_t i = 0; i < run->files.n; i++) {
        free(run->files.items[i].path);
        free(run->files.items[i].shown);
        if (run->lines)
            free(run->lines[i]);
        if (run->fds && run->fds[i] >= 0)
            close(run->fds[i]);
    }
    free(run->files.items);
    free(run->lines);
    free(run->fds);
    extract_out_close(run->out);
    pool_close(run->pool);
}

static int open_out(struct run *run, struct err *err)
{
    int r = make_keys(run, err);

    if (r == ERR_OK)
        r = extract_out_open(run->e, &run->files, &run->out, err);
    if (r)
        return r;
    run->n_kept = extract_out_n(run->out);
    run->n_failed = extract_out_n_failed(run->out);
    if (run->n_kept)
        fprintf(stderr, "metammf: %zu of %zu files are there already\n", run->n_kept,
                run->files.n);
    return ERR_OK;
}

static int run_init(struct extract *e, struct run *run, struct err *err)
{
    struct pool_stats stats = {0};
    int r = find_files(e, &run->files, err);

    if (r)
        return r;
    run->lines = calloc(run->files.n, sizeof(*run->lines));
    run->fds = malloc(run->files.n * sizeof(*run->fds));
    if (!run->lines || !run->fds)
        return err_oom(err, "list of files");
    memset(run->fds, 0xff, run->files.n * sizeof(*run->fds));
    r = extract_open_pool(e->input.cli, e->workers, &run->pool, err);
    if (r == ERR_OK && (e->out || e->npy))
        r = open_out(run, err);
    if (r)
        return r;
    pool_stats(run->pool, &stats);
    run->ahead = (size_t)stats.n_workers * EXTRACT_AHEAD;
    return ERR_OK;
}

/* The journal goes last: what a crash leaves counts in the next run. */
static int finish_out(struct run *run, struct err *err)
{
    const struct extract *e = run->e;
    int r = extract_out_write(run->out, err);

    if (r == ERR_OK && e->npy)
        r = extract_npy_write(e, pool_encoders(run->pool), &run->files, run->out, err);
    return r == ERR_OK ? extract_out_end(run->out, err) : r;
}

static void print_summary(const struct run *run, int64_t start_us)
{
    double seconds = (double)(clock_mono_us() - start_us) / 1e6;

    if (run->n_done && (run->out || isatty(STDERR_FILENO)))
        fprintf(stderr, "metammf: %zu files in %.1f s, %.1f a second\n", run->n_done, seconds,
                seconds > 0 ? (double)run->n_done / seconds : 0);
    if (run->n_failed)
        fprintf(stderr,
                "metammf: %zu of %zu files could not be extracted: see \"error\" in "
                "their lines\n",
                run->n_failed, run->files.n);
}

int extract_folder(struct extract *e, struct err *err)
{
    struct run run = {.e = e};
    int64_t start_us = clock_mono_us();
    int r = run_init(e, &run, err);

    if (r == ERR_OK)
        r = run_files(&run, err);
    if (r == ERR_OK && run.n_again)
        r = err_retry(err, EX_TEMPFAIL, "%zu files could not be tried: run it again",
                      run.n_again);
    if (r == ERR_OK && run.out)
        r = finish_out(&run, err);
    if (r == ERR_OK)
        print_summary(&run, start_us);
    if (r == ERR_OK && run.n_failed == run.files.n)
        r = err_fatal(err, EX_DATAERR, "%s: no file could be extracted", e->path);
    run_done(&run);
    return r;
}
