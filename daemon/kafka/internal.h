#ifndef MMF_DAEMON_KAFKA_INTERNAL_H
#define MMF_DAEMON_KAFKA_INTERNAL_H

/* Inside of the Kafka source. Each file calls only those above it in this list, besides parts.c and
 * client.c:
 *
 *   state.c    failure, wait, status, what each partition is doing; what Kafka is told
 *   topics.c   is each topic there, and how many partitions has it
 *   message.c  a message as an item
 *   start.c    where a partition begins
 *   assign.c   rebalance, back-pressure
 *   anew.c     a topic of the same name, but another one
 *   resync.c   gaps, seeks
 *   ends.c     where the logs end, when no fetch says so
 *   connect.c  first contact
 *   source.c   thread, messages
 *
 * Others use daemon/kafka/source.h. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/kafka/client.h"
#include "daemon/kafka/parts.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/pipeline/source.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct item;
struct publish;
struct rd_kafka_conf_s;                 /* rd_kafka_conf_t */
struct rd_kafka_message_s;              /* rd_kafka_message_t */
struct rd_kafka_topic_partition_list_s; /* rd_kafka_topic_partition_list_t */

/* Our own copy of the settings that the thread needs: a reload may free the originals. */
struct kafka_plan {
    int mode;      /* enum settings_kafka_mode */
    int start;     /* enum settings_start */
    int made_anew; /* enum settings_anew */
    char **topics; /* those of videos first */
    size_t n_topics, n_video_topics;
    int64_t *partitions; /* none = all */
    size_t n_partitions;
    char *store_path;
};

/* A topic of the plan, as the broker last spoke of it. */
struct kafka_topic {
    const char *name; /* of the plan */
    int n_partitions; /* 0 = not known, or none */
    bool is_denied, is_unknown;
    bool was_gone; /* it has been unknown since its partitions were assigned */
};

enum kafka_phase {
    KAFKA_CONNECTING, /* no cluster id yet, or (mode assign) no partitions */
    KAFKA_RUNNING,
};

enum kafka_pending { KAFKA_PENDING_NONE, KAFKA_PENDING_ASSIGN, KAFKA_PENDING_REVOKE };

struct kafka_source {
    struct source base; /* first */
    struct kafka_client client;
    struct rd_kafka_conf_s *conf; /* to make another client from (ends.c) */
    struct kafka_plan plan;
    struct pipeline *p;
    struct publish *letters; /* borrowed; NULL = none */
    pthread_t thread;
    bool is_started;
    atomic_bool stopping;

    /* the thread's own */
    enum kafka_phase phase;
    bool is_checked;      /* the cluster is the store's */
    bool is_closing;      /* revocations are answered at once */
    struct store *reader; /* read-only, opened and closed by the thread */
    enum kafka_pending pending;
    struct rd_kafka_topic_partition_list_s *pending_list;
    int64_t pending_until_us; /* REVOKE: work in flight has until then */
    int64_t pending_at_us;    /* ASSIGN: not before (a retry) */
    int64_t connect_at_us, chores_at_us, ends_at_us, quiet_until_us;
    int64_t full_since_us; /* the pipeline, 0 = it is not */
    char wait[160];        /* what the thread waits for, "" = nothing */
    char last_wait[192];   /* as last told to health */
    char last_warning[192];
    struct kafka_topic *topics; /* (plan.n_topics) */
    size_t look_at;             /* the topic to look at next */
    int64_t look_at_us;
    size_t n_look_now;        /* so many at once: what we have of them has changed */
    struct kafka_topic *anew; /* the topic that was made anew, to be dealt with; NULL = none */
    int64_t anew_at_us, patrol_at_us; /* not before */
    char anew_why[160];
    bool is_joining;      /* mode group: no assignment since we subscribed or lost one */
    bool is_group_denied; /* then: why */
    char group_why[160];
    bool reads_committed; /* isolation.level */

    pthread_mutex_t lock; /* parts' rows, status, shown: the thread writes, others read */
    struct kafka_parts parts;
    struct source_status status;
    struct source_part shown[SOURCE_PARTS_SHOWN];
    size_t n_shown, n_doing; /* shown, of so many */
};

