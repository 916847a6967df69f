/* variants.h: codecs × containers × what may be odd about a clip of pictures. */

#include "variants.h"

#include <stdlib.h>
#include <string.h>

enum {
    INTER = 1,    /* pictures refer to others */
    B = 2,        /* and to later ones */
    FIELDS = 4,   /* interlaced tools */
    SIZES = 8,    /* the size may change in the middle */
    CHAINED = 32, /* one file after another, each with its headers, is how it changes */
    HEADERS = 16  /* parameter sets apart from the pictures, in extradata */
};

#define CONTAINERS_MAX 8
#define HEARD_HZ       16000 /* what the features are made of */

struct codec {
    const char *label, *encoder, *pixels;
    const char *containers[CONTAINERS_MAX]; /* the first is where the plain clip is */
    unsigned can;
};

static const struct codec codecs[] = {
    {"h264",
     "libx264",
     NULL,
     {"mp4", "mov", "matroska", "avi", "flv", "mpegts", "asf", "3gp"},
     INTER | B | FIELDS | SIZES | HEADERS},
    {"paff", "paff", NULL, {"mpegts", "mp4", "matroska", "avi"}, INTER | HEADERS},
    {"paff-apart", "paff-apart", NULL, {"mpegts", "mp4", "matroska"}, INTER | HEADERS},
    {"hevc",
     "libx265",
     NULL,
     {"mp4", "mov", "matroska", "mpegts", "avi"},
     INTER | B | SIZES | HEADERS},
    {"vp8", "libvpx", NULL, {"webm", "matroska", "avi"}, INTER | SIZES},
    {"vp9", "libvpx-vp9", NULL, {"webm", "mp4", "matroska"}, INTER | SIZES},
    {"av1", "libsvtav1", NULL, {"mp4", "webm"}, INTER | SIZES},
    {"av1-aom", "libaom-av1", NULL, {"matroska"}, INTER | SIZES},
    {"mpeg4",
     "mpeg4",
     NULL,
     {"mp4", "mov", "matroska", "avi", "mpegts", "asf"},
     INTER | B | FIELDS | SIZES | HEADERS},
    {"mpeg2",
     "mpeg2video",
     NULL,
     {"mpegts", "vob", "mp4", "mov", "matroska", "avi"},
     INTER | B | FIELDS | SIZES},
    {"mpeg1", "mpeg1video", NULL, {"mpegts", "mpeg", "matroska", "avi"}, INTER | B | SIZES},
    {"h263", "h263", NULL, {"3gp", "mov", "avi", "matroska"}, INTER},
    {"flv1", "flv", NULL, {"flv", "avi", "matroska"}, INTER | SIZES},
    {"mjpeg", "mjpeg", "yuvj420p", {"avi", "mov", "mp4", "matroska", "asf"}, SIZES},
    {"msmpeg4v3", "msmpeg4", NULL, {"avi", "asf", "matroska"}, INTER},
    {"msmpeg4v2", "msmpeg4v2", NULL, {"avi", "asf"}, INTER},
    {"wmv1", "wmv1", NULL, {"asf", "avi"}, INTER},
    {"wmv2", "wmv2", NULL, {"asf", "avi", "matroska"}, INTER},
    {"theora", "libtheora", NULL, {"ogg", "matroska"}, INTER | CHAINED},
    {"prores", "prores_ks", "yuv422p10le", {"mov", "matroska"}, FIELDS},
    {"raw", "rawvideo", "yuv420p", {"avi"}, 0},
};
#define N_CODECS (sizeof(codecs) / sizeof(codecs[0]))

/* What a change needs beside a picture. */
enum {
    ANY,
    NEEDS_INTER = INTER,
    NO_B = 256,
    ONLY_TS = 512,
    ONLY_MP4 = 1024,
    HAS_LENGTHS = 2048
};

struct oddity {
    const char *family, *what;
    change_packets *change;
    change_bytes *change_file;
    int arg;
    int gop; /* as coding's */
    int b_frames;
    unsigned needs;
    const char *options; /* of the muxer; NULL */
};

