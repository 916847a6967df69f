/* units.h, by FFmpeg's parsers, which read headers only.
 *
 * AVI, ASF and raw streams tell when a picture is decoded, not when it is shown. Where pictures are
 * shown in another order although times only rise, the same times are given out in the order of
 * showing: H.264 and HEVC count it (POC); in MPEG-1, 2 and 4 a picture that is no B picture is shown after
 * the B pictures that follow it.
 *
 * A parser remembers what the packet before it was; each answer is cleared before the next packet,
 * so that what is not understood says nothing. H.264 calls a recovery point a key, also one after
 * which many pictures pass before the first is whole: decode_video.c finds that out. */

#include "extract/media/units.h"

#include "extract/media/budget.h"
#include "extract/media/media.h"

#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>

/* Parsers that tell keys by the bitstream. Pictures of other codecs are all keys, or their keys are
 * told by the frames that come out. */
static const enum AVCodecID told_by_parser[] = {
    AV_CODEC_ID_H264,       AV_CODEC_ID_HEVC,       AV_CODEC_ID_MPEG4,
    AV_CODEC_ID_MPEG2VIDEO, AV_CODEC_ID_MPEG1VIDEO, AV_CODEC_ID_VP8,
    AV_CODEC_ID_VP9,        AV_CODEC_ID_AV1,        AV_CODEC_ID_VC1,
};

struct asker {
    AVCodecParserContext *parser;
    AVCodecContext *ctx; /* of the parser: it holds the extradata */
};

static bool has_parser(enum AVCodecID id)
{
    for (size_t i = 0; i < sizeof(told_by_parser) / sizeof(told_by_parser[0]); i++)
        if (told_by_parser[i] == id)
            return true;
    return false;
}

static void close_asker(struct asker *a)
{
    if (a->parser)
        av_parser_close(a->parser);
    a->parser = NULL;
    avcodec_free_context(&a->ctx);
}

/* extradata (bytes): instead of the track's, NULL = the track's. */
static int open_asker(struct asker *a, const struct media_track *t, const uint8_t *extradata,
                      size_t bytes)
{
    close_asker(a);
    a->ctx = avcodec_alloc_context3(t->codec);
    a->parser = av_parser_init(t->par->codec_id);
    if (!a->ctx || avcodec_parameters_to_context(a->ctx, t->par) < 0)
        return ERR_RETRY;
    if (extradata) {
        uint8_t *copy = av_mallocz(bytes + AV_INPUT_BUFFER_PADDING_SIZE);
        if (!copy)
            return ERR_RETRY;
        memcpy(copy, extradata, bytes);
        av_freep(&a->ctx->extradata);
        a->ctx->extradata = copy;
        a->ctx->extradata_size = (int)bytes;
    }
    if (a->parser)
        a->parser->flags |= PARSER_FLAG_COMPLETE_FRAMES;
    return ERR_OK;
}

/* Fills the parser's key_frame, pict_type and picture_structure for one packet; they say nothing
 * once the budget is spent. */
static int ask(struct asker *a, const struct media_track *t, const AVPacket *pkt,
               struct budget *budget)
{
    bool spent = budget_is_spent(budget);
    size_t bytes = 0;
    const uint8_t *extradata = av_packet_get_side_data(pkt, AV_PKT_DATA_NEW_EXTRADATA, &bytes);
    if (!spent && extradata && bytes <= INT32_MAX / 2 &&
        (open_asker(a, t, extradata, bytes) != ERR_OK || !a->parser))
        return ERR_RETRY;
    a->parser->key_frame = -1;
    a->parser->pict_type = AV_PICTURE_TYPE_NONE;
    a->parser->picture_structure = AV_PICTURE_STRUCTURE_UNKNOWN;
    if (spent)
        return ERR_OK;
    uint8_t *out = NULL;
    int out_bytes = 0;
    (void)av_parser_parse2(a->parser, a->ctx, &out, &out_bytes, pkt->data, pkt->size,
                           AV_NOPTS_VALUE, AV_NOPTS_VALUE, pkt->pos);
    return ERR_OK;
}

