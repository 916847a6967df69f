/* windows.h.
 *
 * By time: the demuxer seeks to the keyframe nearest to the target, by its index. Which end to
 * believe: the index's last entry, else the declared duration; then packets are read from near that
 * end, and where none come, from half as far, and so on.
 *
 * By bytes: for what has neither index nor duration (MPEG-TS, MPEG-PS, raw streams, Matroska
 * without cues), and where the end is not where it was promised and bytes reach further (FLV without
 * an index). A place is found from the times already seen, by straight lines between them, in a
 * few looks: rates change within a file. It is half a group of pictures before the target, so that
 * the first keyframe from there is the nearest.
 *
 * A picture before the first keyframe of its window is no use and not kept. So what has a single
 * keyframe cannot be read in windows: the probe finds none near the end. */

#include "extract/media/windows.h"

#include "extract/media/media.h"

#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#define POINTS_MAX   64
#define LOOKS_MAX    5
#define PROBES_MAX   5
#define SPAN_PART    .8          /* of a share, on average: rates change */
#define READ_MIN     (256 << 10) /* bytes that a window may read, whatever its share */
#define BUDGET_EVERY 16
#define NO_TIME      INT64_MIN
#define TIME_MAX_US  (INT64_C(1) << 60)
#define INDEX_SLACK_US                                                                         \
    1000000               /* an index that is made while reading is this far ahead at most */
#define NEAR_FRACTION 64  /* of the length, where the end is looked for */
#define FINE_FRACTION 512 /* of it, where a target is */

struct point {
    int64_t bytes, us;
};

struct reader {
    const struct windows_file *f;
    struct windows *w;
    struct err *err;
    AVPacket *pkt;
    int stream; /* whose times count */
    uint32_t share_packets;
    int64_t share_bytes, read_limit;
    int64_t begin_us, end_us; /* of the file: first of the pass, last that was found */
    int64_t pass_end_us;
    int64_t span_us;  /* of a window */
    int64_t group_us; /* between keyframes */
    bool by_bytes, looking;
    bool promise_kept;               /* what was looked for near the promised end lies there */
    struct point points[POINTS_MAX]; /* (n_points) by bytes and by time */
    unsigned n_points;
    int64_t end_bytes;                    /* of the last window */
    int64_t last_us[MEDIA_STREAMS_MAX];   /* up to the last window */
    int64_t newest_us[MEDIA_STREAMS_MAX]; /* with this one */
};

/* What one window came to. */
struct run {
    int64_t first_us, last_us, end_us; /* of the main stream; NO_TIME = none came */
    uint32_t n_main;
    int64_t key_us; /* of its first keyframe, or sound */
    bool has_key;
    bool past[2]; /* what lies behind the window has come: of picture, of sound */
    bool at_end;  /* of the file */
    bool far_past;
    int64_t span_us; /* of the window */
};

static struct run new_run(int64_t span_us)
{
    return (struct run){.first_us = NO_TIME,
                        .last_us = NO_TIME,
                        .end_us = NO_TIME,
                        .key_us = NO_TIME,
                        .span_us = span_us};
}

static const AVStream *main_stream(const struct reader *r)
{
    return r->f->fmt->streams[r->stream];
}

static int64_t packet_us(const struct reader *r, const AVPacket *pkt)
{
    AVRational base = r->f->fmt->streams[pkt->stream_index]->time_base;
    int64_t ts = pkt->pts != AV_NOPTS_VALUE ? pkt->pts : pkt->dts;
    if (ts == AV_NOPTS_VALUE || base.num <= 0 || base.den <= 0)
        return NO_TIME;
    int64_t us = av_rescale_q(ts, base, AV_TIME_BASE_Q);
    return us > -TIME_MAX_US && us < TIME_MAX_US ? us : NO_TIME;
}

static int64_t duration_us(const struct reader *r, const AVPacket *pkt)
{
    AVRational base = r->f->fmt->streams[pkt->stream_index]->time_base;
    int64_t us = pkt->duration > 0 && base.num > 0 && base.den > 0
                     ? av_rescale_q(pkt->duration, base, AV_TIME_BASE_Q)
                     : 0;
    return us > 0 && us < 1000000 ? us : 0;
}

