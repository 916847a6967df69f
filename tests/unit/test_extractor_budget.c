/* An item that ends by its budget: asked between packets, and interrupted anywhere by a signal. */

#include "extract_fixture.h"

#include "extract/wire/notes.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the interrupted process says, in memory that both have. */
struct shared {
    bool has_finished, has_run;
    int status;
    struct err err;
    struct features features;
};

static struct shared *shared;
static struct extractor *interrupted;

static void finish(int signo)
{
    static const struct itimerval soon = {.it_value = {.tv_usec = 50}};
    (void)signo;
    int status = extractor_finish(interrupted, &shared->features, &shared->err);
    if (status == ERR_NONE) { /* not begun yet */
        (void)setitimer(ITIMER_REAL, &soon, NULL);
        return;
    }
    shared->status = status;
    shared->has_finished = true;
    _exit(0);
}

/* Runs an item in a process of its own that is interrupted after so much time. */
static void run_interrupted(const struct extract_fixture *fx, const char *name,
                            const char *title, long after_us)
{
    memset(shared, 0, sizeof(*shared));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        static struct features f;
        struct sigaction action = {.sa_handler = finish};
        struct itimerval timer = {.it_value = {after_us / 1000000, after_us % 1000000}};
        struct err err;
        interrupted = fx->extractor;
        (void)sigaction(SIGALRM, &action, NULL);
        (void)setitimer(ITIMER_REAL, &timer, NULL);
        shared->status = extract_file(fx, name, title, &f, &err);
        shared->features = f;
        shared->has_run = true;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("after %ld us: wait status %d", after_us, status);
}

static void assert_sound(bool has_text)
{
    const struct features *f = &shared->features;
    const struct features_flags *g = &f->flags;
    bool has_media = (f->mask & ~MODALITY_BIT(MODALITY_TEXTUAL)) != 0;
    if (!has_text && shared->status == ERR_SKIP) {
        assert_string_equal(shared->err.reason, "media_budget");
        return;
    }
    assert_int_equal(shared->status, ERR_OK);
    assert_int_equal(f->mask >> MODALITY_TEXTUAL & 1, has_text);
    for (unsigned m = 0; m < MODALITY_COUNT; m++)
        for (unsigned i = 0; i < f->dim[m]; i++)
            assert_true(isfinite(f->vec[m][i]));
    assert_true(g->coverage >= 0 && g->coverage <= 1);
    if (shared->has_finished) {
        assert_true(g->degraded);
        assert_true(g->notes >> NOTE_CPU & 1);
        assert_string_equal(g->reason, has_media ? "" : "media_budget");
    }
}

static int set_up(void **state)
{
    shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? -1 : extract_fixture_setup(state);
}

static int tear_down(void **state)
{
    (void)munmap(shared, sizeof(*shared));
    return extract_fixture_teardown(state);
}

/* Wherever the signal comes, what it finds is whole: with a text there is always a row. */
static void finish_anywhere_gives_what_there_is(void **state)
{
    static struct features f;
    struct clipmaker_options o = small_clip();
    struct err err;
    unsigned n_finished = 0, n_run = 0, n_with_media = 0;
    o.duration_ms = 6000;
    make_clip(*state, "clip.mp4", &o);
    /* What an earlier item leaves in the scratch space must not show. */
    assert_int_equal(extract_file(*state, "clip.mp4", "earlier", &f, &err), ERR_OK);
    for (long us = 1; n_run == 0 && us < 10000000; us += us / 16 + 50) {
        run_interrupted(*state, "clip.mp4", n_finished % 2 ? "a title" : NULL, us);
        assert_sound(n_finished % 2);
        n_finished += shared->has_finished;
        n_run += shared->has_run;
        n_with_media += shared->has_finished && shared->status == ERR_OK &&
                        (shared->features.mask & MODALITY_BIT(MODALITY_VISUAL));
    }
    assert_true(n_finished > 0 && n_run > 0);
    print_message("%u interrupted, %u of them with a picture\n", n_finished, n_with_media);
}

/* How much of a long clip was read is told wherever it ends. */
static void finish_tells_what_was_seen_of_a_long_clip(void **state)
{
    struct extract_fixture fx = *(struct extract_fixture *)*state;
    struct extractor_options options;
    struct clipmaker_options o = small_clip();
    struct err err;
    unsigned n_windows = 0;
    o.duration_ms = 60000;
    make_clip(&fx, "long.mp4", &o);
    extractor_options_init(&options);
    options.media.packets_max = 400;
    assert_int_equal(extractor_new(&options, &fx.extractor, &err), ERR_OK);
    memset(shared, 0, sizeof(*shared));
    for (long us = 1000; !shared->has_run && us < 10000000; us += us / 16) {
        run_interrupted(&fx, "long.mp4", "a title", us);
        const struct features_flags *g = &shared->features.flags;
        if (shared->has_run || g->duration_ms == 0 || !(g->notes >> NOTE_WINDOWS & 1))
            continue;
        n_windows++;
        assert_in_range(g->seen_ms, 1000, 30000);
    }
    assert_true(n_windows > 0);
    extractor_free(fx.extractor);
}

static void finish_without_an_item_has_nothing(void **state)
{
    struct extract_fixture *fx = *state;
    static struct features f, before;
    struct err err = {0};
    assert_int_equal(extractor_finish(fx->extractor, &f, &err), ERR_NONE);
    assert_memory_equal(&f, &before, sizeof(f));
}

/* The budget is spent before the first packet. */
static void run_without_any_time_is_its_text(void **state)
{
    struct extract_fixture fx = *(struct extract_fixture *)*state;
    static struct features f;
    struct extractor_options options;
    struct err err;
    struct clipmaker_options o = small_clip();
    make_clip(&fx, "clip.mp4", &o);
    extractor_options_init(&options);
    options.cpu_us = 1;
    assert_int_equal(extractor_new(&options, &fx.extractor, &err), ERR_OK);
    assert_int_equal(extract_file(&fx, "clip.mp4", "a title", &f, &err), ERR_OK);
    assert_true(f.mask & MODALITY_BIT(MODALITY_TEXTUAL));
    assert_string_equal(f.flags.reason, "media_budget");
    assert_true(f.flags.degraded);
    assert_true(f.flags.notes >> NOTE_CPU & 1);
    assert_int_equal(extract_file(&fx, "clip.mp4", NULL, &f, &err), ERR_SKIP);
    assert_string_equal(err.reason, "media_budget");
    extractor_free(fx.extractor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_anywhere_gives_what_there_is),
        cmocka_unit_test(finish_tells_what_was_seen_of_a_long_clip),
        cmocka_unit_test(finish_without_an_item_has_nothing),
        cmocka_unit_test(run_without_any_time_is_its_text),
    };
    return cmocka_run_group_tests_name("extractor_budget", tests, set_up, tear_down);
}
