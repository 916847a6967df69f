/* decode.h, pictures.
 *
 * Samples that start from the same keyframe form a group and share one run: the keyframe alone
 * (send it and its follower, drain, flush) or everything from it to the last frame wanted, with
 * frames that nobody refers to discarded. Each packet is sent with its index as timestamp, and
 * a frame is known by the index that it brings back: container timestamps are not trusted
 * twice.
 *
 * What came out decides. A run counts once its start came out as a key picture; H.264's decoder
 * vouches for that itself, and gives out nothing before. From the first damaged packet on, frames
 * of a run are damaged, until one is a key again.
 *
 * VP9 and AV1 ignore skip_frame. In AV1 we leave out what nobody refers to ourselves (av1_refs.h);
 * in VP9 nearly everything is referred to, and the group costs all its frames, which the plan
 * has counted. */

#include "extract/media/decode.h"

#include "extract/media/av1_refs.h"
#include "extract/media/compat.h"
#include "extract/media/complaints.h"
#include "extract/media/price.h"

#include <errno.h>
#include <string.h>

#include <libavcodec/avcodec.h>

#define LARGE_FACTOR    2
#define ERRORS_IN_A_ROW 16
#define ERRORS_MAX      50  /* of a run */
#define LEAD_MAX        600 /* packets after a key before the first frame comes */
#define NEXT_MAX_US     400000

struct run {
    const struct media_track *t;
    const struct plan *plan;
    struct plan_packet *packets;
    struct canvas_painter *painter;
    struct budget *budget;
    int64_t pixels_left; /* of the budget, when the decoding began */
    struct decode_slots *slots;
    struct decode_report *report;
    AVCodecContext *ctx;
    AVFrame *frame;
    bool is_h264, is_av1;
    struct av1_sequence av1;
    bool is_large;                   /* shrinks at least by LARGE_FACTOR */
    bool has_extradata, has_palette; /* some packet brings a new one */
    uint32_t
        extradata_of; /* the packet whose extradata the decoder has; PLAN_NONE = the track's */
    bool is_linear;
    uint32_t lead_planned; /* the plan knew */
    struct err *err;

    /* Of the group. */
    unsigned first, end;  /* samples */
    uint32_t start, last; /* packets */
    bool is_forward;      /* everything from the start on is sent */
    bool entered;         /* frames count from here on */
    bool is_false;        /* the start is no key */
    uint32_t damaged_at;  /* the first packet that was damaged; PLAN_NONE = none */
    uint32_t first_out;   /* the first frame that came; PLAN_NONE = none */
    uint32_t n_errors, n_in_a_row;
    bool came[FRAMES_MAX], came_next[FRAMES_MAX]; /* by sample */
};

static struct run new_run(const struct decode_job *job, struct err *err)
{
    return (struct run){.t = job->t,
                        .plan = job->plan,
                        .packets = job->packets,
                        .painter = job->painter,
                        .budget = job->budget,
                        .slots = job->slots,
                        .report = job->report,
                        .first_out = PLAN_NONE,
                        .damaged_at = PLAN_NONE,
                        .err = err};
}

/* ---- The decoder and its state ---- */

static int set_extradata(AVCodecContext *ctx, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = av_mallocz(bytes + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!copy)
        return -1;
    memcpy(copy, data, bytes);
    av_freep(&ctx->extradata);
    ctx->extradata = copy;
    ctx->extradata_size = (int)bytes;
    return 0;
}

