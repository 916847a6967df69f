#include "config/settings_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static int load(const char *text, struct settings *s, struct err *err)
{
    return settings_load_text("f.conf", text, strlen(text), s, err);
}

static void assert_refused(const char *text, const char *message)
{
    struct settings s = {0};
    struct err err = {0};

    assert_int_equal(load(text, &s, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    if (strstr(err.text, message) == NULL)
        fail_msg("\"%s\" gave \"%s\", without \"%s\"", text, err.text, message);
    assert_null(s.store.path); /* untouched */
}

static void settings_load_every_type_is_read(void **state)
{
    struct settings s = {0};
    struct err err = {0};
    int status = load("source = \"spool\"; log_level = \"debug\";\n"
                      "store = { batch_rows = 7; batch_bytes = 0x20000; };\n"
                      "media = { roots = [\"/a\", \"/b c\"]; max_bytes = 5000000000; };\n"
                      "kafka = { partitions = [0, 5]; mode = \"assign\"; start = \"end\";\n"
                      "  properties = { security_protocol = \"SASL_SSL\";\n"
                      "    socket_keepalive_enable = true; session_timeout_ms = 6000; }; };\n"
                      "extract = { require_sandbox = false; };\n",
                      &s, &err);

    (void)state;
    assert_string_equal(err.text, "");
    assert_int_equal(status, ERR_OK);
    assert_string_equal(s.path, "f.conf");
    assert_int_equal(s.source, SETTINGS_SOURCE_SPOOL);
    assert_int_equal(s.log_level, 7);
    assert_int_equal(s.store.batch_rows, 7);
    assert_int_equal(s.store.batch_bytes, 0x20000);
    assert_int_equal(s.media.roots.n, 2);
    assert_string_equal(s.media.roots.items[1], "/b c");
    assert_int_equal(s.media.max_bytes, 5000000000);
    assert_int_equal(s.kafka.n_partitions, 2);
    assert_int_equal(s.kafka.partitions[1], 5);
    assert_int_equal(s.kafka.mode, SETTINGS_KAFKA_ASSIGN);
    assert_int_equal(s.kafka.start, SETTINGS_START_END);
    assert_int_equal(s.kafka.properties.n, 3);
    assert_string_equal(s.kafka.properties.items[0], "security.protocol=SASL_SSL");
    assert_string_equal(s.kafka.properties.items[1], "socket.keepalive.enable=true");
    assert_string_equal(s.kafka.properties.items[2], "session.timeout.ms=6000");
    assert_false(s.extract.require_sandbox);
    settings_done(&s);
}

static void settings_init_defaults_are_the_documented_ones(void **state)
{
    struct settings s;

    (void)state;
    assert_int_equal(settings_init(&s), ERR_OK);
    assert_int_equal(settings_check(&s, NULL), ERR_OK);
    assert_int_equal(s.store.batch_rows, 100);
    assert_int_equal(s.store.batch_ms, 50);
    assert_int_equal(s.store.batch_bytes, 2 << 20);
    assert_int_equal(s.store.retry_ms, 5000);
    assert_int_equal(s.queue.high_percent, 90);
    assert_int_equal(s.queue.low_percent, 30);
    assert_int_equal(s.extract.cpu_seconds, 20);
    assert_int_equal(s.extract.recycle_jobs, 500);
    assert_int_equal(s.extract.recycle_rss_bytes, 512 << 20);
    assert_int_equal(s.extract.address_space_bytes, 1 << 30);
    assert_true(s.extract.require_sandbox);
    assert_int_equal(s.shutdown.drain_ms, 4000);
    assert_string_equal(s.http.address, "127.0.0.1");
    assert_int_equal(s.http.port, 9464);
    assert_string_equal(s.control.socket, "/run/metammfd/control.sock");
    assert_string_equal(s.store.path, "/var/lib/metammfd/metammf.db");
    settings_done(&s);
    settings_done(&s);
}

static void settings_load_unknown_key_names_line_and_nearest(void **state)
{
    (void)state;
    assert_refused("\nkafka = {\n  bootstrap_server = \"a\";\n};\n",
                   "f.conf:3: unknown key `kafka.bootstrap_server`; did you mean "
                   "`bootstrap_servers`?");
    assert_refused("kafak = { };", "f.conf:1: unknown key `kafak`; did you mean `kafka`?");
    assert_refused("batch_rows = 1;", "did you mean `store.batch_rows`?");
    assert_refused("extract = { deadline_s = 30; };", "did you mean `deadline_ms`?");
    assert_refused("zzzzzzzz = 1;", "unknown key `zzzzzzzz`; metammfd.conf(5) lists all keys");
    assert_refused("queue = { items = 5; };\nqueue2 = { items = 5; };",
                   "f.conf:2: unknown key");
}

static void settings_load_out_of_range_gives_range_and_unit(void **state)
{
    (void)state;
    assert_refused("\n\nstore = { batch_rows = 0; };",
                   "f.conf:3: `store.batch_rows` is 0: must be 1 … 10000 rows");
    assert_refused("queue = { high_percent = 101; };", "must be 2 … 100 %");
    assert_refused("queue = { high_percent = 4294967386; };", "is 4294967386: must be");
    assert_refused("queue = { high_percent = 0xFFFFFFFF; };", "is 4294967295: must be");
    assert_refused("queue = { high_percent = -1; };", "is -1: must be");
    assert_refused("queue = { items = 99999999999999999999; };", "more than 64 bits");
    assert_refused("source = \"kafkaa\";", "`source` is kafkaa: must be kafka | spool");
    assert_refused("store = { path = \"\"; };",
                   "`store.path` is empty: must be 1 … 4095 bytes");
    assert_refused("http = { address = \"localhost\"; };", "is not an IPv4 or IPv6 address");
    assert_refused("kafka = { video_topics = [\"^v.*\"]; };", "patterns are not supported");
    assert_refused("kafka = { video_topics = [\"a\", \"a\"]; };", "names \"a\" twice");
    assert_refused("kafka = { partitions = [1, 1]; };", "names 1 twice");
}

static void settings_load_wrong_type_says_both(void **state)
{
    (void)state;
    assert_refused("queue = { items = \"5\"; };",
                   "`queue.items` must be a whole number, and is a text");
    assert_refused("queue = { items = 5.0; };", "and is a fraction");
    assert_refused("queue = { items = { }; };", "and is a group");
    assert_refused("media = { roots = \"/a\"; };", "must be a list of paths");
    assert_refused("media = { roots = [1]; };", "and is a number");
    assert_refused("media = { roots = [\"a\"]; };", "is \"a\": write an absolute path");
    assert_refused("extract = { require_sandbox = 1; };", "must be true or false");
    assert_refused("store = 5;", "`store` is a group: write store = { … };");
    assert_refused("kafka = { properties = [\"a=b\"]; };", "must be a group");
    assert_refused("kafka = {\nproperties = {\nfetch_min_bytes = [1]; }; };", "f.conf:3:");
}

static void settings_load_broken_text_gives_line(void **state)
{
    (void)state;
    assert_refused("source = \"kafka\";\nqueue = {", "f.conf:2: syntax error");
    assert_refused("a = 1;\na = 2;", "f.conf:2: duplicate setting name");
    assert_refused("\nsource = \"kafka\n\\", "f.conf:2: a text has no end");
    assert_refused("source = \"kafka\\\"", "f.conf:1: a text has no end");
    assert_refused("\n/*/", "f.conf:2: a comment has no end");
    assert_refused("\n@include \"/etc/passwd\"\n", "f.conf:2: @include is not supported");
    assert_refused("\r@include \"/etc/passwd\"\n", "@include is not supported");
    assert_refused("/*/ @include */ x", "f.conf:1: syntax error");
}

static void settings_load_group_there_again_adds_to_the_first(void **state)
{
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    load("queue = { items = 5; };\nstore = { batch_rows = 7; };\nqueue : /* { */\n"
         "{ bytes = 5000000000; };\nstore={batch_ms=8;};store = { };\n",
         &s, &err);
    assert_non_null(strstr(err.text, "duplicate setting name")); /* not seen as a group */
    load("queue = { items = 5; };\nstore = { batch_rows = 7; };\nqueue :\n"
         "{ bytes = 5000000000; };\nstore={batch_ms=8;};store = { };\n",
         &s, &err);
    assert_string_equal(s.path, "f.conf");
    assert_int_equal(s.queue.items, 5);
    assert_int_equal(s.queue.bytes, 5000000000);
    assert_int_equal(s.store.batch_rows, 7);
    assert_int_equal(s.store.batch_ms, 8);
    settings_done(&s);
    assert_refused("queue = { items = 5; };\nqueue = {\n items = 6; };",
                   "f.conf:3: `queue.items` is there twice; remove one");
    assert_refused("queue = { items = 5; };\nqueue = { item = 6; };",
                   "f.conf:2: unknown key `queue.item`; did you mean `items`?");
    assert_refused("source = \"spool\";\nsource = \"spool\";", "duplicate setting name");
    assert_refused("kafka = { properties = { a = 1; }; properties = { b = 1; }; };",
                   "duplicate setting name");
    assert_refused("queue* = { items = 5; };", "the name of a setting has no '*'");
    assert_refused("\n*2 = { items = 5; };", "f.conf:2: the name of a setting has no '*'");
}

static void settings_load_too_many_groups_are_refused(void **state)
{
    enum { N = 100000 };
    char *text = calloc(N, sizeof("http={};"));
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < N; i++)
        memcpy(text + i * 8, "http={};", 8);
    assert_int_equal(load(text, &s, &err), ERR_FATAL);
    assert_non_null(strstr(err.text, "f.conf:1: too many groups"));
    text[8 * 1000] = '\0';
    assert_int_equal(load(text, &s, &err), ERR_OK);
    settings_done(&s);
    free(text);
}

static void settings_load_nul_byte_is_refused(void **state)
{
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(settings_load_text("f", "source=\"spool\";\n\0x", 17, &s, &err),
                     ERR_FATAL);
    assert_non_null(strstr(err.text, "f:2: a NUL byte"));
}

static void settings_load_words_in_comments_and_strings_are_left_alone(void **state)
{
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    load("/* @include \"x\" 99999999999999999999 */ # @include\n// 5000000000\n"
         "spool = { directory = \"/a 5000000000 @include \\\" \"; };",
         &s, &err);
    assert_string_equal(err.text, "");
    assert_string_equal(s.spool.directory, "/a 5000000000 @include \" ");
    settings_done(&s);
}

static void settings_hours_parse_takes_spans_only(void **state)
{
    int from = 0, to = 0;

    (void)state;
    assert_true(settings_hours_parse("22:30-06:05", &from, &to));
    assert_int_equal(from, 22 * 60 + 30);
    assert_int_equal(to, 6 * 60 + 5);
    for (size_t i = 0; i < 6; i++) {
        static const char *const wrong[] = {
            "", "22:30", "24:00-01:00", "1:00-02:00x", "22:60-06:00", "22:30+06:00"};

        assert_false(settings_hours_parse(wrong[i], &from, &to));
    }
    assert_refused("training = { quiet_hours = \"noon\"; };", "is not a span");
}

static void settings_load_contradictions_are_refused(void **state)
{
    (void)state;
    assert_refused("queue = { low_percent = 90; };", "must be below `queue.high_percent`");
    assert_refused("media = { roots = []; };", "`media.roots` is empty");
    assert_refused("kafka = { video_topics = []; interaction_topics = []; };", "name a topic");
    assert_refused("kafka = { interaction_topics = [\"videos\"]; };", "name it once");
    assert_refused("kafka = { dlq_topic = \"videos\"; };", "come back for ever");
    assert_refused("kafka = { group_id = \"g\"; video_topics = [\"a\", \"a.g.dlq\"]; };",
                   "come back for ever");
    assert_refused("kafka = { group_id = \"my group\"; };", "no Kafka topic may have");
    assert_refused("kafka = { video_topics = []; };", "no video topic to name it after");
}

static void settings_load_owned_property_names_the_setting(void **state)
{
    (void)state;
    assert_refused("kafka = { properties = {\n group_id = \"x\"; }; };",
                   "f.conf:2: `kafka.properties`: the daemon owns group.id; remove it: set "
                   "`kafka.group_id`");
    assert_refused("kafka = { properties = { enable_auto_commit = true; }; };",
                   "offsets are kept in the store");
    assert_refused("kafka = { properties = { bootstrap_servers = \"x\"; }; };",
                   "set `kafka.bootstrap_servers`");
    assert_refused("kafka = { properties = { Bad_Name = \"x\"; }; };",
                   "not a librdkafka property");
    assert_refused("kafka = { properties = { log_level = 7; }; };", "set `log_level`");
}

static void settings_load_bad_file_leaves_settings_untouched(void **state)
{
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(load("queue = { items = 5; };", &s, &err), ERR_OK);
    assert_int_equal(load("queue = { items = 6; low_percent = 95; };", &s, &err), ERR_FATAL);
    assert_int_equal(s.queue.items, 5);
    assert_int_equal(load("", &s, &err), ERR_OK);
    assert_int_equal(s.queue.items, 1000); /* a key that is gone has its default again */
    settings_done(&s);
}

static void settings_load_missing_file_and_folder_are_named(void **state)
{
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(settings_load("/nonexistent/m.conf", &s, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_non_null(strstr(err.text, "/nonexistent/m.conf: open: No such file"));
    assert_int_equal(settings_load("/", &s, &err), ERR_FATAL);
    assert_non_null(strstr(err.text, "Is a directory"));
}

/* The unit starts the daemon again after 71, not after 78. */
static void settings_without_descriptors_are_not_at_fault(void **state)
{
    struct rlimit before, none;
    struct settings s = {0};
    struct err file_err, credential_err;
    char *value = NULL;

    (void)state;
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/etc", 1), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int file = settings_load("/etc/passwd", &s, &file_err);
    int credential = settings_credential_read("@credential:passwd", &value, &credential_err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_int_equal(file, ERR_RETRY);
    assert_int_equal(file_err.exit_code, EX_OSERR);
    assert_int_equal(credential, ERR_RETRY);
    assert_int_equal(credential_err.exit_code, EX_OSERR);
}

static void settings_set_from_text_checks_and_replaces(void **state)
{
    struct settings s;
    struct err err = {0};

    (void)state;
    assert_int_equal(settings_init(&s), ERR_OK);
    assert_int_equal(settings_set(&s, "kafka.video_topics", "a,b", &err), ERR_OK);
    assert_int_equal(s.kafka.video_topics.n, 2);
    assert_int_equal(settings_set(&s, "kafka.partitions", "3", &err), ERR_OK);
    assert_int_equal(settings_set(&s, "kafka.partitions", "", &err), ERR_OK);
    assert_int_equal(s.kafka.n_partitions, 0);
    assert_int_equal(settings_set(&s, "kafka.properties", "a_b=c=d", &err), ERR_OK);
    assert_string_equal(s.kafka.properties.items[0], "a.b=c=d");
    assert_int_equal(settings_set(&s, "kafka.properties", "a.b=e", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "kafka.properties", "x", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "queue.items", "ten", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "queue.items", "", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "spool.keep_files", "no", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "store.path", "a\nb", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "nothing", "1", &err), ERR_FATAL);
    assert_int_equal(s.queue.items, 1000);
    settings_done(&s);
}

static void settings_property_is_secret_spellings(void **state)
{
    (void)state;
    assert_true(settings_property_is_secret("sasl.password"));
    assert_true(settings_property_is_secret("SSL_KEY_PEM=x"));
    assert_false(settings_property_is_secret("client.id=password"));
    assert_false(settings_property_is_secret("sasl.oauthbearer.token.endpoint.url"));
    assert_false(settings_property_is_secret("ssl.ca.location"));
    assert_false(settings_property_is_secret(""));
}

static void settings_nearest_typing_errors_are_found(void **state)
{
    static const char *const names[] = {"items", "bytes", "high_percent", "low_percent"};

    (void)state;
    assert_string_equal(settings_nearest("item", names, 4), "items");
    assert_string_equal(settings_nearest("tiems", names, 4), "items");
    assert_string_equal(settings_nearest("High-Percent", names, 4), "high_percent");
    assert_string_equal(settings_nearest("lowpercent", names, 4), "low_percent");
    assert_null(settings_nearest("colour", names, 4));
    assert_null(settings_nearest("", names, 4));
    assert_null(settings_nearest("items", names, 0));
}

/* ── credentials ── */

static void settings_credential_read_gives_the_file_without_line_end(void **state)
{
    char folder[] = "/tmp/mmf-cred-XXXXXX", path[64], *value = NULL;
    struct err err = {0};
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/kafka", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("s3cret\r\n", f);
    fclose(f);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    assert_int_equal(settings_credential_read("@credential:kafka", &value, &err), ERR_OK);
    assert_string_equal(value, "s3cret");
    settings_credential_free(value);
    assert_int_equal(settings_credential_read("plain", &value, &err), ERR_OK);
    assert_string_equal(value, "plain");
    settings_credential_free(value);
    assert_int_equal(settings_credential_read("@credential:none", &value, &err), ERR_FATAL);
    assert_non_null(strstr(err.text, "LoadCredential="));
    assert_int_equal(settings_credential_read("@credential:../kafka", &value, &err), ERR_FATAL);
    assert_int_equal(settings_credential_read("@credential:", &value, &err), ERR_FATAL);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(settings_credential_read("@credential:kafka", &value, &err), ERR_FATAL);
    assert_int_equal(truncate(path, 70000), 0);
    assert_int_equal(settings_credential_read("@credential:kafka", &value, &err), ERR_FATAL);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_int_equal(settings_credential_read("@credential:kafka", &value, &err), ERR_FATAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_load_every_type_is_read),
        cmocka_unit_test(settings_init_defaults_are_the_documented_ones),
        cmocka_unit_test(settings_load_unknown_key_names_line_and_nearest),
        cmocka_unit_test(settings_load_out_of_range_gives_range_and_unit),
        cmocka_unit_test(settings_load_wrong_type_says_both),
        cmocka_unit_test(settings_load_broken_text_gives_line),
        cmocka_unit_test(settings_load_group_there_again_adds_to_the_first),
        cmocka_unit_test(settings_load_too_many_groups_are_refused),
        cmocka_unit_test(settings_load_nul_byte_is_refused),
        cmocka_unit_test(settings_load_words_in_comments_and_strings_are_left_alone),
        cmocka_unit_test(settings_hours_parse_takes_spans_only),
        cmocka_unit_test(settings_load_contradictions_are_refused),
        cmocka_unit_test(settings_load_owned_property_names_the_setting),
        cmocka_unit_test(settings_load_bad_file_leaves_settings_untouched),
        cmocka_unit_test(settings_load_missing_file_and_folder_are_named),
        cmocka_unit_test(settings_without_descriptors_are_not_at_fault),
        cmocka_unit_test(settings_set_from_text_checks_and_replaces),
        cmocka_unit_test(settings_property_is_secret_spellings),
        cmocka_unit_test(settings_nearest_typing_errors_are_found),
        cmocka_unit_test(settings_credential_read_gives_the_file_without_line_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
