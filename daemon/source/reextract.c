#include "daemon/source/reextract.h"

#include "config/clock.h"
#include "config/log.h"
#include "daemon/base/json_field.h"
#include "daemon/event/item.h"
#include "daemon/pipeline/ledger.h"
#include "daemon/pipeline/pipeline.h"
#include "extract/wire/features.h"
#include "store/reading.h"
#include "store/writing.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define LANE      "re-extraction" /* in the ledger */
#define PAGE_ROWS 256
#define NAP_MS    5

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

struct run {
    struct pipeline *p;
    struct store *st;
    const struct reextract_which *which;
    const struct ingest_watch *watch;
    struct ticket *ticket;
    int64_t offset; /* of the next item */
    int64_t n_selected, total;
    int64_t next_us, told_us;               /* monotonic */
    const char *encoder_id[MODALITY_COUNT]; /* of the workers */

    struct store_ref *page; /* candidates read ahead */
    size_t n_page, at;
    int64_t last_rid;
    char last[TICKET_ID_BYTES]; /* submitted */
};

/* ---- which items ------------------------------------------------------------------------- */

/* As the store asks for them. */
static void list_ids(const struct encoder_identity *encoders,
                     const char *ret_ids[MODALITY_COUNT])
{
    for (int m = 0; m < MODALITY_COUNT; m++)
        ret_ids[m] = encoders[m].id;
}

int reextract_count_stale(struct store *st, const struct encoder_identity *encoders,
                          int64_t *ret_n, struct err *err)
{
    const char *ids[MODALITY_COUNT];

    list_ids(encoders, ids);
    return store_count_stale(st, ids, ret_n, err);
}

static int next_page(struct run *run, struct err *err)
{
    const char *const *encoder_id = run->which->all ? NULL : run->encoder_id;
    int r;

    store_refs_free(run->page, run->n_page);
    run->page = NULL;
    run->n_page = run->at = 0;
    r = store_list_extractable(run->st, encoder_id, run->last_rid, PAGE_ROWS, &run->page,
                               &run->n_page, err);
    if (r == ERR_OK && run->n_page > 0)
        run->last_rid = run->page[run->n_page - 1].rid;
    return r;
}

/* ERR_END after the last one. */
static int next_item(struct run *run, const char **ret_item_id, struct err *err)
{
    int r;

    if (run->which->n_ids > 0) {
        if ((size_t)run->n_selected == run->which->n_ids)
            return ERR_END;
        *ret_item_id = run->which->item_ids[run->n_selected];
        return ERR_OK;
    }
    if (run->at == run->n_page) {
        r = next_page(run, err);
        if (r != ERR_OK)
            return r;
    }
    if (run->n_page == 0)
        return ERR_END;
    *ret_item_id = run->page[run->at++].item_id;
    return ERR_OK;
}

static int find_start(struct run *run, struct err *err)
{
    struct store_item item = {0};
    int r;

    if (!run->which->after)
        return ERR_OK;
    r = store_get_item(run->st, run->which->after, &item, err);
    if (r == ERR_NONE)
        return err_fatal(err, EX_NOINPUT, "no item \"%s\" in this store to begin after",
                         run->which->after);
    run->last_rid = item.rid;
    store_item_done(&item);
    return r;
}

static int count_total(struct run *run, struct err *err)
{
    struct store_counts counts;
    int r;

    run->total = (int64_t)run->which->n_ids;
    if (run->total > 0)
        return ERR_OK;
    if (!run->which->all)
        return store_count_stale(run->st, run->encoder_id, &run->total, err);
    r = store_count(run->st, &counts, err);
    if (r == ERR_OK)
        run->total = counts.n_items;
    return r;
}

/* ---- through the pipeline ---------------------------------------------------------------- */

static struct item *make_item(struct run *run, const char *item_id)
{
    struct item *item = item_new();
    const char *root = run->which->media_root;

    if (!item)
        return NULL;
    item->ticket = ticket_hold(run->ticket);
    item->kind = ITEM_UPDATED;
    item->lane = item->topic = LANE;
    item->item_id = arena_strdup(&item->arena, item_id);
    item->media_root = root ? arena_strdup(&item->arena, root) : NULL;
    item->offset = item->lane_offset = run->offset;
    item->received_us = clock_real_us();
    if (item->item_id && (item->media_root || !root))
        return item;
    item_free(item);
    return NULL;
}

static int submit(struct run *run, const char *item_id, struct err *err)
{
    struct item *item = make_item(run, item_id);

    if (!item)
        return err_oom(err, "re-extraction");
    if (!ledger_begin(pipeline_ledger(run->p), LANE, 0, run->offset, &item->epoch)) {
        item_free(item);
        return err_fatal(err, EX_SOFTWARE, "re-extraction %lld: already in flight",
                         (long long)run->offset);
    }
    run->offset++;
    run->n_selected++;
    pipeline_submit(run->p, item);
    return ERR_OK;
}

