#ifndef MMF_DAEMON_CLI_EXPLAIN_H
#define MMF_DAEMON_CLI_EXPLAIN_H

/* The parts of metammf explain that have a file of their own. */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

struct json_t;
struct model;
struct store;
struct store_matrix;

/* Prints the object of `metammf explain --json` for people; returns the exit code. NULL = out of
 * memory. */
int cli_explain_text(const struct json_t *root);

/* What the signals make of an item. Names point to the caller's. */
struct explain_signals {
    struct json_t *weights; /* as the view current_signal; owned */
    uint32_t n_users;       /* who have an edge with it */
    double content;         /* what its content counts with so many; 0 = the model has none */
    double mapped;          /* and the factors that its features suggest */
    struct explain_row {
        const char *item_id;
        double weight; /* what an interaction with the item adds to this one's score */
    } * rows;          /* (n) the largest above 0, largest first; owned */
    size_t n;
};
/* Of the active model, NULL = none. all: its vectors; rows among them alone, at most k. */
int explain_signals_read(struct store *st, int64_t model_id, const struct model *model,
                         int64_t rid, const struct store_matrix *all, size_t k,
                         struct explain_signals *ret_s, struct err *err);
void explain_signals_done(struct explain_signals *s);
/* {"signals", "users", "content", "recommends": [{"item_id", "weight"}]} */
struct json_t *explain_signals_json(const struct explain_signals *s);

#endif
