#include "daemon/media/media_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sysexits.h>
#include <unistd.h>

static int openat2_fd(int folder_fd, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve};
    return (int)syscall(SYS_openat2, folder_fd, path, &how, sizeof(how));
}

/* For want of descriptors or memory: tried until there are some (dispatch.h). */
static int shortage(const char *what, const char *call, int code, struct err *err)
{
    return err_retry(err, EX_OSERR, "media %s: %s: %s", what, call, strerror(code));
}

/* Nothing but other settings of the unit or the container helps, or another kernel: EX_CONFIG. */
static int refused(int code, struct err *err)
{
    struct utsname kernel = {.release = "?"};
    int major = 0, minor = 0;
    (void)uname(&kernel);
    (void)sscanf(kernel.release, "%d.%d", &major, &minor);
    bool has_it = major > 5 || (major == 5 && minor >= 6);
    if (!has_it || prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER)
        return err_fatal(err, EX_CONFIG,
                         "media: openat2: %s: Linux 5.6 or newer is needed, this is %s",
                         strerror(code), kernel.release);
    if (getenv("INVOCATION_ID")) /* systemd.exec(5) */
        return err_fatal(err, EX_CONFIG,
                         "media: openat2: %s: a system call filter of the unit refuses it, not "
                         "the kernel (%s): set RestrictSUIDSGID=no, and no DynamicUser=yes, "
                         "which implies it, and let SystemCallFilter= allow openat2",
                         strerror(code), kernel.release);
    return err_fatal(err, EX_CONFIG,
                     "media: openat2: %s: a system call filter on this process refuses it, not "
                     "the kernel (%s): a container's seccomp profile must allow openat2; under "
                     "systemd RestrictSUIDSGID= and DynamicUser= take it away",
                     strerror(code), kernel.release);
}

int media_file_probe(struct err *err)
{
    int fd = openat2_fd(AT_FDCWD, "/", O_PATH | O_CLOEXEC | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
    if (fd < 0)
        return err_is_shortage(errno) ? shortage("of any event", "openat2", errno, err)
                                      : refused(errno, err);
    close(fd);
    return ERR_OK;
}

/* ---- from a URI to a path ---------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int malformed(struct err *err, const char *uri, const char *why)
{
    return err_skip(err, "media_path", "media %s: %s", uri, why);
}

/* %41 → A; a NUL or a broken escape is refused. */
static int percent_decode(const char *uri, const char *text, char ret_path[PATH_MAX],
                          struct err *err)
{
    size_t n = 0;
    for (; *text && n < PATH_MAX - 1; text++) {
        int value = (unsigned char)*text;
        if (*text == '%') {
            int high = hex_digit(text[1]);
            int low = high < 0 ? -1 : hex_digit(text[2]);
            value = high < 0 || low < 0 ? 0 : 16 * high + low;
            if (value == 0)
                return malformed(err, uri, "a broken percent-escape: expected %01 to %FF");
            text += 2;
        }
        ret_path[n++] = (char)value;
    }
    ret_path[n] = '\0';
    return *text ? malformed(err, uri, "the path is too long") : ERR_OK;
}

static int file_uri_path(const char *uri, const char *rest, char ret_path[PATH_MAX],
                         struct err *err)
{
    if (strncmp(rest, "//", 2) == 0) {
        rest += 2;
        if (strncasecmp(rest, "localhost/", 10) == 0)
            rest += 9;
    }
    if (rest[0] != '/')
        return malformed(err, uri, "expected file:///absolute/path on this machine");
    if (strpbrk(rest, "?#"))
        return malformed(err, uri, "a file: URI has no ? or #: write %3F and %23");
    return percent_decode(uri, rest, ret_path, err);
}

static int uri_path(const char *uri, char ret_path[PATH_MAX], struct err *err)
{
    if (strncasecmp(uri, "file:", 5) == 0)
        return file_uri_path(uri, uri + 5, ret_path, err);
    if (strlen(uri) >= PATH_MAX)
        return malformed(err, uri, "the path is too long");
    memcpy(ret_path, uri, strlen(uri) + 1);
    return ERR_OK;
}

static bool has_dot_dot(const char *path)
{
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return true;
    }
    return false;
}

/* ---- from a path to a root and the rest -------------------------------------------------- */

/* What follows the root in an absolute path; NULL when it is not under the root. */
static const char *rest_under(const char *root, const char *path)
{
    size_t n = strlen(root);
    while (n > 0 && root[n - 1] == '/')
        n--;
    if (strncmp(path, root, n) != 0 || path[n] != '/')
        return NULL;
    path += n;
    while (*path == '/')
        path++;
    return *path ? path : NULL;
}

