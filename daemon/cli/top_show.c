#include "daemon/cli/top.h"

#include "config/clock.h"
#include "config/text.h"
#include "daemon/base/json_field.h"
#include "daemon/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* "1.2 ms", "350 ms", "12.0 s" in six or seven columns, "-" for nothing. */
static void duration(const json_t *quantiles, const char *name, char *ret_text, size_t bytes)
{
    double s = json_field_real(quantiles, name);

    if (!json_is_object(quantiles))
        snprintf(ret_text, bytes, "-");
    else if (s < 0.01)
        snprintf(ret_text, bytes, "%.1f ms", s * 1e3);
    else if (s < 1)
        snprintf(ret_text, bytes, "%.0f ms", s * 1e3);
    else
        snprintf(ret_text, bytes, "%.1f s", s);
}

static void lag_text(const json_t *source, char *ret_text, size_t bytes)
{
    if (json_field_int(source, "lag") >= 0)
        snprintf(ret_text, bytes, "%" PRId64, json_field_int(source, "lag"));
    else
        snprintf(ret_text, bytes, "unknown");
}

/* ---- a screen ---------------------------------------------------------------------------- */

void cli_top_open(void)
{
    fputs("\033[?1049h\033[?25l", stdout);
}

void cli_top_close(void)
{
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
}

/* Ends a line: what stood there before goes. */
static void end(bool redraw)
{
    fputs(redraw ? "\033[K\n" : "\n", stdout);
}

static void print_cut(const char *label, const char *text)
{
    printf("         %s%.*s", label, (int)text_cut(text, strlen(text), 160), text);
}

static void print_head(const json_t *sample, const json_t *d, bool redraw)
{
    const struct cli_paint p = cli_paint(STDOUT_FILENO);
    const json_t *s = json_field(d, "source"), *m = json_field(d, "model");
    char now[32], up[32], lag[32], states[256];

    cli_time(clock_real_us(), now, sizeof(now));
    cli_age(json_field_real(d, "uptime_s"), up, sizeof(up));
    printf("%smetammfd %s%s  %s%s%s, up %s, pid %" PRId64 "   %s UTC", p.bold,
           cli_field(d, "version"), p.off, json_field_true(d, "ready") ? p.good : p.bad,
           json_field_true(d, "ready") ? "ready" : "not ready", p.off, up,
           json_field_int(d, "pid"), now);
    end(redraw);
    lag_text(s, lag, sizeof(lag));
    printf("source   %s, %s, %" PRId64 " partitions, lag %s%s", cli_field(s, "name"),
           json_field_true(s, "connected") ? "connected" : "not connected",
           json_field_int(s, "partitions"), lag,
           json_field_true(s, "paused") ? ", paused" : "");
    end(redraw);
    cli_states(json_field(s, "states"), states, sizeof(states));
    if (states[0] != '\0') {
        printf("         %s", states);
        end(redraw);
    }
    if (*json_field_text(s, "detail")) {
        print_cut("", cli_field(s, "detail"));
        end(redraw);
    }
    if (*json_field_text(s, "warning")) {
        print_cut("warning: ", cli_field(s, "warning"));
        end(redraw);
    }
    cli_age(json_field_real(sample, "model_age_s"), up, sizeof(up));
    printf("model    %" PRId64 "%s, %" PRId64 " numbers, %s old", json_field_int(m, "id"),
           json_field_true(m, "trained") ? "" : " untrained", json_field_int(m, "dim"), up);
    if (json_field_int(sample, "stale") > 0)
        printf(", %s%" PRId64 " items stale%s", p.bad, json_field_int(sample, "stale"), p.off);
    end(redraw);
}

static void print_queue(const json_t *d, bool redraw)
{
    const struct cli_paint p = cli_paint(STDOUT_FILENO);
    const json_t *q = json_field(d, "queue"), *w = json_field(d, "workers");
    int64_t busy = json_field_int(w, "busy"), total = json_field_int(w, "total");

    printf("queue    %" PRId64 " waiting, %" PRId64 " to commit, %" PRId64 " in flight",
           json_field_int(q, "work"), json_field_int(q, "done"),
           json_field_int(q, "in_flight"));
    end(redraw);
    printf("decoding %" PRId64 " of %" PRId64 "  ", busy, total);
    for (int64_t i = 0; i < total && i < 32; i++)
        fputs(i < busy ? "#" : ".", stdout);
    printf("  %" PRId64 " killed at the deadline, %" PRId64 " died%s",
           json_field_int(w, "killed_deadline"), json_field_int(w, "died"),
           json_field_true(w, "sandboxed") ? "" : ", NOT sandboxed");
    end(redraw);
    if (*json_field_text(d, "why") || *json_field_text(d, "wait")) {
        printf("%s%s%s", p.bad, cli_field(d, *json_field_text(d, "why") ? "why" : "wait"),
               p.off);
        end(redraw);
    }
}

