#include "daemon/pipeline/fetching.h"

#include "config/clock.h"
#include "config/log_limit.h"

#include <assert.h>

int fetching_open(struct fetching *f, struct err *err)
{
    return fetch_open(&f->fetch, err);
}

void fetching_add(struct fetching *f, struct item *item)
{
    item_list_push(&f->waiting, item);
}

static unsigned free_slot(const struct fetching *f)
{
    unsigned i = 0;
    while (f->slots[i].item)
        i++;
    return i;
}

void fetching_start(struct fetching *f, const struct settings *s)
{
    while (f->waiting.head && fetch_n_idle(f->fetch) > 0) {
        const struct item *item = f->waiting.head;
        const struct media_roots roots = media_roots_of(s, item->media_root);
        int64_t now_us = clock_mono_us();
        unsigned i = free_slot(f);
        if (fetch_submit(f->fetch, i, &roots, item->media_uri, NULL) != ERR_OK)
            return;
        f->slots[i] =
            (struct fetching_slot){.item = item_list_pop(&f->waiting), .since_us = now_us};
    }
}

struct item *fetching_take(struct fetching *f, struct err *ret_err)
{
    struct fetch_result result;
    if (!fetch_take(f->fetch, &result))
        return NULL;
    struct item *item = f->slots[result.id].item;
    assert(item && item->media_fd < 0);
    f->slots[result.id].item = NULL;
    item->media_fd = result.fd;
    *ret_err = result.err;
    return item;
}

int fetching_fd(const struct fetching *f)
{
    return fetch_fd(f->fetch);
}

void fetching_look(struct fetching *f)
{
    int64_t slow_us = clock_mono_us() - (int64_t)FETCHING_SLOW_MS * 1000;
    for (unsigned i = 0; i < FETCH_THREADS; i++) {
        struct fetching_slot *slot = &f->slots[i];
        if (!slot->item || slot->told || slot->since_us > slow_us)
            continue;
        if (log_limit(LOG_LEVEL_WARNING, "media that have not opened", "", "item %s",
                      slot->item->item_id))
            log_warning("item %s: media %s has not opened for %d s: check the storage it is on",
                        slot->item->item_id, slot->item->media_uri, FETCHING_SLOW_MS / 1000);
        slot->told = true;
    }
}

unsigned fetching_n_slow(const struct fetching *f)
{
    unsigned n = 0;
    for (unsigned i = 0; i < FETCH_THREADS; i++)
        n += f->slots[i].item && f->slots[i].told;
    return n;
}

void fetching_close(struct fetching *f)
{
    unsigned n_left = fetch_close(f->fetch);
    if (n_left > 0)
        log_warning("%u media have not opened: left behind; their events are read again after "
                    "the next start",
                    n_left);
    item_list_free(&f->waiting);
    for (unsigned i = 0; i < FETCH_THREADS; i++)
        item_free(f->slots[i].item);
    *f = (struct fetching){0};
}
