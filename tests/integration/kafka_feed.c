/* Feeds a topic from an NDJSON ledger, reads one back, makes topics: the tests' hand on Kafka.
 *
 *   kafka_feed produce BOOTSTRAP [RATE]      ledger lines on standard input; RATE messages a
 *                                            second, 0 = as fast as it goes
 *   kafka_feed read BOOTSTRAP TOPIC [N [SECONDS]]
 *                                            prints a topic from its beginning as ledger lines,
 *                                            until every partition's end (and N messages)
 *   kafka_feed ends BOOTSTRAP TOPIC          prints "PARTITION LOW HIGH" for each partition
 *   kafka_feed committed BOOTSTRAP GROUP TOPIC   prints "PARTITION OFFSET" as Kafka was told
 *   kafka_feed join BOOTSTRAP GROUP TOPIC,TOPIC… SECONDS   a member of the group that reads and
 *                                            commits nothing, for so long from its first
 *                                            partitions on; prints the rebalances it saw
 *   kafka_feed create BOOTSTRAP TOPIC PARTITIONS [CONFIG=VALUE…]   not on the mock cluster
 *   kafka_feed grow BOOTSTRAP TOPIC PARTITIONS                     to so many (real broker)
 *   kafka_feed delete BOOTSTRAP TOPIC                              (real broker)
 *   kafka_feed transact BOOTSTRAP TOPIC N commit|abort|leave [SECONDS]   N clicks in a
 *                                            transaction; leave: it stays open for so long, then
 *                                            is aborted (real broker)
 *   kafka_feed big BOOTSTRAP TOPIC BYTES     one message of so many zero bytes, to partition 0
 *   kafka_feed acl BOOTSTRAP allow|forget topic|group NAME USER   READ (real broker)
 *   kafka_feed truncate BOOTSTRAP TOPIC PARTITION BEFORE           deletes records (real broker)
 *
 * Ledger line: {"topic", "partition", "offset", "key_b64", "value_b64", "headers": [[name,
 * value_b64], …]}; partition -1 or absent = by key; a null value_b64 is a tombstone. `produce`
 * answers each line, in order of acknowledgement, with {"n", "topic", "partition", "offset"}
 * where n is the line's number from 0.
 */

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what, const char *why)
{
    fprintf(stderr, "kafka_feed: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
        die(name, why);
}

static size_t n_undelivered;

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "kafka_feed: line %zd: %s\n", (ssize_t)(intptr_t)msg->_private,
                rd_kafka_err2str(msg->err));
        n_undelivered++;
        return;
    }
    printf("{\"n\": %zd, \"topic\": \"%s\", \"partition\": %d, \"offset\": %lld}\n",
           (ssize_t)(intptr_t)msg->_private, rd_kafka_topic_name(msg->rkt), msg->partition,
           (long long)msg->offset);
}

/* The tests take brokers away; that is no news. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    if (level <= 2)
        fprintf(stderr, "kafka_feed: %s: %s: %s\n", rd_kafka_name(rk), facility, text);
}

static rd_kafka_t *open_client(rd_kafka_type_t type, const char *bootstrap, const char *group)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (type == RD_KAFKA_PRODUCER) {
        set(conf, "enable.idempotence", "true");
        set(conf, "linger.ms", "5");
        set(conf, "message.max.bytes", "8388608");
        set(conf, "delivery.timeout.ms", "300000");
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    } else {
        set(conf, "group.id", group);
        set(conf, "enable.auto.commit", "false");
        set(conf, "isolation.level", "read_committed");
        set(conf, "enable.partition.eof", "true");
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof(why));
    if (rk == NULL)
        die("open", why);
    return rk;
}

/* Base64 text → malloc'ed bytes. */
static void *decode(const char *text, size_t *ret_bytes)
{
    size_t n = strlen(text);
    unsigned char *out = malloc(n + 4);
    if (out == NULL)
        die("decode", "no memory");
    int got = EVP_DecodeBlock(out, (const unsigned char *)text, (int)n);
    if (got < 0)
        die("decode", "not base64");
    for (size_t i = n; i > 0 && text[i - 1] == '='; i--)
        got--;
    *ret_bytes = (size_t)got;
    return out;
}

static json_t *encode(const void *data, size_t bytes)
{
    if (data == NULL)
        return json_null();
    unsigned char *text = malloc(4 * (bytes / 3 + 1) + 4);
    if (text == NULL)
        die("encode", "no memory");
    EVP_EncodeBlock(text, data, (int)bytes);
    json_t *value = json_string((const char *)text);
    free(text);
    return value;
}

