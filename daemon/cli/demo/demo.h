#ifndef MMF_DAEMON_CLI_DEMO_DEMO_H
#define MMF_DAEMON_CLI_DEMO_DEMO_H

/* `metammf demo`: the real daemon on generated clips and a SIMULATED Kafka (librdkafka's mock
 * cluster inside this process). world.c makes folder, clips, settings and events;
 * child.c runs other executables; show.c watches the store and judges; demo.c puts
 * them in order. */

#include "config/err.h"
#include "config/settings.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DEMO_CLIPS_MAX    100
#define DEMO_SCENES       4 /* of the clip maker */
#define DEMO_INTERACTIONS 6
#define DEMO_VIDEO_TOPIC  "demo.video.events.v1"
#define DEMO_CLICK_TOPIC  "demo.interactions.v1"
#define DEMO_GROUP        "metammfd-demo"
#define DEMO_DLQ_TOPIC    DEMO_VIDEO_TOPIC "." DEMO_GROUP ".dlq"
#define DEMO_N_PARTITIONS 3
#define DEMO_QUERYABLE_MS 30000 /* patience for all events */

struct kafka_mock;
struct store;

struct demo_clip {
    char item_id[40], file[40], title[200];
    int scene;
    bool shown;
};

struct demo {
    char dir[PATH_MAX]; /* absolute */
    char store[PATH_MAX + 32], config[PATH_MAX + 32], log[PATH_MAX + 32];
    char clips_dir[PATH_MAX + 32], socket[PATH_MAX + 32];
    char bin[PATH_MAX]; /* where metammf and metammfd are */
    struct demo_clip clips[DEMO_CLIPS_MAX];
    size_t n_clips;
    struct kafka_mock *kafka;
    pid_t daemon; /* 0 = not running */
    int64_t started_us;
    bool failed; /* something was not as it must be */
};

/* ---- world.c ------------------------------------------------------------------------ */

/* A folder of ours, emptied of an earlier demo's files. dir NULL = ${TMPDIR:-/tmp}/metammf-demo.
 * ERR_FATAL EX_USAGE when the folder belongs to somebody else or is not a demo's. */
int demo_folder(struct demo *d, const char *dir, struct err *err);
int demo_make_clips(struct demo *d, size_t n, struct err *err);
int demo_start_kafka(struct demo *d, struct err *err);
int demo_write_settings(struct demo *d, struct err *err);
/* One event a clip, one that is broken on purpose, a few interactions. */
int demo_produce(struct demo *d, struct err *err);

/* ---- child.c ------------------------------------------------------------------------ */

/* Runs argv to its end; *ret_out is its standard output, malloc'ed, NUL at the end. label not
 * NULL: shows progress, a line of output being one of n_lines. */
int demo_run(char *const argv[], const char *label, int64_t n_lines, char **ret_out,
             struct err *err);
/* True when argv exits 0; what it prints goes to /dev/null. */
bool demo_try(char *const argv[]);
/* Starts metammfd and waits until it answers on its control socket. */
int demo_start_daemon(struct demo *d, struct err *err);
/* SIGTERM, then waits; *ret_ms is how long it took. ERR_FATAL when it fails or takes 10 s. */
int demo_stop_daemon(struct demo *d, int64_t *ret_ms, struct err *err);
/* Kills what runs; for the way out after an error. */
void demo_kill_daemon(struct demo *d);

/* ---- show.c ------------------------------------------------------------------------- */

/* A headline with the seconds since the start. */
__attribute__((format(printf, 2, 3))) void demo_say(const struct demo *d, const char *fmt, ...);
/* Prints the trail of each clip as its row appears. */
int demo_watch(struct demo *d, struct store *st, struct err *err);
int demo_show_counts(struct demo *d, struct store *st, struct err *err);
int demo_show_dead_letter(struct demo *d, struct store *st, struct err *err);
int demo_show_similar(struct demo *d, struct store *st, struct err *err);
/* The verdict and three lines to copy. */
void demo_show_end(const struct demo *d);

#endif
