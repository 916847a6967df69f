/* What the extractor makes of clips that are fine: every format, and what must not matter. */

#include "extract_fixture.h"

#include "extract/media/encoder.h"
#include "extract/wire/layout.h"

#include <math.h>
#include <string.h>

#define SEEN  MODALITY_BIT(MODALITY_VISUAL)
#define HEARD MODALITY_BIT(MODALITY_ACOUSTIC)

static struct features f, g;
static struct err err;

static void run_every_container_and_codec_gives_both(void **state)
{
    static const struct {
        const char *container, *video, *audio, *seen, *heard;
    } cases[] = {
        {"mp4", "libx264", "aac", "h264", "aac"},
        {"mov", "libx265", "alac", "hevc", "alac"},
        {"mp4", "libsvtav1", "aac", "av1", "aac"},
        {"matroska", "libvpx-vp9", "libopus", "vp9", "opus"},
        {"webm", "libvpx", "libvorbis", "vp8", "vorbis"},
        {"avi", "mpeg4", "libmp3lame", "mpeg4", "mp3"},
        {"avi", "msmpeg4", "pcm_s16le", "msmpeg4v3", "pcm_s16le"},
        {"mpegts", "libx264", "mp2", "h264", "mp2"},
        {"mpegts", "mpeg2video", "ac3", "mpeg2video", "ac3"},
        {"mpeg", "mpeg1video", "mp2", "mpeg1video", "mp2"},
        {"flv", "flv", "libmp3lame", "flv1", "mp3"},
        {"flv", "libx264", "aac", "h264", "aac"},
        {"asf", "wmv2", "wmav2", "wmv2", "wmav2"},
        {"asf", "wmv1", "wmav1", "wmv1", "wmav1"},
        {"avi", "msmpeg4v2", "adpcm_ms", "msmpeg4v2", "adpcm_ms"},
        {"avi", "rawvideo", "adpcm_ima_wav", "rawvideo", "adpcm_ima_wav"},
        {"ogg", "libtheora", "libvorbis", "theora", "vorbis"},
        {"matroska", "libx264", "flac", "h264", "flac"},
        {"matroska", "libx264", "eac3", "h264", "eac3"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct clipmaker_options o = small_clip();
        o.container = cases[i].container;
        o.video_codec = cases[i].video;
        o.audio_codec = cases[i].audio;
        if (clipmaker_write(clip_path(*state, "clip"), &o, &err) != ERR_OK) {
            print_message("skipped: %s\n", err.text);
            continue;
        }
        assert_int_equal(extract_file(*state, "clip", NULL, &f, &err), ERR_OK);
        assert_int_equal(f.mask, SEEN | HEARD);
        assert_string_equal(f.flags.video_codec, cases[i].seen);
        assert_string_equal(f.flags.audio_codec, cases[i].heard);
        assert_in_range(f.flags.n_frames, 7, 8);
        assert_in_range(f.flags.audio_ms, 1900, 2200);
        assert_in_range(f.flags.duration_ms, 1900, 2150);
        assert_false(f.flags.partial || f.flags.degraded || f.flags.capped);
    }
}

static void run_sound_alone_gives_sound(void **state)
{
    static const char *const cases[][2] = {
        {"mp3", "libmp3lame"}, {"wav", "pcm_s16le"}, {"flac", "flac"},     {"adts", "aac"},
        {"ogg", "libopus"},    {"mp4", "aac"},       {"wav", "pcm_u8"},    {"wav", "pcm_s24le"},
        {"wav", "pcm_s32le"},  {"wav", "pcm_f32le"}, {"wav", "pcm_mulaw"}, {"wav", "pcm_alaw"},
        {"mov", "pcm_s16be"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct clipmaker_options o = small_clip();
        o.container = cases[i][0];
        o.audio_codec = cases[i][1];
        o.video_codec = NULL;
        extract_clip(*state, &o, &f);
        assert_int_equal(f.mask, HEARD);
        assert_int_equal(f.flags.n_frames, 0);
        assert_in_range(f.flags.duration_ms, 1900, 2150);
    }
}

static void run_picture_alone_gives_picture(void **state)
{
    struct clipmaker_options o = small_clip();
    o.audio_codec = NULL;
    extract_clip(*state, &o, &f);
    assert_int_equal(f.mask, SEEN);
    assert_int_equal(f.flags.audio_ms, 0);
}

/* The same scene in other pixel formats looks the same. */
static void run_every_pixel_format_looks_the_same(void **state)
{
    static const char *const cases[][2] = {
        {"libx264", "yuv420p10le"}, {"libx264", "yuv422p"},       {"libx264", "yuv444p"},
        {"libx264", "yuvj420p"},    {"libx264", "yuv444p10le"},   {"libx265", "yuv420p12le"},
        {"libx265", "gbrp"},        {"libx265", "gbrp10le"},      {"libx264rgb", "rgb24"},
        {"mjpeg", "yuvj422p"},      {"prores_ks", "yuv422p10le"},
    };
    struct clipmaker_options o = small_clip();
    o.audio_codec = NULL;
    o.quality = 18;
    o.container = "mov";
    extract_clip(*state, &o, &g);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        o.video_codec = cases[i][0];
        o.pixel_format = cases[i][1];
        o.container = strcmp(o.video_codec, "libx264rgb") ? "mov" : "matroska";
        extract_clip(*state, &o, &f);
        assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) > 0.93);
    }
    o.video_codec = "libx264";
    o.pixel_format = "gray";
    extract_clip(*state, &o, &f);
    assert_int_equal(f.mask, SEEN);
}

