#include "daemon/pipeline/update.h"

#include "daemon/event/event.h"
#include "store/reading.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool names(const struct item *item, unsigned field)
{
    return item->named & field;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* The update's field, or the stored one where the update does not name it. */
static int keep_text(struct item *item, unsigned field, const char *stored, const char **text,
                     struct err *err)
{
    if (names(item, field) || !stored)
        return ERR_OK;
    *text = arena_strdup(&item->arena, stored);
    return *text ? ERR_OK : err_oom(err, "update: copy a stored field");
}

/* A file that is overwritten in place is not noticed without a new sha256. */
static bool media_is_unchanged(const struct item *item, const struct store_item *row)
{
    return (!names(item, ITEM_FIELD_MEDIA) || same_text(item->media_uri, row->media_uri)) &&
           (!names(item, ITEM_FIELD_SHA256) || same_text(item->sha256, row->sha256));
}

/* A stored sha256 says nothing about another URI. */
static int keep_media(struct item *item, const struct store_item *row, bool unchanged,
                      struct err *err)
{
    int status = keep_text(item, ITEM_FIELD_MEDIA, row->media_uri, &item->media_uri, err);
    if (status == ERR_OK && unchanged)
        status = keep_text(item, ITEM_FIELD_SHA256, row->sha256, &item->sha256, err);
    return status;
}

static int keep_texts(struct item *item, const struct store_item *row, struct err *err)
{
    int status;
    if ((status = keep_text(item, ITEM_FIELD_TITLE, row->title, &item->title, err)) != ERR_OK ||
        (status = keep_text(item, ITEM_FIELD_DESCRIPTION, row->description, &item->description,
                            err)) != ERR_OK ||
        (status = keep_text(item, ITEM_FIELD_LANG, row->lang, &item->lang, err)) != ERR_OK)
        return status;
    if (!names(item, ITEM_FIELD_PUBLISHED))
        item->event_us = llround(row->published_ms * 1000.0);
    if (!names(item, ITEM_FIELD_TAGS) && row->tags_json)
        return event_tags_parse(item, row->tags_json, err);
    return ERR_OK;
}

/* Imported features have no media behind them: they are kept whatever made them. */
static bool can_extract(const struct item *item, enum modality m)
{
    return m == MODALITY_TEXTUAL || item->media_uri;
}

/* The stored vector into features; none when the modality is missing. Not *ret_usable: the stored
 * one is damaged, or of no use to the present encoder, and has to be made anew from the media. */
static int keep_feature(struct item *item, const struct encoder_identity *encoder,
                        struct store *reader, bool *ret_usable, struct err *err)
{
    struct features *f = item->features;
    enum modality m = encoder->modality;
    float *vec;
    int32_t stored_dim;
    int status =
        store_get_feature(reader, item->item_id, m, &vec, &stored_dim, f->encoder_id[m], err);
    *ret_usable = status != ERR_FATAL;
    if (status != ERR_OK)
        return status == ERR_NONE || status == ERR_FATAL ? ERR_OK : status;
    size_t bytes = (size_t)stored_dim * sizeof(float);
    *ret_usable = bytes <= sizeof(f->vec[m]) &&
                  (!can_extract(item, m) ||
                   (stored_dim == encoder->dim && strcmp(f->encoder_id[m], encoder->id) == 0));
    if (*ret_usable) {
        memcpy(f->vec[m], vec, bytes);
        f->dim[m] = (uint16_t)stored_dim;
        f->mask |= MODALITY_BIT(m);
    }
    free(vec);
    return ERR_OK;
}

static int keep_features(struct item *item, struct store *reader,
                         const struct encoder_identity *encoders, struct err *err)
{
    item->features = arena_alloc(&item->arena, sizeof(*item->features));
    if (!item->features)
        return err_oom(err, "update: stored features");
    bool usable;
    int status = keep_feature(item, &encoders[MODALITY_VISUAL], reader, &usable, err);
    if (status == ERR_OK && usable)
        status = keep_feature(item, &encoders[MODALITY_ACOUSTIC], reader, &usable, err);
    if (status != ERR_OK)
        return status;
    if (!usable) {
        item->features = NULL;
        return ERR_OK;
    }
    item->keeps_media = true;
    return ERR_OK;
}

/* Whatever encoder they are of; a damaged one is none. */
static int look_for_media_vectors(struct item *item, struct store *reader, struct err *err)
{
    static const enum modality of_media[] = {MODALITY_VISUAL, MODALITY_ACOUSTIC};
    for (size_t i = 0; i < sizeof(of_media) / sizeof(of_media[0]); i++) {
        char encoder_id[FEATURES_ENCODER_ID_MAX];
        float *vec = NULL;
        int32_t dim;
        int status =
            store_get_feature(reader, item->item_id, of_media[i], &vec, &dim, encoder_id, err);
        if (status == ERR_RETRY)
            return status;
        item->has_media_vectors |= status == ERR_OK;
        if (status == ERR_OK)
            free(vec);
    }
    return ERR_OK;
}

/* A re-extraction: everything from the media; without any, from the text, beside the picture and
 * sound that are stored. */
static int begin_anew(struct item *item, struct store *reader,
                      const struct encoder_identity *encoders, struct err *err)
{
    if (item->media_uri)
        return look_for_media_vectors(item, reader, err);
    if (item->title || item->description || item->n_tags > 0)
        return keep_features(item, reader, encoders, err);
    return err_skip(err, "no_media", "item %s: neither media nor text to extract from",
                    item->item_id);
}

static int complete_from(struct item *item, const struct store_item *row, struct store *reader,
                         const struct encoder_identity *encoders, struct err *err)
{
    bool unchanged = media_is_unchanged(item, row);
    int status;
    if ((status = keep_texts(item, row, err)) != ERR_OK ||
        (status = keep_media(item, row, unchanged, err)) != ERR_OK)
        return status;
    if (row->flags_json && !item->flags_json) {
        item->flags_json = arena_strdup(&item->arena, row->flags_json);
        if (!item->flags_json)
            return err_oom(err, "update: stored flags");
    }
    if (item->ticket)
        return begin_anew(item, reader, encoders, err);
    return unchanged ? keep_features(item, reader, encoders, err) : ERR_OK;
}

static int complete(struct item *item, struct store *reader,
                    const struct encoder_identity *encoders, struct err *err)
{
    struct store_item row = {0};
    int status = store_get_item(reader, item->item_id, &row, err);
    if (status != ERR_OK && status != ERR_NONE)
        return err_wrap(err, "update of item %s", item->item_id);
    if (item->ticket && (status == ERR_NONE || row.deleted))
        status = err_skip(err, "no_item", "no item %s in this store", item->item_id);
    else
        status = status == ERR_NONE || row.deleted
                     ? ERR_OK
                     : complete_from(item, &row, reader, encoders, err);
    store_item_done(&row);
    item->is_complete = status == ERR_OK;
    return status;
}

int update_complete(struct item *item, struct store *reader,
                    const struct encoder_identity *encoders, struct err *err)
{
    struct item_mark before;
    if (item->is_complete)
        return ERR_OK;
    item_mark(item, &before);
    int status = complete(item, reader, encoders, err);
    if (status == ERR_RETRY)
        item_rewind(item, &before);
    return status;
}

int update_adopt(struct item *item, const struct features *from, const struct err *media_err,
                 struct err *err)
{
    if (item->has_media_vectors && media_err->status == ERR_SKIP)
        return err_skip(err, media_err->reason, "%s; the stored features stay",
                        media_err->text);
    if (item->keeps_media) {
        struct features *f = item->features;
        f->mask &= ~MODALITY_BIT(MODALITY_TEXTUAL);
        f->mask |= from->mask & MODALITY_BIT(MODALITY_TEXTUAL);
        f->dim[MODALITY_TEXTUAL] = from->dim[MODALITY_TEXTUAL];
        memcpy(f->encoder_id[MODALITY_TEXTUAL], from->encoder_id[MODALITY_TEXTUAL],
               sizeof(f->encoder_id[MODALITY_TEXTUAL]));
        memcpy(f->vec[MODALITY_TEXTUAL], from->vec[MODALITY_TEXTUAL],
               sizeof(f->vec[MODALITY_TEXTUAL]));
        return ERR_OK;
    }
    item->features = arena_copy(&item->arena, from, sizeof(*from));
    return item->features ? ERR_OK : err_oom(err, "extract: copy features");
}
