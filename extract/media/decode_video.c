/* decode.h, pictures.
 *
 * Samples that start from the same keyframe form a group and share one run: the keyframe alone
 * (send it and its follower, drain, flush) or everything from it to the last frame wanted, with
 * frames that nobody refers to discarded. Each packet is sent with its index as timestamp, and
 * a frame is known by the index that it brings back: container timestamps are not trusted
 * twice.
 *
 * VP9 and AV1 ignore skip_frame. In AV1 we leave out what nobody refers to ourselves (av1_refs.h);
 * in VP9 nearly everything is referred to, and the group costs all its frames, which the plan
 * has counted. */

#include "extract/media/decode.h"

#include "extract/media/av1_refs.h"

#include <errno.h>
#include <string.h>

#include <libavcodec/avcodec.h>

#define LARGE_FACTOR 2

struct run {
    const struct media_track *t;
    const struct plan *plan;
    int64_t budget_pixels;
    struct plan_packet *packets;
    struct canvas_painter *painter;
    struct encoder_frame *frames;
    bool *got, *got_next; /* (plan->n_samples) */
    struct decode_report *report;
    AVCodecContext *ctx;
    AVFrame *frame;
    bool is_h264, is_av1;
    struct av1_sequence av1;
    bool is_large; /* shrinks at least by LARGE_FACTOR */
    struct err *err;
};

static int open_decoder(struct run *r)
{
    r->ctx = avcodec_alloc_context3(r->t->codec);
    r->frame = av_frame_alloc();
    if (!r->ctx || !r->frame)
        return err_oom(r->err, "picture decoder");
    if (avcodec_parameters_to_context(r->ctx, r->t->par) < 0)
        return err_oom(r->err, "picture decoder");
    r->ctx->thread_count = 1;
    r->ctx->max_pixels = MEDIA_PIXELS_MAX;
    /* Beyond the limit a declared size would fail the opening; what is coded may still fit. */
    if ((int64_t)r->ctx->width * r->ctx->height > MEDIA_PIXELS_MAX)
        r->ctx->width = r->ctx->height = 0;
    /* Synthetic grain costs time and says nothing. */
    r->ctx->export_side_data = AV_CODEC_EXPORT_DATA_FILM_GRAIN;
    r->is_h264 = r->t->par->codec_id == AV_CODEC_ID_H264;
    r->is_large = r->t->par->width >= LARGE_FACTOR * CANVAS_SIDE &&
                  r->t->par->height >= LARGE_FACTOR * CANVAS_SIDE;
    r->is_av1 = r->t->par->codec_id == AV_CODEC_ID_AV1;
    if (r->is_av1 && r->t->par->extradata_size > 0)
        av1_configure(&r->av1, r->t->par->extradata, (size_t)r->t->par->extradata_size);
    int ret = avcodec_open2(r->ctx, r->t->codec, NULL);
    if (ret < 0)
        r->report->n_errors = MEDIA_ERRORS_MAX;
    return ERR_OK;
}

static void note_error(struct run *r, int code)
{
    r->report->n_errors++;
    if (code == AVERROR(ENOMEM)) {
        r->report->too_big = true;
        r->report->n_errors = MEDIA_ERRORS_MAX;
    }
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
    if (pixels > r->report->frame_pixels)
        r->report->frame_pixels = pixels;
    if (r->report->frame_pixels * r->plan->n_frames_to_decode > r->budget_pixels)
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

static void take_frame(struct run *r, unsigned first, unsigned end)
{
    int64_t index = r->frame->pts;
    bool corrupt = r->frame->flags & AV_FRAME_FLAG_CORRUPT;
    price_frame(r);
    hold_nothing_back(r);
    if (corrupt && r->is_h264)
        return;
    if (r->frame->decode_error_flags || corrupt)
        r->report->n_errors++;
    r->report->width = r->t->transpose ? r->frame->height : r->frame->width;
    r->report->height = r->t->transpose ? r->frame->width : r->frame->height;
    for (unsigned i = first; i < end; i++) {
        const struct plan_sample *s = &r->plan->samples[i];
        struct encoder_frame *f = &r->frames[i];
        if (index == s->packet && !r->got[i]) {
            r->got[i] = paint(r, &f->now) == ERR_OK;
            f->pts_us = s->pts_us;
        }
        if (s->follower != PLAN_NONE && index == s->follower && !r->got_next[i])
            r->got_next[i] = paint(r, &f->next) == ERR_OK;
    }
}

static void receive(struct run *r, unsigned first, unsigned end)
{
    for (;;) {
        int ret = avcodec_receive_frame(r->ctx, r->frame);
        if (ret == AVERROR(EAGAIN) || ret == AVERROR_EOF)
            return;
        if (ret < 0) {
            note_error(r, ret);
            return;
        }
        take_frame(r, first, end);
        av_frame_unref(r->frame);
    }
}

static bool is_wanted(const struct run *r, unsigned first, unsigned end, uint32_t packet)
{
    for (unsigned i = first; i < end; i++)
        if (r->plan->samples[i].packet == packet || r->plan->samples[i].follower == packet)
            return true;
    return false;
}

static bool is_done(const struct run *r, unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++)
        if (!r->got[i] || (r->plan->samples[i].follower != PLAN_NONE && !r->got_next[i]))
            return false;
    return true;
}

