#include "daemon/retrain/files.h"

#include "config/array.h"
#include "config/log.h"
#include "daemon/base/metrics.h"
#include "daemon/base/paths.h"
#include "daemon/base/steady.h"
#include "daemon/base/tsv.h"
#include "daemon/model/candidate.h"
#include "store/reading.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* A folder without a row may be being published, or hold a training that somebody will import. */
enum { YOUNG_S = 3600, OLD_S = 7 * 86400, MODELS_MAX = 10000 };

/* ---- folders ------------------------------------------------------------------------------ */

/* The files of a folder, not of folders below it, then itself. False when something stays. */
static bool remove_flat(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (!d) {
        if (fd >= 0)
            (void)close(fd);
        return errno == ENOENT;
    }
    while ((entry = readdir(d)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(d), entry->d_name, 0);
    (void)closedir(d);
    return unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

static int paths_of(const struct settings *s, struct retrain_paths *p, struct err *err)
{
    int r = paths_model_file(s, ".metammf-retraining", p->dir, err);

    if (r == ERR_OK)
        r = paths_join(p->dir, "settings.conf", p->settings, err);
    if (r == ERR_OK)
        r = paths_join(p->dir, "holdout.tsv", p->holdout, err);
    return r == ERR_OK ? paths_join(p->dir, "candidate", p->candidate, err) : r;
}

void retrain_files_clear(const struct settings *s)
{
    struct retrain_paths p;

    if (paths_of(s, &p, NULL) != ERR_OK)
        return;
    if (!remove_flat(AT_FDCWD, p.candidate) || !remove_flat(AT_FDCWD, p.dir))
        log_warning("retraining: remove %s: %s", p.dir, strerror(errno));
}

/* Passwords are not in it; names of users, hosts and files are, and the site's own file may be its
 * owner's alone. */
static int write_settings(const char *path, const struct settings *s, struct err *err)
{
    (void)unlink(path); /* of a round whose folder could not be emptied */
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (!f) {
        int fault = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_retry(err, EX_CANTCREAT, "%s: %s", path, strerror(fault));
    }
    bool failed = settings_print_changed(s, f) != ERR_OK;
    failed |= fclose(f) != 0;
    return failed ? err_retry(err, EX_IOERR, "%s: cannot be written", path) : ERR_OK;
}

int retrain_files_begin(const struct settings *s, struct retrain_paths *ret_paths,
                        struct err *err)
{
    int r = paths_of(s, ret_paths, err);

    if (r != ERR_OK)
        return r;
    retrain_files_clear(s);
    if (mkdir(ret_paths->dir, 0777) != 0 && errno != EEXIST)
        return err_retry(err, EX_CANTCREAT, "%s: %s", ret_paths->dir, strerror(errno));
    return write_settings(ret_paths->settings, s, err);
}

/* ---- held-out pairs ----------------------------------------------------------------------- */

static const char *name_of(const struct store_names *names, int64_t id)
{
    size_t at = array_find(names->id, names->n, id);

    return at < names->n && !strchr(names->name[at], '\t') ? names->name[at] : NULL;
}

static int write_pairs(const char *path, const struct holdout *h,
                       const struct store_names *users, const struct store_names *items,
                       struct err *err)
{
    FILE *f = fopen(path, "we");

    if (!f)
        return err_retry(err, EX_CANTCREAT, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < h->n_pairs; i++) {
        const char *user = name_of(users, h->pairs[i].uid);
        const char *item = name_of(items, h->pairs[i].rid);

        if (user && item)
            fprintf(f, "%s\t%s\n", user, item);
    }
    bool failed = ferror(f) != 0;
    failed |= fclose(f) != 0;
    return failed ? err_retry(err, EX_IOERR, "%s: %s", path, strerror(errno)) : ERR_OK;
}

int retrain_files_write(const char *path, struct store *st, const struct holdout *h,
                        struct err *err)
{
    struct store_names users = {0}, items = {0};
    int r = store_read_names(st, STORE_SIDE_USERS, &users, err);

    if (r == ERR_OK)
        r = store_read_names(st, STORE_SIDE_ITEMS, &items, err);
    if (r == ERR_OK)
        r = write_pairs(path, h, &users, &items, err);
    store_names_done(&users);
    store_names_done(&items);
    return r;
}

static int find_pairs(struct store *st, const struct tsv_pair *named, size_t n_named,
                      struct store_pair *pairs, size_t *n, struct err *err)
{
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < n_named; i++) {
        char *user = (char *)(uintptr_t)named[i].user, *item = (char *)(uintptr_t)named[i].item;
        struct store_pair pair = {0};

        r = store_find_ids(st, STORE_SIDE_USERS, &user, 1, &pair.uid, err);
        if (r == ERR_OK)
            r = store_find_ids(st, STORE_SIDE_ITEMS, &item, 1, &pair.rid, err);
        if (r == ERR_OK && pair.uid && pair.rid)
            pairs[(*n)++] = pair;
    }
    return r;
}

int retrain_files_read(const char *path, struct store *st, struct store_pair **pairs, size_t *n,
                       struct err *err)
{
    struct tsv_pair *named = NULL;
    struct tsv t;

    if (access(path, F_OK) != 0)
        return ERR_OK;
    int r = tsv_read(path, &t, err);
    if (r != ERR_OK)
        return r;
    r = tsv_cut_pairs(&t, path, &named, err);
    if (r == ERR_OK) {
        struct store_pair *more = reallocarray(*pairs, *n + t.n + 1, sizeof(*more));

        if (more)
            *pairs = more;
        r = more ? find_pairs(st, named, t.n, *pairs, n, err)
                 : err_oom(err, "held-out interactions");
    }
    free(named);
    tsv_done(&t);
    return r;
}

int retrain_files_keep(const struct retrain_paths *paths, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    int r = paths_join(dir, "holdout.tsv", path, err);

    if (r == ERR_OK && rename(paths->holdout, path) != 0)
        r = err_retry(err, EX_IOERR, "%s: rename: %s", path, strerror(errno));
    return r;
}

/* ---- folders of old models ---------------------------------------------------------------- */

bool retrain_files_is_old(int64_t since_us)
{
    return steady_now_us() > since_us + (int64_t)OLD_S * 1000000;
}

static bool is_younger(int parent, const char *folder, int64_t seconds)
{
    struct stat info;

    return fstatat(parent, folder, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
           info.st_mtim.tv_sec + seconds > steady_now_us() / 1000000;
}

static bool is_retired(const struct store_model *m)
{
    return strcmp(m->state, "retired") == 0;
}

/* The same that keep their vectors in the store: the pinned one and the last retired ones. An
 * older one cannot be promoted again; only its row remains. */
static bool is_kept(const struct store_model *models, size_t n, const struct store_model *m,
                    int64_t pinned, int64_t keep)
{
    int64_t n_later = 0;

    if (strcmp(m->state, "rejected") == 0)
        return false;
    if (!is_retired(m) || m->model_id == pinned)
        return true;
    for (size_t i = 0; i < n; i++)
        n_later +=
            is_retired(&models[i]) &&
            (models[i].retired_us > m->retired_us ||
             (models[i].retired_us == m->retired_us && models[i].model_id > m->model_id));
    return n_later < keep;
}

static bool is_of(const struct store_model *m, const char *folder)
{
    size_t n = strlen(folder);

    return strncmp(m->file, folder, n) == 0 && m->file[n] == '/';
}

/* Beside the store lie other people's folders too. */
static bool is_named_by_digest(const char *folder)
{
    const char *digits = folder + strlen(CANDIDATE_FOLDER);

    return strlen(digits) == CANDIDATE_DIGITS &&
           strspn(digits, "0123456789abcdef") == CANDIDATE_DIGITS;
}

/* A folder without any row is left alone while it is young. */
static bool is_wanted(const struct store_model *models, size_t n, int64_t pinned, int64_t keep,
                      int parent, const char *folder)
{
    bool known = false;

    for (size_t i = 0; i < n; i++) {
        if (!is_of(&models[i], folder))
            continue;
        if (is_kept(models, n, &models[i], pinned, keep))
            return true;
        known = true;
    }
    return !known && (!is_named_by_digest(folder) || is_younger(parent, folder, YOUNG_S));
}

static void collect(DIR *d, const struct store_model *models, size_t n, int64_t pinned,
                    int64_t keep)
{
    const struct dirent *entry;

    while ((entry = readdir(d))) {
        const char *name = entry->d_name;
        bool goes = false;

        if (strncmp(name, CANDIDATE_FOLDER, strlen(CANDIDATE_FOLDER)) == 0)
            goes = !is_wanted(models, n, pinned, keep, dirfd(d), name);
        else if (strncmp(name, RETRAIN_BY_HAND, strlen(RETRAIN_BY_HAND)) == 0)
            goes = !is_younger(dirfd(d), name, OLD_S);
        if (goes && remove_flat(dirfd(d), name)) {
            metrics_retained(METRICS_RETAINED_MODEL_FOLDERS, 1);
            log_notice("retraining: removed %s, files of a model that nobody needs any more",
                       name);
        } else if (goes)
            log_warning("retraining: remove the old model in %s: %s", name, strerror(errno));
    }
}

void retrain_files_collect(const struct settings *s, struct store *st)
{
    struct store_model *models = NULL;
    int64_t pinned = 0;
    char dir[PATH_MAX];
    size_t n = 0;
    struct err err;

    if (paths_model_dir(s, dir, &err) != ERR_OK ||
        store_pinned_model(st, &pinned, &err) != ERR_OK ||
        store_model_list(st, MODELS_MAX, &models, &n, &err) != ERR_OK) {
        log_warning("retraining: look for old models: %s", err.text);
        return;
    }
    DIR *d = opendir(dir);
    if (d) {
        collect(d, models, n, pinned, s->store.keep_model_versions);
        (void)closedir(d);
    }
    for (size_t i = 0; i < n; i++)
        store_model_done(&models[i]);
    free(models);
}
