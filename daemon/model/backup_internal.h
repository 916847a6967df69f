#ifndef MMF_DAEMON_MODEL_BACKUP_INTERNAL_H
#define MMF_DAEMON_MODEL_BACKUP_INTERNAL_H

/* Between backup.c and restore.c. */

#include "config/digest.h"
#include "daemon/model/backup.h"

#include <limits.h>
#include <sys/types.h>

/* What is under way in the model folder: by a name that goes when it is old (retrain/files.h). */
#define RESTORE_PART ".metammf-train-restore"

/* Who may read it: the group, as of what the daemon writes. */
enum { BACKUP_FILE_MODE = 0640, BACKUP_FOLDER_MODE = 0750 };

/* The mode, and for root the owner too: uid -1 = as it is. */
int backup_give(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *err);
int backup_mkdir(const char *path, struct err *err); /* EEXIST is no fault */
/* A folder and all below it. */
void backup_remove(const char *path);
/* A file of a backup: "metammf.db", "models/FILE" or "models/FOLDER/FILE", and no other name. */
bool backup_is_name(const char *name);

#endif
