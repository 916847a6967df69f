/* media.h: a file through a custom AVIO, then windows of it where that is not all of it.
 *
 * Failure: what libavformat says when it cannot open becomes ERR_SKIP `media` with its sentence,
 * what the file is by its first bytes, and its size. An error after the header only ends the
 * pass and sets `partial`: a truncated upload still has a beginning.
 *
 * Choice of tracks (tracks.h). Containers with a header name their streams at once: the rest is
 * discarded while demuxing. When the best by its header turns out empty or a single picture, the
 * file is read again with the next, while the others of that type are counted; a third reading
 * takes the best by what was counted. MPEG-PS, MPEG-TS and FLV show streams as they come: packets
 * of all are kept (within the caps) and the choice is made at the end. */

#include "extract/media/media.h"

#include "extract/media/budget.h"
#include "extract/media/compat.h"
#include "extract/media/cut.h"
#include "extract/media/formats.h"
#include "extract/media/tracks.h"
#include "extract/media/units.h"
#include "extract/media/windows.h"
#include "extract/wire/notes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/encryption_info.h>
#include <libavutil/opt.h>

#define IO_BUFFER_BYTES 65536
/* An hour of video has an index of 3 MB. */
#define HEADER_BYTES_MAX (64 << 20)
#define READINGS_MAX     3
#define CLOCK_EVERY      16 /* packets: 0.1 % of demuxing */
/* To tell too many streams from too little memory, of which FFmpeg says the same. */
#define STREAMS_TRIED (100 * MEDIA_STREAMS_MAX)
#define IO_JUMP_BYTES 4096

static const int types[] = {AVMEDIA_TYPE_VIDEO, AVMEDIA_TYPE_AUDIO};
#define N_TYPES 2

struct handle {
    struct media pub;
    struct media_options options;
    struct budget *budget;
    int fd;
    int64_t start; /* of what FFmpeg sees: behind ID3 tags */
    int64_t position, size_bytes, read_bytes;
    int64_t read_max; /* then the file seems to end */
    int read_ahead;   /* small after a jump, so that many jumps read little */
    bool io_failed, read_capped;
    int64_t read_bytes_before; /* this reading */
    bool is_opening, header_capped;
    bool is_headerless; /* its streams show as they come; FFmpeg's flag may go when they have */
    unsigned n_readings;
    int kept[N_TYPES];   /* the stream of each track, -1 = none yet */
    int wanted[N_TYPES]; /* of a further reading; -1 = nothing of this type */
    struct track_facts facts[MEDIA_STREAMS_MAX];
    AVIOContext *io;
    AVFormatContext *fmt;
    AVPacket **packets; /* (n_packets), of all kept streams, in file order */
    uint32_t n_packets, n_allocated;
    int64_t packet_bytes, room_bytes; /* of this reading: kept, and how many may be */
    uint32_t cuts[WINDOWS_PARTS]; /* (n_cuts) packets that do not follow the one before them */
    unsigned n_cuts;
    int64_t duration_us; /* of a file that was read in windows; 0 = by its packets */
    int64_t flv_at;      /* the header of the FLV that is read, of several end to end */
};

static int read_cb(void *opaque, uint8_t *buf, int bytes)
{
    struct handle *h = opaque;
    if (budget_is_spent(h->budget))
        return AVERROR_EXIT;
    if (h->is_opening && h->read_bytes - h->read_bytes_before >= HEADER_BYTES_MAX) {
        h->header_capped = true;
        return AVERROR_EOF;
    }
    if (h->read_bytes >= h->read_max) {
        h->read_capped = true;
        return AVERROR_EOF;
    }
    if (h->read_ahead < bytes)
        bytes = h->read_ahead;
    if (h->read_ahead < IO_BUFFER_BYTES)
        h->read_ahead *= 2;
    ssize_t n;
    do
        n = pread(h->fd, buf, (size_t)bytes, h->start + h->position);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        h->io_failed = true;
        return AVERROR(errno);
    }
    if (n == 0)
        return AVERROR_EOF;
    h->position += n;
    h->read_bytes += n;
    return (int)n;
}

