#include "config/log_limit.h"

#include "config/clock.h"
#include "config/text.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define KINDS     64
#define WINDOW_US ((int64_t)LOG_LIMIT_WINDOW_S * 1000000)

struct kind {
    const char *what; /* NULL = free */
    char word[32], last[256];
    enum log_level level;
    int64_t since_us;
    uint64_t n; /* of this minute, those written too */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kind kinds[KINDS]; /* the last one is for those that find no room */

static bool is_over(const struct kind *k, int64_t now_us)
{
    return k->what && now_us - k->since_us >= WINDOW_US;
}

/* Outside the lock: the log may block. */
static void write_count(const struct kind *k, int64_t now_us)
{
    if (k->what && k->n > LOG_LIMIT_FIRST)
        log_write(k->level, NULL, 0,
                  "%" PRIu64 " more %s%s%s in the last %" PRId64 " s; the last was %s",
                  k->n - LOG_LIMIT_FIRST, k->what, k->word[0] ? " " : "", k->word,
                  (now_us - k->since_us + 999999) / 1000000, k->last);
}

/* The kind's place, or a free one, or the last; with the lock. */
static struct kind *find(const char *what, const char *word)
{
    struct kind *free = NULL;

    for (size_t i = 0; i < KINDS - 1; i++) {
        struct kind *k = &kinds[i];

        if (k->what && strcmp(k->what, what) == 0 && strcmp(k->word, word) == 0)
            return k;
        if (!k->what && !free)
            free = k;
    }
    return free ? free : &kinds[KINDS - 1];
}

static void begin(struct kind *k, enum log_level level, const char *what, const char *word)
{
    bool shared = k == &kinds[KINDS - 1];

    *k = (struct kind){.what = shared ? "lines of other kinds" : what,
                       .level = level,
                       .since_us = clock_mono_us()};
    if (!shared)
        snprintf(k->word, sizeof(k->word), "%s", word);
}

bool log_limit(enum log_level level, const char *what, const char *word, const char *fmt, ...)
{
    char key[sizeof(kinds[0].word)];
    struct kind over = {0};
    va_list ap;

    text_format(key, sizeof(key), "%s", word);
    pthread_mutex_lock(&lock);
    struct kind *k = find(what, key);
    int64_t now_us = clock_mono_us();
    if (is_over(k, now_us))
        over = *k;
    if (!k->what || over.what)
        begin(k, level, what, key);
    bool first = ++k->n <= LOG_LIMIT_FIRST;
    if (!first) {
        va_start(ap, fmt);
        text_vformat(k->last, sizeof(k->last), fmt, ap);
        va_end(ap);
    }
    pthread_mutex_unlock(&lock);
    write_count(&over, now_us);
    return first;
}

static void end_windows(bool all)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct kind over = {0};

        pthread_mutex_lock(&lock);
        int64_t now_us = clock_mono_us();
        if (all || is_over(&kinds[i], now_us)) {
            over = kinds[i];
            kinds[i] = (struct kind){0};
        }
        pthread_mutex_unlock(&lock);
        write_count(&over, now_us);
    }
}

void log_limit_tick(void)
{
    end_windows(false);
}

void log_limit_flush(void)
{
    end_windows(true);
}
