#include "daemon/event/meaning.h"

#include "daemon/base/ids.h"
#include "daemon/event/event.h"
#include "daemon/event/kind.h"
#include "daemon/event/rfc3339.h"

#include <math.h>
#include <string.h>

/* ---- fields by type ----------------------------------------------------------------------- */

static int copy_text(struct arena *arena, const char *text, const char **ret_text,
                     struct err *err)
{
    *ret_text = arena_strdup(arena, text);
    return *ret_text ? ERR_OK : err_oom(err, "event: copy a field");
}

/* A required id: valid UTF-8 (the parser has seen to that), 1 … 256 bytes, no control
 * characters. */
static int read_id(struct item *item, struct field data, const char *name, const char **ret_id,
                   struct err *err)
{
    static const char what[] = "a string of 1 to 256 bytes without control characters";
    const struct field f = field_get(data, name);

    if (f.type != FIELD_TEXT)
        return field_expected_not(err, name, what, f);
    if (!id_is_usable(f.text))
        return field_expected(err, name, what);
    return copy_text(&item->arena, f.text, ret_id, err);
}

/* An optional string: absent, null and "" are the same, NULL. */
static int read_text(struct item *item, struct field data, const char *name, size_t max_bytes,
                     const char **ret_text, struct err *err)
{
    const struct field f = field_get(data, name);

    *ret_text = NULL;
    if (!field_is_given(f))
        return ERR_OK;
    if (f.type != FIELD_TEXT)
        return field_expected_not(err, name, "a string or null", f);
    if (f.n > max_bytes)
        return err_skip(err, "bad_schema", "event: %s: expected at most %zu bytes, got %zu",
                        name, max_bytes, f.n);
    if (f.n == 0)
        return ERR_OK;
    return copy_text(&item->arena, f.text, ret_text, err);
}

static int read_time(struct field data, const char *name, int64_t *ret_us, struct err *err)
{
    static const char what[] =
        "an RFC 3339 timestamp with a zone, such as \"2026-01-02T03:04:05Z\"";
    const struct field f = field_get(data, name);

    if (!field_is_given(f))
        return ERR_OK;
    if (f.type != FIELD_TEXT)
        return field_expected_not(err, name, what, f);
    if (!rfc3339_parse(f.text, ret_us))
        return field_expected(err, name, what);
    return ERR_OK;
}

/* ---- the fields of a video --------------------------------------------------------------- */

static const struct text_field {
    const char *name;
    unsigned bit; /* enum item_field */
    size_t max_bytes;
    size_t at; /* of the const char * in struct item */
} text_fields[] = {
    {"media_uri", ITEM_FIELD_MEDIA, EVENT_URI_BYTES_MAX, offsetof(struct item, media_uri)},
    {"sha256", ITEM_FIELD_SHA256, 64, offsetof(struct item, sha256)},
    {"title", ITEM_FIELD_TITLE, EVENT_TITLE_BYTES_MAX, offsetof(struct item, title)},
    {"description", ITEM_FIELD_DESCRIPTION, EVENT_DESCRIPTION_BYTES_MAX,
     offsetof(struct item, description)},
    {"lang", ITEM_FIELD_LANG, EVENT_WORD_BYTES_MAX, offsetof(struct item, lang)},
};

static int read_texts(struct item *item, struct field data, struct err *err)
{
    for (size_t i = 0; i < sizeof(text_fields) / sizeof(text_fields[0]); i++) {
        const struct text_field *t = &text_fields[i];
        const char **text = (const char **)((char *)item + t->at);
        int status = read_text(item, data, t->name, t->max_bytes, text, err);
        if (status != ERR_OK)
            return status;
        if (field_get(data, t->name).type != FIELD_ABSENT)
            item->named |= t->bit;
    }
    return ERR_OK;
}

static int read_tag(struct item *item, struct field f, const char **ret_tag, struct err *err)
{
    if (f.type != FIELD_TEXT || f.n < 1 || f.n > EVENT_TAG_BYTES_MAX)
        return field_expected(err, "tags", "strings of 1 to 256 bytes");
    return copy_text(&item->arena, f.text, ret_tag, err);
}

