/* media.h: one pass over a file through a custom AVIO.
 *
 * Failure: what libavformat says when it cannot open becomes ERR_SKIP `media` with its sentence
 * and the size of the file. An error after the header only ends the pass and sets `partial`:
 * a truncated upload still has a beginning.
 *
 * Choice of tracks. Containers with a header name their streams at once: the rest is discarded
 * while demuxing. MPEG-PS, MPEG-TS and FLV show streams as they come: packets of all are kept
 * (within the caps) and the choice is made at the end. Cover art is metadata, not picture. */

#include "extract/media/media.h"

#include "extract/media/budget.h"
#include "extract/media/compat.h"

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

static const char format_whitelist[] = "mov,matroska,avi,flv,mpegts,mpeg,ogg,asf,mp3,aac,wav,"
                                       "flac,amr,mpegvideo";

/* Which decoder serves which codec: named, so that an installed library with a decoder of its
 * own changes nothing. WMV3, VC-1 and VP6A are admitted, but nothing here makes such a clip to test
 * with. xHE-AAC is FFmpeg's matter: 5.1 and 6.1 refuse it, 7.1 decodes it. */
static const struct {
    enum AVCodecID id;
    const char *decoder;
} codec_table[] = {
    {AV_CODEC_ID_H264, "h264"},
    {AV_CODEC_ID_HEVC, "hevc"},
    {AV_CODEC_ID_VP9, "vp9"},
    {AV_CODEC_ID_AV1, "libdav1d"},
    {AV_CODEC_ID_VP8, "vp8"},
    {AV_CODEC_ID_MPEG4, "mpeg4"},
    {AV_CODEC_ID_MPEG2VIDEO, "mpeg2video"},
    {AV_CODEC_ID_MPEG1VIDEO, "mpeg1video"},
    {AV_CODEC_ID_H263, "h263"},
    {AV_CODEC_ID_FLV1, "flv"},
    {AV_CODEC_ID_MJPEG, "mjpeg"},
    {AV_CODEC_ID_PRORES, "prores"},
    {AV_CODEC_ID_THEORA, "theora"},
    {AV_CODEC_ID_MSMPEG4V2, "msmpeg4v2"},
    {AV_CODEC_ID_MSMPEG4V3, "msmpeg4"},
    {AV_CODEC_ID_WMV1, "wmv1"},
    {AV_CODEC_ID_WMV2, "wmv2"},
    {AV_CODEC_ID_WMV3, "wmv3"},
    {AV_CODEC_ID_VC1, "vc1"},
    {AV_CODEC_ID_VP6, "vp6"},
    {AV_CODEC_ID_VP6A, "vp6a"},
    {AV_CODEC_ID_VP6F, "vp6f"},
    {AV_CODEC_ID_RAWVIDEO, "rawvideo"},
    {AV_CODEC_ID_AAC, "aac"},
    {AV_CODEC_ID_MP3, "mp3float"},
    {AV_CODEC_ID_MP2, "mp2float"},
    {AV_CODEC_ID_OPUS, "opus"},
    {AV_CODEC_ID_VORBIS, "vorbis"},
    {AV_CODEC_ID_AC3, "ac3"},
    {AV_CODEC_ID_EAC3, "eac3"},
    {AV_CODEC_ID_FLAC, "flac"},
    {AV_CODEC_ID_ALAC, "alac"},
    {AV_CODEC_ID_AMR_NB, "amrnb"},
    {AV_CODEC_ID_AMR_WB, "amrwb"},
    {AV_CODEC_ID_WMAV1, "wmav1"},
    {AV_CODEC_ID_WMAV2, "wmav2"},
    {AV_CODEC_ID_PCM_S16LE, "pcm_s16le"},
    {AV_CODEC_ID_PCM_S16BE, "pcm_s16be"},
    {AV_CODEC_ID_PCM_S24LE, "pcm_s24le"},
    {AV_CODEC_ID_PCM_S32LE, "pcm_s32le"},
    {AV_CODEC_ID_PCM_F32LE, "pcm_f32le"},
    {AV_CODEC_ID_PCM_U8, "pcm_u8"},
    {AV_CODEC_ID_PCM_MULAW, "pcm_mulaw"},
    {AV_CODEC_ID_PCM_ALAW, "pcm_alaw"},
    {AV_CODEC_ID_ADPCM_MS, "adpcm_ms"},
    {AV_CODEC_ID_ADPCM_IMA_WAV, "adpcm_ima_wav"},
};
#define N_CODECS (sizeof(codec_table) / sizeof(codec_table[0]))

struct handle {
    struct media pub;
    struct media_options options;
    struct budget *budget;
    int fd;
    int64_t position, size_bytes, read_bytes;
    bool io_failed, read_capped;
    AVIOContext *io;
    AVFormatContext *fmt;
    AVPacket **packets; /* (n_packets), of all kept streams, in file order */
    uint32_t n_packets, n_allocated;
    int64_t packet_bytes;
};

