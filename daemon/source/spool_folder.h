#ifndef MMF_DAEMON_SOURCE_SPOOL_FOLDER_H
#define MMF_DAEMON_SOURCE_SPOOL_FOLDER_H

/* The spool's folder: which event files are in it (*.ndjson, *.jsonl, no leading dot), in the order
 * of their names at a scan, then as they arrive, and what happens to them afterwards. A name is
 * known from its finding until spool_folder_forget, so that a scan does not find it twice. One
 * thread. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool_name;

struct spool_folder {
    int fd, inotify_fd;
    char *path;
    void *known; /* tsearch tree of the names found or taken */
    struct spool_name *first_found, **last_found;
    size_t n_found;
};

void spool_folder_init(struct spool_folder *f);
/* ERR_FATAL EX_CONFIG when the folder cannot be read. */
int spool_folder_open(struct spool_folder *f, const char *path, struct err *err);
void spool_folder_close(struct spool_folder *f);
bool spool_folder_is_there(const struct spool_folder *f);

/* Finds what is in the folder now. */
int spool_folder_scan(struct spool_folder *f, struct err *err);
/* Finds what has been renamed into it; true when a scan is needed (events were lost). */
bool spool_folder_read_events(struct spool_folder *f);
size_t spool_folder_n_found(const struct spool_folder *f);
/* Takes the first found name, which lives until it is forgotten; NULL = none. */
const char *spool_folder_next(struct spool_folder *f);
/* A taken name that is to be found again, after the others. */
void spool_folder_put_back(struct spool_folder *f, const char *name);
void spool_folder_forget(struct spool_folder *f, const char *name);

/* The file open as fd, found under this name, is done: deletes it, or moves it to done/ (as name.1
 * and so on when that is taken). Gone already is as well. *ret_replaced: another file has been
 * renamed over the name meanwhile; it stays, under a name that is found like any other. */
int spool_folder_finish(struct spool_folder *f, const char *name, int fd, bool keep,
                        bool *ret_replaced, struct err *err);
/* Deletes files of done/ that came there before before_us (wall clock), at most SPOOL_FOLDER_RETAIN of
 * them; *ret_n how many. A producer's other files stay. */
enum { SPOOL_FOLDER_RETAIN = 1000 };
int spool_folder_retain(struct spool_folder *f, int64_t before_us, size_t *ret_n,
                        struct err *err);

#endif
