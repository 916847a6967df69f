#ifndef MMF_CONFIG_SETTINGS_H
#define MMF_CONFIG_SETTINGS_H

/* The settings of the daemon and the command line, read by libconfig from one file. One table
 * in settings_table.c names every key with its unit, range, default and help; the parser, the
 * printer, config/metammfd.conf, the manual and the options of `metammf train` come from that
 * table. An unknown key is an error that gives file, line and the nearest known key. Strings
 * belong to the struct. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct settings_strings {
    char **items;
    size_t n;
};

/* Names and a number each, in the order in which they came; no name twice. */
struct settings_number {
    char *name;
    double value;
};
struct settings_numbers {
    struct settings_number *items;
    size_t n;
};

enum settings_source { SETTINGS_SOURCE_KAFKA, SETTINGS_SOURCE_SPOOL };
enum settings_kafka_mode { SETTINGS_KAFKA_GROUP, SETTINGS_KAFKA_ASSIGN };
enum settings_backbone {
    SETTINGS_BACKBONE_MF,
    SETTINGS_BACKBONE_SAGE,
    SETTINGS_BACKBONE_LIGHTGCN
};
enum settings_fusion {
    SETTINGS_FUSION_CP,
    SETTINGS_FUSION_DENSE,
    SETTINGS_FUSION_STATIC,
    SETTINGS_FUSION_NONE
};
enum settings_item_graph { SETTINGS_ITEM_GRAPH_NONE, SETTINGS_ITEM_GRAPH_KNN };
enum settings_neighbours { SETTINGS_NEIGHBOURS_NONE, SETTINGS_NEIGHBOURS_RIDGE };
/* What the file and the command line call them, by the enum; NULL at the end. */
extern const char *const settings_backbone_words[], *const settings_fusion_words[];

/* What one training is told: the daemon's by settings training.NAME, that of `metammf train` by
 * options. Those in the second half are options only. */
enum { SETTINGS_CHOOSE = -1 }; /* instead of a value: the training chooses, by its data */
struct settings_training_options {
    int fusion, backbone, item_graph; /* the enums above */
    int64_t members;                  /* fusion/train/ensemble.h */
    int64_t epochs, seed, threads;
    bool warm_start; /* from the active model */

    int64_t dim;              /* learned numbers of a vector, even: half fused, half identity */
    int64_t factors, content; /* numbers beside them (fusion/model/signals.h), 0 = none */
    int neighbours;           /* enum settings_neighbours (fusion/model/neighbours.h) */
    int64_t layers;           /* of LightGCN's propagation */
    int64_t batch, negatives; /* of a step, of each pair */
    double lr, decay, id_dropout;
};

enum settings_tombstones { SETTINGS_TOMBSTONES_REFUSE, SETTINGS_TOMBSTONES_FORGET };
enum settings_start { SETTINGS_START_BEGINNING, SETTINGS_START_END };
enum settings_anew { SETTINGS_ANEW_STOP, SETTINGS_ANEW_BEGINNING };
enum settings_preset { SETTINGS_PRESET_NONE, SETTINGS_PRESET_DEBEZIUM, SETTINGS_PRESET_OUTBOX };
/* The fields of an event and what its type may be, as the file and events call them; NULL at the end. The
 * ids come first. */
extern const char *const settings_video_words[];
extern const char *const settings_interaction_words[];
extern const char *const settings_meaning_words[];

struct settings {
    char *path; /* the file read, NULL for defaults */

    int source;    /* enum settings_source */
    int log_level; /* enum log_level */

    struct {
        char *path;                     /* the SQLite file */
        char *model_dir;                /* where model files live; "" = beside the store */
        int64_t keep_interactions_days; /* 0 = for ever */
        int64_t keep_dead_letters_days; /* 0 = for ever */
        int64_t keep_model_versions;    /* retired models whose vectors are kept, >= 1 */
        int64_t batch_rows, batch_ms, batch_bytes; /* one transaction: whichever comes first */
        int64_t retry_ms;                          /* between tries while the disk is full */
    } store;

    struct {
        struct settings_strings roots; /* folders under which file: URIs may point */
        int64_t max_bytes;             /* of one media file */
    } media;