static void send(struct run *r, uint32_t packet, unsigned first, unsigned end)
{
    AVPacket *pkt = r->t->packets[packet].av;
    pkt->pts = packet;
    pkt->dts = AV_NOPTS_VALUE;
    int ret = avcodec_send_packet(r->ctx, pkt);
    if (ret < 0 && ret != AVERROR(EAGAIN))
        note_error(r, ret);
    receive(r, first, end);
}

/* A quarter of SVT-AV1's packets. Also reads sequence headers on the way: call it for every
 * packet of a run. */
static bool can_leave_out(struct run *r, uint32_t packet)
{
    const AVPacket *pkt = r->t->packets[packet].av;
    return r->is_av1 && av1_is_unreferenced(&r->av1, pkt->data, (size_t)pkt->size);
}

static bool must_stop(const struct run *r)
{
    return r->report->n_errors >= MEDIA_ERRORS_MAX || r->report->over_budget;
}

/* Decodes the samples first … end-1, which share one start. */
static void run_group(struct run *r, unsigned first, unsigned end)
{
    uint32_t start = r->plan->samples[first].start, last = start;
    bool forward = false;
    for (unsigned i = first; i < end; i++) {
        const struct plan_sample *s = &r->plan->samples[i];
        forward |= s->packet != s->start;
        last = s->packet > last ? s->packet : last;
        if (s->follower != PLAN_NONE && s->follower > last)
            last = s->follower;
    }
    /* Blocks' edges do not survive the scaling: 10 to 15 % of the decoding of HEVC for nothing. In a
     * run the error would add up from frame to frame. */
    r->ctx->skip_loop_filter = !forward && r->is_large ? AVDISCARD_ALL : AVDISCARD_DEFAULT;
    for (uint32_t k = start; k <= last; k++) {
        if (must_stop(r) || is_done(r, first, end))
            break;
        bool wanted = k == start || is_wanted(r, first, end, k);
        if (!wanted && !forward)
            continue;
        if (can_leave_out(r, k) && !wanted)
            continue;
        r->ctx->skip_frame = wanted ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
        send(r, k, first, end);
    }
    if (!is_done(r, first, end) && avcodec_send_packet(r->ctx, NULL) >= 0)
        receive(r, first, end);
    avcodec_flush_buffers(r->ctx);
    r->ctx->flags &= ~AV_CODEC_FLAG_OUTPUT_CORRUPT;
}

static bool group_gave_nothing(const struct run *r, uint32_t start)
{
    for (unsigned i = 0; i < r->plan->n_samples; i++)
        if (r->plan->samples[i].start == start && r->got[i])
            return false;
    return true;
}

/* A sample that did not come is not tried again, nor is a keyframe that led to none. */
static void mark_bad(struct run *r)
{
    for (unsigned i = 0; i < r->plan->n_samples; i++) {
        const struct plan_sample *s = &r->plan->samples[i];
        if (r->got[i])
            continue;
        r->packets[s->packet].bad = true;
        if (group_gave_nothing(r, s->start))
            r->packets[s->start].bad = true;
    }
}

int decode_frames(const struct media_track *t, const struct plan *plan, int64_t budget_pixels,
                  struct plan_packet *packets, struct canvas_painter *painter,
                  struct encoder_frame *frames, bool *got, struct decode_report *report,
                  struct err *err)
{
    bool got_next[FRAMES_MAX] = {false};
    struct run r = {.t = t,
                    .plan = plan,
                    .budget_pixels = budget_pixels,
                    .packets = packets,
                    .painter = painter,
                    .frames = frames,
                    .got = got,
                    .got_next = got_next,
                    .report = report,
                    .err = err};
    memset(got, 0, plan->n_samples * sizeof(*got));
    canvas_reset(painter);
    int status = open_decoder(&r);
    for (unsigned i = 0, end; status == ERR_OK && i < plan->n_samples; i = end) {
        for (end = i + 1; end < plan->n_samples; end++)
            if (plan->samples[end].start != plan->samples[i].start)
                break;
        if (!must_stop(&r))
            run_group(&r, i, end);
    }
    for (unsigned i = 0; i < plan->n_samples; i++) {
        const struct plan_sample *s = &plan->samples[i];
        frames[i].next_us =
            got[i] && got_next[i] ? (int32_t)(s->follower_pts_us - s->pts_us) : 0;
    }
    if (!report->over_budget)
        mark_bad(&r);
    avcodec_free_context(&r.ctx);
    av_frame_free(&r.frame);
    return status;
}