static void settle_key(struct media_track *t, struct media_packet *p,
                       const AVCodecParserContext *said)
{
    bool key = p->key;
    /* H.264 without a slice header that can be read: damage, which the decoder will tell. */
    bool unread = t->par->codec_id == AV_CODEC_ID_H264 &&
                  said->picture_structure == AV_PICTURE_STRUCTURE_UNKNOWN;
    if (unread)
        key |= said->key_frame > 0;
    else if (said->key_frame >= 0)
        key = said->key_frame > 0;
    else if (said->pict_type != AV_PICTURE_TYPE_NONE)
        key = said->pict_type == AV_PICTURE_TYPE_I;
    t->n_keys_false += p->key && !key;
    p->key = key;
}

static bool is_field(enum AVPictureStructure s)
{
    return s == AV_PICTURE_STRUCTURE_TOP_FIELD || s == AV_PICTURE_STRUCTURE_BOTTOM_FIELD;
}

/* Whether `second` completes the picture that `first` began. A field without a time that precedes
 * one with a time is itself a second one, whose first is lost. In HEVC each field is a picture of
 * its own, of half the height. */
static bool completes(enum AVCodecID codec, const struct media_packet *first,
                      enum AVPictureStructure first_is, const struct media_packet *second,
                      enum AVPictureStructure second_is)
{
    if (codec == AV_CODEC_ID_HEVC)
        return false;
    if (!is_field(first_is) || !is_field(second_is) || first_is == second_is || second->cut)
        return false;
    return first->pts_us != MEDIA_NO_PTS || second->pts_us == MEDIA_NO_PTS;
}

static int join(struct media_packet *first, struct media_packet *second)
{
    int at = first->av->size;
    if (av_grow_packet(first->av, second->av->size) < 0)
        return ERR_RETRY;
    memcpy(first->av->data + at, second->av->data, (size_t)second->av->size);
    first->duration_us += second->duration_us;
    av_packet_free(&second->av);
    return ERR_OK;
}

/* A packet's place in the order of showing. */
struct place {
    int64_t period; /* pictures of one are shown before those of the next */
    int64_t order;
    uint32_t packet;
    bool is_b;
};

static bool counts_order(enum AVCodecID id)
{
    return id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC;
}

static bool has_b_pictures(enum AVCodecID id)
{
    return id == AV_CODEC_ID_MPEG4 || id == AV_CODEC_ID_MPEG2VIDEO ||
           id == AV_CODEC_ID_MPEG1VIDEO;
}

static void find_place(struct place *places, uint32_t n, const struct media_packet *p,
                       const struct media_track *t, const AVCodecParserContext *said)
{
    struct place *x = &places[n];
    *x = (struct place){.packet = n, .order = n};
    x->period = n > 0 ? places[n - 1].period : 0;
    x->is_b = said->pict_type == AV_PICTURE_TYPE_B;
    if (counts_order(t->par->codec_id))
        x->order = said->output_picture_number;
    if (p->cut || (counts_order(t->par->codec_id) && said->key_frame > 0 && x->order == 0))
        x->period++;
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->period != y->period)
        return x->period < y->period ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->packet > y->packet) - (x->packet < y->packet);
}

/* Pictures others refer to change places with the B pictures behind them. */
static void delay_references(struct place *places, uint32_t n)
{
    int64_t next = n;
    for (uint32_t i = n; i-- > 0;) {
        if (places[i].is_b)
            continue;
        places[i].order = next;
        next = i;
    }
}

static bool times_only_rise(const struct media_track *t)
{
    for (uint32_t i = 0; i < t->n_packets; i++) {
        int64_t at_us = t->packets[i].pts_us;
        if (at_us == MEDIA_NO_PTS || (i > 0 && at_us < t->packets[i - 1].pts_us))
            return false;
    }
    return true;
}

/* Where some pictures tell when they are shown and some do not: a picture without is shown after the B
 * pictures behind it. */
