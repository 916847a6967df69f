#ifndef MMF_DAEMON_MEDIA_MEDIA_OPEN_H
#define MMF_DAEMON_MEDIA_MEDIA_OPEN_H

/* Opens the media of an event for reading, and nothing else on this machine.
 *
 * A URI is `file:///absolute/path` (also `file:/…`, `file://localhost/…`), a plain absolute
 * path, or, with a media root, a path relative to it. Percent-encoding is decoded in `file:`
 * URIs. The path must lie lexically under a root without a `..` component; openat2 then
 * resolves the rest with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS, so a symbolic link inside
 * the root is followed and one that leaves it is refused, whatever changes meanwhile.
 * O_NONBLOCK keeps a FIFO from holding us; only regular files are accepted.
 *
 * ERR_SKIP: scheme, media_path (malformed, `..`, outside the roots), media_missing,
 * media_denied, media_not_file, media_too_big. ERR_RETRY: a fault of ours that may pass (a root
 * that is not mounted, EIO), with EX_OSERR for want of descriptors or memory. */

#include "config/err.h"
#include "config/settings.h"

#include <stddef.h>
#include <stdint.h>

struct media_roots {
    const char *const *paths; /* absolute folders */
    size_t n;
    const char *relative; /* the root of relative paths, also allowed for absolute ones; NULL */
    int64_t max_bytes;    /* of one file */
};

/* media.roots and media.max_bytes; borrowed from the settings, and so is relative. */
struct media_roots media_roots_of(const struct settings *s, const char *relative);

/* *ret_fd: O_RDONLY | O_CLOEXEC, the caller's to close. */
int media_open(const struct media_roots *roots, const char *uri, int *ret_fd, struct err *err);
/* ERR_FATAL EX_CONFIG when openat2 does not work, saying who refuses it: the kernel (before 5.6), the
 * unit, or whoever else put a system call filter on this process. */
int media_open_probe(struct err *err);

#endif
