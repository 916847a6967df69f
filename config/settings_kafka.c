/* librdkafka properties in the settings: names, those that the daemon owns, secrets. */

#include "config/settings_table.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define CREDENTIAL_PREFIX    "@credential:"
#define CREDENTIAL_MAX_BYTES 65536

/* Exactly-once processing rests on these, or a setting of ours already says it. daemon/kafka/config.c
 * gives them their values, and finds out whether librdkafka knows any other property. */
static const struct {
    const char *name;    /* as in librdkafka */
    const char *instead; /* the setting to use, or why there is none */
} owned[] = {
    {"bootstrap.servers", "set `kafka.bootstrap_servers`"},
    {"metadata.broker.list", "set `kafka.bootstrap_servers`"},
    {"group.id", "set `kafka.group_id`"},
    {"auto.offset.reset", "set `kafka.start`"},
    {"topic.auto.offset.reset", "set `kafka.start`"},
    {"enable.auto.commit", "offsets are kept in the store, see `store.path`"},
    {"auto.commit.enable", "offsets are kept in the store, see `store.path`"},
    {"auto.commit.interval.ms", "offsets are kept in the store, see `store.batch_ms`"},
    {"enable.auto.offset.store", "offsets are kept in the store, see `store.path`"},
    {"offset.store.method", "offsets are kept in the store, see `store.path`"},
    {"offset.store.path", "offsets are kept in the store, see `store.path`"},
    {"allow.auto.create.topics", "the daemon waits for a topic that is missing"},
    {"enable.partition.eof", "the daemon sets it"},
    {"statistics.interval.ms", "the daemon sets it"},
    {"log.queue", "the daemon sets it"},
    {"log.thread.name", "the daemon sets it"},
    {"log.level", "set `log_level`"},
    {"enable.idempotence", "dead letters are always published idempotently"},
    {"transactional.id", "dead letters are published idempotently, without transactions"},
    {"acks", "dead letters are always acknowledged by all replicas"},
    {"request.required.acks", "dead letters are always acknowledged by all replicas"},
    {"enable.sasl.oauthbearer.unsecure.jwt", "unsigned tokens are never used"},
    {"test.mock.num.brokers", "there is no Kafka inside the daemon; see metammf demo"},
};

static int check_owned(const char *name, struct err *err)
{
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) {
        if (strcmp(owned[i].name, name) == 0)
            return err_fatal(err, EX_CONFIG,
                             "`kafka.properties`: the daemon owns %s; remove it: %s", name,
                             owned[i].instead);
    }
    return ERR_OK;
}

static int check_name(const char *name, struct err *err)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < n; i++) {
        if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
            name[i] != '.')
            return err_fatal(err, EX_CONFIG,
                             "`kafka.properties`: \"%.80s\" is not a librdkafka property "
                             "(lower-case letters, digits and '_' for '.')",
                             name);
    }
    if (n == 0 || n > 80)
        return err_fatal(err, EX_CONFIG, "`kafka.properties`: a name has 1 … 80 bytes");
    return check_owned(name, err);
}

int settings_property_append(struct settings_strings *list, const char *name, const char *value,
                             struct err *err)
{
    size_t name_bytes = strlen(name);
    char *text;
    int status;

    if (asprintf(&text, "%s=%s", name, value) < 0)
        return err_oom(err, "kafka.properties");
    for (size_t i = 0; i < name_bytes; i++) {
        if (text[i] == '_')
            text[i] = '.';
    }
    text[name_bytes] = '\0';
    status = check_name(text, err);
    text[name_bytes] = '=';
    for (size_t i = 0; i < list->n && status == ERR_OK; i++) {
        if (strncmp(list->items[i], text, name_bytes + 1) == 0)
            status =
                err_fatal(err, EX_CONFIG, "`kafka.properties` names %.*s twice; remove one",
                          (int)name_bytes, text);
    }
    if (status == ERR_OK)
        status = settings_strings_append(list, text, err);
    free(text);
    return status;
}

