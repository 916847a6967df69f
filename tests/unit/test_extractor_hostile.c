/* Every guard of the extractor against an input made here to break it. */

#include "extract_fixture.h"

#include "extract/wire/notes.h"
#include "extract/wire/protocol.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct features f;
static struct err err;

static struct clipmaker_options tiny_clip(void)
{
    struct clipmaker_options o = small_clip();
    o.width = 96;
    o.height = 64;
    return o;
}

static void run_empty_file_is_its_text(void **state)
{
    write_bytes(clip_path(*state, "empty.mp4"), "", 0);
    assert_text_only(*state, "empty.mp4", "media");
}

static void run_random_bytes_are_their_text(void **state)
{
    char noise[50000];
    for (unsigned seed = 0; seed < 8; seed++) {
        srand(seed);
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (char)rand();
        write_bytes(clip_path(*state, "noise.mp4"), noise, sizeof(noise));
        assert_text_only(*state, "noise.mp4", "media");
    }
}

static void run_text_file_is_its_text(void **state)
{
    static const char text[] = "WEBVTT\n\n00:01.000 --> 00:04.000\nNever a video.\n";
    write_bytes(clip_path(*state, "text.mp4"), text, sizeof(text) - 1);
    assert_text_only(*state, "text.mp4", "media");
}

static void run_no_moov_is_its_text(void **state)
{
    struct clipmaker_options o = tiny_clip();
    make_clip(*state, "whole.mp4", &o);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "whole.mp4"), &n);
    write_bytes(clip_path(*state, "cut.mp4"), bytes, n / 2); /* the index is at the end */
    free(bytes);
    assert_text_only(*state, "cut.mp4", "media");
}

static void run_truncated_faststart_gives_its_beginning(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.faststart = true;
    o.duration_ms = 6000;
    make_clip(*state, "fast.mp4", &o);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "fast.mp4"), &n);
    write_bytes(clip_path(*state, "part.mp4"), bytes, n * 6 / 10);
    free(bytes);
    assert_int_equal(extract_file(*state, "fast.mp4", NULL, &f, &err), ERR_OK);
    assert_false(f.flags.partial);
    assert_int_equal(extract_file(*state, "part.mp4", NULL, &f, &err), ERR_OK);
    assert_true(f.flags.partial);
    assert_true(f.flags.n_frames > 0 && f.flags.duration_ms < 6000);
    assert_int_equal(f.mask, MODALITY_BIT(MODALITY_VISUAL) | MODALITY_BIT(MODALITY_ACOUSTIC));
}

/* Lists of other files, named as a clip: FFmpeg's own probing would follow them. */
static void run_playlists_are_their_text(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.container = "mpegts";
    make_clip(*state, "secret.ts", &o);
    const char *secret = clip_path(*state, "secret.ts");
    char text[1024];
    static const char *const forms[][2] = {
        {"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n", "\n#EXT-X-ENDLIST\n"},
        {"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://", "\n#EXT-X-ENDLIST\n"},
        {"ffconcat version 1.0\nfile ", "\n"},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        (void)snprintf(text, sizeof(text), "%s%s%s", forms[i][0], secret, forms[i][1]);
        write_bytes(clip_path(*state, "list.mp4"), text, strlen(text));
        assert_text_only(*state, "list.mp4", "media");
    }
    (void)snprintf(text, sizeof(text),
                   "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nsecret.ts\n#EXT-X-ENDLIST\n");
    write_bytes(clip_path(*state, "list.mp4"), text, strlen(text));
    assert_text_only(*state, "list.mp4", "media");
    assert_int_equal(chdir((*(struct extract_fixture **)state)->dir), 0);
    assert_text_only(*state, "list.mp4", "media");
    assert_int_equal(chdir("/"), 0);
}