/* The admitted decoder, NULL when there is none. */
static const AVCodec *find_codec(int codec_id)
{
    for (size_t i = 0; i < N_CODECS; i++)
        if ((int)codec_table[i].id == codec_id)
            return avcodec_find_decoder_by_name(codec_table[i].decoder);
    return NULL;
}

static int read_cb(void *opaque, uint8_t *buf, int bytes)
{
    struct handle *h = opaque;
    if (h->read_bytes >= h->options.packet_bytes_max * MEDIA_READ_FACTOR) {
        h->read_capped = true;
        return AVERROR_EOF;
    }
    ssize_t n;
    do
        n = pread(h->fd, buf, (size_t)bytes, h->position);
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
        return h->size_bytes;
    case SEEK_SET:
        break;
    case SEEK_CUR:
        offset += h->position;
        break;
    case SEEK_END:
        offset += h->size_bytes;
        break;
    default:
        return AVERROR(EINVAL);
    }
    if (offset < 0)
        return AVERROR(EINVAL);
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
    return ERR_OK;
}

static int open_error(const struct handle *h, int code, struct err *err)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(code, text, sizeof(text));
    if (h->io_failed)
        return err_retry(err, 74, "media: read: %s; check the storage", text);
    if (code == AVERROR(ENOMEM))
        return err_skip(err, "media",
                        "media: header: more than %d streams, or more memory than a worker "
                        "has; remux the clip",
                        MEDIA_STREAMS_MAX);
    return err_skip(err, "media",
                    "media: open (%lld bytes): %s; not a whole file of an admitted container, "
                    "see docs/extraction.md, Formats",
                    (long long)h->size_bytes, text);
}

/* avformat_find_stream_info does not follow here, as it does in most programs: it decodes with
 * a context of its own that ignores max_pixels, and costs 7 to 16 % of an extraction. Nothing
 * is sought either: index timestamps are DTS, while seeking compares PTS. */
static int open_format(struct handle *h, struct err *err)
{
    h->fmt = avformat_alloc_context();
    uint8_t *buffer = av_malloc(IO_BUFFER_BYTES);
    if (buffer)
        h->io = avio_alloc_context(buffer, IO_BUFFER_BYTES, 0, h, read_cb, NULL, seek_cb);
    if (!h->io)
        av_free(buffer);
    if (!h->fmt || !h->io)
        return err_oom(err, "media: open");
    h->fmt->pb = h->io;
    h->fmt->flags |= AVFMT_FLAG_CUSTOM_IO;
    h->fmt->io_open = refuse_open;
    h->fmt->max_streams = MEDIA_STREAMS_MAX;
    h->fmt->probesize = MEDIA_PROBE_BYTES;
    h->fmt->protocol_whitelist = av_strdup("");
    h->fmt->format_whitelist = av_strdup(format_whitelist);
    if (!h->fmt->protocol_whitelist || !h->fmt->format_whitelist)
        return err_oom(err, "media: open");
    int ret = avformat_open_input(&h->fmt, NULL, NULL, NULL); /* frees fmt on failure */
    if (ret < 0)
        return open_error(h, ret, err);
    const char *name = h->fmt->iformat->name;
    size_t length = strcspn(name, ",");
    if (length >= sizeof(h->pub.container))
        length = sizeof(h->pub.container) - 1;
    memcpy(h->pub.container, name, length);
    return ERR_OK;
}

/* How well a stream would serve as the track of its type; 0 = not at all. */
static int64_t stream_score(const AVStream *st, enum AVMediaType type)
{
    const AVCodecParameters *par = st->codecpar;
    if (par->codec_type != type || (st->disposition & AV_DISPOSITION_ATTACHED_PIC))
        return 0;
    int64_t score = 1;
    if (find_codec(par->codec_id))
        score += (int64_t)1 << 50;
    int64_t pixels = (int64_t)par->width * par->height;
    if (pixels >= 0 && pixels <= MEDIA_PIXELS_MAX)
        score += ((int64_t)1 << 49) + pixels;
    if (st->disposition & AV_DISPOSITION_DEFAULT)
        score += (int64_t)1 << 48;
    return score;
}

static int best_stream(const AVFormatContext *fmt, enum AVMediaType type)
{
    int best = -1;
    int64_t best_score = 0;
    for (unsigned i = 0; i < fmt->nb_streams; i++) {
        int64_t score = stream_score(fmt->streams[i], type);
        if (score > best_score) {
            best = (int)i;
            best_score = score;
        }
    }
    return best;
}

static void discard_others(AVFormatContext *fmt)
{
    int video = best_stream(fmt, AVMEDIA_TYPE_VIDEO),
        audio = best_stream(fmt, AVMEDIA_TYPE_AUDIO);
    for (int i = 0; i < (int)fmt->nb_streams; i++)
        fmt->streams[i]->discard = i == video || i == audio ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
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
    h->packet_bytes += kept->size;
    return ERR_OK;
}

static bool is_media(const AVFormatContext *fmt, const AVPacket *pkt)
{
    enum AVMediaType type = fmt->streams[pkt->stream_index]->codecpar->codec_type;
    return type == AVMEDIA_TYPE_VIDEO || type == AVMEDIA_TYPE_AUDIO;
}

