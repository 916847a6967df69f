/* Counters only grow, in this process too: a case that counts what one before it has counted goes on
 * from there. */
#include "daemon/base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static char *print(void)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_int_equal(metrics_print(out), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* A whole line of the output. */
static int has_line(const char *line)
{
    char *text = print(), wanted[300];
    int found;

    snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    found = strstr(text, wanted) != NULL;
    free(text);
    return found;
}

static void histogram_value_on_a_bound_is_counted_below_it(void **state)
{
    (void)state;
    metrics_queryable_us(20000); /* le is inclusive */
    metrics_queryable_us(20001);
    assert_true(has_line("metammf_upload_to_queryable_seconds_bucket{le=\"0.01\"} 0"));
    assert_true(has_line("metammf_upload_to_queryable_seconds_bucket{le=\"0.02\"} 1"));
    assert_true(has_line("metammf_upload_to_queryable_seconds_bucket{le=\"0.05\"} 2"));
    assert_true(has_line("metammf_upload_to_queryable_seconds_bucket{le=\"+Inf\"} 2"));
    assert_true(has_line("metammf_upload_to_queryable_seconds_sum 0.040001"));
    assert_true(has_line("metammf_upload_to_queryable_seconds_count 2"));
}

static void histogram_extreme_values_stay_inside(void **state)
{
    (void)state;
    metrics_stage_us(METRICS_EXTRACT, INT64_C(3600) * 1000000);
    metrics_stage_us(METRICS_EXTRACT, -5); /* the wall clock went back */
    assert_true(
        has_line("metammf_stage_duration_seconds_bucket{stage=\"extract\",le=\"60\"} 1"));
    assert_true(
        has_line("metammf_stage_duration_seconds_bucket{stage=\"extract\",le=\"+Inf\"} 2"));
    assert_true(has_line("metammf_stage_duration_seconds_sum{stage=\"extract\"} 3600.000000"));
    assert_true(has_line("metammf_stage_duration_seconds_count{stage=\"fuse\"} 0"));
}

static void event_file_topics_share_one_label(void **state)
{
    (void)state;
    metrics_event("file:0123");
    metrics_event("file:4567");
    metrics_event("videos");
    assert_true(has_line("metammf_events_total{topic=\"file\"} 2"));
    assert_true(has_line("metammf_events_total{topic=\"videos\"} 1"));
}

static void event_warning_is_there_before_the_first(void **state)
{
    (void)state;
    metrics_event_warning("title_cut", 0);
    assert_true(has_line("metammf_event_warnings_total{warning=\"title_cut\"} 0"));
    metrics_event_warning("title_cut", 1);
    assert_true(has_line("metammf_event_warnings_total{warning=\"title_cut\"} 1"));
}

static void what_is_expected_is_there_with_0(void **state)
{
    (void)state;
    metrics_expect_topic("clips");
    metrics_expect_kind("watch");
    assert_true(has_line("metammf_events_total{topic=\"clips\"} 0"));
    assert_true(has_line("metammf_interactions_by_kind_total{kind=\"watch\"} 0"));
    assert_true(has_line("metammf_dead_letters_total{reason=\"worker_reply\"} 0"));
    assert_true(has_line("metammf_flagged_items_total{flag=\"capped\"} 0"));
    assert_true(has_line("metammf_text_only_items_total{reason=\"worker_reply\"} 0"));
    assert_false(has_line("metammf_text_only_items_total{reason=\"bad_json\"} 0"));
    metrics_expect_topic("clips");
    metrics_event("clips");
    metrics_item_flag(METRICS_CAPPED);
    metrics_text_only("media");
    assert_true(has_line("metammf_text_only_items_total{reason=\"media\"} 1"));
    assert_true(has_line("metammf_events_total{topic=\"clips\"} 1"));
    assert_true(has_line("metammf_flagged_items_total{flag=\"capped\"} 1"));
}

/* More kinds than strangers' labels may be many: each keeps its series. */
static void settings_may_have_many_kinds(void **state)
{
    char kind[24];

    (void)state;
    for (int i = 0; i < 100; i++) {
        (void)snprintf(kind, sizeof(kind), "kind-%d", i);
        metrics_expect_kind(kind);
    }
    metrics_interaction_kind("kind-99", true);
    assert_true(has_line("metammf_interactions_by_kind_total{kind=\"kind-99\"} 1"));
}