static void run_odd_and_tiny_sizes_extract(void **state)
{
    static const int sizes[][2] = {{2, 2}, {161, 97}, {33, 21}, {640, 16}, {16, 640}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct clipmaker_options o = small_clip();
        o.width = sizes[i][0];
        o.height = sizes[i][1];
        o.audio_codec = NULL;
        o.pixel_format = "yuv444p";
        extract_clip(*state, &o, &f);
        assert_int_equal(f.mask, SEEN);
        assert_int_equal(f.flags.width, sizes[i][0]);
        assert_int_equal(f.flags.height, sizes[i][1]);
    }
}

/* Row and column of the coefficients of colour_layout.mean: zigzag over whole diagonals. */
static const int zigzag[21][2] = {{0, 0}, {0, 1}, {1, 0}, {2, 0}, {1, 1}, {0, 2}, {0, 3},
                                  {1, 2}, {2, 1}, {3, 0}, {4, 0}, {3, 1}, {2, 2}, {1, 3},
                                  {0, 4}, {0, 5}, {1, 4}, {2, 3}, {3, 2}, {4, 1}, {5, 0}};

static float coefficient(const struct features *x, int row, int column)
{
    for (int i = 0; i < 21; i++)
        if (zigzag[i][0] == row && zigzag[i][1] == column)
            return x->vec[MODALITY_VISUAL][i];
    fail();
    return 0;
}

#define ONE 0x10000 /* 1.0 in a display matrix */

/* a, b, c, d of the display matrix [a b u; c d v; x y w], and what it asks for. */
struct orientation {
    int32_t m[4];
    bool transpose, flip_x, flip_y;
};

static const struct orientation turns[] = {{{ONE, 0, 0, ONE}, false, false, false},
                                           {{0, ONE, -ONE, 0}, true, true, false},
                                           {{-ONE, 0, 0, -ONE}, false, true, true},
                                           {{0, -ONE, ONE, 0}, true, false, true}};
static const struct orientation mirrors[] = {{{-ONE, 0, 0, ONE}, false, true, false},
                                             {{ONE, 0, 0, -ONE}, false, false, true},
                                             {{0, ONE, ONE, 0}, true, false, false},
                                             {{0, -ONE, -ONE, 0}, true, true, true}};

/* One entry of the matrix in the bytes of an MP4's first track, the picture: what is written or
 * found there owes nothing to FFmpeg's interfaces. */
static char *matrix_entry(char *bytes, size_t n, unsigned i)
{
    static const size_t after_tkhd[] = {44, 48, 56, 60};
    char *tkhd = memmem(bytes, n, "tkhd", 4);
    assert_non_null(tkhd);
    return tkhd + after_tkhd[i];
}

static void encode_entry(int32_t v, char big_endian[4])
{
    for (int k = 0; k < 4; k++)
        big_endian[k] = (char)((uint32_t)v >> (24 - 8 * k));
}

