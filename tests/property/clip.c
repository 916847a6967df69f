/* clip.h: tracks and the muxer. */

#include "clip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

static char why[256];

const char *clip_why(void)
{
    return why;
}

void clip_set_why(const char *text, int code)
{
    char cause[AV_ERROR_MAX_STRING_SIZE] = "";
    if (code < 0)
        av_strerror(code, cause, sizeof(cause));
    snprintf(why, sizeof(why), "%s%s%s", text, code < 0 ? ": " : "", cause);
}

static void *or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

struct track *track_copy(const struct track *t)
{
    struct track *copy = or_abort(calloc(1, sizeof(*copy)));
    *copy = *t;
    copy->par = or_abort(avcodec_parameters_alloc());
    if (avcodec_parameters_copy(copy->par, t->par) < 0)
        abort();
    copy->packets = or_abort(calloc(t->n_packets + 1, sizeof(*copy->packets)));
    for (unsigned i = 0; i < t->n_packets; i++) {
        copy->packets[i] = or_abort(av_packet_clone(t->packets[i]));
        if (av_packet_make_writable(copy->packets[i]) < 0)
            abort();
    }
    return copy;
}

void track_free(struct track *t)
{
    if (t == NULL)
        return;
    for (unsigned i = 0; i < t->n_packets; i++)
        av_packet_free(&t->packets[i]);
    free(t->packets);
    avcodec_parameters_free(&t->par);
    free(t);
}

static int64_t track_end(const struct track *t)
{
    int64_t end = 0;
    for (unsigned i = 0; i < t->n_packets; i++) {
        const AVPacket *p = t->packets[i];
        if (p->pts + p->duration > end)
            end = p->pts + p->duration;
    }
    return end;
}

void track_join(struct track *a, struct track *b, bool with_side_data)
{
    int64_t end = track_end(a);
    int64_t low = b->n_packets > 0 ? b->packets[0]->dts : 0;
    /* B frames begin below zero: the second part must not run back into the first. */
    int64_t last = a->n_packets > 0 ? a->packets[a->n_packets - 1]->dts : 0;
    int64_t shift = av_rescale(end, b->rate, a->rate);
    if (shift + low <= av_rescale(last, b->rate, a->rate))
        shift = av_rescale(last, b->rate, a->rate) + 1 - low;
    if (with_side_data && b->n_packets > 0 && b->par->extradata_size > 0) {
        uint8_t *data = av_packet_new_side_data(b->packets[0], AV_PKT_DATA_NEW_EXTRADATA,
                                                (size_t)b->par->extradata_size);
        memcpy(or_abort(data), b->par->extradata, (size_t)b->par->extradata_size);
    }
    a->packets =
        or_abort(realloc(a->packets, (a->n_packets + b->n_packets + 1) * sizeof(*a->packets)));
    for (unsigned i = 0; i < b->n_packets; i++) {
        AVPacket *p = b->packets[i];
        p->pts = av_rescale(p->pts + shift, a->rate, b->rate);
        p->dts = av_rescale(p->dts + shift, a->rate, b->rate);
        p->duration = av_rescale(p->duration, a->rate, b->rate);
        a->packets[a->n_packets++] = p;
    }
    b->n_packets = 0;
    track_free(b);
}

void track_drop(struct track *t, unsigned first, unsigned n)
{
    if (first >= t->n_packets)
        return;
    if (n > t->n_packets - first)
        n = t->n_packets - first;
    for (unsigned i = 0; i < n; i++)
        av_packet_free(&t->packets[first + i]);
    memmove(&t->packets[first], &t->packets[first + n],
            (t->n_packets - first - n) * sizeof(*t->packets));
    t->n_packets -= n;
}

void clip_free(struct clip *c)
{
    for (unsigned i = 0; i < c->n_tracks; i++)
        track_free(c->tracks[i]);
    c->n_tracks = 0;
}

