#ifndef MMF_CONFIG_ERR_H
#define MMF_CONFIG_ERR_H

/* Errors: one struct, filled once where the fault is found (object + operation + cause),
 * wrapped with context on the way up, logged once in daemon/. A function that can fail returns
 * `int` (an enum err_status, 0 = ERR_OK) and takes `struct err *err` last. Its ret_ outputs are
 * written only on ERR_OK. The status says what the caller does:
 *
 *   status     who returns it, and when                    what the caller does
 *   ERR_OK     anybody: it is done                         goes on
 *
 *   ERR_END    a reader: the last one has been read        stops reading
 *   ERR_NONE   a look-up: there is no such row, file,      takes the other way, or asks again
 *              folder or daemon; nothing newer; nothing    later
 *              yet
 *   ERR_BUSY   a claim: somebody else has it               keeps the work, tries again later
 *   ERR_STALE  a write that compares first: what it was    throws its work away, reads again
 *              made of has changed
 *
 *   ERR_RETRY  whoever meets a fault of ours that may      keeps the work, tries again later
 *              pass: disk full, broker away, no memory
 *   ERR_SKIP   whoever reads an input that will never do   dead letter with `reason`, goes on
 *                                                          with the next
 *   ERR_FATAL  whoever finds that going on would harm      drains, exits with `exit_code`;
 *              or cannot help                              systemd restarts, or not (the unit)
 *
 * The second group is no fault: *err is left as it was and has no text for it. A function that
 * returns one of the four says so above itself, with what it means there. Its caller asks for
 * it by that name, or passes it on and says the same. The third group fills *err.
 *
 * Example: "item v1 (videos/3@41): open /srv/media/v1.mp4: No such file or directory". */

#include <stdbool.h>
#include <stddef.h>

/* The first five are sent as numbers by a worker (extract/wire/protocol.c). */
enum err_status {
    ERR_OK = 0,
    ERR_END,
    ERR_RETRY,
    ERR_SKIP,
    ERR_FATAL,
    ERR_NONE,
    ERR_BUSY,
    ERR_STALE
};

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
