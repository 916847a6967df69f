/* formats.h.
 *
 * Left out, although FFmpeg has them: what no phone, camera or site writes (Cinepak, Sorenson,
 * Indeo, RealMedia, H.261, JPEG 2000), what passes between studios only (HuffYUV, FFV1, DNxHD,
 * CineForm, MXF), and FFmpeg's image2, which opens files by pattern. The demuxers *_pipe read
 * what they are given and no other file.
 *
 * VC-1, WMV3, VP6A, QCELP and EVRC are admitted, but nothing here makes such a clip to test with.
 * xHE-AAC is FFmpeg's matter: 5.1 and 6.1 refuse it, 7.1 decodes it. */

#include "extract/media/formats.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavutil/avutil.h>

static const char containers[] =
    "mov,matroska,avi,flv,mpegts,mpeg,ogg,asf,mpegvideo,dv," /* clips */
    "mp3,aac,wav,w64,flac,amr,caf,aiff,au,ac3,eac3,dts,"     /* sound alone */
    "gif,apng,png_pipe,jpeg_pipe,webp_pipe";                 /* pictures */

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
    {AV_CODEC_ID_DVVIDEO, "dvvideo"},
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
    {AV_CODEC_ID_QTRLE, "qtrle"}, /* QuickTime Animation: titles with alpha, screens */
    {AV_CODEC_ID_GIF, "gif"},
    {AV_CODEC_ID_APNG, "apng"},
    {AV_CODEC_ID_PNG, "png"},
    {AV_CODEC_ID_WEBP, "webp"},
    {AV_CODEC_ID_AAC, "aac"},
    {AV_CODEC_ID_AAC_LATM, "aac_latm"},
    {AV_CODEC_ID_MP3, "mp3float"},
    {AV_CODEC_ID_MP2, "mp2float"},
    {AV_CODEC_ID_OPUS, "opus"},
    {AV_CODEC_ID_VORBIS, "vorbis"},
    {AV_CODEC_ID_AC3, "ac3"},
    {AV_CODEC_ID_EAC3, "eac3"},
    {AV_CODEC_ID_DTS, "dca"},
    {AV_CODEC_ID_TRUEHD, "truehd"},
    {AV_CODEC_ID_MLP, "mlp"},
    {AV_CODEC_ID_FLAC, "flac"},
    {AV_CODEC_ID_ALAC, "alac"},
    {AV_CODEC_ID_AMR_NB, "amrnb"},
    {AV_CODEC_ID_AMR_WB, "amrwb"},
    {AV_CODEC_ID_QCELP, "qcelp"},
    {AV_CODEC_ID_EVRC, "evrc"},
    {AV_CODEC_ID_WMAV1, "wmav1"},
    {AV_CODEC_ID_WMAV2, "wmav2"},
    {AV_CODEC_ID_PCM_S16LE, "pcm_s16le"},
    {AV_CODEC_ID_PCM_S16BE, "pcm_s16be"},
    {AV_CODEC_ID_PCM_S24LE, "pcm_s24le"},
    {AV_CODEC_ID_PCM_S24BE, "pcm_s24be"},
    {AV_CODEC_ID_PCM_S32LE, "pcm_s32le"},
    {AV_CODEC_ID_PCM_S32BE, "pcm_s32be"},
    {AV_CODEC_ID_PCM_S64LE, "pcm_s64le"},
    {AV_CODEC_ID_PCM_S64BE, "pcm_s64be"},
    {AV_CODEC_ID_PCM_F32LE, "pcm_f32le"},
    {AV_CODEC_ID_PCM_F32BE, "pcm_f32be"},
    {AV_CODEC_ID_PCM_F64LE, "pcm_f64le"},
    {AV_CODEC_ID_PCM_F64BE, "pcm_f64be"},
    {AV_CODEC_ID_PCM_U8, "pcm_u8"},
    {AV_CODEC_ID_PCM_S8, "pcm_s8"},
    {AV_CODEC_ID_PCM_U16LE, "pcm_u16le"},
    {AV_CODEC_ID_PCM_U16BE, "pcm_u16be"},
    {AV_CODEC_ID_PCM_U24LE, "pcm_u24le"},
    {AV_CODEC_ID_PCM_U24BE, "pcm_u24be"},
    {AV_CODEC_ID_PCM_U32LE, "pcm_u32le"},
    {AV_CODEC_ID_PCM_U32BE, "pcm_u32be"},
    {AV_CODEC_ID_PCM_S8_PLANAR, "pcm_s8_planar"},
    {AV_CODEC_ID_PCM_S16LE_PLANAR, "pcm_s16le_planar"},
    {AV_CODEC_ID_PCM_S16BE_PLANAR, "pcm_s16be_planar"},
    {AV_CODEC_ID_PCM_S24LE_PLANAR, "pcm_s24le_planar"},
    {AV_CODEC_ID_PCM_S32LE_PLANAR, "pcm_s32le_planar"},
    {AV_CODEC_ID_PCM_BLURAY, "pcm_bluray"},
    {AV_CODEC_ID_PCM_DVD, "pcm_dvd"},
    {AV_CODEC_ID_PCM_MULAW, "pcm_mulaw"},
    {AV_CODEC_ID_PCM_ALAW, "pcm_alaw"},
    {AV_CODEC_ID_ADPCM_MS, "adpcm_ms"},
    {AV_CODEC_ID_ADPCM_IMA_WAV, "adpcm_ima_wav"},
    {AV_CODEC_ID_ADPCM_IMA_QT, "adpcm_ima_qt"},
    {AV_CODEC_ID_ADPCM_SWF, "adpcm_swf"},
    {AV_CODEC_ID_ADPCM_YAMAHA, "adpcm_yamaha"},
};
#define N_CODECS (sizeof(codec_table) / sizeof(codec_table[0]))

