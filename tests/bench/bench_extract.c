/* Extraction against `ffmpeg -threads 1 -f null -`, CPU time, in alternation, medians:
 *
 *   bench_extract [ROUNDS [WHAT...]]     WHAT: a file; "worker"; "shared"; or a part of a name
 *
 * Without WHAT: the generated clips (simulated scenes, made in $TMPDIR/mmf-bench and kept), every
 * shared clip, and what the sandboxed worker adds. Each extraction runs in a fork of a warm
 * process, as a worker does: its peak resident memory is its own; the second of two jobs counts,
 * because a worker does hundreds. Baseline: the whole decoding of picture and sound by the
 * ffmpeg tool, its start included; it decodes what we sample. Needs the ffmpeg tool. ROUNDS 0
 * only makes the clips. Exits 1 when a goal is missed. */

#include "bench_worker.h"
#include "extract/media/clipmaker.h"
#include "extract/media/extractor.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS_MAX     31
#define SHARED_MAX     256
#define RSS_GOAL_KB    (160 * 1024)
#define RATE_GOAL      8 /* clips a second and core, 720p of 15 s */
#define WORST_GOAL     1.4
#define OVERHEAD_GOAL  1.02
#define OVERHEAD_TIMES 41

extern char **environ;

static const struct bench_codec {
    const char *name, *video, *audio, *container;
} codecs[] = {
    {"h264", "libx264", "aac", "mp4"},
    {"hevc", "libx265", "aac", "mp4"},
    {"vp9", "libvpx-vp9", "libopus", "webm"},
    {"av1", "libsvtav1", "libopus", "webm"},
};
#define N_CODECS (sizeof(codecs) / sizeof(codecs[0]))

struct bench_clip {
    char name[32]; /* "vp9-720p-15s", "vp9-720p-15s-onekey" */
    const struct bench_codec *codec;
    int height, seconds;
    bool one_key;
};
#define N_CLIPS (N_CODECS * 8)

static unsigned n_missed;

struct cost {
    double cpu_ms;
    long rss_kb;
    struct features_flags flags;
};

static double cpu_ms(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e3 +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e3;
}

/* In a child, so that memory of one clip is not counted for the next. */
static int extract_once(struct extractor *x, const char *path, struct cost *ret)
{
    int ends[2];
    if (pipe(ends) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        static struct features f;
        struct err err;
        struct rusage u = {0};
        double before_ms = 0;
        int fd = open(path, O_RDONLY), status = ERR_OK;
        for (int job = 0; job < 2 && status == ERR_OK; job++) {
            before_ms = cpu_ms(&u);
            status = extractor_run(x, fd, &(struct features_text){.title = "bench"}, &f, &err);
            (void)getrusage(RUSAGE_SELF, &u);
        }
        if (status != ERR_OK)
            _exit(1);
        struct cost c = {
            .cpu_ms = cpu_ms(&u) - before_ms, .rss_kb = u.ru_maxrss, .flags = f.flags};
        _exit(write(ends[1], &c, sizeof(c)) != sizeof(c));
    }
    (void)close(ends[1]);
    ssize_t n = read(ends[0], ret, sizeof(*ret));
    (void)close(ends[0]);
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -1;
    return n == sizeof(*ret) && status == 0 ? 0 : -1;
}

static int decode_once(const char *path, double *ret_ms)
{
    char *argv[] = {"ffmpeg", "-v", "quiet", "-nostdin", "-threads", "1",
                    "-i",     NULL, "-f",    "null",     "-",        NULL};
    argv[7] = strdup(path);
    pid_t pid;
    int status;
    struct rusage u;
    int failed = posix_spawnp(&pid, "ffmpeg", NULL, NULL, argv, environ);
    free(argv[7]);
    if (failed || wait4(pid, &status, 0, &u) < 0 || status != 0)
        return -1;
    *ret_ms = cpu_ms(&u);
    return 0;
}