/* The root with the shortest rest, so that a root inside another one wins. */
static const char *choose_root(const struct media_roots *roots, const char *path,
                               const char **ret_rest)
{
    const char *best = NULL;
    *ret_rest = NULL;
    for (size_t i = 0; i <= roots->n; i++) {
        const char *root = i < roots->n ? roots->paths[i] : roots->relative;
        const char *rest = root ? rest_under(root, path) : NULL;
        if (rest && (!best || strlen(rest) < strlen(*ret_rest))) {
            best = root;
            *ret_rest = rest;
        }
    }
    return best;
}

/* The root of the path, NULL with ERR_SKIP in err. */
static const char *locate(const struct media_roots *roots, const char *uri, const char *path,
                          const char **ret_rest, struct err *err)
{
    const char *root = path[0] == '/' ? choose_root(roots, path, ret_rest) : roots->relative;
    if (path[0] != '/')
        *ret_rest = path;
    if (has_dot_dot(path))
        malformed(err, uri, "a path with .. is not accepted");
    else if (root)
        return root;
    else if (path[0] == '/')
        malformed(
            err, uri,
            "outside the media roots: add its folder to media.roots if it should be read");
    else
        malformed(err, uri, "a relative path: expected file:///absolute/path");
    return NULL;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* Of the file system, or of the server behind it: ENOTCONN and ECONNABORTED are FUSE's whose daemon is
 * gone. Tried three more times in about 2 s; then a dead letter `internal`, which `metammf dlq retry`
 * takes up again. */
static bool is_transient(int code)
{
    switch (code) {
    case EINTR:
    case EAGAIN:
    case EIO:
    case ESTALE:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENOTCONN:
    case ECONNABORTED:
    case ECONNREFUSED:
    case ECONNRESET:
    case ESHUTDOWN:
    case EREMOTEIO:
        return true;
    default:
        return false;
    }
}

static int open_error(const char *uri, int code, struct err *err)
{
    if (err_is_shortage(code))
        return shortage(uri, "open", code, err);
    if (is_transient(code))
        return err_retry(err, EX_IOERR, "media %s: open: %s", uri, strerror(code));
    if (code == ENOENT || code == ENOTDIR)
        return err_skip(err, "media_missing", "media %s: open: %s", uri, strerror(code));
    if (code == EXDEV || code == ELOOP)
        return err_skip(err, "media_denied", "media %s: a link leads out of the media root",
                        uri);
    if (code == ENXIO)
        return err_skip(err, "media_not_file", "media %s: not a regular file", uri);
    return err_skip(err, "media_denied", "media %s: open: %s", uri, strerror(code));
}

static int check_file(int fd, const char *uri, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_is_shortage(errno)
                   ? shortage(uri, "fstat", errno, err)
                   : err_retry(err, EX_IOERR, "media %s: fstat: %s", uri, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_skip(err, "media_not_file", "media %s: not a regular file", uri);
    return ERR_OK;
}

/* A root that came with a request is canonical, and was looked at then: whoever may rename what is in it
 * has no link followed now. */
static int open_under(const struct media_roots *roots, const char *root, const char *rest,
                      const char *uri, int *ret_fd, struct err *err)
{
    const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    bool is_canonical = root == roots->relative;
    int root_fd = is_canonical
                      ? openat2_fd(AT_FDCWD, root, (uint64_t)flags, RESOLVE_NO_SYMLINKS)
                      : open(root, flags);
    if (root_fd < 0 && errno == ELOOP && is_canonical)
        return err_skip(err, "media_denied", "media root %s: it has become a link", root);
    if (root_fd < 0 && err_is_shortage(errno))
        return shortage(root, "open the root", errno, err);
    if (root_fd < 0)
        return err_retry(err, EX_NOINPUT, "media root %s: open: %s", root, strerror(errno));
    *ret_fd = openat2_fd(root_fd, rest, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                         RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    int code = errno;
    close(root_fd);
    return *ret_fd < 0 ? open_error(uri, code, err) : ERR_OK;
}

int media_file_open(const struct media_roots *roots, const char *uri, int *ret_fd,
                    struct err *err)
{
    char path[PATH_MAX] = "";
    int status = uri_path(uri, path, err);
    if (status != ERR_OK)
        return status;
    const char *rest;
    const char *root = locate(roots, uri, path, &rest, err);
    if (!root)
        return ERR_SKIP;
    int fd = -1;
    status = open_under(roots, root, rest, uri, &fd, err);
    if (status != ERR_OK)
        return status;
    status = check_file(fd, uri, err);
    if (status != ERR_OK) {
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return ERR_OK;
}
