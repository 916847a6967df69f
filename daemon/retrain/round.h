#ifndef MMF_DAEMON_RETRAIN_ROUND_H
#define MMF_DAEMON_RETRAIN_ROUND_H

/* One retraining, from the split to the flip:
 *
 *   reader        what the active model does not know yet → holdout.tsv     (holdout.h)
 *   reader        the settings in force → settings.conf, the children's      (files.h)
 *   child         metammf train: the store less the held-out pairs → files   (child.h)
 *   child         metammf judge: both models on the held-out pairs           (judge.h)
 *   this thread   the gate's decision                                        (gate.h)
 *   pass          vectors beside the active ones in blocks, then one flip    (candidate.h)
 *   refused       a row in state `rejected` with both models' figures
 *
 * A crash anywhere leaves the active model as it is: the flip is one transaction. What it leaves
 * behind, a row in state `candidate` and files, goes at the next start or round. */

#include "config/settings.h"
#include "daemon/model/gate.h"
#include "daemon/retrain/child.h"
#include "daemon/retrain/schedule.h"
#include "store/writing.h"

struct retrain_round {
    const struct settings *settings;
    struct store_writer writer;
    int stop_fd;         /* readable = give up */
    int64_t seed_offset; /* added to training.seed */
    bool lost; /* the active model's file is: a new one is trained whatever that one knew */
    /* From within, on the caller's thread: what is going on now, and now and then. */
    void (*show)(void *arg, const char *what);
    void (*tick)(void *arg);
    void *arg;
};

struct retrain_outcome {
    enum retrain_end end;
    bool judged; /* gate and decision are filled */
    struct gate_case figures;
    struct gate_decision decision;
    enum trainer_end trainer; /* of the child that failed, TRAINER_DONE = none did */
    int64_t model_id;         /* published or rejected, 0 = none */
    char why[ERR_TEXT_BYTES]; /* a sentence for the log and the status */
};

void retrain_round_run(const struct retrain_round *r, struct retrain_outcome *ret_outcome);

/* The object that describes a judgement in a model's metrics, under "gate"; NULL = no memory. */
struct json_t;
struct json_t *retrain_gate_json(const struct gate_case *c, const struct gate_decision *d,
                                 size_t n_known);

/* Candidates of ours that a crash left behind become `rejected`, and of those that somebody else added
 * the old ones (files.h), but for the newest store.keep_model_versions. arg: const struct
 * settings. On the sink's thread. */
int retrain_reject_leftovers(struct store *st, void *arg, struct err *err);

#endif
