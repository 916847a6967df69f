#ifndef MMF_DAEMON_MODEL_FORGET_H
#define MMF_DAEMON_MODEL_FORGET_H

/* Forgetting a person: what store_forget and store_erase do to the store, and the same for the folders of
 * models, which hold users' names, vectors and training pairs too. Everything here may run again after a
 * crash: the store knows what is left to do. */

#include "daemon/model/candidate.h"
#include "store/writing.h"

#include <stdbool.h>
#include <stdint.h>

/* store_work_fn: one piece of what has to go; *arg a bool, whether there is more. Each user whose last
 * piece it was is told in the log, by the hash. */
int forget_piece(struct store *st, void *arg, struct err *err);

struct forget_result {
    char hash[STORE_HASH_TEXT];
    bool known; /* the store held something of them */
    bool clean; /* false: a reader holds up the log of writes, which has bytes of the id */
    int64_t n_interactions, n_vectors, n_pairs, n_letters, n_folders;
};
/* Now, and until all has gone. Waits for a publication under way, as long as go_on says so; t->progress
 * is not asked. */
int forget_user(const struct candidate_target *t, const char *user_id, bool (*go_on)(void *arg),
                void *arg, struct forget_result *ret_result, struct err *err);
/* {"hash", "known", "clean", "interactions", …}; NULL = no memory. */
struct json_t *forget_json(const struct forget_result *result);
/* What was begun and not finished, and the folders of models: each that names a forgotten user is
 * written anew and takes the old one's place at once. With models_lock held. *ret_n: how many. */
int forget_in_files(const struct candidate_target *t, int64_t *ret_n, struct err *err);
/* Lines "user TAB item" of users who were forgotten since the store was read for them. A missing file has none. */
int forget_in_pairs(const char *path, struct store *reader, const struct store_read_mark *mark,
                    bool *ret_changed, struct err *err);

#endif
