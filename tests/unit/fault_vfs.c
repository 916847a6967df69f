#include "fault_vfs.h"

#include <assert.h>
#include <sqlite3.h>
#include <string.h>

struct fault_file {
    sqlite3_file base; /* first: SQLite sees this */
    sqlite3_file *real;
};

static struct fault armed = {.at = -1};
static int64_t n_points[2];
static bool tripped;
static sqlite3_vfs layer;
static sqlite3_mem_methods real_mem;

void fault_arm(const struct fault *f)
{
    armed = f ? *f : (struct fault){.at = -1};
    n_points[FAULT_IO] = 0;
    n_points[FAULT_MEMORY] = 0;
    tripped = false;
}

int64_t fault_points(enum fault_kind kind)
{
    return n_points[kind];
}

bool fault_tripped(void)
{
    return tripped;
}

/* Counts one point; true when it has to fail. */
static bool hit(enum fault_kind kind)
{
    int64_t point = n_points[kind]++;

    if (armed.at < 0 || armed.kind != kind)
        return false;
    bool fails = point == armed.at || (armed.persistent && point > armed.at);
    tripped = tripped || fails;
    return fails;
}

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct fault_file *)(void *)f)->real;
}

static int f_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real_of(f)->pMethods->xRead(real_of(f), p, n, at);
}

static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    if (!hit(FAULT_IO))
        return real_of(f)->pMethods->xWrite(real_of(f), p, n, at);
    if (armed.code == SQLITE_FULL)
        return SQLITE_FULL;
    (void)real_of(f)->pMethods->xWrite(real_of(f), p, n / 2, at);
    return SQLITE_IOERR_WRITE;
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    if (hit(FAULT_IO))
        return armed.code == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_TRUNCATE;
    return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    (void)f;
    (void)flags;
    if (hit(FAULT_IO))
        return armed.code == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_FSYNC;
    return SQLITE_OK;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int f_reserved(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int f_traits(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
    return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, p);
}

static int f_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), at, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int f_shm_unmap(sqlite3_file *f, int delete_it)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), delete_it);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = f_close,
    .xRead = f_read,
    .xWrite = f_write,
    .xTruncate = f_truncate,
    .xSync = f_sync,
    .xFileSize = f_size,
    .xLock = f_lock,
    .xUnlock = f_unlock,
    .xCheckReservedLock = f_reserved,
    .xFileControl = f_control,
    .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_traits,
    .xShmMap = f_shm_map,
    .xShmLock = f_shm_lock,
    .xShmBarrier = f_shm_barrier,
    .xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
    sqlite3_vfs *below = vfs->pAppData;
    struct fault_file *ff = (struct fault_file *)(void *)f;

    ff->real = (sqlite3_file *)(void *)(ff + 1);
    int rc = below->xOpen(below, name, ff->real, flags, out);
    f->pMethods = ff->real->pMethods ? &methods : NULL;
    return rc;
}

static void *m_malloc(int n)
{
    return hit(FAULT_MEMORY) ? NULL : real_mem.xMalloc(n);
}

static void *m_realloc(void *p, int n)
{
    return hit(FAULT_MEMORY) ? NULL : real_mem.xRealloc(p, n);
}

void fault_install(void)
{
    int rc = sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_mem);
    sqlite3_mem_methods mem = real_mem;

    mem.xMalloc = m_malloc;
    mem.xRealloc = m_realloc;
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &mem);
    if (rc == SQLITE_OK)
        rc = sqlite3_initialize();
    assert(rc == SQLITE_OK);
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);
    layer = *below; /* whatever is not named here goes straight to the layer below */
    layer.pNext = NULL;
    layer.zName = "fault";
    layer.pAppData = below;
    layer.szOsFile = (int)sizeof(struct fault_file) + below->szOsFile;
    layer.xOpen = v_open;
    rc = sqlite3_vfs_register(&layer, 1);
    assert(rc == SQLITE_OK);
    (void)rc;
}
