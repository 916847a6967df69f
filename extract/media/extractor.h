#ifndef MMF_EXTRACT_MEDIA_EXTRACTOR_H
#define MMF_EXTRACT_MEDIA_EXTRACTOR_H

/* One item: an open descriptor and its text in, features out. What a worker process calls for
 * each job, and what the tests call without a process.
 *
 * Warm-up: extractor_new does everything that needs files, locale, time zone or lazy
 * initialisation (codec tables, transform plans); afterwards extractor_run needs only
 * read, pread64, lseek, fstat, memory and the clock, starts no thread and opens nothing, so the
 * seccomp filter belongs between the two.
 *
 * Thread: one at a time per extractor; extractors share nothing that changes.
 * Memory: bounded by the caps of media.h and by max_pixels; freed when extractor_run returns.
 * Determinism: equal bytes and text give byte-equal vectors and flags (extract_us aside) on one
 * build and machine type; nothing depends on wall time, on earlier jobs, or on load.
 *
 * Failure: ERR_SKIP with one of the reasons of docs/extraction.md (media_sha256 is the worker's):
 *   media            cannot be opened: not a file, empty, no admitted container, header broken
 *   media_too_big    more bytes than max_media_bytes, or frames over the pixel limit
 *   media_encrypted  every stream is encrypted
 *   media_codec      no stream of an admitted codec
 *   media_no_frames  streams there are, but nothing in them decodes
 * `media`, and a file over max_media_bytes, hold even when there is text; the other three only
 * when there is none: with text the item becomes a row whose mask lacks what is missing.
 * ERR_RETRY: the descriptor cannot be read (EIO), or memory is out. A missing modality is a
 * cleared mask bit and never an error.
 *
 * Example: extractor_run(ex, fd, &(struct features_text){.title = "cat"}, &f, &err) on a clip
 * with sound: f.mask = 7, f.vec[m] of unit length, f.flags.n_frames = 8, coverage = 1. */

#include "config/err.h"
#include "extract/media/media.h"
#include "extract/wire/features.h"

#include <stdint.h>

struct extractor;

struct extractor_options {
    struct media_options media;
    int64_t cpu_us; /* CPU time of one item, then it ends with what there is; 0 = no limit */
    const char *encoder[MODALITY_COUNT]; /* names of encoder.h; NULL = the built-in one */
};

void extractor_options_init(
    struct extractor_options
        *o); /* as media_options_init, no limit of CPU, built-in encoders */
int extractor_new(const struct extractor_options *options, struct extractor **ret_extractor,
                  struct err *err);
/* media_fd: O_RDONLY, regular file, stays the caller's, its position is neither used nor moved;
 * -1 = text only. text may be NULL. ret_features is written only on ERR_OK. */
int extractor_run(struct extractor *extractor, int media_fd, const struct features_text *text,
                  struct features *ret_features, struct err *err);
void extractor_free(struct extractor *extractor); /* takes NULL */

/* Of its encoders, by modality: ret_encoders (MODALITY_COUNT). */
void extractor_encoders(const struct extractor *extractor,
                        struct encoder_identity *ret_encoders);

#endif
