/* A backup in the place where its settings want store and models.
 *
 * Order: all of the backup is read and checked; the place is taken, which no running daemon lets go; the
 * models come first, under names that only models of the same digest have; the store that names them last, by
 * one exchange of names (store/copy.c). What fails before that leaves the old store as it was. */

#include "config/clock.h"
#include "config/infile.h"
#include "daemon/base/paths.h"
#include "daemon/model/backup_internal.h"
#include "fusion/file/outfile.h"
#include "store/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define MANIFEST_BYTES_MAX ((int64_t)64 << 20)

struct restore {
    const struct restore_options *o;
    json_t *manifest, *files, *aside; /* files: of the manifest */
    char store[PATH_MAX];             /* links followed, as the store itself is opened */
    char folder[PATH_MAX], model_dir[PATH_MAX], suffix[48]; /* folder: of the store */
    uid_t uid;                                              /* whose the store's folder is */
    gid_t gid;
};

/* ---- what the backup says -------------------------------------------------------------------- */

static int check_is_folder(const char *dir, struct err *err)
{
    struct stat info;

    if (stat(dir, &info) != 0)
        return err_open(err, EX_NOINPUT, dir, errno);
    return S_ISDIR(info.st_mode)
               ? ERR_OK
               : err_fatal(err, EX_DATAERR,
                           "it is a file, as `metammf snapshot` writes: the store without its "
                           "models; give a folder that `metammf backup` has written");
}

static int check_version(const json_t *manifest, struct err *err)
{
    json_int_t schema = json_integer_value(json_object_get(manifest, "schema_version"));
    const char *version = json_string_value(json_object_get(manifest, "version"));

    if (json_integer_value(json_object_get(manifest, "format")) != BACKUP_FORMAT)
        return err_fatal(err, EX_CONFIG,
                         "it has another form than this program's: install metammfd %s, which "
                         "wrote it, or a later one",
                         version ? version : "?");
    if (schema > 0 && schema <= store_schema_version())
        return ERR_OK;
    return err_fatal(
        err, EX_CONFIG,
        "schema version %lld is newer than this program's %d: install metammfd %s, "
        "which wrote it, or a later one",
        (long long)schema, store_schema_version(), version ? version : "?");
}

static int read_manifest(struct restore *r, struct err *err)
{
    char path[PATH_MAX], *text = NULL;
    size_t bytes;
    int status = check_is_folder(r->o->dir, err);

    if (status == ERR_OK)
        status = paths_join(r->o->dir, BACKUP_MANIFEST, path, err);
    if (status == ERR_OK && access(path, F_OK) != 0 && errno == ENOENT)
        status = err_fatal(err, EX_NOINPUT, "no %s in it: it is no backup, or not a whole one",
                           BACKUP_MANIFEST);
    if (status == ERR_OK)
        status = infile_read(path, MANIFEST_BYTES_MAX, &text, &bytes, err);
    if (status != ERR_OK)
        return status;
    r->manifest = json_loadb(text, bytes, 0, NULL);
    r->files = json_object_get(r->manifest, "files");
    free(text);
    if (!json_is_object(r->files) || !json_object_get(r->files, BACKUP_STORE))
        return err_fatal(err, EX_DATAERR, "%s is damaged: take another backup",
                         BACKUP_MANIFEST);
    return check_version(r->manifest, err);
}

/* ERR_NONE: there is no such file. */
static int is_as_listed(const char *path, const json_t *row, bool *ret_is, struct err *err)
{
    const char *said = json_string_value(json_object_get(row, "sha256"));
    char hex[DIGEST_HEX_BYTES];
    struct stat info;

    if (lstat(path, &info) != 0)
        return errno == ENOENT || errno == ENOTDIR ? ERR_NONE
                                                   : err_open(err, EX_IOERR, path, errno);
    *ret_is = false;
    if (!S_ISREG(info.st_mode))
        return ERR_OK;
    int status = digest_path_hex(path, hex, err);
    *ret_is = said && strcmp(hex, said) == 0;
    return status;
}

