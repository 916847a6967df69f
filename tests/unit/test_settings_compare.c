#include "config/settings_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

/* One that waits for a restart, of each group and each type. */
static const char *const waiting[][2] = {
    {"source", "spool"},
    {"store.path", "/x.db"},
    {"store.model_dir", "/m"},
    {"store.batch_rows", "200"},
    {"media.max_bytes", "1073741824"},
    {"media.max_bytes", "1048576"},
    {"kafka.bootstrap_servers", "h:1"},
    {"kafka.mode", "assign"},
    {"kafka.group_id", "g"},
    {"kafka.video_topics", "a,b"},
    {"kafka.partitions", "1,2"},
    {"kafka.properties", "linger.ms=1"},
    {"events.preset", "debezium"},
    {"events.type", "/t"},
    {"events.video", "title=/caption"},
    {"events.types", "upload=video.published"},
    {"interactions.tombstones", "forget"},
    {"spool.keep_files", "false"},
    {"extract.deadline_ms", "1000"},
    {"extract.require_sandbox", "false"},
    {"queue.items", "10"},
    {"http.port", "1"},
    {"control.socket", "/run/x"},
};
enum { N_WAITING = sizeof(waiting) / sizeof(waiting[0]) };

static const char *const at_once[][2] = {
    {"log_level", "debug"},          {"store.batch_ms", "1"},
    {"store.batch_rows", "10"},      {"media.roots", "/a,/b"},
    {"extract.workers", "3"},        {"interactions.kinds", "x=2"},
    {"interactions.default", "0.5"}, {"training.enabled", "false"},
    {"refresh.rate", "7"},           {"shutdown.drain_ms", "1"},
};

static size_t index_of(const char *path)
{
    size_t i = 0;
    while (strcmp(settings_key_path(i), path) != 0)
        i++;
    return i;
}

static void set(struct settings *s, const char *path, const char *value)
{
    struct err err = {0};
    if (settings_set(s, path, value, &err) != ERR_OK)
        fail_msg("%s: %s", path, err.text);
}

static void assert_same(const struct settings *a, const struct settings *b, size_t i)
{
    char *x = settings_key_text(a, i), *y = settings_key_text(b, i);
    assert_non_null(x);
    assert_string_equal(x, y);
    assert_true(settings_key_equal(a, b, i));
    free(x);
    free(y);
}

static void hold_keeps_what_waits_and_names_it(void **state)
{
    char keys[512];
    (void)state;
    for (size_t n = 0; n < N_WAITING; n++) {
        struct settings started, now;
        size_t i = index_of(waiting[n][0]);
        assert_int_equal(settings_init(&started), ERR_OK);
        assert_int_equal(settings_init(&now), ERR_OK);
        set(&now, waiting[n][0], waiting[n][1]);
        assert_false(settings_key_equal(&started, &now, i));
        assert_true(settings_key_waits(&started, &now, i));
        assert_int_not_equal(settings_key_effect(i), SETTINGS_AT_RELOAD);
        for (int round = 0; round < 2; round++) { /* the second finds that nothing waits */
            assert_int_equal(settings_hold(&now, &started, keys, sizeof(keys), NULL), ERR_OK);
            assert_string_equal(keys, round == 0 ? waiting[n][0] : "");
            assert_same(&started, &now, i);
        }
        settings_done(&started);
        settings_done(&now);
    }
}

/* Against the start's values that are no defaults: all of them are copied. */
static void hold_copies_values_of_every_type(void **state)
{
    struct settings started, now;
    char keys[1024];
    (void)state;
    assert_int_equal(settings_init(&started), ERR_OK);
    assert_int_equal(settings_init(&now), ERR_OK);
    for (size_t n = 0; n < N_WAITING; n++)
        set(&started, waiting[n][0], waiting[n][1]);
    assert_int_equal(settings_hold(&now, &started, keys, sizeof(keys), NULL), ERR_OK);
    for (size_t n = 0; n < N_WAITING; n++) {
        size_t i = index_of(waiting[n][0]);
        if (settings_key_effect(i) == SETTINGS_AT_RESTART)
            assert_same(&started, &now, i);
    }
    assert_int_equal(now.store.batch_rows, 100); /* less takes effect at once */
    settings_done(&started);
    settings_done(&now);
}

