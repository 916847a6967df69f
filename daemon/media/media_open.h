#ifndef MMF_DAEMON_MEDIA_MEDIA_OPEN_H
#define MMF_DAEMON_MEDIA_MEDIA_OPEN_H

/* From the media URI of an event to a descriptor, whatever the scheme: a table of media_open.c
 * names who opens it. Today these are files (media_file.h), by `file:` or by a plain path.
 *
 * It waits for as long as the medium takes: a thread that must go on uses fetch.h, which calls it.
 *
 * ERR_SKIP: scheme, media_path (malformed, `..`, outside the roots), media_missing,
 * media_denied, media_not_file. ERR_RETRY: a fault of ours that may pass (a root that is not mounted,
 * EIO), with EX_OSERR for want of descriptors or memory. How large a file may be is the worker's
 * affair, since the item's text may become a row all the same. */

#include "config/err.h"
#include "config/settings.h"

#include <stddef.h>
#include <stdint.h>

struct media_roots {
    const char *const *paths; /* absolute folders */
    size_t n;
    const char *relative; /* the root of relative paths, also allowed for absolute ones; NULL */
};

/* media.roots; borrowed from the settings, and so is relative. */
struct media_roots media_roots_of(const struct settings *s, const char *relative);

/* *ret_fd: O_RDONLY | O_CLOEXEC, the caller's to close. */
int media_open(const struct media_roots *roots, const char *uri, int *ret_fd, struct err *err);

#endif
