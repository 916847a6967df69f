/* Copies of the whole store, and a copy in the place of the store.
 *
 * Which store it is. Every copy gets a generation of its own, and the lock file keeps that of the store
 * whose writer has it. So a file that somebody has put beside the log of writes of another one is seen
 * before SQLite reads the two as one: then rows of both would be mixed, or the file would be undone
 * in silence where the log holds all pages.
 *
 * The place. A copy comes into it by one exchange of two names, after the log of the store that was there
 * has been written back and taken away. A crash in between leaves the old store or the new one under the name,
 * and all that was there under other names.
 */

#include "store/copy.h"

#include "config/clock.h"
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define META_GENERATION "generation"
#define META_RESTORED   "restored"

enum { WAL_HEADER_BYTES = 32 };

/* ---- folders -------------------------------------------------------------------------------- */

/* The directory's entry as well as the bytes. */
static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    (void)close(fd);
    return rc;
}

static int sync_folder(const char *path)
{
    char *copy = strdup(path);
    int rc = copy ? sync_path(dirname(copy), O_RDONLY | O_DIRECTORY) : -1;

    free(copy);
    return rc;
}

/* ---- which store it is ---------------------------------------------------------------------- */

static int stamp_error(sqlite3 *db, const char *path, struct err *err)
{
    int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;

    return code == SQLITE_NOMEM
               ? err_oom(err, "store: stamp a copy")
               : err_fatal(
                     err,
                     code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? EX_DATAERR : EX_IOERR,
                     "store copy %s: %s: %s", path, "name its generation", sqlite3_errmsg(db));
}

/* A copy of a version before 12 has no generation yet; the step to 12 gives it one. */
static int stamp(sqlite3 *db, const char *restored)
{
    static const char sql[] =
        "PRAGMA journal_mode=MEMORY;" /* a journal that a kill leaves would be played into the next copy */
        "BEGIN IMMEDIATE;"
        "UPDATE meta SET value = lower(hex(randomblob(16))) WHERE name = 'generation';"
        "UPDATE meta SET value = (julianday('now') - 2440587.5) * 86400000.0"
        " WHERE name = 'generation_ms';"
        "DELETE FROM meta WHERE name = '" META_RESTORED "'";
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

    if (rc == SQLITE_OK && restored)
        rc = sqlite3_prepare_v2(db,
                                "INSERT INTO meta(name, value) VALUES('" META_RESTORED "', ?1)",
                                -1, &stmt, NULL);
    if (rc == SQLITE_OK && restored)
        rc = sqlite3_bind_text(stmt, 1, restored, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && restored)
        rc = sqlite3_step(stmt) == SQLITE_DONE ? SQLITE_OK : SQLITE_ERROR;
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
}

/* A copy is another store from here on: a new generation. restored: of when it was, put back; NULL = it is not put
 * back. */
static int stamp_copy(const char *path, const char *restored, struct err *err)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    int status = ERR_OK;

    if (rc == SQLITE_OK)
        rc = stamp(db, restored);
    if (rc != SQLITE_OK)
        status = stamp_error(db, path, err);
    (void)sqlite3_close_v2(db); /* nothing is under way */
    return status;
}

int store_meta(struct store *st, const char *name, char *ret_text, size_t bytes,
               struct err *err)
{
    struct query q = query_begin(st, SQL_META_FIND);

    query_text(&q, name);
    int status = query_row(&q, "read what is known of the store", err);
    if (status != ERR_OK && status != ERR_NONE)
        return status;
    ret_text[0] = '\0';
    if (status == ERR_OK)
        query_column_word(&q, 0, ret_text, bytes);
    query_end(&q);
    return ERR_OK;
}

int store_generation(struct store *st, char ret_generation[STORE_GENERATION_BYTES],
                     struct err *err)
{
    return store_meta(st, META_GENERATION, ret_generation, STORE_GENERATION_BYTES, err);
}

int store_take_restored(struct store *st, char *ret_text, size_t bytes, struct err *err)
{
    int status = store_meta(st, META_RESTORED, ret_text, bytes, err);

    if (status != ERR_OK || !ret_text[0])
        return status;
    struct query q = query_begin(st, SQL_META_DROP);
    query_text(&q, META_RESTORED);
    return query_run(&q, "note that a restore was told", err);
}

