#include "daemon/media/media_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

/* /tmp/…/media/{clip.mp4, sub dir/a b.mp4, fifo, inside → clip.mp4, outside → ../secret,
 * absolute → /etc/passwd}, /tmp/…/secret, /tmp/…/mediaother/clip.mp4 */
struct folder {
    char path[64];
    char root[80];
    const char *roots[2];
};

static void make_file(const struct folder *f, const char *name, size_t bytes)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < bytes; i++)
        fputc('x', file);
    fclose(file);
}

static void make_folder(const struct folder *f, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void make_link(const struct folder *f, const char *name, const char *target)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    assert_int_equal(symlink(target, path), 0);
}

static int set_up(void **state)
{
    static struct folder f;
    strcpy(f.path, "/tmp/mmf-media-XXXXXX");
    assert_non_null(mkdtemp(f.path));
    snprintf(f.root, sizeof(f.root), "%s/media", f.path);
    f.roots[0] = "/nowhere/else";
    f.roots[1] = f.root;
    make_folder(&f, "media");
    make_folder(&f, "media/sub dir");
    make_folder(&f, "mediaother");
    make_file(&f, "secret", 10);
    make_file(&f, "media/clip.mp4", 100);
    make_file(&f, "media/sub dir/a b.mp4", 10);
    make_file(&f, "mediaother/clip.mp4", 10);
    make_link(&f, "media/inside", "clip.mp4");
    make_link(&f, "media/outside", "../secret");
    make_link(&f, "media/absolute", "/etc/passwd");
    char fifo[PATH_MAX];
    snprintf(fifo, sizeof(fifo), "%s/fifo", f.root);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *f = *state;
    static const char *const names[] = {"media/fifo",     "media/inside",
                                        "media/outside",  "media/absolute",
                                        "media/clip.mp4", "media/sub dir/a b.mp4",
                                        "media/sub dir",  "mediaother/clip.mp4",
                                        "mediaother",     "media",
                                        "secret",         "."};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", f->path, names[i]);
        remove(names[i][0] == '.' ? f->path : path);
    }
    return access(f->path, F_OK) == 0;
}

static int open_with(struct folder *f, const char *relative, const char *uri, int *ret_fd,
                     struct err *err)
{
    struct media_roots roots = {.paths = f->roots, .n = 2, .relative = relative};
    return media_open(&roots, uri, ret_fd, err);
}

/* %s in the format is the folder's path. */
static const char *uri_of(const struct folder *f, const char *format)
{
    static char uri[PATH_MAX];
    const char *mark = strstr(format, "@");
    snprintf(uri, sizeof(uri), "%.*s%s%s", (int)(mark - format), format, f->path, mark + 1);
    return uri;
}

