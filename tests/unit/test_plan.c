/* The sampling plan against its guarantee, on lists of packets that are made here. */

#include "extract/media/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FRAME_US 40000

static struct plan_packet *make_clip(uint32_t n, uint32_t gop)
{
    struct plan_packet *p = calloc(n, sizeof(*p));
    assert_non_null(p);
    for (uint32_t i = 0; i < n; i++)
        p[i] = (struct plan_packet){.pts_us = (int64_t)i * FRAME_US,
                                    .duration_us = FRAME_US,
                                    .key = gop ? i % gop == 0 : i == 0};
    return p;
}

/* I B B P → I P B B in decode order: swaps times inside groups of three. */
static void reorder(struct plan_packet *p, uint32_t n)
{
    for (uint32_t i = 1; i + 2 < n; i += 3) {
        if (p[i].key || p[i + 1].key || p[i + 2].key)
            continue;
        int64_t t = p[i].pts_us;
        p[i].pts_us = p[i + 2].pts_us;
        p[i + 2].pts_us = p[i + 1].pts_us;
        p[i + 1].pts_us = t;
    }
}

static int64_t gap_to(int64_t a, int64_t b)
{
    return a > b ? a - b : b - a;
}

static void check_samples(const struct plan_packet *p, uint32_t n, const struct plan *plan)
{
    for (unsigned i = 0; i < plan->n_samples; i++) {
        const struct plan_sample *s = &plan->samples[i];
        assert_true(s->start <= s->packet && s->packet < n);
        assert_true(s->start == 0 || p[s->start].key || p[s->start].cut);
        assert_int_equal(s->pts_us, p[s->packet].pts_us);
        assert_false(p[s->packet].hidden || p[s->packet].bad);
        for (uint32_t k = s->start + 1; k <= s->packet; k++)
            assert_false(p[k].cut);
    }
}

/* The promise of plan.h, checked by brute force. */
static void check_guarantee(const struct plan_packet *p, uint32_t n, const struct plan *plan)
{
    assert_true(plan->n_samples <= plan->n_targets && plan->n_targets <= FRAMES_MAX);
    for (unsigned t = 0; t < plan->n_targets; t++) {
        int64_t possible = INT64_MAX, got = INT64_MAX;
        for (uint32_t i = 0; i < n; i++)
            if (!p[i].hidden && !p[i].bad && !p[i].unreachable &&
                gap_to(p[i].pts_us, plan->targets_us[t]) < possible)
                possible = gap_to(p[i].pts_us, plan->targets_us[t]);
        for (unsigned i = 0; i < plan->n_samples; i++)
            if (gap_to(plan->samples[i].pts_us, plan->targets_us[t]) < got)
                got = gap_to(plan->samples[i].pts_us, plan->targets_us[t]);
        if (possible <= plan->tau_us && !plan->degraded)
            assert_true(got <= plan->tau_us);
    }
    check_samples(p, n, plan);
}

/* As if every sample had come. */
static void take_all(const struct plan *plan, struct plan_got *got)
{
    memset(got, 0, FRAMES_MAX * sizeof(*got));
    for (unsigned i = 0; i < plan->n_samples; i++)
        got[plan->samples[i].target] =
            (struct plan_got){.any = true, .pts_us = plan->samples[i].pts_us};
}

static void run(struct plan_packet *p, uint32_t n, struct plan *plan)
{
    struct plan_options o;
    plan_options_init(&o);
    plan_make(p, n, &o, plan);
    check_guarantee(p, n, plan);
}

static void plan_make_many_keyframes_decodes_only_keyframes(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(375, 10);
    struct plan plan;
    run(p, 375, &plan);
    assert_int_equal(plan.n_samples, 8);
    assert_int_equal(plan.n_keyframes, 38);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(plan.samples[i].start, plan.samples[i].packet);
    assert_true(plan.n_frames_to_decode <= 16);
    free(p);
}

static void plan_make_example_of_header_uses_three_keys(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(375, 125);
    struct plan plan;
    run(p, 375, &plan);
    unsigned n_keys = 0;
    for (unsigned i = 0; i < plan.n_samples; i++)
        n_keys += plan.samples[i].start == plan.samples[i].packet;
    assert_int_equal(plan.n_samples, 8);
    assert_int_equal(n_keys, 3);
    free(p);
}

