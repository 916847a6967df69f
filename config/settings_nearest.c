/* What the writer of an unknown name may have meant. */

#include "config/settings_table.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#define NAME_MAX_BYTES 80
#define NAMES_MAX      128

/* Edit distance with neighbours exchanged as one edit (optimal string alignment); letters of
 * either case are equal. `limit` and above all count the same. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_BYTES + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2], *t;
    size_t a_n = strlen(a), b_n = strlen(b);

    for (size_t j = 0; j <= b_n; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_n; j++) {
            size_t best = last[j - 1] + (strncasecmp(&a[i - 1], &b[j - 1], 1) != 0);

            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        t = before;
        before = last;
        last = row;
        row = t;
    }
    return last[b_n];
}

/* Near is an edit distance of at most a third of the letters, or one. */
const char *settings_nearest(const char *name, const char *const *names, size_t n)
{
    const char *nearest = NULL;
    size_t name_bytes = strnlen(name, NAME_MAX_BYTES + 1);
    size_t best = name_bytes / 3 + 1;

    if (name_bytes == 0 || name_bytes > NAME_MAX_BYTES)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t distance;

        if (strlen(names[i]) > NAME_MAX_BYTES)
            continue;
        distance = edit_distance(name, names[i]);
        if (distance < best || (distance == best && nearest == NULL && distance <= 1)) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

/* The names at one level of the file: the keys of a group, or (group "") the keys and groups of
 * the top, a group as "store". */
struct level {
    const char *names[NAMES_MAX];
    char groups[NAMES_MAX / 4][NAME_MAX_BYTES];
    size_t n, n_groups;
};

static void level_add_group(struct level *l, const char *path, size_t group_bytes)
{
    char *copy;

    for (size_t i = 0; i < l->n_groups; i++) {
        if (strncmp(l->groups[i], path, group_bytes) == 0 && l->groups[i][group_bytes] == '\0')
            return;
    }
    if (l->n_groups == NAMES_MAX / 4)
        return;
    copy = l->groups[l->n_groups];
    snprintf(copy, sizeof(l->groups[0]), "%.*s", (int)group_bytes, path);
    l->n_groups++;
    l->names[l->n++] = copy;
}

static void level_fill(struct level *l, const char *group)
{
    size_t group_bytes = strlen(group);

    l->n = l->n_groups = 0;
    for (size_t i = 0; i < settings_table_n && l->n < NAMES_MAX; i++) {
        const char *path = settings_table[i].path, *dot = strchr(path, '.');

        if (group_bytes == 0 && dot == NULL)
            l->names[l->n++] = path;
        else if (group_bytes == 0)
            level_add_group(l, path, (size_t)(dot - path));
        else if (strncmp(path, group, group_bytes) == 0 && path[group_bytes] == '.')
            l->names[l->n++] = path + group_bytes + 1;
    }
}

/* A key or group of the same level, else a key of that very name elsewhere, else NULL. */
static const char *suggest(const struct level *l, const char *name)
{
    const char *nearest = settings_nearest(name, l->names, l->n);

    for (size_t i = 0; nearest == NULL && i < settings_table_n; i++) {
        const char *dot = strchr(settings_table[i].path, '.');

        if (dot != NULL && strcmp(dot + 1, name) == 0)
            nearest = settings_table[i].path;
    }
    return nearest;
}

int settings_unknown_key(const char *group, const char *name, struct err *err)
{
    const char *dot = group[0] != '\0' ? "." : "";
    struct level l;
    const char *meant;

    level_fill(&l, group);
    meant = suggest(&l, name);
    if (meant == NULL)
        return err_fatal(err, EX_CONFIG,
                         "unknown key `%s%s%.80s`; metammfd.conf(5) lists all keys", group, dot,
                         name);
    return err_fatal(err, EX_CONFIG, "unknown key `%s%s%.80s`; did you mean `%s`?", group, dot,
                     name, meant);
}