static int64_t seek_cb(void *opaque, int64_t offset, int whence)
{
    struct handle *h = opaque;
    switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
        return h->size_bytes - h->start;
    case SEEK_SET:
        break;
    case SEEK_CUR:
        offset += h->position;
        break;
    case SEEK_END:
        offset += h->size_bytes - h->start;
        break;
    default:
        return AVERROR(EINVAL);
    }
    if (offset < 0)
        return AVERROR(EINVAL);
    if (offset != h->position)
        h->read_ahead = IO_JUMP_BYTES;
    h->position = offset;
    return offset;
}

/* A container that points at another file (an HLS list, a QuickTime reference) gets nothing. */
static int refuse_open(AVFormatContext *s, AVIOContext **pb, const char *url, int flags,
                       AVDictionary **options)
{
    (void)s;
    (void)pb;
    (void)url;
    (void)flags;
    (void)options;
    return AVERROR(EACCES);
}

static void set_note(struct handle *h, enum note note)
{
    h->pub.notes |= UINT64_C(1) << note;
}

static int check_file(struct handle *h, struct err *err)
{
    int64_t bytes_max = h->options.bytes_max;
    struct stat st;
    if (fstat(h->fd, &st) < 0)
        return err_retry(err, 74, "media: fstat: %s; check the descriptor", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_skip(err, "media", "media: not a regular file; upload the clip as a file");
    if (st.st_size == 0)
        return err_skip(err, "media", "media: the file is empty; upload it again");
    if (bytes_max > 0 && st.st_size > bytes_max)
        return err_skip(err, "media_too_big",
                        "media: %lld bytes are more than the %lld allowed; raise "
                        "media.max_bytes or upload a smaller rendition",
                        (long long)st.st_size, (long long)bytes_max);
    h->size_bytes = st.st_size;
    h->start = formats_tag_bytes(h->fd, h->size_bytes);
    return ERR_OK;
}

static size_t read_head(const struct handle *h, uint8_t head[FORMATS_HEAD_BYTES])
{
    ssize_t n;
    do
        n = pread(h->fd, head, FORMATS_HEAD_BYTES, h->start);
    while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : (size_t)n;
}

static void close_format(struct handle *h)
{
    avformat_close_input(&h->fmt);
    if (h->io)
        av_freep(&h->io->buffer);
    avio_context_free(&h->io);
}

/* avformat_find_stream_info does not follow here, as it does in most programs: it decodes with
 * a context of its own that ignores max_pixels, and costs 7 to 16 % of an extraction. */
static int open_with(struct handle *h, int streams_max)
{
    h->position = 0;
    h->read_bytes_before = h->read_bytes;
    h->read_max = h->read_bytes + h->options.packet_bytes_max * MEDIA_READ_FACTOR;
    h->read_ahead = IO_BUFFER_BYTES;
    h->read_capped = false;
    h->fmt = avformat_alloc_context();
    uint8_t *buffer = av_malloc(IO_BUFFER_BYTES);
    if (buffer)
        h->io = avio_alloc_context(buffer, IO_BUFFER_BYTES, 0, h, read_cb, NULL, seek_cb);
    if (!h->io)
        av_free(buffer);
    if (!h->fmt || !h->io)
        return AVERROR(ENOMEM);
    h->fmt->pb = h->io;
    h->fmt->flags |= AVFMT_FLAG_CUSTOM_IO;
    h->fmt->io_open = refuse_open;
    h->fmt->max_streams = streams_max;
    h->fmt->probesize = MEDIA_PROBE_BYTES;
    h->fmt->protocol_whitelist = av_strdup("");
    h->fmt->format_whitelist = av_strdup(formats_containers());
    if (!h->fmt->protocol_whitelist || !h->fmt->format_whitelist)
        return AVERROR(ENOMEM);
    /* Of a JPEG that has another behind it FFmpeg guesses this or that by its length. */
    uint8_t head[FORMATS_HEAD_BYTES];
    bool is_jpeg = read_head(h, head) > 3 && memcmp(head, "\xff\xd8\xff", 3) == 0;
    const AVInputFormat *known = is_jpeg ? av_find_input_format("jpeg_pipe") : NULL;
    h->is_opening = true;
    int ret = avformat_open_input(&h->fmt, NULL, known, NULL); /* frees fmt on failure */
    h->is_opening = false;
    return ret;
}

/* FFmpeg has one word for two causes. */
static int streams_or_memory(struct handle *h, struct err *err)
{
    close_format(h);
    int ret = open_with(h, STREAMS_TRIED);
    close_format(h); /* facts[] has no room for so many */
    if (ret != AVERROR(ENOMEM))
        return err_skip(err, "media",
                        "media: header: more than %d streams; remux the clip with those that "
                        "are needed",
                        MEDIA_STREAMS_MAX);
    return err_skip(err, "media",
                    "media: header: its tables need more memory than a worker has; remux the "
                    "clip, or raise extract.address_space_bytes");
}

static int open_error(struct handle *h, int code, struct err *err)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(code, text, sizeof(text));
    if (h->io_failed)
        return err_retry(err, 74, "media: read: %s; check the storage", text);
    if (h->header_capped)
        return err_skip(err, "media",
                        "media: header: %d bytes read and no end of it; remux the clip without "
                        "its metadata",
                        HEADER_BYTES_MAX);
    if (code == AVERROR(ENOMEM))
        return streams_or_memory(h, err);
    uint8_t head[FORMATS_HEAD_BYTES];
    return formats_refuse(head, read_head(h, head), h->size_bytes, text, err);
}