/* Turning a picture turns its cosine transform: transposed, odd rows or columns negated. */
static void assert_oriented(const struct features *x, const struct features *upright,
                            const struct orientation *o)
{
    assert_int_equal(x->flags.width, o->transpose ? 96 : 160);
    assert_int_equal(x->flags.height, o->transpose ? 160 : 96);
    for (int i = 0; i < 21; i++) {
        int row = zigzag[i][0], column = zigzag[i][1];
        float expected = o->transpose ? coefficient(upright, column, row)
                                      : coefficient(upright, row, column);
        if ((o->flip_x && column % 2) != (o->flip_y && row % 2))
            expected = -expected;
        assert_float_equal(x->vec[MODALITY_VISUAL][i], expected, 1e-4);
    }
}

static void run_rotation_is_applied(void **state)
{
    struct clipmaker_options o = small_clip();
    extract_clip(*state, &o, &g);
    for (o.rotation = 0; o.rotation < 360; o.rotation += 90) {
        extract_clip(*state, &o, &f);
        assert_oriented(&f, &g, &turns[o.rotation / 90]);
    }
}

/* The extractor without the clip maker's turning: all eight, as phones put them. */
static void run_display_matrix_in_the_file_is_applied(void **state)
{
    struct clipmaker_options o = small_clip();
    extract_clip(*state, &o, &g);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "clip"), &n);
    for (unsigned i = 0; i < 8; i++) {
        const struct orientation *way = i < 4 ? &turns[i] : &mirrors[i - 4];
        for (unsigned k = 0; k < 4; k++)
            encode_entry(way->m[k], matrix_entry(bytes, n, k));
        write_bytes(clip_path(*state, "turned"), bytes, n);
        assert_int_equal(extract_file(*state, "turned", NULL, &f, &err), ERR_OK);
        assert_oriented(&f, &g, way);
    }
    free(bytes);
}

/* The clip maker without the extractor. */
static void clipmaker_write_rotation_is_in_the_file(void **state)
{
    struct clipmaker_options o = small_clip();
    for (o.rotation = 0; o.rotation < 360; o.rotation += 90) {
        size_t n;
        char entry[4];
        make_clip(*state, "clip", &o);
        char *bytes = read_bytes(clip_path(*state, "clip"), &n);
        for (unsigned k = 0; k < 4; k++) {
            encode_entry(turns[o.rotation / 90].m[k], entry);
            assert_memory_equal(matrix_entry(bytes, n, k), entry, sizeof(entry));
        }
        free(bytes);
    }
}

static void run_uneven_times_are_followed(void **state)
{
    struct clipmaker_options o = small_clip();
    o.variable_rate = true;
    o.container = "matroska";
    extract_clip(*state, &o, &f);
    assert_int_equal(f.mask, SEEN | HEARD);
    assert_false(f.flags.retimed);
    assert_float_equal(f.flags.coverage, 1.0f, 1e-6);
}

static void run_several_sounds_takes_the_default(void **state)
{
    struct clipmaker_options o = small_clip();
    extract_clip(*state, &o, &g);
    o.n_extra_sounds = 3;
    extract_clip(*state, &o, &f);
    assert_memory_equal(f.vec[MODALITY_ACOUSTIC], g.vec[MODALITY_ACOUSTIC],
                        f.dim[MODALITY_ACOUSTIC] * sizeof(float));
}

static void run_loudness_does_not_matter(void **state)
{
    struct clipmaker_options o = small_clip();
    o.container = "matroska";
    o.audio_codec = "flac";
    o.video_codec = NULL;
    extract_clip(*state, &o, &g);
    o.gain_db = -24;
    extract_clip(*state, &o, &f);
    assert_true(feature_cosine(&f, &g, MODALITY_ACOUSTIC) > 0.995);
}

static void run_silence_is_a_missing_modality(void **state)
{
    struct clipmaker_options o = small_clip();
    o.gain_db = -200;
    extract_clip(*state, &o, &f);
    assert_int_equal(f.mask, SEEN);
    assert_in_range(f.flags.audio_ms, 1900, 2200);
    o.video_codec = NULL;
    extract_clip(*state, &o, &f);
    assert_int_equal(f.mask, 0);
}

