/* The formats that are admitted beyond those of unit.extractor, and the names of those that are
 * not. */

#include "extract_fixture.h"

#include "extract/media/formats.h"
#include "extract/wire/notes.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#define SEEN  MODALITY_BIT(MODALITY_VISUAL)
#define HEARD MODALITY_BIT(MODALITY_ACOUSTIC)

static struct features f, g;
static struct err err;

static void run_every_sound_codec_is_heard(void **state)
{
    static const char *const cases[][3] = {
        {"mov", "pcm_s24be", "pcm_s24be"},
        {"mov", "pcm_s32be", "pcm_s32be"},
        {"mov", "pcm_f32be", "pcm_f32be"},
        {"mov", "pcm_f64be", "pcm_f64be"},
        {"mov", "pcm_f64le", "pcm_f64le"},
        {"mov", "pcm_s8", "pcm_s8"},
        {"wav", "pcm_s64le", "pcm_s64le"},
        {"mov", "adpcm_ima_qt", "adpcm_ima_qt"},
        {"wav", "adpcm_yamaha", "adpcm_yamaha"},
        {"flv", "adpcm_swf", "adpcm_swf"},
        {"matroska", "dca", "dts"},
        {"matroska", "mlp", "mlp"},
        {"mpegts", "dca", "dts"},
        {"mpeg", "pcm_dvd", "pcm_dvd"},
        {"nut", NULL, NULL},
    };
    for (size_t i = 0; cases[i][1]; i++) {
        struct clipmaker_options o = small_clip();
        o.container = cases[i][0];
        o.audio_codec = cases[i][1];
        o.video_codec = NULL;
        make_clip(*state, "clip", &o);
        if (extract_file(*state, "clip", NULL, &f, &err) != ERR_OK)
            fail_msg("%s: %s", cases[i][1], err.text);
        assert_int_equal(f.mask, HEARD);
        assert_string_equal(f.flags.audio_codec, cases[i][2]);
        assert_in_range(f.flags.audio_ms, 1800, 2200);
        assert_false(f.flags.partial);
    }
}