static int open_format(struct handle *h, struct err *err)
{
    int ret = open_with(h, MEDIA_STREAMS_MAX);
    if (ret < 0)
        return open_error(h, ret, err);
    const char *name = h->fmt->iformat->name;
    size_t length = strcspn(name, ",");
    if (length >= sizeof(h->pub.container))
        length = sizeof(h->pub.container) - 1;
    memcpy(h->pub.container, name, length);
    h->pub.partial |= h->header_capped;
    h->is_headerless = h->fmt->ctx_flags & AVFMTCTX_NOHEADER;
    uint8_t head[FORMATS_HEAD_BYTES];
    size_t n = read_head(h, head);
    if (formats_is_animated_webp(head, n)) /* opens, and does not decode */
        return formats_refuse(head, n, h->size_bytes, "", err);
    return ERR_OK;
}

/* In the first reading of a container with a header: the best of each type. In a further one also
 * what is to be counted. */
static void discard_others(struct handle *h)
{
    for (unsigned i = 0; i < h->fmt->nb_streams; i++)
        h->fmt->streams[i]->discard = AVDISCARD_ALL;
    for (unsigned k = 0; k < N_TYPES; k++) {
        if (h->n_readings == 1)
            h->wanted[k] = tracks_best(h->fmt, types[k], NULL);
        if (h->wanted[k] < 0)
            continue;
        h->fmt->streams[h->wanted[k]]->discard = AVDISCARD_DEFAULT;
        for (unsigned i = 0; h->n_readings > 1 && i < h->fmt->nb_streams; i++)
            if (!h->facts[i].is_known && tracks_score(h->fmt, (int)i, types[k], NULL) > 0)
                h->fmt->streams[i]->discard = AVDISCARD_DEFAULT;
    }
}

