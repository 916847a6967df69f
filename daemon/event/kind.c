#include "daemon/event/kind.h"

#include "config/text.h"
#include "daemon/event/event.h"
#include "daemon/event/rfc3339.h"

#include <string.h>
#include <strings.h>

#define VIDEO_NAMES "media_uri, title, description, tags, lang, sha256 or published_at"
#define CLICK_NAMES "kind, weight or ts"
#define TYPE_NAMES  "video.published, video.updated, video.deleted, interaction or user.deleted"

/* null, "", [] and {} say nothing: a producer that writes every field of its struct writes them for the
 * fields that are not there. */
static bool says_something(struct field f)
{
    return f.type == FIELD_TEXT || f.type == FIELD_LIST || f.type == FIELD_OBJECT
               ? f.n > 0
               : field_is_given(f);
}

static bool has_video(const struct event_fields *f)
{
    for (int i = VIDEO_MEDIA_URI; i < VIDEO_FIELDS; i++)
        if (says_something(f->video[i]))
            return true;
    return false;
}

/* What nothing but an upload has. */
static bool has_upload(const struct event_fields *f)
{
    return says_something(f->video[VIDEO_MEDIA_URI]) ||
           says_something(f->video[VIDEO_SHA256]) ||
           says_something(f->video[VIDEO_PUBLISHED_AT]);
}

static bool has_click(const struct event_fields *f)
{
    return says_something(f->click[CLICK_KIND]) || says_something(f->click[CLICK_WEIGHT]) ||
           says_something(f->click[CLICK_TS]);
}

/* ---- by its type -------------------------------------------------------------------------- */

/* "com.site.video.published": CloudEvents advises a prefix of reversed domain names. */
static bool has_suffix(const char *type, enum item_kind *ret_kind)
{
    for (const char *dot = strchr(type, '.'); dot; dot = strchr(dot + 1, '.'))
        if (item_kind_parse(dot + 1, ret_kind))
            return true;
    return false;
}

static bool has_own_name(const struct event_rules *rules, const char *type,
                         enum item_kind *ret_kind)
{
    for (size_t i = 0; i < rules->n_types; i++) {
        if (strcmp(type, rules->types[i].name) == 0) {
            *ret_kind = rules->types[i].kind;
            return true;
        }
    }
    return false;
}

bool event_kind_of_type(const struct event_rules *rules, const char *type,
                        enum item_kind *ret_kind)
{
    return has_own_name(rules, type, ret_kind) || item_kind_parse(type, ret_kind) ||
           has_suffix(type, ret_kind);
}

static bool is_of_a_user(enum item_kind kind)
{
    return kind == ITEM_INTERACTION || kind == ITEM_USER_DELETED;
}

static int by_type(const struct event_rules *rules, enum item_role role, const char *type,
                   enum item_kind *ret_kind, struct err *err)
{
    char quoted[96];

    text_format(quoted, sizeof(quoted), "%s", type);
    if (!event_kind_of_type(rules, type, ret_kind))
        return err_skip(
            err, "bad_schema",
            "event: type: expected " TYPE_NAMES
            ", alone or after a prefix and a dot, or a name of events.types; got \"%s\"",
            quoted);
    if (role == ITEM_ROLE_VIDEOS && is_of_a_user(*ret_kind))
        return err_skip(
            err, "bad_schema",
            "event: type \"%s\" on a topic of videos: send it to one of interactions", quoted);
    if (role == ITEM_ROLE_INTERACTIONS && !is_of_a_user(*ret_kind))
        return err_skip(
            err, "bad_schema",
            "event: type \"%s\" on a topic of interactions: send it to one of videos", quoted);
    return ERR_OK;
}

/* ---- by where it comes from, and by its fields -------------------------------------------- */

/* older: a dead letter from before roles were kept. Where a user_id then stood beside fields of a
 * video, it may be an upload with its uploader or a click with a title. */
static int by_fields(const struct event_fields *f, bool older, enum item_kind *ret_kind,
                     struct err *err)
{
    bool video = has_video(f), click = has_click(f);

    if (video && (click || (older && f->click[CLICK_USER_ID].type != FIELD_ABSENT)))
        return err_skip(err, "bad_schema",
                        "event: fields of an interaction (%s) beside fields of a video "
                        "(" VIDEO_NAMES "): expected one group, or type",
                        click ? CLICK_NAMES : "user_id");
    if (!video && !click && !says_something(f->click[CLICK_USER_ID]))
        return err_skip(err, "bad_schema",
                        "event: neither a field of a video (" VIDEO_NAMES
                        ") nor a user_id: expected one, or type");
    *ret_kind = video ? ITEM_PUBLISHED : ITEM_INTERACTION;
    return ERR_OK;
}

/* The role decides, unless the event is plainly of the other kind. */
static int by_role(enum item_role role, const struct event_fields *f, enum item_kind *ret_kind,
                   struct err *err)
{
    bool click = has_click(f), upload = has_upload(f);