/* Why the source cannot go on; main sees it in the status. The first reason stays. */
void kafka_state_fail(struct kafka_source *ks, const struct err *err);
bool kafka_state_has_failed(struct kafka_source *ks);
/* Remembers what the thread waits for; NULL or "" = nothing. */
void kafka_state_wait(struct kafka_source *ks, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Brings the status up to date, and health and the log when what we wait for has changed. */
void kafka_state_update(struct kafka_source *ks);
/* An error of librdkafka's that names no topic is the group's. Shown while we have no assignment. */
void kafka_state_group(struct kafka_source *ks, int code, const char *text);
/* An assignment, which ends that. */
void kafka_state_joined(struct kafka_source *ks);
/* Tells Kafka, without waiting, what the store has committed since the last time: for lag tools, and
 * for a member whose store knows nothing of a partition (start.c). */
void kafka_state_tell(struct kafka_source *ks);

/* NULL = not of the plan. */
struct kafka_topic *kafka_topics_find(const struct kafka_source *ks, const char *name);
/* The broker's word about a topic, or about one partition of it (-1 = all). */
void kafka_topics_note(struct kafka_source *ks, const char *name, int32_t partition, int code);
/* Asks for one topic: ERR_OK when the broker has answered, whatever the answer. At most a second. */
int kafka_topics_ask(struct kafka_source *ks, struct kafka_topic *topic, struct err *err);
/* The next topic, when its turn has come: each within 10 s. NULL = not now, or no answer. */
struct kafka_topic *kafka_topics_look(struct kafka_source *ks);
/* The turn of all has come: they are asked at the next looks. */
void kafka_topics_look_now(struct kafka_source *ks);

/* Fills the item's raw part; ERR_RETRY when memory is out. */
int kafka_message_copy(struct item *item, const struct rd_kafka_message_s *msg,
                       const struct kafka_plan *plan, struct err *err);

/* Of what makes a record this one: its time, key and value. Never 0. */
int64_t kafka_message_digest(const struct rd_kafka_message_s *msg);

/* One round of first contact: the cluster's id against the store's, then subscribe or find the
 * partitions. Blocks at most about 2 s; leaves phase KAFKA_RUNNING when done. */
void kafka_connect_step(struct kafka_source *ks);
/* Has a topic appeared or grown? In mode assign the assignment then starts over; in mode group
 * librdkafka sees to it. */
void kafka_connect_refresh(struct kafka_source *ks);

/* Fills the offsets of the list: where each partition begins. ERR_RETRY while Kafka or the store
 * does not answer; the list is then not to be used. */
int kafka_start_offsets(struct kafka_source *ks, struct rd_kafka_topic_partition_list_s *list,
                        struct err *err);

/* Takes over from the rebalance callback, or from connect: owns list. */
void kafka_assign_begin(struct kafka_source *ks, enum kafka_pending kind,
                        struct rd_kafka_topic_partition_list_s *list);
/* Goes on with the pending assignment or revocation; never blocks longer than kafka_start_offsets
 * does. */
void kafka_assign_step(struct kafka_source *ks);
/* The list of everything assigned now; NULL when memory is out. */
struct rd_kafka_topic_partition_list_s *kafka_assign_list(const struct kafka_source *ks);
/* Pauses all partitions when the pipeline is full, resumes those that we paused when it is
 * not. */
void kafka_assign_pressure(struct kafka_source *ks);

/* A message while the last stored record is checked: true when it is to be thrown away. */
bool kafka_anew_check(struct kafka_source *ks, struct kafka_part *part,
                      const struct rd_kafka_message_s *msg);
/* The partition's log is another one than the store's, or ends before it. */
void kafka_anew_found(struct kafka_source *ks, struct kafka_part *part, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Now and then: do the logs still begin as they did? Blocks for a second at most. */
void kafka_anew_patrol(struct kafka_source *ks);
/* Deals with the topic that was found. */
void kafka_anew_step(struct kafka_source *ks);

/* Works on the partitions that are out of step. */
void kafka_resync_step(struct kafka_source *ks);
/* Now and then: asks for the ends of the logs of which nothing comes. Blocks for 2 s at most. */
void kafka_ends_ask(struct kafka_source *ks);
/* What lies between our position and `to` is never delivered: markers, aborted records. The stored
 * next_offset follows, in its turn. */
void kafka_resync_skip(struct kafka_source *ks, struct kafka_part *part, int64_t to);

#endif
