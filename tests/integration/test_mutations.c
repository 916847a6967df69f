/* The real worker on media that is broken, hostile or merely odd: every shared clip and corrupt
 * file (MMF_SHARED_DATA; skipped where absent), seeded mutations of clips, and many extractions
 * in a row. The daemon's side survives, nothing hangs past its deadlines, every job has an
 * outcome, losses of workers are counted by reason, memory stays flat.
 *
 * MMF_MUTATIONS (200) and MMF_EXTRACTIONS (300) set the counts, MMF_SEED (1) the seed;
 * MMF_KEEP_LOSSES=DIR keeps each input that cost a worker. */
#include "config/clock.h"
#include "extract/media/clipmaker.h"
#include "extract/pool/pool.h"
#include "extract/wire/layout.h"
#include "mutate.h"
#include "pool_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>

#define FILES_MAX   256
#define REASONS_MAX 32
#define DEADLINE_MS 20000
#define BASE_MAX    (3u << 20) /* larger clips are extracted, but not mutated */

static struct mutate_file files[FILES_MAX];
static size_t n_files, n_clips; /* the first n_clips are whole ones of our own */
static struct pool_result result;

struct tally {
    char reason[REASONS_MAX][ERR_REASON_BYTES];
    unsigned n[REASONS_MAX];
    size_t n_reasons;
    unsigned n_ok, n_partial, n_lost;
    int64_t longest_us;
};

const char *__lsan_default_suppressions(void);

/* The HEVC encoder that makes one of the clips keeps some tables of its own. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libx265";
}

static unsigned setting(const char *name, unsigned fallback)
{
    const char *s = getenv(name);
    return s != NULL && s[0] != 0 ? (unsigned)strtoul(s, NULL, 10) : fallback;
}

/* ---- files ---- */

static void add_file(const char *path)
{
    struct mutate_file *f = &files[n_files];
    FILE *in = fopen(path, "rb");
    assert_true(in != NULL && n_files < FILES_MAX);
    assert_int_equal(fseek(in, 0, SEEK_END), 0);
    f->n_bytes = (size_t)ftell(in);
    rewind(in);
    f->bytes = malloc(f->n_bytes + 1);
    assert_non_null(f->bytes);
    assert_int_equal(fread(f->bytes, 1, f->n_bytes, in), f->n_bytes);
    fclose(in);
    const char *slash = strrchr(path, '/');
    snprintf(f->name, sizeof(f->name), "%s", slash != NULL ? slash + 1 : path);
    n_files++;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_F && S_ISREG(st->st_mode))
        add_file(path);
    return 0;
}

static void add_folder(const char *root, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    if (nftw(path, visit, 16, FTW_PHYS) != 0)
        print_message("skipped: %s is absent\n", path);
}

static void make_clip(const char *dir, const char *container, const char *video,
                      const char *audio, int gop)
{
    struct clipmaker_options o;
    struct err err = {0};
    char path[PATH_MAX];
    clipmaker_options_init(&o);
    o.seed = n_files + 1;
    o.scene = (unsigned)n_files;
    o.container = container;
    o.video_codec = video;
    o.audio_codec = audio;
    o.gop = gop;
    o.duration_ms = 2000;
    snprintf(path, sizeof(path), "%s/own-%zu.%s", dir, n_files, container);
    if (clipmaker_write(path, &o, &err) != ERR_OK)
        fail_msg("%s", err.text);
    add_file(path);
    unlink(path);
}

static int set_up(void **state)
{
    char dir[] = "/tmp/mutations-XXXXXX";
    const char *shared = getenv("MMF_SHARED_DATA");
    (void)state;
    assert_non_null(mkdtemp(dir));
    make_clip(dir, "mp4", "libx264", "aac", 12);
    make_clip(dir, "mp4", "libx264", "aac", 0);
    make_clip(dir, "mp4", "libx265", NULL, 25);
    make_clip(dir, "webm", "libvpx-vp9", "libopus", 12);
    make_clip(dir, "matroska", "libvpx", "libvorbis", 12);
    make_clip(dir, "avi", "mpeg4", "libmp3lame", 12);
    make_clip(dir, "mpegts", "mpeg2video", "mp2", 12);
    make_clip(dir, "mp4", NULL, "aac", 0);
    rmdir(dir);
    n_clips = n_files;
    add_folder(shared != NULL ? shared : MMF_SHARED_DATA_DEFAULT, "videos");
    add_folder(shared != NULL ? shared : MMF_SHARED_DATA_DEFAULT, "corrupt");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_files; i++)
        free(files[i].bytes);
    return 0;
}