    struct {
        char *bootstrap_servers;
        int mode; /* enum settings_kafka_mode */
        char *group_id;
        struct settings_strings video_topics, interaction_topics;
        int64_t *partitions; /* mode assign: which; none = all */
        size_t n_partitions;
        int start;           /* enum settings_start, where there is no stored offset */
        int topic_made_anew; /* enum settings_anew */
        char *dlq_topic;     /* "" = <first video topic>.<group>.dlq */
        /* librdkafka properties, "name=value"; in the file `properties = { security_protocol =
         * "SASL_SSL"; }`: '_' stands for '.'. A value "@credential:NAME" is read from
         * $CREDENTIALS_DIRECTORY/NAME when used, and never printed. */
        struct settings_strings properties;
    } kafka;

    /* How a site writes its events (daemon/event/rules.h). Pointers are JSON Pointers (RFC 6901). */
    struct {
        int preset; /* enum settings_preset */
        struct settings_strings video,
            interaction;                       /* "field=pointer", the first present wins */
        struct settings_strings type, deleted; /* pointers */
        struct settings_strings types;         /* "own name=meaning" */
    } events;

    struct {
        struct settings_numbers kinds; /* the factor of each kind that has one of its own */
        double fallback;               /* "default": of every other kind */
        int tombstones; /* enum settings_tombstones: a null value, keyed by a user */
    } interactions;

    struct {
        char *directory; /* event files (NDJSON) are renamed into it */
        bool keep_files; /* true: move done files to <directory>/done; false: delete them */
        int64_t keep_done_days; /* of what is in done; 0 = for ever */
    } spool;

    struct {
        int64_t workers;      /* 0 = one a core */
        int64_t deadline_ms;  /* wall clock for one item, then SIGKILL */
        int64_t cpu_seconds;  /* CPU for one item (RLIMIT_CPU) */
        int64_t recycle_jobs; /* a worker is replaced after so many items */
        int64_t recycle_rss_bytes;
        int64_t address_space_bytes;           /* RLIMIT_AS of a worker */
        int64_t packets_max, packet_bytes_max; /* of one clip, kept by a worker */
        bool require_sandbox;                  /* false: start even where seccomp is missing */
        char *worker_path; /* "" = libexec/metammf-extract, or beside the executable */
    } extract;

    struct {
        int64_t items, bytes;              /* bounds of the work queue */
        int64_t high_percent, low_percent; /* pause above, resume below */
    } queue;

    struct {
        bool enabled;
        int64_t interval_s;           /* 0 = not by time */
        int64_t min_new_interactions; /* that the interval waits for */
        int64_t new_interactions;     /* due at once; 0 = not by number */
        char *quiet_hours;            /* "22:30-06:00", "" = none: settings_hours_parse */
        int64_t retry_s;
        int64_t min_users; /* with 5 or more items */
        int64_t holdout_percent, tolerance_percent, rank_tolerance_percent;
        int64_t cold_tolerance_percent, min_cold_pairs;
        struct settings_training_options options;
        int64_t nice, memory_bytes, cpu_seconds, deadline_s, heartbeat_s;
        char *trainer_path; /* "" = metammf beside the executable, or installed */
    } training;

    struct {
        int64_t rate;        /* vectors made anew a second, at most */
        int64_t interval_ms; /* between two passes, at least */
        int64_t spread;      /* neighbours of what was touched that are made anew as well */
        int64_t max_edges;   /* of one neighbourhood */
        int64_t cache_bytes; /* edges and inputs kept between passes */
    } refresh;

    struct {
        char *address; /* loopback unless said otherwise */
        int64_t port;  /* 0 = no HTTP */
    } http;

    struct {
        char *socket; /* AF_UNIX path, "" = none */
    } control;

    struct {
        int64_t drain_ms; /* SIGTERM: how long work in flight may take to finish */
    } shutdown;
};

/* The defaults. ERR_OK, or ERR_RETRY with *s zeroed when memory is out. */
int settings_init(struct settings *s);
/* *s is initialised or zeroed. On any error it is untouched. ERR_FATAL with EX_CONFIG (78),
 * text "file:line: …"; paths in a file are absolute. */