static void print_rates(const json_t *sample, bool redraw)
{
    static const char *const rows[][2] = {{"events", "events"},
                                          {"videos stored", "stored"},
                                          {"without signal", "no_signal"},
                                          {"deleted", "deleted"},
                                          {"interactions", "interactions"},
                                          {"dead letters", "dead"}};
    const struct cli_paint p = cli_paint(STDOUT_FILENO);

    end(redraw);
    printf("%s%-16s %12s %14s%s", p.dim, "", "a second", "since start", p.off);
    end(redraw);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        printf("%-16s %12.1f %14" PRId64, rows[i][0],
               json_field_real(json_field(sample, "rates"), rows[i][1]),
               json_field_int(json_field(sample, "totals"), rows[i][1]));
        end(redraw);
    }
}

static void print_latency(const json_t *sample, bool redraw)
{
    static const char *const rows[][2] = {{"upload to query", "queryable"},
                                          {"  waiting", "queue"},
                                          {"  extraction", "extract"},
                                          {"  fusion", "fuse"},
                                          {"  commit", "commit"}};
    static const char *const q[] = {"p50", "p90", "p99"};
    const struct cli_paint p = cli_paint(STDOUT_FILENO);

    end(redraw);
    printf("%s%-16s %8s %8s %8s   since start %8s %8s%s", p.dim, "latency", "p50", "p90", "p99",
           "p50", "p99", p.off);
    end(redraw);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const json_t *now = json_field(json_field(sample, "latency"), rows[i][1]);
        const json_t *all = json_field(json_field(sample, "latency_since_start"), rows[i][1]);
        char t[5][16];

        for (size_t k = 0; k < 3; k++)
            duration(now, q[k], t[k], sizeof(t[k]));
        duration(all, "p50", t[3], sizeof(t[3]));
        duration(all, "p99", t[4], sizeof(t[4]));
        printf("%-16s %8s %8s %8s               %8s %8s", rows[i][0], t[0], t[1], t[2], t[3],
               t[4]);
        end(redraw);
    }
}

static void print_reasons(const json_t *sample, bool redraw)
{
    json_t *reasons = json_object_get(sample, "dead_letters"), *n;
    const char *reason;

    end(redraw);
    fputs("dead letters since start:", stdout);
    if (json_object_size(reasons) == 0)
        fputs(" none", stdout);
    json_object_foreach(reasons, reason, n)
        printf("  %s %" JSON_INTEGER_FORMAT, reason, json_integer_value(n));
    end(redraw);
}

static void print_screen(const json_t *sample, bool redraw)
{
    const json_t *d = json_field(sample, "daemon");
    const struct cli_paint p = cli_paint(STDOUT_FILENO);

    if (redraw)
        fputs("\033[H", stdout);
    if (!json_is_object(d)) {
        printf("%sno daemon has this store open%s: waiting for one (Ctrl-C ends)", p.bad,
               p.off);
        end(redraw);
    } else {
        print_head(sample, d, redraw);
        print_queue(d, redraw);
        print_rates(sample, redraw);
        print_latency(sample, redraw);
        print_reasons(sample, redraw);
    }
    if (redraw)
        fputs("\033[J", stdout);
}

/* ---- a line ------------------------------------------------------------------------------ */

static void print_line(const json_t *sample)
{
    const json_t *d = json_field(sample, "daemon"), *q = json_field(d, "queue"),
                 *w = json_field(d, "workers");
    const json_t *r = json_field(sample, "rates"),
                 *l = json_field(json_field(sample, "latency"), "queryable");
    char now[32], lag[32], p50[16], p99[16];

    cli_time(json_field_int(sample, "time_us"), now, sizeof(now));
    if (!json_is_object(d)) {
        printf("%s no daemon\n", now);
        return;
    }
    lag_text(json_field(d, "source"), lag, sizeof(lag));
    duration(l, "p50", p50, sizeof(p50));
    duration(l, "p99", p99, sizeof(p99));
    printf(
        "%s %s, lag %s, %" PRId64 " waiting, %" PRId64 " in flight, %" PRId64 "/%" PRId64
        " decoding, %.1f events/s, %.1f stored/s, %.1f dead/s, p50 %s, p99 %s, model %" PRId64
        "\n",
        now, json_field_true(d, "ready") ? "ready" : "not ready", lag,
        json_field_int(q, "work"), json_field_int(q, "in_flight"), json_field_int(w, "busy"),
        json_field_int(w, "total"), json_field_real(r, "events"), json_field_real(r, "stored"),
        json_field_real(r, "dead"), p50, p99, json_field_int(json_field(d, "model"), "id"));
}

int cli_top_show(const struct json_t *sample, bool redraw)
{
    if (!sample) {
        fputs("metammf: out of memory\n", stderr);
        return EX_OSERR;
    }
    if (redraw || isatty(STDOUT_FILENO))
        print_screen(sample, redraw);
    else
        print_line(sample);
    return cli_finish();
}