int64_t windows_packet_bytes(const AVPacket *pkt)
{
    int64_t bytes = pkt->size;
    for (int i = 0; i < pkt->side_data_elems; i++)
        bytes += (int64_t)pkt->side_data[i].size;
    return bytes;
}

static int append(struct reader *r, AVPacket *pkt)
{
    struct windows *w = r->w;
    if (w->n_packets == w->n_allocated) {
        uint32_t n = w->n_allocated ? w->n_allocated * 2 : 1024;
        AVPacket **grown = av_realloc_array(w->packets, n, sizeof(AVPacket *));
        if (!grown)
            return err_oom(r->err, "media: windows");
        w->packets = grown;
        w->n_allocated = n;
    }
    w->packets[w->n_packets++] = pkt;
    w->packet_bytes += windows_packet_bytes(pkt);
    return ERR_OK;
}

static void truncate_to(struct windows *w, uint32_t n)
{
    while (w->n_packets > n) {
        AVPacket **last = &w->packets[--w->n_packets];
        w->packet_bytes -= windows_packet_bytes(*last);
        av_packet_free(last);
    }
}

static void allow_reading(const struct reader *r, int64_t bytes)
{
    int64_t max = *r->f->read_bytes + bytes;
    *r->f->read_max = max < r->read_limit ? max : r->read_limit;
}

/* Whether it is of a kept stream, and not what the windows before have. */
static bool is_wanted(const struct reader *r, const AVPacket *pkt)
{
    int i = pkt->stream_index;
    if (pkt->size <= 0 || i >= MEDIA_STREAMS_MAX || (i != r->f->video && i != r->f->audio))
        return false;
    return r->by_bytes || packet_us(r, pkt) > r->last_us[i];
}

/* A window begins with a keyframe of the main stream; what comes before one is no use. */
static bool has_begun(const struct reader *r, const AVPacket *pkt, struct run *run)
{
    bool sound = main_stream(r)->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
    bool key = sound || pkt->flags & AV_PKT_FLAG_KEY;
    if (!run->has_key && pkt->stream_index == r->stream && key) {
        run->has_key = true;
        run->key_us = packet_us(r, pkt);
    }
    return run->has_key;
}

static void note_packet(struct reader *r, const AVPacket *pkt, struct run *run)
{
    int64_t us = packet_us(r, pkt);
    if (us != NO_TIME && us > r->newest_us[pkt->stream_index])
        r->newest_us[pkt->stream_index] = us;
    if (pkt->stream_index != r->stream)
        return;
    run->n_main++;
    if (us == NO_TIME)
        return;
    if (run->first_us == NO_TIME || us < run->first_us)
        run->first_us = us;
    if (us > run->last_us) {
        run->last_us = us;
        run->end_us = us + duration_us(r, pkt);
    }
}

/* A window of nothing but sound is none where there is a picture larger than a share. */
static bool is_full(const struct reader *r, uint32_t n, int64_t bytes, const AVPacket *pkt,
                    const struct run *run)
{
    const struct windows *w = r->w;
    if (r->looking)
        return false;
    bool over = n >= r->share_packets || bytes + windows_packet_bytes(pkt) > r->share_bytes;
    bool far_over = n / 2 >= r->share_packets || bytes / 2 > r->share_bytes;
    return (over && run->n_main > 0) || far_over || w->n_packets >= r->f->packets_max ||
           w->packet_bytes + windows_packet_bytes(pkt) > r->f->packet_bytes_max;
}

static int keep(struct reader *r, struct run *run)
{
    note_packet(r, r->pkt, run);
    if (r->looking)
        return ERR_OK;
    AVPacket *kept = av_packet_alloc();
    if (!kept)
        return err_oom(r->err, "media: windows");
    av_packet_move_ref(kept, r->pkt);
    r->w->damaged |= kept->flags & AV_PKT_FLAG_CORRUPT;
    int status = append(r, kept);
    if (status != ERR_OK)
        av_packet_free(&kept);
    return status;
}

