#ifndef MMF_DAEMON_PIPELINE_SINK_H
#define MMF_DAEMON_PIPELINE_SINK_H

/* The sink thread: takes finished items from `done`, fuses a batch, and writes it with its next
 * offsets in ONE transaction. It owns the only writing connection and the active model.
 *
 * A batch is written at once when nothing else is in flight, otherwise at batch_rows, batch_ms
 * or batch_bytes, whichever comes first.
 *
 * Failure of a write:
 *   ERR_RETRY (disk full, no memory)  the batch is kept and tried again every retry_ms, for ever;
 *                                     work of sink_writer still runs in between
 *   a refused row                     the batch is halved until the row at fault stands alone and
 *                                     becomes a dead letter; the others are written
 *   ERR_FATAL otherwise               failed(): nothing more is written
 *
 * Between batches: work of other threads (sink_writer), a bounded piece of retention, and a
 * look whether the store has another active model now. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/event/item.h"
#include "daemon/model/active_model.h"
#include "daemon/pipeline/ledger.h"
#include "daemon/pipeline/queue.h"
#include "store/writing.h"

struct sink;

struct sink_options {
    struct queue *done;
    struct ledger *ledger;
    struct store *st; /* borrowed, used by this thread alone until sink_close */
    const struct settings *settings;
    const char *dlq_topic; /* NULL = dead letters stay in the store */
    /* All on the sink's thread; settled comes before the item is freed. */
    void (*settled)(void *arg, const struct item *item);
    void (*committed)(void *arg, const struct ledger_next *next, size_t n);
    void (*failed)(void *arg, const struct err *err);
    void *arg;
    const char *lost; /* why there is no model, "" = there is one; until sink_open returns */
};

struct sink_status {
    char wait[96]; /* "" = none */
    /* Monotonic: since when no batch could be written; 0 = they can. */
    int64_t failing_since_us;
    int64_t committed_us; /* wall clock: the last batch; 0 = none yet */
    /* Why the active model is not there: items are stored without vectors; "" = it is. */
    char lost[256];
    int64_t model_id; /* 0 = lost */
    bool model_trained;
    int32_t dim;
};

/* Takes the model over, on success only. One without model->model: the active one is lost. */
int sink_open(const struct sink_options *options, struct active_model *model,
              struct sink **ret_k, struct err *err);
/* The way to the sink's thread, for any other; ERR_FATAL once the sink has stopped. Until
 * sink_close. */
struct store_writer sink_writer(struct sink *k);
void sink_reload(struct sink *k, const struct settings *s);
void sink_status(struct sink *k, struct sink_status *ret_status);
/* Ends the thread after the write under way; what is collected is dropped. sink_writer's work
 * then fails. */
void sink_stop(struct sink *k);
void sink_close(struct sink *k); /* after sink_stop; takes NULL */

#endif