static void run_directory_or_pipe_is_refused(void **state)
{
    struct extract_fixture *fx = *state;
    int fd = open(fx->dir, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(extractor_run(fx->extractor, fd, NULL, &f, &err), ERR_SKIP);
    assert_string_equal(err.reason, "media");
    (void)close(fd);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(extractor_run(fx->extractor, ends[0], NULL, &f, &err), ERR_SKIP);
    assert_string_equal(err.reason, "media");
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void run_file_over_the_limit_is_its_text(void **state)
{
    struct clipmaker_options o = tiny_clip();
    make_clip(*state, "limit.mp4", &o);
    struct extractor_options limit;
    extractor_options_init(&limit);
    limit.media.bytes_max = 1000;
    struct extractor *strict;
    assert_int_equal(extractor_new(&limit, &strict, &err), ERR_OK);
    struct extract_fixture fx = *(struct extract_fixture *)*state;
    fx.extractor = strict;
    assert_text_only(&fx, "limit.mp4", "media_too_big");
    extractor_free(strict);
}

static void run_huge_frames_are_refused_cheaply(void **state)
{
    struct clipmaker_options o = {.width = 8192,
                                  .height = 8192,
                                  .fps = 25,
                                  .duration_ms = 40,
                                  .gop = 1,
                                  .video_codec = "mjpeg",
                                  .container = "matroska",
                                  .pixel_format = "yuvj420p"};
    make_clip(*state, "huge.mkv", &o);
    struct rusage before, after;
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    assert_text_only(*state, "huge.mkv", "media_too_big");
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    /* A frame is 100 MB; making the clip took more before. */
    assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024);
}

/* Overwrites bytes of every box of a type behind `start`; returns how many boxes. */
static unsigned patch_boxes(char *bytes, size_t n, size_t start, const char *type, size_t from,
                            size_t count)
{
    unsigned n_patched = 0;
    for (size_t i = start; i + 4 + from + count < n; i++) {
        if (memcmp(bytes + i, type, 4) != 0)
            continue;
        memset(bytes + i + 4 + from, 0x7f, count);
        n_patched++;
    }
    return n_patched;
}

static void run_declared_sizes_and_durations_are_ignored(void **state)
{
    struct clipmaker_options o = tiny_clip();
    make_clip(*state, "true.mp4", &o);
    static struct features truth;
    assert_int_equal(extract_file(*state, "true.mp4", "t", &truth, &err), ERR_OK);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "true.mp4"), &n);
    /* avc1: width and height at 24; tkhd: duration at 20, size at 76; mvhd, mdhd: at 16. */
    char *moov = memmem(bytes, n, "moov", 4);
    assert_non_null(moov);
    size_t at = (size_t)(moov - bytes);
    assert_int_equal(patch_boxes(bytes, n, at, "avc1", 24, 4), 1);
    assert_int_equal(patch_boxes(bytes, n, at, "tkhd", 20, 4), 2);
    assert_int_equal(patch_boxes(bytes, n, at, "tkhd", 76, 8), 2);
    assert_int_equal(patch_boxes(bytes, n, at, "mvhd", 16, 4), 1);
    assert_int_equal(patch_boxes(bytes, n, at, "mdhd", 16, 4), 2);
    write_bytes(clip_path(*state, "absurd.mp4"), bytes, n);
    free(bytes);
    assert_int_equal(extract_file(*state, "absurd.mp4", "t", &f, &err), ERR_OK);
    assert_int_equal(f.mask, truth.mask);
    assert_memory_equal(f.vec[0], truth.vec[0], f.dim[0] * sizeof(float));
    assert_memory_equal(f.vec[1], truth.vec[1], f.dim[1] * sizeof(float));
    assert_int_equal(f.flags.width, 96);
    assert_int_equal(f.flags.duration_ms, truth.flags.duration_ms);
}

/* A frame that would last a lifetime: of thousands of them no length is made. */
static void run_absurd_frame_rate_is_ignored(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.container = "avi";
    o.video_codec = "mpeg4";
    o.audio_codec = "libmp3lame";
    o.fps = 200;
    o.duration_ms = 22000;
    make_clip(*state, "slow.avi", &o);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "slow.avi"), &n);
    char *header = memmem(bytes, n, "strh", 4); /* the picture's: scale at 28, rate at 32 */
    assert_non_null(header);
    assert_memory_equal(header + 8, "vids", 4);
    memcpy(header + 28, "\xff\xff\xff\x7f\1\0\0", 8);
    write_bytes(clip_path(*state, "slow.avi"), bytes, n);
    free(bytes);
    assert_int_equal(extract_file(*state, "slow.avi", "t", &f, &err), ERR_OK);
    assert_int_equal(f.mask, 7);
    assert_int_equal(f.flags.notes & UINT64_C(1) << NOTE_SOUND_DAMAGED, 0);
}

static void run_stco_zero_stops_after_few_errors(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.audio_codec = NULL;
    o.duration_ms = 20000;
    make_clip(*state, "zero.mp4", &o);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "zero.mp4"), &n);
    for (size_t i = 0; i + 8 < n; i++) {
        if (memcmp(bytes + i, "stco", 4) != 0)
            continue;
        unsigned entries = (unsigned)(unsigned char)bytes[i + 10] << 8 |
                           (unsigned)(unsigned char)bytes[i + 11];
        for (size_t k = 0; k < 4 * (size_t)entries && i + 12 + k < n; k++)
            bytes[i + 12 + k] = 0;
    }
    write_bytes(clip_path(*state, "zero.mp4"), bytes, n);
    free(bytes);
    assert_text_only(*state, "zero.mp4", "media_no_frames");
    assert_int_equal(extract_file(*state, "zero.mp4", "t", &f, &err), ERR_OK);
    assert_in_range(f.flags.n_decode_errors, 1, 60);
    assert_true(f.flags.partial);
}