/* Whether the packet lies behind the window. Picture and sound may lie apart in the file, so that
 * the one is passed before the other has come: but not for longer than WINDOWS_SPAN_US. */
static bool is_past(const struct reader *r, const AVPacket *pkt, struct run *run)
{
    int64_t us = packet_us(r, pkt);
    if (run->first_us == NO_TIME || us == NO_TIME || us - run->first_us <= run->span_us)
        return false;
    run->past[0] |= pkt->stream_index == r->f->video;
    run->past[1] |= pkt->stream_index == r->f->audio;
    run->far_past |= us - run->first_us > run->span_us + WINDOWS_SPAN_US;
    return true;
}

static bool is_done(const struct reader *r, const struct run *run)
{
    bool picture = run->past[0] || r->f->video < 0, sound = run->past[1] || r->f->audio < 0;
    return (picture && sound) || run->far_past;
}

/* The reading that is allowed ended in the middle of it. */
static bool is_torn(const struct reader *r)
{
    return r->pkt->flags & AV_PKT_FLAG_CORRUPT && *r->f->read_bytes >= *r->f->read_max;
}

/* Reads on from here: packets over the run's span, at most n_main_max of the main stream and the
 * window's share. An error of the demuxer ends a window as the file's end does. */
static int read_run(struct reader *r, uint32_t n_main_max, struct run *run)
{
    uint32_t start = r->w->n_packets;
    int64_t start_bytes = r->w->packet_bytes;
    int status = ERR_OK;
    for (uint32_t i = 0; status == ERR_OK && i < r->f->packets_max && !is_done(r, run); i++) {
        if (i % BUDGET_EVERY == 0 && budget_is_spent(r->f->budget))
            break;
        int ret = av_read_frame(r->f->fmt, r->pkt);
        if (ret < 0) {
            run->at_end = ret == AVERROR_EOF && *r->f->read_bytes < *r->f->read_max;
            break;
        }
        if (run->n_main >= n_main_max || is_torn(r) ||
            is_full(r, r->w->n_packets - start, r->w->packet_bytes - start_bytes, r->pkt, run))
            break;
        bool begun = has_begun(r, r->pkt, run) || r->looking;
        if (begun && is_wanted(r, r->pkt) && !is_past(r, r->pkt, run))
            status = keep(r, run);
        av_packet_unref(r->pkt);
    }
    av_packet_unref(r->pkt);
    return status;
}

static int64_t from_us(const struct reader *r, int64_t us)
{
    return av_rescale_q(us, AV_TIME_BASE_Q, main_stream(r)->time_base);
}

/* An index says what it likes: within ±TIME_MAX_US. */
static int64_t to_us(const struct reader *r, int64_t ts)
{
    int64_t us = av_rescale_q(ts, main_stream(r)->time_base, AV_TIME_BASE_Q);
    return us > TIME_MAX_US ? TIME_MAX_US : us < -TIME_MAX_US ? -TIME_MAX_US : us;
}

static bool seek_ts(struct reader *r, int64_t ts)
{
    allow_reading(r, WINDOWS_SEEK_BYTES);
    return av_seek_frame(r->f->fmt, r->stream, ts, AVSEEK_FLAG_BACKWARD) >= 0;
}

static bool seek_time(struct reader *r, int64_t us)
{
    return seek_ts(r, from_us(r, us));
}

/* The keyframe nearest to the time by the index, else the last before it: an index that is made
 * while reading has holes. What is asked for lies half a group behind the keyframe, because an index
 * may count decoding times while seeking compares presentation times. */
static bool seek_key(struct reader *r, int64_t us)
{
    AVStream *st = r->f->fmt->streams[r->stream];
    int64_t ts = from_us(r, us), best_ts = ts, best_gap = from_us(r, r->group_us);
    for (int flags = 0; flags <= AVSEEK_FLAG_BACKWARD; flags += AVSEEK_FLAG_BACKWARD) {
        const AVIndexEntry *key = avformat_index_get_entry_from_timestamp(st, ts, flags);
        int64_t gap, behind, half = from_us(r, r->group_us) / 2;
        if (!key || __builtin_sub_overflow(key->timestamp, ts, &gap) || gap < -INT64_MAX ||
            llabs(gap) > best_gap || __builtin_add_overflow(key->timestamp, half, &behind))
            continue;
        best_gap = llabs(gap);
        best_ts = behind;
    }
    return seek_ts(r, best_ts);
}

