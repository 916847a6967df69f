#include "daemon/event/meaning.h"

#include "config/text.h"
#include "daemon/base/ids.h"
#include "daemon/event/event.h"
#include "daemon/event/kind.h"
#include "daemon/event/rfc3339.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LABEL_BYTES 160

/* ---- fields by type ----------------------------------------------------------------------- */

static int copy_text(struct arena *arena, const char *text, size_t n, const char **ret_text,
                     struct err *err)
{
    *ret_text = arena_strndup(arena, text, n);
    return *ret_text ? ERR_OK : err_oom(err, "event: copy a field");
}

static int copy_whole(struct arena *arena, int64_t value, const char **ret_text,
                      struct err *err)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%" PRId64, value);

    return copy_text(arena, digits, (size_t)n, ret_text, err);
}

int meaning_read_id(struct item *item, struct field f, const char *name, const char **ret_id,
                    struct err *err)
{
    static const char what[] =
        "a string of 1 to 256 bytes without control characters, or a whole number";

    if (f.type == FIELD_NUMBER && f.is_whole)
        return copy_whole(&item->arena, f.whole, ret_id, err);
    if (f.type == FIELD_NUMBER)
        return err_skip(err, "bad_schema",
                        "event: %s: expected %s, got a fraction, or more than 2^63 - 1", name,
                        what);
    if (f.type != FIELD_TEXT)
        return field_expected_not(err, name, what, f);
    if (!id_is_usable(f.text))
        return field_expected(err, name, what);
    if ((item->warnings & ITEM_WARNING_REPLACED) && strstr(f.text, "\xef\xbf\xbd"))
        return err_skip(err, "bad_schema",
                        "event: %s: has bytes that are no UTF-8, or half a surrogate pair: two "
                        "such ids could become one",
                        name);
    return copy_text(&item->arena, f.text, f.n, ret_id, err);
}

static int too_long(const char *name, size_t max_bytes, size_t n, struct err *err)
{
    return err_skip(err, "bad_schema", "event: %s: expected at most %zu bytes, got %zu", name,
                    max_bytes, n);
}

/* An optional string: absent, null and "" are the same, NULL. cut: the warning of a longer one, which is
 * cut; 0 = it is refused. */
static int read_text(struct item *item, struct field f, const char *name, size_t max_bytes,
                     unsigned cut, const char **ret_text, struct err *err)
{
    *ret_text = NULL;
    if (!field_is_given(f))
        return ERR_OK;
    if (f.type != FIELD_TEXT)
        return field_expected_not(err, name, "a string or null", f);
    if (f.n > max_bytes && cut == 0)
        return too_long(name, max_bytes, f.n, err);
    item->warnings |= f.n > max_bytes ? cut : 0;
    if (f.n == 0)
        return ERR_OK;
    return copy_text(&item->arena, f.text, text_cut(f.text, f.n, max_bytes), ret_text, err);
}

/* ---- times -------------------------------------------------------------------------------- */

#define TIME_MIN_US INT64_C(-62135596800000000) /* of the year 1 */
#define TIME_MAX_US INT64_C(253402300799999999) /* 9999 */

/* Since 1970 in s below 1e11, in ms below 1e14, else in us: what is one of them in these years is none of
 * the others. False out of the years 1 to 9999. */
static bool read_epoch(struct field f, int64_t *ret_us)
{
    double size = fabs(f.number);
    int64_t unit_us = size < 1e11 ? 1000000 : size < 1e14 ? 1000 : 1;

    if (size > (double)TIME_MAX_US)
        return false;
    *ret_us = f.is_whole ? f.whole * unit_us : (int64_t)(f.number * (double)unit_us);
    return *ret_us >= TIME_MIN_US && *ret_us <= TIME_MAX_US;
}

static int read_time(struct item *item, struct field f, const char *name, int64_t *ret_us,
                     struct err *err)
{
    static const char what[] =
        "an RFC 3339 timestamp, such as \"2026-01-02T03:04:05Z\", or the s, "
        "ms or us since 1970 as a number";
    bool has_zone = true;

