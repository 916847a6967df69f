#ifndef MMF_DAEMON_MODEL_CANDIDATE_H
#define MMF_DAEMON_MODEL_CANDIDATE_H

/* A trained model on its way into the store, the one place for it. The trainer leaves a folder of
 * files, whoever owns the store publishes them:
 *
 *   candidate_write     trainer → DIR/ model.safetensors, items.npy + items.txt, users.npy +
 *                       users.txt (vectors after the backbone, ids one a line), stamps, pairs,
 *                       neighbours (where the model has some), metrics.json
 *   candidate_read      DIR → memory, each file once; every one is checked there: the digests that
 *   candidate_look      metrics.json names, sizes, ids, finite numbers, rows in range
 *   candidate_publish   memory → the model folder and the store: a model in state `candidate` with
 *                       its vectors beside those of the active one, a block of rows a transaction
 *   candidate_promote   the flip: first fuses the items that came or changed meanwhile; the model
 *                       in memory goes to those who serve it (loaded.h)
 *   candidate_activate  the same for any model of the store, from its files
 *
 * So what was checked is what is used, kept and served, and no file of a model is read twice by the
 * process that publishes it.
 *
 * What the files hold, beside the arrays: stamps (I) uint64, what identifies the features that a
 * vector was made of; pairs (n, 2) uint32, user row and item row; both little-endian. A row of
 * zeros is an item without a vector. neighbours, little-endian too, n values in all: "mmfn", I uint32, n uint64,
 * start (I + 1) uint64, scale (I) float32, value (n) float32, column (n) uint32; columns of a row ascend
 * and are not the row itself. Folders of models without that signal do not have the file.
 *
 * The model folder keeps DIR as trained-<digest>/, so that a rollback to a model whose vectors the
 * store has let go finds them there, and a warm start finds whose rows the model file holds.
 *
 * Threads: candidate_publish, _promote and _activate belong to one thread with a store handle of
 * its own; what writes goes through `writer`: the daemon's sink runs it between batches
 * (pipeline_writer), a command line with the store's lock at once (store_writer_of). */

#include "config/digest.h"
#include "config/err.h"
#include "config/settings.h"
#include "fusion/math/csr.h"
#include "fusion/model/model.h"
#include "store/models.h"
#include "store/writing.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

/* The model folder's name for DIR, and how many digits of the model's SHA-256 follow. */
#define CANDIDATE_FOLDER "trained-"
#define CANDIDATE_DIGITS 12
/* The files of DIR: the model first, and last those that may be missing; metrics.json is written last, with the
 * digests of the others. */
#define CANDIDATE_N_FILES   9
#define CANDIDATE_N_NEEDED  8
#define CANDIDATE_BYTES_MAX ((int64_t)8 << 30) /* of one file */
extern const char *const candidate_files[CANDIDATE_N_FILES];

/* I items, U users, D width of a vector. candidate_read owns what it fills (candidate_done); for
 * candidate_write everything is the caller's. */
struct candidate {
    char dir[PATH_MAX];            /* in the model folder since candidate_publish */
    char sha256[DIGEST_HEX_BYTES]; /* of the model's file */
    int64_t model_id;              /* in the store, since candidate_publish */
    struct model *model;           /* NULL since candidate_promote */
    size_t n_items, n_users, n_pairs;
    int32_t dim;
    char **item_id, **user_id; /* (I), (U) */
    float *items, *users;      /* (I, D), (U, D) */
    uint64_t *stamp;           /* (I) */
    uint8_t *warm;             /* (I) 1 = in a training pair; candidate_write ignores it */
    uint32_t (*pair)[2];       /* (n_pairs) user row, item row: what it was trained on */
    /* What an interaction with the row's item adds to the scores of others: value times the scale of the
     * column (fusion/model/neighbours.h). start NULL = the model has no such signal. */
    struct csr neighbours;  /* (I, I) with values */
    float *neighbour_scale; /* (I) 0 or more */
    /* An object: what was asked for (options, seed, parent), what was read and when (read_us,
     * read_forgettings, encoder_ids,
     * counts), what came of it (epochs, curve, valid, no_history (D), signals (what each counts)), files
     * (their digests), and, once judged, gate. training.c writes it. */
    struct json_t *metrics;
    char *id_block[2];     /* what item_id and user_id point into */
    char *neighbour_block; /* and neighbours and neighbour_scale */
    char *nobody;          /* and the names of users who are forgotten; NULL = none */
    /* As candidate_read read them, for candidate_publish: NULL where the arrays above are the same
     * bytes. */
    struct candidate_file {
        char *data;
        size_t bytes;
    } file[CANDIDATE_N_FILES];
};