/* The Matroska demuxer keeps what it was reading, and that it had ended, over a seek by bytes; a
 * seek by time to the beginning makes it forget both, and reads nothing. */
static bool seek_bytes(struct reader *r, int64_t bytes)
{
    if (strncmp(r->f->fmt->iformat->name, "matroska", 8) == 0 && !seek_time(r, r->begin_us))
        return false;
    allow_reading(r, WINDOWS_SEEK_BYTES);
    return av_seek_frame(r->f->fmt, -1, bytes, AVSEEK_FLAG_BYTE) >= 0;
}

static void allow_window(const struct reader *r)
{
    int64_t bytes = r->share_bytes * MEDIA_READ_FACTOR;
    allow_reading(r, bytes > READ_MIN ? bytes : READ_MIN);
}

/* Looks at what comes and keeps nothing of it. */
static int look(struct reader *r, uint32_t n_main_max, struct run *run)
{
    int64_t newest_us[MEDIA_STREAMS_MAX];
    memcpy(newest_us, r->newest_us, sizeof(newest_us));
    r->looking = true;
    *run = new_run(INT64_MAX);
    int status = read_run(r, n_main_max, run);
    r->looking = false;
    memcpy(r->newest_us, newest_us, sizeof(newest_us));
    return status;
}

/* Where the file ends by its index, else by what it declares; NO_TIME when neither lies behind what
 * the pass has read. */
static int64_t promised_end(const struct reader *r)
{
    const AVFormatContext *fmt = r->f->fmt;
    AVStream *st = fmt->streams[r->stream];
    int n = avformat_index_get_entries_count(st);
    const AVIndexEntry *last = n > 0 ? avformat_index_get_entry(st, n - 1) : NULL;
    int64_t length_us = last ? to_us(r, last->timestamp) - r->begin_us : 0;
    int64_t seen_us = r->pass_end_us - r->begin_us;
    int64_t declared_us = st->duration > 0 ? to_us(r, st->duration) : 0;
    bool alike = declared_us > length_us && declared_us < length_us + INDEX_SLACK_US;
    if (length_us <= seen_us + INDEX_SLACK_US || alike)
        length_us = declared_us;
    if (length_us <= seen_us && fmt->duration > 0)
        length_us = fmt->duration;
    return length_us > seen_us && length_us < TIME_MAX_US ? r->begin_us + length_us : NO_TIME;
}

/* Whether the demuxer finds places by time; then end_us is the end. */
static int probe_time(struct reader *r, bool *ret_found)
{
    *ret_found = false;
    int64_t end_us = r->pass_end_us == NO_TIME ? NO_TIME : promised_end(r);
    for (unsigned i = 0; end_us != NO_TIME && i < PROBES_MAX; i++) {
        int64_t length_us = end_us - r->begin_us, near_us = length_us / NEAR_FRACTION;
        struct run run;
        if (!seek_time(r, end_us - near_us))
            return ERR_OK;
        allow_window(r);
        int status = look(r, UINT32_MAX, &run);
        if (status != ERR_OK)
            return status;
        if (run.n_main > 0 && run.first_us != NO_TIME) {
            bool as_promised = !run.at_end && llabs(run.first_us - end_us) <= length_us / 8;
            r->end_us = as_promised && end_us > run.end_us ? end_us : run.end_us;
            *ret_found = run.has_key && run.key_us > r->pass_end_us;
            r->promise_kept = i == 0 && r->end_us - r->begin_us >= length_us / 8 * 7;
            return ERR_OK;
        }
        end_us = r->pass_end_us + (end_us - r->pass_end_us) / 2;
    }
    return ERR_OK;
}

