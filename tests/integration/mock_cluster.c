/* Hosts librdkafka's mock cluster (a simulation of Kafka) in a process of its own, so that the
 * daemon can be killed and restarted against it.
 *
 *   mock_cluster [BROKERS [SPARES]]   prints "bootstrap HOST:PORT[,HOST:PORT…]"
 *
 * librdkafka makes a mock cluster's id from its address, which is the same in every process under
 * AddressSanitizer. SPARES clusters are started first and not used, so that the id is another.
 *
 * Then one command a line on standard input, each answered by "ok" or "error TEXT":
 *
 *   topic NAME PARTITIONS            create a topic
 *   errors API CODE COUNT            the next COUNT requests of the API fail with CODE
 *   clear API                        forget the errors not yet given
 *   down BROKER | up BROKER          -1 = all
 *   rtt BROKER MS
 *   leader TOPIC PARTITION BROKER    BROKER -1 = no leader
 *   coordinator GROUP BROKER
 *   quit                             (or end of input)
 */

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARES_MAX 8
#define ERRORS_MAX 4096

struct command {
    char name[32], topic[256];
    int a, b, c;
};

/* Arguments are numbers except the first of topic, leader and coordinator. */
static int parse(const char *line, struct command *cmd)
{
    *cmd = (struct command){.a = -1, .b = -1, .c = -1};
    if (sscanf(line, "%31s", cmd->name) != 1)
        return -1;
    const char *rest = line + strspn(line, " ") + strlen(cmd->name);
    if (strcmp(cmd->name, "topic") == 0 || strcmp(cmd->name, "leader") == 0 ||
        strcmp(cmd->name, "coordinator") == 0)
        return sscanf(rest, "%255s %d %d", cmd->topic, &cmd->a, &cmd->b) >= 2 ? 0 : -1;
    int n = sscanf(rest, "%d %d %d", &cmd->a, &cmd->b, &cmd->c);
    return n >= 1 || strcmp(cmd->name, "quit") == 0 ? 0 : -1;
}

static void push_errors(rd_kafka_mock_cluster_t *cluster, const struct command *cmd)
{
    static rd_kafka_resp_err_t codes[ERRORS_MAX];
    size_t n = cmd->c < 0 ? 0 : cmd->c > ERRORS_MAX ? ERRORS_MAX : (size_t)cmd->c;
    for (size_t i = 0; i < n; i++)
        codes[i] = (rd_kafka_resp_err_t)cmd->b;
    rd_kafka_mock_push_request_errors_array(cluster, (int16_t)cmd->a, n, codes);
}

/* NULL, or what is wrong. */
static const char *run(rd_kafka_mock_cluster_t *cluster, const struct command *cmd)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (strcmp(cmd->name, "topic") == 0)
        code = rd_kafka_mock_topic_create(cluster, cmd->topic, cmd->a, 1);
    else if (strcmp(cmd->name, "errors") == 0)
        push_errors(cluster, cmd);
    else if (strcmp(cmd->name, "clear") == 0)
        rd_kafka_mock_clear_request_errors(cluster, (int16_t)cmd->a);
    else if (strcmp(cmd->name, "down") == 0)
        code = rd_kafka_mock_broker_set_down(cluster, cmd->a);
    else if (strcmp(cmd->name, "up") == 0)
        code = rd_kafka_mock_broker_set_up(cluster, cmd->a);
    else if (strcmp(cmd->name, "rtt") == 0)
        code = rd_kafka_mock_broker_set_rtt(cluster, cmd->a, cmd->b);
    else if (strcmp(cmd->name, "leader") == 0)
        code = rd_kafka_mock_partition_set_leader(cluster, cmd->topic, cmd->a, cmd->b);
    else if (strcmp(cmd->name, "coordinator") == 0)
        code = rd_kafka_mock_coordinator_set(cluster, "group", cmd->topic, cmd->a);
    else
        return "unknown command";
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL : rd_kafka_err2str(code);
}

/* Faults are the point of a mock cluster: its connection errors are no news. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

/* The handle that owns a cluster; NULL and *ret_why on an error. */
static rd_kafka_t *start(const char *n_brokers, char *ret_why, size_t why_bytes)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk = NULL;
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (rd_kafka_conf_set(conf, "test.mock.num.brokers", n_brokers, ret_why, why_bytes) ==
        RD_KAFKA_CONF_OK)
        rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, ret_why, why_bytes);
    if (rk == NULL)
        rd_kafka_conf_destroy(conf);
    return rk;
}

static void serve(rd_kafka_mock_cluster_t *cluster)
{
    char line[512];
    struct command cmd;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (parse(line, &cmd) != 0) {
            printf("error cannot read: %s\n", strtok(line, "\n"));
            continue;
        }
        if (strcmp(cmd.name, "quit") == 0)
            return;
        const char *why = run(cluster, &cmd);
        if (why == NULL)
            printf("ok\n");
        else
            printf("error %s: %s\n", cmd.name, why);
    }
}

int main(int argc, char **argv)
{
    char why[256] = "";
    rd_kafka_t *spares[SPARES_MAX] = {0};
    int n_spares = argc > 2 ? atoi(argv[2]) : 0;
    for (int i = 0; i < n_spares && i < SPARES_MAX; i++)
        spares[i] = start("1", why, sizeof(why));
    rd_kafka_t *rk = start(argc > 1 ? argv[1] : "1", why, sizeof(why));
    if (rk == NULL || why[0] != '\0') {
        fprintf(stderr, "mock_cluster: %s\n", why);
        return EXIT_FAILURE;
    }
    rd_kafka_mock_cluster_t *cluster = rd_kafka_handle_mock_cluster(rk);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("bootstrap %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    serve(cluster);
    rd_kafka_destroy(rk);
    for (int i = 0; i < SPARES_MAX; i++)
        if (spares[i] != NULL)
            rd_kafka_destroy(spares[i]);
    return 0;
}
