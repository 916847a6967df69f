/* The three layers of librdkafka's properties: what the daemon owns, what passes, what is never
 * printed. */
#include "config/settings.h"
#include "daemon/kafka/config.h"

#include <librdkafka/rdkafka.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static int make_settings(void **state)
{
    struct settings *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    assert_int_equal(settings_init(s), ERR_OK);
    *state = s;
    return 0;
}

static int free_settings(void **state)
{
    struct settings *s = *state;
    settings_done(s);
    free(s);
    return 0;
}

static void add_property(struct settings *s, const char *property)
{
    struct err err = {0};
    if (settings_set(s, "kafka.properties", property, &err) != ERR_OK)
        fail_msg("%s: %s", property, err.text);
}

static size_t n_unread;

static void expect_refused(struct settings *s, const char *name)
{
    struct err err = {0};
    assert_int_equal(kafka_config_check(s, &n_unread, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_non_null(strstr(err.text, name));
}

static void check_defaults_ok(void **state)
{
    struct err err = {0};
    assert_int_equal(kafka_config_check(*state, &n_unread, &err), ERR_OK);
}

static void check_user_property_passes(void **state)
{
    struct err err = {0};
    add_property(*state, "session.timeout.ms=6000");
    add_property(*state, "group.instance.id=node-1");
    assert_int_equal(kafka_config_check(*state, &n_unread, &err), ERR_OK);
}

/* The settings refuse what config.c sets itself, and what would undo it. */
static void owned_property_refused(void **state)
{
    static const char *const names[] = {
        "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset",
        "allow.auto.create.topics", "statistics.interval.ms", "log.queue", "enable.idempotence",
        "acks", "bootstrap.servers", "group.id", "transactional.id", "enable.partition.eof",
        "log.thread.name", "test.mock.num.brokers", "enable.sasl.oauthbearer.unsecure.jwt",
        /* aliases */
        "metadata.broker.list", "auto.commit.enable", "request.required.acks",
        "topic.auto.offset.reset"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char property[128];
        struct err err = {0};
        snprintf(property, sizeof(property), "%s=1", names[i]);
        assert_int_equal(settings_set(*state, "kafka.properties", property, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_CONFIG);
        assert_non_null(strstr(err.text, "the daemon owns"));
    }
}

/* Pointers of librdkafka's, which no file can set. */
static void check_pointer_refused_by_librdkafka(void **state)
{
    add_property(*state, "opaque=1");
    expect_refused(*state, "opaque");
}

/* One who only publishes reads no topic and is in no group. */
static void new_producer_needs_brokers_only(void **state)
{
    struct settings s = *(const struct settings *)*state; /* borrows */
    struct err err = {0};
    struct kafka_secrets secrets = {0};
    struct rd_kafka_conf_s *conf = NULL;
    s.kafka.group_id = NULL;
    s.kafka.video_topics.n = s.kafka.interaction_topics.n = 0;
    assert_int_equal(kafka_config_new(&s, KAFKA_CONSUMER, &secrets, &conf, &err), ERR_FATAL);
    assert_int_equal(kafka_config_new(&s, KAFKA_PRODUCER, &secrets, &conf, &err), ERR_OK);
    rd_kafka_conf_destroy(conf);
    kafka_secrets_done(&secrets);
}

static void check_unknown_property_refused(void **state)
{
    add_property(*state, "no.such.property=1");
    expect_refused(*state, "no.such.property");
}

static void check_cooperative_refused_by_old_library(void **state)
{
    add_property(*state, "partition.assignment.strategy=cooperative-sticky");
    expect_refused(*state, "2.10.1");
}

static void check_bad_secret_not_in_text(void **state)
{
    struct err err = {0};
    add_property(*state, "ssl.key.pem=hunter2-not-a-key");
    int status = kafka_config_check(*state, &n_unread, &err);
    assert_true(status == ERR_OK || strstr(err.text, "hunter2") == NULL);
}

static void check_empty_group_refused(void **state)
{
    struct settings *s = *state;
    s->kafka.group_id[0] = '\0';
    expect_refused(s, "group_id");
}

/* librdkafka has cut its words, in the middle of one or the other. */
static void redact_a_secret_that_is_cut(void **state)
{
    static char one[] = "swordfish", two[] = "sword-and-shield";
    char *values[] = {one, two};
    const struct kafka_secrets secrets = {values, 2};

    (void)state;
    for (size_t n = 4; n < sizeof(two); n++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "swordfish refused: %.*s", (int)n, two);
        kafka_secrets_redact(&secrets, line);
        assert_null(strstr(line, "swor"));
        assert_int_equal(strlen(line), 19 + n);
    }
}

static void new_credential_read_and_redacted(void **state)
{
    char folder[] = "/tmp/mmf-credential-XXXXXX", path[64],
         line[] = "login with s3cret-word now";
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/kafka", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("s3cret-word\n", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);

    struct err err = {0};
    struct kafka_secrets secrets = {0};
    struct rd_kafka_conf_s *conf = NULL;
    add_property(*state, "sasl.password=@credential:kafka");
    assert_int_equal(kafka_config_check(*state, &n_unread, &err), ERR_OK);
    assert_int_equal(kafka_config_new(*state, KAFKA_CONSUMER, &secrets, &conf, &err), ERR_OK);
    kafka_secrets_redact(&secrets, line);
    assert_string_equal(line, "login with *********** now");
    rd_kafka_conf_destroy(conf);
    kafka_secrets_done(&secrets);

    assert_int_equal(unlink(path), 0);
    expect_refused(*state, "sasl.password");
    assert_int_equal(rmdir(folder), 0);
    unsetenv("CREDENTIALS_DIRECTORY");
}

/* Outside the unit: good as far as can be seen, and said how far; what starts needs it. */
static void check_credential_outside_the_unit(void **state)
{
    struct err err = {0};
    struct kafka_secrets secrets = {0};
    struct rd_kafka_conf_s *conf = NULL;
    unsetenv("CREDENTIALS_DIRECTORY");
    add_property(*state, "sasl.password=@credential:kafka");
    add_property(*state, "ssl.key.pem=@credential:key");
    add_property(*state, "security.protocol=@credential:protocol");
    assert_int_equal(kafka_config_check(*state, &n_unread, &err), ERR_OK);
    assert_int_equal(n_unread, 3);
    assert_int_equal(kafka_config_new(*state, KAFKA_CONSUMER, &secrets, &conf, &err),
                     ERR_FATAL);
    assert_non_null(strstr(err.text, "CREDENTIALS_DIRECTORY"));
    kafka_secrets_done(&secrets);
    add_property(*state, "ssl.key.password=@credential:../key");
    expect_refused(*state, "not a file name");
}

static void check_misspelt_property_outside_the_unit(void **state)
{
    unsetenv("CREDENTIALS_DIRECTORY");
    add_property(*state, "sasl.pasword=@credential:kafka");
    expect_refused(*state, "sasl.pasword");
}

/* As librdkafka has it, in its own words. */
static void expect_property(struct rd_kafka_conf_s *conf, const char *name, const char *value)
{
    char got[256] = "";
    size_t bytes = sizeof(got);
    assert_int_equal(rd_kafka_conf_get(conf, name, got, &bytes), RD_KAFKA_CONF_OK);
    assert_string_equal(got, value);
}

static void new_security_properties_reach_both_clients(void **state)
{
    static const char *const properties[][2] = {
        {"security.protocol", "sasl_ssl"},
        {"sasl.mechanism", "SCRAM-SHA-512"},
        {"sasl.username", "metammfd"},
        {"sasl.password", "s3cret-word"},
        {"ssl.ca.location", "/etc/ssl/certs/ca-certificates.crt"},
        {"ssl.endpoint.identification.algorithm", "https"},
        {"socket.keepalive.enable", "true"},
    };
    enum { N = sizeof(properties) / sizeof(properties[0]) };
    for (size_t i = 0; i < N; i++) {
        char text[128];
        snprintf(text, sizeof(text), "%s=%s", properties[i][0], properties[i][1]);
        add_property(*state, text);
    }
    for (int role = KAFKA_CONSUMER; role <= KAFKA_PRODUCER; role++) {
        struct err err = {0};
        struct kafka_secrets secrets = {0};
        struct rd_kafka_conf_s *conf = NULL;
        assert_int_equal(kafka_config_new(*state, (enum kafka_role)role, &secrets, &conf, &err),
                         ERR_OK);
        for (size_t i = 0; i < N; i++)
            expect_property(conf, properties[i][0], properties[i][1]);
        assert_int_equal(secrets.n, 1); /* the password, to be kept out of the log */
        rd_kafka_conf_destroy(conf);
        kafka_secrets_done(&secrets);
    }
}

static void dlq_topic_unset_named_after_topic_and_group(void **state)
{
    char topic[256];
    settings_dlq_topic(*state, topic, sizeof(topic));
    assert_string_equal(topic, "videos.metammfd.dlq");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_settings, free_settings)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(check_defaults_ok),
        CASE(check_user_property_passes),
        CASE(owned_property_refused),
        CASE(check_pointer_refused_by_librdkafka),
        CASE(new_producer_needs_brokers_only),
        CASE(check_unknown_property_refused),
        CASE(check_cooperative_refused_by_old_library),
        CASE(check_bad_secret_not_in_text),
        CASE(check_empty_group_refused),
        CASE(new_credential_read_and_redacted),
        CASE(redact_a_secret_that_is_cut),
        CASE(check_credential_outside_the_unit),
        CASE(check_misspelt_property_outside_the_unit),
        CASE(new_security_properties_reach_both_clients),
        CASE(dlq_topic_unset_named_after_topic_and_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
