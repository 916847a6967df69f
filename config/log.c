#include "config/log.h"

#include "config/clock.h"
#include "config/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES 2048
#define LINE_BYTES 4096

static _Atomic int threshold = LOG_LEVEL_INFO;
static _Atomic(log_writer *) current_writer;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

void log_set_writer(log_writer *writer)
{
    atomic_store(&current_writer, writer);
}

bool log_stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char ours[64];
    struct stat st;

    if (!stream || fstat(STDERR_FILENO, &st) != 0)
        return false;
    (void)snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, ours) == 0;
}

/* A line under construction; what does not fit is left out. One byte stays free for '\n'. */
struct line {
    char bytes[LINE_BYTES];
    size_t n;
};

static void line_add(struct line *l, char c)
{
    if (l->n < sizeof(l->bytes) - 1)
        l->bytes[l->n++] = c;
}

static void line_add_text(struct line *l, const char *s)
{
    while (*s != '\0')
        line_add(l, *s++);
}

/* Quoted when it would not read back as one word. */
static void line_add_value(struct line *l, const char *raw)
{
    char value[LINE_BYTES];

    text_format(value, sizeof(value), "%s", raw);
    bool quote = value[0] == '\0' || strpbrk(value, " \t\r\n\"\\") != NULL;

    if (!quote) {
        line_add_text(l, value);
        return;
    }
    line_add(l, '"');
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            line_add(l, '\\');
        line_add(l, *c);
    }
    line_add(l, '"');
}

/* The journal knows the time and reads the level; nobody else does. */
static void line_begin(struct line *l, enum log_level level)
{
    static const char *const words[] = {
        [LOG_LEVEL_ERROR] = "error",   [LOG_LEVEL_WARNING] = "warning",
        [LOG_LEVEL_NOTICE] = "notice", [LOG_LEVEL_INFO] = "info",
        [LOG_LEVEL_DEBUG] = "debug",
    };
    char head[64], at[32];
    int64_t now_us = clock_real_us();
    time_t now_s = (time_t)(now_us / 1000000);
    struct tm tm;

    if (log_stderr_is_journal()) {
        (void)snprintf(head, sizeof(head), "<%d>", (int)level);
    } else {
        (void)strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now_s, &tm));
        (void)snprintf(head, sizeof(head), "%s.%03dZ %s: ", at, (int)(now_us / 1000 % 1000),
                       words[level]);
    }
    line_add_text(l, head);
}

/* One write a line, so that lines of two threads do not mix. There is nowhere to report that
 * the log itself cannot be written. */
static void write_default(enum log_level level, const char *text,
                          const struct log_field *fields, size_t n_fields)
{
    struct line l = {.n = 0};
    size_t done = 0;

    line_begin(&l, level);
    line_add_text(&l, text);
    for (size_t i = 0; i < n_fields; i++) {
        line_add(&l, ' ');
        line_add_text(&l, fields[i].name);
        line_add(&l, '=');
        line_add_value(&l, fields[i].value != NULL ? fields[i].value : "");
    }
    l.bytes[l.n++] = '\n';
    while (done < l.n) {
        ssize_t n = write(STDERR_FILENO, l.bytes + done, l.n - done);

        if (n < 0 && errno != EINTR)
            return;
        if (n > 0)
            done += (size_t)n;
    }
}

void log_write(enum log_level level, const struct log_field *fields, size_t n_fields,
               const char *fmt, ...)
{
    log_writer *writer = atomic_load(&current_writer);
    char text[TEXT_BYTES];
    int saved_errno = errno;
    va_list ap;

    if ((int)level > atomic_load(&threshold))
        return;
    va_start(ap, fmt);
    text_vformat(text, sizeof(text), fmt, ap);
    va_end(ap);
    (writer != NULL ? writer : write_default)(level, text, fields, n_fields);
    errno = saved_errno;
}