static void plan_make_one_keyframe_is_one_run_and_stops_early(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(1500, 0);
    struct plan plan;
    run(p, 1500, &plan);
    assert_int_equal(plan.n_samples, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(plan.samples[i].start, 0);
    /* The last target is at 15/16 of the clip and may be met τ earlier: 7/8. */
    assert_in_range(plan.n_frames_to_decode, 1300, 1320);
    assert_true(!plan.degraded);
    free(p);
}

static void plan_make_never_costs_more_than_one_pass_and_followers(void **state)
{
    (void)state;
    for (uint32_t gop = 0; gop < 200; gop += 7) {
        struct plan_packet *p = make_clip(300, gop);
        struct plan plan;
        run(p, 300, &plan);
        assert_true(plan.n_frames_to_decode <= 300 + 2 * FRAMES_MAX);
        free(p);
    }
}

static void plan_make_random_clips_hold_the_guarantee(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 400; round++) {
        uint32_t n = 1 + (uint32_t)rand() % 400;
        struct plan_packet *p = make_clip(n, 1 + (uint32_t)rand() % 120);
        reorder(p, n);
        for (uint32_t i = 0; i < n; i++) {
            p[i].pts_us += rand() % 30000 + (rand() % 90 == 0 ? 400000 : 0);
            p[i].hidden = i > 0 && rand() % 40 == 0;
            p[i].key |= rand() % 50 == 0;
            p[i].bad = rand() % 60 == 0;
            p[i].cut = i > 0 && rand() % 80 == 0;
        }
        struct plan plan;
        run(p, n, &plan);
        free(p);
    }
}

static void plan_make_leading_pictures_start_at_the_key_before(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(200, 0);
    p[100].key = true;
    p[100].pts_us += 3 * FRAME_US; /* 101 … 103 are shown before their keyframe */
    for (uint32_t i = 101; i < 104; i++)
        p[i].pts_us -= FRAME_US;
    struct plan plan;
    run(p, 200, &plan);
    for (unsigned i = 0; i < plan.n_samples; i++)
        if (plan.samples[i].packet > 100 && plan.samples[i].packet < 104)
            assert_int_equal(plan.samples[i].start, 0);
    free(p);
}

static void plan_make_missing_timestamps_space_by_index(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(100, 10);
    p[50].pts_us = INT64_MIN;
    struct plan plan;
    run(p, 100, &plan);
    assert_true(plan.retimed);
    assert_int_equal(plan.duration_us, 100 * FRAME_US);
    free(p);
}

static void plan_make_absurd_timestamp_spaces_by_index(void **state)
{
    (void)state;
    static const int64_t absurd[] = {INT64_MAX, INT64_MIN + 1, 5000000000000, 3600000000};
    for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
        struct plan_packet *p = make_clip(100, 10);
        p[99].pts_us = absurd[i];
        struct plan plan;
        run(p, 100, &plan);
        assert_true(plan.retimed);
        assert_int_equal(plan.n_samples, 8);
        free(p);
    }
}

static void plan_make_standing_timestamps_space_by_index(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(100, 10);
    for (int i = 0; i < 100; i++)
        p[i].pts_us = 1234;
    struct plan plan;
    run(p, 100, &plan);
    assert_true(plan.retimed);
    free(p);
}

/* Two files end to end: the second follows the first. */
static void plan_make_times_that_begin_again_go_on(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(250, 10);
    reorder(p, 250);
    for (int i = 100; i < 250; i++)
        p[i].pts_us -= (int64_t)100 * FRAME_US;
    struct plan plan;
    run(p, 250, &plan);
    assert_true(plan.retimed);
    assert_int_equal(plan.duration_us, 250 * FRAME_US);
    assert_int_equal(p[100].pts_us, 100 * FRAME_US);
    assert_int_equal(plan.n_samples, 8);
    /* Once more, as when the first plan was too dear. */
    run(p, 250, &plan);
    assert_false(plan.retimed);
    assert_int_equal(plan.duration_us, 250 * FRAME_US);
    free(p);
}

static void plan_make_reordering_is_no_second_file(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(250, 100);
    /* Shown in groups of 16 from the last to the first, and single wrong times. */
    for (int64_t i = 0; i < 240; i++)
        p[i].pts_us = (i / 16 * 16 + 15 - i % 16) * FRAME_US;
    p[120].pts_us = 10 * FRAME_US + 1;
    p[180].pts_us = 20 * FRAME_US + 1;
    struct plan plan;
    run(p, 250, &plan);
    assert_false(plan.retimed);
    assert_int_equal(plan.duration_us, 250 * FRAME_US);
    free(p);
}

