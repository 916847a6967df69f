/* Retention by clocks of the test's own. */
#include "config/clock.h"
#include "config/log.h"
#include "daemon/base/metrics.h"
#include "daemon/base/steady.h"
#include "daemon/pipeline/retention.h"

#include "store_fixture.h"

#define MINUTE INT64_C(60000000)
#define DAY    (1440 * MINUTE)
#define T0     (INT64_C(1700000000000000) + DAY)

static int64_t wall, mono;
static char lines[4096];

static int64_t read_wall(void)
{
    return wall;
}

static int64_t read_mono(void)
{
    return mono;
}

static void keep_line(enum log_level level, const char *text, const struct log_field *fields,
                      size_t n_fields)
{
    size_t n = strlen(lines);

    (void)level;
    (void)fields;
    (void)n_fields;
    (void)snprintf(lines + n, sizeof lines - n, "%s\n", text);
}

static int set_up(void **state)
{
    static const struct clock_source clocks = {read_wall, read_mono};
    struct fixture *f;

    clock_inject(&clocks);
    wall = T0;
    mono = 5 * MINUTE;
    fixture_setup(state);
    f = *state;
    for (int i = 0; i < 3; i++) {
        (void)fixture_interact(f, "u", "v", i, T0 - i * DAY);
        (void)fixture_bury(f, i, "media", NULL); /* a day before T0 */
    }
    log_set_writer(keep_line);
    log_set_level(LOG_LEVEL_INFO);
    lines[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    log_set_writer(NULL);
    clock_inject(NULL);
    return fixture_teardown(state);
}

static const struct settings keep = {.store = {.keep_interactions_days = 365,
                                               .keep_dead_letters_days = 90,
                                               .keep_model_versions = 3}};

static void begin(struct fixture *f, int64_t noted_us)
{
    if (noted_us)
        assert_ok(f, store_put_clock(f->st, noted_us, &f->err));
    assert_ok(f, retention_begin(f->st, &f->err));
}

static void pass(struct fixture *f, struct retention *r, int64_t us)
{
    for (int64_t end = mono + us; mono < end; wall += MINUTE, mono += MINUTE)
        retention_run(r, f->st, &keep);
}

static int64_t n_interactions(struct fixture *f)
{
    return fixture_query(f, "SELECT count(*) FROM interaction");
}

static int64_t n_letters(struct fixture *f)
{
    return fixture_query(f, "SELECT count(*) FROM dead_letter");
}

static int metric_says(const char *line)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_int_equal(metrics_print(out), 0);
    assert_int_equal(fclose(out), 0);
    int found = strstr(text, line) != NULL;
    free(text);
    return found;
}

/* The first, since it counts from 0. */
static void what_goes_is_told_and_counted(void **state)
{
    struct fixture *f = *state;
    struct retention r = {0};

    begin(f, T0);
    assert_true(metric_says("metammf_retention_removed_total{kind=\"interactions\"} 0\n"));
    assert_true(metric_says("metammf_retention_removed_total{kind=\"dead_letters\"} 0\n"));
    assert_true(metric_says("metammf_retention_removed_total{kind=\"vectors\"} 0\n"));
    wall += 363 * DAY;
    pass(f, &r, 61 * MINUTE); /* the clock is believed, and the oldest goes */
    assert_int_equal(n_interactions(f), 2);
    assert_int_equal(n_letters(f), 0);
    assert_true(metric_says("metammf_retention_removed_total{kind=\"interactions\"} 1\n"));
    assert_true(metric_says("metammf_retention_removed_total{kind=\"dead_letters\"} 3\n"));
    assert_non_null(
        strstr(lines, "retention: removed 1 interactions older than 2023-11-13 23:1"));
    assert_non_null(strstr(lines, ", 3 dead letters older than 2024-08-14 23:1"));
    wall += DAY;
    pass(f, &r, 61 * MINUTE);
    assert_int_equal(n_interactions(f), 1);
    assert_non_null(
        strstr(lines, "retention: removed 1 interactions older than 2023-11-15 00:1"));
}

/* 20 s with the clock two years ahead took everything. */
static void a_clock_ahead_removes_nothing(void **state)
{
    struct fixture *f = *state;
    struct retention r = {0};

    begin(f, T0);
    pass(f, &r, 2 * MINUTE);
    wall += 730 * DAY;
    pass(f, &r, 50 * MINUTE);
    assert_int_equal(n_interactions(f), 3);
    assert_int_equal(n_letters(f), 3);
    assert_non_null(strstr(lines, "retention waits: the clock jumped ahead by 730 days"));
    wall -= 730 * DAY;
    pass(f, &r, 120 * MINUTE);
    assert_int_equal(n_interactions(f), 3);
    assert_int_equal(n_letters(f), 3);
    assert_non_null(strstr(lines, "retention goes on"));
}

static void a_start_with_the_clock_ahead_removes_nothing(void **state)
{
    struct fixture *f = *state;
    struct retention r = {0};

    for (int start = 0; start < 10; start++) { /* none is up for an hour */
        wall += 365 * DAY;
        mono = 0;
        begin(f, start == 0 ? T0 : 0);
        r = (struct retention){0};
        pass(f, &r, 30 * MINUTE);
    }
    assert_int_equal(n_interactions(f), 3);
    assert_int_equal(n_letters(f), 3);
}

/* A store of a version that noted no time. */
static void a_store_without_a_noted_time_waits_for_an_hour(void **state)
{
    struct fixture *f = *state;
    struct retention r = {0};

    wall += 730 * DAY;
    begin(f, 0);
    pass(f, &r, 59 * MINUTE);
    assert_int_equal(n_interactions(f), 3);
    assert_non_null(strstr(lines, "retention waits: no clock has been right here for an hour"));
    pass(f, &r, 2 * MINUTE);
    assert_int_equal(n_interactions(f), 0);
}

static void what_grows_old_goes_while_the_clock_is_ahead_or_behind(void **state)
{
    struct fixture *f = *state;
    struct retention r = {0};

    wall = T0 + 362 * DAY + 1430 * MINUTE; /* the oldest is ten minutes short of 365 days */
    begin(f, wall);
    wall += 1000 * DAY;
    pass(f, &r, 20 * MINUTE);
    assert_int_equal(n_interactions(f), 2);
    wall -= 1000 * DAY; /* the next is a day younger */
    pass(f, &r, DAY);
    assert_int_equal(n_interactions(f), 1);
    wall -= 400 * DAY;
    pass(f, &r, 3 * DAY);
    assert_int_equal(n_interactions(f), 1);
    wall += 400 * DAY;
    pass(f, &r, 61 * MINUTE);
    assert_int_equal(n_interactions(f), 0);
}

static void the_time_is_noted_for_the_next_start(void **state)
{
    struct fixture *f = *state;
    struct retention r = {0};
    int64_t noted_us = 0;

    begin(f, T0);
    pass(f, &r, 25 * MINUTE);
    wall += 730 * DAY;
    pass(f, &r, 25 * MINUTE);
    assert_ok(f, store_clock(f->st, &noted_us, &f->err));
    assert_in_range(noted_us, T0 + 40 * MINUTE, T0 + 50 * MINUTE);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(what_goes_is_told_and_counted),
        CASE(a_clock_ahead_removes_nothing),
        CASE(a_start_with_the_clock_ahead_removes_nothing),
        CASE(a_store_without_a_noted_time_waits_for_an_hour),
        CASE(what_grows_old_goes_while_the_clock_is_ahead_or_behind),
        CASE(the_time_is_noted_for_the_next_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
