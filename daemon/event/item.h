#ifndef MMF_DAEMON_EVENT_ITEM_H
#define MMF_DAEMON_EVENT_ITEM_H

/* One event on its way from a source to the store. It travels by pointer, has exactly one owner
 * at a time, and everything it needs lives in its arena: item_free ends it in one call. */

#include "config/arena.h"
#include "config/err.h"
#include "extract/wire/features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum item_kind {
    ITEM_PUBLISHED, /* video.published: replaces the item */
    ITEM_UPDATED,   /* video.updated: replaces the fields that it names */
    ITEM_DELETED,   /* video.deleted, or a null value */
    ITEM_INTERACTION,
    ITEM_USER_DELETED, /* user.deleted, or a null value: a person is forgotten; without an item_id */
    ITEM_DEAD,         /* cannot be processed: err says why; becomes a dead letter */
    ITEM_GAP,          /* offsets [gap_from, gap_to) were gone, or, when that is empty, are
                        * never delivered; its own offset is gap_to - 1 */
};

/* What comes from where the event comes from. It says what a bare event is and whose id a key is. */
enum item_role {
    ITEM_ROLE_NONE,         /* a file or a spool: an event's fields tell */
    ITEM_ROLE_VIDEOS,       /* a topic of videos: the key is an item */
    ITEM_ROLE_INTERACTIONS, /* a topic of interactions: the key is a user */
    ITEM_ROLE_UNKNOWN,      /* a topic of Kafka's, of which kind is not known any more */
};

/* Bits of item_video.named: which fields an update names. */
enum item_field {
    ITEM_FIELD_MEDIA = 1,
    ITEM_FIELD_TITLE = 2,
    ITEM_FIELD_DESCRIPTION = 4,
    ITEM_FIELD_TAGS = 8,
    ITEM_FIELD_LANG = 16,
    ITEM_FIELD_PUBLISHED = 32,
    ITEM_FIELD_SHA256 = 64,
};

/* Bits of item.warnings: what was changed so that the event could be read. */
enum item_warning {
    ITEM_WARNING_BOM = 1,             /* a byte order mark was left out */
    ITEM_WARNING_REPLACED = 2,        /* what is no character became U+FFFD */
    ITEM_WARNING_TITLE_CUT = 4,       /* to EVENT_TITLE_BYTES_MAX */
    ITEM_WARNING_DESCRIPTION_CUT = 8, /* to EVENT_DESCRIPTION_BYTES_MAX */
    ITEM_WARNING_TAGS_CUT = 16,       /* to EVENT_TAGS_MAX tags of EVENT_TAG_BYTES_MAX */
    ITEM_WARNING_TAG_EMPTY = 32,      /* an empty tag was left out */
    ITEM_WARNING_ZONE = 64,           /* a time without a zone was taken for UTC */
};
enum { ITEM_WARNINGS = 7 };
extern const char *const item_warning_names[ITEM_WARNINGS]; /* of bit 1 << i */

struct item_header {
    const char *name;
    const void *value;
    size_t value_bytes;
};

struct ticket;
struct turn;

struct item {
    struct arena arena; /* first: owns every pointer below */
    struct item *next;  /* for whoever owns the item */

    /* where it came from */
    const char *topic; /* Kafka topic, or file:<sha256>; of another try too */
    int32_t partition;
    int64_t offset;
    enum item_role role;
    int64_t record_us; /* when it was written at the latest: Kafka's timestamp, a file's time of
                           change; 0 = unknown */
    uint32_t epoch;    /* of the partition's assignment; a stale one is dropped by the sink */
    int64_t letter_id; /* the dead letter that this is another try of, 0 = of none */
    const char *lane;  /* what the ledger follows it by when it is not read at its own place:
                        * another try, a re-extraction; NULL = its place */
    int64_t lane_offset;
    const void *key, *value; /* as received, for dead letters; value NULL = tombstone */
    size_t key_bytes, value_bytes;
    const struct item_header *headers;
    size_t n_headers;

    /* what it says (event_parse) */
    bool is_raw; /* no memory to parse it so far: nothing of this part holds */
    enum item_kind kind;
    const char *item_id;
    const char *user_id;          /* interaction, user.deleted */
    const char *interaction_kind; /* interaction */
    double weight;
    int64_t event_us; /* ts or published_at, 0 = unknown */
    const char *media_uri, *sha256, *title, *description, *lang;
    const char *const *tags;
    uint32_t n_tags;
    unsigned named;    /* enum item_field */
    unsigned warnings; /* enum item_warning */
    int64_t gap_from, gap_to;

    /* what became of it */
    struct err err;            /* ITEM_DEAD: reason and sentence */
    const char *stage;         /* ITEM_DEAD: parse, extract, fuse, store */
    int media_fd;              /* open, while a worker waits for it or reads it; -1 = not */
    const char *media_root;    /* NULL = the settings' roots; ingest --media-root otherwise */
    struct features *features; /* in the arena; NULL before extraction */
    const float *embedding;    /* (embedding_dim) in the arena; NULL = no signal */
    int32_t embedding_dim;
    int64_t model_id;
    int tries;
    struct turn *turn; /* held while later events of this item_id wait for it; NULL = none */
    int64_t retry_us;  /* monotonic: not before */
    bool keeps_media;  /* an update of text only: features already holds the stored picture
                            and sound */
    bool has_media_vectors; /* a re-extraction: picture or sound is stored */
    const char *flags_json; /* an update: the stored flags */
    bool is_complete;       /* an update that has what it needs of the stored row */
    struct ticket *ticket;  /* a re-extraction: an update that names nothing; one reference.
                               NULL = an event */

    /* the trail, wall clock in microseconds, and durations */
    int64_t received_us, extracted_us;
    int64_t extract_us; /* the worker's time for this item, queueing excluded */
};

struct item *item_new(void);       /* NULL when memory is out */
void item_free(struct item *item); /* takes NULL */
void item_close_media(struct item *item);
/* Turns the item into a dead letter of `stage` with the error; keeps the original bytes. */
void item_kill(struct item *item, const char *stage, const struct err *err);
/* "video.published" → ITEM_PUBLISHED, …; false when it is none of the five types of events. */
bool item_kind_parse(const char *type, enum item_kind *ret_kind);
/* As a dead letter keeps it: "videos", "interactions", NULL for the others. */
const char *item_role_name(enum item_role role);
/* Of a dead letter: a name, or NULL, and then its topic says whether it came from a file. Before schema
 * 6 none was kept. */
enum item_role item_role_parse(const char *name, const char *topic);
/* For a step that may have to be tried again: the item as it was before, and its memory. */
struct item_mark {
    struct item item;
    struct arena_mark arena;
};
void item_mark(const struct item *item, struct item_mark *ret_mark);
void item_rewind(struct item *item, const struct item_mark *mark);
/* Roughly what it holds, for the queue's bound. */
size_t item_bytes(const struct item *item);

/* A first-in first-out list through item.next. A zeroed struct is an empty list. */
struct item_list {
    struct item *head, *tail;
};

void item_list_push(struct item_list *list, struct item *item);
struct item *item_list_pop(struct item_list *list); /* NULL when empty */
void item_list_free(struct item_list *list);        /* frees what is inside */

#endif
