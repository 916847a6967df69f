#include "daemon/event_kind.h"

#include <jansson.h>
#include <string.h>

#define VIDEO_FIELDS "media_uri, title, description, tags, lang, sha256 or published_at"
#define CLICK_FIELDS "kind, weight or ts"

static const char *const video_fields[] = {"media_uri", "title",  "description",  "tags",
                                           "lang",      "sha256", "published_at", NULL};
static const char *const click_fields[] = {"kind", "weight", "ts", NULL};

/* null says nothing: a producer that writes every field of its struct writes it for the other kind's. */
static bool has_one(const json_t *data, const char *const *names)
{
    for (; *names; names++) {
        const json_t *json = json_object_get(data, *names);
        if (json && !json_is_null(json))
            return true;
    }
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
                 {"interaction", ITEM_INTERACTION}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(type, kinds[i].type) == 0) {
            *ret_kind = kinds[i].kind;
            return ERR_OK;
        }
    }
    return err_skip(err, "bad_schema",
                    "event: type: expected video.published, video.updated, video.deleted or "
                    "interaction");
}

static int by_fields(const json_t *data, enum item_kind *ret_kind, struct err *err)
{
    static const char *const user[] = {"user_id", NULL};
    bool video = has_one(data, video_fields), click = has_one(data, click_fields);
    if (video && click)
        return err_skip(err, "bad_schema",
                        "event: fields of an interaction (" CLICK_FIELDS
                        ") beside fields of a video (" VIDEO_FIELDS
                        "): expected one group, or type");
    if (!video && !click && !has_one(data, user))
        return err_skip(err, "bad_schema",
                        "event: neither a field of a video (" VIDEO_FIELDS
                        ") nor a user_id: expected one, or type");
    *ret_kind = video ? ITEM_PUBLISHED : ITEM_INTERACTION;
    return ERR_OK;
}

static int by_role(enum item_role role, const json_t *data, enum item_kind *ret_kind,
                   struct err *err)
{
    if (role == ITEM_ROLE_NONE)
        return by_fields(data, ret_kind, err);
    *ret_kind = role == ITEM_ROLE_VIDEOS ? ITEM_PUBLISHED : ITEM_INTERACTION;
    return ERR_OK;
}

int event_kind(enum item_role role, const char *type, const json_t *data,
               enum item_kind *ret_kind, struct err *err)
{
    int status = type ? by_type(type, ret_kind, err) : by_role(role, data, ret_kind, err);
    if (status == ERR_OK && *ret_kind == ITEM_PUBLISHED && !has_one(data, video_fields))
        return err_skip(err, "bad_schema",
                        "event: a video without " VIDEO_FIELDS
                        ": expected at least one; it replaces all that is known of the item");
    return status;
}
