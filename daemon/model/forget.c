#include "daemon/model/forget.h"

#include "config/array.h"
#include "config/infile.h"
#include "config/log.h"
#include "daemon/base/paths.h"
#include "daemon/model/candidate_internal.h"
#include "daemon/model/models.h"
#include "fusion/file/outfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* PART: of a metammf train by its name, so that what a crash leaves goes as theirs does. */
#define PART    ".metammf-train-forget"
#define HOLDOUT "holdout.tsv"
#define USERS   "users.txt"
enum { PIECE_ROWS = 2000, WIPE_TRIES = 50, WIPE_WAIT_MS = 100 };

int forget_piece(struct store *st, void *arg, struct err *err)
{
    struct store_erased e;
    int r = store_erase(st, PIECE_ROWS, &e, arg, err);

    if (r == ERR_OK && e.done)
        log_notice("forgot a user (hash %s): %" PRId64 " interactions, %" PRId64
                   " vectors, %" PRId64 " training pairs, %" PRId64
                   " dead letters that named them",
                   e.hash, e.n_interactions, e.n_vectors, e.n_pairs, e.n_letters);
    return r;
}

/* ---- lines of files ------------------------------------------------------------------------ */

struct lines {
    char *text, *out;
    size_t bytes, n;
    char **user; /* (n) the first column, cut in a copy */
    char *cut;
};

static void lines_done(struct lines *l)
{
    free(l->text);
    free(l->cut);
    free(l->user);
    free(l->out);
}

static int cut_lines(struct lines *l, struct err *err)
{
    size_t n = 1;

    for (size_t i = 0; i < l->bytes; i++)
        n += l->text[i] == '\n';
    l->cut = malloc(l->bytes + 1);
    l->out = malloc(l->bytes + 1);
    l->user = calloc(n, sizeof *l->user);
    if (!l->cut || !l->out || !l->user)
        return err_oom(err, "users of a file");
    memcpy(l->cut, l->text, l->bytes);
    l->cut[l->bytes] = '\0';
    for (char *at = l->cut, *next; at < l->cut + l->bytes; at = next) {
        char *end = memchr(at, '\n', (size_t)(l->cut + l->bytes - at));

        next = end ? end + 1 : l->cut + l->bytes;
        if (end)
            *end = '\0';
        at[strcspn(at, "\t")] = '\0';
        l->user[l->n++] = at;
    }
    return ERR_OK;
}

/* ERR_NONE: there is no such file. */
static int read_lines(const char *path, struct lines *ret_l, struct err *err)
{
    if (access(path, F_OK) != 0)
        return ERR_NONE;
    int r = infile_read(path, CANDIDATE_BYTES_MAX, &ret_l->text, &ret_l->bytes, err);
    return r == ERR_OK ? cut_lines(ret_l, err) : r;
}

static int find_gone(const struct lines *l, struct store *reader,
                     const struct store_read_mark *mark, unsigned char **ret_gone,
                     bool *ret_any, struct err *err)
{
    *ret_gone = malloc(l->n + 1);
    return *ret_gone
               ? store_find_forgotten(reader, l->user, l->n, mark, *ret_gone, ret_any, err)
               : err_oom(err, "users of a file");
}

static size_t keep_lines(struct lines *l, const unsigned char *gone)
{
    size_t kept = 0;

    for (size_t i = 0; i < l->n; i++) {
        size_t first = (size_t)(l->user[i] - l->cut);
        size_t end = i + 1 < l->n ? (size_t)(l->user[i + 1] - l->cut) : l->bytes;

        if (gone[i])
            continue;
        memcpy(l->out + kept, l->text + first, end - first);
        kept += end - first;
    }
    return kept;
}

int forget_in_pairs(const char *path, struct store *reader, const struct store_read_mark *mark,
                    bool *ret_changed, struct err *err)
{
    struct lines l = {0};
    unsigned char *gone = NULL;
    int r = read_lines(path, &l, err);

    *ret_changed = false;
    if (r == ERR_OK)
        r = find_gone(&l, reader, mark, &gone, ret_changed, err);
    if (r == ERR_OK && *ret_changed)
        r = outfile_put(path, l.out, keep_lines(&l, gone), err);
    free(gone);
    lines_done(&l);
    return r == ERR_NONE ? ERR_OK : r;
}

