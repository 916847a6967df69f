#include "daemon/event/kind.h"

#include <string.h>

#define VIDEO_FIELDS "media_uri, title, description, tags, lang, sha256 or published_at"
#define CLICK_FIELDS "kind, weight or ts"

static const char *const video_fields[] = {"media_uri", "title",  "description",  "tags",
                                           "lang",      "sha256", "published_at", NULL};
static const char *const click_fields[] = {"kind", "weight", "ts", NULL};
static const char *const user_field[] = {"user_id", NULL};
/* What nothing but an upload has. */
static const char *const upload_fields[] = {"media_uri", "sha256", "published_at", NULL};

/* null, "", [] and {} say nothing: a producer that writes every field of its struct writes them for the
 * fields that are not there. */
static bool says_something(struct field f)
{
    return f.type == FIELD_TEXT || f.type == FIELD_LIST || f.type == FIELD_OBJECT
               ? f.n > 0
               : field_is_given(f);
}

static bool has_one(struct field data, const char *const *names)
{
    for (; *names; names++)
        if (says_something(field_get(data, *names)))
            return true;
    return false;
}

static int by_type(const char *type, enum item_kind *ret_kind, struct err *err)
{
    static const struct {
        const char *type;
        enum item_kind kind;
    } kinds[] = {{"video.published", ITEM_PUBLISHED},
                 {"video.updated", ITEM_UPDATED},
                 {"video.deleted", ITEM_DELETED},
                 {"interaction", ITEM_INTERACTION},
                 {"user.deleted", ITEM_USER_DELETED}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(type, kinds[i].type) == 0) {
            *ret_kind = kinds[i].kind;
            return ERR_OK;
        }
    }
    return err_skip(err, "bad_schema",
                    "event: type: expected video.published, video.updated, video.deleted, "
                    "interaction or user.deleted");
}

/* older: a dead letter from before roles were kept. Where a user_id then stood beside fields of a
 * video, it may be an upload with its uploader or a click with a title. */
static int by_fields(struct field data, bool older, enum item_kind *ret_kind, struct err *err)
{
    bool video = has_one(data, video_fields), click = has_one(data, click_fields);
    if (video && (click || (older && field_get(data, user_field[0]).type != FIELD_ABSENT)))
        return err_skip(err, "bad_schema",
                        "event: fields of an interaction (%s) beside fields of a video "
                        "(" VIDEO_FIELDS "): expected one group, or type",
                        click ? CLICK_FIELDS : "user_id");
    if (!video && !click && !has_one(data, user_field))
        return err_skip(err, "bad_schema",
                        "event: neither a field of a video (" VIDEO_FIELDS
                        ") nor a user_id: expected one, or type");
    *ret_kind = video ? ITEM_PUBLISHED : ITEM_INTERACTION;
    return ERR_OK;
}

/* The role decides, unless the event is plainly of the other kind. */
static int by_role(enum item_role role, struct field data, enum item_kind *ret_kind,
                   struct err *err)
{
    bool click = has_one(data, click_fields), upload = has_one(data, upload_fields);
    if (role == ITEM_ROLE_NONE || role == ITEM_ROLE_UNKNOWN)
        return by_fields(data, role == ITEM_ROLE_UNKNOWN, ret_kind, err);
    if (role == ITEM_ROLE_VIDEOS && click && !upload && has_one(data, user_field))
        return err_skip(
            err, "bad_schema",
            "event: an interaction (user_id beside " CLICK_FIELDS
            ") on a topic of videos: send it to one of interactions, or give its type");
    if (role == ITEM_ROLE_INTERACTIONS && upload && !click)
        return err_skip(err, "bad_schema",
                        "event: a video (media_uri, sha256 or published_at) on a topic of "
                        "interactions: send it to one of videos, or give its type");
    *ret_kind = role == ITEM_ROLE_VIDEOS ? ITEM_PUBLISHED : ITEM_INTERACTION;
    return ERR_OK;
}

int event_kind(enum item_role role, const char *type, struct field data,
               enum item_kind *ret_kind, struct err *err)
{
    int status = type ? by_type(type, ret_kind, err) : by_role(role, data, ret_kind, err);
    if (status == ERR_OK && *ret_kind == ITEM_PUBLISHED && !has_one(data, video_fields))
        return err_skip(err, "bad_schema",
                        "event: a video without " VIDEO_FIELDS
                        ": expected at least one; it replaces all that is known of the item");
    return status;
}
