#ifndef MMF_DAEMON_SOURCE_EVENT_FILE_H
#define MMF_DAEMON_SOURCE_EVENT_FILE_H

/* One file of events (NDJSON) on its way into the pipeline. Its topic is file:<sha256 of its
 * bytes>, its partition 0, the offset of an event its line number from 0: the same bytes under
 * any name are the same events, so reading a file again goes on where the store's offset says,
 * which is the end when it was done.
 *
 * Thread: its source's. The file must not change while it is read. */

#include "config/digest.h"
#include "config/err.h"
#include "daemon/pipeline/pipeline.h"

#include <stdbool.h>
#include <stdint.h>

#define EVENT_FILE_TOPIC_BYTES (5 + DIGEST_HEX_BYTES)

struct event_file;

/* Opens a regular file of a folder, not through a link, and takes its digest. ERR_FATAL EX_NOINPUT
 * or EX_DATAERR when it cannot be read, ERR_RETRY for want of descriptors or memory. */
int event_file_open(int dir_fd, const char *name, struct event_file **ret_f, struct err *err);
/* The same of a regular file that somebody has open for reading; the descriptor is duplicated, and its
 * offset left alone. What is appended from now on is not read (event_file_is_changed). go_on is asked
 * again and again meanwhile; false = give up, ERR_RETRY. */
int event_file_adopt(int fd, bool (*go_on)(void *ctx), void *ctx, struct event_file **ret_f,
                     struct err *err);
/* Of an adopted one: its topic, file:<sha256>; its lines, empty ones too; whether somebody has written to
 * it since. */
const char *event_file_topic(const struct event_file *f);
int64_t event_file_n_lines(const struct event_file *f);
bool event_file_is_changed(const struct event_file *f);
/* The descriptor, the file's own. */
int event_file_fd(const struct event_file *f);
/* Assigns the partition in the ledger from the store's next offset. ERR_BUSY while somebody else
 * reads the same bytes: to be tried again later. */
int event_file_begin(struct event_file *f, struct pipeline *p, struct err *err);
/* Submits the next line that is not done yet. media_root NULL = none. ERR_END after the last.
 * ERR_RETRY: no memory, or a read error; to be opened again. */
int event_file_submit(struct event_file *f, struct pipeline *p, const char *media_root,
                      struct err *err);
/* Lines read so far. */
int64_t event_file_lines(const struct event_file *f);
/* True when nothing of it is in flight. */
bool event_file_is_settled(const struct event_file *f, struct pipeline *p);
/* Lets the partition go and closes the file. Takes NULL for f; p NULL = it was never begun. */
void event_file_close(struct event_file *f, struct pipeline *p);

#endif
