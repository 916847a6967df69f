#include "daemon/cli/report/report.h"

#include "daemon/cli/report/page.h"
#include "config/modality.h"
#include "daemon/base/json_field.h"
#include "daemon/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- small parts ------------------------------------------------------------------------- */

/* "12 ms", "1.5 s", "3 min" */
static void print_duration(double ms, char *ret_text, size_t bytes)
{
    if (ms < 1000)
        snprintf(ret_text, bytes, ms < 10 ? "%.2g ms" : "%.0f ms", ms);
    else if (ms < 120000)
        snprintf(ret_text, bytes, ms < 10000 ? "%.2g s" : "%.0f s", ms / 1e3);
    else
        snprintf(ret_text, bytes, "%.0f min", ms / 6e4);
}

/* ---- head -------------------------------------------------------------------------------- */

static void tile(FILE *out, const char *value, const char *what)
{
    fprintf(out, "<div><dt>%s</dt><dd>", what);
    report_text(out, value);
    fputs("</dd></div>\n", out);
}

static void count_tile(FILE *out, int64_t n, const char *what)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, n);
    tile(out, text, what);
}

static void print_tiles(FILE *out, const json_t *r)
{
    const json_t *c = json_field(r, "counts"), *l = json_field(r, "latency");
    int64_t n_items = json_field_int(c, "items"), n_vectors = json_field_int(c, "embeddings");
    char text[32];

    fputs("<dl>\n", out);
    count_tile(out, n_items, "items");
    count_tile(out, n_vectors, "with a vector");
    count_tile(out, json_field_int(c, "interactions"), "interactions");
    count_tile(out, json_field_int(c, "users"), "users");
    if (json_is_object(l)) {
        print_duration(report_real(l, "p50_ms"), text, sizeof(text));
        tile(out, text, "upload to queryable, median");
        print_duration(report_real(l, "p99_ms"), text, sizeof(text));
        tile(out, text, "upload to queryable, 99th percentile");
    }
    count_tile(out, json_field_int(c, "dead_letters"), "dead letters");
    if (json_field_int(c, "no_signal") > 0)
        count_tile(out, json_field_int(c, "no_signal"), "without any signal");
    if (json_field_int(c, "no_features") > 0)
        count_tile(out, json_field_int(c, "no_features"), "known from interactions only");
    if (json_field_int(c, "stale") > 0)
        count_tile(out, json_field_int(c, "stale"), "stale: older encoders");
    fputs("</dl>\n", out);
}

static void print_header(FILE *out, const json_t *r)
{
    char when[32];

    cli_time(json_field_int(r, "generated_us"), when, sizeof(when));
    fputs("<header><h1>Embeddings of <bdi>", out);
    report_text(out, json_field_text(r, "store"));
    fprintf(out, "</bdi></h1>\n<p class=\"soft\">As of %s UTC, by metammf ", when);
    report_text(out, json_field_text(r, "version"));
    if (json_is_integer(json_field(r, "active_model")))
        fprintf(out, ". Model %" PRId64 " is active", json_field_int(r, "active_model"));
    fputs(".</p>\n", out);
    print_tiles(out, r);
    fputs("</header>\n", out);
}

/* ---- contributions ----------------------------------------------------------------------- */

static void print_contributions(FILE *out, const json_t *r)
{
    static const char *const styles[MODALITY_COUNT] = {"a", "b", "c"};
    const json_t *c = json_field(r, "contributions"), *all = json_field(c, "modalities");
    struct report_bar bars[MODALITY_COUNT];
    char note[MODALITY_COUNT][32];

    report_open(out, "What each modality contributes", false);
    if (json_field_int(c, "sampled") == 0) {
        report_empty(out, "No item has features that the active model can use.");
        fputs("</section>\n", out);
        return;
    }
    fprintf(
        out,
        "<p>Mean over %" PRId64 " items. A modality is masked and the item fused again; how "
        "far its vector turns is the modality’s part. Interactions do not enter.</p>\n<figure>",
        json_field_int(c, "sampled"));
    for (int m = 0; m < MODALITY_COUNT; m++) {
        const char *name = modality_name((enum modality)m);
        double share = report_real(json_field(all, name), "share");

        snprintf(note[m], sizeof(note[m]), "%.0f %%", 100 * share);
        bars[m] = (struct report_bar){name, styles[m], note[m], share};
    }
    report_plot_bars(out, "parts", "Contribution of each modality",
                     "Bars: the mean share of each modality; the table has the numbers.", bars,
                     MODALITY_COUNT, 0);
    fputs("</figure>\n", out);
    report_table_open(
        out, true,
        "<th>modality</th><th class=\"n\">share</th><th class=\"n\">turned, 1 − cos"
        "</th><th class=\"n\">items that have it</th>");
    for (int m = 0; m < MODALITY_COUNT; m++) {
        const json_t *x = json_field(all, modality_name((enum modality)m));

        fputs("<tr>", out);
        report_cell(out, "", modality_name((enum modality)m));
        report_cell_real(out, "4", report_real(x, "share"));
        report_cell_real(out, "4", report_real(x, "moved"));
        fprintf(out, "<td class=\"n\">%.0f %%</td></tr>\n", 100 * report_real(x, "present"));
    }
    report_table_close(out, true);
    fputs("</section>\n", out);
}

