#ifndef MMF_DAEMON_BASE_PAIR_FILE_H
#define MMF_DAEMON_BASE_PAIR_FILE_H

/* Who liked what, from a file that a person has made, in memory: the pairs of an interaction_file.h whose
 * weight is above 0, if it has weights. (Files of our own making are read by tsv.h, byte for byte.) */

#include "config/arena.h"
#include "daemon/base/tsv.h"

struct pair_file {
    struct tsv_pair *pair; /* (n) */
    size_t n, room;
    size_t n_left_out; /* of weight 0 or less */
    struct arena arena;
};
/* Errors as interaction_file.h; EX_DATAERR also when nothing is left. */
int pair_file_read(const char *path, struct pair_file *ret_p, struct err *err);
void pair_file_done(struct pair_file *p);

#endif
