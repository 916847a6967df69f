/* Drawings as inline SVG. Coordinates are in a box W wide, which the page scales to its column. */
#include "daemon/cli/report/report.h"

#include <math.h>
#include <string.h>

#define W      520.0
#define LEFT   62.0
#define RIGHT  16.0
#define TOP    20.0
#define HEIGHT 270.0
#define BOTTOM 44.0

/* ---- axes -------------------------------------------------------------------------------- */

/* From a data interval to the drawing. */
struct scale {
    double from, to, at, length;
};

static double place(const struct scale *s, double v)
{
    return s->at + (v - s->from) / (s->to - s->from) * s->length;
}

/* The smallest of 1, 2, 5 · 10^k that makes at most n steps of a span. */
static double nice_step(double span, int n)
{
    double raw = span / n, power = pow(10, floor(log10(raw)));

    return raw <= power       ? power
           : raw <= 2 * power ? 2 * power
           : raw <= 5 * power ? 5 * power
                              : 10 * power;
}

/* Widens an interval to whole steps. */
static double nice_scale(struct scale *s, int n, bool whole)
{
    double step;

    if (!(s->to > s->from)) { /* one value: some room around it */
        s->to = s->from + (s->from != 0 ? fabs(s->from) * 0.5 : 1);
        s->from -= s->from != 0 ? fabs(s->from) * 0.5 : 0;
    }
    step = nice_step(s->to - s->from, n);
    if (whole && step < 1)
        step = 1;
    s->from = floor(s->from / step + 1e-9) * step;
    s->to = ceil(s->to / step - 1e-9) * step;
    return step;
}

static void open_svg(FILE *out, const char *id, const char *title, const char *about, double h)
{
    fprintf(out,
            "<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-labelledby=\"%s-t %s-d\"><title "
            "id=\"%s-t\">",
            W, h, id, id, id);
    report_text(out, title);
    fprintf(out, "</title><desc id=\"%s-d\">", id);
    report_text(out, about);
    fputs("</desc>\n", out);
}

static void put_text(FILE *out, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    report_text(out, text);
    fputs("</text>\n", out);
}

static void put_line(FILE *out, const char *style, double x1, double y1, double x2, double y2)
{
    fprintf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            style, x1, y1, x2, y2);
}

static void draw_y_axis(FILE *out, const struct scale *y, double step, const char *label)
{
    char text[32];

    for (double v = y->from; v <= y->to + step / 2; v += step) {
        snprintf(text, sizeof(text), "%.4g", fabs(v) < step / 1e6 ? 0 : v);
        put_line(out, "grid", LEFT, place(y, v), W - RIGHT, place(y, v));
        put_text(out, LEFT - 8, place(y, v) + 4, "end", text);
    }
    put_text(out, 0, TOP - 7, "start", label);
}

static void draw_x_axis(FILE *out, const struct scale *x, double step, const char *label,
                        double height)
{
    char text[32];

    put_line(out, "axis", LEFT, height - BOTTOM, W - RIGHT, height - BOTTOM);
    for (double v = ceil(x->from / step - 1e-9) * step; v <= x->to + step * 1e-9; v += step) {
        snprintf(text, sizeof(text), "%.6g", fabs(v) < step / 1e6 ? 0 : v);
        put_text(out, place(x, v), height - BOTTOM + 18, "middle", text);
    }
    put_text(out, LEFT + (W - LEFT - RIGHT) / 2, height - 6, "middle", label);
}

/* ---- lines ------------------------------------------------------------------------------- */

static void widen(struct scale *s, double v, bool *any)
{
    if (!isfinite(v))
        return;
    s->from = *any ? fmin(s->from, v) : v;
    s->to = *any ? fmax(s->to, v) : v;
    *any = true;
}