int settings_load(const char *path, struct settings *s, struct err *err);
/* The same from memory; `file` is what errors call it. */
int settings_load_text(const char *file, const char *text, size_t bytes, struct settings *s,
                       struct err *err);
/* The same for somebody who only reads the store: what is at fault in the file keeps its default, and the first
 * fault is the error, with *s filled all the same. A file that cannot be read leaves *s untouched. */
int settings_load_readable(const char *path, struct settings *s, struct err *err);
/* One setting from text, for command lines and tests: settings_set(&s, "queue.items", "10",
 * err). A list is replaced, its elements separated by commas; "kafka.properties", "events.video",
 * "events.interaction", "events.types" and "interactions.kinds" take one name=value and add it. */
int settings_set(struct settings *s, const char *path, const char *value, struct err *err);
/* What must hold between settings; settings_load has called it. */
int settings_check(const struct settings *s, struct err *err);
/* As a file that loads again; values of secrets (passwords, keys) as "***", a reference
 * "@credential:NAME" as it stands. ERR_RETRY on a write error. */
int settings_print(const struct settings *s, FILE *out);
/* The same of the settings that differ from the defaults. Also ERR_RETRY without memory. */
int settings_print_changed(const struct settings *s, FILE *out);

/* ---- key by key: what runs, what a file says (settings_compare.c) ---- */

enum settings_effect {
    SETTINGS_AT_RELOAD,
    SETTINGS_AT_RESTART,
    SETTINGS_GROWS_AT_RESTART /* up to what it was at the start, at a reload */
};
size_t settings_n_keys(void);
const char *settings_key_path(size_t i); /* "store.path" */
enum settings_effect settings_key_effect(size_t i);
/* As a file has it, in one line, secrets as settings_print has them; malloc'ed, NULL without memory. */
char *settings_key_text(const struct settings *s, size_t i);
bool settings_key_equal(const struct settings *a, const struct settings *b, size_t i);
/* Whether the value in `now` waits for a restart of a process that was started with `started`. */
bool settings_key_waits(const struct settings *started, const struct settings *now, size_t i);
/* Puts `started`'s values in the place of those of *s that wait, so that *s is what runs after a reload.
 * ret_keys: "kafka.mode, http.port", what waits, "" for nothing. On an error *s is only good to be freed. */
int settings_hold(struct settings *s, const struct settings *started, char *ret_keys,
                  size_t bytes, struct err *err);

#define SETTINGS_TOPIC_MAX       249 /* bytes of a topic's name, by Kafka */
#define SETTINGS_DLQ_TOPIC_BYTES 520 /* the longest made of topic and group, which is refused */
/* The topic of the dead letters: the setting, or <first video topic>.<group>.dlq. */
void settings_dlq_topic(const struct settings *s, char *ret_topic, size_t bytes);
/* "22:30-06:00" as minutes of the day; false when it is not such a span. */
bool settings_hours_parse(const char *text, int *ret_from, int *ret_to);
/* True when the name of a librdkafka property (up to a '=') is a secret's: "sasl.password",
 * "ssl.key.pem", … */
bool settings_property_is_secret(const char *name);
/* True for "@credential:NAME". */
bool settings_is_credential(const char *value);
/* The value to use: a copy of `value`, or what $CREDENTIALS_DIRECTORY/NAME holds, less the line
 * ends at its end. Read at the moment of use and never kept in the settings, so that neither
 * --print-config nor a copy of the file shows it. Free with settings_credential_free, which wipes it.
 * Errors name the file, never its contents. */
int settings_credential_read(const char *value, char **ret_value, struct err *err);
/* Whether a credential can be read here: the unit alone has $CREDENTIALS_DIRECTORY. Without it what
 * can be said of a credential is whether its name is one. */
bool settings_has_credentials(void);
int settings_credential_check(const char *value, struct err *err);
/* How many librdkafka properties are credentials. */
size_t settings_n_credentials(const struct settings *s);
void settings_credential_free(char *value); /* takes NULL */
/* The nearest of n names to `name` by edit distance, NULL when none is near. */
const char *settings_nearest(const char *name, const char *const *names, size_t n);
void settings_done(struct settings *s);

#endif