int store_schema_version(void)
{
    return store_n_migrations;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

/* Under its final name the snapshot is complete or absent. */
static int snapshot_publish(const char *part, const char *path, struct err *err)
{
    if (sync_path(part, O_RDONLY) != 0 ||
        renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) != 0 ||
        sync_folder(path) != 0)
        return err_fatal(err, EX_IOERR,
                         "snapshot %s: write: %s; check the disk, or give a new "
                         "name",
                         path, strerror(errno));
    return ERR_OK;
}

/* VACUUM INTO changes nothing in the store, but query_only refuses every VACUUM. The connection of
 * a reader stays read-only either way. */
static int snapshot_write(struct store *st, const char *part, struct err *err)
{
    int status = ERR_OK;

    if (st->mode == STORE_READ)
        status = store_exec(st, "PRAGMA query_only=OFF", "set the pragmas", err);
    if (status != ERR_OK)
        return status;
    struct query q = query_begin(st, SQL_SNAPSHOT);
    query_text(&q, part);
    status = query_run(&q, "write a snapshot", err);
    if (status != ERR_OK && (sqlite3_extended_errcode(st->db) & 0xff) == SQLITE_FULL)
        status =
            err_retry(err, EX_IOERR, "no room on its disk: free some, or give another one");
    if (st->mode == STORE_READ) {
        int again = store_exec(st, "PRAGMA query_only=ON", "set the pragmas", NULL);

        if (status == ERR_OK && again != ERR_OK)
            status = store_fail(st, err, "set the pragmas");
    }
    return status;
}

int store_snapshot(struct store *st, const char *path, struct err *err)
{
    char *part = NULL;

    if (access(path, F_OK) == 0)
        return err_fatal(err, EX_IOERR, "snapshot %s: the file exists; give a new name", path);
    if (asprintf(&part, "%s.part", path) < 0)
        return err_oom(err, "store: name the snapshot");
    (void)unlink(part); /* of a try that was killed */
    int status = snapshot_write(st, part, err);
    if (status == ERR_OK)
        status = stamp_copy(part, NULL, err);
    if (status == ERR_OK)
        status = snapshot_publish(part, path, err);
    else
        (void)err_wrap(err, "snapshot %s", path);
    if (status != ERR_OK)
        (void)unlink(part);
    free(part);
    return status;
}

/* ---- a log of writes beside another file ----------------------------------------------------- */

/* For a URI: what has a meaning there. malloc'ed. */
static char *print_uri(const char *path)
{
    char *uri = malloc(3 * strlen(path) + sizeof "file:?immutable=1"), *to = uri;

    if (!uri)
        return NULL;
    to = stpcpy(to, "file:");
    for (; *path; path++) {
        if (strchr("%?#", *path))
            to += sprintf(to, "%%%02X", (unsigned char)*path);
        else
            *to++ = *path;
    }
    (void)stpcpy(to, "?immutable=1");
    return uri;
}

/* What the file itself says, without its log: "" when it says nothing, as before the first checkpoint. */
static void file_generation(const char *path, char ret[STORE_GENERATION_BYTES])
{
    char *uri = print_uri(path);
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;

    ret[0] = '\0';
    if (uri &&
        sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
                        NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE name = '" META_GENERATION "'", -1,
                           &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_text(stmt, 0))
        (void)snprintf(ret, STORE_GENERATION_BYTES, "%s",
                       (const char *)sqlite3_column_text(stmt, 0));
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close_v2(db);
    free(uri);
}

static bool has_wal(const char *path)
{
    char name[PATH_MAX];
    struct stat s;

    (void)snprintf(name, sizeof name, "%s-wal", path);
    return stat(name, &s) == 0 && s.st_size > WAL_HEADER_BYTES;
}

static bool wal_is_foreign(const char *path, const char *generation)
{
    char of_file[STORE_GENERATION_BYTES];

    if (!generation[0] || !has_wal(path))
        return false;
    file_generation(path, of_file);
    return of_file[0] && strcmp(of_file, generation) != 0;
}

int store_check_wal(const char *path, const char *generation, struct err *err)
{
    if (!wal_is_foreign(path, generation))
        return ERR_OK;
    return err_fatal(err, EX_DATAERR,
                     "store %s: another file has been put here, but %s-wal is of the old one: "
                     "remove %s-wal and %s-shm, or use `metammf restore --force`",
                     path, path, path, path);
}

int store_check_log(const char *path, struct err *err)
{
    char generation[STORE_GENERATION_BYTES];

    store_lock_read(path, generation);
    return store_check_wal(path, generation, err);
}

/* ---- the place of a store --------------------------------------------------------------------- */

