#ifndef MMF_DAEMON_SERVICE_JOURNAL_H
#define MMF_DAEMON_SERVICE_JOURNAL_H

/* The log writer for a process whose standard error is the journal: message, PRIORITY and the
 * fields (ITEM_ID=, KAFKA_OFFSET=, …) go to journald as fields, so that `journalctl ITEM_ID=v1`
 * finds them. Thread-safe. */

/* Installs the writer when log_stderr_is_journal; otherwise the default one stays. */
void journal_install(void);

#endif