static void run_every_sound_container_is_heard(void **state)
{
    static const char *const cases[][2] = {
        {"caf", "pcm_s16be"}, {"caf", "alac"},     {"aiff", "pcm_s16be"}, {"aiff", "pcm_s24be"},
        {"w64", "pcm_s16le"}, {"au", "pcm_s16be"}, {"au", "pcm_mulaw"},   {"ac3", "ac3"},
        {"eac3", "eac3"},     {"dts", "dca"},      {"ipod", "aac"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct clipmaker_options o = small_clip();
        o.container = cases[i][0];
        o.audio_codec = cases[i][1];
        o.video_codec = NULL;
        extract_clip(*state, &o, &f);
        assert_int_equal(f.mask, HEARD);
        assert_in_range(f.flags.audio_ms, 1800, 2200);
        assert_false(f.flags.partial);
    }
}

static void run_every_picture_format_looks_the_same(void **state)
{
    static const char *const cases[][3] = {
        {"gif", "gif", "rgb8"},        {"apng", "apng", "rgb24"},
        {"mov", "png", "rgb24"},       {"mov", "qtrle", "rgb24"},
        {"avi", "dvvideo", "yuv420p"}, {"mov", "dvvideo", "yuv420p"},
        {"dv", "dvvideo", "yuv420p"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct clipmaker_options o = small_clip();
        o.audio_codec = NULL;
        o.duration_ms = 1000;
        if (strcmp(cases[i][1], "dvvideo") == 0) {
            o.width = 720;
            o.height = 576;
        }
        o.quality = 18;
        extract_clip(*state, &o, &g);
        o.container = cases[i][0];
        o.video_codec = cases[i][1];
        o.pixel_format = cases[i][2];
        extract_clip(*state, &o, &f);
        assert_int_equal(f.mask, SEEN);
        assert_string_equal(f.flags.video_codec, cases[i][1]);
        assert_in_range(f.flags.n_frames, 7, 8);
        assert_false(f.flags.partial);
        double least =
            strcmp(cases[i][1], "gif") == 0 ? 0.6 : 0.93; /* 256 colours, no dither */
        if (feature_cosine(&f, &g, MODALITY_VISUAL) < least)
            fail_msg("%s: %.3f", cases[i][1], feature_cosine(&f, &g, MODALITY_VISUAL));
    }
}

/* A phone's JPEG has a preview or a gain map behind it: no clip of two frames. */
static void run_a_still_is_one_frame(void **state)
{
    static const char *const stills[][3] = {{"image2pipe", "png", "rgb24"},
                                            {"image2pipe", "mjpeg", "yuvj420p"},
                                            {"webp", "libwebp", "yuv420p"},
                                            {"avif", "libaom-av1", "yuv420p"}};
    for (unsigned i = 0; i < 4; i++) {
        struct clipmaker_options o = small_clip();
        o.container = stills[i][0];
        o.video_codec = stills[i][1];
        o.pixel_format = stills[i][2];
        o.audio_codec = NULL;
        o.duration_ms = i < 2 ? 120 : 40; /* three pictures end to end */
        if (clipmaker_write(clip_path(*state, "clip"), &o, &err) != ERR_OK) {
            print_message("skipped: %s\n", err.text);
            continue;
        }
        if (extract_file(*state, "clip", NULL, &f, &err) != ERR_OK)
            fail_msg("%s: %s", stills[i][1], err.text);
        assert_int_equal(f.mask, SEEN);
        assert_int_equal(f.flags.n_frames, 1);
        assert_int_equal(f.flags.n_planned, 1);
        assert_float_equal(f.flags.coverage, 1.0f, 1e-6);
        assert_false(f.flags.partial || f.flags.retimed || f.flags.capped);
    }
}

/* AAC in LATM, as broadcasters send it. */
static void run_latm_in_mpegts_is_heard(void **state)
{
    struct clipmaker_options o = small_clip();
    make_clip(*state, "clip", &o);
    AVFormatContext *in = NULL, *out = NULL;
    assert_true(avformat_open_input(&in, clip_path(*state, "clip"), NULL, NULL) >= 0);
    const char *path = clip_path(*state, "latm");
    assert_true(avformat_alloc_output_context2(&out, NULL, "mpegts", path) >= 0);
    for (unsigned i = 0; i < in->nb_streams; i++) {
        AVStream *st = avformat_new_stream(out, NULL);
        assert_non_null(st);
        assert_true(avcodec_parameters_copy(st->codecpar, in->streams[i]->codecpar) >= 0);
        st->codecpar->codec_tag = 0;
    }
    AVDictionary *d = NULL;
    (void)av_dict_set(&d, "mpegts_flags", "latm", 0);
    assert_true(avio_open(&out->pb, clip_path(*state, "latm"), AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(out, &d) >= 0);
    av_dict_free(&d);
    AVPacket *pkt = av_packet_alloc();
    assert_non_null(pkt);
    while (av_read_frame(in, pkt) >= 0) {
        int i = pkt->stream_index;
        av_packet_rescale_ts(pkt, in->streams[i]->time_base, out->streams[i]->time_base);
        assert_true(av_interleaved_write_frame(out, pkt) >= 0);
    }
    av_packet_free(&pkt);
    assert_true(av_write_trailer(out) >= 0);
    avformat_close_input(&in);
    (void)avio_closep(&out->pb);
    avformat_free_context(out);
    assert_int_equal(extract_file(*state, "latm", NULL, &f, &err), ERR_OK);
    assert_int_equal(f.mask, SEEN | HEARD);
    assert_string_equal(f.flags.audio_codec, "aac_latm");
}

/* A phone's JPEG: a preview inside its EXIF, a gain map or a film behind it. */
static void run_a_phones_jpeg_is_its_picture(void **state)
{
    struct clipmaker_options o = small_clip();
    o.container = "image2pipe";
    o.video_codec = "mjpeg";
    o.pixel_format = "yuvj420p";
    o.audio_codec = NULL;
    o.duration_ms = 40;
    o.width = 320;
    make_clip(*state, "large", &o);
    assert_int_equal(extract_file(*state, "large", NULL, &g, &err), ERR_OK);
    o.width = 64;
    o.height = 48;
    make_clip(*state, "small", &o);
    o = small_clip();
    make_clip(*state, "film", &o);
    size_t n, n_small, n_film;
    char *large = read_bytes(clip_path(*state, "large"), &n);
    char *small = read_bytes(clip_path(*state, "small"), &n_small);
    char *film = read_bytes(clip_path(*state, "film"), &n_film);
    char *phone = malloc(n + 2 * n_small + n_film + 16);
    assert_non_null(phone);
    memcpy(phone, "\xff\xd8\xff\xe1\0\0Exif\0\0", 12);
    phone[4] = (char)((n_small + 8) >> 8);
    phone[5] = (char)(n_small + 8);
    memcpy(phone + 12, small, n_small);
    memcpy(phone + 12 + n_small, large + 2, n - 2);
    size_t end = 10 + n_small + n;
    for (unsigned i = 0; i < 3; i++) {
        const char *tail = i == 1 ? small : film;
        size_t n_tail = i == 0 ? 0 : i == 1 ? n_small : n_film;
        memcpy(phone + end, tail, n_tail);
        write_bytes(clip_path(*state, "phone"), phone, end + n_tail);
        if (extract_file(*state, "phone", NULL, &f, &err) != ERR_OK)
            fail_msg("%u: %s", i, err.text);
        assert_int_equal(f.flags.n_frames, 1);
        assert_int_equal(f.flags.width, 320);
        assert_false(f.flags.partial);
        assert_memory_equal(f.vec, g.vec, sizeof(f.vec));
    }
    free(large);
    free(small);
    free(film);
    free(phone);
}

/* What is missing is said: the sound of a codec that is not admitted, the picture likewise. */
static void run_a_missing_codec_is_noted(void **state)
{
    struct clipmaker_options o = small_clip();
    o.container = "matroska";
    o.audio_codec = "wavpack";
    extract_clip(*state, &o, &f);
    assert_int_equal(f.mask, SEEN);
    assert_true(f.flags.partial && f.flags.notes >> NOTE_SOUND_CODEC & 1);
    assert_string_equal(f.flags.audio_codec, "wavpack");
    o.audio_codec = "libopus";
    o.video_codec = "ffv1";
    extract_clip(*state, &o, &f);
    assert_int_equal(f.mask, HEARD);
    assert_true(f.flags.partial && f.flags.notes >> NOTE_PICTURE_CODEC & 1);
    assert_string_equal(f.flags.video_codec, "ffv1");
}

/* A phone's "apac", which no FFmpeg decodes: its name is told. */
static void run_a_codec_without_a_name_is_told_by_its_letters(void **state)
{
    struct clipmaker_options o = small_clip();
    o.container = "mov";
    make_clip(*state, "clip", &o);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "clip"), &n);
    char *entry = memmem(bytes, n, "mp4a", 4);
    assert_non_null(entry);
    memcpy(entry, "apac", 4);
    entry = memmem(bytes, n, "esds", 4);
    assert_non_null(entry);
    memcpy(entry, "dapa", 4);
    write_bytes(clip_path(*state, "apac"), bytes, n);
    free(bytes);
    assert_int_equal(extract_file(*state, "apac", NULL, &f, &err), ERR_OK);
    assert_int_equal(f.mask, SEEN);
    assert_true(f.flags.notes >> NOTE_SOUND_CODEC & 1);
    assert_string_equal(f.flags.audio_codec, "apac");
}

static void run_what_cannot_be_opened_is_named(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *name;
    } cases[] = {
        {"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x9f\0\0\x5f\0\0ANIM\6\0\0\0\0\0\0\0\0\0",
         44, "animated WebP"},
        {"\0\0\0\x18"
         "ftypheic\0\0\0\0mif1heic",
         24, "HEIC"},
        {"\xff\x0a\xfa\x0a\x10\0\0\0", 8, "JPEG XL"},
        {"\0\0\0\x0cJXL \r\n\x87\n", 12, "JPEG XL"},
        {"%PDF-1.7\n", 9, "PDF"},
        {"PK\3\4\x14\0\0\0", 8, "ZIP"},
        {"<!DOCTYPE html><html><title>404", 31, "HTML"},
        {"\n <HTML><body>Not found</body>", 30, "HTML"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:", 54, "Git LFS"},
        {"{\"error\":\"expired\"}", 19, "JSON"},
        {"<?xml version=\"1.0\"?><Error><Code>AccessDenied", 46, "XML"},
        {"WEBVTT\n\n00:01.000 --> 00:04.000\nHello\n", 38, "subtitles"},
        {"#EXTM3U\n#EXTINF:4,\nother.ts\n", 28, "HLS"},
        {"\0\0\0\x18"
         "ftypmp42\0\0\0\0mp42isom",
         24, "MP4"},
        {".RMF\0\0\0\x12\0\1", 10, "RealMedia"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, "zero bytes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_bytes(clip_path(*state, "other"), cases[i].bytes, cases[i].n);
        if (extract_file(*state, "other", NULL, &f, &err) != ERR_SKIP)
            fail_msg("%s: opened", cases[i].name);
        if (strcmp(err.reason, "media") != 0 || !strstr(err.text, cases[i].name))
            fail_msg("%s: %s: %s", cases[i].name, err.reason, err.text);
    }
}

/* Forty thousand texts in front of the sound, as ID3 tags have them; nothing of them is used. */
static void run_id3_tags_are_passed_over(void **state)
{
    static const char frame[] = "TXXX\0\0\0\x06\0\0\0key\0v";
    const size_t n_frames = 40000, n_tag = n_frames * (sizeof(frame) - 1);
    struct clipmaker_options o = small_clip();
    o.container = "adts";
    o.video_codec = NULL;
    extract_clip(*state, &o, &g);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "clip"), &n), *tagged = malloc(n_tag + 10 + n);
    assert_non_null(tagged);
    memcpy(tagged, "ID3\3\0\0", 6);
    for (unsigned i = 0; i < 4; i++)
        tagged[6 + i] = (char)(n_tag >> (21 - 7 * i) & 0x7f);
    for (size_t i = 0; i < n_frames; i++)
        memcpy(tagged + 10 + i * (sizeof(frame) - 1), frame, sizeof(frame) - 1);
    memcpy(tagged + 10 + n_tag, bytes, n);
    write_bytes(clip_path(*state, "tagged"), tagged, n_tag + 10 + n);
    assert_int_equal(extract_file(*state, "tagged", NULL, &f, &err), ERR_OK);
    assert_memory_equal(f.vec, g.vec, sizeof(f.vec));
    assert_memory_equal(&f.flags, &g.flags, sizeof(f.flags));
    write_bytes(clip_path(*state, "tagged"), tagged, n_tag + 10); /* a tag and nothing else */
    assert_int_equal(extract_file(*state, "tagged", NULL, &f, &err), ERR_SKIP);
    free(tagged);
    free(bytes);
}