bool settings_property_is_secret(const char *name)
{
    static const char *const marks[] = {"password", "secret",  "token",
                                        "jaas",     "key.pem", "oauthbearer.config"};
    char plain[128];
    size_t n = 0;

    for (; name[n] != '\0' && name[n] != '=' && n < sizeof(plain) - 1; n++)
        plain[n] = name[n] == '_' ? '.' : (char)tolower((unsigned char)name[n]);
    plain[n] = '\0';
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (strstr(plain, marks[i]) != NULL &&
            strcmp(plain, "sasl.oauthbearer.token.endpoint.url"))
            return true;
    }
    return false;
}

bool settings_is_credential(const char *value)
{
    return strncmp(value, CREDENTIAL_PREFIX, strlen(CREDENTIAL_PREFIX)) == 0;
}

bool settings_has_credentials(void)
{
    return getenv("CREDENTIALS_DIRECTORY") != NULL;
}

size_t settings_n_credentials(const struct settings *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->kafka.properties.n; i++) {
        const char *equals = strchr(s->kafka.properties.items[i], '=');

        n += equals != NULL && settings_is_credential(equals + 1);
    }
    return n;
}

int settings_credential_check(const char *value, struct err *err)
{
    const char *name = value + strlen(CREDENTIAL_PREFIX);

    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return err_fatal(
            err, EX_CONFIG,
            "credential \"%.80s\": not a file name; write " CREDENTIAL_PREFIX "NAME", name);
    return ERR_OK;
}

static int open_credential(const char *name, int *ret_fd, struct err *err)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    char path[4096];
    int fd;

    if (directory == NULL || directory[0] != '/')
        return err_fatal(err, EX_CONFIG,
                         "credential %.80s: $CREDENTIALS_DIRECTORY is not set; add "
                         "LoadCredential=%.80s:/path/to/file to the unit",
                         name, name);
    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
        return err_fatal(err, EX_CONFIG, "credential %.80s: path too long", name);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0 && err_is_shortage(errno))
        return err_open(err, EX_CONFIG, path, errno);
    if (fd < 0)
        return err_fatal(err, EX_CONFIG,
                         "credential %.80s: open %.500s: %s; see LoadCredential= in the unit",
                         name, path, strerror(errno));
    *ret_fd = fd;
    return ERR_OK;
}

/* The file's text without the line ends at its end. */
static int read_credential(int fd, const char *name, char **ret_value, struct err *err)
{
    char *text = calloc(1, CREDENTIAL_MAX_BYTES + 2);
    size_t n = 0;
    ssize_t got = 0;

    if (text == NULL)
        return err_oom(err, "credential");
    while (n <= CREDENTIAL_MAX_BYTES) {
        got = read(fd, text + n, CREDENTIAL_MAX_BYTES + 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        text[--n] = '\0';
    if (got >= 0 && n != 0 && n <= CREDENTIAL_MAX_BYTES && strlen(text) == n) {
        *ret_value = text;
        return ERR_OK;
    }
    explicit_bzero(text, CREDENTIAL_MAX_BYTES + 2);
    free(text);
    if (got < 0)
        return err_fatal(err, EX_CONFIG, "credential %.80s: read: %s", name, strerror(errno));
    return err_fatal(err, EX_CONFIG,
                     "credential %.80s: must be text of 1 … %d bytes, without NUL", name,
                     CREDENTIAL_MAX_BYTES);
}

int settings_credential_read(const char *value, char **ret_value, struct err *err)
{
    const char *name = value + strlen(CREDENTIAL_PREFIX);
    int fd, status;

    if (!settings_is_credential(value)) {
        char *copy = strdup(value);

        if (copy == NULL)
            return err_oom(err, "settings");
        *ret_value = copy;
        return ERR_OK;
    }
    status = settings_credential_check(value, err);
    if (status == ERR_OK)
        status = open_credential(name, &fd, err);
    if (status != ERR_OK)
        return status;
    status = read_credential(fd, name, ret_value, err);
    close(fd);
    return status;
}

void settings_credential_free(char *value)
{
    if (value != NULL)
        explicit_bzero(value, strlen(value));
    free(value);
}