    if (role == ITEM_ROLE_NONE || role == ITEM_ROLE_UNKNOWN)
        return by_fields(f, role == ITEM_ROLE_UNKNOWN, ret_kind, err);
    if (role == ITEM_ROLE_VIDEOS && click && !upload && says_something(f->click[CLICK_USER_ID]))
        return err_skip(err, "bad_schema",
                        "event: an interaction (user_id beside " CLICK_NAMES
                        ") on a topic of videos: send it to one of interactions, or say "
                        "type: video.published");
    if (role == ITEM_ROLE_INTERACTIONS && upload && !click)
        return err_skip(err, "bad_schema",
                        "event: a video (media_uri, sha256 or published_at) on a topic of "
                        "interactions: send it to one of videos, or say type: interaction");
    *ret_kind = role == ITEM_ROLE_VIDEOS ? ITEM_PUBLISHED : ITEM_INTERACTION;
    return ERR_OK;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasecmp(text, *words) == 0)
            return true;
    return false;
}

/* A number or a time as text: of zeros alone it says no, as does the time 0, which Debezium writes for
 * MySQL's "0000-00-00 00:00:00". */
static bool is_digits(const char *text, bool *ret_marked)
{
    int64_t us = -1;
    bool has_zone;

    if (strspn(text, "0123456789+-:.TZ ") != strlen(text) || !strpbrk(text, "0123456789"))
        return false;
    *ret_marked =
        strpbrk(text, "123456789") && !(rfc3339_parse(text, &us, &has_zone) && us == 0);
    return true;
}

/* A mark, or the time of a deletion. What is neither yes nor no (a column of states, a number that
 * Connect has packed) would delete every video: an error. */
static int read_mark(const struct event_rules *rules, struct field f, bool *ret_marked,
                     struct err *err)
{
    static const char *const yes[] = {"true", "t", "yes", "y", "on", NULL};
    static const char *const no[] = {"false", "f", "no", "n", "off", NULL};
    static const char what[] = "true, a number or a time, or false, 0 or nothing";
    char label[160];

    *ret_marked = false;
    if (f.type == FIELD_BOOL || f.type == FIELD_NUMBER)
        *ret_marked = f.number != 0;
    if (f.type == FIELD_BOOL || f.type == FIELD_NUMBER || !says_something(f))
        return ERR_OK;
    const char *name = event_field_label(&rules->deleted, "deleted", label, sizeof(label));
    if (f.type != FIELD_TEXT)
        return field_expected_not(err, name, what, f);
    *ret_marked = is_one_of(f.text, yes);
    if (*ret_marked || is_one_of(f.text, no) || is_digits(f.text, ret_marked))
        return ERR_OK;
    return err_skip(err, "bad_schema", "event: %s: expected %s; got \"%.80s\"", name, what,
                    f.text);
}

/* A row of interactions that is gone takes nothing back: what it was made of is in the log. */
static int deletion(enum item_role role, const struct event_fields *f, enum item_kind *ret_kind,
                    struct err *err)
{
    bool click = has_click(f) || says_something(f->click[CLICK_USER_ID]);

    if (role == ITEM_ROLE_INTERACTIONS || (role != ITEM_ROLE_VIDEOS && click && !has_video(f)))
        return err_skip(err, "bad_schema",
                        "event: a deletion among interactions: expected one of a video; an "
                        "interaction is not taken back, send one of a negative kind");
    *ret_kind = ITEM_DELETED;
    return ERR_OK;
}

int event_kind(const struct event_rules *rules, enum item_role role, const struct envelope *e,
               const struct event_fields *f, enum item_kind *ret_kind, struct err *err)
{
    int status;

    if (e->type) {
        status = by_type(rules, role, e->type, ret_kind, err);
        if (status != ERR_OK)
            return status;
    }
    bool is_marked = false;
    status = read_mark(rules, event_rules_get(rules, &rules->deleted, e->row), &is_marked, err);
    if (status != ERR_OK)
        return status;
    if (e->change == ENVELOPE_DELETED || is_marked)
        return deletion(e->type && is_of_a_user(*ret_kind) ? ITEM_ROLE_INTERACTIONS : role, f,
                        ret_kind, err);
    status = e->type ? ERR_OK : by_role(role, f, ret_kind, err);
    if (status != ERR_OK)
        return status;
    if (!e->type && e->change == ENVELOPE_UPDATED && *ret_kind == ITEM_PUBLISHED)
        *ret_kind = ITEM_UPDATED;
    if (*ret_kind == ITEM_PUBLISHED && !has_video(f))
        return err_skip(err, "bad_schema",
                        "event: a video without " VIDEO_NAMES
                        ": expected at least one; it replaces all that is known of the item");
    return ERR_OK;
}
