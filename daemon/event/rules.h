#ifndef MMF_DAEMON_EVENT_RULES_H
#define MMF_DAEMON_EVENT_RULES_H

/* How a site writes its events, settings `events` and interactions.tombstones: in which envelope, and
 * where in it the fields, the type and a mark of deletion are. Made once from the settings; read by any
 * thread. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/event/field.h"
#include "daemon/event/item.h"

#include <stddef.h>

/* In the order of settings_video_words and settings_interaction_words. */
enum event_video_field {
    VIDEO_ITEM_ID,
    VIDEO_MEDIA_URI,
    VIDEO_TITLE,
    VIDEO_DESCRIPTION,
    VIDEO_TAGS,
    VIDEO_LANG,
    VIDEO_SHA256,
    VIDEO_PUBLISHED_AT,
    VIDEO_FIELDS
};
enum event_click_field {
    CLICK_ITEM_ID,
    CLICK_USER_ID,
    CLICK_KIND,
    CLICK_WEIGHT,
    CLICK_TS,
    CLICK_FIELDS
};

/* JSON Pointers (RFC 6901), the first that leads to something wins. */
struct event_pointers {
    const char *const *at; /* (n) */
    size_t n;
};

struct event_type_name {
    const char *name;
    enum item_kind kind;
};

struct event_rules {
    int preset; /* enum settings_preset */
    struct event_pointers video[VIDEO_FIELDS], click[CLICK_FIELDS];
    struct event_pointers type, deleted; /* n = 0: where the envelope has it */
    struct event_type_name *types;       /* the site's own */
    size_t n_types;
    bool tombstones_forget; /* a null value on a topic of interactions, whose key is a user */
    struct settings_strings text; /* what the pointers above point into */
    const char **block;           /* all the lists of pointers */
};

/* As the settings' defaults: fields at /NAME, no preset. */
extern const struct event_rules event_rules_plain;

/* ERR_RETRY when memory is out. */
int event_rules_open(const struct settings *s, struct event_rules *ret_rules, struct err *err);
void event_rules_done(struct event_rules *rules);

/* FIELD_ABSENT when none of the pointers leads to anything, or to what Debezium has not seen. */
struct field event_rules_get(const struct event_rules *rules,
                             const struct event_pointers *pointers, struct field row);
/* In the key of a null value: a pointer, or its last step alone, since a key holds nothing
 * but the id: "/payload/after/id" finds {"id": 77} too. */
struct field event_rules_find_key(const struct event_pointers *pointers, struct field root);

/* "title", or "title (/payload/after/name)" where it is not at /title: for messages. */
const char *event_field_label(const struct event_pointers *pointers, const char *name,
                              char *text, size_t bytes);

/* The fields of one event; those of the kind that it is not are there too, because they tell the
 * kinds apart. */
struct event_fields {
    struct field video[VIDEO_FIELDS], click[CLICK_FIELDS];
};
void event_fields_find(const struct event_rules *rules, struct field row,
                       struct event_fields *ret_fields);

#endif