static void opens(struct folder *f, const char *relative, const char *uri)
{
    struct err err;
    int fd;
    if (open_with(f, relative, uri, &fd, &err) != ERR_OK)
        fail_msg("%s: %s", uri, err.text);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static void refuses(struct folder *f, const char *relative, const char *uri, const char *reason)
{
    struct err err;
    int fd;
    assert_int_equal(open_with(f, relative, uri, &fd, &err), ERR_SKIP);
    if (strcmp(err.reason, reason) != 0)
        fail_msg("%s: expected %s: %s (%s)", uri, reason, err.reason, err.text);
}

static void open_under_a_root_succeeds(void **state)
{
    struct folder *f = *state;
    opens(f, NULL, uri_of(f, "file://@/media/clip.mp4"));
    opens(f, NULL, uri_of(f, "file:@/media/clip.mp4"));
    opens(f, NULL, uri_of(f, "FILE://localhost@/media/clip.mp4"));
    opens(f, NULL, uri_of(f, "file://@/media/sub%20dir/a%20b.mp4"));
    opens(f, NULL, uri_of(f, "@/media/sub dir/a b.mp4"));
    opens(f, NULL, uri_of(f, "file://@/media//clip.mp4"));
    opens(f, NULL, uri_of(f, "file://@/media/inside"));
}

static void open_relative_needs_a_media_root(void **state)
{
    struct folder *f = *state;
    opens(f, f->root, "clip.mp4");
    opens(f, f->root, "sub dir/a b.mp4");
    refuses(f, NULL, "clip.mp4", "media_path");
    refuses(f, f->root, "../secret", "media_path");
}

/* The root of a request was canonical when it was looked at. */
static void open_below_a_root_that_became_a_link_is_refused(void **state)
{
    struct folder *f = *state;
    char link[PATH_MAX];
    snprintf(link, sizeof(link), "%s/media/turned", f->path);
    make_link(f, "media/turned", "..");
    refuses(f, link, "secret", "media_denied");
    assert_int_equal(unlink(link), 0);
}

static void open_outside_the_roots_is_refused(void **state)
{
    struct folder *f = *state;
    refuses(f, NULL, uri_of(f, "file://@/secret"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/mediaother/clip.mp4"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/../secret"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/%2e%2e/secret"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/sub dir/.."), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media"), "media_path");
    refuses(f, NULL, "file:///etc/passwd", "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/outside"), "media_denied");
    refuses(f, NULL, uri_of(f, "file://@/media/absolute"), "media_denied");
}

static void open_malformed_is_refused(void **state)
{
    struct folder *f = *state;
    refuses(f, NULL, uri_of(f, "file://host@/media/clip.mp4"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/clip%2"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/clip%zz.mp4"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/clip.mp4%00.jpg"), "media_path");
    refuses(f, NULL, uri_of(f, "file://@/media/clip.mp4?x"), "media_path");
    refuses(f, NULL, "file:clip.mp4", "media_path");
    refuses(f, NULL, "http://example.org/v.mp4", "scheme");
    refuses(f, NULL, "https://example.org/v.mp4", "scheme");
    refuses(f, NULL, "concat:a|b", "scheme");
}

static void open_not_a_regular_file_is_refused(void **state)
{
    struct folder *f = *state;
    refuses(f, NULL, uri_of(f, "file://@/media/fifo"), "media_not_file");
    refuses(f, NULL, uri_of(f, "file://@/media/sub dir"), "media_not_file");
    refuses(f, NULL, uri_of(f, "file://@/media/none.mp4"), "media_missing");
    refuses(f, NULL, uri_of(f, "file://@/media/clip.mp4/x"), "media_missing");
}

static void open_without_the_root_says_retry(void **state)
{
    (void)state;
    struct err err;
    int fd;
    const char *gone = "/nowhere/at/all";
    struct media_roots roots = {.paths = &gone, .n = 1};
    assert_int_equal(media_open(&roots, "file:///nowhere/at/all/v.mp4", &fd, &err), ERR_RETRY);
}

static int openat2_fails; /* with this errno; 0 = it works */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
    va_list ap;
    long a[4];
    va_start(ap, number);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (openat2_fails == 0)
        return __real_syscall(number, a[0], a[1], a[2], a[3]);
    errno = openat2_fails;
    return -1;
}

/* What NFS, SMB and FUSE say of a server that is away: nothing against the event. */
static void open_on_a_file_system_that_is_away_says_retry(void **state)
{
    static const int codes[] = {EIO,          ESTALE,     ETIMEDOUT,    EHOSTDOWN,
                                ENETUNREACH,  ENOTCONN,   ECONNABORTED, EREMOTEIO,
                                ECONNREFUSED, ECONNRESET, ESHUTDOWN};
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct err err;
        int fd;
        openat2_fails = codes[i];
        int status = open_with(f, NULL, uri_of(f, "file://@/media/inside"), &fd, &err);
        openat2_fails = 0;
        if (status != ERR_RETRY || err.exit_code != EX_IOERR)
            fail_msg("%s: %s", strerror(codes[i]), err.text);
    }
}

/* Room for n_free more descriptors; the old limit. */
static struct rlimit leave_room(rlim_t n_free)
{
    struct rlimit before, now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(STDERR_FILENO); /* the lowest that is free, and no hole below it */
    assert_true(next >= 0);
    close(next);
    now = before;
    now.rlim_cur = (rlim_t)next + n_free;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

/* One is needed for the root and one for the file. Without either it is ours to wait for. */
static void open_without_descriptors_is_ours(void **state)
{
    const struct folder *f = *state;
    struct media_roots roots = {.paths = f->roots, .n = 2};
    char uri[PATH_MAX];
    snprintf(uri, sizeof(uri), "file://%s/clip.mp4", f->root);
    for (rlim_t n_free = 0; n_free < 2; n_free++) {
        struct err err;
        int fd;
        struct rlimit before = leave_room(n_free);
        int status = media_open(&roots, uri, &fd, &err);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(status, ERR_RETRY);
        assert_int_equal(err.exit_code, EX_OSERR);
    }
}

static void probe_works_here(void **state)
{
    (void)state;
    assert_int_equal(media_file_probe(NULL), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_under_a_root_succeeds),
        cmocka_unit_test(open_relative_needs_a_media_root),
        cmocka_unit_test(open_below_a_root_that_became_a_link_is_refused),
        cmocka_unit_test(open_outside_the_roots_is_refused),
        cmocka_unit_test(open_malformed_is_refused),
        cmocka_unit_test(open_not_a_regular_file_is_refused),
        cmocka_unit_test(open_without_the_root_says_retry),
        cmocka_unit_test(open_on_a_file_system_that_is_away_says_retry),
        cmocka_unit_test(open_without_descriptors_is_ours),
        cmocka_unit_test(probe_works_here),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