/* Keeps the list growing in bytes and in time: what does not fit in is no use for a line. */
static void add_point(struct reader *r, int64_t bytes, int64_t us)
{
    unsigned at = 0;
    while (at < r->n_points && r->points[at].bytes < bytes)
        at++;
    bool fits = us != NO_TIME && r->n_points < POINTS_MAX &&
                (at == 0 || r->points[at - 1].us < us) &&
                (at == r->n_points || (r->points[at].bytes > bytes && r->points[at].us > us));
    if (!fits)
        return;
    memmove(&r->points[at + 1], &r->points[at], (r->n_points - at) * sizeof(r->points[0]));
    r->points[at] = (struct point){bytes, us};
    r->n_points++;
}

static int64_t bytes_at(const struct reader *r, int64_t us)
{
    for (unsigned i = 1; i < r->n_points; i++) {
        const struct point *a = &r->points[i - 1], *b = &r->points[i];
        if (us > b->us && i + 1 < r->n_points)
            continue;
        double part = (double)(us - a->us) / (double)(b->us - a->us);
        part = part < 0 ? 0 : part > 1 ? 1 : part;
        return a->bytes + (int64_t)(part * (double)(b->bytes - a->bytes));
    }
    return 0;
}

/* Whether the times go on with the bytes. Where the demuxer counts packets (AVI without an index),
 * they go on from what was read last. */
static bool times_grow(const struct reader *r, int64_t end_us)
{
    if (r->n_points < 2 || end_us <= r->pass_end_us)
        return false;
    double bytes = (double)r->f->size_bytes / (double)r->points[1].bytes;
    double times = (double)(end_us - r->begin_us) / (double)(r->pass_end_us - r->begin_us);
    return times * 4 > bytes;
}

/* Whether the demuxer finds its way from any byte. The end is looked for in the last 1/64 of the
 * file, twice as much, … */
static int probe_bytes(struct reader *r, bool *ret_found)
{
    *ret_found = false;
    r->by_bytes = true;
    int64_t tail = r->f->size_bytes / NEAR_FRACTION;
    tail = tail < r->share_bytes / 2 ? tail : r->share_bytes / 2;
    for (unsigned i = 0; i < PROBES_MAX && tail < r->f->size_bytes / 2; i++, tail *= 2) {
        struct run run;
        if (!seek_bytes(r, r->f->size_bytes - tail))
            return ERR_OK;
        allow_window(r);
        int status = look(r, UINT32_MAX, &run);
        if (status != ERR_OK)
            return status;
        if (!run.has_key)
            continue;
        *ret_found = true;
        if (times_grow(r, run.end_us)) {
            r->end_us = run.end_us;
            add_point(r, r->f->size_bytes, r->end_us);
        }
        return ERR_OK;
    }
    return ERR_OK;
}

/* By time, where the end is where it was promised; else by bytes, where more of the file is found so:
 * without an index FLV is sought by reading on, which ends early. */
static int probe(struct reader *r, bool *ret_found)
{
    bool by_time = false, by_bytes = false;
    int status = probe_time(r, &by_time);
    *ret_found = by_time;
    if (status != ERR_OK || (by_time && r->promise_kept))
        return status;
    int64_t end_us = r->end_us;
    status = probe_bytes(r, &by_bytes);
    *ret_found = by_time || by_bytes;
    if (by_time && !(by_bytes && r->end_us > end_us)) {
        r->by_bytes = false;
        r->end_us = end_us;
    }
    return status;
}

static int find_bytes(struct reader *r, int64_t us, int64_t *ret_bytes)
{
    int64_t near_us = (r->end_us - r->begin_us) / FINE_FRACTION;
    near_us = near_us > r->group_us / 8 ? near_us : r->group_us / 8;
    for (unsigned i = 0; i < LOOKS_MAX; i++) {
        *ret_bytes = bytes_at(r, us);
        if (i + 1 == LOOKS_MAX || !seek_bytes(r, *ret_bytes))
            break;
        struct run run;
        int status = look(r, 1, &run);
        if (status != ERR_OK)
            return status;
        if (run.first_us == NO_TIME || llabs(run.first_us - us) <= near_us)
            break;
        add_point(r, *ret_bytes, run.first_us);
    }
    return ERR_OK;
}