/* extradata_of: the packet whose extradata to open with. */
static int open_decoder(struct run *r, uint32_t extradata_of)
{
    const struct media_track *t = r->t;
    avcodec_free_context(&r->ctx);
    r->ctx = avcodec_alloc_context3(t->codec);
    if (!r->ctx || avcodec_parameters_to_context(r->ctx, t->par) < 0)
        return err_oom(r->err, "picture decoder");
    if (extradata_of != PLAN_NONE) {
        size_t bytes = 0;
        const uint8_t *data = av_packet_get_side_data(t->packets[extradata_of].av,
                                                      AV_PKT_DATA_NEW_EXTRADATA, &bytes);
        if (data && bytes < INT32_MAX / 2 && set_extradata(r->ctx, data, bytes) < 0)
            return err_oom(r->err, "picture decoder");
    }
    r->extradata_of = extradata_of;
    r->ctx->thread_count = 1;
    r->ctx->max_pixels = MEDIA_PIXELS_MAX;
    /* Beyond the limit a declared size would fail the opening; what is coded may still fit. */
    if ((int64_t)r->ctx->width * r->ctx->height > MEDIA_PIXELS_MAX)
        r->ctx->width = r->ctx->height = 0;
    /* Synthetic grain costs time and says nothing. */
    r->ctx->export_side_data = AV_CODEC_EXPORT_DATA_FILM_GRAIN;
    if (r->is_av1 && r->ctx->extradata_size > 0)
        av1_configure(&r->av1, r->ctx->extradata, (size_t)r->ctx->extradata_size);
    complaints_listen(r->ctx);
    if (avcodec_open2(r->ctx, t->codec, NULL) < 0) {
        r->report->n_errors += MEDIA_ERRORS_MAX;
        r->report->gave_up = true;
    }
    return ERR_OK;
}

static bool has_side_data(const struct run *r, uint32_t packet, enum AVPacketSideDataType type)
{
    size_t bytes = 0;
    return av_packet_get_side_data(r->t->packets[packet].av, type, &bytes) != NULL;
}

static void look_for_side_data(struct run *r)
{
    for (uint32_t i = 0; i < r->t->n_packets; i++) {
        r->has_extradata |= has_side_data(r, i, AV_PKT_DATA_NEW_EXTRADATA);
        r->has_palette |= has_side_data(r, i, AV_PKT_DATA_PALETTE);
    }
}

/* The packet at or before this one that last brought side data of the type; PLAN_NONE = none. */
static uint32_t last_with(const struct run *r, uint32_t packet, enum AVPacketSideDataType type)
{
    for (uint32_t i = packet;; i--) {
        if (has_side_data(r, i, type))
            return i;
        if (i == 0)
            return PLAN_NONE;
    }
}

/* Side data rides on one packet and holds for all that follow, also when that one is not sent:
 * gives the decoder what holds at the group's start. */
static int restore_state(struct run *r)
{
    if (r->has_palette) {
        uint32_t from = last_with(r, r->start, AV_PKT_DATA_PALETTE);
        if (from != PLAN_NONE && from != r->start) {
            size_t bytes = 0;
            const uint8_t *data =
                av_packet_get_side_data(r->t->packets[from].av, AV_PKT_DATA_PALETTE, &bytes);
            uint8_t *copy =
                av_packet_new_side_data(r->t->packets[r->start].av, AV_PKT_DATA_PALETTE, bytes);
            if (!copy)
                return err_oom(r->err, "palette");
            memcpy(copy, data, bytes);
        }
    }
    if (!r->has_extradata)
        return ERR_OK;
    uint32_t from = last_with(r, r->start, AV_PKT_DATA_NEW_EXTRADATA);
    return from == r->extradata_of ? ERR_OK : open_decoder(r, from);
}

static int begin(struct run *r)
{
    const struct AVCodecParameters *par = r->t->par;
    r->is_h264 = par->codec_id == AV_CODEC_ID_H264;
    r->is_large =
        par->width >= LARGE_FACTOR * CANVAS_SIDE && par->height >= LARGE_FACTOR * CANVAS_SIDE;
    r->is_av1 = par->codec_id == AV_CODEC_ID_AV1;
    r->lead_planned = r->report->lead;
    r->pixels_left = r->budget->pixels - r->budget->n_pixels_spent;
    r->frame = av_frame_alloc();
    if (!r->frame)
        return err_oom(r->err, "picture decoder");
    look_for_side_data(r);
    return open_decoder(r, PLAN_NONE);
}

static void finish(struct run *r)
{
    complaints_listen(NULL);
    avcodec_free_context(&r->ctx);
    av_frame_free(&r->frame);
}

/* ---- What comes out ---- */

