/* Opening and closing.
 *
 * One process writes (lock.c). SQLite before 3.51.3 may corrupt a WAL which two connections reset at once, so
 * the writer alone checkpoints: readers open read-only with NO_CKPT_ON_CLOSE.
 *
 * The writer leaves -wal and -shm behind (PERSIST_WAL): a reader that may not write into the
 * folder needs them to exist, with the daemon up, after a clean stop and after a kill.
 *
 * Failure: an error while opening leaves no handle and no lock. Files are made with the
 * caller's umask.
 */

#include "store/copy.h"
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define WRITER_PRAGMAS                                                                         \
    "PRAGMA page_size=4096;"                                                                   \
    "PRAGMA cell_size_check=ON;"                                                               \
    "PRAGMA trusted_schema=OFF;"                                                               \
    "PRAGMA mmap_size=0;"                                                                      \
    "PRAGMA journal_mode=WAL;"                                                                 \
    "PRAGMA synchronous=FULL;"                                                                 \
    "PRAGMA wal_autocheckpoint=1000;"                                                          \
    "PRAGMA journal_size_limit=67108864;"                                                      \
    "PRAGMA secure_delete=ON;"                                                                 \
    "PRAGMA foreign_keys=ON;"
#define READER_PRAGMAS                                                                         \
    "PRAGMA query_only=ON;"                                                                    \
    "PRAGMA cell_size_check=ON;"                                                               \
    "PRAGMA trusted_schema=OFF;"                                                               \
    "PRAGMA mmap_size=0;"
#define WRITER_BUSY_MS 5000
#define READER_BUSY_MS 2000

static int set_option(struct store *st, int op, int on, const char *what, struct err *err)
{
    if (sqlite3_db_config(st->db, op, on, NULL) != SQLITE_OK)
        return store_fail(st, err, what);
    return ERR_OK;
}

/* SQLite would open a file that we may only read, and fail at the first write. */
static int check_writable(const struct store *st, struct err *err)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", st->path, suffixes[i]);
        if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0 && errno != ENOENT)
            return store_denied("store", path, errno, err);
    }
    return ERR_OK;
}