/* ---- latency ----------------------------------------------------------------------------- */

/* Where a time lies, in bins from the left. */
static double bin_of(const json_t *bins, double ms)
{
    const json_t *bin;
    size_t i;

    json_array_foreach(bins, i, bin)
    {
        double from = report_real(bin, "from_ms"), to = report_real(bin, "to_ms");

        if (ms < to)
            return (double)i + (ms > from ? (ms - from) / (to - from) : 0);
    }
    return (double)json_array_size(bins);
}

static void plot_latency(FILE *out, const json_t *l)
{
    static const char *const marks[][2] = {
        {"p50_ms", "median"}, {"p90_ms", "90 %"}, {"p99_ms", "99 %"}};
    const json_t *bins = json_field(l, "bins"), *bin;
    struct report_bin b[REPORT_LATENCY_BINS_MAX];
    struct report_mark mark[3];
    char names[REPORT_LATENCY_BINS_MAX][24], mark_names[3][48], text[24];
    size_t i, n = json_array_size(bins);

    json_array_foreach(bins, i, bin)
    {
        double from = report_real(bin, "from_ms"),
               decade = pow(10, round(log10(fmax(from, 1))));
        bool told = n <= 5 || fabs(from - decade) < 0.01;

        print_duration(from, names[i], sizeof(names[i]));
        b[i] = (struct report_bin){told && from > 0 ? names[i] : "", report_real(bin, "n")};
    }
    for (size_t k = 0; k < 3; k++) {
        double ms = report_real(l, marks[k][0]);

        print_duration(ms, text, sizeof(text));
        snprintf(mark_names[k], sizeof(mark_names[k]), "%s %s", marks[k][1], text);
        mark[k] = (struct report_mark){mark_names[k], bin_of(bins, ms)};
    }
    report_plot_histogram(out, "latency", "Upload to queryable",
                          "Histogram over bins of growing width; the table has the numbers.", b,
                          n, mark, 3);
}

static void print_latency(FILE *out, const json_t *r)
{
    const json_t *l = json_field(r, "latency"), *bin;
    char from[24], to[24];
    size_t i;

    report_open(out, "From upload to queryable", false);
    if (!json_is_object(l)) {
        report_empty(out, "No item has come from an event yet.");
        fputs("</section>\n", out);
        return;
    }
    fprintf(out,
            "<p>From the arrival of the event to the committed row, of the newest %" PRId64
            " items: waiting, decoding, fusion and commit.</p>\n<figure>",
            json_field_int(l, "n"));
    plot_latency(out, l);
    fputs("</figure>\n", out);
    report_table_open(
        out, true,
        "<th class=\"n\">from</th><th class=\"n\">to</th><th class=\"n\">items</th>");
    json_array_foreach(json_field(l, "bins"), i, bin)
    {
        print_duration(report_real(bin, "from_ms"), from, sizeof(from));
        print_duration(report_real(bin, "to_ms"), to, sizeof(to));
        fprintf(out,
                "<tr><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%" PRId64
                "</td></tr>\n",
                from, to, json_field_int(bin, "n"));
    }
    report_table_close(out, true);
    fputs("</section>\n", out);
}

/* ---- dead letters, offsets, gaps ----------------------------------------------------------- */