/* The folder is made when it is not there. ERR_FATAL EX_DATAERR for an id with a line feed. Adds
 * "files" to c->metrics. What was read is written byte for byte. */
int candidate_write(const char *dir, const struct candidate *c, struct err *err);
/* ERR_FATAL EX_DATAERR with the file's name, EX_NOINPUT when one is missing. */
int candidate_read(const char *dir, struct candidate *ret_c, struct err *err);
/* For who does not publish it: the bytes of a file go before the next one is read. */
int candidate_look(const char *dir, struct candidate *ret_c, struct err *err);
/* What a trained model of the store was published from, without the bytes of its files. ERR_NONE for a
 * model without a folder (seeded, imported); ERR_FATAL EX_DATAERR when the folder holds another one. */
int candidate_of_model(const struct settings *s, const struct store_model *m,
                       struct candidate *ret_c, struct err *err);
void candidate_done(struct candidate *c);
/* The vector of a user without history (D), NULL when the metrics hold none. malloc'ed. */
float *candidate_no_history(const struct json_t *metrics, int32_t dim);

/* What the sum over a user's items counts in a score: metrics.signals.neighbours.scale, 0 without. */
float candidate_neighbour_weight(const struct json_t *metrics);

/* When the store was read for it; time 0 and no number of forgettings = not said. */
struct store_read_mark candidate_read_mark(const struct candidate *c);

/* What a model's row says of it: where it comes from, kinds, encoders, digest, and the metrics less
 * what has a place of its own in the store. */
int candidate_describe(const struct candidate *c, struct store_model *row, struct err *err);

/* Where to: see the threads above. */
struct candidate_target {
    const struct settings *settings;
    struct store *reader; /* the calling thread's; may be the writing handle itself */
    struct store_writer writer;
    /* Between two blocks; false = give up (ERR_RETRY EX_TEMPFAIL). NULL = go on. */
    bool (*progress)(void *ctx, size_t done, size_t total);
    void *ctx;
    /* Nobody asked for this model: a pin that came meanwhile keeps it from being activated
     * (ERR_RETRY EX_TEMPFAIL). */
    bool unless_pinned;
};

/* Writes the files, inserts the model (state candidate) with its vectors, training pairs and
 * learning curve, the weights of its signals, and its neighbours, less the items that the store does not know.
 * When it fails half way the model ends as `rejected`. Vectors of items whose
 * features have changed since the training read them are left out. c is as candidate_read gave it. */
int candidate_publish(struct candidate *c, const struct candidate_target *t, struct err *err);
/* Makes it the active one, after candidate_publish. */
int candidate_promote(struct candidate *c, const struct candidate_target *t, struct err *err);
/* Makes any model of the store the active one: promotion, rollback, import. Vectors that it lacks
 * come from its folder, else are fused from the stored features; the last ones and the flip are
 * one work of `writer`. Training pairs and neighbours that it lacks come from its folder too. The active one again
 * changes nothing. */
int candidate_activate(const struct candidate_target *t, int64_t model_id, struct err *err);

/* The active model once more, when its file was lost and is back: items that were stored meanwhile get
 * their vectors, and whoever serves no model takes it (loaded.h). ERR_NONE: no model is active. */
int candidate_mend(const struct candidate_target *t, struct err *err);

/* The folder of a trained model, with its files; ERR_NONE for one without (seeded, imported). */
int candidate_folder(const struct settings *s, const struct store_model *m,
                     char ret_dir[PATH_MAX], struct err *err);

#endif
