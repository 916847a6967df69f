/* A candidate without the users who were forgotten after its data was read. Their rows stay, for the
 * model's own file counts rows by the lines of users.txt; what stood in them goes: the name becomes one
 * that nobody has, the vector zeros, which is none, the training pairs fewer. */
#include "daemon/model/candidate_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>

enum { NAME_BYTES = 32 };

struct store_read_mark candidate_read_mark(const struct candidate *c)
{
    const json_t *n = json_object_get(c->metrics, "read_forgettings");

    return (struct store_read_mark){json_integer_value(json_object_get(c->metrics, "read_us")),
                                    json_is_integer(n) ? json_integer_value(n) : -1};
}

/* Names for the rows that are gone, in one block that c keeps from then on. */
static int name_nobody(struct candidate *c, const unsigned char *gone, struct err *err)
{
    size_t n = 0, at = 0;

    for (size_t i = 0; i < c->n_users; i++)
        n += gone[i];
    char(*names)[NAME_BYTES] = calloc(n + 1, sizeof *names);
    if (!names)
        return err_oom(err, "a candidate's ids");
    for (size_t i = 0; i < c->n_users; i++) {
        uint64_t random;

        if (!gone[i])
            continue;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
            free(names);
            return err_retry(err, EX_OSERR, "random bytes: %s", strerror(errno));
        }
        (void)snprintf(names[at], sizeof names[at], "forgotten:%016llx",
                       (unsigned long long)random);
        c->user_id[i] = names[at++];
    }
    free(c->nobody); /* of an earlier call: those rows are gone again */
    c->nobody = (char *)names;
    return ERR_OK;
}

static void drop_pairs(struct candidate *c, const unsigned char *gone)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->n_pairs; i++)
        if (!gone[c->pair[i][0]])
            memcpy(c->pair[kept++], c->pair[i], sizeof *c->pair);
    c->n_pairs = kept;
}

/* Rows that an earlier call has emptied. */
static void add_nobody(const struct candidate *c, unsigned char *gone)
{
    for (size_t i = 0; c->nobody && i < c->n_users; i++)
        gone[i] |= strncmp(c->user_id[i], "forgotten:", 10) == 0;
}

int candidate_forget(struct candidate *c, struct store *reader, bool *ret_changed,
                     struct err *err)
{
    size_t D = (size_t)c->dim;
    unsigned char *gone = malloc(c->n_users + 1);
    struct store_read_mark mark = candidate_read_mark(c);
    int r = gone ? store_find_forgotten(reader, c->user_id, c->n_users, &mark, gone,
                                        ret_changed, err)
                 : err_oom(err, "a candidate's users");

    if (r == ERR_OK && *ret_changed) {
        add_nobody(c, gone);
        r = name_nobody(c, gone, err);
    }
    if (r == ERR_OK && *ret_changed) {
        for (size_t i = 0; i < c->n_users; i++)
            if (gone[i])
                memset(c->users + i * D, 0, D * sizeof *c->users);
        drop_pairs(c, gone);
        candidate_drop_user_files(c);
    }
    free(gone);
    return r;
}