static rd_kafka_headers_t *headers_of(const json_t *list)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(json_array_size(list) + 1);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        size_t bytes = 0;
        const char *text = json_string_value(json_array_get(pair, 1));
        void *value = text != NULL ? decode(text, &bytes) : NULL;
        rd_kafka_header_add(headers, json_string_value(json_array_get(pair, 0)), -1, value,
                            (ssize_t)bytes);
        free(value);
    }
    return headers;
}

static void produce_line(rd_kafka_t *rk, const json_t *line, size_t n)
{
    const char *key_text = json_string_value(json_object_get(line, "key_b64"));
    const char *value_text = json_string_value(json_object_get(line, "value_b64"));
    const json_t *partition = json_object_get(line, "partition");
    size_t key_bytes = 0, value_bytes = 0;
    void *key = key_text != NULL ? decode(key_text, &key_bytes) : NULL;
    void *value = value_text != NULL ? decode(value_text, &value_bytes) : NULL;
    rd_kafka_headers_t *headers = headers_of(json_object_get(line, "headers"));
    rd_kafka_resp_err_t code;
    do {
        code = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(json_string_value(json_object_get(line, "topic"))),
            RD_KAFKA_V_PARTITION(partition ? (int32_t)json_integer_value(partition) : -1),
            RD_KAFKA_V_KEY(key, key_bytes), RD_KAFKA_V_VALUE(value, value_bytes),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_OPAQUE((void *)(intptr_t)n), RD_KAFKA_V_END);
        rd_kafka_poll(rk, code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 50 : 0);
    } while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("produce", rd_kafka_err2str(code));
    free(key);
    free(value);
}

static int produce(const char *bootstrap, double rate)
{
    rd_kafka_t *rk = open_client(RD_KAFKA_PRODUCER, bootstrap, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int64_t start_us = now_us();
    char *line = NULL;
    size_t size = 0, n = 0;
    while (getline(&line, &size, stdin) > 0) {
        json_t *json = json_loads(line, 0, NULL);
        if (json == NULL)
            die("ledger", line);
        produce_line(rk, json, n++);
        json_decref(json);
        int64_t due_us = rate > 0.0 ? start_us + (int64_t)((double)n / rate * 1e6) : 0;
        for (int64_t left_us; (left_us = due_us - now_us()) > 0;)
            rd_kafka_poll(rk, (int)(left_us / 1000));
    }
    free(line);
    rd_kafka_flush(rk, 300000);
    size_t n_left = (size_t)rd_kafka_outq_len(rk) + n_undelivered;
    rd_kafka_destroy(rk);
    if (n_left > 0)
        fprintf(stderr, "kafka_feed: %zu messages not acknowledged\n", n_left);
    return n_left > 0;
}

static int count_partitions(rd_kafka_t *rk, const char *topic)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, handle, &metadata, 10000);
    rd_kafka_topic_destroy(handle);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(topic, rd_kafka_err2str(code));
    int n = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    return n;
}

static void print_message(const rd_kafka_message_t *msg)
{
    json_t *headers = json_array();
    rd_kafka_headers_t *list = NULL;
    if (rd_kafka_message_headers(msg, &list) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *name = NULL;
        const void *value = NULL;
        size_t bytes = 0;
        for (size_t i = 0; rd_kafka_header_get_all(list, i, &name, &value, &bytes) ==
                           RD_KAFKA_RESP_ERR_NO_ERROR;
             i++)
            json_array_append_new(headers, json_pack("[s, o]", name, encode(value, bytes)));
    }
    json_t *json =
        json_pack("{s:s, s:i, s:I, s:o, s:o, s:o}", "topic", rd_kafka_topic_name(msg->rkt),
                  "partition", msg->partition, "offset", (json_int_t)msg->offset, "key_b64",
                  encode(msg->key, msg->key_len), "value_b64", encode(msg->payload, msg->len),
                  "headers", headers);
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

static int read_topic(const char *bootstrap, const char *topic, int n_wanted, int seconds)
{
    rd_kafka_t *rk = open_client(RD_KAFKA_CONSUMER, bootstrap, "kafka-feed");
    rd_kafka_poll_set_consumer(rk);
    int n_partitions = count_partitions(rk, topic), n_at_end = 0, n = 0;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n_partitions);
    for (int i = 0; i < n_partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);

    int64_t until_us = now_us() + (int64_t)seconds * 1000000;
    while ((n_at_end < n_partitions || n < n_wanted) && now_us() < until_us) {
        rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, 200);
        if (msg == NULL)
            continue;
        if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            n_at_end++;
        } else if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            print_message(msg);
            n++;
        }
        rd_kafka_message_destroy(msg);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return n >= n_wanted ? 0 : 1;
}