static int check_files(const struct restore *r, struct err *err)
{
    char path[PATH_MAX];
    const char *name;
    json_t *row;

    json_object_foreach(r->files, name, row)
    {
        bool is = false;
        int status = backup_is_name(name)
                         ? paths_join(r->o->dir, name, path, err)
                         : err_fatal(err, EX_DATAERR, "\"%s\" is no name of a backup", name);
        if (status == ERR_OK)
            status = is_as_listed(path, row, &is, err);
        if (status == ERR_NONE)
            return err_fatal(err, EX_NOINPUT, "%s is missing: take another backup", name);
        if (status != ERR_OK)
            return status;
        if (!is)
            return err_fatal(err, EX_DATAERR,
                             "%s is damaged: its SHA-256 is not the one in %s: take another "
                             "backup",
                             name, BACKUP_MANIFEST);
    }
    return ERR_OK;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* Entry of the model folder: a file's name, or a folder's. */
static void entry_of(const char *name, char ret_entry[NAME_MAX + 1])
{
    const char *first = name + strlen(BACKUP_MODELS "/");

    (void)snprintf(ret_entry, NAME_MAX + 1, "%.*s", (int)strcspn(first, "/"), first);
}

static bool is_of(const char *name, const char *entry)
{
    char own[NAME_MAX + 1];

    if (strcmp(name, BACKUP_STORE) == 0)
        return false;
    entry_of(name, own);
    return strcmp(own, entry) == 0;
}

/* `name` of the backup below `base`, where base stands for entry. */
static int path_below(const char *base, const char *entry, const char *name,
                      char ret_path[PATH_MAX], struct err *err)
{
    const char *rest = name + strlen(BACKUP_MODELS "/") + strlen(entry);

    if (*rest == '/')
        return paths_join(base, rest + 1, ret_path, err);
    if ((size_t)snprintf(ret_path, PATH_MAX, "%s", base) < PATH_MAX)
        return ERR_OK;
    return err_fatal(err, EX_CONFIG, "path %.200s…: too long", base);
}

/* Whether what is there under the entry's name is what the backup has: then it stays. */
static int is_there(const struct restore *r, const char *entry, bool *ret_same, bool *ret_other,
                    struct err *err)
{
    char base[PATH_MAX], path[PATH_MAX];
    struct stat info;
    const char *name;
    json_t *row;
    int status = paths_join(r->model_dir, entry, base, err);

    *ret_same = *ret_other = false;
    if (status != ERR_OK || lstat(base, &info) != 0)
        return status;
    *ret_same = true;
    json_object_foreach(r->files, name, row)
    {
        bool is = false;
        if (!is_of(name, entry) || status != ERR_OK)
            continue;
        status = path_below(base, entry, name, path, err);
        if (status == ERR_OK)
            status = is_as_listed(path, row, &is, err);
        status = status == ERR_NONE ? ERR_OK : status;
        *ret_same = *ret_same && is;
    }
    *ret_other = !*ret_same;
    return status;
}

/* And is what was checked: whoever owns the backup may have changed it since. */
static int copy_listed(const struct restore *r, const char *from, const char *to,
                       const json_t *row, struct err *err)
{
    bool is = false;
    int status = outfile_copy(from, to, err);

    if (status == ERR_OK)
        status = backup_give(to, BACKUP_FILE_MODE, (uid_t)-1, (gid_t)-1, err);
    if (status == ERR_OK)
        status = is_as_listed(to, row, &is, err);
    if (status == ERR_OK && !is)
        status =
            err_fatal(err, EX_DATAERR, "%s was changed while it was copied: try again", from);
    if (status == ERR_OK)
        status = backup_give(to, BACKUP_FILE_MODE, r->uid, r->gid, err);
    return status == ERR_NONE ? err_fatal(err, EX_IOERR, "%s: it is gone again", to) : status;
}

static int copy_entry(const struct restore *r, const char *entry, const char *base,
                      struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    const char *name;
    json_t *row;
    int status = ERR_OK;

    json_object_foreach(r->files, name, row)
    {
        if (!is_of(name, entry) || status != ERR_OK)
            continue;
        bool in_folder = name[strlen(BACKUP_MODELS "/") + strlen(entry)] == '/';
        status = in_folder ? backup_mkdir(base, err) : ERR_OK;
        if (status == ERR_OK)
            status = paths_join(r->o->dir, name, from, err);
        if (status == ERR_OK)
            status = path_below(base, entry, name, to, err);
        if (status == ERR_OK)
            status = copy_listed(r, from, to, row, err);
        if (status == ERR_OK && in_folder)
            status = backup_give(base, BACKUP_FOLDER_MODE, r->uid, r->gid, err);
    }
    return status;
}

static int set_aside(const struct restore *r, const char *path, struct err *err)
{
    char to[PATH_MAX];

    if ((size_t)snprintf(to, sizeof to, "%s%s", path, r->suffix) >= sizeof to ||
        (renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) != 0 &&
         (errno != EINVAL ||
          rename(path, to) != 0))) /* a file system that has no such rename */
        return err_fatal(err, EX_IOERR, "%s: set aside: %s", path, strerror(errno));
    return json_array_append_new(r->aside, json_string(to)) == 0
               ? ERR_OK
               : err_oom(err, "what a restore sets aside");
}