static const char in_fragments[] = "movflags=frag_keyframe+empty_moov+default_base_moof";

static const struct oddity oddities[] = {
    {"gop", "pictures alone", NULL, NULL, 0, 1, 0, INTER, NULL},
    {"gop", "12", NULL, NULL, 0, 12, 0, INTER, NULL},
    {"gop", "45", NULL, NULL, 0, 45, 0, INTER, NULL},
    {"gop", "90", NULL, NULL, 0, 90, 0, INTER, NULL},
    {"gop", "one key", NULL, NULL, 0, -1, 0, INTER, NULL},
    {"b-frames", "2", NULL, NULL, 0, 0, 2, B, NULL},
    {"b-frames", "4, gop 60", NULL, NULL, 0, 60, 4, B, NULL},
    {"b-frames", "3, one key", NULL, NULL, 0, -1, 3, B, NULL},
    {"container", "fragments", NULL, NULL, 0, 0, 0, ONLY_MP4, in_fragments},
    {"container", "index first", NULL, NULL, 0, 0, 0, ONLY_MP4,
     "movflags=frag_every_frame+empty_moov"},
    {"container", "index first, b", NULL, NULL, 0, 0, 2, ONLY_MP4 | B, in_fragments},
    {"keys", "all", keys_all, NULL, 0, 0, 0, INTER, NULL},
    {"keys", "all, b 2", keys_all, NULL, 0, 0, 2, B, NULL},
    {"keys", "all, gop 110", keys_all, NULL, 0, 110, 0, INTER, NULL},
    {"keys", "all, one key", keys_all, NULL, 0, -1, 0, INTER, NULL},
    {"keys", "none", keys_none, NULL, 0, 0, 0, INTER, NULL},
    {"keys", "none, b 2", keys_none, NULL, 0, 0, 2, B, NULL},
    {"keys", "none, one key", keys_none, NULL, 0, -1, 0, INTER, NULL},
    {"keys", "every 2nd", keys_every, NULL, 2, 0, 0, INTER, NULL},
    {"keys", "every 10th", keys_every, NULL, 10, 0, 0, INTER, NULL},
    {"keys", "every 50th, gop 60", keys_every, NULL, 50, 60, 0, INTER, NULL},
    {"keys", "every 7th more", keys_more, NULL, 7, 0, 0, INTER, NULL},
    {"keys", "every 30th more, gop 90, b 3", keys_more, NULL, 30, 90, 3, B, NULL},
    {"keys", "one late", keys_shifted, NULL, 1, 0, 0, INTER, NULL},
    {"keys", "three late, b 2", keys_shifted, NULL, 3, 0, 2, B, NULL},
    {"beginning", "first key lost", first_packets_lost, NULL, 1, 0, 0, INTER, NULL},
    {"beginning", "first key lost, gop 110", first_packets_lost, NULL, 1, 110, 0, INTER, NULL},
    {"beginning", "first key lost, one key", first_packets_lost, NULL, 1, -1, 0, INTER, NULL},
    {"beginning", "13 lost", first_packets_lost, NULL, 13, 0, 0, INTER, NULL},
    {"beginning", "13 lost, b 2", first_packets_lost, NULL, 13, 0, 2, B, NULL},
    {"beginning", "30 lost, gop 80", first_packets_lost, NULL, 30, 80, 0, INTER, NULL},
    {"beginning", "15 lost, gop 160", first_packets_lost, NULL, 15, 160, 0, INTER, NULL},
    {"damage", "5 %", bytes_flipped, NULL, 5, 0, 0, ANY, NULL},
    {"damage", "30 %", bytes_flipped, NULL, 30, 0, 0, ANY, NULL},
    {"damage", "30 %, gop 110", bytes_flipped, NULL, 30, 110, 0, INTER, NULL},
    {"damage", "all, b 2", bytes_flipped, NULL, 100, 0, 2, B, NULL},
    {"damage", "first 30 %", beginning_flipped, NULL, 30, 0, 0, ANY, NULL},
    {"damage", "first 30 %, gop 45", beginning_flipped, NULL, 30, 45, 0, INTER, NULL},
    {"damage", "keys", keys_flipped, NULL, 0, 0, 0, INTER, NULL},
    {"damage", "first key, gop 110", first_key_flipped, NULL, 0, 110, 0, INTER, NULL},
    {"damage", "first key, one key", first_key_flipped, NULL, 0, -1, 0, INTER, NULL},
    {"damage", "10 % halved", packets_shortened, NULL, 10, 0, 0, ANY, NULL},
    {"damage", "50 % halved, b 2", packets_shortened, NULL, 50, 0, 2, B, NULL},
    {"damage", "3 bytes of the file", NULL, file_flipped, 3, 0, 0, ANY, NULL},
    {"damage", "60 bytes of the file", NULL, file_flipped, 60, 0, 0, ANY, NULL},
    {"damage", "10 % of the file zero", NULL, file_zeroed, 10, 0, 0, ANY, NULL},
    {"loss", "5 %", packets_lost, NULL, 5, 0, 0, ANY, NULL},
    {"loss", "30 %", packets_lost, NULL, 30, 0, 0, ANY, NULL},
    {"loss", "10 %, b 2", packets_lost, NULL, 10, 0, 2, B, NULL},
    {"loss", "10 %, one key", packets_lost, NULL, 10, -1, 0, INTER, NULL},
    {"loss", "every second key", key_lost, NULL, 0, 0, 0, INTER, NULL},
    {"loss", "every second key, b 2", key_lost, NULL, 0, 0, 2, B, NULL},
    {"loss", "30 % in a row", burst_lost, NULL, 30, 0, 0, ANY, NULL},
    {"loss", "30 % in a row, one key", burst_lost, NULL, 30, -1, 0, INTER, NULL},
    {"cut", "to 95 %", NULL, file_cut, 95, 0, 0, ANY, NULL},
    {"cut", "to 60 %", NULL, file_cut, 60, 0, 0, ANY, NULL},
    {"cut", "to 30 %, b 2", NULL, file_cut, 30, 0, 2, B, NULL},
    {"cut", "fragments to 60 %", NULL, file_cut, 60, 0, 0, ONLY_MP4, in_fragments},
    {"cut", "beginning, 8 %", NULL, file_beheaded, 8, 0, 0, ONLY_TS, NULL},
    {"cut", "beginning, 5 %, gop 110", NULL, file_beheaded, 5, 110, 0, ONLY_TS, NULL},
    {"times", "an hour on", times_shifted, NULL, 3600, 0, 0, ANY, NULL},
    {"times", "26 h on", times_shifted, NULL, 95437, 0, 0, ANY, NULL},
    {"times", "pause of 45 s", times_pause, NULL, 45, 0, 0, ANY, NULL},
    {"times", "pause of 5 s", times_pause, NULL, 5, 0, 0, ANY, NULL},
    {"times", "jitter", times_jitter, NULL, 80, 0, 0, NO_B, NULL},
    {"times", "stairs of 5", times_coarse, NULL, 5, 0, 0, NO_B, NULL},
    {"times", "sound 1.5 s late", sound_late, NULL, 1500, 0, 0, ANY, NULL},
    {"times", "most erased", NULL, ts_times_erased, 9, 0, 0, ONLY_TS, NULL},
    {"times", "most erased, b 2", NULL, ts_times_erased, 30, 0, 2, ONLY_TS | B, NULL},
    {"times", "two ends joined", NULL, file_twice, 0, 0, 0, ONLY_TS, NULL},
    {"tracks", "empty picture first", empty_picture_first, NULL, 0, 0, 0, ANY, NULL},
    {"tracks", "empty picture first, fragments", empty_picture_first, NULL, 0, 0, 0, ONLY_MP4,
     in_fragments},
    {"tracks", "empty sound first", empty_sound_first, NULL, 0, 0, 0, ANY, NULL},
    {"tracks", "empty sound first, fragments", empty_sound_first, NULL, 0, 0, 0, ONLY_MP4,
     in_fragments},
    {"tracks", "cover first", cover_first, NULL, 0, 0, 0, ANY, NULL},
    {"tracks", "cover last", cover_last, NULL, 0, 0, 0, ANY, NULL},
    {"tracks", "cover of its codec first", same_codec_cover_first, NULL, 0, 0, 0, ANY, NULL},
    {"tracks", "12", more_sounds, NULL, 12, 0, 0, ANY, NULL},
    {"tracks", "10 subtitles first", subtitles_first, NULL, 10, 0, 0, ANY, NULL},
    {"sound damage", "30 % flipped", sound_flipped, NULL, 30, 0, 0, HAS_LENGTHS, NULL},
    {"sound damage", "40 % in a row lost", sound_lost, NULL, 40, 0, 0, HAS_LENGTHS, NULL},
};
#define N_ODDITIES (sizeof(oddities) / sizeof(oddities[0]))