/* 10 and 30 where there are keyframes to choose from and the decoder can skip. */
static double clip_goal(const struct bench_clip *c)
{
    if (c->one_key || c->codec >= &codecs[2])
        return WORST_GOAL;
    return c->seconds >= 60 ? 30 : 10;
}

/* Prints a line; returns the ratio, 0 when it cannot be measured. */
static double measure(struct extractor *x, const char *name, const char *path, double goal,
                      int rounds, struct cost *ret_cost)
{
    double ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        if (extract_once(x, path, ret_cost) < 0 || decode_once(path, &theirs[i]) < 0) {
            (void)printf("%-28s cannot be measured\n", name);
            return 0;
        }
        ours[i] = ret_cost->cpu_ms;
    }
    double mine = bench_quantile(ours, rounds, 0.5),
           whole = bench_quantile(theirs, rounds, 0.5);
    const struct features_flags *f = &ret_cost->flags;
    ret_cost->cpu_ms = mine;
    (void)printf("%-28s %8.1f %9.1f %6.1fx", name, mine, whole, whole / mine);
    if (goal > 0)
        (void)printf(" %5.1f %s", goal, whole / mine >= goal ? "yes" : "NO ");
    else
        (void)printf("          ");
    (void)printf(" %6.1f/s %4ld MB  %u/%u frames, %u keys, gap %u of %u ms%s\n", 1000 / mine,
                 ret_cost->rss_kb / 1024, f->n_frames, f->n_planned, f->n_keyframes,
                 f->max_gap_ms, f->n_planned ? f->duration_ms / (2 * f->n_planned) : 0,
                 f->degraded ? ", degraded" : "");
    (void)fflush(stdout);
    n_missed += whole / mine < goal;
    return whole / mine;
}

static void expect(const char *what, double value, double goal, bool met)
{
    if (!met)
        (void)printf("  goal missed: %s %.3f, goal %.3f\n", what, value, goal);
    n_missed += !met;
}

static int make(const struct bench_clip *c, const char *path)
{
    char part[600];
    struct clipmaker_options o = {.width = c->height * 16 / 9,
                                  .height = c->height,
                                  .fps = 30,
                                  .duration_ms = c->seconds * 1000,
                                  .gop = c->one_key              ? 0
                                         : c->codec > &codecs[1] ? 75
                                         : c->seconds >= 60      ? 60
                                                                 : 50,
                                  .video_codec = c->codec->video,
                                  .audio_codec = c->codec->audio,
                                  .container = c->codec->container,
                                  .scene = 3};
    struct err err;
    if (access(path, R_OK) == 0)
        return 0;
    (void)snprintf(part, sizeof(part), "%s.part", path);
    if (clipmaker_write(part, &o, &err) == ERR_OK && rename(part, path) == 0)
        return 0;
    (void)printf("%s\n", err.text);
    (void)unlink(part);
    return -1;
}

static void list_clips(struct bench_clip clips[N_CLIPS])
{
    struct bench_clip *c = clips;
    for (int one_key = 0; one_key < 2; one_key++)
        for (size_t i = 0; i < N_CODECS; i++)
            for (int k = 0; k < 4; k++, c++) {
                *c = (struct bench_clip){.codec = &codecs[i],
                                         .height = k % 2 ? 1080 : 720,
                                         .seconds = k / 2 ? 60 : 15,
                                         .one_key = one_key};
                (void)snprintf(c->name, sizeof(c->name), "%s-%dp-%ds%s", codecs[i].name,
                               c->height, c->seconds, one_key ? "-onekey" : "");
            }
}

static void clip_path(const struct bench_clip *c, char ret_path[512])
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(ret_path, 512, "%s/mmf-bench", tmp ? tmp : "/tmp");
    if (mkdir(ret_path, 0755) < 0 && errno != EEXIST)
        bench_stop(ret_path, strerror(errno));
    size_t used = strlen(ret_path);
    (void)snprintf(ret_path + used, 512 - used, "/%s.%s", c->name, c->codec->container);
}

