#include "daemon/base/series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define BUCKETS_MAX 64

static int add_line(struct series *s, char *text, struct err *err)
{
    char *space = strrchr(text, ' '), *open = strchr(text, '{'), *end;
    struct series_line line = {.name = text, .labels = ""};

    if (space)
        line.value = strtod(space + 1, &end);
    if (!space || end == space + 1 || *end != '\0')
        return err_fatal(err, EX_DATAERR, "metrics: \"%.80s\" is no series", text);
    *space = '\0';
    if (open && space > open && space[-1] == '}') {
        *open = space[-1] = '\0';
        line.labels = open + 1;
    }
    s->lines[s->n++] = line;
    return ERR_OK;
}

static size_t count_lines(const char *text)
{
    size_t n = 1;

    while ((text = strchr(text, '\n'))) {
        n++;
        text++;
    }
    return n;
}

int series_parse(const char *text, struct series *ret_s, struct err *err)
{
    struct series s = {.text = strdup(text)};
    char *next, *line;
    int r = ERR_OK;

    s.lines = calloc(count_lines(text), sizeof(*s.lines));
    if (!s.text || !s.lines)
        r = err_oom(err, "metrics");
    next = s.text;
    while (r == ERR_OK && (line = strsep(&next, "\n")))
        if (*line != '\0' && *line != '#')
            r = add_line(&s, line, err);
    if (r != ERR_OK)
        series_done(&s);
    else
        *ret_s = s;
    return r;
}

void series_done(struct series *s)
{
    free(s->text);
    free(s->lines);
    *s = (struct series){0};
}

double series_sum(const struct series *s, const char *name, const char *labels)
{
    double sum = 0;

    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->lines[i].name, name) == 0 &&
            (!labels || strcmp(s->lines[i].labels, labels) == 0))
            sum += s->lines[i].value;
    return sum;
}

bool series_label(const struct series_line *line, const char *label, char *ret_value,
                  size_t bytes)
{
    size_t n = strlen(label), at = 0;
    const char *p = line->labels;

    while (*p && !(strncmp(p, label, n) == 0 && strncmp(p + n, "=\"", 2) == 0)) {
        p = strchr(p, ',');
        if (!p)
            return false;
        p++;
    }
    if (!*p)
        return false;
    for (p += n + 2; *p && *p != '"' && at + 1 < bytes; p++) {
        if (*p == '\\' && p[1])
            p++;
        ret_value[at++] = *p;
    }
    ret_value[at] = '\0';
    return true;
}

/* ---- histograms -------------------------------------------------------------------------- */

struct bucket {
    double bound, count; /* up to bound, the lower ones included */
};

/* Of a bucket's line: its bound, when the other labels are the wanted ones. */
static bool is_bucket(const struct series_line *line, const char *name, const char *labels,
                      double *ret_bound)
{
    size_t n = strlen(name), m = strlen(labels);
    char le[32];

    if (strncmp(line->name, name, n) != 0 || strcmp(line->name + n, "_bucket") != 0 ||
        strncmp(line->labels, labels, m) != 0 || !series_label(line, "le", le, sizeof(le)))
        return false;
    *ret_bound = strtod(le, NULL); /* "+Inf" too */
    return true;
}

static size_t find_buckets(const struct series *now, const struct series *before,
                           const char *name, const char *labels, struct bucket *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < now->n && n < BUCKETS_MAX; i++) {
        const struct series_line *line = &now->lines[i];

        if (!is_bucket(line, name, labels, &ret[n].bound))
            continue;
        ret[n].count = line->value - series_sum(before, line->name, line->labels);
        n++;
    }
    return n;
}

double series_quantile(const struct series *now, const struct series *before, const char *name,
                       const char *labels, double q, double *ret_n)
{
    struct bucket b[BUCKETS_MAX];
    size_t n = find_buckets(now, before, name, labels, b), i = 0;
    double total = n > 0 ? b[n - 1].count : 0, below, from;

    *ret_n = total;
    if (total <= 0)
        return -1;
    while (i + 1 < n && b[i].count < q * total)
        i++;
    if (i + 1 == n) /* the open bucket */
        return n > 1 ? b[n - 2].bound : -1;
    below = i > 0 ? b[i - 1].count : 0;
    from = i > 0 ? b[i - 1].bound : 0;
    if (b[i].count <= below)
        return b[i].bound;
    return from + (b[i].bound - from) * (q * total - below) / (b[i].count - below);
}
