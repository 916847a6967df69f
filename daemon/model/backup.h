#ifndef MMF_DAEMON_MODEL_BACKUP_H
#define MMF_DAEMON_MODEL_BACKUP_H

/* The store with the models that it needs, as a folder; and back from there.
 *
 *   DIR/manifest.json     what it is, and size and SHA-256 of each file; written last
 *   DIR/metammf.db        a snapshot of the store
 *   DIR/models/           the files of its models, by the names that its rows have for them
 *
 * Taken while others write: the store first, then the models. The files of a model are there before its row
 * and go after it, so they are those that the copy names, unless models have come and gone
 * meanwhile: then the store is copied again. A row names its file without the folder, so a copy fits any
 * place. */

#include "config/err.h"
#include "config/settings.h"

#include <stdbool.h>

struct json_t;

#define BACKUP_MANIFEST "manifest.json"
#define BACKUP_STORE    "metammf.db"
#define BACKUP_MODELS   "models"
#define BACKUP_FORMAT   1

struct backup_options {
    const struct settings *settings;
    const char *dir;           /* new, or an empty folder: it appears whole or not at all */
    void (*copied)(void *ctx); /* after each copy of the store; NULL. For tests */
    void *ctx;
};
/* *ret_manifest: what DIR/manifest.json says. ERR_FATAL EX_CANTCREAT: DIR is not new; EX_NOINPUT or
 * EX_DATAERR: the active model's file is missing or another one. What else is missing is in "missing". */
int backup_take(const struct backup_options *o, struct json_t **ret_manifest, struct err *err);

struct restore_options {
    const struct settings *settings; /* where to: store.path, store.model_dir */
    const char *dir;
    bool force; /* what is there is set aside under another name */
};
/* Reads and checks all of DIR before it changes anything. *ret_report: the manifest, and "aside", the names
 * that what was there has now. ERR_FATAL EX_DATAERR: DIR is damaged;
 * EX_CONFIG: made by a newer version; EX_CANTCREAT: there is a store; EX_TEMPFAIL: somebody writes to it. */
int restore_put(const struct restore_options *o, struct json_t **ret_report, struct err *err);

#endif
