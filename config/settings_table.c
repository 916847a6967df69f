/* Every setting, and every option of a training, each described once. config/metammfd.conf and the
 * section SETTINGS of metammfd.conf(5) are printed from this table: `ninja pages` after a change. */

#include "config/settings_table.h"
#include "config/log.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define KIB          INT64_C(1024)
#define MIB          (1024 * KIB)
#define GIB          (1024 * MIB)
#define PATH_BYTES   4095
#define SOCKET_BYTES ((int64_t)sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

static const char *const source_words[] = {"kafka", "spool", NULL};
static const char *const mode_words[] = {"group", "assign", NULL};
static const char *const tombstones_words[] = {"refuse", "forget", NULL};
static const char *const start_words[] = {"beginning", "end", NULL};
static const char *const anew_words[] = {"stop", "beginning", NULL};
const char *const settings_backbone_words[] = {[SETTINGS_BACKBONE_MF] = "mf",
                                               [SETTINGS_BACKBONE_SAGE] = "sage",
                                               [SETTINGS_BACKBONE_LIGHTGCN] = "lightgcn",
                                               NULL};
const char *const settings_fusion_words[] = {[SETTINGS_FUSION_CP] = "cp",
                                             [SETTINGS_FUSION_DENSE] = "dense",
                                             [SETTINGS_FUSION_STATIC] = "static",
                                             [SETTINGS_FUSION_NONE] = "none",
                                             NULL};
static const char *const neighbours_words[] = {"none", "ridge", NULL};
static const char *const item_graph_words[] = {
    [SETTINGS_ITEM_GRAPH_NONE] = "none", [SETTINGS_ITEM_GRAPH_KNN] = "knn", NULL};
static const char *const preset_words[] = {[SETTINGS_PRESET_NONE] = "none",
                                           [SETTINGS_PRESET_DEBEZIUM] = "debezium",
                                           [SETTINGS_PRESET_OUTBOX] = "outbox",
                                           NULL};
const char *const settings_video_words[] = {"item_id",     "media_uri",    "title",
                                            "description", "tags",         "lang",
                                            "sha256",      "published_at", NULL};
const char *const settings_interaction_words[] = {"item_id", "user_id", "kind",
                                                  "weight",  "ts",      NULL};
const char *const settings_meaning_words[] = {
    "video.published", "video.updated", "video.deleted", "interaction", "user.deleted", NULL};
static const char *const level_words[] = {"error", "warning", "notice", "info", "debug", NULL};

/* The kinds that sites send. What is shown and not asked for says nothing; what takes something
 * back cancels it; who reports a video has no wish for it, however often it was watched. */
#define DEFAULT_KINDS                                                                          \
    "watch=1,view=1,play=1,complete=1,click=0.5,like=1,love=1,favorite=1,save=1,bookmark=1,"   \
    "share=1,comment=1,download=1,follow=1,subscribe=1,purchase=1,impression=0,dislike=-1,"    \
    "skip=-0.5,not_interested=-1,hide=-1,block=-3,report=-3,unlike=-1,unfavorite=-1,"          \
    "unsave=-1,unfollow=-1,unsubscribe=-1,undislike=1"