static int print_ends(const char *bootstrap, const char *topic)
{
    rd_kafka_t *rk = open_client(RD_KAFKA_CONSUMER, bootstrap, "kafka-feed");
    int n = count_partitions(rk, topic);
    for (int i = 0; i < n; i++) {
        int64_t low = 0, high = 0;
        rd_kafka_resp_err_t code =
            rd_kafka_query_watermark_offsets(rk, topic, i, &low, &high, 10000);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            die(topic, rd_kafka_err2str(code));
        printf("%d %lld %lld\n", i, (long long)low, (long long)high);
    }
    rd_kafka_destroy(rk);
    return 0;
}

static int print_committed(const char *bootstrap, const char *group, const char *topic)
{
    rd_kafka_t *rk = open_client(RD_KAFKA_CONSUMER, bootstrap, group);
    int n = count_partitions(rk, topic);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
    for (int i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(list, topic, i);
    rd_kafka_resp_err_t code = rd_kafka_committed(rk, list, 10000);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(group, rd_kafka_err2str(code));
    for (int i = 0; i < n; i++)
        printf("%d %lld\n", i, (long long)list->elems[i].offset);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return 0;
}

static unsigned n_rebalances;

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)opaque;
    n_rebalances++;
    rd_kafka_assign(rk, code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? list : NULL);
}

#define JOIN_US (60 * INT64_C(1000000)) /* until it has partitions */

static int join_group(const char *bootstrap, const char *group, char *topics, double seconds)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "group.id", group);
    set(conf, "enable.auto.commit", "false");
    set(conf, "session.timeout.ms", "6000");
    set(conf, "partition.assignment.strategy", "range");
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (rk == NULL)
        die("open", why);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(2);
    for (char *topic = strtok(topics, ","); topic != NULL; topic = strtok(NULL, ","))
        rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    int64_t until_us = now_us() + JOIN_US;
    for (bool joined = false; now_us() < until_us;) {
        rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, 100);
        if (msg != NULL)
            rd_kafka_message_destroy(msg);
        if (!joined && n_rebalances > 0) {
            joined = true;
            until_us = now_us() + (int64_t)(seconds * 1e6);
        }
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    printf("%u\n", n_rebalances);
    return 0;
}

static void await(rd_kafka_queue_t *queue, const char *what)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    if (event == NULL)
        die(what, "no answer in 20 s");
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(what, rd_kafka_event_error_string(event));
    const rd_kafka_CreateTopics_result_t *created = rd_kafka_event_CreateTopics_result(event);
    size_t n = 0;
    const rd_kafka_topic_result_t **topics =
        created != NULL ? rd_kafka_CreateTopics_result_topics(created, &n) : NULL;
    for (size_t i = 0; i < n; i++)
        if (rd_kafka_topic_result_error(topics[i]) != RD_KAFKA_RESP_ERR_NO_ERROR)
            die(what, rd_kafka_topic_result_error_string(topics[i]));
    rd_kafka_event_destroy(event);
}

static int create(const char *bootstrap, const char *topic, int n_partitions, char **configs)
{
    char why[256];
    rd_kafka_t *rk = open_client(RD_KAFKA_PRODUCER, bootstrap, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *request =
        rd_kafka_NewTopic_new(topic, n_partitions, 1, why, sizeof(why));
    if (request == NULL)
        die(topic, why);
    for (; *configs != NULL; configs++) {
        char *equals = strchr(*configs, '=');
        if (equals == NULL)
            die(*configs, "not CONFIG=VALUE");
        *equals = '\0';
        rd_kafka_NewTopic_set_config(request, *configs, equals + 1);
    }
    rd_kafka_CreateTopics(rk, &request, 1, NULL, queue);
    await(queue, topic);
    rd_kafka_NewTopic_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return 0;
}

static int grow_topic(const char *bootstrap, const char *topic, size_t n_partitions)
{
    char why[256];
    rd_kafka_t *rk = open_client(RD_KAFKA_PRODUCER, bootstrap, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewPartitions_t *request =
        rd_kafka_NewPartitions_new(topic, n_partitions, why, sizeof(why));
    if (request == NULL)
        die(topic, why);
    rd_kafka_CreatePartitions(rk, &request, 1, NULL, queue);
    await(queue, topic);
    rd_kafka_NewPartitions_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return 0;
}

static int delete_topic(const char *bootstrap, const char *topic)
{
    rd_kafka_t *rk = open_client(RD_KAFKA_PRODUCER, bootstrap, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t *request = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(rk, &request, 1, NULL, queue);
    await(queue, topic);
    rd_kafka_DeleteTopic_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return 0;
}

static int big(const char *bootstrap, const char *topic, size_t bytes)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "message.max.bytes", "200000000");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    void *value = calloc(1, bytes);
    if (rk == NULL || value == NULL)
        die("open", why);
    rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                      RD_KAFKA_V_VALUE(value, bytes), RD_KAFKA_V_END);
    rd_kafka_flush(rk, 120000);
    size_t n_left = (size_t)rd_kafka_outq_len(rk) + n_undelivered;
    rd_kafka_destroy(rk);
    free(value);
    return n_left > 0;
}

