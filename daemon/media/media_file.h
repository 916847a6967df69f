#ifndef MMF_DAEMON_MEDIA_MEDIA_FILE_H
#define MMF_DAEMON_MEDIA_MEDIA_FILE_H

/* Opens the file of an event for reading, and nothing else on this machine.
 *
 * A URI is `file:///absolute/path` (also `file:/…`, `file://localhost/…`), a plain absolute
 * path, or, with a media root, a path relative to it. Percent-encoding is decoded in `file:`
 * URIs. The path must lie lexically under a root without a `..` component; openat2 then
 * resolves the rest with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS, so a symbolic link inside
 * the root is followed (sites keep media by content and point to them) and one that leaves it is
 * refused, whatever changes meanwhile.
 * O_NONBLOCK keeps a FIFO from holding us; only regular files are accepted. A network file system
 * that is gone holds the thread until the kernel lets go. */

#include "config/err.h"
#include "daemon/media/media_open.h"

/* As media_open. */
int media_file_open(const struct media_roots *roots, const char *uri, int *ret_fd,
                    struct err *err);
/* ERR_FATAL EX_CONFIG when openat2 does not work, saying who refuses it: the kernel (before 5.6), the
 * unit, or whoever else put a system call filter on this process. */
int media_file_probe(struct err *err);

#endif
