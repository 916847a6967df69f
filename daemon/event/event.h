#ifndef MMF_DAEMON_EVENT_EVENT_H
#define MMF_DAEMON_EVENT_EVENT_H

/* What an event says: the item's raw part (role, key, value, headers) → its kind and fields.
 *
 *   bytes ─ wire.c ─► fields ─ envelope.c ─► row, type ─ rules.c ─► fields by name
 *                                                        ─ kind.c ─► what it is ─ meaning.c ─► item
 *
 * Envelopes, told apart per message:
 *
 *   bare           {"item_id": "v1", "media_uri": "file:///srv/v1.mp4"}
 *   CloudEvents    {"specversion": "1.0", "id": …, "source": …, "type": "video.published",
 *    structured     "data": {"item_id": "v1", …}}
 *   CloudEvents    headers ce_specversion, ce_id, ce_source, ce_type; the value is the data
 *    binary
 *   Debezium       {"before": …, "after": {…}, "op": "c"}, also within {"schema", "payload"}: only with
 *                  the setting events.preset
 *   outbox router  the payload, its type in the header eventType: the same
 *
 * What it is, the role of where it comes from decides; `type` narrows that and must not contradict it.
 * Without a type an event on a topic of videos is video.published, one on a topic of interactions an
 * interaction, and one that is plainly of the other kind is an error. In a file or spool the type
 * decides alone, and without one the fields do: `kind`, `weight` or `ts` make an interaction, a field of
 * a video makes a video (its `user_id`, if any, is its uploader), `user_id` and `item_id` alone are an
 * interaction, and both groups or none is an error. A field that is null or empty says nothing here.
 *
 * Nothing is erased by what is missing: video.published names at least one field of a video, an
 * interaction has a user. A null value deletes the item whose id is the key, on a topic of videos
 * only. user.deleted, which has a user_id and no item_id, forgets a user; by a setting
 * (interactions.tombstones) a null value on a topic of interactions does so too, its key is the user.
 *
 * Hostile input: every size is bounded, every type is checked, duplicate keys are refused, unknown
 * fields are ignored. Nothing is kept that is not in the item's arena. What was changed so that the
 * event could be read is in item.warnings. An id with U+FFFD in an event in which any character was
 * replaced is refused, also when it was sent so: whether it was is not known then. */

#include "config/err.h"
#include "daemon/event/item.h"
#include "daemon/event/rules.h"

#define EVENT_BYTES_MAX             (1u << 20)
#define EVENT_URI_BYTES_MAX         4096
#define EVENT_TITLE_BYTES_MAX       4096
#define EVENT_DESCRIPTION_BYTES_MAX 65536
#define EVENT_TAGS_MAX              64
#define EVENT_TAG_BYTES_MAX         256
#define EVENT_WEIGHT_MAX            1e6

/* ERR_SKIP: bad_json (with line and column), bad_schema (names the field and what was
 * expected), too_big. ERR_RETRY when memory is out, and the item is as it was. On another
 * error it may be half filled, with item_id set when it was already known. */
int event_parse(const struct event_rules *rules, struct item *item, struct err *err);

/* The tags as a JSON array of strings in the item's arena, NULL when it has none. ERR_RETRY
 * when memory is out. */
int event_tags_print(struct item *item, const char **ret_json, struct err *err);
/* The other way: a stored array back into the item. */
int event_tags_parse(struct item *item, const char *json, struct err *err);

#endif