/* Takes the packet's contents. */
static int keep_packet(struct handle *h, AVPacket *pkt, struct err *err)
{
    if (h->n_packets == h->n_allocated) {
        uint32_t n = h->n_allocated ? h->n_allocated * 2 : 1024;
        AVPacket **grown = av_realloc_array(h->packets, n, sizeof(AVPacket *));
        if (!grown)
            return err_oom(err, "media: packet list");
        h->packets = grown;
        h->n_allocated = n;
    }
    AVPacket *kept = av_packet_alloc();
    if (!kept)
        return err_oom(err, "media: packet list");
    av_packet_move_ref(kept, pkt);
    h->packets[h->n_packets++] = kept;
    h->packet_bytes += windows_packet_bytes(kept);
    return ERR_OK;
}

/* Counts a packet; true when it is one of those to keep. */
static bool is_kept(struct handle *h, const AVPacket *pkt)
{
    enum AVMediaType type = h->fmt->streams[pkt->stream_index]->codecpar->codec_type;
    if (pkt->size <= 0 || (type != AVMEDIA_TYPE_VIDEO && type != AVMEDIA_TYPE_AUDIO))
        return false;
    if (!h->facts[pkt->stream_index].is_known)
        h->facts[pkt->stream_index].n_packets++;
    return h->n_readings == 1 || pkt->stream_index == h->wanted[0] ||
           pkt->stream_index == h->wanted[1];
}

/* Of a type; of a headerless container the choice is made by what the pass has brought. */
static int stream_wanted(struct handle *h, unsigned k)
{
    if (h->n_readings > 1 || !h->is_headerless)
        return h->wanted[k];
    for (unsigned i = 0; i < h->fmt->nb_streams; i++)
        h->facts[i].is_known = true;
    return tracks_best(h->fmt, types[k], h->facts);
}

/* The pass did not reach the end: what it kept gives way to windows, where the file can be sought. */
static int read_windows(struct handle *h, struct err *err)
{
    const struct windows_file file = {.fmt = h->fmt,
                                      .budget = h->budget,
                                      .video = stream_wanted(h, 0),
                                      .audio = stream_wanted(h, 1),
                                      .size_bytes = h->size_bytes - h->start,
                                      .packet_bytes_max = h->room_bytes,
                                      .packets_max = h->options.packets_max,
                                      .read_bytes = &h->read_bytes,
                                      .read_max = &h->read_max};
    struct windows w;
    int status = windows_read(&file, h->packets, h->n_packets, &w, err);
    if (!w.sought || status != ERR_OK) {
        windows_free(&w);
        return status;
    }
    av_free(h->packets);
    h->packets = w.packets;
    h->n_packets = w.n_packets;
    h->n_allocated = w.n_allocated;
    h->packet_bytes = w.packet_bytes;
    h->n_cuts = w.n_starts;
    memcpy(h->cuts, w.starts, sizeof(h->cuts));
    h->pub.windows = w.n_starts > 0;
    h->pub.seen_us = w.seen_us;
    h->duration_us = w.duration_us;
    h->pub.partial |= w.damaged;
    return ERR_OK;
}

/* At the end: whether another FLV follows, which is read next. */
static bool goes_on(struct handle *h)
{
    h->flv_at = h->read_capped ? 0 : cut_next_flv(h->fd, h->flv_at);
    return h->flv_at > 0 &&
           avio_seek(h->fmt->pb, h->flv_at + FLV_HEADER_BYTES - h->start, SEEK_SET) >= 0;
}

