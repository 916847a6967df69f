#include "daemon/base/pair_file.h"

#include "config/array.h"
#include "config/infile.h"
#include "daemon/base/interaction_file.h"

#include <math.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

static int keep(struct pair_file *p, const struct interaction_row *row, struct err *err)
{
    struct tsv_pair *more = array_reserve(p->pair, &p->room, p->n + 1, sizeof *more);

    if (!more)
        return err_oom(err, "pairs of a file");
    p->pair = more;
    struct tsv_pair pair = {.user = arena_strdup(&p->arena, row->user),
                            .item = arena_strdup(&p->arena, row->item),
                            .seconds = NAN};
    if (!pair.user || !pair.item)
        return err_oom(err, "pairs of a file");
    p->pair[p->n++] = pair;
    return ERR_OK;
}

static int read_rows(struct pair_file *p, struct interaction_file *f, struct err *err)
{
    struct interaction_row row;
    int r;

    while ((r = interaction_file_next(f, &row, err)) == ERR_OK) {
        if (row.weight > 0)
            r = keep(p, &row, err);
        else
            p->n_left_out++;
        if (r != ERR_OK)
            return r;
    }
    if (r == ERR_END && p->n == 0)
        return err_fatal(err, EX_DATAERR, "%s: holds no pair; write one a line, user TAB item",
                         f->table.name);
    return r == ERR_END ? ERR_OK : r;
}

int pair_file_read(const char *path, struct pair_file *ret_p, struct err *err)
{
    struct pair_file p = {0};
    struct interaction_file f;
    int64_t bytes;
    int fd, r = infile_open(path, &fd, &bytes, err);

    if (r != ERR_OK)
        return r;
    arena_init(&p.arena);
    r = interaction_file_open(fd, path, NULL, '\0', &f, err);
    if (r == ERR_OK) {
        r = read_rows(&p, &f, err);
        interaction_file_close(&f);
    }
    (void)close(fd);
    if (r == ERR_OK)
        *ret_p = p;
    else
        pair_file_done(&p);
    return r;
}

void pair_file_done(struct pair_file *p)
{
    free(p->pair);
    arena_done(&p->arena);
    *p = (struct pair_file){0};
}