static void event_many_topics_are_bounded(void **state)
{
    char topic[32], *text;
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 200; i++) {
        snprintf(topic, sizeof(topic), "topic-%d", i);
        metrics_event(topic);
    }
    text = print();
    for (const char *c = text; (c = strstr(c, "metammf_events_total{")) != NULL; c++)
        n++;
    free(text);
    assert_int_equal(n, 32); /* file, videos, clips, 28 of these, other */
    assert_true(has_line("metammf_events_total{topic=\"other\"} 172"));
}

static void label_hostile_text_is_escaped(void **state)
{
    (void)state;
    metrics_dead_letter("a\"b\\c\nd\xff");
    assert_true(has_line("metammf_dead_letters_total{reason=\"a\\\"b\\\\c d?\"} 1"));
    /* what is shown alike is one series: a scrape that has one twice is refused whole */
    metrics_dead_letter("e\x01");
    metrics_dead_letter("e\x02");
    assert_true(has_line("metammf_dead_letters_total{reason=\"e\"} 2"));
}

static void label_of_the_longest_name_is_whole(void **state)
{
    char name[250], line[300]; /* of a topic */

    (void)state;
    memset(name, 't', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    metrics_event_warning(name, 1);
    name[sizeof(name) - 2] = 'u';
    metrics_event_warning(name, 1);
    (void)snprintf(line, sizeof(line), "metammf_event_warnings_total{warning=\"%s\"} 1", name);
    assert_true(has_line(line));
}

/* However many kinds are invented, those of the settings keep their series. */
static void interaction_kinds_are_bounded(void **state)
{
    char kind[24];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(kind, sizeof(kind), "invented-%d", i);
        metrics_interaction_kind(kind, false);
    }
    metrics_interaction_kind("like", true);
    assert_true(has_line("metammf_interactions_by_kind_total{kind=\"like\"} 1"));
    assert_true(has_line("metammf_interactions_of_unknown_kind_total{kind=\"invented-7\"} 1"));
    assert_true(has_line("metammf_interactions_of_unknown_kind_total{kind=\"other\"} 969"));
    assert_false(
        has_line("metammf_interactions_of_unknown_kind_total{kind=\"invented-31\"} 1"));
}

static void item_counts_are_read_back(void **state)
{
    (void)state;
    metrics_item(METRICS_DEAD);
    metrics_item(METRICS_DEAD);
    metrics_item(METRICS_NO_SIGNAL);
    uint64_t before = metrics_interactions();
    metrics_interactions_add(1);
    metrics_missing_modality(1);
    metrics_missing_modality(99);
    assert_int_equal(metrics_items(METRICS_DEAD), 2);
    assert_int_equal(metrics_interactions(), before + 1);
    assert_true(has_line("metammf_items_total{result=\"no_signal\"} 1"));
    assert_true(has_line("metammf_missing_modality_total{modality=\"acoustic\"} 1"));
}

#define THREADS 4
#define ROUNDS  5000

static void *hammer(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        metrics_event(arg);
        metrics_item(METRICS_STORED);
        metrics_queryable_us(i);
    }
    return NULL;
}

static void counting_from_threads_loses_nothing(void **state)
{
    static char topic[] = "videos";
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, topic), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(metrics_items(METRICS_STORED), THREADS * ROUNDS);
    assert_true(has_line("metammf_events_total{topic=\"videos\"} 20001"));
    assert_true(has_line("metammf_upload_to_queryable_seconds_count 20002"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_value_on_a_bound_is_counted_below_it),
        cmocka_unit_test(histogram_extreme_values_stay_inside),
        cmocka_unit_test(event_file_topics_share_one_label),
        cmocka_unit_test(event_warning_is_there_before_the_first),
        cmocka_unit_test(what_is_expected_is_there_with_0),
        cmocka_unit_test(settings_may_have_many_kinds),
        cmocka_unit_test(event_many_topics_are_bounded),
        cmocka_unit_test(label_hostile_text_is_escaped),
        cmocka_unit_test(label_of_the_longest_name_is_whole),
        cmocka_unit_test(interaction_kinds_are_bounded),
        cmocka_unit_test(item_counts_are_read_back),
        cmocka_unit_test(counting_from_threads_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
