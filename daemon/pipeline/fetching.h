#ifndef MMF_DAEMON_PIPELINE_FETCHING_H
#define MMF_DAEMON_PIPELINE_FETCHING_H

/* Items on their way to an open descriptor: what waits for a thread of fetch.h, and what has one.
 * The extract thread's, and only its. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/event/item.h"
#include "daemon/media/fetch.h"

#include <stdbool.h>
#include <stdint.h>

/* Then media is slow. */
#define FETCHING_SLOW_MS 30000

struct fetching {
    struct fetch *fetch;
    struct item_list waiting;
    struct fetching_slot {
        struct item *item; /* NULL = free; a request's id is the slot's index */
        int64_t since_us;
        bool told;
    } slots[FETCH_THREADS];
};

/* A zeroed struct is closed. */
int fetching_open(struct fetching *f, struct err *err);
/* Takes the item, which has a media_uri. */
void fetching_add(struct fetching *f, struct item *item);
/* Gives what waits to idle threads; without memory it goes on waiting. */
void fetching_start(struct fetching *f, const struct settings *s);
/* An item that is done, NULL when there is none: *ret_err is ERR_OK and item->media_fd open, or what
 * media_open said. */
struct item *fetching_take(struct fetching *f, struct err *ret_err);
/* Readable while fetching_take has one. */
int fetching_fd(const struct fetching *f);
/* Names media that is slow, once each. */
void fetching_look(struct fetching *f);
/* How many have been slow, and are not open yet. */
unsigned fetching_n_slow(const struct fetching *f);
/* Frees the items; takes about a second at most, whatever hangs. */
void fetching_close(struct fetching *f);

#endif
