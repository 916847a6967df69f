#ifndef MMF_DAEMON_REFRESH_ROWS_H
#define MMF_DAEMON_REFRESH_ROWS_H

/* Whose rows a model's tensors of users and items are: its folder names them in row order, the store
 * knows their ids. */

#include "config/err.h"
#include "fusion/model/model.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Ids with the row of a tensor, by id. */
struct refresh_row {
    int64_t id;
    uint32_t row;
};
struct refresh_rows {
    struct refresh_row *rows; /* (n) ascending ids */
    size_t n;
    const float *tensor; /* (n_tensor, width), the model's */
    size_t n_tensor, width;
};

struct refresh_rows_source {
    struct store *reader;
    const struct model *model;
    const char *dir; /* of the model; NULL (seeded, imported): it knows nobody of this store */
    const atomic_bool *stopping; /* reading gives up (ERR_RETRY); NULL = never */
};
/* *rows is zeroed; on an error too it ends in refresh_rows_done. */
int refresh_rows_read(struct refresh_rows *rows, const struct refresh_rows_source *source,
                      enum store_side side, struct err *err);
void refresh_rows_done(struct refresh_rows *rows);

/* NULL = the model does not know this user or item. */
const struct refresh_row *refresh_rows_find(const struct refresh_rows *rows, int64_t id);
/* The same, its row of the tensor: (width). */
const float *refresh_rows_identity(const struct refresh_rows *rows, int64_t id);

#endif
