#ifndef MMF_CONFIG_LOG_H
#define MMF_CONFIG_LOG_H

/* The log: levels as syslog's, one line a message, fields as journald's (ITEM_ID=,
 * KAFKA_OFFSET=, MODEL_ID=). Libraries return errors and do not log; daemon/ does. The default
 * writer prints to standard error:
 *
 *     2026-11-30T11:04:04.123Z info: message ITEM_ID=v1     a terminal, a file, a container's log
 *     <6>message ITEM_ID=v1                                 the journal, which has the time
 *
 * daemon/ installs one that speaks to journald when standard error is the journal. Thread-safe. */

#include <stdbool.h>
#include <stddef.h>

enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

struct log_field {
    const char *name; /* upper case, [A-Z0-9_] */
    const char *value;
};

typedef void log_writer(enum log_level level, const char *text, const struct log_field *fields,
                        size_t n_fields);

/* True when file descriptor 2 is the stream that $JOURNAL_STREAM ("device:inode") names. */
bool log_stderr_is_journal(void);

void log_set_level(enum log_level level);
void log_set_writer(log_writer *writer); /* NULL = the default */

void log_write(enum log_level level, const struct log_field *fields, size_t n_fields,
               const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#define log_error(...)   log_write(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, NULL, 0, __VA_ARGS__)
#define log_notice(...)  log_write(LOG_LEVEL_NOTICE, NULL, 0, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, NULL, 0, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, NULL, 0, __VA_ARGS__)

#endif
