/* Every setting. A change here goes with metammfd.conf and the manual page metammfd.conf(5); a
 * test compares the three. */

#include "config/log.h"
#include "config/settings_table.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <sys/un.h>

#define KIB          INT64_C(1024)
#define MIB          (1024 * KIB)
#define GIB          (1024 * MIB)
#define DAY_S        86400
#define PATH_BYTES   4095
#define SOCKET_BYTES ((int64_t)sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

#define AT(field)            offsetof(struct settings, field), 0
#define WITHIN(low, high, u) (low), (high), (u)
#define PLAIN                NULL, 0, NULL

static const char *const source_words[] = {"kafka", "spool", NULL};
static const char *const mode_words[] = {"group", "assign", NULL};
static const char *const start_words[] = {"beginning", "end", NULL};
const char *const settings_backbone_words[] = {[SETTINGS_BACKBONE_MF] = "mf",
                                               [SETTINGS_BACKBONE_SAGE] = "sage",
                                               [SETTINGS_BACKBONE_LIGHTGCN] = "lightgcn",
                                               NULL};
const char *const settings_fusion_words[] = {[SETTINGS_FUSION_CP] = "cp",
                                             [SETTINGS_FUSION_DENSE] = "dense",
                                             [SETTINGS_FUSION_STATIC] = "static",
                                             [SETTINGS_FUSION_NONE] = "none",
                                             NULL};
const char *const settings_item_graph_words[] = {
    [SETTINGS_ITEM_GRAPH_NONE] = "none", [SETTINGS_ITEM_GRAPH_KNN] = "knn", NULL};
static const char *const level_words[] = {"error", "warning", "notice", "info", "debug", NULL};

static const char *check_topic(const char *value)
{
    if (value[0] == '\0')
        return NULL; /* where it may be empty, the range says so */
    if (strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
        return "is not a topic name";
    for (const char *p = value; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
            return "has a character that no Kafka topic may have (letters, digits and . _ - "
                   "only; "
                   "patterns are not supported)";
    }
    return NULL;
}

static const char *check_address(const char *value)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, value, bytes) == 1 || inet_pton(AF_INET6, value, bytes) == 1)
        return NULL;
    return "is not an IPv4 or IPv6 address in digits, such as 127.0.0.1 or ::1";
}

/* "22:30-06:00" */
static const char *check_hours(const char *value)
{
    int from, to;

    return value[0] == '\0' || settings_hours_parse(value, &from, &to)
               ? NULL
               : "is not a span such as \"22:30-06:00\"";
}

