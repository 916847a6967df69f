#include "config/arena.h"
#include "daemon/base/interaction_file.h"
#include "daemon/event/rfc3339.h"
#include "daemon/import/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define YEAR_2000_US (INT64_C(946684800) * 1000000)

/* One transaction's rows; their texts lie in the arena. */
struct rows {
    struct arena arena;
    struct store_interaction row[IMPORT_INTERACTIONS];
    struct store_op op[IMPORT_INTERACTIONS];
    size_t n;
};

/* Reads the file to its end: whatever is wrong with it is found before anything is written. */
static int check(struct import *im, struct interaction_file *f, struct err *err)
{
    struct import_result *r = &im->result;
    struct interaction_row row;
    int status;

    while ((status = interaction_file_next(f, &row, err)) == ERR_OK) {
        r->n_lines++;
        r->n_ts += row.ts_us != INT64_MIN;
        r->n_old_ts += row.ts_us != INT64_MIN && row.ts_us < YEAR_2000_US;
        if (f->n_records % IMPORT_INTERACTIONS == 0 &&
            (status = import_tell(im, 0, err)) != ERR_OK)
            return status;
    }
    if (status != ERR_END)
        return status;
    if (!r->n_lines)
        return err_fatal(err, EX_DATAERR,
                         "%s: holds no interaction; write one a line, user TAB item",
                         im->q->list.name);
    r->n_header = f->n_header;
    r->n_blank = f->n_blank;
    memcpy(r->unread, f->unread, sizeof r->unread);
    im->total = r->n_lines;
    return ERR_OK;
}

static int keep_row(struct import *im, struct rows *rows, const struct interaction_row *in,
                    struct err *err)
{
    struct store_interaction *x = &rows->row[rows->n];

    *x = (struct store_interaction){
        .pos = {im->topic, 0, in->record},
        .user_id = arena_strdup(&rows->arena, in->user),
        .item_id = arena_strdup(&rows->arena, in->item),
        .kind = in->kind ? arena_strdup(&rows->arena, in->kind) : NULL,
        .weight = in->weight,
        .ts_us = in->ts_us == INT64_MIN ? im->now_us : in->ts_us,
        .said_us = in->ts_us == INT64_MIN ? im->written_us : in->ts_us};
    if (!x->user_id || !x->item_id || (in->kind && !x->kind))
        return err_oom(err, "import");
    rows->op[rows->n++] = (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = x};
    return ERR_OK;
}

/* *ret_end: that was the last. */
static int fill(struct import *im, struct interaction_file *f, struct rows *rows, bool *ret_end,
                struct err *err)
{
    struct interaction_row row;
    int r = ERR_OK;

    while (r == ERR_OK && rows->n < IMPORT_INTERACTIONS) {
        r = interaction_file_next(f, &row, err);
        if (r == ERR_OK)
            r = keep_row(im, rows, &row, err);
    }
    *ret_end = r == ERR_END;
    return r == ERR_END ? ERR_OK : r;
}

static int write_all(struct import *im, struct interaction_file *f, struct rows *rows,
                     struct err *err)
{
    int64_t done = 0;
    bool end = false;
    int r = interaction_file_rewind(f, err);

    while (r == ERR_OK && !end) {
        rows->n = 0;
        arena_init(&rows->arena);
        r = fill(im, f, rows, &end, err);
        if (r == ERR_OK && rows->n)
            r = import_write(im, rows->op, rows->n, -1, err);
        arena_done(&rows->arena);
        done += (int64_t)rows->n;
        if (r == ERR_OK && !end)
            r = import_tell(im, done, err);
    }
    return r;
}

/* user, item [, time] */
static bool is_plain(const struct interaction_file *f)
{
    int ts = f->at[INTERACTION_TS];

    return f->at[INTERACTION_USER] == 0 && f->at[INTERACTION_ITEM] == 1 &&
           f->at[INTERACTION_KIND] < 0 && f->at[INTERACTION_WEIGHT] < 0 && (ts < 0 || ts == 2);
}

/* The same bytes read as other columns are another import, whoever named the columns. */
static int name_it(struct import *im, const struct interaction_file *f, struct err *err)
{
    char hex[DIGEST_HEX_BYTES], text[DIGEST_HEX_BYTES + 16 * INTERACTION_COLUMNS];
    int r = import_digest(im, &im->q->list, hex, err);

    if (r == ERR_OK && !is_plain(f)) {
        size_t n = (size_t)snprintf(text, sizeof text, "%s", hex);

        for (int c = 0; c < INTERACTION_COLUMNS; c++)
            n += (size_t)snprintf(text + n, sizeof text - n, " %d", f->at[c]);
        digest_hex(text, n, hex);
    }
    if (r == ERR_OK)
        snprintf(im->topic, sizeof im->topic, "import:%s", hex);
    return r;
}

/* As events have it: UTC without a zone. */
static bool parse_time(const char *text, int64_t *ret_us)
{
    bool has_zone;

    return rfc3339_parse(text, ret_us, &has_zone);
}

int import_interactions(struct import *im, struct err *err)
{
    const struct import_request *q = im->q;
    struct interaction_file f;
    int r = interaction_file_open(q->list.fd, q->list.name, q->columns, q->separator, &f, err);

    if (r != ERR_OK)
        return r;
    f.parse_time = parse_time;
    struct rows *rows = malloc(sizeof *rows);
    r = rows ? check(im, &f, err) : err_oom(err, "import");
    if (r == ERR_OK)
        r = name_it(im, &f, err);
    if (r == ERR_OK)
        r = write_all(im, &f, rows, err);
    free(rows);
    interaction_file_close(&f);
    return r;
}
