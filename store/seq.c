/* What a transaction counts on, whoever writes: the number of a topic, and the store's sequence, which
 * each vector that is written or removed takes one further. */

#include "store/internal.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

int store_topic_id(struct store *st, const char *topic, int64_t *ret_id, struct err *err)
{
    if (st->topic[0] && strcmp(st->topic, topic) == 0) {
        *ret_id = st->topic_id;
        return ERR_OK;
    }
    struct query q = query_begin(st, SQL_TOPIC_FIND);
    query_text(&q, topic);
    int status = query_row(&q, "find a topic", err);
    if (status == ERR_NONE) {
        q = query_begin(st, SQL_TOPIC_INSERT);
        query_text(&q, topic);
        status = query_row(&q, "insert a topic", err);
    }
    if (status != ERR_OK)
        return status;
    *ret_id = query_column_int(&q, 0);
    status = query_run(&q, "insert a topic", err);
    if (status == ERR_OK && strlen(topic) < sizeof st->topic) {
        (void)snprintf(st->topic, sizeof st->topic, "%s", topic);
        st->topic_id = *ret_id;
    }
    return status;
}

int store_seq_read(struct store *st, struct err *err)
{
    struct query q = query_begin(st, SQL_SEQ_READ);
    int status = query_row(&q, "read the sequence number", err);

    if (status == ERR_NONE)
        return err_fatal(err, EX_DATAERR, "store %s: table counter is empty; restore a backup",
                         st->path);
    if (status != ERR_OK)
        return status;
    st->seq = query_column_int(&q, 0);
    return query_run(&q, "read the sequence number", err);
}

int store_seq_write(struct store *st, struct err *err)
{
    struct query q = query_begin(st, SQL_SEQ_WRITE);

    query_int(&q, st->seq);
    return query_run(&q, "write the sequence number", err);
}