/* clang-format off */
const struct settings_key settings_table[] = {
    {"source", SETTINGS_WORD, AT(source), WITHIN(0, 0, ""), "kafka", source_words, 0, NULL,
     "Where events come from: a Kafka cluster, or event files renamed into a spool folder."},
    {"log_level", SETTINGS_WORD, AT(log_level), WITHIN(0, 0, ""), "info", level_words,
     LOG_LEVEL_ERROR, NULL,
     "The least severe message that is logged."},

    {"store.path", SETTINGS_PATH, AT(store.path), WITHIN(1, PATH_BYTES, ""),
     "/var/lib/metammfd/metammf.db", PLAIN,
     "The SQLite file with items, features, embeddings, offsets and dead letters."},
    {"store.model_dir", SETTINGS_PATH, AT(store.model_dir), WITHIN(0, PATH_BYTES, ""), "", PLAIN,
     "The folder of the model files; empty means beside the store."},
    {"store.keep_interactions_days", SETTINGS_INT, AT(store.keep_interactions_days),
     WITHIN(0, 36500, "days"), "0", PLAIN,
     "How long interactions are kept; 0 keeps them for ever."},
    {"store.keep_dead_letters_days", SETTINGS_INT, AT(store.keep_dead_letters_days),
     WITHIN(0, 36500, "days"), "90", PLAIN,
     "How long dead letters are kept; 0 keeps them for ever."},
    {"store.keep_model_versions", SETTINGS_INT, AT(store.keep_model_versions),
     WITHIN(1, 100, "models"), "3", PLAIN,
     "How many retired models keep their vectors, so that going back needs no fusing."},
    {"store.batch_rows", SETTINGS_INT, AT(store.batch_rows), WITHIN(1, 10000, "rows"), "100",
     PLAIN,
     "A transaction is committed when it holds so many items."},
    {"store.batch_ms", SETTINGS_INT, AT(store.batch_ms), WITHIN(0, 10000, "ms"), "50", PLAIN,
     "A transaction is committed when its first item has waited so long."},
    {"store.batch_bytes", SETTINGS_INT, AT(store.batch_bytes), WITHIN(64 * KIB, GIB, "bytes"),
     "2097152", PLAIN,
     "A transaction is committed when it holds so many bytes."},
    {"store.retry_ms", SETTINGS_INT, AT(store.retry_ms), WITHIN(100, 600000, "ms"), "5000", PLAIN,
     "The pause between two tries to write while the disk is full."},

    {"media.roots", SETTINGS_PATHS, AT(media.roots), WITHIN(1, PATH_BYTES, ""), "/srv/media",
     PLAIN,
     "The folders under which file: URIs may point; media elsewhere is refused."},
    {"media.max_bytes", SETTINGS_INT, AT(media.max_bytes), WITHIN(KIB, 1024 * GIB, "bytes"),
     "536870912", PLAIN,
     "A larger media file becomes a dead letter."},

    {"kafka.bootstrap_servers", SETTINGS_STRING, AT(kafka.bootstrap_servers),
     WITHIN(1, 4095, ""), "127.0.0.1:9092", PLAIN,
     "Brokers to contact first, as host:port, separated by commas."},
    {"kafka.mode", SETTINGS_WORD, AT(kafka.mode), WITHIN(0, 0, ""), "group", mode_words, 0, NULL,
     "Partitions are shared out within a consumer group, or fixed by kafka.partitions."},
    {"kafka.group_id", SETTINGS_STRING, AT(kafka.group_id), WITHIN(1, 255, ""), "metammfd", PLAIN,
     "The consumer group; daemons with different stores need different groups to see all events."},
    {"kafka.video_topics", SETTINGS_STRINGS, AT(kafka.video_topics), WITHIN(1, 249, ""), "videos",
     NULL, 0, check_topic,
     "Topics with video.published, video.updated and video.deleted events."},
    {"kafka.interaction_topics", SETTINGS_STRINGS, AT(kafka.interaction_topics),
     WITHIN(1, 249, ""), "interactions", NULL, 0, check_topic,
     "Topics with interaction events."},
    {"kafka.partitions", SETTINGS_INTS, offsetof(struct settings, kafka.partitions),
     offsetof(struct settings, kafka.n_partitions), WITHIN(0, INT32_MAX, ""), "", PLAIN,
     "In mode assign, which partitions of each topic to read; an empty list means all."},
    {"kafka.start", SETTINGS_WORD, AT(kafka.start), WITHIN(0, 0, ""), "beginning", start_words, 0,
     NULL,
     "Where to begin in a topic that is new to the store. \"end\" is asked once a topic: a partition "
     "that is added later begins at its beginning, and one that the group has a position for begins "
     "there."},
    {"kafka.dlq_topic", SETTINGS_STRING, AT(kafka.dlq_topic), WITHIN(0, 249, ""), "", NULL, 0,
     check_topic,
     "The topic that dead letters are published to; empty means <first video topic>.<group>.dlq."},
    {"kafka.properties", SETTINGS_PROPERTIES, AT(kafka.properties), WITHIN(0, 65536, ""), "",
     PLAIN,
     "Any librdkafka property, with '_' for '.'; a value \"@credential:NAME\" is read from the "
     "file NAME in $CREDENTIALS_DIRECTORY."},

    {"spool.directory", SETTINGS_PATH, AT(spool.directory), WITHIN(1, PATH_BYTES, ""),
     "/var/spool/metammfd", PLAIN,
     "Event files (NDJSON) are renamed into this folder."},
    {"spool.keep_files", SETTINGS_BOOL, AT(spool.keep_files), WITHIN(0, 1, ""), "true", PLAIN,
     "Files that are done move to the folder done below it; false deletes them."},

    {"extract.workers", SETTINGS_INT, AT(extract.workers), WITHIN(0, 256, "processes"), "0", PLAIN,
     "How many clips are decoded at a time; 0 means one a core."},
    {"extract.deadline_ms", SETTINGS_INT, AT(extract.deadline_ms), WITHIN(100, 3600000, "ms"),
     "30000", PLAIN,
     "Wall clock for one item; then its worker is killed."},
    {"extract.cpu_seconds", SETTINGS_INT, AT(extract.cpu_seconds), WITHIN(1, 3600, "s"), "20",
     PLAIN,
     "CPU time for one item; then the kernel kills its worker."},
    {"extract.recycle_jobs", SETTINGS_INT, AT(extract.recycle_jobs),
     WITHIN(1, 1000000, "items"), "500", PLAIN,
     "A worker is replaced after so many items."},
    {"extract.recycle_rss_bytes", SETTINGS_INT, AT(extract.recycle_rss_bytes),
     WITHIN(64 * MIB, 64 * GIB, "bytes"), "536870912", PLAIN,
     "A worker is replaced when its resident memory exceeds this."},
    {"extract.address_space_bytes", SETTINGS_INT, AT(extract.address_space_bytes),
     WITHIN(256 * MIB, 1024 * GIB, "bytes"), "1073741824", PLAIN,
     "The limit of a worker's address space (RLIMIT_AS)."},
    {"extract.require_sandbox", SETTINGS_BOOL, AT(extract.require_sandbox), WITHIN(0, 1, ""),
     "true", PLAIN,
     "Refuse to start where seccomp is missing; false decodes with resource limits alone."},
    {"extract.worker_path", SETTINGS_PATH, AT(extract.worker_path), WITHIN(0, PATH_BYTES, ""), "",
     PLAIN,
     "The worker's executable; empty means the installed one, or the one beside metammfd."},

    {"queue.items", SETTINGS_INT, AT(queue.items), WITHIN(2, 1000000, "items"), "1000", PLAIN,
     "The size of the work queue."},
    {"queue.bytes", SETTINGS_INT, AT(queue.bytes), WITHIN(MIB, 64 * GIB, "bytes"), "67108864",
     PLAIN,
     "The size of the work queue in memory."},
    {"queue.high_percent", SETTINGS_INT, AT(queue.high_percent), WITHIN(2, 100, "%"), "90", PLAIN,
     "Reading pauses when the queue is so full."},
    {"queue.low_percent", SETTINGS_INT, AT(queue.low_percent), WITHIN(1, 99, "%"), "30", PLAIN,
     "Reading goes on when the queue has emptied so far."},

    {"training.enabled", SETTINGS_BOOL, AT(training.enabled), WITHIN(0, 1, ""), "true", PLAIN,
     "Retrain by itself; false leaves it to metammf train."},
    {"training.interval_s", SETTINGS_INT, AT(training.interval_s), WITHIN(0, 31536000, "s"),
     "3600", PLAIN,
     "A retraining is due so long after the last one, when min_new_interactions are new; 0 "
     "switches this off."},
    {"training.min_new_interactions", SETTINGS_INT, AT(training.min_new_interactions),
     WITHIN(1, 1000000000, "interactions"), "1000", PLAIN,
     "The interval alone does not start a retraining before so many interactions are new."},
    {"training.new_interactions", SETTINGS_INT, AT(training.new_interactions),
     WITHIN(0, 1000000000, "interactions"), "0", PLAIN,
     "A retraining is due at once when so many interactions are new; 0 switches this off."},
    {"training.quiet_hours", SETTINGS_STRING, AT(training.quiet_hours), WITHIN(0, 11, ""), "",
     NULL, 0, check_hours,
     "No retraining starts in this span of local time, such as 18:00-23:30; empty means none."},
    {"training.retry_s", SETTINGS_INT, AT(training.retry_s), WITHIN(1, 86400, "s"), "300", PLAIN,
     "The pause after a trainer that failed, doubled with each failure up to a day, and between "
     "two looks for enough data."},
    {"training.min_users", SETTINGS_INT, AT(training.min_users),
     WITHIN(1, 1000000000, "users"), "50", PLAIN,
     "Training begins when so many users have interacted with 5 or more items."},
    {"training.holdout_percent", SETTINGS_INT, AT(training.holdout_percent), WITHIN(1, 50, "%"),
     "10", PLAIN,
     "The newest share of a user's interactions, at least one, that old and new model are judged "
     "by and that neither is trained on."},
    {"training.tolerance_percent", SETTINGS_INT, AT(training.tolerance_percent),
     WITHIN(0, 100, "%"), "2", PLAIN,
     "A new model is refused when its NDCG@20 is worse than the active one's by more than this "
     "share, and that beyond chance: by two standard errors, or in the positions of what is held out "
     "as well."},
    {"training.rank_tolerance_percent", SETTINGS_INT, AT(training.rank_tolerance_percent),
     WITHIN(0, 100, "%"), "5", PLAIN,
     "Positions say so when their geometric mean is lower by more than this share and two standard "
     "errors."},
    {"training.cold_tolerance_percent", SETTINGS_INT, AT(training.cold_tolerance_percent),
     WITHIN(0, 100, "%"), "5", PLAIN,
     "As tolerance_percent, by two standard errors alone, for items that the active model was not "
     "trained on, ranked among themselves."},
    {"training.min_cold_pairs", SETTINGS_INT, AT(training.min_cold_pairs),
     WITHIN(1, 1000000000, "interactions"), "100", PLAIN,
     "With fewer held-out interactions of cold items their figure is reported, not judged."},
    {"training.backbone", SETTINGS_WORD, AT(training.backbone), WITHIN(0, 0, ""), "lightgcn",
     settings_backbone_words, 0, NULL,
     "What makes vectors of the fused items and the interactions: dot products alone, GraphSAGE "
     "or LightGCN."},
    {"training.fusion", SETTINGS_WORD, AT(training.fusion), WITHIN(0, 0, ""), "cp", settings_fusion_words,
     0, NULL,
     "How modalities are fused: item-specific weights (low rank or dense), the same weights for "
     "all items, or no features at all."},
    {"training.item_graph", SETTINGS_WORD, AT(training.item_graph), WITHIN(0, 0, ""), "knn",
     settings_item_graph_words, 0, NULL,
     "Mix an item's vector with those of its nearest neighbours by features, without which new "
     "items are recommended less often and less well; costs time that grows with the square of "
     "the catalogue. Nothing under fusion none."},
    {"training.fused_length_percent", SETTINGS_INT, AT(training.fused_length_percent),
     WITHIN(1, 10000, "%"), "100", PLAIN,
     "How much features count beside identity: the length of the fused half, of 1. At 200 items "
     "without interactions are told apart better, for 1 % of the lists' quality on real data. "
     "Nothing under fusion none."},
    {"training.cold_length_percent", SETTINGS_INT, AT(training.cold_length_percent),
     WITHIN(0, 1000, "%"), "125", PLAIN,
     "The least length of the vector of an item without interactions, of the mean length of the "
     "others; with n interactions divided by sqrt(1 + n). More shows new items to more users "
     "and takes the places from known ones; 0 leaves them as short as they come. Nothing under "
     "fusion none and backbone mf."},
    {"training.members", SETTINGS_INT, AT(training.members), WITHIN(1, 16, "trainings"), "1",
     PLAIN,
     "Trainings, alike but for the seed, whose mean is the model: better lists for as many times "
     "the CPU time and the length of a vector, and somewhat more for each item that arrives."},
    {"training.epochs", SETTINGS_INT, AT(training.epochs), WITHIN(1, 100000, "epochs"), "200",
     PLAIN,
     "At most so many; it stops early when NDCG@20 gets no better."},
    {"training.seed", SETTINGS_INT, AT(training.seed), WITHIN(0, INT32_MAX, ""), "1", PLAIN,
     "Where the random numbers of a training start; a retraining adds a number that grows, so "
     "that no seed is taken twice."},
    {"training.warm_start", SETTINGS_BOOL, AT(training.warm_start), WITHIN(0, 1, ""), "true",
     PLAIN,
     "Begin with the active model's weights where they fit."},
    {"training.nice", SETTINGS_INT, AT(training.nice), WITHIN(0, 19, ""), "10", PLAIN,
     "How far the trainer stands back behind other processes, as of nice(1)."},
    {"training.threads", SETTINGS_INT, AT(training.threads), WITHIN(1, 256, "threads"), "1",
     PLAIN,
     "Threads of the trainer's matrix products."},
    {"training.memory_bytes", SETTINGS_INT, AT(training.memory_bytes),
     WITHIN(256 * MIB, 1024 * GIB, "bytes"), "4294967296", PLAIN,
     "The limit of the trainer's address space (RLIMIT_AS)."},
    {"training.cpu_seconds", SETTINGS_INT, AT(training.cpu_seconds), WITHIN(1, 31536000, "s"),
     "86400", PLAIN,
     "CPU time of one retraining, all its members; then the kernel ends it."},
    {"training.deadline_s", SETTINGS_INT, AT(training.deadline_s), WITHIN(1, 31536000, "s"),
     "43200", PLAIN,
     "Wall clock of one retraining; then it is killed."},
    {"training.heartbeat_s", SETTINGS_INT, AT(training.heartbeat_s), WITHIN(1, 86400, "s"),
     "600", PLAIN,
     "A trainer that has reported no progress for so long is killed."},
    {"training.trainer_path", SETTINGS_PATH, AT(training.trainer_path), WITHIN(0, PATH_BYTES, ""),
     "", PLAIN,
     "The trainer's executable; empty means metammf beside metammfd, or the installed one."},

    {"refresh.rate", SETTINGS_INT, AT(refresh.rate), WITHIN(1, 100000, "vectors/s"),
     "500", PLAIN,
     "How many vectors are made anew in a second, at most, when interactions arrive."},
    {"refresh.interval_ms", SETTINGS_INT, AT(refresh.interval_ms), WITHIN(1, 60000, "ms"),
     "100", PLAIN,
     "The least time between two passes; each pass is one transaction."},
    {"refresh.spread", SETTINGS_INT, AT(refresh.spread), WITHIN(0, 10000, "neighbours"),
     "16", PLAIN,
     "So many neighbours of a user or item that was touched are made anew after it, those "
     "with the fewest interactions first."},
    {"refresh.max_edges", SETTINGS_INT, AT(refresh.max_edges), WITHIN(1000, 1000000000, "edges"),
     "5000000", PLAIN,
     "A user or item whose neighbourhood has more keeps its vector until the next training."},
    {"refresh.cache_bytes", SETTINGS_INT, AT(refresh.cache_bytes), WITHIN(MIB, 64 * GIB, "bytes"),
     "268435456", PLAIN,
     "How much memory the edges and inputs of recent passes may take."},

    {"http.address", SETTINGS_STRING, AT(http.address), WITHIN(1, 45, ""), "127.0.0.1", NULL, 0,
     check_address,
     "The address on which /livez, /readyz and /metrics are served, without authentication."},
    {"http.port", SETTINGS_INT, AT(http.port), WITHIN(0, 65535, ""), "9464", PLAIN,
     "The port of the health and metrics pages; 0 switches them off."},

    {"control.socket", SETTINGS_PATH, AT(control.socket), WITHIN(0, SOCKET_BYTES, ""),
     "/run/metammfd/control.sock", PLAIN,
     "The socket over which metammf writes while the daemon runs; empty switches it off."},

    {"shutdown.drain_ms", SETTINGS_INT, AT(shutdown.drain_ms), WITHIN(0, 5000, "ms"), "4000",
     PLAIN,
     "After SIGTERM, how long work in flight may take to finish; the rest is done after the "
     "next start."},
};
/* clang-format on */
const size_t settings_table_n = sizeof(settings_table) / sizeof(settings_table[0]);

const struct settings_key *settings_table_find(const char *path)
{
    for (size_t i = 0; i < settings_table_n; i++) {
        if (strcmp(settings_table[i].path, path) == 0)
            return &settings_table[i];
    }
    return NULL;
}
