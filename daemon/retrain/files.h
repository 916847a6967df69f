#ifndef MMF_DAEMON_RETRAIN_FILES_H
#define MMF_DAEMON_RETRAIN_FILES_H

/* What a retraining has on disk, all of it in the model folder, which by default is the store's and
 * may hold other people's folders: what is removed has a name that nobody else gives.
 *
 *   .metammf-retraining/                          of the one under way; cleared before the next:
 *       settings.conf, holdout.tsv, candidate/    the children's settings and data; their result
 *   trained-<digest>/                             a published model (candidate.h), and in it
 *   trained-<digest>/holdout.tsv                  what it was judged by
 *   .metammf-train-XXXXXX/                        of a metammf train, which removes it itself
 *
 * A folder of a model goes when its vectors have gone from the store: store.keep_model_versions
 * retired ones stay. What a killed metammf train has left goes when it is old, which is a week
 * by steady.h. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/model/holdout.h"
#include "store/models.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RETRAIN_BY_HAND ".metammf-train-" /* and six characters */

struct retrain_paths {
    char dir[PATH_MAX], settings[PATH_MAX], holdout[PATH_MAX], candidate[PATH_MAX];
};
/* Makes an empty work folder, and in it the settings that are not the defaults. */
int retrain_files_begin(const struct settings *s, struct retrain_paths *ret_paths,
                        struct err *err);
void retrain_files_clear(const struct settings *s);

/* user TAB item lines; pairs whose names hold a tab are left out. */
int retrain_files_write(const char *path, struct store *st, const struct holdout *h,
                        struct err *err);
/* The pairs that the store knows, added to *pairs (malloc'ed, *n); a missing file adds none. */
int retrain_files_read(const char *path, struct store *st, struct store_pair **pairs, size_t *n,
                       struct err *err);
/* Moves what a model was judged by into its folder. */
int retrain_files_keep(const struct retrain_paths *paths, const char *dir, struct err *err);
bool retrain_files_is_old(int64_t since_us);
/* Removes folders of models that are not kept, and old ones that nobody owns. Logs each. */
void retrain_files_collect(const struct settings *s, struct store *st);

#endif
