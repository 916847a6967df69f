#ifndef MMF_DAEMON_PIPELINE_ROW_H
#define MMF_DAEMON_PIPELINE_ROW_H

/* An item as the store wants it: the only place where the daemon's words become the store's.
 * The row borrows everything from the item and its arena. */

#include "config/err.h"
#include "daemon/event/item.h"
#include "store/writing.h"

struct row {
    union {
        struct store_video video;
        struct store_delete del;
        struct store_interaction interaction;
        struct store_dead_letter dead_letter;
        struct store_gap gap;
        struct store_forget forget;
        struct store_reextraction reextraction;
    };
};

/* ERR_RETRY when memory is out. dlq_topic NULL = dead letters stay in the store. */
int row_from_item(struct item *item, const char *dlq_topic, struct row *ret_row,
                  struct store_op *ret_op, struct err *err);

struct json_t;
/* How the media was sampled, as JSON: a new object, NULL when memory is out. */
struct json_t *row_flags_json(const struct features_flags *flags);

#endif
