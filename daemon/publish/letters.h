#ifndef MMF_DAEMON_PUBLISH_LETTERS_H
#define MMF_DAEMON_PUBLISH_LETTERS_H

/* The outbox of dead letters: the rows of dlq_outbox as messages of the DLQ topic.
 *
 * Message    The original's key, value and headers, then headers with Kafka Connect's names, so
 *            that existing tools read them: __connect.errors.topic, .partition, .offset, .stage,
 *            .exception.class.name (the reason), .exception.message.
 * Too large  Cut once, a letter goes without its value; cut twice, also without its key and its
 *            own headers. The header metammf.value.bytes says so; the store keeps the bytes.
 * Damaged    A row whose checksum does not fit is passed over and stays; the log names it once. */

#include "config/err.h"
#include "daemon/publish/publish.h"
#include "store/writing.h"

struct letters_options {
    const char *store_path; /* borrowed until the outbox is closed */
    struct store_writer writer;
};

int letters_open(const struct letters_options *options, struct outbox **ret_o, struct err *err);

#endif
