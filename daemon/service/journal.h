#ifndef MMF_DAEMON_SERVICE_JOURNAL_H
#define MMF_DAEMON_SERVICE_JOURNAL_H

/* The log writer for a process whose standard error is the journal: message, PRIORITY and the
 * fields (ITEM_ID=, KAFKA_OFFSET=, …) go to journald as fields, so that `journalctl ITEM_ID=v1`
 * finds them. Thread-safe. */

#include <stdbool.h>

/* True when file descriptor 2 is the stream that $JOURNAL_STREAM ("device:inode") names. */
bool journal_is_stderr(void);
/* Installs the writer when journal_is_stderr; otherwise the default one stays. */
void journal_install(void);

#endif