/* Under a name that a daemon removes when it is a week old, then under its own. */
static int place_entry(const struct restore *r, const char *entry, struct err *err)
{
    char part[PATH_MAX], base[PATH_MAX];
    bool same, other;
    int status = is_there(r, entry, &same, &other, err);

    if (status != ERR_OK || same)
        return status;
    status = paths_join(r->model_dir, entry, base, err);
    if (status == ERR_OK)
        status = paths_join(r->model_dir, RESTORE_PART, part, err);
    if (status != ERR_OK)
        return status;
    backup_remove(part);
    status = copy_entry(r, entry, part, err);
    if (status == ERR_OK && other)
        status = set_aside(r, base, err);
    if (status == ERR_OK && rename(part, base) != 0)
        status = err_fatal(err, EX_IOERR, "%s: rename: %s", base, strerror(errno));
    if (status != ERR_OK)
        backup_remove(part);
    return status;
}

/* Each entry of the model folder once: by its first name, since a folder's names lie together. */
static int each_entry(const struct restore *r,
                      int (*fn)(const struct restore *r, const char *entry, struct err *err),
                      struct err *err)
{
    char entry[NAME_MAX + 1], last[NAME_MAX + 1] = "";
    const char *name;
    json_t *row;
    int status = ERR_OK;

    json_object_foreach(r->files, name, row)
    {
        (void)row;
        if (status != ERR_OK || strcmp(name, BACKUP_STORE) == 0)
            continue;
        entry_of(name, entry);
        if (strcmp(entry, last) != 0)
            status = fn(r, entry, err);
        memcpy(last, entry, sizeof last);
    }
    return status;
}

static int check_entry(const struct restore *r, const char *entry, struct err *err)
{
    bool same, other;
    int status = is_there(r, entry, &same, &other, err);

    return status == ERR_OK && other
               ? err_fatal(err, EX_CANTCREAT,
                           "%s/%s: there is another one: --force sets it aside", r->model_dir,
                           entry)
               : status;
}

/* ---- the store ------------------------------------------------------------------------------- */

static int place_store(const struct restore *r, struct store_place *place, struct err *err)
{
    const char *made = json_string_value(json_object_get(r->manifest, "made"));
    const char *path = r->store;
    char from[PATH_MAX], copy[PATH_MAX], aside[PATH_MAX];
    bool any = false;
    int status = paths_join(r->o->dir, BACKUP_STORE, from, err);

    if (status != ERR_OK)
        return status;
    if ((size_t)snprintf(copy, sizeof copy, "%s.restoring", path) >= sizeof copy ||
        (size_t)snprintf(aside, sizeof aside, "%s%s", path, r->suffix) >= sizeof aside)
        return err_fatal(err, EX_CONFIG, "path %.200s…: too long", path);
    status = copy_listed(r, from, copy, json_object_get(r->files, BACKUP_STORE), err);
    if (status == ERR_OK)
        status = store_place_put(place, copy, made ? made : "?", aside, &any, err);
    if (status != ERR_OK)
        (void)unlink(copy);
    if (status == ERR_OK && any)
        (void)json_array_append_new(r->aside, json_string(aside));
    return status;
}