static void draw_marker(FILE *out, const struct report_series *s, size_t i, double x, double y)
{
    if (s->hollow && s->hollow[i])
        fprintf(out, "<circle class=\"ring\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\">", x, y);
    else
        fprintf(out, "<circle class=\"%s dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\">", s->style, x,
                y);
    fputs("<title>", out);
    report_text(out, s->name);
    fprintf(out, " %.4f%s</title></circle>\n", s->y[i],
            s->hollow && s->hollow[i] ? ", rejected" : "");
}

static void draw_series(FILE *out, const struct report_lines *p, const struct report_series *s,
                        const struct scale *x, const struct scale *y)
{
    const char *command = "M";

    fprintf(out, "<path class=\"line %s\" style=\"fill:none\" d=\"", s->style);
    for (size_t i = 0; i < p->n; i++) {
        if (!isfinite(s->y[i]) || (s->hollow && s->hollow[i]))
            continue;
        fprintf(out, "%s%.1f %.1f", command, place(x, p->x[i]), place(y, s->y[i]));
        command = "L";
    }
    fputs("\"/>\n", out);
    for (size_t i = 0; i < p->n && p->n <= 60; i++)
        if (isfinite(s->y[i]))
            draw_marker(out, s, i, place(x, p->x[i]), place(y, s->y[i]));
}

static void draw_legend(FILE *out, const struct report_lines *p)
{
    bool any = false;

    fputs("<ul class=\"legend\">", out);
    for (size_t k = 0; k < p->n_series; k++) {
        const struct report_series *s = &p->series[k];

        fprintf(out,
                "<li><svg viewBox=\"0 0 32 12\" aria-hidden=\"true\"><path class=\"line %s\" "
                "d=\"M0 6H32\"/><circle class=\"%s dot\" cx=\"16\" cy=\"6\" r=\"3\"/></svg>",
                s->style, s->style);
        report_text(out, s->name);
        fputs("</li>", out);
        for (size_t i = 0; s->hollow && i < p->n; i++)
            any |= s->hollow[i] && isfinite(s->y[i]);
    }
    if (any)
        fputs("<li><svg viewBox=\"0 0 32 12\" aria-hidden=\"true\"><circle class=\"ring\" "
              "cx=\"16\" cy=\"6\" r=\"4.5\"/></svg>rejected candidate</li>",
              out);
    fputs("</ul>\n", out);
}

void report_plot_lines(FILE *out, const struct report_lines *p)
{
    struct scale x = {0, 1, LEFT + 8, W - LEFT - RIGHT - 16};
    struct scale y = {0, 1, p->height - BOTTOM, -(p->height - BOTTOM - TOP - 8)};
    bool any_x = false, any_y = false;
    double x_step, y_step;

    for (size_t i = 0; i < p->n; i++) {
        widen(&x, p->x[i], &any_x);
        for (size_t k = 0; k < p->n_series; k++)
            widen(&y, p->series[k].y[i], &any_y);
    }
    if (p->from_zero && y.from > 0)
        y.from = 0;
    if (p->from_zero && y.to <= 0)
        y.to = 1;
    y_step = nice_scale(&y, 5, false);
    if (x.to > x.from) { /* the points reach from edge to edge */
        x_step = nice_step(x.to - x.from, 6);
        x_step = p->whole_x && x_step < 1 ? 1 : x_step;
    } else {
        x.from -= 0.9;
        x.to += 0.9;
        x_step = 1;
    }
    draw_legend(out, p);
    open_svg(out, p->id, p->title, p->about, p->height);
    draw_y_axis(out, &y, y_step, p->y_label);
    draw_x_axis(out, &x, x_step, p->x_label, p->height);
    for (size_t k = 0; k < p->n_series; k++)
        draw_series(out, p, &p->series[k], &x, &y);
    fputs("</svg>\n", out);
}

/* ---- bars -------------------------------------------------------------------------------- */