static int demux(struct handle *h, struct err *err)
{
    if (!h->is_headerless)
        discard_others(h);
    AVPacket *pkt = av_packet_alloc();
    if (!pkt)
        return err_oom(err, "media: demux");
    int ret = 0, status = ERR_OK;
    /* Packets of no interest count too, so that a file full of them ends. */
    for (uint32_t n_read = 0; status == ERR_OK; n_read++) {
        ret = n_read % CLOCK_EVERY == 0 && budget_is_spent(h->budget)
                  ? AVERROR_EXIT
                  : av_read_frame(h->fmt, pkt);
        if (ret == AVERROR_EOF && goes_on(h))
            continue;
        if (ret < 0)
            break;
        if (n_read >= h->options.packets_max || h->packet_bytes + pkt->size > h->room_bytes) {
            h->pub.capped = true;
            break;
        }
        if (pkt->flags & AV_PKT_FLAG_CORRUPT)
            h->pub.partial = true;
        if (is_kept(h, pkt))
            status = keep_packet(h, pkt, err);
        av_packet_unref(pkt);
        if (h->n_packets > 0 && formats_is_still(h->pub.container))
            break;
    }
    av_packet_free(&pkt);
    if (status != ERR_OK)
        return status;
    h->pub.capped |= h->read_capped;
    if (h->budget->cpu_is_spent)
        set_note(h, NOTE_CPU);
    else if (ret < 0 && ret != AVERROR_EOF)
        h->pub.partial = true;
    else if (h->pub.capped && !h->io_failed)
        status = read_windows(h, err);
    if (status == ERR_OK && h->io_failed)
        return err_retry(err, 74, "media: read failed; check the storage");
    return status;
}

/* The eight orientations of a display matrix whose rows say where x and y go; anything skewed
 * counts as its nearest quarter turn. */
static void read_orientation(struct media_track *t, const AVStream *st)
{
    size_t bytes = 0;
    const uint8_t *data = compat_side_data(st, AV_PKT_DATA_DISPLAYMATRIX, &bytes);
    if (!data || bytes < 9 * sizeof(int32_t))
        return;
    int32_t m[9];
    memcpy(m, data, sizeof(m));
    int64_t a = m[0], b = m[1], c = m[3], d = m[4];
    t->transpose = llabs(b) + llabs(c) > llabs(a) + llabs(d);
    t->flip_x = (t->transpose ? c : a) < 0;
    t->flip_y = (t->transpose ? b : d) < 0;
}

static bool is_encrypted(const AVPacket *pkt)
{
    size_t bytes = 0;
    return av_packet_get_side_data(pkt, AV_PKT_DATA_ENCRYPTION_INFO, &bytes) != NULL;
}

static int64_t to_us(int64_t ts, AVRational base)
{
    if (ts == AV_NOPTS_VALUE || base.num <= 0 || base.den <= 0)
        return MEDIA_NO_PTS;
    return av_rescale_q_rnd(ts, base, (AVRational){1, 1000000}, AV_ROUND_NEAR_INF);
}

static void fill_packet(struct media_packet *p, AVPacket *av, AVRational base)
{
    p->av = av;
    p->pts_us = to_us(av->pts != AV_NOPTS_VALUE ? av->pts : av->dts, base);
    int64_t duration_us = to_us(av->duration, base);
    p->duration_us = duration_us > 0 ? duration_us : 0;
    p->key = av->flags & AV_PKT_FLAG_KEY;
    p->hidden = av->flags & AV_PKT_FLAG_DISCARD;
}

/* Moves the packets of one stream out of the common list. */
static int fill_track(struct handle *h, struct media_track *t, int index, struct err *err)
{
    AVStream *st = h->fmt->streams[index];
    t->par = avcodec_parameters_alloc();
    if (!t->par || avcodec_parameters_copy(t->par, st->codecpar) < 0)
        return err_oom(err, "media: track");
    t->codec = formats_decoder(t->par->codec_id);
    t->duration_us = h->duration_us;
    t->nominal_frame_us = 40000;
    AVRational rate = st->avg_frame_rate;
    if (rate.num > 0 && rate.den > 0 && rate.num / rate.den < 1000 &&
        rate.den / rate.num < 1000)
        t->nominal_frame_us = av_rescale(1000000, rate.den, rate.num);
    read_orientation(t, st);
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n_packets; i++)
        n += h->packets[i] && h->packets[i]->stream_index == index;
    t->packets = calloc(n ? n : 1, sizeof(*t->packets));
    if (!t->packets)
        return err_oom(err, "media: track");
    unsigned n_cuts = 0;
    bool cut = false;
    for (uint32_t i = 0; i < h->n_packets; i++) {
        while (n_cuts < h->n_cuts && h->cuts[n_cuts] <= i) {
            n_cuts++;
            cut = true;
        }
        if (!h->packets[i] || h->packets[i]->stream_index != index)
            continue;
        fill_packet(&t->packets[t->n_packets], h->packets[i], st->time_base);
        t->packets[t->n_packets++].cut = cut;
        cut = false;
        t->encrypted |= is_encrypted(h->packets[i]);
        h->packets[i] = NULL;
    }
    if (t->n_packets > 0 && strcmp(h->pub.container, "mov") == 0 &&
        compat_mark_priming(t->packets[0].av, st) < 0)
        return err_oom(err, "media: track");
    h->pub.partial |= cut_is_in_index(st, h->size_bytes - h->start);
    return st->codecpar->codec_type == AVMEDIA_TYPE_VIDEO ? units_settle(t, h->budget, err)
                                                          : ERR_OK;
}

