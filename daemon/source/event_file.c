#include "daemon/source/event_file.h"

#include "config/clock.h"
#include "config/infile.h"
#include "daemon/event/event.h"
#include "daemon/source/ndjson.h"
#include "store/writing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct event_file {
    int fd;
    char topic[EVENT_FILE_TOPIC_BYTES];
    struct ndjson *lines;
    struct stat begun;   /* as it was then */
    int64_t n_all_lines; /* when it is adopted */
    int64_t n_lines;     /* read so far */
    int64_t begun_at;    /* the store's next line when it began */
    uint32_t epoch;      /* of its turn in the ledger; 0 = not begun */
};

/* While the digest is taken. */
struct look {
    bool (*go_on)(void *ctx);
    void *ctx;
    int64_t n_lines;
    char last; /* byte */
};

static bool look_at(void *ctx, const void *data, size_t bytes)
{
    struct look *look = ctx;
    const char *text = data;
    for (size_t i = 0; i < bytes; i++)
        look->n_lines += text[i] == '\n';
    look->last = text[bytes - 1];
    return !look->go_on || look->go_on(look->ctx);
}

/* Owns fd, also when it fails. as_now: it ends for us where it ends now. */
static int new_file(int fd, bool as_now, struct look *look, struct event_file **ret_f,
                    struct err *err)
{
    struct event_file *f = calloc(1, sizeof(*f));
    if (!f) {
        close(fd);
        return err_oom(err, "event file");
    }
    f->fd = fd;
    memcpy(f->topic, "file:", 5);
    int status =
        fstat(fd, &f->begun) == 0 ? ERR_OK : err_open(err, EX_NOINPUT, "event file", errno);
    int64_t bytes = as_now ? f->begun.st_size : INT64_MAX;
    if (status == ERR_OK)
        status = digest_fd_blocks(fd, bytes, look_at, look, f->topic + 5, err);
    if (status == ERR_OK)
        status = ndjson_open(f->fd, bytes, EVENT_BYTES_MAX, &f->lines, err);
    if (status != ERR_OK) {
        event_file_close(f, NULL);
        return status;
    }
    f->n_all_lines = look->n_lines + (look->last != '\n' && f->begun.st_size > 0);
    *ret_f = f;
    return ERR_OK;
}

int event_file_open(int dir_fd, const char *name, struct event_file **ret_f, struct err *err)
{
    struct look look = {.go_on = NULL};
    int64_t bytes;
    int fd;
    if (infile_open_at(dir_fd, name, &fd, &bytes, err) != ERR_OK)
        return err_wrap(err, "event file");
    return new_file(fd, false, &look, ret_f, err);
}

int event_file_adopt(int fd, bool (*go_on)(void *ctx), void *ctx, struct event_file **ret_f,
                     struct err *err)
{
    struct look look = {.go_on = go_on, .ctx = ctx};
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return err_retry(err, EX_OSERR, "event file: duplicate its descriptor: %s",
                         strerror(errno));
    return new_file(own, true, &look, ret_f, err);
}

const char *event_file_topic(const struct event_file *f)
{
    return f->topic;
}

int64_t event_file_n_lines(const struct event_file *f)
{
    return f->n_all_lines;
}

bool event_file_is_changed(const struct event_file *f)
{
    struct stat now;
    return fstat(f->fd, &now) != 0 || now.st_size != f->begun.st_size ||
           now.st_mtim.tv_sec != f->begun.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != f->begun.st_mtim.tv_nsec;
}

int event_file_fd(const struct event_file *f)
{
    return f->fd;
}

int64_t event_file_lines(const struct event_file *f)
{
    return f->n_lines;
}

struct next_query {
    const char *topic;
    int64_t next_offset;
};

static int read_next(struct store *st, void *arg, struct err *err)
{
    struct next_query *query = arg;
    int status = store_next_offset(st, query->topic, 0, &query->next_offset, err);
    return status == ERR_NONE ? ERR_OK : status;
}

int event_file_begin(struct event_file *f, struct pipeline *p, struct err *err)
{
    struct ledger *l = pipeline_ledger(p);
    struct next_query query = {.topic = f->topic};
    int status = ledger_claim(l, f->topic, 0, &f->epoch, err);
    if (status != ERR_OK)
        return status;
    status = pipeline_write(p, read_next, &query, err);
    f->begun_at = query.next_offset;
    if (status == ERR_OK)
        status = ledger_assign(l, f->topic, 0, query.next_offset, &f->epoch, err);
    if (status != ERR_OK) {
        ledger_revoke(l, f->topic, 0);
        f->epoch = 0;
    }
    return status;
}

/* The line as an item, NULL when memory is out; an over-long one is dead before it is parsed. */
static struct item *item_of_line(const struct event_file *f, const struct ndjson_line *line,
                                 const char *media_root)
{
    struct item *item = item_new();
    if (!item)
        return NULL;
    item->offset = line->number;
    item->received_us = clock_real_us();
    item->record_us =
        (int64_t)f->begun.st_mtim.tv_sec * 1000000 + f->begun.st_mtim.tv_nsec / 1000;
    item->value_bytes = line->n_bytes;
    item->topic = arena_strdup(&item->arena, f->topic);
    item->value = arena_copy(&item->arena, line->text, line->n_bytes);
    item->media_root = media_root ? arena_strdup(&item->arena, media_root) : NULL;
    if (!item->topic || !item->value || (media_root && !item->media_root)) {
        item_free(item);
        return NULL;
    }
    if (line->too_long) {
        struct err too_big;
        err_skip(&too_big, "too_big",
                 "event: a line of %lld bytes: expected at most %u; its first %zu are kept",
                 (long long)line->full_bytes, EVENT_BYTES_MAX, line->n_bytes);
        item_kill(item, "parse", &too_big);
    }
    return item;
}

int event_file_submit(struct event_file *f, struct pipeline *p, const char *media_root,
                      struct err *err)
{
    struct ndjson_line line;
    do {
        int status = ndjson_next(f->lines, &line, err);
        if (status != ERR_OK)
            return status;
        f->n_lines = line.number + 1;
    } while (line.number < f->begun_at);

    uint32_t epoch = 0;
    if (!ledger_begin(pipeline_ledger(p), f->topic, 0, line.number, &epoch))
        return err_oom(err, "event file: the place of a line in the ledger");

    struct item *item = item_of_line(f, &line, media_root);
    if (!item)
        return err_oom(err, "event file: a line");
    item->epoch = epoch;
    pipeline_submit(p, item);
    return ERR_OK;
}

bool event_file_is_settled(const struct event_file *f, struct pipeline *p)
{
    return ledger_in_flight_of(pipeline_ledger(p), f->topic, 0) == 0;
}

void event_file_close(struct event_file *f, struct pipeline *p)
{
    if (!f)
        return;
    if (p && f->epoch != 0)
        ledger_revoke(pipeline_ledger(p), f->topic, 0);
    ndjson_close(f->lines);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}
