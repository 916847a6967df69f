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

#include "daemon/kafka/mock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int run(struct kafka_mock *m, const struct command *cmd, struct err *err)
{
    if (strcmp(cmd->name, "topic") == 0)
        return kafka_mock_create_topic(m, cmd->topic, cmd->a, err);
    if (strcmp(cmd->name, "errors") == 0)
        return kafka_mock_push_errors(m, (int16_t)cmd->a, cmd->b,
                                      cmd->c > 0 ? (size_t)cmd->c : 0, err);
    if (strcmp(cmd->name, "clear") == 0) {
        kafka_mock_clear_errors(m, (int16_t)cmd->a);
        return ERR_OK;
    }
    if (strcmp(cmd->name, "down") == 0)
        return kafka_mock_set_up(m, cmd->a, 0, err);
    if (strcmp(cmd->name, "up") == 0)
        return kafka_mock_set_up(m, cmd->a, 1, err);
    if (strcmp(cmd->name, "rtt") == 0)
        return kafka_mock_set_rtt(m, cmd->a, cmd->b, err);
    if (strcmp(cmd->name, "leader") == 0)
        return kafka_mock_set_leader(m, cmd->topic, cmd->a, cmd->b, err);
    if (strcmp(cmd->name, "coordinator") == 0)
        return kafka_mock_set_coordinator(m, cmd->topic, cmd->a, err);
    return err_fatal(err, 64, "unknown command \"%s\"", cmd->name);
}

#define SPARES_MAX 8

static int start(int argc, char **argv, struct kafka_mock **spares, struct kafka_mock **ret_m,
                 struct err *err)
{
    int status = ERR_OK;
    int n_spares = argc > 2 ? atoi(argv[2]) : 0;
    for (int i = 0; status == ERR_OK && i < n_spares && i < SPARES_MAX; i++)
        status = kafka_mock_start(1, &spares[i], err);
    return status == ERR_OK ? kafka_mock_start(argc > 1 ? atoi(argv[1]) : 1, ret_m, err)
                            : status;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct kafka_mock *m = NULL, *spares[SPARES_MAX] = {0};
    if (start(argc, argv, spares, &m, &err) != ERR_OK) {
        fprintf(stderr, "mock_cluster: %s\n", err.text);
        return err.exit_code;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("bootstrap %s\n", kafka_mock_bootstrap(m));

    char line[512];
    struct command cmd;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (parse(line, &cmd) != 0) {
            printf("error cannot read: %s\n", strtok(line, "\n"));
            continue;
        }
        if (strcmp(cmd.name, "quit") == 0)
            break;
        if (run(m, &cmd, &err) == ERR_OK)
            printf("ok\n");
        else
            printf("error %s\n", err.text);
    }
    kafka_mock_stop(m);
    for (int i = 0; i < SPARES_MAX; i++)
        kafka_mock_stop(spares[i]);
    return 0;
}
