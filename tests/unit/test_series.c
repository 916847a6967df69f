/* Reading back what metrics.c writes. */
#include "daemon/base/series.h"

#include "daemon/base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static struct series parse(const char *text)
{
    struct series s;
    struct err err = {0};

    if (series_parse(text, &s, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return s;
}

/* The process's own metrics. */
static struct series scrape(void)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_int_equal(metrics_print(out), 0);
    assert_int_equal(fclose(out), 0);
    struct series s = parse(text);
    free(text);
    return s;
}

static void parse_names_labels_and_values(void **state)
{
    struct series s = parse("# HELP a x\n# TYPE a counter\na{x=\"1\",y=\"a \\\"q\\\", b\"} 2\n"
                            "a{x=\"2\"} 3.5\nb 1e3\n\n");
    char text[32];

    (void)state;
    assert_int_equal(s.n, 3);
    assert_true(series_sum(&s, "a", NULL) == 5.5);
    assert_true(series_sum(&s, "a", "x=\"2\"") == 3.5);
    assert_true(series_sum(&s, "b", "") == 1000);
    assert_true(series_sum(&s, "c", NULL) == 0);
    assert_true(series_label(&s.lines[0], "y", text, sizeof(text)));
    assert_string_equal(text, "a \"q\", b");
    assert_true(series_label(&s.lines[0], "x", text, sizeof(text)));
    assert_string_equal(text, "1");
    assert_false(series_label(&s.lines[0], "z", text, sizeof(text)));
    assert_false(series_label(&s.lines[2], "x", text, sizeof(text)));
    series_done(&s);
}

static void parse_refuses_what_is_no_series(void **state)
{
    static const char *const bad[] = {"a\n", "a x\n", "a \n", "a 1x\n", "<html>\n"};
    struct series s;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(series_parse(bad[i], &s, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_DATAERR);
    }
}

static void quantile_of_an_interval_and_since_the_start(void **state)
{
    const struct series none = {0};
    double n;

    (void)state;
    for (int i = 0; i < 90; i++)
        metrics_queryable_us(15000); /* the bucket 0.01 … 0.02 */
    for (int i = 0; i < 10; i++)
        metrics_queryable_us(150000); /* 0.1 … 0.2 */
    struct series first = scrape();
    const char *name = "metammf_upload_to_queryable_seconds";
    assert_true(fabs(series_quantile(&first, &none, name, "", 0.45, &n) - 0.015) < 1e-9);
    assert_true(n == 100);
    assert_true(fabs(series_quantile(&first, &none, name, "", 0.95, &n) - 0.15) < 1e-9);
    metrics_queryable_us(INT64_C(90000000)); /* above the last bound, 60 s */
    metrics_stage_us(METRICS_EXTRACT, 700000);
    struct series second = scrape();
    assert_true(series_quantile(&second, &first, name, "", 0.5, &n) == 60);
    assert_true(n == 1);
    assert_true(series_quantile(&second, &second, name, "", 0.5, &n) < 0);
    assert_true(n == 0);
    double extract = series_quantile(&second, &first, "metammf_stage_duration_seconds",
                                     "stage=\"extract\"", 0.5, &n);
    assert_true(n == 1 && extract > 0.5 && extract <= 1);
    series_done(&first);
    series_done(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_names_labels_and_values),
        cmocka_unit_test(parse_refuses_what_is_no_series),
        cmocka_unit_test(quantile_of_an_interval_and_since_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