static void run_text_alone_gives_text(void **state)
{
    struct extract_fixture *fx = *state;
    struct features_text text = {.title = "A cat", .lang = "en"};
    assert_int_equal(extractor_run(fx->extractor, -1, &text, &f, &err), ERR_OK);
    assert_int_equal(f.mask, MODALITY_BIT(MODALITY_TEXTUAL));
    assert_int_equal(extractor_run(fx->extractor, -1, NULL, &f, &err), ERR_OK);
    assert_int_equal(f.mask, 0);
}

static void run_all_three_have_unit_length_and_identity(void **state)
{
    struct clipmaker_options o = small_clip();
    make_clip(*state, "clip", &o);
    assert_int_equal(extract_file(*state, "clip", "A title", &f, &err), ERR_OK);
    assert_int_equal(f.mask, MODALITY_ALL);
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        struct encoder_identity e = layout_identity((enum modality)m);
        assert_int_equal(f.dim[m], e.dim);
        assert_string_equal(f.encoder_id[m], e.id);
        assert_float_equal(feature_cosine(&f, &f, (enum modality)m), 1.0, 1e-4);
    }
}

/* Other jobs between, another extractor: the same bytes. */
static void run_repeated_is_byte_identical(void **state)
{
    static const char *const codecs[] = {"libx264", "libx265", "libvpx-vp9", "mpeg4"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        struct clipmaker_options o = small_clip();
        o.video_codec = codecs[i];
        o.container = "matroska";
        o.gop = 20;
        extract_clip(*state, &o, &g);
        struct extract_fixture other = *(struct extract_fixture *)*state;
        struct extractor_options eo;
        extractor_options_init(&eo);
        assert_int_equal(extractor_new(&eo, &other.extractor, &err), ERR_OK);
        for (int round = 0; round < 5; round++) {
            const struct extract_fixture *fx = round % 2 ? &other : *state;
            assert_int_equal(extract_file(fx, "clip", NULL, &f, &err), ERR_OK);
            f.extract_us = g.extract_us;
            assert_memory_equal(&f, &g, sizeof(f));
        }
        extractor_free(other.extractor);
    }
}

static void run_other_encoding_is_nearer_than_other_scene(void **state)
{
    struct clipmaker_options o = small_clip();
    extract_clip(*state, &o, &g);
    o.video_codec = "libx265";
    o.quality = 34;
    o.width = 320;
    o.height = 192;
    o.gain_db = -9;
    extract_clip(*state, &o, &f);
    double same_look = feature_cosine(&f, &g, MODALITY_VISUAL);
    double same_sound = feature_cosine(&f, &g, MODALITY_ACOUSTIC);
    assert_true(same_look > 0.9 && same_sound > 0.9);
    o.scene = 5;
    extract_clip(*state, &o, &f);
    assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) < same_look - 0.3);
    assert_true(feature_cosine(&f, &g, MODALITY_ACOUSTIC) < same_sound - 0.1);
}

static void clipmaker_write_same_options_same_bytes(void **state)
{
    struct clipmaker_options o = small_clip();
    size_t n, m;
    make_clip(*state, "clip", &o);
    char *a = read_bytes(clip_path(*state, "clip"), &n);
    make_clip(*state, "clip", &o);
    char *b = read_bytes(clip_path(*state, "clip"), &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_every_container_and_codec_gives_both),
        cmocka_unit_test(run_sound_alone_gives_sound),
        cmocka_unit_test(run_picture_alone_gives_picture),
        cmocka_unit_test(run_every_pixel_format_looks_the_same),
        cmocka_unit_test(run_odd_and_tiny_sizes_extract),
        cmocka_unit_test(run_rotation_is_applied),
        cmocka_unit_test(run_display_matrix_in_the_file_is_applied),
        cmocka_unit_test(run_uneven_times_are_followed),
        cmocka_unit_test(run_several_sounds_takes_the_default),
        cmocka_unit_test(run_loudness_does_not_matter),
        cmocka_unit_test(run_silence_is_a_missing_modality),
        cmocka_unit_test(run_text_alone_gives_text),
        cmocka_unit_test(run_all_three_have_unit_length_and_identity),
        cmocka_unit_test(run_repeated_is_byte_identical),
        cmocka_unit_test(run_other_encoding_is_nearer_than_other_scene),
        cmocka_unit_test(clipmaker_write_rotation_is_in_the_file),
        cmocka_unit_test(clipmaker_write_same_options_same_bytes),
    };
    return cmocka_run_group_tests(tests, extract_fixture_setup, extract_fixture_teardown);
}
