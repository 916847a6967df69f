#include "daemon/cli/demo/demo.h"

#include "config/clock.h"
#include "daemon/base/topk.h"
#include "daemon/cli/cli.h"
#include "store/reading.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define DEMO_NEIGHBOURS 4

void demo_say(const struct demo *d, const char *fmt, ...)
{
    struct cli_paint paint = cli_paint(1);
    va_list args;

    printf("%s%5.1f s  ", paint.bold, (double)(clock_mono_us() - d->started_us) / 1e6);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("%s\n", paint.off);
    fflush(stdout);
}

/* "  ✓ text" or "  ✗ text", the latter spoils the verdict. */
__attribute__((format(printf, 3, 4))) static void check(struct demo *d, bool good,
                                                        const char *fmt, ...)
{
    struct cli_paint paint = cli_paint(1);
    va_list args;

    printf("         %s%s%s ", good ? paint.good : paint.bad, good ? "✓" : "✗", paint.off);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    puts("");
    fflush(stdout);
    d->failed |= !good;
}

/* ---- the trail --------------------------------------------------------------------------- */

static void print_trail(const struct demo_clip *clip, const struct store_item *item)
{
    time_t s = (time_t)(item->received_ms / 1000);
    struct tm tm = {0};
    char clock[16] = "";

    if (gmtime_r(&s, &tm))
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    printf("         %-9s %s.%03d received → +%5.0f ms extracted (%.0f ms of decoding) → "
           "+%4.0f ms fused, committed, queryable\n",
           clip->item_id, clock, (int)((int64_t)item->received_ms % 1000),
           item->extracted_ms - item->received_ms, item->extract_ms,
           item->queryable_ms - item->extracted_ms);
    fflush(stdout);
}

/* Prints the clips whose rows have appeared; *ret_left is how many have not. */
static int show_new_rows(struct demo *d, struct store *st, size_t *ret_left, struct err *err)
{
    *ret_left = 0;
    for (size_t i = 0; i < d->n_clips; i++) {
        struct store_item item = {0};
        int r;

        if (d->clips[i].shown)
            continue;
        r = store_get_item(st, d->clips[i].item_id, &item, err);
        if (r != ERR_OK && r != ERR_NONE)
            return r;
        if (r == ERR_OK && item.queryable_ms > 0 && item.extracted_ms > 0) {
            print_trail(&d->clips[i], &item);
            d->clips[i].shown = true;
        }
        *ret_left += !d->clips[i].shown;
        store_item_done(&item);
    }
    return ERR_OK;
}

int demo_watch(struct demo *d, struct store *st, struct err *err)
{
    int64_t until_us = clock_mono_us() + INT64_C(1000) * DEMO_QUERYABLE_MS;
    struct store_counts c = {0};
    size_t left = d->n_clips;
    int r = ERR_OK;

    while (r == ERR_OK && clock_mono_us() < until_us) {
        r = show_new_rows(d, st, &left, err);
        if (r == ERR_OK)
            r = store_count(st, &c, err);
        if (left == 0 && c.n_interactions >= DEMO_INTERACTIONS && c.n_dead_letters >= 1)
            return ERR_OK;
        poll(NULL, 0, 20);
    }
    if (r == ERR_OK)
        check(d, false, "%zu of %zu clips are not queryable after %d s: the log is %s", left,
              d->n_clips, DEMO_QUERYABLE_MS / 1000, d->log);
    return r;
}

/* ---- counts, dead letter, neighbours ----------------------------------------------------- */

int demo_show_counts(struct demo *d, struct store *st, struct err *err)
{
    struct store_counts c = {0};
    int64_t sent = (int64_t)d->n_clips + DEMO_INTERACTIONS + 1, arrived;
    int r = store_count(st, &c, err);

    if (r)
        return r;
    arrived = c.n_embeddings + c.n_interactions + c.n_dead_letters;
    check(d, arrived == sent && c.n_dead_letters == 1,
          "%" PRId64 " events sent = %" PRId64 " embeddings + %" PRId64
          " interactions + %" PRId64 " dead letter",
          sent, c.n_embeddings, c.n_interactions, c.n_dead_letters);
    return ERR_OK;
}