static void fill_times(struct media_track *t, const struct place *places)
{
    uint32_t last = t->n_packets; /* of the pictures shown before the next reference */
    for (uint32_t i = t->n_packets; i-- > 0;) {
        struct media_packet *p = &t->packets[i];
        if (last == t->n_packets)
            last = i;
        if (places[i].is_b)
            continue;
        const struct media_packet *before = &t->packets[last];
        if (p->av->pts == AV_NOPTS_VALUE && before->pts_us != MEDIA_NO_PTS)
            p->pts_us = before->pts_us +
                        (before->duration_us > 0 ? before->duration_us : t->nominal_frame_us);
        last = t->n_packets;
    }
}

/* Gives the times out in the order of showing. places: (t->n_packets), sorted on return. */
static int settle_times(struct media_track *t, struct place *places)
{
    uint32_t n = t->n_packets;
    bool b = false;
    for (uint32_t i = 0; i < n; i++)
        b |= places[i].is_b;
    if (!times_only_rise(t)) {
        if (b && has_b_pictures(t->par->codec_id))
            fill_times(t, places);
        return ERR_OK;
    }
    if (has_b_pictures(t->par->codec_id))
        delay_references(places, n);
    qsort(places, n, sizeof(*places), compare_places);
    int64_t *times = malloc((n ? n : 1) * sizeof(*times));
    if (!times)
        return ERR_RETRY;
    for (uint32_t i = 0; i < n; i++)
        times[i] = t->packets[i].pts_us;
    for (uint32_t i = 0; i < n; i++)
        t->packets[places[i].packet].pts_us = times[i];
    free(times);
    return ERR_OK;
}

static int settle_packets(struct media_track *t, struct asker *a, struct place *places,
                          struct budget *budget)
{
    enum AVPictureStructure open_field = AV_PICTURE_STRUCTURE_UNKNOWN; /* of the last kept */
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_packets; i++) {
        struct media_packet p = t->packets[i];
        if (ask(a, t, p.av, budget) != ERR_OK)
            return ERR_RETRY;
        enum AVPictureStructure is = a->parser->picture_structure;
        if (n > 0 && completes(t->par->codec_id, &t->packets[n - 1], open_field, &p, is)) {
            if (join(&t->packets[n - 1], &t->packets[i]) != ERR_OK)
                return ERR_RETRY;
            open_field = AV_PICTURE_STRUCTURE_UNKNOWN;
            continue;
        }
        settle_key(t, &p, a->parser);
        find_place(places, n, &p, t, a->parser);
        t->packets[i].av = NULL;
        t->packets[n++] = p;
        open_field = is;
    }
    t->n_packets = n;
    return ERR_OK;
}

/* A GIF or an APNG is drawn picture over picture from its beginning on. */
static void settle_canvas(struct media_track *t)
{
    for (uint32_t i = 0; i < t->n_packets; i++) {
        const AVPacket *pkt = t->packets[i].av;
        t->packets[i].key = i == 0 || (pkt->size > 3 && !memcmp(pkt->data, "GIF", 3));
    }
}

static void settle_intra(struct media_track *t)
{
    const AVCodecDescriptor *d = avcodec_descriptor_get(t->par->codec_id);
    if (!d || !(d->props & AV_CODEC_PROP_INTRA_ONLY))
        return;
    for (uint32_t i = 0; i < t->n_packets; i++)
        t->packets[i].key = true;
}

int units_settle(struct media_track *t, struct budget *budget, struct err *err)
{
    if (!t->par || !t->codec || t->encrypted || t->n_packets == 0)
        return ERR_OK;
    if (t->par->codec_id == AV_CODEC_ID_GIF || t->par->codec_id == AV_CODEC_ID_APNG)
        settle_canvas(t);
    settle_intra(t);
    if (!has_parser(t->par->codec_id))
        return ERR_OK;
    struct asker a = {0};
    int status = open_asker(&a, t, NULL, 0);
    struct place *places = calloc(t->n_packets, sizeof(*places));
    if (!places)
        status = ERR_RETRY;
    if (status == ERR_OK && a.parser)
        status = settle_packets(t, &a, places, budget);
    bool ordered = counts_order(t->par->codec_id) || has_b_pictures(t->par->codec_id);
    if (status == ERR_OK && a.parser && ordered && !budget_is_spent(budget))
        status = settle_times(t, places);
    free(places);
    close_asker(&a);
    return status == ERR_OK ? ERR_OK : err_oom(err, "packets of the picture");
}