/* A read-only descriptor of bytes in memory. */
static int media_of(const struct mutate_file *f)
{
    char path[64];
    int fd = memfd_create("media", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t at = 0; at < f->n_bytes;) {
        ssize_t n = write(fd, f->bytes + at, f->n_bytes - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int read_fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_fd >= 0);
    close(fd);
    return read_fd;
}

/* ---- jobs ---- */

static struct pool_options options_of(int64_t recycle_jobs)
{
    return (struct pool_options){.worker_path = EXTRACT_WORKER,
                                 .n_workers = 2,
                                 .deadline_ms = DEADLINE_MS,
                                 .cpu_seconds = 20,
                                 .recycle_jobs = recycle_jobs,
                                 .recycle_rss_bytes = INT64_C(512) << 20,
                                 .address_space_bytes = INT64_C(1) << 30,
                                 .max_media_bytes = INT64_C(1) << 28,
                                 .require_sandbox = true};
}

static struct pool *open_pool(int64_t recycle_jobs)
{
    struct pool_options options = options_of(recycle_jobs);
    struct pool *pool = NULL;
    struct err err = {0};
    if (pool_open(&options, &pool, &err) != ERR_OK)
        fail_msg("pool_open: %s", err.text);
    return pool;
}

static void count_reason(struct tally *t, const char *reason)
{
    size_t i = 0;
    while (i < t->n_reasons && strcmp(t->reason[i], reason) != 0)
        i++;
    assert_true(i < REASONS_MAX);
    if (i == t->n_reasons)
        snprintf(t->reason[t->n_reasons++], ERR_REASON_BYTES, "%s", reason);
    t->n[i]++;
}

static void count_result(struct tally *t)
{
    assert_true(result.wait_us <= 2 * (DEADLINE_MS + 1000) * INT64_C(1000));
    if (result.wait_us > t->longest_us)
        t->longest_us = result.wait_us;
    if (result.err.status == ERR_OK) {
        t->n_ok++;
        t->n_partial += result.features.flags.partial;
        return;
    }
    if (result.err.status != ERR_SKIP)
        fail_msg("job %llu: %s", (unsigned long long)result.id, result.err.text);
    count_reason(t, result.err.reason);
    if (strncmp(result.err.reason, "worker_", 7) == 0) {
        t->n_lost++;
        print_message("job %llu: %s\n", (unsigned long long)result.id, result.err.text);
    }
}

static void print_tally(const char *what, const struct tally *t, const struct pool *pool)
{
    struct pool_stats s;
    pool_stats(pool, &s);
    print_message("%s: %u rows (%u of them partial)", what, t->n_ok, t->n_partial);
    for (size_t i = 0; i < t->n_reasons; i++)
        print_message(", %s %u", t->reason[i], t->n[i]);
    print_message("; longest %lld ms; workers: %llu died, %llu killed at the deadline, %llu "
                  "recycled\n",
                  (long long)(t->longest_us / 1000), (unsigned long long)s.n_died,
                  (unsigned long long)s.n_killed_deadline, (unsigned long long)s.n_recycled);
}

static void submit(struct pool *pool, uint64_t id, const struct mutate_file *f)
{
    struct pool_job job = {.id = id, .media_fd = media_of(f), .text = {.title = f->name}};
    struct err err = {0};
    if (pool_submit(pool, &job, &err) != ERR_OK)
        fail_msg("pool_submit: %s", err.text);
    close(job.media_fd);
}

/* Waits until a worker is free (or, with drain, until all are), counting results. */
static void wait_some(struct pool *pool, struct tally *t, bool drain)
{
    struct pool_stats s;
    for (;;) {
        pool_stats(pool, &s);
        if (drain ? s.n_busy == 0 : pool_n_idle(pool) > 0)
            return;
        if (pool_wait(pool, -1, 60000, &result))
            count_result(t);
    }
}

static void drain(struct pool *pool, struct tally *t)
{
    wait_some(pool, t, true);
    while (pool_wait(pool, -1, 0, &result))
        count_result(t);
}

static void keep_loss(const struct mutate_file *f, uint64_t id, enum mutate_kind kind)
{
    const char *dir = getenv("MMF_KEEP_LOSSES");
    char path[PATH_MAX];
    if (dir == NULL)
        return;
    snprintf(path, sizeof(path), "%s/%llu-%s-%.150s", dir, (unsigned long long)id,
             mutate_kind_name(kind), f->name);
    FILE *out = fopen(path, "wb");
    if (out == NULL)
        return;
    fwrite(f->bytes, 1, f->n_bytes, out);
    fclose(out);
}

/* ---- the tests ---- */

static void pool_every_shared_file_has_an_outcome(void **state)
{
    struct tally t = {0};
    (void)state;
    if (n_files == n_clips) {
        print_message("skipped: no shared media\n");
        skip();
    }
    struct pool *pool = open_pool(500);
    for (size_t i = n_clips; i < n_files; i++) {
        wait_some(pool, &t, false);
        submit(pool, i, &files[i]);
    }
    drain(pool, &t);
    print_tally("shared files", &t, pool);
    assert_int_equal(t.n_lost, 0);
    pool_close(pool);
}

static const struct mutate_file *pick(uint64_t *random)
{
    for (;;) {
        /* half of the bases are our own, whose codecs are known */
        size_t n = (mutate_random(random) & 1) != 0 ? n_clips : n_files;
        const struct mutate_file *f = &files[mutate_random(random) % n];
        if (f->n_bytes > 0 && f->n_bytes <= BASE_MAX)
            return f;
    }
}

/* MMF_KEEP_LOSSES repeats the run's generator: mutation i depends on the seed and i alone. */
static enum mutate_kind mutation(unsigned seed, unsigned i, struct mutate_file *ret)
{
    uint64_t random = ((uint64_t)seed << 32) | i;
    const struct mutate_file *base = pick(&random);
    return mutate(base, pick(&random), &random, ret);
}

static void keep_losses(const bool *lost, unsigned n, unsigned seed)
{
    for (unsigned i = 0; i < n; i++) {
        struct mutate_file f;
        if (!lost[i])
            continue;
        enum mutate_kind kind = mutation(seed, i, &f);
        keep_loss(&f, i, kind);
        free(f.bytes);
    }
}

static void note_loss(bool *lost)
{
    if (result.err.status == ERR_SKIP && strncmp(result.err.reason, "worker_", 7) == 0)
        lost[result.id] = true;
}

static void run_mutations(struct pool *pool, unsigned n, unsigned seed, struct tally *t,
                          bool *lost)
{
    unsigned n_sent = 0, n_done = 0;
    while (n_done < n) {
        while (n_sent < n && pool_n_idle(pool) > 0) {
            struct mutate_file f;
            mutation(seed, n_sent, &f);
            submit(pool, n_sent++, &f);
            free(f.bytes);
        }
        if (!pool_wait(pool, -1, 60000, &result))
            continue;
        count_result(t);
        note_loss(lost);
        n_done++;
    }
}

static void pool_mutated_clips_have_an_outcome(void **state)
{
    unsigned n = setting("MMF_MUTATIONS", 200), seed = setting("MMF_SEED", 1);
    struct tally t = {0};
    struct pool_stats s;
    bool *lost = calloc(n + 1, sizeof(*lost));
    (void)state;
    assert_non_null(lost);
    struct pool *pool = open_pool(500);
    unsigned n_fds = fixture_n_fds();
    run_mutations(pool, n, seed, &t, lost);
    print_tally("mutated clips", &t, pool);
    keep_losses(lost, n, seed);
    free(lost);
    /* What is lost is reported; more than a few would mean a sandbox too narrow. */
    assert_in_range(t.n_lost, 0, n / 100);
    pool_stats(pool, &s);
    if (t.n_lost == 0)
        assert_int_equal(fixture_n_fds(), n_fds);
    assert_int_equal(s.n_jobs, n);
    pool_close(pool);
}

static int64_t run_clips(struct pool *pool, unsigned n, struct tally *t)
{
    for (unsigned i = 0; i < n; i++) {
        wait_some(pool, t, false);
        submit(pool, i, &files[i % n_clips]);
    }
    drain(pool, t);
    return fixture_session(fixture_leader()).rss_bytes;
}

static void pool_many_extractions_leave_memory_flat(void **state)
{
    unsigned n = setting("MMF_EXTRACTIONS", 300);
    n = n < 100 ? 100 : n; /* both workers have seen every clip before the first reading */
    struct tally t = {0};
    (void)state;
    struct pool *pool = open_pool(0); /* no recycling: a leak would show */
    int64_t workers_then = run_clips(pool, n / 5, &t);
    int64_t own_then = fixture_rss_bytes();
    int64_t workers_now = run_clips(pool, n - n / 5, &t);
    int64_t own_now = fixture_rss_bytes();
    print_tally("clips", &t, pool);
    print_message("resident memory after %u and %u extractions: two workers %lld and %lld KiB, "
                  "daemon's side %lld and %lld KiB\n",
                  n / 5, n, (long long)workers_then / 1024, (long long)workers_now / 1024,
                  (long long)own_then / 1024, (long long)own_now / 1024);
    assert_int_equal(t.n_ok, n);
#ifndef MMF_SANITIZE_BUILD /* its quarantine grows */
    assert_true(workers_now - workers_then < (16 << 20));
    assert_true(own_now - own_then < (4 << 20));
#endif
    pool_close(pool);
}

static void pool_encoders_are_those_asked_for(void **state)
{
    struct pool_options options = options_of(0);
    struct pool *pool = NULL;
    struct err err = {0};
    (void)state;
    options.encoder[MODALITY_ACOUSTIC] = "builtin";
    assert_int_equal(pool_open(&options, &pool, &err), ERR_OK);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        const struct encoder_identity built_in = layout_identity((enum modality)m);
        assert_int_equal(pool_encoders(pool)[m].dim, built_in.dim);
        assert_string_equal(pool_encoders(pool)[m].id, built_in.id);
    }
    pool_close(pool);
    pool = NULL;
    options.encoder[MODALITY_ACOUSTIC] = "parrot";
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_non_null(strstr(err.text, "no acoustic encoder \"parrot\"; there are: builtin"));
    assert_null(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_encoders_are_those_asked_for),
        cmocka_unit_test(pool_every_shared_file_has_an_outcome),
        cmocka_unit_test(pool_mutated_clips_have_an_outcome),
        cmocka_unit_test(pool_many_extractions_leave_memory_flat),
    };
    return cmocka_run_group_tests_name("mutations", tests, set_up, tear_down);
}
