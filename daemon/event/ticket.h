#ifndef MMF_DAEMON_EVENT_TICKET_H
#define MMF_DAEMON_EVENT_TICKET_H

/* What became of items that somebody sent through the pipeline and waits for (reextract.h). One
 * reference is the owner's, one each item's, given back by item_free: so the owner may go before
 * the last item, and knows when none is left. Any thread. */

#include "config/err.h"
#include "daemon/base/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TICKET_FAILURES_MAX 50 /* told one by one; the rest is counted */
#define TICKET_ID_BYTES     (ID_BYTES_MAX + 1)
#define TICKET_TEXT_BYTES   256

struct ticket;

struct ticket_failure {
    char item_id[TICKET_ID_BYTES]; /* as it is: a program looks for the item by it */
    char reason[ERR_REASON_BYTES], text[TICKET_TEXT_BYTES];
};

struct ticket_result {
    int64_t n_done; /* features replaced */
    int64_t n_kept; /* of these, with the vector that they had: see fuser.h */
    int64_t n_gone; /* media_missing: the item stays as it is */
    int64_t n_failed;
    size_t n_failures; /* gone ones included */
    struct ticket_failure failures[TICKET_FAILURES_MAX];
};

struct ticket *ticket_new(void); /* NULL when memory is out */
struct ticket *ticket_hold(struct ticket *t);
void ticket_release(struct ticket *t); /* takes NULL */
/* References beside the owner's. */
size_t ticket_n_items(struct ticket *t);

void ticket_done(struct ticket *t, bool kept);
void ticket_failed(struct ticket *t, const char *item_id, const struct err *err);
void ticket_read(struct ticket *t, struct ticket_result *ret);

#endif