static void note_damage(struct run *r, uint32_t packet)
{
    r->report->n_errors++;
    r->n_errors++;
    r->packets[packet].damaged = true;
    if (r->damaged_at == PLAN_NONE || packet < r->damaged_at)
        r->damaged_at = packet;
}

static void note_error(struct run *r, int code, uint32_t packet)
{
    note_damage(r, packet);
    r->n_in_a_row++;
    budget_take_frame(r->budget, 0);
    if (code == AVERROR(ENOMEM))
        r->report->too_big = r->report->gave_up = true;
}

static int paint(struct run *r, struct canvas *c)
{
    struct err why;
    int status = canvas_paint(r->painter, r->frame, r->t->transpose, r->t->flip_x, r->t->flip_y,
                              c, &why);
    if (status != ERR_OK)
        r->report->n_errors++;
    return status;
}

static void price_frame(struct run *r)
{
    int64_t pixels = (int64_t)r->frame->width * r->frame->height;
    budget_take_frame(r->budget, pixels);
    if (pixels > r->report->frame_pixels)
        r->report->frame_pixels = pixels;
    if (!r->is_linear && r->report->frame_pixels * r->plan->n_frames_to_decode > r->pixels_left)
        r->report->over_budget = true;
}

/* After a keyframe that is no IDR (open GOP) the H.264 decoder holds back what refers to frames
 * before it, which is right, until the first frame comes. What it had decoded by then and gives
 * out at the end only, FFmpeg before 7.1 holds back too, although nothing is wrong with it. */
static void hold_nothing_back(struct run *r)
{
    if (r->is_h264)
        r->ctx->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT;
}

/* A signal handler that comes in between sees the slot empty, not half painted. */
static void fill_slot(struct run *r, unsigned target, uint32_t packet, bool damaged)
{
    struct plan_got *got = &r->slots->got[target];
    struct encoder_frame *f = &r->slots->frames[target];
    *(volatile bool *)&got->any = false;
    r->slots->has_next[target] = false;
    f->next_us = 0;
    if (paint(r, &f->now) != ERR_OK)
        return;
    f->pts_us = got->pts_us = r->packets[packet].pts_us;
    got->damaged = damaged;
    *(volatile bool *)&got->any = true;
}

static void fill_next(struct run *r, unsigned target, uint32_t packet)
{
    struct encoder_frame *f = &r->slots->frames[target];
    if (paint(r, &f->next) != ERR_OK)
        return;
    f->next_us = (int32_t)(r->packets[packet].pts_us - f->pts_us);
    r->slots->has_next[target] = true;
}

static bool is_wanting(const struct run *r, unsigned target, bool damaged)
{
    const struct plan_got *got = &r->slots->got[target];
    return !got->any || (got->damaged && !damaged);
}

static void take_planned(struct run *r, uint32_t index, bool damaged)
{
    for (unsigned i = r->first; i < r->end; i++) {
        const struct plan_sample *s = &r->plan->samples[i];
        if (index == s->packet && !r->came[i]) {
            if (is_wanting(r, s->target, damaged)) {
                fill_slot(r, s->target, index, damaged);
                r->slots->wants_next[s->target] = s->follower != PLAN_NONE;
            }
            r->came[i] = r->slots->got[s->target].any;
        }
        if (s->follower != PLAN_NONE && index == s->follower && !r->came_next[i]) {
            r->came_next[i] = true;
            if (r->came[i] && r->slots->frames[s->target].pts_us == s->pts_us)
                fill_next(r, s->target, index);
        }
    }
}

static void take_linear(struct run *r, uint32_t index, bool damaged)
{
    int64_t at_us = r->packets[index].pts_us;
    for (unsigned t = 0; t < r->plan->n_targets; t++) {
        const struct plan_got *got = &r->slots->got[t];
        int64_t off_us = at_us - r->plan->targets_us[t];
        if (got->any && !r->slots->has_next[t] && r->slots->wants_next[t] && r->came[t] &&
            at_us > got->pts_us && at_us - got->pts_us <= NEXT_MAX_US)
            fill_next(r, t, index);
        if (off_us < -r->plan->tau_us || off_us > r->plan->tau_us || !is_wanting(r, t, damaged))
            continue;
        if (!got->any && plan_is_served(r->plan, r->slots->got, t))
            continue;
        fill_slot(r, t, index, damaged);
        r->slots->wants_next[t] = t % 2 == 0;
        r->came[t] = got->any;
    }
}

