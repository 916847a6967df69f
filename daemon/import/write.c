/* What items and interactions share: telling, digests, one block into the store. */
#include "config/clock.h"
#include "daemon/base/metrics.h"
#include "daemon/import/internal.h"
#include "store/models.h"

#include <inttypes.h>
#include <sysexits.h>

#define TELL_US 100000

int import_tell(struct import *im, int64_t done, struct err *err)
{
    const struct import_request *q = im->q;
    int64_t now_us = clock_mono_us();

    if (!q->progress || now_us - im->told_us < TELL_US)
        return ERR_OK;
    im->told_us = now_us;
    if (q->progress(q->ctx, im->total ? done : 0, im->total))
        return ERR_OK;
    if (!im->total)
        return err_retry(err, EX_TEMPFAIL,
                         "stopped while the file was checked: nothing was written");
    return err_retry(err, EX_TEMPFAIL,
                     "stopped after %" PRId64 " of %" PRId64
                     " lines, which are stored: import the same files again to go on",
                     done, im->total);
}

static bool digest_on(void *ctx, const void *data, size_t bytes)
{
    (void)data;
    (void)bytes;
    return import_tell(ctx, 0, NULL) == ERR_OK;
}

int import_digest(struct import *im, const struct import_file *file,
                  char ret_hex[DIGEST_HEX_BYTES], struct err *err)
{
    int r = digest_fd_blocks(file->fd, INT64_MAX, digest_on, im, ret_hex, err);

    return r == ERR_OK ? ERR_OK : err_wrap(err, "%s", file->name);
}

/* ---- writing --------------------------------------------------------------------------------- */

struct block {
    const struct store_op *ops;
    size_t n;
    int64_t model_id;
    struct store_batch_result result;
};

static int check_model(struct store *st, int64_t model_id, struct err *err)
{
    struct store_model row = {0};
    int r = store_model_active(st, &row, err);

    if (r != ERR_OK && r != ERR_NONE)
        return r;
    bool same = (r == ERR_OK ? row.model_id : 0) == model_id;
    store_model_done(&row);
    return same ? ERR_OK : ERR_STALE;
}

static int write_block(struct store *st, void *arg, struct err *err)
{
    struct block *b = arg;
    int r = b->model_id >= 0 ? check_model(st, b->model_id, err) : ERR_OK;

    return r == ERR_OK ? store_write_batch(st, b->ops, b->n, NULL, 0, &b->result, err) : r;
}

int import_write(struct import *im, const struct store_op *ops, size_t n, int64_t model_id,
                 struct err *err)
{
    struct block b = {.ops = ops, .n = n, .model_id = model_id};
    int r = store_work(&im->q->writer, write_block, &b, err);

    if (r != ERR_OK && r != ERR_STALE)
        return err_wrap(err,
                        "import: stopped after %" PRId64 " of %" PRId64
                        " lines, which are stored (import the same files again to go on)",
                        im->result.n_stored + im->result.n_already + im->result.n_dropped,
                        im->total);
    if (r != ERR_OK)
        return r;
    im->result.n_stored += b.result.n_inserted + b.result.n_updated + b.result.n_interactions;
    im->result.n_already += b.result.n_stale;
    im->result.n_dropped += b.result.n_dropped;
    metrics_forgotten(0, b.result.n_dropped);
    im->result.n_new_items += b.result.n_new_items + b.result.n_inserted;
    im->result.n_new_users += b.result.n_new_users;
    return ERR_OK;
}