static bool is_mp4(const char *container)
{
    return !strcmp(container, "mp4") || !strcmp(container, "mov") || !strcmp(container, "3gp");
}

/* ASF keeps one time a picture, FFmpeg takes it for the decoder's, and of H.264 the other does not
 * follow: `retimed` is right there. */
static bool has_times(const struct codec *c, const char *container)
{
    return strcmp(container, "asf") != 0 || strcmp(c->encoder, "libx264") != 0;
}

static bool fits(const struct oddity *o, const struct codec *c, const char *container)
{
    unsigned of_codec = INTER | B | FIELDS | SIZES | HEADERS;
    if ((o->needs & of_codec & ~c->can) != 0)
        return false;
    if ((o->needs & ONLY_TS) && strcmp(container, "mpegts") != 0)
        return false;
    if ((o->needs & ONLY_MP4) && !is_mp4(container))
        return false;
    /* It puts keys where a scene begins, and the plan takes them for the scene before. */
    if (!strcmp(c->encoder, "libtheora") && (o->gop > 20 || o->gop < 0))
        return false;
    /* The sound is the container's, whatever the picture: once is enough. */
    if ((o->needs & HAS_LENGTHS) && c != &codecs[0])
        return false;
    return true;
}

static struct variant base_of(const struct codec *c, const char *container)
{
    return (struct variant){
        .container = container,
        .coding = {.encoder = c->encoder,
                   .pixels = c->pixels,
                   .in_band = variants_in_band(container)},
        .sound = {.encoder = variants_sound_for(container)},
    };
}