void report_plot_bars(FILE *out, const char *id, const char *title, const char *about,
                      const struct report_bar *bars, size_t n, double full)
{
    const double row = 34, left = 142, right = 96;

    for (size_t i = 0; i < n; i++)
        full = fmax(full, bars[i].value);
    open_svg(out, id, title, about, row * (double)n + 6);
    for (size_t i = 0; i < n; i++) {
        double y = row * (double)i + 6;
        double length = full > 0 ? bars[i].value / full * (W - left - right) : 0;

        put_text(out, left - 10, y + 16, "end", bars[i].name);
        fprintf(out,
                "<rect class=\"bar %s\" x=\"%g\" y=\"%.1f\" width=\"%.1f\" height=\"22\" "
                "rx=\"3\"/>\n",
                bars[i].style, left, y, fmax(length, 1));
        fprintf(out, "<text class=\"strong\" x=\"%.1f\" y=\"%.1f\">", left + length + 8,
                y + 16);
        report_text(out, bars[i].note);
        fputs("</text>\n", out);
    }
    fputs("</svg>\n", out);
}

void report_plot_histogram(FILE *out, const char *id, const char *title, const char *about,
                           const struct report_bin *bins, size_t n_bins,
                           const struct report_mark *marks, size_t n_marks)
{
    const double width = (W - LEFT - RIGHT) / (double)(n_bins ? n_bins : 1);
    struct scale y = {0, 0, HEIGHT - BOTTOM, -(HEIGHT - BOTTOM - TOP - 46)};
    double step;

    for (size_t i = 0; i < n_bins; i++)
        y.to = fmax(y.to, bins[i].n);
    step = nice_scale(&y, 4, true);
    open_svg(out, id, title, about, HEIGHT);
    draw_y_axis(out, &y, step, "items");
    for (size_t i = 0; i < n_bins; i++) {
        double x = LEFT + width * (double)i, top = place(&y, bins[i].n);

        fprintf(
            out,
            "<rect class=\"bar a\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
            x + 1, top, fmax(width - 2, 1), HEIGHT - BOTTOM - top);
        put_text(out, x, HEIGHT - BOTTOM + 18, "middle", bins[i].name);
    }
    put_line(out, "axis", LEFT, HEIGHT - BOTTOM, W - RIGHT, HEIGHT - BOTTOM);
    for (size_t i = 0; i < n_marks; i++) {
        double x = LEFT + width * marks[i].at, top = TOP + 2 + 15 * (double)i;

        put_line(out, "mark", x, top, x, HEIGHT - BOTTOM);
        put_text(out, x + (x > W * 0.8 ? -5 : 5), top + 9, x > W * 0.8 ? "end" : "start",
                 marks[i].name);
    }
    put_text(out, LEFT + (W - LEFT - RIGHT) / 2, HEIGHT - 6, "middle", "upload to queryable");
    fputs("</svg>\n", out);
}

/* ---- the map ----------------------------------------------------------------------------- */

void report_plot_map(FILE *out, const char *id, const char *title, const char *about,
                     const struct report_point *points, size_t n)
{
    const double margin = 10, side = W - 2 * margin, tall = side * 0.8;
    struct scale x = {0, 1, margin, side}, y = {0, 1, margin + tall, -tall};
    bool any_x = false, any_y = false;
    double unit;

    for (size_t i = 0; i < n; i++) {
        widen(&x, points[i].x, &any_x);
        widen(&y, points[i].y, &any_y);
    }
    /* One unit for both axes, or distances would lie. */
    unit = fmax(fmax((x.to - x.from) / side, (y.to - y.from) / tall), 1e-6);
    x.from = (x.from + x.to - unit * side) / 2;
    x.to = x.from + unit * side;
    y.from = (y.from + y.to - unit * tall) / 2;
    y.to = y.from + unit * tall;
    open_svg(out, id, title, about, tall + 2 * margin);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>",
                points[i].cold ? "cold" : "warm", place(&x, points[i].x),
                place(&y, points[i].y), points[i].cold ? "4" : "3.4");
        report_text(out, points[i].name);
        fputs("</title></circle>\n", out);
    }
    fputs("</svg>\n", out);
}