int demo_show_dead_letter(struct demo *d, struct store *st, struct err *err)
{
    struct store_letter *rows = NULL;
    size_t n = 0;
    int r = store_dead_letters(st, 0, NULL, 1, &rows, &n, err);

    if (r)
        return r;
    check(d, n == 1 && strcmp(rows[0].reason, "bad_json") == 0,
          "the broken event is a dead letter with its bytes and the reason");
    if (n == 1)
        printf("           %s: %s\n           original: %.*s\n", rows[0].reason, rows[0].error,
               (int)rows[0].value_bytes, (const char *)rows[0].value);
    store_letters_free(rows, n);
    return ERR_OK;
}

static const struct demo_clip *find_clip(const struct demo *d, const char *item_id)
{
    for (size_t i = 0; i < d->n_clips; i++)
        if (strcmp(d->clips[i].item_id, item_id) == 0)
            return &d->clips[i];
    return NULL;
}

/* Of the clips, how many have the best neighbour in their own scene. */
static size_t count_hits(const struct demo *d, const struct store_matrix *m)
{
    size_t hits = 0;

    for (size_t i = 0; i < m->n_rows; i++) {
        struct topk_row best;
        const struct demo_clip *a = find_clip(d, m->item_id[i]), *b;

        if (!a || topk_cosine(m->vec, m->n_rows, (size_t)m->dim, i, 1, &best) != 1)
            continue;
        b = find_clip(d, m->item_id[best.row]);
        hits += b && b->scene == a->scene;
    }
    return hits;
}

static void print_neighbours(const struct demo *d, const struct store_matrix *m)
{
    struct topk_row rows[DEMO_NEIGHBOURS];
    const struct demo_clip *clip = find_clip(d, m->item_id[0]);
    size_t n = topk_cosine(m->vec, m->n_rows, (size_t)m->dim, 0, DEMO_NEIGHBOURS, rows);

    printf("           similar to %s, \"%s\":\n", m->item_id[0], clip ? clip->title : "");
    for (size_t i = 0; i < n; i++) {
        const struct demo_clip *other = find_clip(d, m->item_id[rows[i].row]);

        printf("           %.4f  %s  %s%s\n", rows[i].score, m->item_id[rows[i].row],
               other ? other->title : "",
               other && clip && other->scene == clip->scene ? "  (same scene)" : "");
    }
}

int demo_show_similar(struct demo *d, struct store *st, struct err *err)
{
    struct store_matrix m = {0};
    int r = store_read_embeddings(st, &m, err);

    if (r)
        return r;
    if (m.n_rows > 0)
        print_neighbours(d, &m);
    if (d->n_clips >= (size_t)2 * DEMO_SCENES) {
        size_t hits = count_hits(d, &m);

        check(d, hits == m.n_rows,
              "the nearest item is of the same scene for %zu of %zu clips (the model is "
              "untrained)",
              hits, m.n_rows);
    }
    store_matrix_done(&m);
    return ERR_OK;
}

/* The first Python that has numpy; NULL = none has. */
static const char *find_python(void)
{
    static const char *const tries[][2] = {
        {"python3", "python3 -c 'import numpy'"},
        {"/usr/bin/python3", "/usr/bin/python3 -c 'import numpy'"}};

    for (size_t i = 0; i < 2; i++) {
        char command[64];
        char *const argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, command, NULL};

        snprintf(command, sizeof(command), "%s", tries[i][1]);
        if (demo_try(argv))
            return tries[i][0];
    }
    return NULL;
}

static void print_python(const struct demo *d)
{
    const char *python = find_python();

    printf("%s -c \"import sqlite3, %s; [print(i, %s[:4]) for i, v in "
           "sqlite3.connect('file:%s?mode=ro', uri=True).execute('SELECT item_id, vec FROM "
           "current_embedding LIMIT 3')]\"\n",
           python ? python : "python3", python ? "numpy" : "array",
           python ? "numpy.frombuffer(v, '<f4')" : "array.array('f', v)", d->store);
}

void demo_show_end(const struct demo *d)
{
    struct cli_paint paint = cli_paint(1);

    if (d->failed)
        printf("\n%sNOT as it should be%s: see the marked lines and %s\n", paint.bad, paint.off,
               d->log);
    else
        printf("\n%sAll as it should be%s. The store stays in %s. Try:\n", paint.good,
               paint.off, d->dir);
    printf("\nsqlite3 -readonly '%s' 'SELECT item_id, dim, state, model_id, length(vec) FROM "
           "current_embedding LIMIT 3'\n",
           d->store);
    print_python(d);
    printf("'%s/metammf' --store '%s' similar %s -k 3\n", d->bin, d->store,
           d->clips[0].item_id);
}
