#ifndef MMF_TESTS_PIPELINE_FIXTURE_H
#define MMF_TESTS_PIPELINE_FIXTURE_H

/* A folder with a few small clips, settings that point into it, and the daemon's own pipeline run
 * over an event file: real workers, real store. */

#include "config/settings.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/source/file_source.h"
#include "store/store.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>

#define FIXTURE_CLIPS 3

struct fixture {
    char folder[64];
    struct settings settings;
};
extern struct fixture fixture; /* of the group of tests */

/* For cmocka_run_group_tests: makes the folder and clip0.mp4 … in <folder>/media, and removes it.
 * Everything here fails the test on any error. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);
/* "<folder>/name"; good until the fourth next call. */
const char *fixture_path(const struct fixture *f, const char *name);
/* A fresh store under this name. */
void fixture_use_store(struct fixture *f, const char *name);
void fixture_write(const struct fixture *f, const char *name, const char *text);

struct pipeline *fixture_start(const struct fixture *f);
/* Opens, starts and attaches a file source. */
struct source *fixture_feed(struct pipeline *p, const char *path, const char *media_root);
void fixture_stop_source(struct pipeline *p, struct source *src);
/* All of it: the file's events are rows or dead letters when it returns. */
void fixture_ingest(const struct fixture *f, const char *name, const char *text);
void fixture_wait_gone(const char *path); /* until there is no such file */
struct store *fixture_reader(const struct fixture *f);

/* A text that grows: begin, fprintf to out, end. The caller frees bytes. */
struct text {
    char *bytes;
    size_t size;
    FILE *out;
};

void text_begin(struct text *t);
const char *text_end(struct text *t);

#endif