/* The generated clips whose name holds `what`; how many there are. */
static unsigned measure_generated(struct extractor *x, const char *what, int rounds)
{
    struct bench_clip clips[N_CLIPS];
    unsigned n = 0;
    list_clips(clips);
    for (size_t i = 0; i < N_CLIPS; i++) {
        const struct bench_clip *c = &clips[i];
        struct cost cost;
        char path[512];
        clip_path(c, path);
        if (!strstr(c->name, what))
            continue;
        n++;
        if (make(c, path) < 0 || rounds == 0 ||
            measure(x, c->name, path, clip_goal(c), rounds, &cost) <= 0)
            continue;
        expect("resident MB", (double)cost.rss_kb / 1024, RSS_GOAL_KB / 1024.0,
               cost.rss_kb <= RSS_GOAL_KB);
        if (c->height == 720 && c->seconds == 15 && clip_goal(c) >= 10)
            expect("clips a second and core", 1000 / cost.cpu_ms, RATE_GOAL,
                   1000 / cost.cpu_ms >= RATE_GOAL);
    }
    return n;
}

/* Small clips: the tool's start is most of what it costs, so no goal but to cost less. */
static void measure_shared(struct extractor *x, int rounds)
{
    const char *set = getenv("MMF_SHARED_DATA");
    char root[4096];
    static double ratios[SHARED_MAX];
    int n = 0;
    (void)snprintf(root, sizeof(root), "%s/videos", set ? set : MMF_SHARED_DATA_DEFAULT);
    char *const roots[] = {root, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *e = fts ? fts_read(fts) : NULL; e && n < SHARED_MAX; e = fts_read(fts)) {
        struct cost cost;
        if (e->fts_info != FTS_F)
            continue;
        double ratio = measure(x, e->fts_name, e->fts_path, 1, rounds, &cost);
        if (ratio > 0)
            ratios[n++] = ratio;
    }
    if (fts)
        (void)fts_close(fts);
    if (n == 0) {
        (void)printf("skipped: no shared clips at %s\n", root);
        return;
    }
    double least = bench_quantile(ratios, n, 0), middle = bench_quantile(ratios, n, 0.5);
    (void)printf("%d shared clips: median ratio %.1f, least %.2f, largest %.1f\n", n, middle,
                 least, ratios[n - 1]);
}

static void measure_worker(void)
{
    struct bench_clip clips[N_CLIPS];
    char path[512];
    list_clips(clips);
    clip_path(&clips[0], path);
    int fd = make(&clips[0], path) < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    double ratio = bench_compare_cost(clips[0].name, fd, OVERHEAD_TIMES);
    expect("worker over in-process", ratio, OVERHEAD_GOAL, ratio <= OVERHEAD_GOAL);
    (void)close(fd);
}

static void measure_what(struct extractor *x, const char *what, int rounds)
{
    const char *name = strrchr(what, '/');
    struct cost cost;
    if (!strcmp(what, "shared"))
        measure_shared(x, rounds);
    else if (!strcmp(what, "worker"))
        measure_worker();
    else if (measure_generated(x, what, rounds) == 0)
        (void)measure(x, name ? name + 1 : what, what, 0, rounds, &cost);
}

int main(int argc, char **argv)
{
    struct extractor_options options;
    struct extractor *x;
    struct err err;
    int rounds = argc > 1 ? atoi(argv[1]) : 5;
    rounds = rounds < 0 ? 0 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    extractor_options_init(&options);
    if (extractor_new(&options, &x, &err) != ERR_OK)
        bench_stop("extractor", err.text);
    (void)printf("%-28s %8s %9s %7s %5s     %8s\n", "clip", "ours ms", "ffmpeg ms", "ratio",
                 "goal", "clips");
    for (int i = 2; i < argc; i++)
        measure_what(x, argv[i], rounds);
    if (argc < 3) {
        (void)measure_generated(x, "", rounds);
        if (rounds > 0)
            measure_shared(x, rounds);
        if (rounds > 0)
            measure_worker();
    }
    extractor_free(x);
    (void)printf("%u goals missed\n", n_missed);
    return n_missed > 0;
}
