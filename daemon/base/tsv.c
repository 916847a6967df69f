#include "daemon/base/tsv.h"

#include "daemon/base/ids.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* The file as one string. */
static int read_text(const char *path, char **ret_text, struct err *err)
{
    FILE *f = fopen(path, "re");
    size_t room = 0;
    char *text = NULL;
    ssize_t bytes = f ? getdelim(&text, &room, '\0', f) : -1;
    bool bad = !f || ferror(f), nul = bytes > 0 && text[bytes - 1] == '\0';
    int cause = errno, r = ERR_OK;

    if (f)
        (void)fclose(f);
    if (bad)
        r = err_fatal(err, f ? EX_IOERR : EX_NOINPUT, "%s: %s", path, strerror(cause));
    else if (bytes <= 0 || nul)
        r = err_fatal(err, EX_DATAERR, "%s: %s; write one record per line", path,
                      nul ? "holds a zero byte" : "is empty");
    if (r == ERR_OK)
        *ret_text = text;
    else
        free(text);
    return r;
}

int tsv_read(const char *path, struct tsv *ret_t, struct err *err)
{
    struct tsv t = {0};
    size_t n = 1;
    int r = read_text(path, &t.text, err);

    if (r != ERR_OK)
        return r;
    for (const char *c = t.text; *c; c++)
        n += *c == '\n';
    t.line = calloc(n, sizeof *t.line);
    if (!t.line) {
        tsv_done(&t);
        return err_oom(err, path);
    }
    for (char *at = t.text, *next; at && *at; at = next) {
        next = strchr(at, '\n');
        if (next)
            *next++ = '\0';
        size_t length = strlen(at);
        if (length && at[length - 1] == '\r')
            at[length - 1] = '\0';
        t.line[t.n++] = at;
    }
    *ret_t = t;
    return ERR_OK;
}

void tsv_done(struct tsv *t)
{
    free(t->text);
    free(t->line);
    *t = (struct tsv){0};
}

bool tsv_is_id(const char *s)
{
    json_t *valid = id_is_usable(s) ? json_string(s) : NULL; /* NULL for what is not UTF-8 */

    json_decref(valid);
    return valid != NULL;
}

static bool cut_pair(char *line, char separator, struct tsv_pair *p)
{
    char *item = strchr(line, separator), *ts = item ? strchr(item + 1, separator) : NULL;
    char *end = ts;

    if (!item)
        return false;
    *item++ = '\0';
    *p = (struct tsv_pair){.user = line, .item = item, .seconds = NAN};
    if (ts) {
        *ts++ = '\0';
        p->seconds = strtod(ts, &end);
        if (end == ts || *end || !(p->seconds >= 0 && p->seconds < 1e11))
            return false;
    }
    return tsv_is_id(line) && tsv_is_id(item);
}

int tsv_cut_pairs(struct tsv *t, const char *path, struct tsv_pair **ret_pairs, struct err *err)
{
    size_t length = strlen(path);
    bool comma = length > 4 && strcmp(path + length - 4, ".csv") == 0;
    struct tsv_pair *pairs = calloc(t->n + 1, sizeof *pairs);

    if (!pairs)
        return err_oom(err, path);
    for (size_t i = 0; i < t->n; i++) {
        if (cut_pair(t->line[i], comma ? ',' : '\t', &pairs[i]))
            continue;
        free(pairs);
        return err_fatal(err, EX_DATAERR, "%s:%zu: expected user %s item [%s seconds]", path,
                         i + 1, comma ? "," : "TAB", comma ? "," : "TAB");
    }
    *ret_pairs = pairs;
    return ERR_OK;
}

/* ---- rows by name -------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    const struct tsv_name *x = a, *y = b;

    return strcmp(x->name, y->name);
}

int tsv_index_new(char *const *names, size_t n, struct tsv_index *ret_x, struct err *err)
{
    struct tsv_index x = {calloc(n + 1, sizeof *x.sorted), n};

    if (!x.sorted)
        return err_oom(err, "an index of names");
    for (size_t i = 0; i < n; i++)
        x.sorted[i] = (struct tsv_name){names[i], (uint32_t)i};
    qsort(x.sorted, n, sizeof *x.sorted, compare_names);
    *ret_x = x;
    return ERR_OK;
}

uint32_t tsv_index_find(const struct tsv_index *x, const char *name)
{
    const struct tsv_name key = {name, 0};
    const struct tsv_name *found =
        x->n ? bsearch(&key, x->sorted, x->n, sizeof key, compare_names) : NULL;

    return found ? found->row : UINT32_MAX;
}

void tsv_index_done(struct tsv_index *x)
{
    free(x->sorted);
    *x = (struct tsv_index){0};
}