static void await(rd_kafka_queue_t *queue, const char *what);

static int acl(const char *bootstrap, char **args)
{
    char why[256] = "", user[128];
    bool allow = strcmp(args[0], "allow") == 0, is_topic = strcmp(args[1], "topic") == 0;
    rd_kafka_ResourceType_t type = is_topic ? RD_KAFKA_RESOURCE_TOPIC : RD_KAFKA_RESOURCE_GROUP;
    rd_kafka_t *rk = open_client(RD_KAFKA_PRODUCER, bootstrap, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    (void)snprintf(user, sizeof(user), "User:%s", args[3]);
    rd_kafka_AclBinding_t *binding =
        (allow ? rd_kafka_AclBinding_new : rd_kafka_AclBindingFilter_new)(
            type, args[2], RD_KAFKA_RESOURCE_PATTERN_LITERAL, user, "*",
            RD_KAFKA_ACL_OPERATION_READ, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, why, sizeof(why));
    if (binding == NULL)
        die("acl", why);
    if (allow)
        rd_kafka_CreateAcls(rk, &binding, 1, NULL, queue);
    else
        rd_kafka_DeleteAcls(rk, &binding, 1, NULL, queue);
    await(queue, "acl");
    rd_kafka_AclBinding_destroy(binding);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return 0;
}

static void check(rd_kafka_error_t *error, const char *what)
{
    if (error != NULL)
        die(what, rd_kafka_error_string(error));
}

static int transact(const char *bootstrap, const char *topic, int n, const char *end,
                    int seconds)
{
    char why[256], value[128];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "transactional.id", end);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (rk == NULL)
        die("open", why);
    check(rd_kafka_init_transactions(rk, 60000), "init transactions");
    check(rd_kafka_begin_transaction(rk), "begin");
    for (int i = 0; i < n; i++) {
        int bytes =
            snprintf(value, sizeof(value), "{\"user_id\":\"%s%d\",\"item_id\":\"i1\"}", end, i);
        rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_VALUE(value, (size_t)bytes),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    }
    if (rd_kafka_flush(rk, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("flush", "not all acknowledged");
    puts("written");
    fflush(stdout);
    if (strcmp(end, "leave") == 0)
        sleep((unsigned)seconds);
    check(strcmp(end, "commit") == 0 ? rd_kafka_commit_transaction(rk, 60000)
                                     : rd_kafka_abort_transaction(rk, 60000),
          end);
    rd_kafka_destroy(rk);
    return 0;
}

static int truncate_log(const char *bootstrap, const char *topic, int partition, int64_t before)
{
    rd_kafka_t *rk = open_client(RD_KAFKA_PRODUCER, bootstrap, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = before;
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &request, 1, NULL, queue);
    await(queue, topic);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    if (strcmp(verb, "produce") == 0)
        return produce(argv[2], argc > 3 ? atof(argv[3]) : 0.0);
    if (strcmp(verb, "read") == 0 && argc > 3)
        return read_topic(argv[2], argv[3], argc > 4 ? atoi(argv[4]) : 0,
                          argc > 5 ? atoi(argv[5]) : 30);
    if (strcmp(verb, "ends") == 0 && argc > 3)
        return print_ends(argv[2], argv[3]);
    if (strcmp(verb, "committed") == 0 && argc > 4)
        return print_committed(argv[2], argv[3], argv[4]);
    if (strcmp(verb, "join") == 0 && argc > 5)
        return join_group(argv[2], argv[3], argv[4], atof(argv[5]));
    if (strcmp(verb, "create") == 0 && argc > 4)
        return create(argv[2], argv[3], atoi(argv[4]), argv + 5);
    if (strcmp(verb, "grow") == 0 && argc > 4)
        return grow_topic(argv[2], argv[3], (size_t)atoi(argv[4]));
    if (strcmp(verb, "delete") == 0 && argc > 3)
        return delete_topic(argv[2], argv[3]);
    if (strcmp(verb, "big") == 0 && argc > 4)
        return big(argv[2], argv[3], (size_t)atoll(argv[4]));
    if (strcmp(verb, "acl") == 0 && argc > 6)
        return acl(argv[2], argv + 3);
    if (strcmp(verb, "transact") == 0 && argc > 5)
        return transact(argv[2], argv[3], atoi(argv[4]), argv[5], argc > 6 ? atoi(argv[6]) : 0);
    if (strcmp(verb, "truncate") == 0 && argc > 5)
        return truncate_log(argv[2], argv[3], atoi(argv[4]), atoll(argv[5]));
    fprintf(stderr, "kafka_feed: see the head of kafka_feed.c for its verbs\n");
    return 64;
}