/* Whether the run may count from here on; tells a false key. */
static void judge_entry(struct run *r, uint32_t index)
{
    bool key = compat_is_key(r->frame);
    if (r->first_out == PLAN_NONE)
        r->first_out = index;
    if (r->is_linear) {
        if (key && !(r->frame->decode_error_flags)) {
            r->entered = true;
            r->damaged_at =
                r->damaged_at != PLAN_NONE && r->damaged_at > index ? r->damaged_at : PLAN_NONE;
        }
        r->entered |= r->is_h264;
        return;
    }
    if (index == r->start) {
        r->entered = true;
        r->is_false = !key && r->packets[index].key;
        r->packets[index].proven = key;
        if (!key && !r->is_false &&
            !r->is_h264) /* there is no key at all: references are made up */
            note_damage(r, index);
    } else if (r->is_h264) {
        r->entered = true;
    } else if (!r->entered && r->packets[index].pts_us > r->packets[r->start].pts_us) {
        r->entered = true; /* without its start: on references that are made up */
        note_damage(r, r->start);
    }
}

static void take_frame(struct run *r)
{
    int64_t index = r->frame->pts;
    bool corrupt = r->frame->flags & AV_FRAME_FLAG_CORRUPT;
    price_frame(r);
    hold_nothing_back(r);
    if ((corrupt && r->is_h264) || index < 0 || index >= r->t->n_packets)
        return;
    r->n_in_a_row = 0;
    judge_entry(r, (uint32_t)index);
    if (r->is_false || (r->is_linear && !r->entered))
        return;
    if (r->frame->decode_error_flags || corrupt)
        note_damage(r, (uint32_t)index);
    r->report->width = r->t->transpose ? r->frame->height : r->frame->width;
    r->report->height = r->t->transpose ? r->frame->width : r->frame->height;
    bool damaged = r->damaged_at != PLAN_NONE && index >= r->damaged_at;
    if (r->is_linear)
        take_linear(r, (uint32_t)index, damaged);
    else
        take_planned(r, (uint32_t)index, damaged);
}

/* ---- What goes in ---- */

static bool must_stop(const struct run *r)
{
    return r->report->gave_up || r->report->over_budget || budget_is_spent(r->budget);
}

static void receive(struct run *r, uint32_t packet)
{
    while (!must_stop(r)) {
        int ret = avcodec_receive_frame(r->ctx, r->frame);
        if (ret == AVERROR(EAGAIN) || ret == AVERROR_EOF)
            return;
        if (ret < 0) {
            note_error(r, ret, packet);
            return;
        }
        take_frame(r);
        av_frame_unref(r->frame);
    }
}

/* Leading pictures miss what is before the start, a follower alone what is between, and what precedes
 * H.264's recovery what went before: that is no damage. */
static bool should_be_whole(const struct run *r, uint32_t packet)
{
    if (r->is_linear || r->is_h264)
        return r->entered;
    return packet == r->start ||
           (r->is_forward && r->packets[packet].pts_us > r->packets[r->start].pts_us);
}

static void send(struct run *r, uint32_t packet)
{
    uint32_t n_complaints = complaints_count(), n_errors = r->n_errors;
    AVPacket *pkt = r->t->packets[packet].av;
    if (!price_packet(r->t->par->codec_id, pkt, r->report->frame_pixels, r->budget)) {
        r->report->too_dear = true;
        note_damage(r, packet);
        return;
    }
    pkt->pts = packet;
    pkt->dts = AV_NOPTS_VALUE;
    pkt->flags &= ~AV_PKT_FLAG_DISCARD; /* it might be a start, which is judged by its frame */
    int ret = avcodec_send_packet(r->ctx, pkt);
    if (ret < 0 && ret != AVERROR(EAGAIN))
        note_error(r, ret, packet);
    receive(r, packet);
    if (complaints_count() > n_complaints && r->n_errors == n_errors &&
        should_be_whole(r, packet))
        note_damage(r, packet);
}

