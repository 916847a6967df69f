#include "daemon/model/backup.h"

#include "config/clock.h"
#include "config/infile.h"
#include "config/version.h"
#include "daemon/base/paths.h"
#include "daemon/model/backup_internal.h"
#include "daemon/model/candidate.h"
#include "fusion/file/outfile.h"
#include "store/copy.h"
#include "store/models.h"
#include "store/reading.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 5, MODELS_MAX = 10000, OPEN_AT_ONCE = 8 };
#define METRICS_BYTES_MAX ((int64_t)64 << 20)

struct backup {
    const struct backup_options *o;
    char part[PATH_MAX], models[PATH_MAX], model_dir[PATH_MAX]; /* models: of the copy */
    struct store *live;
    struct store *copy;
    int64_t active_id, pinned_id;
    json_t *files, *missing, *kept;
};

/* ---- files ----------------------------------------------------------------------------------- */

int backup_give(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *err)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), status = ERR_OK;

    if (fd < 0 || fchmod(fd, mode) != 0 ||
        (uid != (uid_t)-1 && geteuid() == 0 && fchown(fd, uid, gid) != 0))
        status = err_fatal(err, EX_IOERR, "%s: owner and mode: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return status;
}

int backup_mkdir(const char *path, struct err *err)
{
    if (mkdir(path, BACKUP_FOLDER_MODE) == 0 || errno == EEXIST)
        return ERR_OK;
    return err_fatal(err, EX_CANTCREAT, "%s: %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

void backup_remove(const char *path)
{
    (void)nftw(path, remove_one, OPEN_AT_ONCE, FTW_DEPTH | FTW_PHYS);
}

/* Not empty, no way out of the folder, nothing that a shell or an `ls` would hide. */
static bool is_plain(const char *name, size_t bytes)
{
    return bytes > 0 && bytes <= NAME_MAX && name[0] != '.' && !memchr(name, '/', bytes);
}

bool backup_is_name(const char *name)
{
    size_t head = strlen(BACKUP_MODELS "/");

    if (strcmp(name, BACKUP_STORE) == 0)
        return true;
    if (strncmp(name, BACKUP_MODELS "/", head) != 0)
        return false;
    const char *first = name + head, *slash = strchr(first, '/');
    return slash ? is_plain(first, (size_t)(slash - first)) &&
                       is_plain(slash + 1, strlen(slash + 1))
                 : is_plain(first, strlen(first));
}

/* Into the list of files. */
static int list_file(struct backup *b, const char *path, const char *name, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    struct stat info;
    int r = backup_give(path, BACKUP_FILE_MODE, (uid_t)-1, (gid_t)-1, err);

    if (r == ERR_OK)
        r = digest_path_hex(path, hex, err);
    if (r == ERR_OK && stat(path, &info) != 0)
        r = err_open(err, EX_IOERR, path, errno);
    if (r != ERR_OK)
        return r;
    json_t *row = json_pack("{s:I, s:s}", "bytes", (json_int_t)info.st_size, "sha256", hex);
    return json_object_set_new(b->files, name, row) == 0 ? ERR_OK
                                                         : err_oom(err, "a backup's files");
}

static const char *listed_digest(const struct backup *b, const char *name)
{
    return json_string_value(json_object_get(json_object_get(b->files, name), "sha256"));
}

/* `name` of a folder that is open, as `file`: "x.safetensors" or "trained-x/model.safetensors". Not through
 * a link: who writes there shall not choose what root copies. ERR_NONE: it is not there. */
static int copy_file(struct backup *b, int dir_fd, const char *name, const char *file,
                     struct err *err)
{
    char to[PATH_MAX], listed[PATH_MAX];
    struct stat info;
    int64_t bytes;
    int in, r = paths_join(b->models, file, to, err);

    if (r == ERR_OK)
        r = paths_join(BACKUP_MODELS, file, listed, err);
    if (r != ERR_OK)
        return r;
    if (fstatat(dir_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
        return ERR_NONE;
    r = infile_open_at(dir_fd, name, &in, &bytes, err);
    if (r != ERR_OK)
        return fstatat(dir_fd, name, &info, 0) != 0 && errno == ENOENT ? ERR_NONE : r;
    r = outfile_copy_fd(in, file, to, err);
    (void)close(in);
    return r == ERR_OK ? list_file(b, to, listed, err) : r;
}

/* ---- a model --------------------------------------------------------------------------------- */

static int copy_folder_files(struct backup *b, DIR *d, const char *folder, struct err *err)
{
    const struct dirent *entry;
    char file[PATH_MAX];
    int r = ERR_OK;

    while ((r == ERR_OK || r == ERR_NONE) && (entry = readdir(d))) {
        if (!is_plain(entry->d_name, strlen(entry->d_name)))
            continue;
        r = paths_join(folder, entry->d_name, file, err);
        if (r == ERR_OK)
            r = copy_file(b, dirfd(d), entry->d_name, file, err);
    }
    return r == ERR_NONE ? ERR_OK : r; /* what is missing is seen by its digest */
}

/* The folder's own list of digests against what was copied: it may have been written anew meanwhile
 * (forget.c). ERR_STALE when they differ. */
static int check_folder(const struct backup *b, const char *folder, struct err *err)
{
    char path[2 * PATH_MAX], name[2 * PATH_MAX], *text = NULL;
    const char *file;
    json_t *digest;
    size_t bytes;

    (void)snprintf(name, sizeof name, "%s/%s/metrics.json", b->models, folder);
    int r = infile_read(name, METRICS_BYTES_MAX, &text, &bytes, err);
    if (r != ERR_OK)
        return r;
    json_t *root = json_loadb(text, bytes, 0, NULL);
    json_object_foreach(json_object_get(root, "files"), file, digest)
    {
        (void)snprintf(path, sizeof path, "%s/%s/%s", BACKUP_MODELS, folder, file);
        const char *copied = listed_digest(b, path), *said = json_string_value(digest);
        if (!copied || !said || strcmp(copied, said) != 0)
            r = ERR_STALE;
    }
    json_decref(root);
    free(text);
    return r;
}

/* ERR_NONE: there is no such folder. ERR_STALE: no two looks at it agree. */
static int copy_folder(struct backup *b, const char *folder, struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    int r = paths_join(b->model_dir, folder, from, err);

    if (r == ERR_OK)
        r = paths_join(b->models, folder, to, err);
    if (r == ERR_OK)
        r = backup_mkdir(to, err);
    for (int i = 0; i < TRIES && (i == 0 || r == ERR_STALE); i++) {
        int fd = open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
        if (!d && fd >= 0)
            (void)close(fd);
        if (!d)
            return errno == ENOENT ? ERR_NONE : err_open(err, EX_IOERR, from, errno);
        r = copy_folder_files(b, d, folder, err);
        (void)closedir(d);
        if (r == ERR_OK)
            r = check_folder(b, folder, err);
    }
    return r;
}

static int copy_model_file(struct backup *b, const char *file, struct err *err)
{
    int fd = open(b->model_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_open(err, EX_IOERR, b->model_dir, errno);
    int r = copy_file(b, fd, file, file, err);
    (void)close(fd);
    return r;
}

/* A trained model has a folder, another one a file. */
static int copy_model_files(struct backup *b, const struct store_model *m, struct err *err)
{
    const char *slash = strchr(m->file, '/');
    char folder[sizeof m->file], name[PATH_MAX];

    (void)snprintf(name, sizeof name, "%s/%s", BACKUP_MODELS, m->file);
    if (!backup_is_name(name)) /* nor does a row choose a place outside */
        return ERR_NONE;
    if (!slash)
        return copy_model_file(b, m->file, err);
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - m->file), m->file);
    return copy_folder(b, folder, err);
}

static int note_missing(struct backup *b, const struct store_model *m, const char *why,
                        struct err *err)
{
    json_t *row = json_pack("{s:I, s:s, s:s}", "model_id", (json_int_t)m->model_id, "file",
                            m->file, "why", why);

    return json_array_append_new(b->missing, row) == 0 ? ERR_OK
                                                       : err_oom(err, "a backup's models");
}

/* What a restart or a rollback takes from its files: those that the store keeps vectors of. */
static int is_needed(struct backup *b, const struct store_model *m, bool *ret_needed,
                     struct err *err)
{
    int64_t n = 0;
    int r = store_count_vectors(b->copy, m->model_id, STORE_SIDE_ITEMS, &n, err);

    *ret_needed = n > 0 || m->model_id == b->active_id || m->model_id == b->pinned_id;
    return r;
}

/* The words for a file that is not what the row says; NULL = it is. */
static const char *fault_of(const struct backup *b, const struct store_model *m, int status,
                            int *ret_code)
{
    char name[PATH_MAX];

    (void)snprintf(name, sizeof name, "%s/%s", BACKUP_MODELS, m->file);
    const char *digest = listed_digest(b, name);
    *ret_code = digest ? EX_DATAERR : EX_NOINPUT;
    if (!digest)
        return "it is not there";
    if (strcmp(digest, m->sha256) != 0)
        return "its SHA-256 is not the one in the store";
    return status == ERR_STALE ? "its folder's metrics.json is of other files" : NULL;
}

static bool models_moved(const struct backup *b)
{
    struct store_model m = {0};
    int r = store_model_active(b->live, &m, NULL);
    int64_t now = m.model_id;

    store_model_done(&m);
    return r == ERR_OK && now != b->active_id;
}

/* ERR_STALE: the models have moved on since the store was copied. */
static int copy_model(struct backup *b, const struct store_model *m, struct err *err)
{
    bool needed = false;
    int code = 0;

    if (!m->file[0] || strcmp(m->state, "rejected") == 0)
        return ERR_OK;
    int r = is_needed(b, m, &needed, err);
    if (r == ERR_OK)
        r = copy_model_files(b, m, err);
    if (r != ERR_OK && r != ERR_NONE && r != ERR_STALE)
        return r;
    const char *fault = fault_of(b, m, r, &code);
    if (!fault)
        return json_array_append_new(b->kept, json_integer((json_int_t)m->model_id)) == 0
                   ? ERR_OK
                   : err_oom(err, "a backup's models");
    if (needed && models_moved(b))
        return ERR_STALE;
    if (m->model_id == b->active_id)
        return err_fatal(err, code,
                         "active model %lld: %s/%s: %s: put it back, or train a new one; "
                         "`metammf snapshot` copies the store alone",
                         (long long)m->model_id, b->model_dir, m->file, fault);
    return needed ? note_missing(b, m, fault, err) : ERR_OK;
}

static int copy_models(struct backup *b, struct err *err)
{
    struct store_model *models = NULL, active = {0};
    size_t n = 0;
    int r = store_model_active(b->copy, &active, err);

    b->active_id = active.model_id;
    store_model_done(&active);
    if (r == ERR_OK || r == ERR_NONE)
        r = store_pinned_model(b->copy, &b->pinned_id, err);
    if (r == ERR_OK)
        r = store_model_list(b->copy, MODELS_MAX, &models, &n, err);
    for (size_t i = 0; i < n; i++) {
        if (r == ERR_OK)
            r = copy_model(b, &models[i], err);
        store_model_done(&models[i]);
    }
    free(models);
    return r;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int begin_again(struct backup *b, struct err *err)
{
    char store[PATH_MAX];
    int r = paths_join(b->part, BACKUP_STORE, store, err);

    json_object_clear(b->files);
    json_array_clear(b->missing);
    json_array_clear(b->kept);
    if (r == ERR_OK) {
        (void)unlink(store);
        backup_remove(b->models);
        r = backup_mkdir(b->models, err);
    }
    if (r == ERR_OK)
        r = store_snapshot(b->live, store, err);
    if (r == ERR_OK)
        r = list_file(b, store, BACKUP_STORE, err);
    if (r == ERR_OK && b->o->copied)
        b->o->copied(b->o->ctx);
    return r == ERR_OK ? store_open(store, STORE_READ, &b->copy, err) : r;
}

static json_t *list_offsets(struct store *st, struct err *err)
{
    struct store_offset_row *rows = NULL;
    json_t *list = json_array();
    size_t n = 0;

    if (store_read_offsets(st, &rows, &n, err) != ERR_OK) {
        json_decref(list);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:I}", "topic", rows[i].topic,
                                              "partition", (int)rows[i].partition,
                                              "next_offset", (json_int_t)rows[i].next_offset));
    store_offsets_free(rows, n);
    return list;
}

static int describe(struct backup *b, int64_t made_us, json_t **ret_manifest, struct err *err)
{
    char generation[STORE_GENERATION_BYTES], cluster[128], made[32];
    struct store_counts c = {0};
    time_t s = (time_t)(made_us / 1000000);
    struct tm tm;
    int r = store_count(b->copy, &c, err);

    if (r == ERR_OK)
        r = store_generation(b->live, generation, err);
    if (r == ERR_OK)
        r = store_meta(b->copy, "cluster_id", cluster, sizeof cluster, err);
    if (r != ERR_OK)
        return r;
    json_t *offsets = list_offsets(b->copy, err);
    if (!offsets)
        return ERR_FATAL;
    (void)strftime(made, sizeof made, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&s, &tm));
    *ret_manifest = json_pack(
        "{s:i, s:s, s:s, s:i, s:s, s:s, s:I, s:{s:I, s:I, s:I, s:I}, s:I, s:O, s:O, s:o, s:O}",
        "format", BACKUP_FORMAT, "version", version_text, "made", made, "schema_version",
        store_schema_version(), "generation", generation, "cluster_id", cluster, "seq",
        (json_int_t)c.last_seq, "counts", "items", (json_int_t)c.n_items, "embeddings",
        (json_int_t)c.n_embeddings, "interactions", (json_int_t)c.n_interactions, "users",
        (json_int_t)c.n_users, "active_model", (json_int_t)b->active_id, "models", b->kept,
        "missing", b->missing, "offsets", offsets, "files", b->files);
    return *ret_manifest ? ERR_OK : err_oom(err, "a backup's manifest");
}

static int write_manifest(const struct backup *b, const json_t *manifest, struct err *err)
{
    char path[PATH_MAX];
    char *text = json_dumps(manifest, JSON_INDENT(1));
    int r = text ? paths_join(b->part, BACKUP_MANIFEST, path, err)
                 : err_oom(err, "a backup's manifest");

    if (r == ERR_OK)
        r = outfile_put(path, text, strlen(text), err);
    free(text);
    return r == ERR_OK ? backup_give(path, BACKUP_FILE_MODE, (uid_t)-1, (gid_t)-1, err) : r;
}

/* Until a copy of the store and the models after it belong together. */
static int copy_all(struct backup *b, json_t **ret_manifest, struct err *err)
{
    int64_t made_us = 0;
    int r = ERR_STALE;

    for (int i = 0; r == ERR_STALE && i < TRIES; i++) {
        made_us = clock_real_us();
        store_close(b->copy);
        b->copy = NULL;
        r = begin_again(b, err);
        if (r == ERR_OK)
            r = copy_models(b, err);
    }
    if (r == ERR_STALE)
        return err_retry(err, EX_TEMPFAIL,
                         "models come and go faster than they can be copied: try again");
    return r == ERR_OK ? describe(b, made_us, ret_manifest, err) : r;
}

static bool is_empty_folder(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *entry = NULL;

    while (d && (entry = readdir(d)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            break;
    bool empty = d && !entry;
    if (d)
        (void)closedir(d);
    return empty;
}

/* Where it can be renamed to in the end. */
static int check_target(const struct backup *b, struct err *err)
{
    struct stat dir, part;

    if (lstat(b->o->dir, &dir) != 0)
        return ERR_OK;
    if (!S_ISDIR(dir.st_mode) || !is_empty_folder(b->o->dir))
        return err_fatal(err, EX_CANTCREAT, "it is there and not empty: give a new name");
    return stat(b->part, &part) == 0 && part.st_dev != dir.st_dev
               ? err_fatal(err, EX_CANTCREAT,
                           "a disk is mounted there: give a new name below it")
               : ERR_OK;
}

/* DIR is free, and nobody else writes DIR.part. *ret_fd holds that. */
static int claim(struct backup *b, int *ret_fd, struct err *err)
{
    size_t n = strlen(b->o->dir);

    while (n > 1 && b->o->dir[n - 1] == '/')
        n--;
    if (n + sizeof ".part" > sizeof b->part)
        return err_fatal(err, EX_USAGE, "the name is too long");
    (void)snprintf(b->part, sizeof b->part, "%.*s.part", (int)n, b->o->dir);
    int r = backup_mkdir(b->part, err);
    if (r != ERR_OK)
        return r;
    *ret_fd = open(b->part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*ret_fd < 0)
        return err_open(err, EX_CANTCREAT, b->part, errno);
    if (flock(*ret_fd, LOCK_EX | LOCK_NB) != 0)
        return err_fatal(err, EX_TEMPFAIL, "another backup is writing %s", b->part);
    r = check_target(b, err);
    if (r != ERR_OK)
        (void)rmdir(b->part);
    if (r == ERR_OK)
        r = backup_give(b->part, BACKUP_FOLDER_MODE, (uid_t)-1, (gid_t)-1, err);
    return r == ERR_OK ? paths_join(b->part, BACKUP_MODELS, b->models, err) : r;
}

static int publish(const struct backup *b, struct err *err)
{
    char folder[PATH_MAX];
    int r = outfile_sync_folder(b->part, err);

    if (r == ERR_OK && rename(b->part, b->o->dir) != 0)
        r = err_fatal(err, EX_CANTCREAT, "rename %s: %s", b->part, strerror(errno));
    (void)snprintf(folder, sizeof folder, "%s", b->part);
    return r == ERR_OK ? outfile_sync_folder(dirname(folder), err) : r;
}

static int open_source(struct backup *b, struct err *err)
{
    int r = paths_model_dir(b->o->settings, b->model_dir, err);

    b->files = json_object();
    b->missing = json_array();
    b->kept = json_array();
    if (!b->files || !b->missing || !b->kept)
        return err_oom(err, "a backup");
    if (r == ERR_OK)
        r = store_check_log(b->o->settings->store.path, err);
    return r == ERR_OK ? store_open(b->o->settings->store.path, STORE_READ, &b->live, err) : r;
}

int backup_take(const struct backup_options *o, struct json_t **ret_manifest, struct err *err)
{
    struct backup b = {.o = o};
    json_t *manifest = NULL;
    int fd = -1;
    int r = open_source(&b, err);

    if (r == ERR_OK)
        r = claim(&b, &fd, err);
    bool claimed = r == ERR_OK;
    if (r == ERR_OK)
        r = copy_all(&b, &manifest, err);
    store_close(b.copy);
    store_close(b.live);
    if (r == ERR_OK)
        r = write_manifest(&b, manifest, err);
    if (r == ERR_OK)
        r = publish(&b, err);
    if (r != ERR_OK && claimed)
        backup_remove(b.part);
    if (fd >= 0)
        (void)close(fd);
    json_decref(b.files);
    json_decref(b.missing);
    json_decref(b.kept);
    if (r == ERR_OK)
        *ret_manifest = manifest;
    else
        json_decref(manifest);
    return r == ERR_OK ? ERR_OK : err_wrap(err, "backup %s", o->dir);
}