struct store_place {
    char *path;
    struct store_lock lock;
};

static bool is_taken(const char *path)
{
    struct stat s;

    return lstat(path, &s) == 0 || has_wal(path);
}

int store_place_take(const char *path, bool force, struct store_place **ret_p, struct err *err)
{
    struct store_place *p = calloc(1, sizeof *p);
    int status;

    if (p)
        p->path = realpath(path, NULL); /* as store_open: through a link */
    if (p && !p->path)
        p->path = strdup(path);
    if (!p || !p->path) {
        free(p);
        return err_oom(err, "store: take its place");
    }
    p->lock.fd = -1;
    status = store_lock_take(p->path, &p->lock, err);
    if (status == ERR_OK && !force && is_taken(p->path))
        status =
            err_fatal(err, EX_CANTCREAT,
                      "store %s: there is one already: --force sets it aside, or give another "
                      "path",
                      path);
    if (status != ERR_OK) {
        store_place_give(p);
        return status;
    }
    *ret_p = p;
    return ERR_OK;
}

/* So that what was there is one file. A store that is damaged keeps its pieces. */
static void write_log_back(const struct store_place *p)
{
    sqlite3 *db = NULL;

    if (!has_wal(p->path))
        return;
    if (sqlite3_open_v2(p->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
        SQLITE_OK)
        (void)sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    (void)sqlite3_close_v2(db);
}

/* path + suffix to aside + as; ENOENT is no fault. */
static int set_aside(const char *path, const char *suffix, const char *aside, const char *as,
                     bool *any, struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];

    (void)snprintf(from, sizeof from, "%s%s", path, suffix);
    (void)snprintf(to, sizeof to, "%s%s", aside, as);
    int moved = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    if (moved != 0 && errno == EINVAL) /* a file system that has no such rename */
        moved = access(to, F_OK) != 0 ? rename(from, to) : -1;
    if (moved == 0) {
        *any = true;
        return ERR_OK;
    }
    return errno == ENOENT ? ERR_OK
                           : err_fatal(err, EX_IOERR, "store %s: set aside as %s: %s", from, to,
                                       strerror(errno));
}

/* Where names cannot be exchanged, the place is empty for a moment. */
static int exchange(const struct store_place *p, const char *copy, const char *aside, bool *any,
                    struct err *err)
{
    bool moved = false;

    if (renameat2(AT_FDCWD, copy, AT_FDCWD, p->path, RENAME_EXCHANGE) == 0) {
        int kept = set_aside(copy, "", aside, "", any, err);
        if (kept != ERR_OK) /* under the copy's name the old store would go with it */
            (void)renameat2(AT_FDCWD, copy, AT_FDCWD, p->path, RENAME_EXCHANGE);
        return kept;
    }
    int status = set_aside(p->path, "", aside, "", &moved, err);
    if (status == ERR_OK)
        *any |= moved;
    if (status == ERR_OK && rename(copy, p->path) != 0)
        status = err_fatal(err, EX_IOERR, "store %s: rename: %s", p->path, strerror(errno));
    return status;
}

int store_place_put(struct store_place *p, const char *copy, const char *made,
                    const char *aside, bool *ret_aside, struct err *err)
{
    bool any = false;
    int status = stamp_copy(copy, made, err);

    if (status == ERR_OK && sync_path(copy, O_RDONLY) != 0)
        status = err_fatal(err, EX_IOERR, "store copy %s: %s", copy, strerror(errno));
    if (status != ERR_OK)
        return status;
    /* the log of another store gets a name under which nobody reads it with this one */
    bool foreign = wal_is_foreign(p->path, p->lock.generation);
    if (!foreign)
        write_log_back(p);
    status = set_aside(p->path, "-wal", aside, foreign ? "-wal.other" : "-wal", &any, err);
    if (status == ERR_OK)
        status = set_aside(p->path, "-shm", aside, foreign ? "-shm.other" : "-shm", &any, err);
    if (status == ERR_OK)
        status = exchange(p, copy, aside, &any, err);
    if (status == ERR_OK && sync_folder(p->path) != 0)
        status =
            err_fatal(err, EX_IOERR, "store %s: sync its folder: %s", p->path, strerror(errno));
    if (status == ERR_OK)
        *ret_aside = any;
    return status;
}

void store_place_give(struct store_place *p)
{
    if (!p)
        return;
    if (p->lock.fd >= 0)
        store_lock_clear(p->lock.fd);
    free(p->path);
    free(p);
}