static void drain(struct run *r, uint32_t packet)
{
    if (!must_stop(r) && avcodec_send_packet(r->ctx, NULL) >= 0)
        receive(r, packet);
}

static void flush(struct run *r)
{
    avcodec_flush_buffers(r->ctx);
    r->ctx->flags &= ~AV_CODEC_FLAG_OUTPUT_CORRUPT;
}

/* A quarter of SVT-AV1's packets. Also reads sequence headers on the way: call it for every
 * packet of a run. */
static bool can_leave_out(struct run *r, uint32_t packet)
{
    const AVPacket *pkt = r->t->packets[packet].av;
    return r->is_av1 && av1_is_unreferenced(&r->av1, pkt->data, (size_t)pkt->size);
}

/* ---- A group ---- */

static bool is_wanted(const struct run *r, uint32_t packet)
{
    for (unsigned i = r->first; i < r->end; i++)
        if (r->plan->samples[i].packet == packet || r->plan->samples[i].follower == packet)
            return true;
    return false;
}

static bool is_done(const struct run *r)
{
    for (unsigned i = r->first; i < r->end; i++)
        if (!r->came[i] || (r->plan->samples[i].follower != PLAN_NONE && !r->came_next[i]))
            return false;
    return true;
}

static bool group_must_stop(const struct run *r)
{
    return must_stop(r) || r->is_false || r->n_errors >= ERRORS_MAX ||
           r->n_in_a_row >= ERRORS_IN_A_ROW;
}

/* What a false start brought is none: neither frames nor damage. */
static void take_back(struct run *r)
{
    r->packets[r->start].key = false;
    r->report->n_keys_false++;
    r->report->n_errors -= r->n_errors;
    for (uint32_t k = r->start; r->n_errors > 0 && k <= r->last; k++)
        r->packets[k].damaged = false;
    for (unsigned i = r->first; i < r->end; i++)
        if (r->came[i])
            r->slots->got[r->plan->samples[i].target].any = false;
}

/* Nothing came of a key that H.264 calls a recovery point: how many packets later does it? */
static void learn_lead(struct run *r)
{
    uint32_t last = r->start;
    flush(r);
    r->ctx->skip_frame = AVDISCARD_DEFAULT;
    for (uint32_t k = r->start; k < r->t->n_packets && k - r->start <= LEAD_MAX; k++) {
        if (group_must_stop(r) || r->first_out != PLAN_NONE ||
            (k > r->start && r->packets[k].cut))
            break;
        send(r, k);
        last = k;
    }
    if (r->first_out == PLAN_NONE)
        drain(r, last);
}

static void note_lead(struct run *r)
{
    if (r->first_out != PLAN_NONE && r->first_out > r->start && r->damaged_at == PLAN_NONE &&
        r->first_out - r->start > r->report->lead &&
        r->packets[r->first_out].pts_us > r->packets[r->start].pts_us)
        r->report->lead = r->first_out - r->start;
}

/* A sample that did not come is not tried again, nor is a keyframe that led to none. */
static void mark_bad(struct run *r)
{
    bool nothing = true;
    for (unsigned i = r->first; i < r->end; i++)
        nothing = nothing && !r->came[i];
    for (unsigned i = r->first; i < r->end; i++)
        if (!r->came[i])
            r->packets[r->plan->samples[i].packet].bad = true;
    if (nothing)
        r->packets[r->start].bad = true;
}

static void end_group(struct run *r)
{
    bool silent = r->is_h264 && r->first_out == PLAN_NONE && r->damaged_at == PLAN_NONE;
    if (!must_stop(r) && silent && r->report->lead == r->lead_planned)
        learn_lead(r);
    if (r->is_h264)
        note_lead(r);
    if (r->is_false)
        take_back(r);
    else if (!must_stop(r) && r->report->lead == r->lead_planned)
        mark_bad(r);
}