static void plan_make_slide_show_is_believed(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(3, 1);
    p[1].pts_us = 30000000;
    p[2].pts_us = 70000000;
    struct plan plan;
    run(p, 3, &plan);
    assert_false(plan.retimed);
    assert_true(plan.duration_us > 70000000);
    free(p);
}

/* FFmpeg 5.1 says 0, 6.1 one tick of the container's clock. */
static void plan_make_last_frame_of_no_time_lasts_as_usual(void **state)
{
    (void)state;
    static const int64_t unknown[] = {0, 11, 1000};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        struct plan_packet *p = make_clip(100, 10);
        p[99].duration_us = unknown[i];
        struct plan plan;
        run(p, 100, &plan);
        assert_false(plan.retimed);
        assert_int_equal(plan.duration_us, 100 * FRAME_US);
        free(p);
    }
}

static void plan_make_over_budget_degrades_and_stays_affordable(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(3000, 0);
    struct plan_options o;
    plan_options_init(&o);
    o.pixels_per_frame = 3840 * 2160;
    struct plan plan;
    plan_make(p, 3000, &o, &plan);
    assert_true(plan.degraded);
    assert_true(plan.n_samples >= 1 && plan.n_targets == 4);
    assert_true(plan.n_frames_to_decode * o.pixels_per_frame <= o.budget_pixels);
    struct plan_got got[FRAMES_MAX];
    take_all(&plan, got);
    float coverage;
    int64_t gap;
    plan_quality(&plan, got, &coverage, &gap);
    assert_true(coverage < 1 && gap > plan.tau_us);
    free(p);
}

static void plan_make_few_frames_takes_each(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 8; n++) {
        struct plan_packet *p = make_clip(n, 0);
        struct plan plan;
        run(p, n, &plan);
        assert_int_equal(plan.n_samples, n);
        assert_int_equal(plan.n_targets, n);
        free(p);
    }
}

static void plan_make_nothing_shown_is_an_empty_plan(void **state)
{
    (void)state;
    struct plan_packet p = {.pts_us = 0, .key = true, .hidden = true};
    struct plan plan;
    run(&p, 1, &plan);
    assert_int_equal(plan.n_samples, 0);
    run(NULL, 0, &plan);
    assert_int_equal(plan.n_samples, 0);
}

static void plan_quality_lost_sample_shows(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(200, 5);
    struct plan plan;
    run(p, 200, &plan);
    struct plan_got got[FRAMES_MAX];
    take_all(&plan, got);
    got[3].any = false;
    float coverage;
    int64_t gap;
    plan_quality(&plan, got, &coverage, &gap);
    assert_float_equal(coverage, 7.0f / 8, 1e-6);
    assert_true(gap > plan.tau_us);
    free(p);
}

/* A recorder writes nothing while the screen stands still. */
static void plan_make_pause_is_believed(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(300, 30);
    for (int i = 150; i < 300; i++)
        p[i].pts_us += 45000000;
    struct plan plan;
    run(p, 300, &plan);
    assert_false(plan.retimed);
    assert_int_equal(plan.duration_us, 300 * FRAME_US + 45000000);
    free(p);
}

static void plan_make_before_the_first_key_plans_nothing(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(300, 0);
    p[0].key = false;
    p[100].key = p[200].key = true;
    struct plan plan;
    run(p, 300, &plan);
    assert_true(plan.n_samples >= 5);
    for (unsigned i = 0; i < plan.n_samples; i++)
        assert_true(plan.samples[i].start >= 100);
    struct plan_got got[FRAMES_MAX];
    take_all(&plan, got);
    float coverage;
    int64_t gap;
    plan_quality(&plan, got, &coverage, &gap);
    assert_true(coverage < 1);
    free(p);
}