int meaning_read_tags(struct item *item, struct field f, struct err *err)
{
    if (!field_is_given(f))
        return ERR_OK;
    if (f.type != FIELD_LIST)
        return field_expected_not(err, "tags", "an array of strings or null", f);
    size_t n = f.n;
    if (n > EVENT_TAGS_MAX)
        return err_skip(err, "bad_schema", "event: tags: expected at most %d, got %zu",
                        EVENT_TAGS_MAX, n);
    const char **tags = arena_array(&item->arena, n, sizeof(*tags));
    if (!tags)
        return err_oom(err, "event: copy the tags");
    for (size_t i = 0; i < n; i++) {
        int status = read_tag(item, field_at(f, i), &tags[i], err);
        if (status != ERR_OK)
            return status;
    }
    item->tags = tags;
    item->n_tags = (uint32_t)n;
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
    return !text || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789-_.") == strlen(text);
}

static int read_video(struct item *item, struct field data, struct err *err)
{
    int status;
    if (item->kind == ITEM_DELETED)
        return ERR_OK;
    const struct field tags = field_get(data, "tags");
    if ((status = read_texts(item, data, err)) != ERR_OK ||
        (status = meaning_read_tags(item, tags, err)) != ERR_OK ||
        (status = check_sha256(item, err)) != ERR_OK ||
        (status = read_time(data, "published_at", &item->event_us, err)) != ERR_OK)
        return status;
    item->named |= tags.type != FIELD_ABSENT ? ITEM_FIELD_TAGS : 0u;
    item->named |=
        field_get(data, "published_at").type != FIELD_ABSENT ? ITEM_FIELD_PUBLISHED : 0u;
    if (item->media_uri && id_has_control(item->media_uri))
        return field_expected(err, "media_uri", "a URI without control characters");
    if (!is_word(item->lang))
        return field_expected(err, "lang", "a language tag such as \"en\" or \"pt-BR\"");
    return ERR_OK;
}

/* ---- the fields of an interaction -------------------------------------------------------- */

static int read_weight(struct item *item, struct field data, struct err *err)
{
    const struct field f = field_get(data, "weight");

    item->weight = 1.0;
    if (!field_is_given(f))
        return ERR_OK;
    if (f.type != FIELD_NUMBER)
        return field_expected_not(err, "weight", "a number or null", f);
    item->weight = f.number;
    if (!isfinite(item->weight) || fabs(item->weight) > EVENT_WEIGHT_MAX)
        return field_expected(err, "weight", "a finite number between -1e6 and 1e6");
    return ERR_OK;
}

static int read_interaction(struct item *item, struct field data, struct err *err)
{
    int status;
    if ((status = read_id(item, data, "user_id", &item->user_id, err)) != ERR_OK ||
        (status = read_text(item, data, "kind", EVENT_WORD_BYTES_MAX, &item->interaction_kind,
                            err)) != ERR_OK ||
        (status = read_weight(item, data, err)) != ERR_OK ||
        (status = read_time(data, "ts", &item->event_us, err)) != ERR_OK)
        return status;
    if (!is_word(item->interaction_kind))
        return field_expected(err, "kind", "a word such as \"watch\" or \"like\"");
    return ERR_OK;
}

/* CloudEvents' own time stands in for a published video's or an interaction's missing one. */
static int adopt_time(struct item *item, const struct envelope *e, struct err *err)
{
    int64_t time_us;
    if (!e->time)
        return ERR_OK;
    if (!rfc3339_parse(e->time, &time_us))
        return field_expected(err, "time", "an RFC 3339 timestamp with a zone");
    if (item->event_us == 0 && item->kind != ITEM_UPDATED)
        item->event_us = time_us;
    return ERR_OK;
}

/* It names no item. */
static int read_user_deleted(struct item *item, const struct envelope *e, struct err *err)
{
    int status = read_id(item, e->data, "user_id", &item->user_id, err);

    item->kind = ITEM_USER_DELETED;
    if (status == ERR_OK)
        status = read_time(e->data, "ts", &item->event_us, err);
    return status == ERR_OK ? adopt_time(item, e, err) : status;
}

int meaning_read(struct item *item, const struct envelope *e, struct err *err)
{
    if (e->type && strcmp(e->type, "user.deleted") == 0)
        return read_user_deleted(item, e, err);
    int status = read_id(item, e->data, "item_id", &item->item_id, err);

    if (status == ERR_OK)
        status = event_kind(item->role, e->type, e->data, &item->kind, err);
    if (status != ERR_OK)
        return status;
    status = item->kind == ITEM_INTERACTION ? read_interaction(item, e->data, err)
                                            : read_video(item, e->data, err);
    return status == ERR_OK ? adopt_time(item, e, err) : status;
}