static void hold_leaves_what_takes_effect_at_once(void **state)
{
    struct settings started, now, wanted;
    char keys[512];
    (void)state;
    assert_int_equal(settings_init(&started), ERR_OK);
    assert_int_equal(settings_init(&now), ERR_OK);
    assert_int_equal(settings_init(&wanted), ERR_OK);
    for (size_t n = 0; n < sizeof(at_once) / sizeof(at_once[0]); n++) {
        set(&now, at_once[n][0], at_once[n][1]);
        set(&wanted, at_once[n][0], at_once[n][1]);
    }
    assert_int_equal(settings_hold(&now, &started, keys, sizeof(keys), NULL), ERR_OK);
    assert_string_equal(keys, "");
    for (size_t i = 0; i < settings_n_keys(); i++)
        assert_same(&wanted, &now, i);
    settings_done(&started);
    settings_done(&now);
    settings_done(&wanted);
}

static void secrets_are_compared_and_not_shown(void **state)
{
    struct settings a, b;
    size_t i = index_of("kafka.properties");
    (void)state;
    assert_int_equal(settings_init(&a), ERR_OK);
    assert_int_equal(settings_init(&b), ERR_OK);
    set(&a, "kafka.properties", "sasl.password=one");
    set(&b, "kafka.properties", "sasl.password=two");
    assert_false(settings_key_equal(&a, &b, i));
    char *text = settings_key_text(&a, i);
    assert_string_equal(text, "{ sasl_password = \"***\"; }");
    free(text);
    settings_done(&a);
    settings_done(&b);
}

/* What a reader gets of a file with a fault: the rest of it, and the first fault. */
static void load_readable_goes_on_after_a_fault(void **state)
{
    static const struct {
        const char *text, *fault, *store;
    } cases[] = {
        {"store = { path = \"/a.db\"; };", NULL, "/a.db"},
        {"nonsense = 1;\nstore = { pathh = 1; path = \"/a.db\"; };", "f.conf:1", "/a.db"},
        {"store = { batch_rows = 0;\n path = \"/a.db\"; };", "f.conf:1", "/a.db"},
        {"store = { path = 7; };", "f.conf:1", "/var/lib/metammfd/metammf.db"},
        {"store = { path = \"/a.db\"; };\nhttp = { port = ", "f.conf:2", "/a.db"},
        {"media = { roots = []; };\nstore = { path = \"/a.db\"; };", "media.roots", "/a.db"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[] = "/tmp/mmf-f.conf", *name = path;
        struct settings s = {0};
        struct err err = {0};
        FILE *f = fopen(name, "w");
        assert_non_null(f);
        fputs(cases[i].text, f);
        fclose(f);
        int status = settings_load_readable(name, &s, &err);
        assert_int_equal(status, cases[i].fault ? ERR_FATAL : ERR_OK);
        assert_string_equal(s.store.path, cases[i].store);
        if (cases[i].fault && !strstr(err.text, cases[i].fault))
            fail_msg("%s: %s", cases[i].text, err.text);
        settings_done(&s);
        unlink(name);
    }
    struct settings s = {0};
    struct err err = {0};
    assert_int_equal(settings_load_readable("/nonexistent/f.conf", &s, &err), ERR_FATAL);
    assert_null(s.store.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hold_keeps_what_waits_and_names_it),
        cmocka_unit_test(hold_copies_values_of_every_type),
        cmocka_unit_test(hold_leaves_what_takes_effect_at_once),
        cmocka_unit_test(secrets_are_compared_and_not_shown),
        cmocka_unit_test(load_readable_goes_on_after_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