/* By time, to the keyframe nearest to us. Where an index leads astray (ASF's is off by the preroll),
 * the same error is added to what is asked for, once. */
static int find_time(struct reader *r, int64_t us, bool *ret_there)
{
    int64_t at_us = us, best_us = us, best_gap_us = INT64_MAX;
    for (unsigned i = 0; i < 2; i++) {
        struct run run;
        if (!seek_key(r, at_us))
            break;
        int status = look(r, 1, &run);
        if (status != ERR_OK)
            return status;
        if (run.first_us == NO_TIME)
            break;
        int64_t gap_us = us - run.first_us;
        if (llabs(gap_us) < best_gap_us) {
            best_gap_us = llabs(gap_us);
            best_us = at_us;
        }
        if (llabs(gap_us) <= r->group_us / 2)
            break;
        at_us = us + gap_us;
    }
    *ret_there = seek_key(r, best_us);
    return ERR_OK;
}

/* Goes to the plan's i-th target. */
static int go_to(struct reader *r, unsigned i, bool *ret_there)
{
    if (r->end_us == NO_TIME) {
        int64_t bytes = r->f->size_bytes / (2 * FRAMES_MAX) * (2 * (int64_t)i + 1);
        *ret_there = seek_bytes(r, bytes > r->end_bytes ? bytes : r->end_bytes);
        return ERR_OK;
    }
    int64_t length_us = r->end_us - r->begin_us;
    int64_t us = r->begin_us + length_us / (2 * FRAMES_MAX) * (2 * (int64_t)i + 1);
    if (!r->by_bytes)
        return find_time(r, us, ret_there);
    int64_t bytes = 0;
    int status = find_bytes(r, us - r->group_us / 2, &bytes);
    *ret_there = status == ERR_OK && seek_bytes(r, bytes > r->end_bytes ? bytes : r->end_bytes);
    return status;
}

static void add_seen(struct windows *w, const struct run *run)
{
    if (run->first_us != NO_TIME)
        w->seen_us += run->end_us - run->first_us;
}

static int read_window(struct reader *r, unsigned i)
{
    struct windows *w = r->w;
    uint32_t start = w->n_packets;
    bool there = false;
    int status = go_to(r, i, &there);
    if (status != ERR_OK || !there)
        return status;
    allow_window(r);
    struct run run = new_run(r->span_us);
    status = read_run(r, UINT32_MAX, &run);
    if (status != ERR_OK)
        return status;
    add_seen(w, &run);
    memcpy(r->last_us, r->newest_us, sizeof(r->last_us));
    int64_t here = avio_tell(r->f->fmt->pb);
    r->end_bytes = here > r->end_bytes ? here : r->end_bytes;
    if (w->n_packets > start)
        w->starts[w->n_starts++] = start;
    return ERR_OK;
}

/* The picture's times count, unless they stop early: one picture to an hour of sound. */
static int choose_stream(const struct reader *r, AVPacket **pass, uint32_t n_pass)
{
    int64_t newest_us[2] = {NO_TIME, NO_TIME};
    const int streams[2] = {r->f->video, r->f->audio};
    bool seen[2] = {false, false};
    for (uint32_t i = 0; i < n_pass; i++)
        for (unsigned k = 0; k < 2; k++) {
            if (pass[i]->stream_index != streams[k])
                continue;
            int64_t us = packet_us(r, pass[i]);
            newest_us[k] = us > newest_us[k] ? us : newest_us[k];
            seen[k] = true;
        }
    bool early = seen[1] && newest_us[0] < newest_us[1] / 2;
    return seen[0] && !early ? streams[0] : seen[1] ? streams[1] : -1;
}