static void add_oddities(struct variants *list, const struct codec *c, const char *container)
{
    for (size_t i = 0; i < N_ODDITIES; i++) {
        const struct oddity *o = &oddities[i];
        struct variant v = base_of(c, container);
        if (!fits(o, c, container))
            continue;
        v.family = o->family;
        v.options = o->options;
        v.coding.gop = o->gop;
        v.coding.b_frames = o->b_frames;
        v.change = o->change;
        v.change_file = o->change_file;
        v.arg = o->arg;
        v.may_hide = !strcmp(o->family, "damage") || !strcmp(o->family, "loss") ||
                     o->change == sound_flipped;
        v.plain = o->change == NULL && o->change_file == NULL && has_times(c, container);
        variants_add(list, &v, c->label, "%s", o->what);
    }
}

/* ---- parameter changes ---- */

struct second {
    const char *what;
    int width, height;
    int at_pct;
    int quality;
    int gop;
    unsigned needs;
};

static const struct second seconds[] = {
    {"smaller at 30 %", 128, 96, 30, 0, 0, SIZES},
    {"larger at 50 %", 320, 240, 50, 0, 0, SIZES},
    {"upright at 70 %", 144, 176, 70, 0, 0, SIZES},
    {"smaller at 52 %, gop 110", 128, 96, 52, 0, 110, SIZES | INTER},
    {"quantiser at 40 %", 0, 0, 40, 2, 0, HEADERS},
};