const char *settings_topic_fault(const char *value)
{
    if (value[0] == '\0')
        return NULL; /* where it may be empty, the range says so */
    if (strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
        return "is not a topic name";
    for (const char *p = value; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
            return "has a character that no Kafka topic may have (letters, digits and "
                   ". _ - only; patterns are not supported)";
    }
    return NULL;
}

/* RFC 6901, but for the empty one, which is the whole value and no field. */
static const char *check_pointer(const char *value)
{
    if (value[0] != '/')
        return "is not a JSON Pointer such as \"/payload/after/id\" (RFC 6901)";
    for (const char *p = strchr(value, '~'); p != NULL; p = strchr(p + 1, '~')) {
        if (p[1] != '0' && p[1] != '1')
            return "has a '~' that is neither ~0 (a tilde) nor ~1 (a slash)";
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

static const char *check_even(const char *value)
{
    return strtoll(value, NULL, 10) % 2 == 0 ? NULL : "is not even";
}

/* "22:30" as minutes of the day, -1 = it is not. */
static int parse_minutes(const char *text)
{
    static const char shape[] = "dd:dd";

    for (size_t i = 0; i < sizeof(shape) - 1; i++) {
        bool is_digit = text[i] >= '0' && text[i] <= '9';

        if (shape[i] == 'd' ? !is_digit : text[i] != shape[i])
            return -1;
    }
    int hours = (text[0] - '0') * 10 + text[1] - '0';
    int minutes = (text[3] - '0') * 10 + text[4] - '0';
    return hours < 24 && minutes < 60 ? hours * 60 + minutes : -1;
}

bool settings_hours_parse(const char *text, int *ret_from, int *ret_to)
{
    if (strlen(text) != sizeof("22:30-06:00") - 1 || text[5] != '-')
        return false;
    *ret_from = parse_minutes(text);
    *ret_to = parse_minutes(text + 6);
    return *ret_from >= 0 && *ret_to >= 0;
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
/* A row by its kind: the field, which is also the key's name; range; unit; default, as settings_set
 * takes it; help. */
#define ROW(kind, key, field, low, high, value, ...)                                             \
    {.path = key, .type = kind, .offset = offsetof(struct settings, field), .min = low,          \
     .max = high, .fallback = value, __VA_ARGS__}
#define INT(field, low, high, units, value, text)                                                \
    ROW(SETTINGS_INT, #field, field, low, high, value, .unit = units, .help = text)
#define BOOL(field, value, text)                                                                 \
    ROW(SETTINGS_BOOL, #field, field, 0, 1, value, .unit = "", .help = text)
#define WORD(field, list, base, value, text)                                                     \
    ROW(SETTINGS_WORD, #field, field, 0, 0, value, .unit = "", .words = list, .word_base = base, \
        .help = text)
#define TEXT(kind, field, low, high, fault, value, text)                                         \
    ROW(kind, #field, field, low, high, value, .unit = "", .check = fault, .help = text)
/* An option of a training and its name on the command line; when it stands in settings_table, the
 * setting training.FIELD too. */
#define OPTION(kind, field, name, low, high, units, value, ...)                                  \
    ROW(kind, "training." #field, training.options.field, low, high, value, .unit = units,       \
        .option = name, __VA_ARGS__)

const struct settings_key settings_table[] = {
    WORD(source, source_words, 0, "kafka",
         "Events come from a Kafka cluster, or from event files that are renamed into a spool "
         "folder."),
    WORD(log_level, level_words, LOG_LEVEL_ERROR, "info",
         "Messages of this level and of the more severe ones are logged."),

    TEXT(SETTINGS_PATH, store.path, 1, PATH_BYTES, NULL, "/var/lib/metammfd/metammf.db",
         "The SQLite file with items, features, embeddings, offsets and dead letters."),
    TEXT(SETTINGS_PATH, store.model_dir, 0, PATH_BYTES, NULL, "",
         "The folder of the model files. Empty means the store's folder."),
    INT(store.keep_interactions_days, 0, 36500, "days", "0",
        "How many days interactions are kept. 0 keeps them for ever."),
    INT(store.keep_dead_letters_days, 0, 36500, "days", "90",
        "How many days dead letters are kept. 0 keeps them for ever."),
    INT(store.keep_model_versions, 1, 100, "models", "3",
        "How many retired models keep their vectors, so that going back to one needs no fusing."),
    INT(store.batch_rows, 1, 10000, "rows", "100",
        "A transaction is committed when it holds this many items."),
    INT(store.batch_ms, 0, 10000, "ms", "50",
        "A transaction is committed when its first item has waited this many milliseconds."),
    INT(store.batch_bytes, 64 * KIB, GIB, "bytes", "2097152",
        "A transaction is committed when it holds this many bytes."),
    INT(store.retry_ms, 100, 600000, "ms", "5000",
        "While the disk is full, a write is tried again after this many milliseconds."),

    TEXT(SETTINGS_PATHS, media.roots, 1, PATH_BYTES, NULL, "/srv/media",
         "The folders that file: URIs may point into. Media elsewhere are refused."),
    INT(media.max_bytes, KIB, 1024 * GIB, "bytes", "536870912",
        "The size of the largest media file that is decoded. Of a larger one the text alone becomes "
        "a row; without text it is a dead letter."),

    TEXT(SETTINGS_STRING, kafka.bootstrap_servers, 1, 4095, NULL, "127.0.0.1:9092",
         "The brokers to contact first, as host:port, separated by commas."),
    WORD(kafka.mode, mode_words, 0, "group",
         "group: the members of the consumer group share the partitions. assign: this daemon reads "
         "those of kafka.partitions."),
    TEXT(SETTINGS_STRING, kafka.group_id, 1, 255, NULL, "metammfd",
         "The consumer group. Daemons with different stores need different groups, so that each "
         "sees all events."),
    TEXT(SETTINGS_STRINGS, kafka.video_topics, 1, 249, settings_topic_fault, "videos",
         "The topics of video.published, video.updated and video.deleted events."),
    TEXT(SETTINGS_STRINGS, kafka.interaction_topics, 1, 249, settings_topic_fault, "interactions",
         "The topics of interaction and user.deleted events."),
    ROW(SETTINGS_INTS, "kafka.partitions", kafka.partitions, 0, INT32_MAX, "",
        .offset_n = offsetof(struct settings, kafka.n_partitions), .unit = "",
        .help = "The partitions of each topic that mode assign reads. An empty list means all."),
    WORD(kafka.start, start_words, 0, "beginning",
         "Where reading begins in a topic that is new to the store. end is applied once to a topic. "
         "A partition that is added later is read from its beginning. A partition for which the "
         "group has a position is read from there."),
    WORD(kafka.topic_made_anew, anew_words, 0, "stop",
         "What to do when a topic was deleted and made anew, or its log was cut before the place that "
         "the store has. stop ends the daemon with exit code 78. beginning reads the new log from its "
         "beginning; what is stored of the old one stays."),
    TEXT(SETTINGS_STRING, kafka.dlq_topic, 0, 249, settings_topic_fault, "",
         "The topic that dead letters are published to. Empty means <first video "
         "topic>.<group>.dlq."),
    TEXT(SETTINGS_PROPERTIES, kafka.properties, 0, 65536, NULL, "",
         "Any librdkafka property, with '_' for '.'. A value \"@credential:NAME\" is read from the "
         "file NAME in $CREDENTIALS_DIRECTORY."),

    WORD(events.preset, preset_words, 0, "none",
         "The envelope that events come in. debezium: before, after and op of a change, with or "
         "without schema. outbox: what Debezium's outbox event router sends. Values that are no such "
         "envelope are read as with none: a bare object, or CloudEvents 1.0."),
    ROW(SETTINGS_MAPPING, "events.video", events.video, 1, 1024, "", .unit = "",
        .words = settings_video_words, .check = check_pointer, .help =
        "Where a video's fields are, each a JSON Pointer or a list of them: the first that is "
        "present wins. They start at the whole value; at the row, the payload or the data where a "
        "preset or CloudEvents opened an envelope. A field that is left out is at /NAME. metammf "
        "event explain shows what comes of it."),
    ROW(SETTINGS_MAPPING, "events.interaction", events.interaction, 1, 1024, "", .unit = "",
        .words = settings_interaction_words, .check = check_pointer, .help =
        "The same for an interaction's fields."),
    TEXT(SETTINGS_POINTERS, events.type, 1, 1024, check_pointer, "",
         "Where the type is. Empty means /type of a bare event, type of CloudEvents, op of debezium, "
         "the header or field eventType of outbox, else type beside the payload or in it."),
    ROW(SETTINGS_NAMES, "events.types", events.types, 1, 256, "", .unit = "",
        .words = settings_meaning_words, .help =
        "What the site's own types mean. The five names themselves are always known, also with "
        "anything and a dot before them, as in com.site.video.published."),
    TEXT(SETTINGS_POINTERS, events.deleted, 1, 1024, check_pointer, "",
         "Where a mark of deletion is, if there is one. The video is deleted when it is true, a number "
         "other than 0, or a time, and not when it is null, false, 0 or empty. As a text it may also "
         "be true, t, yes, y or on, and false, f, no, n or off; anything else is a dead letter."),

    ROW(SETTINGS_NUMBERS, "interactions.kinds", interactions.kinds, -1000, 1000, DEFAULT_KINDS,
        .unit = "", .help =
        "What an interaction of each kind counts: its factor, times the weight of the event. The sum "
        "over the interactions of a user with an item is the strength of the pair. Above 0 the item "
        "is one of the user's: training, refresh and evaluation go by such pairs alone. Below 0 it "
        "is never recommended to that user. A kind with factor 0 is stored and counts for nothing. "
        "A factor below 0 counts against the item whatever the sign of the weight. Kinds that are "
        "not named here keep the factors below. Write a name that has a dot in the form kinds = "
        "( { kind = \"video.watch\"; weight = 1.0; } ). A change takes effect on reload, also for "
        "what is stored."),
    ROW(SETTINGS_REAL, "interactions.default", interactions.fallback, 0, 1000, "1.0", .unit = "",
        .help = "The factor of the kinds that interactions.kinds does not have. 0 leaves them out."),
    WORD(interactions.tombstones, tombstones_words, 0, "refuse",
         "What a null value on a topic of interactions does; its key is a user's id. refuse: it is a "
         "dead letter. forget: the user is forgotten, as by user.deleted and metammf forget."),

    TEXT(SETTINGS_PATH, spool.directory, 1, PATH_BYTES, NULL, "/var/spool/metammfd",
         "The folder into which event files (NDJSON) are renamed."),
    BOOL(spool.keep_files, "true",
         "Finished files move into the folder done below it. false deletes them."),
    INT(spool.keep_done_days, 0, 36500, "days", "0",
        "How many days finished files stay in the folder done. 0 keeps them for ever."),

    INT(extract.workers, 0, 256, "processes", "0",
        "How many clips are decoded at a time. 0 means one for each processor."),
    INT(extract.deadline_ms, 100, 3600000, "ms", "30000",
        "How many milliseconds of wall clock one item may take. Then its worker is killed."),
    INT(extract.cpu_seconds, 1, 3600, "s", "20",
        "How many seconds of CPU time one item may take. Half of them are for decoding: then the "
        "item ends with what there is. A worker that goes on is killed."),
    INT(extract.recycle_jobs, 1, 1000000, "items", "500",
        "A worker is replaced after this many items."),
    INT(extract.recycle_rss_bytes, 64 * MIB, 64 * GIB, "bytes", "536870912",
        "A worker is replaced when its resident memory exceeds this many bytes."),
    INT(extract.address_space_bytes, 256 * MIB, 1024 * GIB, "bytes", "1073741824",
        "The limit of a worker's address space (RLIMIT_AS), in bytes."),
    INT(extract.packets_max, 100, 10000000, "packets", "40000",
        "How many packets of a clip a worker keeps. A clip of more is read in windows over its whole "
        "length."),
    INT(extract.packet_bytes_max, MIB, 64 * GIB, "bytes", "67108864",
        "How many bytes of a clip's packets a worker keeps; of more, windows are read. Twice as much "
        "must fit into address_space_bytes, with 64 MiB to spare."),
    BOOL(extract.require_sandbox, "true",
         "The daemon does not start where seccomp is missing. false starts there too, and decodes "
         "with resource limits alone."),
    TEXT(SETTINGS_PATH, extract.worker_path, 0, PATH_BYTES, NULL, "",
         "The worker's executable. Empty means the one beside metammfd, or the installed one."),

    INT(queue.items, 2, 1000000, "items", "1000", "The work queue holds at most this many items."),
    INT(queue.bytes, MIB, 64 * GIB, "bytes", "67108864",
        "The work queue holds at most this many bytes."),
    INT(queue.high_percent, 2, 100, "%", "90", "Reading pauses when the queue is this full."),
    INT(queue.low_percent, 1, 99, "%", "30",
        "Reading goes on when the queue is no fuller than this."),

    BOOL(training.enabled, "true",
         "The daemon retrains by itself. false leaves training to metammf train."),
    INT(training.interval_s, 0, 31536000, "s", "3600",
        "A retraining is due this many seconds after the last one, once min_new_interactions are "
        "new. 0 switches this off."),
    INT(training.min_new_interactions, 1, 1000000000, "interactions", "1000",
        "The interval alone starts no retraining before this many interactions are new."),
    INT(training.new_interactions, 0, 1000000000, "interactions", "0",
        "A retraining is due at once when this many interactions are new. 0 switches this off."),
    TEXT(SETTINGS_STRING, training.quiet_hours, 0, 11, check_hours, "",
         "No retraining starts in this span of local time, such as 18:00-23:30. Empty means none."),
    INT(training.retry_s, 1, 86400, "s", "300",
        "The pause after a training that failed, and between two looks for enough data, in seconds. "
        "Each further failure doubles it, up to a day."),
    INT(training.min_users, 1, 1000000000, "users", "50",
        "Training begins when this many users have interacted with 5 or more items."),
    INT(training.holdout_percent, 1, 50, "%", "10",
        "The newest share of each user's interactions, at least one, is held out. The active and the "
        "new model are judged by it, and neither is trained on it."),
    INT(training.tolerance_percent, 0, 100, "%", "2",
        "A new model is refused when its NDCG@20 is worse than the active model's by more than this "
        "percentage and by two standard errors."),
    INT(training.rank_tolerance_percent, 0, 100, "%", "5",
        "A new model beyond tolerance_percent also counts as worse when held-out items rank lower: "
        "their geometric mean position is worse by more than this percentage and by two standard "
        "errors."),
    INT(training.cold_tolerance_percent, 0, 100, "%", "5",
        "A new model is also refused when the NDCG@20 of the items that the active model was not "
        "trained on, ranked among themselves, is worse by more than this percentage and by two "
        "standard errors."),
    INT(training.min_cold_pairs, 1, 1000000000, "interactions", "100",
        "With fewer held-out interactions of such items, their NDCG@20 is reported and not judged."),

    OPTION(SETTINGS_WORD, backbone, "backbone", 0, 0, "", "lightgcn",
           .words = settings_backbone_words, .describes_model = true, .help =
           "What joins users and items. lightgcn: the mean over hops of the interaction graph. sage: "
           "two trained convolutions of it (GraphSAGE). mf: no graph, a product of vectors."),
    OPTION(SETTINGS_WORD, fusion, "fusion", 0, 0, "", "cp", .words = settings_fusion_words,
           .left_out = "cp; none where no item has features", .describes_model = true, .help =
           "How features become the fused half of an item's vector. cp: weights generated for each "
           "item from the item, of low rank. dense: the same with full tensors, slower. static: one "
           "set of weights for all items. none: identity alone, and new items get no vector."),
    OPTION(SETTINGS_WORD, item_graph, "item-graph", 0, 0, "", "knn",
           .words = item_graph_words, .left_out = "knn; none with --fusion none",
           .describes_model = true, .help =
           "knn: an item borrows from the items that look, sound and read most alike. Without it new "
           "items are recommended less often and less well. Its time grows with the square of the "
           "catalogue. A retraining with fusion none goes without it."),
    OPTION(SETTINGS_INT, members, "members", 1, 16, "trainings", "1", .help =
           "How many trainings, alike but for the seed, are averaged into one model. The lists get "
           "better. CPU time and the length of a vector grow as many times, and each item that "
           "arrives takes somewhat more work."),
    OPTION(SETTINGS_INT, epochs, "epochs", 1, 1000000, "epochs", "60", .help =
           "A training passes over all pairs at most this many times. It stops earlier when NDCG@20 on "
           "the held-out pairs has risen by less than 1 % in 10 epochs."),
    OPTION(SETTINGS_INT, seed, "seed", 0, INT64_MAX, "", "1", .help =
           "Where the random numbers start: the same seed, data and threads give the same model. "
           "Each retraining adds a number that grows, so that no seed is taken twice."),
    OPTION(SETTINGS_BOOL, warm_start, "warm", 0, 1, "", "true", .help =
           "A training starts from the active model's weights where they fit, instead of from "
           "nothing."),
    INT(training.nice, 0, 19, "", "10",
        "The trainer's nice value: how far it stands back behind other processes, as of nice(1)."),
    OPTION(SETTINGS_INT, threads, "threads", 1, 256, "threads", "1",
           .left_out = "one for each processor", .help = "How many threads a training has."),
    INT(training.memory_bytes, 256 * MIB, 1024 * GIB, "bytes", "4294967296",
        "The limit of the trainer's address space (RLIMIT_AS), in bytes."),
    INT(training.cpu_seconds, 1, 31536000, "s", "86400",
        "How many seconds of CPU time one retraining may take, all its members together. Then the "
        "kernel ends it."),
    INT(training.deadline_s, 1, 31536000, "s", "43200",
        "How many seconds of wall clock one retraining may take. Then it is killed."),
    INT(training.heartbeat_s, 1, 86400, "s", "600",
        "A trainer that has reported no progress for this many seconds is killed."),
    TEXT(SETTINGS_PATH, training.trainer_path, 0, PATH_BYTES, NULL, "",
         "The trainer's executable. Empty means metammf beside metammfd, or the installed one."),

    INT(refresh.rate, 1, 100000, "vectors/s", "500",
        "How many vectors a second are made anew, at most, when interactions arrive."),
    INT(refresh.interval_ms, 1, 60000, "ms", "100",
        "The least time between two passes, in milliseconds. Each pass is one transaction."),
    INT(refresh.spread, 0, 10000, "neighbours", "16",
        "How many neighbours of a user or item that was touched are made anew after it, vectors and "
        "rows of current_neighbour, those with the fewest interactions first."),
    INT(refresh.max_edges, 1000, 1000000000, "edges", "5000000",
        "A user or item whose neighbourhood has more edges keeps its vector, or its row of "
        "current_neighbour, until the next training."),
    INT(refresh.cache_bytes, MIB, 64 * GIB, "bytes", "268435456",
        "How many bytes of memory the edges and inputs of recent passes may take."),

    TEXT(SETTINGS_STRING, http.address, 1, 45, check_address, "127.0.0.1",
         "The address on which /livez, /readyz and /metrics are served, without authentication."),
    INT(http.port, 0, 65535, "", "9464",
        "The port of the health and metrics pages. 0 switches them off."),

    TEXT(SETTINGS_PATH, control.socket, 0, SOCKET_BYTES, NULL, "/run/metammfd/control.sock",
         "The socket over which metammf writes while the daemon runs. Empty switches it off."),

    INT(shutdown.drain_ms, 0, 5000, "ms", "4000",
        "How many milliseconds work in flight may take to finish after SIGTERM. The rest is done "
        "after the next start."),
};
const size_t settings_table_n = sizeof(settings_table) / sizeof(settings_table[0]);

/* Options of `metammf train` that are no setting: retrainings take the default, or choose. */
static const struct settings_key train_only[] = {
    OPTION(SETTINGS_INT, dim, "dim", 2, 4096, "numbers", "32", .check = check_even,
           .describes_model = true, .help =
           "How many numbers of a vector are learned, an even number: half of them fused, half "
           "identity."),
    OPTION(SETTINGS_INT, factors, "factors", 0, 1024, "numbers", "64",
           .describes_model = true, .help =
           "How many numbers of a vector come from the interactions alone, in closed form (implicit "
           "alternating least squares). 0 goes without."),
    OPTION(SETTINGS_INT, content, "content", 0, 256, "numbers", "32",
           .describes_model = true, .help =
           "How many numbers of a vector come from an item's features alone. They count most for an "
           "item that nobody has seen, and less with every interaction. 0 goes without, as does --fusion "
           "none."),
    OPTION(SETTINGS_WORD, neighbours, "neighbours", 0, 0, "", "ridge",
           .words = neighbours_words, .describes_model = true, .help =
           "ridge: an item recommends up to 100 others to those who have interacted with it, by a ridge "
           "regression in closed form. They stand beside the vectors (view current_neighbour). none "
           "goes without."),
    OPTION(SETTINGS_INT, layers, "layers", 1, 8, "hops", "2", .describes_model = true,
           .help = "How many hops lightgcn takes."),
    OPTION(SETTINGS_INT, batch, "batch", 1, 10000000, "pairs", NULL,
           .left_out = "a sixteenth of all, at least 64 and at most 32768",
           .help = "How many pairs a step has."),
    OPTION(SETTINGS_INT, negatives, "negatives", 1, 64, "items", NULL,
           .left_out = "8; 1 for lightgcn without fusion",
           .help = "Negative items sampled per training pair. 1 is BPR."),
    OPTION(SETTINGS_REAL, lr, "lr", 0, 10, "", "0.01",
           .help = "The learning rate of Adam. That of the fusion network is 0.001."),
    OPTION(SETTINGS_REAL, decay, "decay", 0, 10, "", "3e-6", .help =
           "The L2 penalty on every weight; for lightgcn without fusion on the rows of a step."),
    OPTION(SETTINGS_REAL, id_dropout, "id-dropout", 0, 1, "", "0.3", .help =
           "The share of the items whose identity is hidden in a step, so that the fused half learns "
           "to stand alone."),
};
/* clang-format on */

const struct settings_key *settings_option(size_t i)
{
    for (size_t at = 0; at < settings_table_n; at++) {
        if (settings_table[at].option != NULL && i-- == 0)
            return &settings_table[at];
    }
    return i < sizeof(train_only) / sizeof(train_only[0]) ? &train_only[i] : NULL;
}

const struct settings_key *settings_table_find(const char *path)
{
    for (size_t i = 0; i < settings_table_n; i++) {
        if (strcmp(settings_table[i].path, path) == 0)
            return &settings_table[i];
    }
    return NULL;
}
