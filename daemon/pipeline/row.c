#include "daemon/pipeline/row.h"

#include "daemon/base/json_memory.h"
#include "daemon/base/steady.h"
#include "daemon/event/event.h"
#include "extract/wire/notes.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct store_position position(const struct item *item)
{
    return (struct store_position){item->topic, item->partition, item->offset};
}

static json_t *notes_json(uint64_t notes)
{
    json_t *list = json_array();
    for (unsigned i = 0; list && i < NOTE_COUNT; i++)
        if (notes >> i & 1)
            (void)json_array_append_new(list, json_string(note_text((enum note)i)->name));
    return list;
}

struct json_t *row_flags_json(const struct features_flags *f)
{
    return json_pack(
        "{s:b, s:b, s:b, s:b, s:i, s:i, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:s, s:s,"
        " s:s, s:o, s:s}",
        "partial", f->partial, "degraded", f->degraded, "capped", f->capped, "retimed",
        f->retimed, "n_frames", (int)f->n_frames, "n_planned", (int)f->n_planned, "n_keyframes",
        (json_int_t)f->n_keyframes, "coverage", (double)f->coverage, "max_gap_ms",
        (json_int_t)f->max_gap_ms, "duration_ms", (json_int_t)f->duration_ms, "audio_ms",
        (json_int_t)f->audio_ms, "seen_ms", (json_int_t)f->seen_ms, "n_decode_errors",
        (json_int_t)f->n_decode_errors, "width", (int)f->width, "height", (int)f->height,
        "container", f->container, "video_codec", f->video_codec, "audio_codec", f->audio_codec,
        "notes", notes_json(f->notes), "reason", f->reason);
}

/* How the media was sampled: what is stored, when that is kept. */
static json_t *sampling_flags(const struct item *item, const json_t *stored)
{
    if (item->keeps_media)
        return json_copy((json_t *)(uintptr_t)stored);
    return item->features && item->media_uri ? row_flags_json(&item->features->flags)
                                             : json_object();
}

/* "cut": the names of the texts that were longer than is stored. One that an update does not name stays
 * as it was. */
static int print_cut(const struct item *item, const json_t *stored, json_t *flags)
{
    static const struct {
        unsigned bit, warning;
        const char *name;
    } texts[] = {{ITEM_FIELD_TITLE, ITEM_WARNING_TITLE_CUT, "title"},
                 {ITEM_FIELD_DESCRIPTION, ITEM_WARNING_DESCRIPTION_CUT, "description"},
                 {ITEM_FIELD_TAGS, ITEM_WARNING_TAGS_CUT, "tags"}};
    json_t *before = json_object_get(stored, "cut"), *cut = json_array(), *name;
    int failed = cut == NULL;
    size_t at;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        bool is_cut = item->warnings & texts[i].warning;
        json_array_foreach(before, at, name) is_cut |=
            !(item->named & texts[i].bit) && json_is_string(name) &&
            strcmp(json_string_value(name), texts[i].name) == 0;
        if (is_cut)
            failed |= json_array_append_new(cut, json_string(texts[i].name));
    }
    if (json_array_size(cut) > 0)
        failed |= json_object_set(flags, "cut", cut);
    else
        (void)json_object_del(flags, "cut");
    json_decref(cut);
    return failed ? ERR_RETRY : ERR_OK;
}

static int print_flags(struct item *item, const char **ret_json, struct err *err)
{
    unsigned long n_failures = json_memory_failures();
    json_t *stored = item->flags_json ? json_loads(item->flags_json, 0, NULL) : NULL;
    if (!stored) /* nothing, or what somebody else wrote there */
        stored = json_object();
    json_t *flags = stored ? sampling_flags(item, stored) : NULL;
    bool failed = !flags || print_cut(item, stored, flags) != ERR_OK ||
                  json_memory_failures() != n_failures;
    char *text = NULL;

    *ret_json = NULL;
    if (!failed && json_object_size(flags) > 0) {
        text = json_dumps(flags, JSON_COMPACT | JSON_REAL_PRECISION(6));
        *ret_json = text ? arena_strdup(&item->arena, text) : NULL;
        failed = *ret_json == NULL;
    }
    free(text);
    json_decref(flags);
    json_decref(stored);
    return failed ? err_oom(err, "row: flags") : ERR_OK;
}

static int video_row(struct item *item, struct store_video *ret_video, struct err *err)
{
    struct store_video video = {
        .pos = position(item),
        .item_id = item->item_id,
        .media_uri = item->media_uri,
        .sha256 = item->sha256,
        .title = item->title,
        .description = item->description,
        .lang = item->lang,
        .published_us = item->event_us,
        .received_us = item->received_us,
        .extracted_us = item->extracted_us,
        .extract_us = item->extract_us,
        .embedding = {.vec = item->embedding, .dim = item->embedding_dim},
        .model_id = item->model_id};
    int status;
    if ((status = event_tags_print(item, &video.tags_json, err)) != ERR_OK ||
        (status = print_flags(item, &video.flags_json, err)) != ERR_OK)
        return status;
    const struct features *f = item->features;
    for (int m = 0; f && m < MODALITY_COUNT; m++)
        if (f->mask & MODALITY_BIT(m))
            video.feature[m] = (struct store_vector){f->vec[m], f->dim[m], f->encoder_id[m]};
    *ret_video = video;
    return ERR_OK;
}

