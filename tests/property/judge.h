#ifndef MMF_TESTS_JUDGE_H
#define MMF_TESTS_JUDGE_H

/* Extraction of a file in a process of its own, and what its result is worth beside another's. */

#include "clip.h"

#include "extract/media/extractor.h"

#define JUDGE_COSINE 0.95
#define JUDGE_PLAYED                                                                           \
    0.85 /* beside another coding of broken pictures, which are noise in part */
#define JUDGE_REFERENCES  2
#define JUDGE_CPU_SECONDS 11.0

struct outcome {
    struct features f; /* when status is ERR_OK */
    struct err err;
    int status;
    int signal; /* that ended it; 0 = it lived */
    double cpu_s;
    unsigned n_complaints; /* lines of FFmpeg's log about what it was given, errors and worse */
};

/* The process inherits the extractor; a crash or a loop is its own. With a title, so that there is a
 * row whenever there may be one. */
void judge_extract(struct extractor *x, const struct file *file, struct outcome *ret);

/* The file as it plays: decoded from the first packet to the last, coded again, and extracted. False:
 * it gave nothing. */
bool judge_as_played(struct extractor *x, const struct file *file, struct outcome *ret);

enum verdict {
    VERDICT_RIGHT,         /* as near as asked, no flag */
    VERDICT_RIGHT_FLAGGED, /* as near, and a flag */
    VERDICT_AS_PLAYED, /* near to what the file plays as, and FFmpeg had no complaint on the way */
    VERDICT_FLAGGED,     /* further off, or a modality is missing, and a flag says so */
    VERDICT_UNFLAGGED,   /* … and no flag */
    VERDICT_FALSE_ALARM, /* plain, right, and a flag */
    VERDICT_REFUSED,     /* no row */
    VERDICT_LOST,        /* crashed */
    VERDICT_SLOW,        /* over JUDGE_CPU_SECONDS */
    VERDICT_COUNT
};

struct judgement {
    enum verdict verdict;
    double cosine[MODALITY_COUNT]; /* NAN = nothing to compare; -2 = missing */
    char flags[320];
};

bool verdict_is_fault(enum verdict v);
const char *verdict_name(enum verdict v);
/* What is right: any of those there; none = the variant has no such modality. */
struct expected {
    const struct features *of[MODALITY_COUNT][JUDGE_REFERENCES]; /* NULL = not there */
};

struct judgement judge(const struct outcome *o, const struct expected *expected, bool plain);

#endif
