#include "daemon/base/progress.h"

#include "config/clock.h"
#include "config/text.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_BAR         20
#define PROGRESS_TERMINAL_US INT64_C(100000)
#define PROGRESS_PLAIN_US    INT64_C(5000000)
#define PROGRESS_LINE_BYTES  256

void progress_start(struct progress *p, FILE *out, const char *label, int64_t total)
{
    *p = (struct progress){.out = out, .label = label, .total = total};
    p->is_terminal = out && isatty(fileno(out));
    p->started_us = p->drawn_us = clock_mono_us();
}

/* "0:07", "2:05:00" */
static void format_left(double seconds, char *ret_text, size_t bytes)
{
    int64_t s = (int64_t)(seconds + 0.5);

    if (s >= 3600)
        snprintf(ret_text, bytes, "  %" PRId64 ":%02" PRId64 ":%02" PRId64 " left", s / 3600,
                 s / 60 % 60, s % 60);
    else
        snprintf(ret_text, bytes, "  %" PRId64 ":%02" PRId64 " left", s / 60, s % 60);
}

void progress_format(const char *label, int64_t done, int64_t total, int64_t elapsed_us,
                     const char *note, char *ret_line, size_t bytes)
{
    double rate = elapsed_us > 0 ? (double)done * 1e6 / (double)elapsed_us : 0;
    char bar[PROGRESS_BAR + 1], left[48] = "";

    if (total <= 0) {
        snprintf(ret_line, bytes, "%s %" PRId64 "  %.1f/s%s%s", label, done, rate,
                 note && *note ? "  " : "", note ? note : "");
        return;
    }
    if (done > total)
        done = total;
    size_t filled = (size_t)(done * PROGRESS_BAR / total);
    memset(bar, '.', PROGRESS_BAR);
    memset(bar, '#', filled);
    bar[PROGRESS_BAR] = '\0';
    if (done < total && rate > 0)
        format_left((double)(total - done) / rate, left, sizeof(left));
    snprintf(ret_line, bytes, "%s [%s] %" PRId64 "/%" PRId64 "  %d %%  %.1f/s%s%s%s", label,
             bar, done, total, (int)(done * 100 / total), rate, left, note && *note ? "  " : "",
             note ? note : "");
}

static void draw(struct progress *p, int64_t done, const char *note, const char *end)
{
    char line[PROGRESS_LINE_BYTES];
    int64_t now_us = clock_mono_us();

    progress_format(p->label, done, p->total, now_us - p->started_us, note, line, sizeof(line));
    fputs(p->is_terminal ? "\r" : "", p->out);
    text_print(p->out, line);
    fprintf(p->out, "%s%s", p->is_terminal ? "\033[K" : "\n", p->is_terminal ? end : "");
    fflush(p->out);
    p->drawn_us = now_us;
    p->drawn = true;
}

void progress_update(struct progress *p, int64_t done, const char *note)
{
    int64_t every_us = p->is_terminal ? PROGRESS_TERMINAL_US : PROGRESS_PLAIN_US;

    if (p->out && clock_mono_us() - p->drawn_us >= every_us)
        draw(p, done, note, "");
}

void progress_end(struct progress *p, int64_t done)
{
    if (p->out && p->drawn) /* work that took no time needs no bar */
        draw(p, done, NULL, "\n");
}