static void free_packets(struct handle *h)
{
    for (uint32_t i = 0; i < h->n_packets; i++)
        av_packet_free(&h->packets[i]);
    h->n_packets = 0;
    h->packet_bytes = 0;
}

static void free_track(struct media_track *t)
{
    for (uint32_t i = 0; i < t->n_packets; i++)
        av_packet_free(&t->packets[i].av);
    free(t->packets);
    avcodec_parameters_free(&t->par);
    *t = (struct media_track){0};
}

static struct media_track *track_of(struct handle *h, unsigned k)
{
    return k == 0 ? &h->pub.video : &h->pub.audio;
}

/* What was read of the stream that was wanted becomes the track, unless the one there was is
 * better. */
static int take_track(struct handle *h, unsigned k, struct err *err)
{
    int index = h->wanted[k], before = h->kept[k];
    if (index < 0 || index >= (int)h->fmt->nb_streams || index == before ||
        (before >= 0 && tracks_score(h->fmt, index, types[k], h->facts) <=
                            tracks_score(h->fmt, before, types[k], h->facts)))
        return ERR_OK;
    struct media_track *t = track_of(h, k);
    free_track(t);
    h->kept[k] = index;
    if (before >= 0 && h->facts[index].n_packets > 0)
        set_note(h, NOTE_TRACK_CHANGED);
    int status = fill_track(h, t, index, err);
    h->facts[index].n_packets = t->n_packets; /* two fields are one picture */
    return status;
}

/* A further reading may keep as much as the first, beside the track that stays. */
static int64_t count_room(struct handle *h)
{
    int64_t max = h->options.packet_bytes_max, left = 2 * max;
    for (unsigned k = 0; k < N_TYPES; k++) {
        const struct media_track *t = track_of(h, k);
        for (uint32_t i = 0; i < t->n_packets; i++)
            left -= windows_packet_bytes(t->packets[i].av);
    }
    return left < max ? left : max;
}

/* One reading: the streams that are wanted, or in the first the best of each type. */
static int read_tracks(struct handle *h, struct err *err)
{
    h->n_readings++;
    h->n_cuts = 0;
    h->duration_us = h->flv_at = 0;
    h->room_bytes = count_room(h);
    int status = demux(h, err);
    for (unsigned i = 0; i < h->fmt->nb_streams; i++)
        h->facts[i].is_known |= h->is_headerless || h->fmt->streams[i]->discard < AVDISCARD_ALL;
    for (unsigned k = 0; status == ERR_OK && k < N_TYPES; k++) {
        if (h->n_readings == 1 && h->is_headerless) {
            h->wanted[k] = tracks_best(h->fmt, types[k], h->facts);
            if (h->wanted[k] != tracks_best(h->fmt, types[k], NULL))
                set_note(h, NOTE_TRACK_CHANGED);
        }
        status = take_track(h, k, err);
    }
    free_packets(h);
    return status;
}

