#ifndef MMF_DAEMON_MODEL_JUDGE_H
#define MMF_DAEMON_MODEL_JUDGE_H

/* Both models on the same held-out interactions: the figures that gate.h decides by. Runs in a
 * child process of the retraining, because it holds all features in memory and takes long.
 *
 * Ranked are the items that the candidate has seen, with everything masked that a user has done
 * but for what is held out. Of the active model count the vectors that it was trained to; items
 * that it was not trained on (the cold slice) are fused from their stored features, as long as
 * their interactions of today make them (fusion/model/cold.h). For the figure of the cold slice the
 * candidate's vectors of the same items are fused as well, so that both are judged as if these
 * items had just been uploaded; there they compete with each other only, because among all items
 * few stand high enough for a figure that is more than chance. A user whom the active model does
 * not know has its vector of no history. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/model/gate.h"
#include "store/store.h"

/* candidate_dir: as candidate_write left it; holdout: a file of user TAB item lines. Fills all
 * of *ret_case but `pinned`. ERR_FATAL EX_DATAERR for files that do not fit. beat is called
 * between two steps and may be NULL. */
int judge_run(struct store *st, const struct settings *s, const char *candidate_dir,
              const char *holdout, void (*beat)(const char *what), struct gate_case *ret_case,
              struct err *err);
/* The candidate without a model beside it, because the active one's file is lost; ERR_FATAL EX_DATAERR
 * when it is not. */
int judge_alone(struct store *st, const struct settings *s, const char *candidate_dir,
                const char *holdout, void (*beat)(const char *what), struct gate_case *ret_case,
                struct err *err);

#endif