/* Whether a line of the file is the name of somebody who was ever forgotten. */
static int names_anybody(const char *path, struct store *reader, bool *ret_any, struct err *err)
{
    const struct store_read_mark whenever = {0, -1};
    struct lines l = {0};
    unsigned char *gone = NULL;
    int r = read_lines(path, &l, err);

    *ret_any = false;
    if (r == ERR_OK)
        r = find_gone(&l, reader, &whenever, &gone, ret_any, err);
    free(gone);
    lines_done(&l);
    return r == ERR_NONE ? ERR_OK : r;
}

/* ---- folders ------------------------------------------------------------------------------- */

static void remove_folder(const char *dir)
{
    char path[PATH_MAX];

    for (size_t i = 0; i <= CANDIDATE_N_FILES; i++)
        if (paths_join(dir, i < CANDIDATE_N_FILES ? candidate_files[i] : HOLDOUT, path, NULL) ==
            ERR_OK)
            (void)unlink(path);
    (void)rmdir(dir);
}

/* The new folder beside the old one, then the one for the other: a crash leaves either, whole. */
static int replace_folder(const char *dir, const char *part, const struct candidate *c,
                          struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];

    remove_folder(part);
    int r = candidate_write(part, c, err);
    if (r == ERR_OK)
        r = paths_join(dir, HOLDOUT, from, err);
    if (r == ERR_OK)
        r = paths_join(part, HOLDOUT, to, err);
    if (r == ERR_OK && access(from, F_OK) == 0)
        r = outfile_copy(from, to, err);
    if (r == ERR_OK && renameat2(AT_FDCWD, part, AT_FDCWD, dir, RENAME_EXCHANGE) != 0)
        r = err_retry(err, EX_IOERR, "%s: exchange with %s: %s", dir, part, strerror(errno));
    if (r == ERR_OK) {
        *strrchr(strcpy(to, dir), '/') = '\0';
        r = outfile_sync_folder(to, err);
    }
    remove_folder(part);
    return r;
}

static int forget_in_folder(const char *dir, const char *part, struct store *reader,
                            int64_t *ret_n, struct err *err)
{
    struct candidate c = {0};
    char path[PATH_MAX];
    bool any = false, changed = false, pairs_changed = false;
    int r = paths_join(dir, USERS, path, err);

    if (r == ERR_OK)
        r = names_anybody(path, reader, &any, err);
    if (r == ERR_OK && any) {
        r = candidate_read(dir, &c, err);
        if (r == ERR_OK)
            r = candidate_forget(&c, reader, &changed, err);
        if (r == ERR_OK && changed)
            r = replace_folder(dir, part, &c, err);
    }
    if (r == ERR_OK)
        r = paths_join(dir, HOLDOUT, path, err);
    /* who is back is in users.txt of a later model, and was held out of that one */
    struct store_read_mark mark = {0, -1};
    if (c.dir[0])
        mark = candidate_read_mark(&c);
    if (r == ERR_OK)
        r = forget_in_pairs(path, reader, &mark, &pairs_changed, err);
    candidate_done(&c);
    *ret_n += r == ERR_OK && (changed || pairs_changed);
    return r;
}

static bool is_model(const char *name)
{
    const char *digits = name + strlen(CANDIDATE_FOLDER);

    return strncmp(name, CANDIDATE_FOLDER, strlen(CANDIDATE_FOLDER)) == 0 &&
           strlen(digits) == CANDIDATE_DIGITS &&
           strspn(digits, "0123456789abcdef") == CANDIDATE_DIGITS;
}

/* One that cannot be read keeps none of the others from being looked through. */
static int look_through(DIR *d, const char *dir, const char *part, struct store *reader,
                        int64_t *ret_n, struct err *err)
{
    const struct dirent *entry;
    char path[PATH_MAX];
    int r = ERR_OK;

    while ((entry = readdir(d))) {
        struct err why;
        if (!is_model(entry->d_name))
            continue;
        int one = paths_join(dir, entry->d_name, path, &why);
        if (one == ERR_OK)
            one = forget_in_folder(path, part, reader, ret_n, &why);
        if (one ==
            ERR_FATAL) /* it goes on being tried; without its files there is nothing to clear */
            (void)err_wrap(&why, "put its files back, or remove %s", path);
        if (one != ERR_OK && r == ERR_OK) {
            r = one;
            if (err)
                *err = why;
        }
    }
    return r;
}

static int is_due(struct store *reader, bool *ret_due, struct err *err)
{
    struct store_forgotten *rows = NULL;
    size_t n = 0;
    int r = store_forgotten_list(reader, &rows, &n, err);

    *ret_due = false;
    for (size_t i = 0; r == ERR_OK && i < n; i++)
        *ret_due |= rows[i].in_files;
    free(rows);
    return r;
}

