/* A file that ends before its container says so is called cut, and no other is. */

#include "extract_fixture.h"

#include "extract/wire/notes.h"

#include <stdio.h>
#include <string.h>

#include <libavutil/log.h>

static struct features f;
static struct err err;

static const struct kind {
    const char *container, *video, *audio, *pixel_format;
    bool faststart, fragmented;
} kinds[] = {
    {"mp4", "libx264", "aac", NULL, true, false},
    {"mp4", "libx264", "aac", NULL, false, true},
    {"matroska", "libx264", "aac", NULL, false, false},
    {"webm", "libvpx", "libvorbis", NULL, false, false},
    {"avi", "mpeg4", "libmp3lame", NULL, false, false},
    {"mpegts", "libx264", "mp2", NULL, false, false},
    {"flv", "flv", "libmp3lame", NULL, false, false},
    {"mpeg", "mpeg1video", "mp2", NULL, false, false},
    {"vob", "mpeg2video", "mp2", NULL, false, false},
    {"ogg", "libtheora", "libvorbis", NULL, false, false},
    {"asf", "wmv2", "wmav2", NULL, false, false},
    {"wav", NULL, "pcm_s16le", NULL, false, false},
    {"aiff", NULL, "pcm_s16be", NULL, false, false},
    {"au", NULL, "pcm_s16be", NULL, false, false},
    {"caf", NULL, "pcm_s16be", NULL, false, false},
    {"gif", "gif", NULL, "rgb8", false, false},
    {"apng", "apng", NULL, "rgb24", false, false},
};

static size_t make_kind(const struct extract_fixture *fx, const struct kind *k,
                        char **ret_bytes)
{
    struct clipmaker_options o = small_clip();
    o.container = k->container;
    o.video_codec = k->video;
    o.audio_codec = k->audio;
    o.pixel_format = k->pixel_format;
    o.faststart = k->faststart;
    o.fragmented = k->fragmented;
    make_clip(fx, "whole", &o);
    size_t n;
    *ret_bytes = read_bytes(clip_path(fx, "whole"), &n);
    return n;
}

static void expect(const struct extract_fixture *fx, const char *name, const char *what,
                   bool is_cut)
{
    if (extract_file(fx, name, NULL, &f, &err) != ERR_OK)
        fail_msg("%s: %s", what, err.text);
    if ((f.flags.notes >> NOTE_CUT & 1) != is_cut || (is_cut && !f.flags.partial))
        fail_msg("%s: %s", what, is_cut ? "not called cut" : "called cut");
}

static void run_whole_files_are_not_cut(void **state)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char *bytes;
        (void)make_kind(*state, &kinds[i], &bytes);
        free(bytes);
        expect(*state, "whole", kinds[i].container, false);
        assert_false(f.flags.partial);
    }
}

static void run_cut_files_are_called_so(void **state)
{
    static const unsigned percent[] = {55, 70, 83, 99};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char *bytes;
        size_t n = make_kind(*state, &kinds[i], &bytes);
        for (unsigned k = 0; k < 4; k++) {
            write_bytes(clip_path(*state, "cut"), bytes, n * percent[k] / 100 | 1);
            expect(*state, "cut", kinds[i].container, true);
        }
        free(bytes);
    }
}

/* What follows a whole file does no harm. */
static void run_trailing_bytes_are_no_cut(void **state)
{
    static const char *const tails[] = {"\0\0\0\0\0\0\0\0\0\0\0\0", "TAG of another kind",
                                        "\n"};
    static const size_t lengths[] = {12, 19, 1};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char *bytes;
        size_t n = make_kind(*state, &kinds[i], &bytes);
        bytes = realloc(bytes, n + 32);
        assert_non_null(bytes);
        for (unsigned k = 0; k < 3 && strcmp(kinds[i].container, "mpegts") != 0; k++) {
            memcpy(bytes + n, tails[k], lengths[k]);
            write_bytes(clip_path(*state, "more"), bytes, n + lengths[k]);
            expect(*state, "more", kinds[i].container, false);
        }
        free(bytes);
    }
}

/* A recording as it came: the length was never written. Its end in the middle of a cluster is seen
 * all the same. */