/* Decodes the samples first … end-1, which share one start. */
static int run_group(struct run *r, unsigned first, unsigned end)
{
    r->first = first;
    r->end = end;
    r->start = r->plan->samples[first].start;
    r->entered = r->is_false = false;
    r->damaged_at = r->first_out = PLAN_NONE;
    r->n_errors = r->n_in_a_row = 0;
    uint32_t last = r->start;
    bool forward = false;
    for (unsigned i = first; i < end; i++) {
        const struct plan_sample *s = &r->plan->samples[i];
        forward |= s->packet != s->start;
        last = s->packet > last ? s->packet : last;
        if (s->follower != PLAN_NONE && s->follower > last)
            last = s->follower;
    }
    r->is_forward = forward;
    r->last = last;
    if (restore_state(r) != ERR_OK)
        return ERR_RETRY;
    /* Blocks' edges do not survive the scaling: 10 to 15 % of the decoding of HEVC for nothing. In a
     * run the error would add up from frame to frame. */
    r->ctx->skip_loop_filter = !forward && r->is_large ? AVDISCARD_ALL : AVDISCARD_DEFAULT;
    for (uint32_t k = r->start; k <= last; k++) {
        if (group_must_stop(r) || is_done(r))
            break;
        bool wanted = k == r->start || is_wanted(r, k);
        if (!wanted && !forward)
            continue;
        if (can_leave_out(r, k) && !wanted)
            continue;
        r->ctx->skip_frame = wanted ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
        send(r, k);
    }
    if (!group_must_stop(r) && !is_done(r))
        drain(r, last);
    end_group(r);
    flush(r);
    return ERR_OK;
}

int decode_frames(const struct decode_job *job, struct err *err)
{
    struct run r = new_run(job, err);
    const struct plan *plan = job->plan;
    canvas_reset(job->painter);
    int status = begin(&r);
    for (unsigned i = 0, end; status == ERR_OK && i < plan->n_samples; i = end) {
        for (end = i + 1; end < plan->n_samples; end++)
            if (plan->samples[end].start != plan->samples[i].start)
                break;
        if (must_stop(&r))
            break;
        status = run_group(&r, i, end);
    }
    finish(&r);
    return status;
}

/* ---- All of it ---- */

/* The next packet at which decoding can begin again; n_packets = none. */
static uint32_t next_entry(const struct run *r, uint32_t packet)
{
    while (packet < r->t->n_packets && !r->packets[packet].key && !r->packets[packet].cut)
        packet++;
    return packet;
}

static int64_t last_wanted_us(const struct run *r)
{
    int64_t last_us = INT64_MIN;
    for (unsigned t = 0; t < r->plan->n_targets; t++)
        if (!plan_is_served(r->plan, r->slots->got, t))
            last_us = r->plan->targets_us[t] + r->plan->tau_us;
    return last_us;
}

static int restart(struct run *r, uint32_t packet)
{
    flush(r);
    r->start = packet;
    r->entered = false;
    r->damaged_at = PLAN_NONE;
    r->n_in_a_row = 0;
    return restore_state(r);
}

static int run_through(struct run *r, uint32_t from)
{
    int status = restart(r, from);
    uint32_t k = from;
    int64_t end_us = last_wanted_us(r);
    r->ctx->skip_frame = AVDISCARD_DEFAULT;
    while (status == ERR_OK && k < r->t->n_packets && !must_stop(r)) {
        if (k > from && (r->packets[k].cut || r->n_in_a_row >= ERRORS_IN_A_ROW)) {
            drain(r, k - 1);
            k = next_entry(r, k);
            if (k == r->t->n_packets)
                break;
            status = restart(r, k);
            if (status != ERR_OK)
                break;
        }
        if (r->packets[k].key && r->packets[k].pts_us > end_us) {
            end_us = last_wanted_us(r);
            if (r->packets[k].pts_us > end_us)
                break;
        }
        send(r, k++);
    }
    if (status == ERR_OK && k > from)
        drain(r, k - 1);
    return status;
}

int decode_linear(const struct decode_job *job, uint32_t from, struct err *err)
{
    struct run r = new_run(job, err);
    r.is_linear = true;
    canvas_reset(job->painter);
    int status = begin(&r);
    if (status == ERR_OK && !must_stop(&r))
        status = run_through(&r, from);
    finish(&r);
    return status;
}