static void print_dead_letters(FILE *out, const json_t *r)
{
    enum { BARS_MAX = 12 };
    json_t *dead = json_object_get(r, "dead_letters"), *n;
    struct report_bar bars[BARS_MAX];
    char note[BARS_MAX][24];
    const char *reason;
    size_t n_bars = 0;

    report_open(out, "Dead letters", false);
    if (json_object_size(dead) == 0) {
        report_empty(out,
                     "None is kept: every event became a row, or its dead letter was purged.");
        fputs("</section>\n", out);
        return;
    }
    fputs("<p>Events that could not become a row, by reason. Their bytes are kept: "
          "<code>metammf dlq list</code>.</p>\n<figure>",
          out);
    json_object_foreach(dead, reason, n)
    {
        if (n_bars == BARS_MAX)
            break;
        snprintf(note[n_bars], sizeof(note[0]), "%" JSON_INTEGER_FORMAT, json_integer_value(n));
        bars[n_bars] =
            (struct report_bar){reason, "b", note[n_bars], (double)json_integer_value(n)};
        n_bars++;
    }
    report_plot_bars(out, "dead", "Dead letters by reason",
                     "Bars: how many of each reason; the table has the numbers.", bars, n_bars,
                     0);
    fputs("</figure>\n", out);
    report_table_open(out, true, "<th>reason</th><th class=\"n\">events</th>");
    json_object_foreach(dead, reason, n)
    {
        fputs("<tr>", out);
        report_cell(out, "id", reason);
        fprintf(out, "<td class=\"n\">%" JSON_INTEGER_FORMAT "</td></tr>\n",
                json_integer_value(n));
    }
    report_table_close(out, true);
    fputs("</section>\n", out);
}

static void print_offsets(FILE *out, const json_t *r)
{
    const json_t *row;
    char when[32];
    size_t i;

    report_open(out, "How far the log has been read", false);
    if (json_array_size(json_field(r, "offsets")) == 0) {
        report_empty(out, "Nothing has been read yet.");
        fputs("</section>\n", out);
        return;
    }
    report_table_open(out, false,
                      "<th>topic</th><th class=\"n\">partition</th><th class=\"n\">next offset"
                      "</th><th>last commit, UTC</th>");
    json_array_foreach(json_field(r, "offsets"), i, row)
    {
        cli_time(json_field_int(row, "updated_us"), when, sizeof(when));
        fputs("<tr>", out);
        report_cell(out, "id", json_field_text(row, "topic"));
        fprintf(out, "<td class=\"n\">%" PRId64 "</td><td class=\"n\">%" PRId64 "</td>",
                json_field_int(row, "partition"), json_field_int(row, "next_offset"));
        report_cell(out, "t", when);
        fputs("</tr>\n", out);
    }
    report_table_close(out, false);
    fputs("</section>\n", out);
}

static void print_gaps(FILE *out, const json_t *r)
{
    const json_t *row;
    char when[32];
    size_t i;

    report_open(out, "Holes in the log", false);
    if (json_array_size(json_field(r, "gaps")) == 0) {
        report_empty(out, "None: no offset was gone when it was asked for.");
        fputs("</section>\n", out);
        return;
    }
    fputs("<p>Offsets that the broker no longer had when they were asked for. An empty one, "
          "from = to: the topic was made anew, and this is how far the old one was read.</p>\n",
          out);
    report_table_open(out, false,
                      "<th>topic</th><th class=\"n\">partition</th><th class=\"n\">from</th>"
                      "<th class=\"n\">to, exclusive</th><th>seen, UTC</th>");
    json_array_foreach(json_field(r, "gaps"), i, row)
    {
        cli_time(json_field_int(row, "seen_us"), when, sizeof(when));
        fputs("<tr>", out);
        report_cell(out, "id", json_field_text(row, "topic"));
        fprintf(out,
                "<td class=\"n\">%" PRId64 "</td><td class=\"n\">%" PRId64
                "</td><td class=\"n\">%" PRId64 "</td>",
                json_field_int(row, "partition"), json_field_int(row, "from"),
                json_field_int(row, "to"));
        report_cell(out, "t", when);
        fputs("</tr>\n", out);
    }
    report_table_close(out, false);
    fputs("</section>\n", out);
}

void report_page(FILE *out, const struct json_t *r)
{
    report_head(out, "metammf report");
    print_header(out, r);
    fputs("<main>\n", out);
    report_print_quality(out, r);
    report_print_curve(out, r);
    report_print_history(out, r);
    report_print_map(out, r);
    print_contributions(out, r);
    print_latency(out, r);
    print_dead_letters(out, r);
    print_offsets(out, r);
    print_gaps(out, r);
    fputs("</main>\n"
          "<footer>Made by <code>metammf report</code>. This page needs no network and no "
          "script; <code>metammf report --json</code> gives the same numbers to "
          "programs.</footer>\n"
          "</body></html>\n",
          out);
}