static bool can_be_joined(const char *container)
{
    static const char *const names[] = {"mpegts", "ogg",      "flv", "vob",
                                        "mpeg",   "matroska", "webm"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(names[i], container))
            return true;
    return false;
}

/* What is in the packets needs no place; for headers apart FLV has one. */
static bool is_said_in_stream(const struct codec *c, const char *container,
                              const struct variant *v)
{
    if (c->can & CHAINED)
        return false;
    return !(c->can & HEADERS) || v->coding.in_band || !strcmp(container, "flv");
}

static void add_changes_of_parameters(struct variants *list, const struct codec *c,
                                      const char *container)
{
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        const struct second *s = &seconds[i];
        struct variant v = base_of(c, container);
        unsigned can = c->can | (c->can & CHAINED ? SIZES : 0);
        if ((s->needs & ~can) != 0)
            continue;
        v.family = "parameters";
        v.coding.gop = s->gop;
        v.second = v.coding;
        v.coding.to_pct = s->at_pct;
        v.second.from_pct = s->at_pct;
        v.second.width = s->width;
        v.second.height = s->height;
        v.second.quality = s->quality;
        if (!strncmp(c->encoder, "paff", 4)) /* it knows one size */
            continue;
        if (is_said_in_stream(c, container, &v))
            variants_add(list, &v, c->label, "%s", s->what);
        if (is_mp4(container) && (c->can & HEADERS)) {
            v.make = boxes_two_descriptions;
            variants_add(list, &v, c->label, "%s, two descriptions", s->what);
            v.make = NULL;
        }
        if (can_be_joined(container)) {
            v.make = boxes_end_to_end;
            v.second_sound = v.sound;
            v.sound.to_pct = v.second_sound.from_pct = s->at_pct;
            variants_add(list, &v, c->label, "%s, two files", s->what);
            v.make = NULL;
            v.sound.to_pct = 0;
            v.second_sound.encoder = NULL;
        }
        /* Where headers have a place of their own, they may be in the packets as well. */
        if ((c->can & HEADERS) && !v.coding.in_band) {
            v.coding.in_band = v.second.in_band = true;
            v.change = NULL;
            variants_add(list, &v, c->label, "%s, in band", s->what);
        }
    }
}

/* ---- what one encoder has alone ---- */

struct special {
    const char *family, *what, *encoder, *options;
    int gop, b_frames, seconds;
    enum { USUAL, TOOLS_OF_FIELDS, FIELD_PICTURES, IRREGULAR_KEYS } how;
};