/* What the pass says of the file: where it begins, how dense it is. */
static void measure_pass(struct reader *r, AVPacket **pass, uint32_t n_pass)
{
    r->begin_us = r->pass_end_us = r->end_us = NO_TIME;
    int64_t end_bytes = NO_TIME, bytes = 0;
    unsigned n_keys = 0;
    for (uint32_t i = 0; i < n_pass; i++) {
        bytes += pass[i]->size;
        int64_t us = packet_us(r, pass[i]);
        if (pass[i]->stream_index != r->stream || us == NO_TIME)
            continue;
        n_keys += pass[i]->flags & AV_PKT_FLAG_KEY;
        if (r->begin_us == NO_TIME || us < r->begin_us)
            r->begin_us = us;
        if (us > r->pass_end_us) {
            r->pass_end_us = us;
            end_bytes = pass[i]->pos;
        }
    }
    int64_t span_us = r->begin_us != NO_TIME ? r->pass_end_us - r->begin_us : 0;
    double share = (double)r->share_packets / (n_pass ? n_pass : 1);
    double by_bytes = bytes > 0 ? (double)r->share_bytes / (double)bytes : 1;
    share = by_bytes < share ? by_bytes : share;
    share = share < 1 ? share * SPAN_PART * (double)span_us : (double)span_us;
    r->span_us = share < WINDOWS_SPAN_US ? (int64_t)share : WINDOWS_SPAN_US;
    r->group_us = n_keys > 1 ? span_us / n_keys : 0;
    add_point(r, 0, r->begin_us);
    if (end_bytes > 0)
        add_point(r, end_bytes, r->pass_end_us);
}

/* The first share of the pass becomes the first window; the rest is freed. */
static int take_beginning(struct reader *r, AVPacket **pass, uint32_t n_pass)
{
    struct run run = new_run(r->span_us);
    int status = ERR_OK;
    bool full = false;
    int64_t bytes = 0;
    for (uint32_t i = 0; i < n_pass; i++) {
        AVPacket *pkt = pass[i];
        full |= is_full(r, i, bytes, pkt, &run) || status != ERR_OK;
        if (full || is_past(r, pkt, &run) || pkt->stream_index >= MEDIA_STREAMS_MAX) {
            av_packet_free(&pass[i]);
            continue;
        }
        note_packet(r, pkt, &run);
        bytes += windows_packet_bytes(pkt);
        r->end_bytes = pkt->pos >= 0 ? pkt->pos + pkt->size : r->end_bytes + pkt->size;
        status = append(r, pkt);
        if (status != ERR_OK)
            av_packet_free(&pkt);
        pass[i] = NULL;
    }
    add_seen(r->w, &run);
    memcpy(r->last_us, r->newest_us, sizeof(r->last_us));
    return status;
}

static int read_all(struct reader *r, AVPacket **pass, uint32_t n_pass)
{
    r->stream = choose_stream(r, pass, n_pass);
    if (r->stream < 0 || r->stream >= MEDIA_STREAMS_MAX)
        return ERR_OK;
    measure_pass(r, pass, n_pass);
    bool found = false;
    int status = probe(r, &found);
    if (status != ERR_OK || !found || budget_is_spent(r->f->budget))
        return status;
    r->w->sought = true;
    status = take_beginning(r, pass, n_pass);
    for (unsigned i = 0; status == ERR_OK && i < FRAMES_MAX; i++)
        if (!budget_is_spent(r->f->budget))
            status = read_window(r, i);
    if (r->end_us != NO_TIME)
        r->w->duration_us = r->end_us - r->begin_us;
    return status;
}

int windows_read(const struct windows_file *file, AVPacket **pass, uint32_t n_pass,
                 struct windows *ret, struct err *err)
{
    *ret = (struct windows){0};
    struct reader r = {.f = file, .w = ret, .err = err};
    r.share_packets = file->packets_max / WINDOWS_PARTS;
    r.share_bytes = file->packet_bytes_max / WINDOWS_PARTS;
    r.read_limit = *file->read_bytes + file->packet_bytes_max * MEDIA_READ_FACTOR;
    for (unsigned i = 0; i < MEDIA_STREAMS_MAX; i++)
        r.last_us[i] = r.newest_us[i] = NO_TIME;
    if (r.share_packets == 0 || n_pass == 0)
        return ERR_OK;
    r.pkt = av_packet_alloc();
    int status = r.pkt ? read_all(&r, pass, n_pass) : err_oom(err, "media: windows");
    av_packet_free(&r.pkt);
    return status;
}

void windows_free(struct windows *w)
{
    truncate_to(w, 0);
    av_freep(&w->packets);
}