    if (!field_is_given(f))
        return ERR_OK;
    if (f.type != FIELD_TEXT && f.type != FIELD_NUMBER)
        return field_expected_not(err, name, what, f);
    if (f.type == FIELD_NUMBER ? !read_epoch(f, ret_us)
                               : !rfc3339_parse(f.text, ret_us, &has_zone))
        return field_expected(err, name, what);
    item->warnings |= has_zone ? 0 : ITEM_WARNING_ZONE;
    return ERR_OK;
}

/* ---- tags --------------------------------------------------------------------------------- */

/* One more tag of n bytes; an empty one is left out, one too long is cut. */
static int add_tag(struct item *item, const char **tags, const char *text, size_t n,
                   struct err *err)
{
    if (n == 0) {
        item->warnings |= ITEM_WARNING_TAG_EMPTY;
        return ERR_OK;
    }
    if (n > EVENT_TAG_BYTES_MAX || item->n_tags == EVENT_TAGS_MAX)
        item->warnings |= ITEM_WARNING_TAGS_CUT;
    if (item->n_tags == EVENT_TAGS_MAX)
        return ERR_OK;
    return copy_text(&item->arena, text, text_cut(text, n, EVENT_TAG_BYTES_MAX),
                     &tags[item->n_tags++], err);
}

static int list_tags(struct item *item, const char **tags, struct field list, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < list.n; i++) {
        const struct field f = field_at(list, i);

        if (f.type != FIELD_TEXT && f.type != FIELD_NULL)
            return field_expected_not(err, "tags", "strings", f);
        status = add_tag(item, tags, f.text, f.n, err);
    }
    return status;
}

/* "cat, skateboard": between commas, without the blanks around them. */
static int text_tags(struct item *item, const char **tags, const char *text, struct err *err)
{
    int status = ERR_OK;

    for (const char *end; status == ERR_OK; text = end + 1) {
        end = text + strcspn(text, ",");
        text += strspn(text, " \t\r\n");
        size_t n = text < end ? (size_t)(end - text) : 0;
        while (n > 0 && strchr(" \t\r\n", text[n - 1]))
            n--;
        status = add_tag(item, tags, text, n, err);
        if (*end == '\0')
            break;
    }
    return status;
}

int meaning_read_tags(struct item *item, struct field f, struct err *err)
{
    if (!field_is_given(f) || (f.type == FIELD_TEXT && f.n == 0))
        return ERR_OK;
    if (f.type != FIELD_LIST && f.type != FIELD_TEXT)
        return field_expected_not(err, "tags", "an array of strings, a string or null", f);
    const char **tags = arena_array(&item->arena, EVENT_TAGS_MAX, sizeof(*tags));
    if (!tags)
        return err_oom(err, "event: copy the tags");
    item->n_tags = 0;
    item->tags = tags;
    return f.type == FIELD_LIST ? list_tags(item, tags, f, err)
                                : text_tags(item, tags, f.text, err);
}

/* ---- the fields of a video --------------------------------------------------------------- */

static const struct text_field {
    enum event_video_field field;
    unsigned bit, cut; /* enum item_field, enum item_warning */
    size_t max_bytes;
    size_t at; /* of the const char * in struct item */
} text_fields[] = {
    {VIDEO_MEDIA_URI, ITEM_FIELD_MEDIA, 0, EVENT_URI_BYTES_MAX,
     offsetof(struct item, media_uri)},
    {VIDEO_SHA256, ITEM_FIELD_SHA256, 0, 64, offsetof(struct item, sha256)},
    {VIDEO_TITLE, ITEM_FIELD_TITLE, ITEM_WARNING_TITLE_CUT, EVENT_TITLE_BYTES_MAX,
     offsetof(struct item, title)},
    {VIDEO_DESCRIPTION, ITEM_FIELD_DESCRIPTION, ITEM_WARNING_DESCRIPTION_CUT,
     EVENT_DESCRIPTION_BYTES_MAX, offsetof(struct item, description)},
    {VIDEO_LANG, ITEM_FIELD_LANG, 0, EVENT_WORD_BYTES_MAX, offsetof(struct item, lang)},
};