static void give_lock(const struct restore *r)
{
    char path[PATH_MAX + sizeof ".lock"];

    (void)snprintf(path, sizeof path, "%s.lock", r->store);
    (void)backup_give(path, BACKUP_FILE_MODE, r->uid, r->gid,
                      NULL); /* made by us, or as it was */
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The last folder of a path, where it is missing, and whose it is then. */
static int make_folder(const char *path, uid_t uid, gid_t gid, struct err *err)
{
    if (mkdir(path, BACKUP_FOLDER_MODE) == 0)
        return backup_give(path, BACKUP_FOLDER_MODE, uid, gid, err);
    return backup_mkdir(path, err);
}

static void folder_of(const char *path, char ret_folder[PATH_MAX])
{
    char copy[PATH_MAX];

    (void)snprintf(copy, sizeof copy, "%s", path);
    (void)snprintf(ret_folder, PATH_MAX, "%s", dirname(copy));
}

/* A new one belongs to the owner of the folder that it is made in. */
static int prepare_store_folder(struct restore *r, struct err *err)
{
    const char *path = r->o->settings->store.path;
    char parent[PATH_MAX], *real = realpath(path, NULL);
    struct stat info;

    (void)snprintf(r->store, sizeof r->store, "%s", real ? real : path);
    free(real);
    folder_of(r->store, r->folder);
    folder_of(r->folder, parent);
    if (stat(parent, &info) != 0)
        return err_open(err, EX_CANTCREAT, parent, errno);
    int status = make_folder(r->folder, info.st_uid, info.st_gid, err);
    if (status == ERR_OK && stat(r->folder, &info) != 0)
        status = err_open(err, EX_IOERR, r->folder, errno);
    r->uid = info.st_uid;
    r->gid = info.st_gid;
    return status;
}

/* Of names that nothing has: there may be two restores in one second. */
static void name_aside(struct restore *r)
{
    time_t s = (time_t)(clock_real_us() / 1000000);
    char when[32], path[PATH_MAX + sizeof r->suffix];
    struct stat info;
    struct tm tm;

    (void)strftime(when, sizeof when, ".before-%Y%m%dT%H%M%S", gmtime_r(&s, &tm));
    (void)snprintf(r->suffix, sizeof r->suffix, "%sZ", when);
    for (int i = 2;; i++) {
        (void)snprintf(path, sizeof path, "%s%s", r->store, r->suffix);
        if (lstat(path, &info) != 0)
            return;
        (void)snprintf(r->suffix, sizeof r->suffix, "%s.%dZ", when, i);
    }
}

static int prepare_folders(struct restore *r, struct err *err)
{
    int status = prepare_store_folder(r, err);
    name_aside(r);
    if (status == ERR_OK)
        status = paths_model_dir(r->o->settings, r->model_dir, err);
    if (status == ERR_OK)
        status = make_folder(r->model_dir, r->uid, r->gid, err);
    if (status != ERR_OK)
        return status;
    r->aside = json_array();
    return r->aside ? ERR_OK : err_oom(err, "a restore");
}

static int put_in_place(struct restore *r, struct err *err)
{
    struct store_place *place = NULL;
    int status = store_place_take(r->o->settings->store.path, r->o->force, &place, err);

    if (status == ERR_OK)
        give_lock(r);
    if (status == ERR_FATAL && err->exit_code == EX_TEMPFAIL)
        err_wrap(err, "stop the daemon first");
    if (status == ERR_OK && !r->o->force)
        status = each_entry(r, check_entry, err);
    if (status == ERR_OK)
        status = each_entry(r, place_entry, err);
    if (status == ERR_OK)
        status = outfile_sync_folder(r->model_dir, err);
    if (status == ERR_OK)
        status = place_store(r, place, err);
    store_place_give(place);
    return status;
}

int restore_put(const struct restore_options *o, struct json_t **ret_report, struct err *err)
{
    struct restore r = {.o = o};
    int status = read_manifest(&r, err);

    if (status == ERR_OK)
        status = check_files(&r, err);
    if (status != ERR_OK)
        (void)err_wrap(err, "backup %s", o->dir);
    if (status == ERR_OK)
        status = prepare_folders(&r, err);
    if (status == ERR_OK)
        status = put_in_place(&r, err);
    if (status == ERR_OK && json_object_set(r.manifest, "aside", r.aside) != 0)
        status = err_oom(err, "a restore's report");
    json_decref(r.aside);
    if (status == ERR_OK)
        *ret_report = r.manifest;
    else
        json_decref(r.manifest);
    return status;
}