static void run_matroska_without_length_may_end_anywhere(void **state)
{
    static const struct kind live = {"matroska", "libx264", "aac", NULL, false, false};
    char *bytes;
    size_t n = make_kind(*state, &live, &bytes);
    char *segment = memmem(bytes, n, "\x18\x53\x80\x67", 4);
    assert_non_null(segment);
    memcpy(segment + 4, "\x01\xff\xff\xff\xff\xff\xff\xff", 8);
    write_bytes(clip_path(*state, "live"), bytes, n);
    expect(*state, "live", "unknown length", false);
    write_bytes(clip_path(*state, "live"), bytes, n * 7 / 10);
    expect(*state, "live", "unknown length, in a cluster", true);
    free(bytes);
}

static void run_wav_without_length_is_not_cut(void **state)
{
    static const struct kind live = {"wav", NULL, "pcm_s16le", NULL, false, false};
    char *bytes;
    size_t n = make_kind(*state, &live, &bytes);
    memset(bytes + 4, 0xff, 4);
    write_bytes(clip_path(*state, "live"), bytes, n * 7 / 10);
    expect(*state, "live", "unknown length", false);
    free(bytes);
}

/* Packets of 192 bytes, as camcorders write, and 204, with their error correction. */
static void run_other_packet_sizes_of_mpegts_are_known(void **state)
{
    static const struct kind ts = {"mpegts", "libx264", "mp2", NULL, false, false};
    char *bytes;
    size_t n = make_kind(*state, &ts, &bytes) / 188;
    static const size_t before[] = {0, 4, 0}, after[] = {0, 0, 16};
    for (unsigned k = 0; k < 3; k++) {
        size_t step = 188 + before[k] + after[k];
        char *out = calloc(n, step);
        assert_non_null(out);
        for (size_t i = 0; i < n; i++)
            memcpy(out + i * step + before[k], bytes + i * 188, 188);
        write_bytes(clip_path(*state, "ts"), out, n * step);
        expect(*state, "ts", "whole packets", false);
        write_bytes(clip_path(*state, "ts"), out, n * step - 100);
        expect(*state, "ts", "half a packet", true);
        free(out);
    }
    free(bytes);
}

/* PNG, JPEG, WebP: one frame. */
static void run_stills_are_cut_or_not(void **state)
{
    static const char *const stills[][3] = {{"image2pipe", "png", "rgb24"},
                                            {"image2pipe", "mjpeg", "yuvj420p"},
                                            {"webp", "libwebp", "yuv420p"}};
    for (unsigned i = 0; i < 3; i++) {
        struct clipmaker_options o = small_clip();
        o.container = stills[i][0];
        o.video_codec = stills[i][1];
        o.pixel_format = stills[i][2];
        o.audio_codec = NULL;
        o.duration_ms = 40;
        o.width = 320;
        make_clip(*state, "still", &o);
        expect(*state, "still", stills[i][1], false);
        assert_int_equal(f.flags.n_frames, 1);
        assert_float_equal(f.flags.coverage, 1.0f, 1e-6);
        size_t n;
        char *bytes = read_bytes(clip_path(*state, "still"), &n);
        write_bytes(clip_path(*state, "half"), bytes, n * 3 / 4);
        free(bytes);
        if (extract_file(*state, "half", "a title", &f, &err) == ERR_OK)
            assert_true(f.flags.notes >> NOTE_CUT & 1);
        else
            fail_msg("%s: %s", stills[i][1], err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_whole_files_are_not_cut),
        cmocka_unit_test(run_cut_files_are_called_so),
        cmocka_unit_test(run_trailing_bytes_are_no_cut),
        cmocka_unit_test(run_matroska_without_length_may_end_anywhere),
        cmocka_unit_test(run_wav_without_length_is_not_cut),
        cmocka_unit_test(run_other_packet_sizes_of_mpegts_are_known),
        cmocka_unit_test(run_stills_are_cut_or_not),
    };
    av_log_set_level(AV_LOG_QUIET);
    return cmocka_run_group_tests(tests, extract_fixture_setup, extract_fixture_teardown);
}