static const char *video_label(const struct event_rules *rules, enum event_video_field i,
                               char text[LABEL_BYTES])
{
    return event_field_label(&rules->video[i], settings_video_words[i], text, LABEL_BYTES);
}

static const char *click_label(const struct event_rules *rules, enum event_click_field i,
                               char text[LABEL_BYTES])
{
    return event_field_label(&rules->click[i], settings_interaction_words[i], text,
                             LABEL_BYTES);
}

static int read_texts(const struct event_rules *rules, struct item *item,
                      const struct event_fields *fields, struct err *err)
{
    for (size_t i = 0; i < sizeof(text_fields) / sizeof(text_fields[0]); i++) {
        const struct text_field *t = &text_fields[i];
        const struct field f = fields->video[t->field];
        const char **text = (const char **)((char *)item + t->at);
        char label[LABEL_BYTES];
        int status = read_text(item, f, video_label(rules, t->field, label), t->max_bytes,
                               t->cut, text, err);
        if (status != ERR_OK)
            return status;
        if (f.type != FIELD_ABSENT)
            item->named |= t->bit;
    }
    return ERR_OK;
}

static int check_sha256(struct item *item, struct err *err)
{
    if (!item->sha256)
        return ERR_OK;
    char *hex = arena_strdup(&item->arena, item->sha256);
    if (!hex)
        return err_oom(err, "event: copy sha256");
    for (char *c = hex; *c; c++)
        if (*c >= 'A' && *c <= 'F')
            *c = (char)(*c - 'A' + 'a');
    if (strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
        return field_expected(err, "sha256", "64 hexadecimal digits");
    item->sha256 = hex;
    return ERR_OK;
}

static bool is_word(const char *text)
{
    return !text || id_is_word(text);
}

/* An empty tag, the time 0: named, and yet nothing that an upload says. */
static bool says_nothing(const struct item *item)
{
    return !item->media_uri && !item->sha256 && !item->title && !item->description &&
           item->n_tags == 0 && !item->lang && item->event_us == 0;
}

static int read_video(const struct event_rules *rules, struct item *item,
                      const struct event_fields *fields, struct err *err)
{
    const struct field tags = fields->video[VIDEO_TAGS];
    const struct field published = fields->video[VIDEO_PUBLISHED_AT];
    char label[LABEL_BYTES];
    int status = meaning_read_id(item, fields->video[VIDEO_ITEM_ID],
                                 video_label(rules, VIDEO_ITEM_ID, label), &item->item_id, err);

    if (status != ERR_OK || item->kind == ITEM_DELETED)
        return status;
    if ((status = read_texts(rules, item, fields, err)) != ERR_OK ||
        (status = meaning_read_tags(item, tags, err)) != ERR_OK ||
        (status = check_sha256(item, err)) != ERR_OK ||
        (status = read_time(item, published, video_label(rules, VIDEO_PUBLISHED_AT, label),
                            &item->event_us, err)) != ERR_OK)
        return status;
    item->named |= tags.type != FIELD_ABSENT ? ITEM_FIELD_TAGS : 0u;
    item->named |= published.type != FIELD_ABSENT ? ITEM_FIELD_PUBLISHED : 0u;
    if (item->media_uri && id_has_control(item->media_uri))
        return field_expected(err, "media_uri", "a URI without control characters");
    if (!is_word(item->lang))
        return field_expected(err, "lang", "a language tag such as \"en\" or \"pt-BR\"");
    if (item->kind == ITEM_PUBLISHED && says_nothing(item))
        return err_skip(err, "bad_schema",
                        "event: a video without a field that is not empty: expected at least "
                        "one; it replaces all that is known of the item");
    return ERR_OK;
}

/* ---- the fields of an interaction -------------------------------------------------------- */

static int read_weight(struct item *item, struct field f, const char *name, struct err *err)
{
    item->weight = 1.0;
    if (!field_is_given(f))
        return ERR_OK;
    if (f.type != FIELD_NUMBER)
        return field_expected_not(err, name, "a number or null", f);
    item->weight = f.number;
    if (!isfinite(item->weight) || fabs(item->weight) > EVENT_WEIGHT_MAX)
        return field_expected(err, name, "a finite number between -1e6 and 1e6");
    return ERR_OK;
}

static int read_user(const struct event_rules *rules, struct item *item,
                     const struct event_fields *fields, struct err *err)
{
    char label[LABEL_BYTES];

    return meaning_read_id(item, fields->click[CLICK_USER_ID],
                           click_label(rules, CLICK_USER_ID, label), &item->user_id, err);
}

/* It names no item. */
static int read_user_deleted(const struct event_rules *rules, struct item *item,
                             const struct event_fields *fields, struct err *err)
{
    char label[LABEL_BYTES];
    int status = read_user(rules, item, fields, err);

    return status == ERR_OK
               ? read_time(item, fields->click[CLICK_TS], click_label(rules, CLICK_TS, label),
                           &item->event_us, err)
               : status;
}

static int read_interaction(const struct event_rules *rules, struct item *item,
                            const struct event_fields *fields, struct err *err)
{
    const struct field *f = fields->click;
    char label[LABEL_BYTES];
    int status;

    if ((status =
             meaning_read_id(item, f[CLICK_ITEM_ID], click_label(rules, CLICK_ITEM_ID, label),
                             &item->item_id, err)) != ERR_OK ||
        (status = read_user(rules, item, fields, err)) != ERR_OK ||
        (status = read_text(item, f[CLICK_KIND], click_label(rules, CLICK_KIND, label),
                            EVENT_WORD_BYTES_MAX, 0, &item->interaction_kind, err)) != ERR_OK ||
        (status = read_weight(item, f[CLICK_WEIGHT], click_label(rules, CLICK_WEIGHT, label),
                              err)) != ERR_OK ||
        (status = read_time(item, f[CLICK_TS], click_label(rules, CLICK_TS, label),
                            &item->event_us, err)) != ERR_OK)
        return status;
    if (!is_word(item->interaction_kind))
        return field_expected(err, "kind", "a word such as \"watch\" or \"like\"");
    return ERR_OK;
}

/* The envelope's own time stands in for a published video's or an interaction's missing one. */
static int adopt_time(struct item *item, const struct envelope *e, struct err *err)
{
    int64_t time_us = 0;
    int status = read_time(item, e->time, "time", &time_us, err);

    if (status == ERR_OK && item->event_us == 0 && item->kind != ITEM_UPDATED)
        item->event_us = time_us;
    return status;
}

/* For the dead letter that it may become. */
static void remember_id(struct item *item, const struct event_fields *fields)
{
    const struct field *video = &fields->video[VIDEO_ITEM_ID];

    if (meaning_read_id(item,
                        video->type != FIELD_ABSENT ? *video : fields->click[CLICK_ITEM_ID],
                        "item_id", &item->item_id, NULL) != ERR_OK)
        item->item_id = NULL;
}

int meaning_read(const struct event_rules *rules, struct item *item, const struct envelope *e,
                 struct err *err)
{
    struct event_fields fields;

    event_fields_find(rules, e->row, &fields);
    remember_id(item, &fields);
    int status = event_kind(rules, item->role, e, &fields, &item->kind, err);
    if (status != ERR_OK)
        return status;
    if (item->kind == ITEM_INTERACTION)
        status = read_interaction(rules, item, &fields, err);
    else if (item->kind == ITEM_USER_DELETED) {
        item->item_id = NULL;
        status = read_user_deleted(rules, item, &fields, err);
    } else
        status = read_video(rules, item, &fields, err);
    return status == ERR_OK ? adopt_time(item, e, err) : status;
}