/* Fatal: the pipeline has failed. Retry: nobody waits for us any more. */
static int look_around(struct run *run, const struct pipeline_status *status, struct err *err)
{
    int64_t now_us = clock_mono_us();
    struct ingest_progress now = {.done =
                                      run->n_selected - (int64_t)ticket_n_items(run->ticket),
                                  .total = run->total,
                                  .wait = status->wait};

    if (status->failed) {
        *err = status->err;
        return err_wrap(err, "pipeline stopped");
    }
    if (!run->watch || !run->watch->progress || now_us - run->told_us < 100000)
        return ERR_OK;
    run->told_us = now_us;
    return run->watch->progress(run->watch->ctx, &now)
               ? ERR_OK
               : err_retry(err, EX_TEMPFAIL, "stopped before the end: run it again");
}

static void nap(void)
{
    const struct timespec t = {.tv_nsec = NAP_MS * 1000000L};

    nanosleep(&t, NULL);
}

/* Until one more may start: the rate, a worker left for uploads, room in the queue. */
static int wait_turn(struct run *run, struct err *err)
{
    int64_t step_us = run->which->rate > 0 ? 1000000 / run->which->rate : 0;

    for (;;) {
        struct pipeline_status status;
        size_t n_workers, limit;
        int64_t now_us = clock_mono_us();
        int r;

        pipeline_status(run->p, &status);
        n_workers = status.pool.n_workers;
        limit = n_workers > 1 ? n_workers - 1 : 1;
        r = look_around(run, &status, err);
        if (r != ERR_OK)
            return r;
        if (now_us >= run->next_us && ticket_n_items(run->ticket) < limit &&
            !pipeline_is_full(run->p)) {
            run->next_us = (run->next_us + step_us > now_us ? run->next_us : now_us) + step_us;
            return ERR_OK;
        }
        nap();
    }
}

/* Until every item has been freed. */
static int wait_all(struct run *run, struct err *err)
{
    int r = ERR_OK;

    while (r == ERR_OK && ticket_n_items(run->ticket) > 0) {
        struct pipeline_status status;

        pipeline_status(run->p, &status);
        r = look_around(run, &status, err);
        if (r == ERR_OK)
            nap();
    }
    return r;
}

static int send_all(struct run *run, struct err *err)
{
    const char *item_id = NULL;
    int r;

    while ((r = next_item(run, &item_id, err)) == ERR_OK) {
        r = wait_turn(run, err);
        if (r == ERR_OK)
            r = submit(run, item_id, err);
        if (r != ERR_OK)
            break;
        (void)snprintf(run->last, sizeof(run->last), "%s", item_id);
    }
    if (r == ERR_END)
        r = wait_all(run, err);
    if (r != ERR_OK)
        log_notice(
            "re-extraction: stopped after %lld items, the last one %s: what is done stays",
            (long long)run->n_selected, run->last);
    return r;
}

static int open_run(struct run *run, struct err *err)
{
    uint32_t epoch;
    int r;

    list_ids(pipeline_encoders(run->p), run->encoder_id);
    run->ticket = ticket_new();
    r = run->ticket ? find_start(run, err) : err_oom(err, "re-extraction");
    if (r == ERR_OK)
        r = count_total(run, err);
    if (r == ERR_OK)
        r = ledger_open_lane(pipeline_ledger(run->p), LANE, &epoch, err);
    return r;
}

static int run_locked(struct run *run, struct reextract_result *ret_result, struct err *err)
{
    int64_t started_us = clock_mono_us();
    int r = open_run(run, err);

    if (r == ERR_OK)
        r = send_all(run, err);
    ledger_revoke(pipeline_ledger(run->p), LANE, 0);
    store_refs_free(run->page, run->n_page);
    if (r == ERR_OK) {
        *ret_result =
            (struct reextract_result){.n_selected = run->n_selected,
                                      .seconds = (double)(clock_mono_us() - started_us) / 1e6};
        ticket_read(run->ticket, &ret_result->t);
    }
    ticket_release(run->ticket);
    return r;
}

int reextract_run(struct pipeline *p, const char *store_path,
                  const struct reextract_which *which, const struct ingest_watch *watch,
                  struct reextract_result *ret_result, struct err *err)
{
    struct run run = {.p = p, .which = which, .watch = watch};
    struct pipeline_status status;
    int r;

    /* new features beside vectors that were made of the old ones, and nobody would know */
    pipeline_status(p, &status);
    if (status.model_lost[0])
        return err_fatal(err, EX_NOINPUT, "no model to fuse new features with: %s",
                         status.model_lost);
    if (pthread_mutex_trylock(&one_at_a_time) != 0)
        return err_retry(err, EX_TEMPFAIL,
                         "another re-extraction is running: try again when it is over");
    r = store_open(store_path, STORE_READ, &run.st, err);
    if (r == ERR_OK) {
        r = run_locked(&run, ret_result, err);
        store_close(run.st);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return r;
}

struct json_t *reextract_json(const struct reextract_result *r)
{
    json_t *failures = json_array();

    for (size_t i = 0; i < r->t.n_failures; i++) {
        const struct ticket_failure *f = &r->t.failures[i];

        json_array_append_new(failures,
                              json_pack("{s:o, s:s, s:s}", "item_id", json_of_text(f->item_id),
                                        "reason", f->reason, "error", f->text));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "selected",
                     (json_int_t)r->n_selected, "done", (json_int_t)r->t.n_done, "kept",
                     (json_int_t)r->t.n_kept, "gone", (json_int_t)r->t.n_gone, "failed",
                     (json_int_t)r->t.n_failed, "seconds", r->seconds, "failures", failures);
}
