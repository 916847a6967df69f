/* Ownership: a read-only store handle, opened at the first read, and the rows of the last read,
 * from which messages borrow. */

#include "daemon/publish/letters.h"

#include "config/log_limit.h"
#include "config/text.h"
#include "store/reading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_NOTES 7 /* headers that we add at most */

enum cut { WHOLE, WITHOUT_VALUE, BARE };

struct letters {
    struct outbox base; /* first */
    struct letters_options options;
    struct store *reader;
    struct store_letter *rows; /* (n_rows), of the last read */
    size_t n_rows;
    int64_t named_id; /* the newest damaged row that the log has named */

    /* the message that is lent */
    struct publish_header *headers; /* (n_headers_max) */
    size_t n_headers_max;
    char partition[16], offset[24], value_bytes[24];
    char error[ERR_TEXT_BYTES];
};

static int read_rows(struct outbox *o, int64_t after_id, size_t max, size_t *ret_n,
                     struct err *err)
{
    struct letters *l = (struct letters *)o;
    if (l->reader == NULL) {
        int status = store_open(l->options.store_path, STORE_READ, &l->reader, err);
        if (status != ERR_OK)
            return status;
    }
    int status = store_outbox_read(l->reader, after_id, max, &l->rows, &l->n_rows, err);
    if (status == ERR_OK)
        *ret_n = l->n_rows;
    return status;
}

static void release_rows(struct outbox *o)
{
    struct letters *l = (struct letters *)o;
    store_letters_free(l->rows, l->n_rows);
    l->rows = NULL;
    l->n_rows = 0;
}

static void name_damaged(struct letters *l, const struct store_letter *row)
{
    if (row->id <= l->named_id)
        return;
    l->named_id = row->id;
    if (log_limit(LOG_LEVEL_ERROR, "damaged dead letters that are not published", "", "%lld",
                  (long long)row->id))
        log_error(
            "outbox: dead letter %lld: (%s/%d@%lld, %s): the checksum does not fit its bytes: "
            "it is not published and stays until metammf dlq purge --damaged",
            (long long)row->id, row->topic, row->partition, (long long)row->offset,
            row->reason);
}

static int make_room(struct letters *l, size_t n, struct err *err)
{
    if (n <= l->n_headers_max)
        return ERR_OK;
    struct publish_header *headers = reallocarray(l->headers, n, sizeof(*headers));
    if (headers == NULL)
        return err_oom(err, "making the headers of a dead letter");
    l->headers = headers;
    l->n_headers_max = n;
    return ERR_OK;
}

static struct publish_header note(const char *name, const char *value)
{
    return (struct publish_header){name, value, value != NULL ? strlen(value) : 0};
}

/* The original's headers, then ours; how many. */
static size_t fill_headers(struct letters *l, const struct store_letter *row, enum cut cut)
{
    size_t n = 0;
    snprintf(l->partition, sizeof(l->partition), "%d", row->partition);
    snprintf(l->offset, sizeof(l->offset), "%lld", (long long)row->offset);
    snprintf(l->value_bytes, sizeof(l->value_bytes), "%zu", row->value_bytes);
    for (size_t i = 0; cut < BARE && i < row->n_headers; i++)
        l->headers[n++] = (struct publish_header){row->headers[i].name, row->headers[i].value,
                                                  row->headers[i].value_bytes};
    l->headers[n++] = note("__connect.errors.topic", row->topic);
    l->headers[n++] = note("__connect.errors.partition", l->partition);
    l->headers[n++] = note("__connect.errors.offset", l->offset);
    l->headers[n++] = note("__connect.errors.stage", row->stage);
    l->headers[n++] = note("__connect.errors.exception.class.name", row->reason);
    text_format(l->error, sizeof(l->error), "%s",
                row->error); /* an older version kept it as it was */
    l->headers[n++] = note("__connect.errors.exception.message", l->error);
    if (cut > WHOLE)
        l->headers[n++] = note("metammf.value.bytes", l->value_bytes);
    return n;
}

static int message(struct outbox *o, size_t i, unsigned cut,
                   struct publish_message *ret_message, struct err *err)
{
    struct letters *l = (struct letters *)o;
    const struct store_letter *row = &l->rows[i];
    *ret_message = (struct publish_message){.id = row->id, .topic = row->dlq_topic};
    if (row->damaged) {
        name_damaged(l, row);
        return ERR_SKIP;
    }
    int status = make_room(l, row->n_headers + N_NOTES, err);
    if (status != ERR_OK)
        return status;
    if (cut < BARE) {
        ret_message->key = row->key;
        ret_message->key_bytes = row->key_bytes;
    }
    ret_message->value = ""; /* an empty value, not none: it is no tombstone */
    if (cut == WHOLE) {
        ret_message->value = row->value;
        ret_message->value_bytes = row->value_bytes;
    }
    ret_message->headers = l->headers;
    ret_message->n_headers = fill_headers(l, row, (enum cut)cut);
    return ERR_OK;
}

struct ids {
    const int64_t *rows; /* (n) */
    size_t n;
};

static int delete_ids(struct store *st, void *arg, struct err *err)
{
    const struct ids *ids = arg;
    return store_outbox_delete(st, ids->rows, ids->n, err);
}

static int forget(struct outbox *o, const int64_t *rows, size_t n, struct err *err)
{
    struct letters *l = (struct letters *)o;
    struct ids ids = {rows, n};
    return store_work(&l->options.writer, delete_ids, &ids, err);
}

static void close_letters(struct outbox *o)
{
    struct letters *l = (struct letters *)o;
    release_rows(o);
    store_close(l->reader);
    free(l->headers);
    free(l);
}

static const struct outbox_ops letters_ops = {
    .name = "dead letters",
    .thread = "mmf-dlq",
    .n_cuts = BARE,
    .read = read_rows,
    .message = message,
    .release = release_rows,
    .forget = forget,
    .close = close_letters,
};

int letters_open(const struct letters_options *options, struct outbox **ret_o, struct err *err)
{
    struct letters *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return err_oom(err, "opening the outbox of dead letters");
    l->base.ops = &letters_ops;
    l->options = *options;
    *ret_o = &l->base;
    return ERR_OK;
}