static const struct special specials[] = {
    {"open gop", "b 3, gop 28", "libx264", "x264-params=open-gop=1", 28, 3, 0, USUAL},
    {"open gop", "b 2, gop 60", "libx264", "x264-params=open-gop=1", 60, 2, 0, USUAL},
    {"open gop", "pyramid, irregular", "libx264", "x264-params=open-gop=1:b-pyramid=normal", 80,
     4, 0, IRREGULAR_KEYS},
    {"open gop", "b 3, gop 28", "libx265", ":open-gop=1", 28, 3, 0, USUAL},
    {"open gop", "b 4, gop 60, irregular", "libx265", ":open-gop=1:min-keyint=1", 60, 4, 0,
     IRREGULAR_KEYS},
    {"open gop", "b 2, gop 12", "mpeg2video", NULL, 12, 2, 0, USUAL},
    {"open gop", "b 2, gop 18", "mpeg4", NULL, 18, 2, 0, USUAL},
    {"fields", "mbaff", "libx264", NULL, 0, 0, 0, TOOLS_OF_FIELDS},
    {"fields", "mbaff, b 3, gop 60", "libx264", NULL, 60, 3, 0, TOOLS_OF_FIELDS},
    {"fields", "said, not coded", "libx264", "x264-params=fake-interlaced=1", 0, 2, 0, USUAL},
    {"fields", "field pictures", "libx265", NULL, 40, 0, 0, FIELD_PICTURES},
    {"fields", "field pictures, b 2", "libx265", NULL, 40, 2, 0, FIELD_PICTURES},
    {"fields", "interlaced tools", "mpeg2video", NULL, 0, 0, 0, TOOLS_OF_FIELDS},
    {"fields", "interlaced tools, b 2", "mpeg2video", NULL, 15, 2, 0, TOOLS_OF_FIELDS},
    {"fields", "interlaced tools", "mpeg4", NULL, 0, 0, 0, TOOLS_OF_FIELDS},
    {"fields", "interlaced", "prores_ks", NULL, 0, 0, 0, TOOLS_OF_FIELDS},
    {"refresh", "period 20", "libx264", "x264-params=intra-refresh=1", 0, 0, 0, USUAL},
    {"refresh", "period 60", "libx264", "x264-params=intra-refresh=1", 60, 0, 0, USUAL},
    {"refresh", "period 120, b 2", "libx264", "x264-params=intra-refresh=1", 120, 2, 0, USUAL},
    {"refresh", "period 60, 30 s", "libx264", "x264-params=intra-refresh=1", 60, 0, 30, USUAL},
    {"refresh", "period 30, 60 s", "libx264", "x264-params=intra-refresh=1", 30, 0, 60, USUAL},
    {"refresh", "period 60, 60 s", "libx264", "x264-params=intra-refresh=1", 60, 0, 60, USUAL},
    {"refresh", "period 20", "libx265", ":intra-refresh=1", 0, 0, 0, USUAL},
    {"refresh", "period 60", "libx265", ":intra-refresh=1", 60, 0, 0, USUAL},
    {"refresh", "period 60, 30 s", "libx265", ":intra-refresh=1", 60, 0, 30, USUAL},
    {"tools", "slices", "libx264", "slices=4", 0, 2, 0, USUAL},
    {"tools", "baseline", "libx264", "profile=baseline", 0, 0, 0, USUAL},
    {"tools", "weights, 8 references", "libx264", "refs=8,weightp=2", 60, 3, 0, USUAL},
    {"gop", "irregular", "libx264", NULL, -1, 3, 0, IRREGULAR_KEYS},
    {"gop", "irregular", "libx265", ":min-keyint=1", -1, 3, 0, IRREGULAR_KEYS},
    {"gop", "irregular", "mpeg4", NULL, -1, 2, 0, IRREGULAR_KEYS},
    {"gop", "irregular", "libvpx-vp9", NULL, -1, 0, 0, IRREGULAR_KEYS},
    {"gop", "irregular", "mpeg2video", NULL, -1, 2, 0, IRREGULAR_KEYS},
    {"tools", "hidden references", "libvpx", NULL, 0, 1, 0, USUAL},
    {"tools", "hidden references, gop 90", "libvpx", NULL, 90, 1, 0, USUAL},
    {"tools", "hidden references", "libvpx-vp9", NULL, 0, 1, 0, USUAL},
    {"tools", "hidden references, one key", "libvpx-vp9", NULL, -1, 1, 0, USUAL},
    {"tools", "layers", "libvpx", "error-resilient=1", 0, 0, 0, USUAL},
    {"tools", "quarter pixels", "mpeg4", "flags=+qpel", 0, 0, 0, USUAL},
    {"tools", "data partitions", "mpeg4", "data_partitioning=1,ps=300", 0, 0, 0, USUAL},
    {"tools", "slices", "mpeg2video", "slices=4", 0, 2, 0, USUAL},
};
#define N_SPECIALS (sizeof(specials) / sizeof(specials[0]))