static int add_streams(AVFormatContext *fmt, const struct clip *c)
{
    for (unsigned i = 0; i < c->n_tracks; i++) {
        const struct track *t = c->tracks[i];
        AVStream *st = or_abort(avformat_new_stream(fmt, NULL));
        int ret = avcodec_parameters_copy(st->codecpar, t->par);
        if (ret < 0)
            return ret;
        /* Raw pictures in AVI are known by their tag alone. */
        if (t->par->codec_id != AV_CODEC_ID_RAWVIDEO || strcmp(c->container, "avi") != 0)
            st->codecpar->codec_tag = 0;
        bool picture = t->par->codec_type == AVMEDIA_TYPE_VIDEO;
        st->time_base = (AVRational){1, picture && t->fps > 0 ? t->fps : t->rate};
        if (picture && t->fps > 0)
            st->avg_frame_rate = st->r_frame_rate = (AVRational){t->fps, 1};
        st->disposition = t->disposition;
    }
    return 0;
}

static int write_one(AVFormatContext *fmt, const struct track *t, unsigned stream,
                     AVPacket *src)
{
    AVPacket *p = or_abort(av_packet_clone(src));
    p->stream_index = (int)stream;
    av_packet_rescale_ts(p, (AVRational){1, t->rate}, fmt->streams[stream]->time_base);
    int ret = av_interleaved_write_frame(fmt, p);
    av_packet_free(&p);
    return ret;
}

static double packet_time(const struct track *t, unsigned i)
{
    const AVPacket *p = t->packets[i];
    return (double)(p->dts != AV_NOPTS_VALUE ? p->dts : 0) / t->rate;
}

static int write_packets(AVFormatContext *fmt, const struct clip *c)
{
    unsigned next[CLIP_TRACKS_MAX] = {0};
    for (;;) {
        int best = -1;
        for (unsigned i = 0; i < c->n_tracks; i++)
            if (next[i] < c->tracks[i]->n_packets &&
                (best < 0 ||
                 packet_time(c->tracks[i], next[i]) < packet_time(c->tracks[best], next[best])))
                best = (int)i;
        if (best < 0)
            return 0;
        const struct track *t = c->tracks[best];
        int ret = write_one(fmt, t, (unsigned)best, t->packets[next[best]++]);
        if (ret < 0)
            return ret;
    }
}

static int write_all(AVFormatContext *fmt, const struct clip *c)
{
    AVDictionary *d = NULL;
    int ret = add_streams(fmt, c);
    if (ret >= 0 && c->options != NULL)
        ret = av_dict_parse_string(&d, c->options, "=", ":", 0);
    if (ret >= 0)
        ret = avformat_write_header(fmt, &d);
    av_dict_free(&d);
    if (ret >= 0)
        ret = write_packets(fmt, c);
    return ret >= 0 ? av_write_trailer(fmt) : ret;
}

static bool read_whole(int fd, struct file *ret_file)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size == 0)
        return false;
    ret_file->bytes = or_abort(malloc((size_t)st.st_size));
    ret_file->n_bytes = 0;
    while (ret_file->n_bytes < (size_t)st.st_size) {
        ssize_t n = pread(fd, ret_file->bytes + ret_file->n_bytes,
                          (size_t)st.st_size - ret_file->n_bytes, (off_t)ret_file->n_bytes);
        if (n <= 0)
            abort();
        ret_file->n_bytes += (size_t)n;
    }
    return true;
}

/* By way of a file in memory: muxers go back to what they wrote. */
bool clip_write(const struct clip *c, struct file *ret_file)
{
    AVFormatContext *fmt = NULL;
    char path[64];
    int ret = avformat_alloc_output_context2(&fmt, NULL, c->container, NULL);
    if (ret < 0) {
        clip_set_why("no muxer", ret);
        return false;
    }
    int fd = memfd_create("clip", MFD_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    fmt->flags |= AVFMT_FLAG_BITEXACT;
    ret = avio_open(&fmt->pb, path, AVIO_FLAG_WRITE);
    if (ret >= 0)
        ret = write_all(fmt, c);
    (void)avio_closep(&fmt->pb);
    avformat_free_context(fmt);
    if (ret < 0)
        clip_set_why("the muxer refuses it", ret);
    else if (!read_whole(fd, ret_file))
        ret = AVERROR_EOF;
    (void)close(fd);
    return ret >= 0;
}