static int note_filed(struct store *st, void *arg, struct err *err)
{
    return store_forgotten_filed(st, *(const int64_t *)arg, err);
}

int forget_in_files(const struct candidate_target *t, int64_t *ret_n, struct err *err)
{
    char dir[PATH_MAX], part[PATH_MAX];
    int64_t n_forgettings = 0;
    bool due = false;
    int r = is_due(t->reader, &due, err);

    *ret_n = 0;
    if (r != ERR_OK || !due)
        return r;
    r = store_forgettings(t->reader, &n_forgettings, err);
    if (r == ERR_OK)
        r = paths_model_dir(t->settings, dir, err);
    if (r == ERR_OK)
        r = paths_join(dir, PART, part, err);
    if (r != ERR_OK)
        return r;
    DIR *d = opendir(dir);
    if (d) {
        r = look_through(d, dir, part, t->reader, ret_n, err);
        (void)closedir(d);
    }
    return r == ERR_OK ? store_work(&t->writer, note_filed, &n_forgettings, err)
                       : err_wrap(err, "what a model's folder keeps of a forgotten user");
}

/* ---- one user ------------------------------------------------------------------------------ */

struct beginning {
    const char *user_id;
    unsigned char hash[DIGEST_BYTES];
};

static int begin(struct store *st, void *arg, struct err *err)
{
    struct beginning *b = arg;

    return store_forget(st, b->user_id, b->hash, err);
}

/* By us or by whoever else works at it. */
static int erase(const struct candidate_target *t, const struct beginning *b, struct err *err)
{
    bool more = true, erased = false;
    int r = ERR_OK;

    while (r == ERR_OK && !erased) {
        r = store_work(&t->writer, forget_piece, &more, err);
        if (r == ERR_OK)
            r = store_is_erased(t->reader, b->hash, &erased, err);
    }
    return r;
}

static int wipe(struct store *st, void *arg, struct err *err)
{
    return store_wipe(st, arg, err);
}

/* Short readers come and go; a long one is not waited for. */
static int wipe_patiently(const struct candidate_target *t, bool *ret_clean, struct err *err)
{
    int r = store_work(&t->writer, wipe, ret_clean, err);

    for (int i = 1; r == ERR_OK && !*ret_clean && i < WIPE_TRIES; i++) {
        (void)poll(NULL, 0, WIPE_WAIT_MS);
        r = store_work(&t->writer, wipe, ret_clean, err);
    }
    return r;
}

static int clear_files(const struct candidate_target *t, bool (*go_on)(void *arg), void *arg,
                       int64_t *ret_n, struct err *err)
{
    if (!models_lock(go_on, arg))
        return err_retry(err, EX_TEMPFAIL,
                         "the rows are gone, the folders of models not yet: stopped");
    int r = forget_in_files(t, ret_n, err);
    models_unlock();
    return r;
}

int forget_user(const struct candidate_target *t, const char *user_id, bool (*go_on)(void *arg),
                void *arg, struct forget_result *ret_result, struct err *err)
{
    struct beginning b = {.user_id = user_id};
    struct store_forgotten row = {0};
    struct forget_result x = {0};
    int r = store_work(&t->writer, begin, &b, err);

    if (r == ERR_OK)
        r = erase(t, &b, err);
    if (r == ERR_OK)
        r = clear_files(t, go_on, arg, &x.n_folders, err);
    if (r == ERR_OK)
        r = wipe_patiently(t, &x.clean, err);
    if (r == ERR_OK)
        r = store_forgotten_find(t->reader, b.hash, &row, err);
    if (r != ERR_OK)
        return r;
    digest_print(b.hash, STORE_HASH_SHOWN, x.hash);
    x.n_interactions = row.n_interactions;
    x.n_vectors = row.n_vectors;
    x.n_pairs = row.n_pairs;
    x.n_letters = row.n_letters;
    x.known = x.n_interactions + x.n_vectors + x.n_pairs + x.n_letters + x.n_folders > 0;
    *ret_result = x;
    return ERR_OK;
}

struct json_t *forget_json(const struct forget_result *x)
{
    return json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "hash", x->hash, "known",
                     x->known, "clean", x->clean, "interactions", (json_int_t)x->n_interactions,
                     "vectors", (json_int_t)x->n_vectors, "training_pairs",
                     (json_int_t)x->n_pairs, "dead_letters", (json_int_t)x->n_letters,
                     "folders", (json_int_t)x->n_folders);
}