static void add_specials(struct variants *list, const struct codec *c, const char *container)
{
    for (size_t i = 0; i < N_SPECIALS; i++) {
        const struct special *s = &specials[i];
        if (strcmp(s->encoder, c->encoder) != 0)
            continue;
        struct variant v = base_of(c, container);
        v.family = s->family;
        v.coding.options = s->options;
        v.coding.gop = s->gop;
        v.coding.b_frames = s->b_frames;
        v.coding.seconds = v.sound.seconds = s->seconds;
        v.coding.fields = s->how == TOOLS_OF_FIELDS;
        v.coding.field_pictures = s->how == FIELD_PICTURES;
        v.coding.irregular = s->how == IRREGULAR_KEYS;
        v.plain = has_times(c, container);
        variants_add(list, &v, c->label, "%s", s->what);
        if (strcmp(s->family, "refresh") != 0 && strcmp(s->family, "fields") != 0)
            continue;
        v.plain = false;
        v.change = keys_all;
        variants_add(list, &v, c->label, "%s, all keys", s->what);
        v.change = first_packets_lost;
        v.arg = 3;
        variants_add(list, &v, c->label, "%s, 3 lost", s->what);
    }
}

void variants_make(struct variants *ret)
{
    *ret = (struct variants){0};
    for (size_t i = 0; i < N_CODECS; i++)
        for (size_t k = 0; k < CONTAINERS_MAX && codecs[i].containers[k] != NULL; k++) {
            const char *container = codecs[i].containers[k];
            struct variant plain = base_of(&codecs[i], container);
            plain.family = "plain";
            plain.plain = has_times(&codecs[i], container);
            variants_add(ret, &plain, codecs[i].label, "plain");
            add_oddities(ret, &codecs[i], container);
            add_changes_of_parameters(ret, &codecs[i], container);
            add_specials(ret, &codecs[i], container);
        }
    variants_of_formats(ret);
    variants_of_sound(ret);
}

/* Plain: the encoder's own home, or, of a format outside the list, a codec that nobody doubts. */
static void reference_of_pictures(const struct variant *v, unsigned i, struct variant *ret)
{
    ret->container = NULL;
    ret->coding = (struct coding){.encoder = v->coding.encoder,
                                  .gop = i == 0 ? 0 : 1,
                                  .seconds = v->coding.seconds,
                                  .one_palette = v->coding.one_palette};
    if (!strncmp(v->coding.encoder, "paff", 4))
        ret->coding.encoder = codecs[0].encoder;
    for (size_t k = 0; k < N_CODECS && ret->container == NULL; k++)
        if (!strcmp(codecs[k].encoder, ret->coding.encoder)) {
            ret->container = codecs[k].containers[0];
            ret->coding.pixels = codecs[k].pixels;
        }
    if (ret->container == NULL || v->coding.one_palette) {
        ret->container = v->coding.one_palette ? "avi" : "matroska";
        ret->coding.encoder = v->coding.one_palette ? "rawvideo" : "libx264";
        ret->coding.pixels = v->coding.one_palette ? "bgr24" : NULL;
    }
    if (v->coding.pixels != NULL &&
        !strcmp(v->coding.pixels, "gray")) { /* it has no colour to lose */
        ret->coding.encoder = codecs[0].encoder;
        ret->coding.pixels = "gray";
        ret->container = "matroska";
    }
    ret->coding.in_band = variants_in_band(ret->container);
}

bool variant_reference(const struct variant *v, enum modality m, unsigned i,
                       struct variant *ret)
{
    *ret = (struct variant){.container = "matroska"};
    if (m == MODALITY_VISUAL && v->coding.encoder != NULL && i < 2) {
        reference_of_pictures(v, i, ret);
        return true;
    }
    if (m != MODALITY_ACOUSTIC || v->sound.encoder == NULL || i > 0)
        return false;
    int rate_hz = sound_rate_hz(&v->sound);
    ret->sound.encoder = "pcm_s16le";
    ret->sound.seconds = v->sound.seconds;
    ret->sound.rate_hz =
        rate_hz < HEARD_HZ ? rate_hz : 0; /* what it cannot hold is not asked */
    return true;
}
