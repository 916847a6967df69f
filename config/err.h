#ifndef MMF_CONFIG_ERR_H
#define MMF_CONFIG_ERR_H

/* Errors: one struct, filled once where the fault is found (object + operation + cause),
 * wrapped with context on the way up, logged once in daemon/. A function that can fail returns
 * `int` (an enum err_status, 0 = ERR_OK) and takes `struct err *err` last; its ret_ outputs are
 * written only on ERR_OK. The status says what the caller does:
 *
 *   ERR_OK     go on
 *   ERR_END    nothing more to read; not a fault
 *   ERR_RETRY  a transient fault of ours (disk full, broker away): keep the work, try again later
 *   ERR_SKIP   a permanent fault of this input: dead letter with `reason`, go on with the next
 *   ERR_FATAL  drain and exit with `exit_code`; systemd restarts, or not (see the unit)
 *
 * Example: "item v1 (videos/3@41): open /srv/media/v1.mp4: No such file or directory".
 */

#include <stdbool.h>
#include <stddef.h>

enum err_status { ERR_OK = 0, ERR_END, ERR_RETRY, ERR_SKIP, ERR_FATAL };

#define ERR_TEXT_BYTES   1024
#define ERR_REASON_BYTES 24

struct err {
    enum err_status status;
    int exit_code;                 /* sysexits.h, what a command line would exit with */
    char reason[ERR_REASON_BYTES]; /* a word for counters and dead letters: "bad_json", "" */
    char text[ERR_TEXT_BYTES];     /* one line, UTF-8, no newline at the end */
};

/* Each fills *err (err may be NULL when the caller does not care for the text) and returns the
 * status, so that `return err_fatal(err, EX_CONFIG, "…")` reads as one thought. */
int err_fatal(struct err *err, int exit_code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_retry(struct err *err, int exit_code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_skip(struct err *err, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Out of memory while doing `what`: ERR_RETRY, exit code EX_OSERR. */
int err_oom(struct err *err, const char *what);

/* Whether a system call failed with this errno for want of descriptors, memory or buffers: nothing is
 * wrong with what it was about, and the same call will work when there is room again. */
bool err_is_shortage(int code);
/* Opening something failed with this errno: ERR_RETRY, exit code EX_OSERR, for a shortage, otherwise
 * ERR_FATAL with exit_code. "WHAT: open: …", what being the object's name. */
int err_open(struct err *err, int exit_code, const char *what, int code);

/* What a process exits with that cannot open a file of its own: EX_NOPERM where a right is missing
 * (EACCES, EPERM, EROFS), EX_CONFIG where the place is (ENOENT, ENOTDIR, EISDIR, ELOOP). Starting again
 * mends neither, so the unit does not; `otherwise` for what may pass. */
int err_exit_code(int code, int otherwise);

/* Puts "context: " before the text; keeps status, exit code and reason. Returns the status. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void err_clear(struct err *err);

#endif