static int demux(struct handle *h, struct err *err)
{
    bool headerless = h->fmt->ctx_flags & AVFMTCTX_NOHEADER;
    if (!headerless)
        discard_others(h->fmt);
    AVPacket *pkt = av_packet_alloc();
    if (!pkt)
        return err_oom(err, "media: demux");
    int ret = 0, status = ERR_OK;
    /* Packets of no interest count too, so that a file full of them ends. */
    for (uint32_t n_read = 0; status == ERR_OK; n_read++) {
        ret = av_read_frame(h->fmt, pkt);
        if (ret < 0)
            break;
        if (n_read >= h->options.packets_max ||
            h->packet_bytes + pkt->size > h->options.packet_bytes_max) {
            h->pub.capped = true;
            break;
        }
        if (pkt->flags & AV_PKT_FLAG_CORRUPT)
            h->pub.partial = true;
        if (pkt->size > 0 && is_media(h->fmt, pkt))
            status = keep_packet(h, pkt, err);
        av_packet_unref(pkt);
    }
    av_packet_free(&pkt);
    if (status != ERR_OK)
        return status;
    if (h->io_failed)
        return err_retry(err, 74, "media: read failed; check the storage");
    h->pub.capped |= h->read_capped;
    if (ret < 0 && ret != AVERROR_EOF)
        h->pub.partial = true;
    return ERR_OK;
}

/* The container's index reaches past the end of the file: the upload was cut. */
static bool index_is_cut(const struct handle *h, AVStream *st)
{
    int n = avformat_index_get_entries_count(st);
    for (int i = 0; i < n; i++) {
        const AVIndexEntry *e = avformat_index_get_entry(st, i);
        if (e && e->pos + e->size > h->size_bytes)
            return true;
    }
    return false;
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
    if (index < 0)
        return ERR_OK;
    AVStream *st = h->fmt->streams[index];
    t->par = st->codecpar;
    t->codec = find_codec(st->codecpar->codec_id);
    t->nominal_frame_us = 40000;
    AVRational rate = st->avg_frame_rate;
    if (rate.num > 0 && rate.den > 0 && rate.num / rate.den < 1000)
        t->nominal_frame_us = av_rescale(1000000, rate.den, rate.num);
    read_orientation(t, st);
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n_packets; i++)
        n += h->packets[i] && h->packets[i]->stream_index == index;
    t->packets = calloc(n ? n : 1, sizeof(*t->packets));
    if (!t->packets)
        return err_oom(err, "media: track");
    for (uint32_t i = 0; i < h->n_packets; i++) {
        if (!h->packets[i] || h->packets[i]->stream_index != index)
            continue;
        fill_packet(&t->packets[t->n_packets++], h->packets[i], st->time_base);
        t->encrypted |= is_encrypted(h->packets[i]);
        h->packets[i] = NULL;
    }
    if (t->n_packets > 0 && strcmp(h->pub.container, "mov") == 0 &&
        compat_mark_priming(t->packets[0].av, st) < 0)
        return err_oom(err, "media: track");
    h->pub.partial |= index_is_cut(h, st);
    return ERR_OK;
}

static void free_packets(struct handle *h)
{
    for (uint32_t i = 0; i < h->n_packets; i++)
        av_packet_free(&h->packets[i]);
    av_freep(&h->packets);
    h->n_packets = 0;
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
    int status = check_file(h, err);
    if (status == ERR_OK)
        status = open_format(h, err);
    if (status == ERR_OK)
        status = demux(h, err);
    if (status == ERR_OK)
        status = fill_track(h, &h->pub.video, best_stream(h->fmt, AVMEDIA_TYPE_VIDEO), err);
    if (status == ERR_OK)
        status = fill_track(h, &h->pub.audio, best_stream(h->fmt, AVMEDIA_TYPE_AUDIO), err);
    free_packets(h);
    if (status != ERR_OK) {
        media_free(&h->pub);
        return status;
    }
    *ret_media = &h->pub;
    return ERR_OK;
}

static void free_track(struct media_track *t)
{
    for (uint32_t i = 0; i < t->n_packets; i++)
        av_packet_free(&t->packets[i].av);
    free(t->packets);
}

void media_free(struct media *m)
{
    if (!m)
        return;
    struct handle *h = m->handle;
    free_track(&m->video);
    free_track(&m->audio);
    free_packets(h);
    avformat_close_input(&h->fmt);
    if (h->io)
        av_freep(&h->io->buffer);
    avio_context_free(&h->io);
    free(h);
}

int media_warm_up(struct err *err)
{
    for (size_t i = 0; i < N_CODECS; i++) {
        const AVCodec *codec = find_codec(codec_table[i].id);
        if (!codec)
            continue;
        AVCodecContext *ctx = avcodec_alloc_context3(codec);
        if (!ctx)
            return err_oom(err, "media: warm up");
        ctx->thread_count = 1;
        /* Many codecs refuse to open without parameters; their tables are built by then. */
        (void)avcodec_open2(ctx, codec, NULL);
        avcodec_free_context(&ctx);
    }
    return ERR_OK;
}