/* A table of 400 MB in the header of a file that is mostly a hole. */
static void run_a_header_without_end_is_given_up(void **state)
{
    static const char boxes[] = "\0\0\0\x10"
                                "ftypisom\0\0\0\0"
                                "\x20\0\0\0moov\x1f\0\0\0trak\x1e\0\0\0mdia\x1d\0\0\0minf"
                                "\x1c\0\0\0stbl\x18\0\0\0stsz\0\0\0\0\0\0\0\0\5\0\0\0";
    const char *path = clip_path(*state, "hole");
    write_bytes(path, boxes, sizeof(boxes) - 1);
    assert_int_equal(truncate(path, 0x20000000), 0);
    assert_int_equal(extract_file(*state, "hole", NULL, &f, &err), ERR_SKIP);
    if (!strstr(err.text, "header"))
        fail_msg("%s: %s", err.reason, err.text);
}

/* image2 would open files by pattern; what is admitted reads its descriptor only. */
static void formats_containers_open_no_other_file(void **state)
{
    (void)state;
    const char *list = formats_containers();
    static const char *const never[] = {"image2", "hls", "concat", "dash",
                                        "imf",    "sdp", "rtsp"};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        for (const char *at = list; (at = strstr(at, never[i])); at++)
            assert_false((at == list || at[-1] == ',') && strchr(",", at[strlen(never[i])]));
    size_t n = 0;
    for (const char *at = list; *at; at += n + (at[n] == ',')) {
        char name[32];
        n = strcspn(at, ",");
        (void)snprintf(name, sizeof(name), "%.*s", (int)n, at);
        if (!av_find_input_format(name))
            fail_msg("no demuxer is called %s", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_every_sound_codec_is_heard),
        cmocka_unit_test(run_every_sound_container_is_heard),
        cmocka_unit_test(run_every_picture_format_looks_the_same),
        cmocka_unit_test(run_a_still_is_one_frame),
        cmocka_unit_test(run_a_phones_jpeg_is_its_picture),
        cmocka_unit_test(run_latm_in_mpegts_is_heard),
        cmocka_unit_test(run_a_missing_codec_is_noted),
        cmocka_unit_test(run_a_codec_without_a_name_is_told_by_its_letters),
        cmocka_unit_test(run_what_cannot_be_opened_is_named),
        cmocka_unit_test(run_id3_tags_are_passed_over),
        cmocka_unit_test(run_a_header_without_end_is_given_up),
        cmocka_unit_test(formats_containers_open_no_other_file),
    };
    av_log_set_level(AV_LOG_QUIET);
    return cmocka_run_group_tests(tests, extract_fixture_setup, extract_fixture_teardown);
}
