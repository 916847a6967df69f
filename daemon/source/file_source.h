#ifndef MMF_DAEMON_SOURCE_FILE_SOURCE_H
#define MMF_DAEMON_SOURCE_FILE_SOURCE_H

/* One event file as a source (pipeline/source.h). */

#include "daemon/pipeline/source.h"

struct event_file;

/* The events of a regular file that is open for reading as topic file:<sha256>, partition 0, offset =
 * line number from 0. The descriptor is duplicated. media_root may be NULL; go_on as for
 * event_file_adopt. */
int file_source_open(int fd, const char *media_root, struct pipeline *p,
                     bool (*go_on)(void *ctx), void *ctx, struct source **ret_src,
                     struct err *err);
/* The file that it reads; its own. */
const struct event_file *file_source_file(const struct source *src);

#endif