static void run_encrypted_is_named_so(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.encrypted = true;
    make_clip(*state, "drm.mp4", &o);
    assert_text_only(*state, "drm.mp4", "media_encrypted");
}

static void run_codec_not_admitted_is_named_so(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.video_codec = "ffv1";
    o.audio_codec = NULL;
    o.container = "matroska";
    make_clip(*state, "ffv1.mkv", &o);
    assert_text_only(*state, "ffv1.mkv", "media_codec");
}

static void run_absurd_packet_count_is_capped(void **state)
{
    struct clipmaker_options o = {.width = 32,
                                  .height = 32,
                                  .fps = 1000,
                                  .duration_ms = 42000,
                                  .gop = 500,
                                  .video_codec = "mjpeg",
                                  .container = "avi",
                                  .pixel_format = "yuvj420p"};
    make_clip(*state, "many.avi", &o);
    assert_int_equal(extract_file(*state, "many.avi", NULL, &f, &err), ERR_OK);
    assert_true(f.flags.capped);
    assert_true(f.flags.notes & UINT64_C(1) << NOTE_WINDOWS);
    assert_int_equal(f.flags.n_frames, 8);
    assert_float_equal(f.flags.coverage, 1.0f, 1e-6);
    assert_in_range(f.flags.duration_ms, 41900, 42100);
    assert_in_range(f.flags.seen_ms, 20000, 40000);
}

static void run_one_keyframe_keeps_the_guarantee(void **state)
{
    static const char *const codecs[] = {"libx264", "libx265", "libvpx-vp9", "mpeg4"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        struct clipmaker_options o = tiny_clip();
        o.duration_ms = 8000;
        o.gop = 0;
        o.video_codec = codecs[i];
        o.audio_codec = NULL;
        o.container = "matroska";
        make_clip(*state, "one.mkv", &o);
        assert_int_equal(extract_file(*state, "one.mkv", NULL, &f, &err), ERR_OK);
        assert_int_equal(f.flags.n_keyframes, 1);
        assert_int_equal(f.flags.n_frames, 8);
        assert_float_equal(f.flags.coverage, 1.0f, 1e-6);
        assert_true(f.flags.max_gap_ms <= f.flags.duration_ms / 16 + 1);
    }
}

/* Fills the sixteenths from `first` to `end` of the samples with ones. */
static void hurt_samples(const char *path, unsigned first, unsigned end)
{
    size_t n;
    char *bytes = read_bytes(path, &n);
    char *data = memmem(bytes, n, "mdat", 4);
    assert_non_null(data);
    data += 4;
    size_t n_data = (size_t)(bytes + n - data);
    memset(data + n_data * first / 16, 0xff, n_data * (end - first) / 16);
    write_bytes(path, bytes, n);
    free(bytes);
}

/* At the beginning no key leads to what follows until the next; in the middle there are others. */
static void run_damaged_keyframe_is_gone_round(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.audio_codec = NULL;
    o.faststart = true;
    o.duration_ms = 4000;
    o.gop = 10;
    make_clip(*state, "hurt.mp4", &o);
    hurt_samples(clip_path(*state, "hurt.mp4"), 0, 2);
    assert_int_equal(extract_file(*state, "hurt.mp4", NULL, &f, &err), ERR_OK);
    assert_true(f.flags.partial);
    assert_true(f.flags.notes & UINT64_C(1) << NOTE_KEY_MISSING);
    assert_true(f.flags.n_frames >= 5);
    make_clip(*state, "hurt.mp4", &o);
    hurt_samples(clip_path(*state, "hurt.mp4"), 6, 10);
    assert_int_equal(extract_file(*state, "hurt.mp4", NULL, &f, &err), ERR_OK);
    assert_true(f.flags.partial && f.flags.n_decode_errors > 0);
    assert_true(f.flags.notes & UINT64_C(1) << NOTE_DAMAGED);
    assert_true(f.flags.n_frames >= 5);
}