/* Is there a stream that may serve better than the one there is? Then it is wanted. */
static bool want_better(struct handle *h)
{
    bool is_wanted = false;
    for (unsigned k = 0; k < N_TYPES; k++) {
        int best = tracks_best(h->fmt, types[k], h->facts);
        h->wanted[k] = best == h->kept[k] ? -1 : best;
        is_wanted |= h->wanted[k] >= 0;
    }
    return is_wanted;
}

/* Nothing that goes wrong here takes away what there is. */
static int read_again(struct handle *h, struct err *err)
{
    struct err why;
    close_format(h);
    int status = open_format(h, &why);
    if (status == ERR_OK)
        status = read_tracks(h, &why);
    if (status == ERR_RETRY)
        *err = why;
    return status == ERR_RETRY ? ERR_RETRY : ERR_OK;
}

static bool may_read_again(struct handle *h)
{
    return h->fmt && h->n_readings < READINGS_MAX && !budget_is_spent(h->budget);
}

static void note_tracks(struct handle *h)
{
    static const enum note foreign[] = {NOTE_PICTURE_CODEC, NOTE_SOUND_CODEC};
    for (unsigned k = 0; h->fmt && k < N_TYPES; k++) {
        const struct media_track *t = track_of(h, k);
        if (tracks_count(h->fmt, types[k], h->facts) > 1)
            set_note(h, NOTE_TRACKS_SKIPPED);
        if (t->encrypted)
            set_note(h, NOTE_ENCRYPTED);
        bool has_little = !t->codec || t->n_packets < (k == 0 ? 2 : 1);
        if (has_little && tracks_has_foreign(h->fmt, types[k], h->facts))
            set_note(h, foreign[k]);
    }
    if (strcmp(h->pub.container, "avi") == 0 &&
        tracks_sound_has_hole(&h->pub.video, &h->pub.audio))
        set_note(h, NOTE_SOUND_DAMAGED);
    if (cut_is_short(h->fd, h->size_bytes, h->pub.container))
        set_note(h, NOTE_CUT);
}

void media_options_init(struct media_options *o)
{
    *o = (struct media_options){.packet_bytes_max = 64 << 20, .packets_max = 40000};
}

int media_demux(int fd, const struct media_options *options, struct budget *budget,
                struct media **ret_media, struct err *err)
{
    struct handle *h = calloc(1, sizeof(*h));
    if (!h)
        return err_oom(err, "media");
    h->fd = fd;
    h->options = *options;
    h->budget = budget;
    h->pub.handle = h;
    h->kept[0] = h->kept[1] = h->wanted[0] = h->wanted[1] = -1;
    int status = check_file(h, err);
    if (status == ERR_OK)
        status = open_format(h, err);
    if (status == ERR_OK)
        status = read_tracks(h, err);
    while (status == ERR_OK && may_read_again(h) && want_better(h))
        status = read_again(h, err);
    if (status == ERR_OK)
        note_tracks(h);
    if (status != ERR_OK) {
        media_free(&h->pub);
        return status;
    }
    *ret_media = &h->pub;
    return ERR_OK;
}

int media_try_next(struct media *m, bool picture, bool *ret_changed, struct err *err)
{
    struct handle *h = m->handle;
    unsigned k = picture ? 0 : 1;
    *ret_changed = false;
    if (h->kept[k] < 0)
        return ERR_OK;
    h->facts[h->kept[k]].gave_nothing = true;
    int before = h->kept[k];
    if (!may_read_again(h))
        return ERR_OK;
    int next = tracks_best(h->fmt, types[k], h->facts);
    if (next < 0 || h->facts[next].gave_nothing)
        return ERR_OK;
    h->wanted[k] = next;
    h->wanted[1 - k] = -1;
    int status = read_again(h, err);
    *ret_changed = status == ERR_OK && h->kept[k] != before;
    return status;
}

void media_free(struct media *m)
{
    if (!m)
        return;
    struct handle *h = m->handle;
    free_track(&m->video);
    free_track(&m->audio);
    free_packets(h);
    av_freep(&h->packets);
    close_format(h);
    free(h);
}
