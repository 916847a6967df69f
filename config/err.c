#include "config/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* Length of the valid UTF-8 sequence at s (1 … 4), 0 when there is none. Overlong forms,
 * surrogates and code points above U+10FFFF are not valid (RFC 3629). */
static size_t utf8_sequence(const unsigned char *s)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        n = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        n = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        n = 4;
    else
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

/* One line of valid UTF-8: control characters become spaces, other bytes '?'. A sequence cut
 * off by the buffer's end disappears. */
static void make_line(char *text, bool cut)
{
    char *out = text;
    const char *s = text;

    while (*s != '\0') {
        const unsigned char *u = (const unsigned char *)s;
        size_t n = utf8_sequence(u);

        if (n == 0 && cut && strlen(s) < 4 && u[0] >= 0xc2)
            break;
        if (n <= 1) {
            *out++ = n == 0 ? '?' : (*u < 0x20 || *u == 0x7f) ? ' ' : *s;
            s++;
            continue;
        }
        memmove(out, s, n);
        out += n;
        s += n;
    }
    while (out > text && out[-1] == ' ')
        out--;
    *out = '\0';
}

__attribute__((format(printf, 5, 0))) static int fill(struct err *err, enum err_status status,
                                                      int exit_code, const char *reason,
                                                      const char *fmt, va_list ap)
{
    char text[ERR_TEXT_BYTES];
    int n;

    if (err == NULL)
        return status;
    n = vsnprintf(text, sizeof(text), fmt, ap); /* an argument may lie inside *err */
    if (n < 0)
        text[0] = '\0';
    make_line(text, n >= (int)sizeof(text));
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

int err_wrap(struct err *err, const char *fmt, ...)
{
    char context[ERR_TEXT_BYTES], text[ERR_TEXT_BYTES];
    va_list ap;
    int n;

    if (err == NULL)
        return ERR_FATAL;
    va_start(ap, fmt);
    n = vsnprintf(context, sizeof(context), fmt, ap);
    va_end(ap);
    if (n < 0)
        return err->status;
    if (err->text[0] == '\0')
        n = snprintf(text, sizeof(text), "%s", context);
    else
        n = snprintf(text, sizeof(text), "%s: %s", context, err->text);
    make_line(text, n >= (int)sizeof(text));
    memcpy(err->text, text, sizeof(text));
    return err->status;
}

void err_clear(struct err *err)
{
    if (err != NULL)
        memset(err, 0, sizeof(*err));
}
