#ifndef MMF_DAEMON_BASE_PATHS_H
#define MMF_DAEMON_BASE_PATHS_H

/* Where things are when the settings leave it open. A path that does not fit: ERR_FATAL EX_CONFIG. */

#include "config/err.h"
#include "config/settings.h"

#include <limits.h>

/* The folder of the model files: store.model_dir, or the one that the store is in. */
int paths_model_dir(const struct settings *s, char ret_path[PATH_MAX], struct err *err);
/* A file of it, as a model's row names it. */
int paths_model_file(const struct settings *s, const char *name, char ret_path[PATH_MAX],
                     struct err *err);
/* dir/name; neither lies in ret_path. */
int paths_join(const char *dir, const char *name, char ret_path[PATH_MAX], struct err *err);
/* The worker: extract.worker_path, or metammf-extract beside this executable, or in the folder
 * that it was installed to. ERR_FATAL EX_CONFIG when there is none. */
int paths_worker(const struct settings *s, char ret_path[PATH_MAX], struct err *err);
/* The trainer: training.trainer_path, or metammf as above. */
int paths_trainer(const struct settings *s, char ret_path[PATH_MAX], struct err *err);

#endif
