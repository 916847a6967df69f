#include "daemon/import/import.h"

#include "config/clock.h"
#include "daemon/base/json_field.h"
#include "daemon/base/tsv.h"
#include "daemon/import/internal.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

int import_check(const struct import_request *q, struct err *err)
{
    if (q->list.fd < 0)
        return err_fatal(err, EX_USAGE, "import %s needs its file",
                         q->items ? "items" : "interactions");
    if (q->separator && !strchr("\t,;", q->separator))
        return err_fatal(err, EX_USAGE, "--separator: say tab, comma or semicolon");
    if (q->items &&
        (!tsv_is_id(q->encoder) || strlen(q->encoder) > 32 || strpbrk(q->encoder, "\"\\:")))
        return err_fatal(err, EX_USAGE,
                         "--encoder: 1 to 32 bytes of UTF-8 without quotes, colons or control "
                         "characters");
    return ERR_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int stat_files(const struct import_request *q, struct stat *ret_info, struct err *err)
{
    for (int i = -1; i < MODALITY_COUNT; i++) {
        const struct import_file *f = i < 0 ? &q->list : &q->array[i];

        if (f->fd >= 0 && fstat(f->fd, &ret_info[i + 1]) != 0)
            return err_fatal(err, EX_IOERR, "%s: it cannot be looked at", f->name);
    }
    return ERR_OK;
}

/* Whether somebody wrote to a file between two looks. */
static int compare_files(const struct import_request *q, const struct stat *before,
                         const struct stat *after, struct err *err)
{
    for (int i = 0; i <= MODALITY_COUNT; i++) {
        const struct stat *a = &before[i], *b = &after[i];

        if (a->st_size != b->st_size || a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
            a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
            return err_retry(err, EX_TEMPFAIL,
                             "%s was written to while it was read: what was read is stored; "
                             "import it again when nobody writes to it",
                             i ? q->array[i - 1].name : q->list.name);
    }
    return ERR_OK;
}

static int run(const struct import_request *q, struct import *im, struct err *err)
{
    struct stat before[MODALITY_COUNT + 1] = {{0}}, after[MODALITY_COUNT + 1] = {{0}};
    int r = import_check(q, err);

    if (r == ERR_OK)
        r = stat_files(q, before, err);
    im->written_us = (int64_t)before[0].st_mtim.tv_sec * 1000000;
    if (r == ERR_OK)
        r = q->items ? import_items(im, err) : import_interactions(im, err);
    if (r == ERR_OK)
        r = stat_files(q, after, err);
    return r == ERR_OK ? compare_files(q, before, after, err) : r;
}

int import_run(const struct import_request *q, struct import_result *ret_result,
               struct err *err)
{
    struct import im = {.q = q, .now_us = clock_real_us(), .result.items = q->items};

    if (pthread_mutex_trylock(&one_at_a_time) != 0)
        return err_retry(err, EX_TEMPFAIL,
                         "another import is running: try again when it is over");
    int r = run(q, &im, err);
    pthread_mutex_unlock(&one_at_a_time);
    if (r == ERR_OK)
        *ret_result = im.result;
    return r;
}

/* ---- the result, as others see it ------------------------------------------------------------ */

json_t *import_json(const struct import_result *r)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I}, s:I, s:I, s:s}", "kind",
                     r->items ? "items" : "interactions", "lines", (json_int_t)r->n_lines,
                     "stored", (json_int_t)r->n_stored, "already", (json_int_t)r->n_already,
                     "dropped", (json_int_t)r->n_dropped, "new_items",
                     (json_int_t)r->n_new_items, "new_users", (json_int_t)r->n_new_users,
                     "skipped", "header", (json_int_t)r->n_header, "blank",
                     (json_int_t)r->n_blank, "with_time", (json_int_t)r->n_ts, "before_2000",
                     (json_int_t)r->n_old_ts, "columns_not_read", r->unread);
}

int import_from_json(const json_t *json, struct import_result *ret_result, struct err *err)
{
    const json_t *skipped = json_object_get(json, "skipped");
    struct import_result r = {.n_lines = json_field_int(json, "lines"),
                              .n_stored = json_field_int(json, "stored"),
                              .n_already = json_field_int(json, "already"),
                              .n_dropped = json_field_int(json, "dropped"),
                              .n_new_items = json_field_int(json, "new_items"),
                              .n_new_users = json_field_int(json, "new_users"),
                              .n_header = json_field_int(skipped, "header"),
                              .n_blank = json_field_int(skipped, "blank"),
                              .n_ts = json_field_int(json, "with_time"),
                              .n_old_ts = json_field_int(json, "before_2000")};
    const char *kind = json_string_value(json_object_get(json, "kind"));
    const char *unread = json_string_value(json_object_get(json, "columns_not_read"));

    if (!kind || !unread)
        return err_fatal(err, EX_SOFTWARE, "import: the daemon's reply is of another version");
    r.items = strcmp(kind, "items") == 0;
    snprintf(r.unread, sizeof r.unread, "%s", unread);
    *ret_result = r;
    return ERR_OK;
}
