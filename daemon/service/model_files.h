#ifndef MMF_DAEMON_SERVICE_MODEL_FILES_H
#define MMF_DAEMON_SERVICE_MODEL_FILES_H

/* The files of a model on their way to a running daemon. The command line opens them, with its own
 * rights, and hands the descriptors over; the daemon copies what it was given into a folder of its
 * own beside its models and goes on from there by name: nobody else can change that, and no file is
 * opened with rights that the peer has not.
 *
 * One safetensors file, or those of a candidate's folder (candidate.h) in the order of
 * candidate_files, of which the last may be missing. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/model/candidate.h"
#include "daemon/service/control.h"

#include <limits.h>
#include <stdbool.h>

struct model_files {
    int fds[CANDIDATE_N_FILES];
    size_t n;
};

/* path is a file or, when `folder`, a candidate's folder. */
int model_files_open(const char *path, bool folder, struct model_files *ret_files,
                     struct err *err);
void model_files_close(struct model_files *files);

/* *ret_path is what models_publish takes when `folder`, else what models_import takes; end with
 * model_files_remove(ret_dir). A folder that a crash leaves behind goes with those of trainings
 * (RETRAIN_BY_HAND). */
int model_files_take(const struct control_call *call, const struct settings *s, bool folder,
                     char ret_dir[PATH_MAX], char ret_path[PATH_MAX], struct err *err);
/* Takes the name of that folder out of an error's text: it means nothing to the peer. */
void model_files_forget(const char *dir, struct err *err);
/* A folder of plain files. */
void model_files_remove(const char *dir);

#endif
