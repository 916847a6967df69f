#include "config/err.h"

#include "config/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

__attribute__((format(printf, 5, 0))) static int fill(struct err *err, enum err_status status,
                                                      int exit_code, const char *reason,
                                                      const char *fmt, va_list ap)
{
    char text[ERR_TEXT_BYTES]; /* an argument may lie inside *err */

    if (err == NULL)
        return status;
    text_vformat(text, sizeof(text), fmt, ap);
    err->status = status;
    err->exit_code = exit_code;
    snprintf(err->reason, sizeof(err->reason), "%s", reason);
    memcpy(err->text, text, sizeof(text));
    return status;
}

int err_fatal(struct err *err, int exit_code, const char *fmt, ...)
{
    va_list ap;
    int status;

    va_start(ap, fmt);
    status = fill(err, ERR_FATAL, exit_code, "", fmt, ap);
    va_end(ap);
    return status;
}

int err_retry(struct err *err, int exit_code, const char *fmt, ...)
{
    va_list ap;
    int status;

    va_start(ap, fmt);
    status = fill(err, ERR_RETRY, exit_code, "", fmt, ap);
    va_end(ap);
    return status;
}

int err_skip(struct err *err, const char *reason, const char *fmt, ...)
{
    char word[ERR_REASON_BYTES];
    va_list ap;
    int status;

    snprintf(word, sizeof(word), "%s", reason);
    va_start(ap, fmt);
    status = fill(err, ERR_SKIP, EX_DATAERR, word, fmt, ap);
    va_end(ap);
    return status;
}

int err_oom(struct err *err, const char *what)
{
    return err_retry(err, EX_OSERR, "%s: out of memory; free some, or raise the limit", what);
}

bool err_is_shortage(int code)
{
    switch (code) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case ETOOMANYREFS:
        return true;
    default:
        return false;
    }
}

int err_open(struct err *err, int exit_code, const char *what, int code)
{
    if (err_is_shortage(code))
        return err_retry(err, EX_OSERR, "%s: open: %s", what, strerror(code));
    return err_fatal(err, exit_code, "%s: open: %s", what, strerror(code));
}

int err_exit_code(int code, int otherwise)
{
    switch (code) {
    case EACCES:
    case EPERM:
    case EROFS:
        return EX_NOPERM;
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
        return EX_CONFIG;
    default:
        return otherwise;
    }
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char context[ERR_TEXT_BYTES], text[ERR_TEXT_BYTES];
    va_list ap;

    if (err == NULL)
        return ERR_FATAL;
    va_start(ap, fmt);
    text_vformat(context, sizeof(context), fmt, ap);
    va_end(ap);
    if (err->text[0] == '\0')
        text_format(text, sizeof(text), "%s", context);
    else
        text_format(text, sizeof(text), "%s: %s", context, err->text);
    memcpy(err->text, text, sizeof(text));
    return err->status;
}

void err_clear(struct err *err)
{
    if (err != NULL)
        memset(err, 0, sizeof(*err));
}
