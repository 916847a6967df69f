/* journald's native protocol by libsystemd. A message with more fields than fit, or one that
 * journald does not take, is written to standard error as the default writer would, so that no
 * line is lost. */
#include "daemon/service/journal.h"

#include "config/log.h"
#include "config/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <syslog.h>
#define SD_JOURNAL_SUPPRESS_LOCATION /* it would be this file, by the builder's path, each time */
#include <systemd/sd-journal.h>

#define JOURNAL_FIELDS     16
#define JOURNAL_LINE_BYTES 2048

_Static_assert((int)LOG_LEVEL_ERROR == LOG_ERR && (int)LOG_LEVEL_DEBUG == LOG_DEBUG,
               "enum log_level carries syslog's numbers");

/* NAME=value into line, in one line of UTF-8 as on standard error; false when it does not fit. */
static bool field_set(struct iovec *iov, char line[JOURNAL_LINE_BYTES], const char *name,
                      const char *value)
{
    text_format(line, JOURNAL_LINE_BYTES, "%s=%s", name, value ? value : "");
    *iov = (struct iovec){.iov_base = line, .iov_len = strlen(line)};
    return strlen(name) + strlen(value ? value : "") + 1 < JOURNAL_LINE_BYTES;
}

static void journal_write(enum log_level level, const char *text,
                          const struct log_field *fields, size_t n_fields)
{
    static _Thread_local char lines[JOURNAL_FIELDS + 2][JOURNAL_LINE_BYTES];
    struct iovec iov[JOURNAL_FIELDS + 2];
    char priority[2] = {(char)('0' + (int)level), '\0'};
    int n = 2;
    bool fits;

    fits = field_set(&iov[0], lines[0], "MESSAGE", text) &&
           field_set(&iov[1], lines[1], "PRIORITY", priority);
    for (size_t i = 0; i < n_fields && i < JOURNAL_FIELDS; i++, n++)
        fits = fits && field_set(&iov[n], lines[n], fields[i].name, fields[i].value);
    if (!fits || sd_journal_sendv(iov, n) < 0)
        fprintf(stderr, "<%d>%s\n", (int)level, text);
}

void journal_install(void)
{
    if (log_stderr_is_journal())
        log_set_writer(journal_write);
}