static int open_writer(struct store *st, struct err *err)
{
    int version = 0;
    int persist = 1;
    struct store_lock lock = {.fd = -1};
    int status = store_lock_take(st->path, &lock, err);

    st->lock_fd = lock.fd;
    if (status == ERR_OK)
        status = check_writable(st, err);
    if (status == ERR_OK)
        status = store_check_wal(st->path, lock.generation, err);
    if (status != ERR_OK)
        return status;
    if (sqlite3_open_v2(st->path, &st->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return st->db ? store_fail(st, err, "open") : err_oom(err, "store: open");
    (void)sqlite3_extended_result_codes(st->db, 1);
    (void)sqlite3_busy_timeout(st->db, WRITER_BUSY_MS);
    /* whose file it is, before anything is changed in it */
    status = store_schema_check(st, store_n_migrations, &version, err);
    if (status == ERR_OK)
        status = set_option(st, SQLITE_DBCONFIG_DEFENSIVE, 1, "set defensive mode", err);
    if (status == ERR_OK)
        status = store_exec(st, WRITER_PRAGMAS, "set the pragmas", err);
    if (status == ERR_OK &&
        sqlite3_file_control(st->db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist) != SQLITE_OK)
        status = store_fail(st, err, "keep the WAL file");
    /* it reads the whole file, 2,377 MB in 7.2 s under load: only when the last writer did not end
     * in good order (docs/design/store/303-quick-check.md) */
    if (status == ERR_OK && !lock.as_left)
        status = store_quick_check(st, err);
    if (status == ERR_OK)
        status = store_migrate(st, store_migrations, store_n_migrations, err);
    if (status == ERR_OK)
        status = store_forget_key_make(st, err);
    if (status == ERR_OK)
        status = store_generation(st, st->generation, err);
    return status == ERR_OK ? store_lock_note(st->path, st->lock_fd, st->generation, err)
                            : status;
}

static int open_reader(struct store *st, struct err *err)
{
    int version = 0;

    if (access(st->path, F_OK) != 0)
        return err_fatal(err, errno == ENOENT ? EX_NOINPUT : EX_IOERR,
                         "store %s: open: %s; start metammfd, or `metammf ingest` to make one",
                         st->path, strerror(errno));
    if (sqlite3_open_v2(st->path, &st->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return st->db ? store_fail(st, err, "open") : err_oom(err, "store: open");
    (void)sqlite3_extended_result_codes(st->db, 1);
    (void)sqlite3_busy_timeout(st->db, READER_BUSY_MS);
    int status =
        set_option(st, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, "switch checkpoints off", err);
    if (status == ERR_OK)
        status = store_schema_check(st, store_n_migrations, &version, err);
    if (status != ERR_OK && store_check_log(st->path, err) != ERR_OK)
        return ERR_FATAL;
    if (status == ERR_OK && version != store_n_migrations)
        return err_fatal(err, EX_CONFIG,
                         "store %s: schema version %d, this program reads %d; start metammfd "
                         "once, it migrates the file",
                         st->path, version, store_n_migrations);
    if (status == ERR_OK)
        status = store_exec(st, READER_PRAGMAS, "set the pragmas", err);
    return status;
}

/* A rollback must not need memory. */
static int prepare_rollback(struct store *st, struct err *err)
{
    struct query q = query_begin(st, SQL_ROLLBACK);

    if (!q.stmt)
        return store_fail(st, err, "prepare a statement");
    query_end(&q);
    return ERR_OK;
}

/* The lock follows symbolic links, as SQLite's own files do. */
static char *resolve(const char *path)
{
    char *real = realpath(path, NULL);

    return real || errno != ENOENT ? real : strdup(path);
}

int store_open(const char *path, enum store_mode mode, struct store **ret_st, struct err *err)
{
    struct store *st = calloc(1, sizeof *st);

    if (!st)
        return err_oom(err, "store: open");
    st->lock_fd = -1;
    st->mode = mode;
    st->path = resolve(path);
    if (!st->path) {
        int status = errno == ENOMEM ? err_oom(err, "store: open")
                                     : err_fatal(err, err_exit_code(errno, EX_IOERR),
                                                 "store %s: resolve the path: %s; check the "
                                                 "folder's owner and mode",
                                                 path, strerror(errno));
        store_close(st);
        return status;
    }
    int status = mode == STORE_WRITE ? open_writer(st, err) : open_reader(st, err);
    if (status == ERR_OK)
        status = prepare_rollback(st, err);
    if (status != ERR_OK) {
        store_close(st);
        return status;
    }
    st->is_sound = true;
    *ret_st = st;
    return ERR_OK;
}

void store_close(struct store *st)
{
    if (!st)
        return;
    bool is_sound = st->is_sound && !st->rollback_due;
    for (int i = 0; i < SQL_ID_COUNT; i++)
        (void)sqlite3_finalize(st->stmt[i]); /* repeats an error already reported */
    /* a failed checkpoint is done by the next writer */
    is_sound &= sqlite3_close_v2(st->db) == SQLITE_OK;
    if (st->lock_fd >= 0) /* after the database: the lock covers its last write */
        store_lock_give(st->path, st->lock_fd, is_sound, st->generation);
    free(st->rids);
    free(st->scratch);
    free(st->path);
    free(st);
}

int store_keep_pages(struct store *st, int64_t bytes, struct err *err)
{
    char sql[64];

    (void)snprintf(sql, sizeof sql, "PRAGMA cache_size = -%lld", (long long)(bytes / 1024));
    return store_exec(st, sql, "set the size of the page cache", err);
}

static int run_at_once(void *ctx, store_work_fn *work, void *arg, struct err *err)
{
    return work(ctx, arg, err);
}

struct store_writer store_writer_of(struct store *st)
{
    return (struct store_writer){run_at_once, st};
}
