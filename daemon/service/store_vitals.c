#include "daemon/service/store_vitals.h"

#include "config/clock.h"
#include "daemon/base/metrics.h"
#include "store/reading.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { COUNT_REST = 100 };

void store_vitals_init(struct store_vitals *v, const char *path)
{
    memset(v, 0, sizeof(*v));
    v->path = path;
}

/* What cannot be counted now stays as it was; the next scrape tries again. */
static void count(struct store_vitals *v)
{
    int64_t start_us = clock_mono_us();
    struct store_letter_counts c;
    struct store *st;

    if (start_us < atomic_load(&v->due_us) ||
        store_open(v->path, STORE_READ, &st, NULL) != ERR_OK)
        return;
    if (store_count_letters(st, &c, NULL) == ERR_OK) {
        int64_t end_us = clock_mono_us();

        atomic_store(&v->n_letters, c.n_letters);
        atomic_store(&v->n_outbox, c.n_outbox);
        atomic_store(&v->committed_us, c.committed_us);
        atomic_store(&v->due_us, end_us + COUNT_REST * (end_us - start_us));
    }
    store_close(st);
}

/* 0 for a WAL that is not there, NaN for a store that cannot be looked at. */
static double file_bytes(const char *path, const char *suffix)
{
    char name[PATH_MAX];
    struct stat st;

    (void)snprintf(name, sizeof(name), "%s%s", path, suffix);
    if (stat(name, &st) == 0)
        return (double)st.st_size;
    return suffix[0] ? 0 : (double)NAN;
}

void store_vitals_print(struct store_vitals *v, int64_t committed_us, FILE *out)
{
    struct statvfs disk;
    bool looked = statvfs(v->path, &disk) == 0;

    count(v);
    if (committed_us < atomic_load(&v->committed_us))
        committed_us = atomic_load(&v->committed_us);
    metrics_gauge(out, "metammf_last_commit_timestamp_seconds",
                  "When events were last committed, since the epoch; 0 = never.",
                  (double)committed_us / 1e6);
    metrics_gauge(out, "metammf_store_bytes", "Size of the store's file.",
                  file_bytes(v->path, ""));
    metrics_gauge(out, "metammf_store_wal_bytes", "Size of the store's write-ahead log.",
                  file_bytes(v->path, "-wal"));
    metrics_gauge(out, "metammf_store_free_bytes",
                  "Free bytes of the file system that holds the store.",
                  looked ? (double)disk.f_bavail * (double)disk.f_frsize : (double)NAN);
    metrics_gauge(out, "metammf_dead_letters_stored", "Dead letters in the store.",
                  (double)atomic_load(&v->n_letters));
    metrics_gauge(out, "metammf_dead_letters_waiting",
                  "Dead letters that the dead-letter topic has not taken yet.",
                  (double)atomic_load(&v->n_outbox));
}