static int dead_letter_row(struct item *item, const char *dlq_topic,
                           struct store_dead_letter *ret_letter, struct err *err)
{
    struct store_header *headers = arena_array(&item->arena, item->n_headers, sizeof(*headers));
    if (!headers)
        return err_oom(err, "row: headers of a dead letter");
    for (size_t i = 0; i < item->n_headers; i++)
        headers[i] = (struct store_header){item->headers[i].name, item->headers[i].value,
                                           item->headers[i].value_bytes};
    *ret_letter = (struct store_dead_letter){
        .pos = position(item),
        .reason = item->err.reason,
        .error = item->err.text,
        .stage = item->stage,
        .item_id = item->item_id,
        .role = item_role_name(item->role),
        .key = item->key,
        .key_bytes = item->key_bytes,
        .value = item->value,
        .value_bytes = item->value_bytes,
        .headers = headers,
        .n_headers = item->n_headers,
        .ts_us = steady_stamp_us(),
        .said_us = item->record_us < item->received_us ? item->record_us : item->received_us,
        .dlq_topic = dlq_topic};
    return ERR_OK;
}

/* An event is no younger than its record: of a log that is read again, or of a clock that runs ahead. */
static int64_t said_us(const struct item *item)
{
    int64_t event_us = item->event_us, record_us = item->record_us;

    if (event_us == 0 || record_us == 0)
        return event_us + record_us ? event_us + record_us : item->received_us;
    return event_us < record_us ? event_us : record_us;
}

/* The later of the two, since more may have come between wish and record; never the future. */
static struct store_forget forget_row(const struct item *item)
{
    int64_t at_us = item->event_us > item->record_us ? item->event_us : item->record_us;

    return (struct store_forget){
        .pos = position(item),
        .user_id = item->user_id,
        .at_us = at_us > 0 && at_us < item->received_us ? at_us : item->received_us};
}

static struct store_interaction interaction_row(const struct item *item)
{
    int64_t record_us = item->record_us > 0 && item->record_us < item->received_us
                            ? item->record_us
                            : item->received_us;

    return (struct store_interaction){.pos = position(item),
                                      .user_id = item->user_id,
                                      .item_id = item->item_id,
                                      .kind = item->interaction_kind,
                                      .weight = item->weight,
                                      .ts_us = item->event_us ? item->event_us : record_us,
                                      .said_us = said_us(item)};
}

/* A re-extraction that failed leaves the item as it is, and no dead letter. */
static int reextraction_row(struct item *item, struct store_reextraction *ret, struct err *err)
{
    struct store_video video;
    int status;
    *ret = (struct store_reextraction){0};
    if (item->kind == ITEM_DEAD)
        return ERR_OK;
    if ((status = video_row(item, &video, err)) != ERR_OK)
        return status;
    *ret = (struct store_reextraction){.item_id = video.item_id,
                                       .flags_json = video.flags_json,
                                       .embedding = video.embedding,
                                       .model_id = video.model_id};
    memcpy(ret->feature, video.feature, sizeof(video.feature));
    return ERR_OK;
}

static int row_of(struct item *item, const char *dlq_topic, struct row *ret_row,
                  struct store_op *ret_op, struct err *err)
{
    if (item->ticket) {
        *ret_op = (struct store_op){.kind = STORE_OP_REEXTRACTION,
                                    .reextraction = &ret_row->reextraction};
        return reextraction_row(item, &ret_row->reextraction, err);
    }
    switch (item->kind) {
    case ITEM_PUBLISHED:
    case ITEM_UPDATED:
        *ret_op = (struct store_op){.kind = STORE_OP_VIDEO, .video = &ret_row->video};
        return video_row(item, &ret_row->video, err);
    case ITEM_DEAD:
        *ret_op = (struct store_op){.kind = STORE_OP_DEAD_LETTER,
                                    .dead_letter = &ret_row->dead_letter};
        return dead_letter_row(item, dlq_topic, &ret_row->dead_letter, err);
    case ITEM_DELETED:
        *ret_op = (struct store_op){.kind = STORE_OP_DELETE, .del = &ret_row->del};
        ret_row->del = (struct store_delete){position(item), item->item_id};
        return ERR_OK;
    case ITEM_INTERACTION:
        *ret_op = (struct store_op){.kind = STORE_OP_INTERACTION,
                                    .interaction = &ret_row->interaction};
        ret_row->interaction = interaction_row(item);
        return ERR_OK;
    case ITEM_USER_DELETED:
        *ret_op = (struct store_op){.kind = STORE_OP_FORGET, .forget = &ret_row->forget};
        ret_row->forget = forget_row(item);
        return ERR_OK;
    case ITEM_GAP:
        *ret_op = (struct store_op){.kind = STORE_OP_GAP, .gap = &ret_row->gap};
        ret_row->gap =
            (struct store_gap){item->topic, item->partition, item->gap_from, item->gap_to};
        return ERR_OK;
    }
    return err_fatal(err, 70, "row: item of kind %d", (int)item->kind);
}

int row_from_item(struct item *item, const char *dlq_topic, struct row *ret_row,
                  struct store_op *ret_op, struct err *err)
{
    int status = row_of(item, dlq_topic, ret_row, ret_op, err);
    ret_op->letter_id = item->letter_id;
    return status;
}
