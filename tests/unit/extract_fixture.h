#ifndef MMF_TESTS_EXTRACT_FIXTURE_H
#define MMF_TESTS_EXTRACT_FIXTURE_H

/* A folder of clips made for one test, and an extractor to try them. */

#include "extract/media/clipmaker.h"
#include "extract/media/extractor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct extract_fixture {
    char dir[64];
    struct extractor *extractor;
};

int extract_fixture_setup(void **state);
int extract_fixture_teardown(void **state);
/* dir/name; the buffer is overwritten by the next call but three. */
const char *clip_path(const struct extract_fixture *fx, const char *name);
struct clipmaker_options small_clip(void); /* 160×96, 2 s */
/* Writes a clip; skips the test when this FFmpeg lacks the encoder. */
void make_clip(const struct extract_fixture *fx, const char *name,
               const struct clipmaker_options *o);
char *read_bytes(const char *path, size_t *ret_n); /* free() it */
void write_bytes(const char *path, const void *bytes, size_t n);
int extract_file(const struct extract_fixture *fx, const char *name, const char *title,
                 struct features *ret_features, struct err *err);
/* Makes a clip, "clip", and expects features of it. */
void extract_clip(const struct extract_fixture *fx, const struct clipmaker_options *o,
                  struct features *ret_features);
double feature_cosine(const struct features *a, const struct features *b, enum modality m);
/* Expects ERR_SKIP with the reason without a title, and a row of text alone with it otherwise. */
void assert_text_only(const struct extract_fixture *fx, const char *name, const char *reason);

#endif