const char *formats_containers(void)
{
    return containers;
}

const AVCodec *formats_decoder(int codec_id)
{
    for (size_t i = 0; i < N_CODECS; i++)
        if ((int)codec_table[i].id == codec_id)
            return avcodec_find_decoder_by_name(codec_table[i].decoder);
    return NULL;
}

int formats_warm_up(struct err *err)
{
    for (size_t i = 0; i < N_CODECS; i++) {
        const AVCodec *codec = formats_decoder(codec_table[i].id);
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

bool formats_is_still(const char *container)
{
    size_t n = strlen(container);
    return n > 5 && strcmp(container + n - 5, "_pipe") == 0;
}

void formats_codec_name(const AVCodecParameters *par, char ret_name[16])
{
    const char *name = avcodec_get_name(par->codec_id);
    char letters[5] = "";
    if (par->codec_id == AV_CODEC_ID_NONE) {
        for (unsigned i = 0; i < 4; i++) {
            unsigned char c = (unsigned char)(par->codec_tag >> 8 * i);
            letters[i] = isalnum(c) ? (char)c : '_';
        }
        name = par->codec_tag ? letters : "unknown";
    }
    (void)snprintf(ret_name, 16, "%.15s", name);
}

/* ---- what is not admitted, by name ---- */

/* At `at` there is `bytes` (n_bytes of them). `missing`: FFmpeg has no reader for it, or an older
 * one has not. */
static const struct sign {
    const char *bytes, *name;
    uint8_t n_bytes, at;
    bool missing;
} signs[] = {
    {"ftypheic", "a HEIC picture (FFmpeg 7 reads most of them)", 8, 4, true},
    {"ftypheix", "a HEIC picture (FFmpeg 7 reads most of them)", 8, 4, true},
    {"ftyphevc", "a HEIC sequence (FFmpeg 7 reads most of them)", 8, 4, true},
    {"ftypheim", "a HEIC picture (FFmpeg 7 reads most of them)", 8, 4, true},
    {"ftypmif1", "a HEIF picture (FFmpeg 7 reads most of them)", 8, 4, true},
    {"ftypmsf1", "a HEIF sequence (FFmpeg 7 reads most of them)", 8, 4, true},
    {"\xff\x0a", "a JPEG XL picture", 2, 0, true},
    {"JXL \r\n\x87\n", "a JPEG XL picture", 8, 4, true},
    {"jP  \r\n\x87\n", "a JPEG 2000 picture", 8, 4, false},
    {"BM", "a BMP picture", 2, 0, false},
    {"II*\0", "a TIFF or raw picture", 4, 0, false},
    {"MM\0*", "a TIFF or raw picture", 4, 0, false},
    {"8BPS", "a Photoshop picture", 4, 0, false},
    {"<svg", "an SVG drawing", 4, 0, false},
    {"%PDF", "a PDF document", 4, 0, false},
    {"PK\3\4", "a ZIP archive", 4, 0, false},
    {"PK\5\6", "a ZIP archive", 4, 0, false},
    {"Rar!", "a RAR archive", 4, 0, false},
    {"7z\xbc\xaf", "a 7z archive", 4, 0, false},
    {"\x1f\x8b", "a gzip archive", 2, 0, false},
    {"version https://git-lfs", "a Git LFS pointer: the file behind it was not fetched", 23, 0,
     false},
    {"WEBVTT", "subtitles (WebVTT)", 6, 0, false},
    {"[Script Info]", "subtitles (SSA)", 13, 0, false},
    {"1\r\n00:", "subtitles (SRT)", 6, 0, false},
    {"1\n00:", "subtitles (SRT)", 5, 0, false},
    {"#EXTM3U", "an HLS list of other files", 7, 0, false},
    {"ffconcat", "a list of other files", 8, 0, false},
    {".RMF", "RealMedia", 4, 0, false},
    {"FWS", "a Flash program", 3, 0, false},
    {"CWS", "a Flash program", 3, 0, false},
    {"MThd", "MIDI", 4, 0, false},
    {"MAC ", "Monkey's Audio", 4, 0, false},
    {"wvpk", "WavPack", 4, 0, false},
    {"TTA1", "TrueAudio", 4, 0, false},
    {"MPCK", "Musepack", 4, 0, false},
    {"MP+", "Musepack", 3, 0, false},
    {"DSD ", "DSD sound", 4, 0, false},
    {"#!AMR", "AMR sound, damaged or cut in its header", 5, 0, false},
    {"\x06\x0e\x2b\x34", "MXF", 4, 0, false},
    {"DKIF", "IVF", 4, 0, false},
    {"YUV4MPEG2", "YUV4MPEG", 9, 0, false},
    {"\0\0\1\xba", "an MPEG program stream, damaged or cut in its header", 4, 0, false},
    {"\x1a\x45\xdf\xa3", "Matroska, damaged or cut in its header", 4, 0, false},
    {"ftyp", "MP4, damaged or cut in its header", 4, 4, false},
    {"moov", "MP4, damaged or cut in its header", 4, 4, false},
    {"mdat", "MP4, damaged or cut in its header", 4, 4, false},
    {"OggS", "Ogg, damaged or cut in its header", 4, 0, false},
    {"FLV\1", "FLV, damaged or cut in its header", 4, 0, false},
    {"AVI ", "AVI, damaged or cut in its header", 4, 8, false},
    {"WAVE", "WAV, damaged or cut in its header", 4, 8, false},
    {"\x89PNG", "PNG, damaged or cut in its header", 4, 0, false},
    {"GIF8", "GIF, damaged or cut in its header", 4, 0, false},
    {"\xff\xd8\xff", "JPEG, damaged or cut in its header", 3, 0, false},
    {"\x7f"
     "ELF",
     "a program", 4, 0, false},
    {"MZ", "a program", 2, 0, false},
    {"SQLite format 3", "a database", 15, 0, false},
};

bool formats_is_animated_webp(const uint8_t *head, size_t n_head)
{
    return n_head > 20 && memcmp(head, "RIFF", 4) == 0 &&
           memcmp(head + 8, "WEBPVP8X", 8) == 0 && (head[20] & 2);
}

/* A page where a clip should be: mostly a host's "not found" or "log in". */
static bool is_html(const uint8_t *head, size_t n)
{
    size_t i = 0;
    while (i < n && (isspace(head[i]) || head[i] == 0xef || head[i] == 0xbb || head[i] == 0xbf))
        i++;
    const char *text = (const char *)head + i;
    return n - i >= 9 &&
           (strncasecmp(text, "<!doctype", 9) == 0 || strncasecmp(text, "<html", 5) == 0 ||
            strncasecmp(text, "<head", 5) == 0);
}

static bool is_json_or_xml(const uint8_t *head, size_t n)
{
    return n >= 5 && (memcmp(head, "<?xml", 5) == 0 || memcmp(head, "{\"", 2) == 0 ||
                      memcmp(head, "[{\"", 3) == 0);
}

static bool is_zero(const uint8_t *head, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (head[i])
            return false;
    return n > 0;
}

static const char *name_of(const uint8_t *head, size_t n_head, bool *ret_missing)
{
    *ret_missing = formats_is_animated_webp(head, n_head);
    if (*ret_missing)
        return "an animated WebP picture";
    if (is_html(head, n_head))
        return "an HTML page, perhaps an error page saved as a clip";
    if (is_json_or_xml(head, n_head))
        return "XML or JSON, perhaps an error message saved as a clip";
    if (is_zero(head, n_head))
        return "nothing but zero bytes, an upload that was not finished";
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        const struct sign *s = &signs[i];
        *ret_missing = s->missing;
        if ((size_t)s->at + s->n_bytes <= n_head &&
            memcmp(head + s->at, s->bytes, s->n_bytes) == 0)
            return s->name;
    }
    return NULL;
}

int formats_refuse(const uint8_t *head, size_t n_head, int64_t size_bytes, const char *why,
                   struct err *err)
{
    bool missing;
    const char *name = name_of(head, n_head, &missing);
    if (!name)
        return err_skip(err, "media",
                        "media: open (%lld bytes): %s; not a whole file of an admitted "
                        "container, see docs/extraction.md, Formats",
                        (long long)size_bytes, why);
    if (!missing)
        return err_skip(err, "media",
                        "media: open (%lld bytes): this is %s; upload a whole file of an "
                        "admitted format, see docs/extraction.md, Formats",
                        (long long)size_bytes, name);
    return err_skip(err, "media",
                    "media: open (%lld bytes): this is %s, which this FFmpeg (%s) cannot read; "
                    "upload an admitted format, see docs/extraction.md, Formats",
                    (long long)size_bytes, name, av_version_info());
}

int64_t formats_tag_bytes(int fd, int64_t size_bytes)
{
    int64_t at = 0;
    uint8_t p[10];
    while (at < size_bytes && pread(fd, p, sizeof(p), at) == (ssize_t)sizeof(p)) {
        if (memcmp(p, "ID3", 3) != 0 || p[3] == 0xff || p[4] == 0xff ||
            ((p[6] | p[7] | p[8] | p[9]) & 0x80))
            return at;
        at += 10 + (p[6] << 21 | p[7] << 14 | p[8] << 7 | p[9]) + (p[5] & 0x10 ? 10 : 0);
    }
    return 0;
}