static void plan_make_late_keys_are_far_enough_back(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(1500, 50);
    struct plan_options o;
    plan_options_init(&o);
    o.lead = 60;
    struct plan plan;
    plan_make(p, 1500, &o, &plan);
    check_guarantee(p, 1500, &plan);
    assert_int_equal(plan.n_samples, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_true(plan.samples[i].packet - plan.samples[i].start >= 60);
    assert_true(plan.n_frames_to_decode < 8 * 130);
    free(p);
}

static void plan_make_no_run_crosses_a_cut(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(600, 40);
    for (uint32_t i = 0; i < 600; i += 70) {
        p[i].cut = i > 0;
        for (uint32_t k = i; k < 600; k++)
            p[k].pts_us += 60000000;
    }
    struct plan plan;
    run(p, 600, &plan);
    assert_false(plan.retimed);
    for (unsigned i = 0; i < plan.n_samples; i++) {
        const struct plan_sample *s = &plan.samples[i];
        assert_true(p[s->start].key);
        if (s->follower != PLAN_NONE)
            assert_int_equal(s->packet / 70, s->follower / 70);
    }
    free(p);
}

/* Only what has no frame, or a damaged one, is planned again, and not what is bad or damaged. */
static void plan_again_plans_what_is_missing(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(400, 10);
    struct plan_options o;
    plan_options_init(&o);
    struct plan plan;
    struct plan_got got[FRAMES_MAX];
    plan_make(p, 400, &o, &plan);
    take_all(&plan, got);
    unsigned lost = plan.samples[2].target, hurt = plan.samples[5].target;
    uint32_t lost_packet = plan.samples[2].packet, hurt_packet = plan.samples[5].packet;
    got[lost].any = false;
    p[lost_packet].bad = true;
    got[hurt].damaged = true;
    p[hurt_packet].damaged = true;
    plan_again(p, 400, &o, got, &plan);
    check_samples(p, 400, &plan);
    assert_int_equal(plan.n_samples, 2);
    assert_int_equal(plan.n_targets, 8);
    for (unsigned i = 0; i < 2; i++) {
        const struct plan_sample *s = &plan.samples[i];
        assert_true(s->target == lost || s->target == hurt);
        assert_true(s->packet / 10 != hurt_packet / 10 && s->packet != lost_packet);
        assert_true(gap_to(s->pts_us, s->target_us) <= plan.tau_us);
    }
    take_all(&plan, got);
    free(p);
}

static void plan_again_of_all_that_came_is_empty(void **state)
{
    (void)state;
    struct plan_packet *p = make_clip(400, 10);
    struct plan_options o;
    plan_options_init(&o);
    struct plan plan;
    struct plan_got got[FRAMES_MAX];
    plan_make(p, 400, &o, &plan);
    take_all(&plan, got);
    plan_again(p, 400, &o, got, &plan);
    assert_int_equal(plan.n_samples, 0);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_make_many_keyframes_decodes_only_keyframes),
        cmocka_unit_test(plan_make_example_of_header_uses_three_keys),
        cmocka_unit_test(plan_make_one_keyframe_is_one_run_and_stops_early),
        cmocka_unit_test(plan_make_never_costs_more_than_one_pass_and_followers),
        cmocka_unit_test(plan_make_random_clips_hold_the_guarantee),
        cmocka_unit_test(plan_make_leading_pictures_start_at_the_key_before),
        cmocka_unit_test(plan_make_missing_timestamps_space_by_index),
        cmocka_unit_test(plan_make_absurd_timestamp_spaces_by_index),
        cmocka_unit_test(plan_make_standing_timestamps_space_by_index),
        cmocka_unit_test(plan_make_times_that_begin_again_go_on),
        cmocka_unit_test(plan_make_reordering_is_no_second_file),
        cmocka_unit_test(plan_make_slide_show_is_believed),
        cmocka_unit_test(plan_make_last_frame_of_no_time_lasts_as_usual),
        cmocka_unit_test(plan_make_over_budget_degrades_and_stays_affordable),
        cmocka_unit_test(plan_make_few_frames_takes_each),
        cmocka_unit_test(plan_make_nothing_shown_is_an_empty_plan),
        cmocka_unit_test(plan_make_pause_is_believed),
        cmocka_unit_test(plan_make_before_the_first_key_plans_nothing),
        cmocka_unit_test(plan_make_late_keys_are_far_enough_back),
        cmocka_unit_test(plan_make_no_run_crosses_a_cut),
        cmocka_unit_test(plan_again_plans_what_is_missing),
        cmocka_unit_test(plan_again_of_all_that_came_is_empty),
        cmocka_unit_test(plan_quality_lost_sample_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