/* Resolution and sound format change in the middle: two transport streams end to end. */
static void run_format_change_in_the_middle_is_followed(void **state)
{
    struct clipmaker_options o = tiny_clip();
    o.container = "mpegts";
    make_clip(*state, "a.ts", &o);
    o.width = 160;
    o.height = 120;
    make_clip(*state, "b.ts", &o);
    size_t n, m;
    char *a = read_bytes(clip_path(*state, "a.ts"), &n);
    char *b = read_bytes(clip_path(*state, "b.ts"), &m);
    a = realloc(a, n + m);
    assert_non_null(a);
    memcpy(a + n, b, m);
    write_bytes(clip_path(*state, "ab.ts"), a, n + m);
    free(a);
    free(b);
    assert_int_equal(extract_file(*state, "ab.ts", NULL, &f, &err), ERR_OK);
    assert_true(f.flags.n_frames >= 4);
    assert_int_equal(f.mask, 3);
}

static void run_flipped_bytes_never_hurt(void **state)
{
    static const char *const containers[] = {"mp4", "matroska", "mpegts", "avi", "flv"};
    for (size_t c = 0; c < sizeof(containers) / sizeof(containers[0]); c++) {
        struct clipmaker_options o = tiny_clip();
        o.duration_ms = 600;
        o.container = containers[c];
        make_clip(*state, "base", &o);
        size_t n;
        char *bytes = read_bytes(clip_path(*state, "base"), &n);
        srand((unsigned)c + 1);
        for (int round = 0; round < 40; round++) {
            char *copy = malloc(n);
            assert_non_null(copy);
            memcpy(copy, bytes, n);
            for (int flips = 1 + rand() % 30; flips > 0; flips--)
                copy[(size_t)rand() % n] = (char)rand();
            write_bytes(clip_path(*state, "flip"), copy, n - (size_t)rand() % (n / 4));
            free(copy);
            int status = extract_file(*state, "flip", NULL, &f, &err);
            assert_true(status == ERR_OK || (status == ERR_SKIP && err.reason[0]));
        }
        free(bytes);
    }
}

/* The longest side that FFmpeg allows is as good as any: the daemon takes what is said of it. */
static void run_widest_picture_crosses_to_the_daemon(void **state)
{
    static unsigned char message[PROTOCOL_REPLY_BYTES_MAX];
    static struct protocol_reply reply;
    struct extract_fixture *fx = *state;
    struct encoder_identity encoders[MODALITY_COUNT];
    struct clipmaker_options o = small_clip();
    struct err ok = {0};
    o.container = "avi";
    o.video_codec = "mjpeg";
    o.pixel_format = "yuvj420p";
    o.audio_codec = NULL;
    o.width = 65500;
    o.height = 256;
    o.duration_ms = 80;
    make_clip(fx, "wide.avi", &o);
    if (extract_file(fx, "wide.avi", NULL, &f, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_equal(f.flags.width, 65500);
    extractor_encoders(fx->extractor, encoders);
    size_t n = protocol_pack_reply(1, 0, false, &ok, &f, message);
    if (protocol_parse_reply(message, n, 1, encoders, &reply, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_equal(reply.features.mask, f.mask);
    assert_memory_equal(&reply.features.flags, &f.flags, sizeof(f.flags));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_empty_file_is_its_text),
        cmocka_unit_test(run_random_bytes_are_their_text),
        cmocka_unit_test(run_text_file_is_its_text),
        cmocka_unit_test(run_no_moov_is_its_text),
        cmocka_unit_test(run_truncated_faststart_gives_its_beginning),
        cmocka_unit_test(run_playlists_are_their_text),
        cmocka_unit_test(run_directory_or_pipe_is_refused),
        cmocka_unit_test(run_file_over_the_limit_is_its_text),
        cmocka_unit_test(run_huge_frames_are_refused_cheaply),
        cmocka_unit_test(run_declared_sizes_and_durations_are_ignored),
        cmocka_unit_test(run_absurd_frame_rate_is_ignored),
        cmocka_unit_test(run_stco_zero_stops_after_few_errors),
        cmocka_unit_test(run_encrypted_is_named_so),
        cmocka_unit_test(run_codec_not_admitted_is_named_so),
        cmocka_unit_test(run_absurd_packet_count_is_capped),
        cmocka_unit_test(run_one_keyframe_keeps_the_guarantee),
        cmocka_unit_test(run_damaged_keyframe_is_gone_round),
        cmocka_unit_test(run_format_change_in_the_middle_is_followed),
        cmocka_unit_test(run_flipped_bytes_never_hurt),
        cmocka_unit_test(run_widest_picture_crosses_to_the_daemon),
    };
    return cmocka_run_group_tests(tests, extract_fixture_setup, extract_fixture_teardown);
}
