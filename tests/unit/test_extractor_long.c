/* Clips over the caps are read in windows over their whole length. The caps are made small, so that
 * a minute is long. */

#include "extract_fixture.h"

#include "extract/wire/notes.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <libavformat/avformat.h>

#define NOTED(note) (UINT64_C(1) << (note))
#define LONG_MS     60000
#define SMALL_COUNT 400 /* packets; a minute has 1,500 to 4,000 */
#define SMALL_BYTES (64 << 20)

static struct features whole, seen, again;
static struct err err;

static int extract_capped(const struct extract_fixture *fx, const char *name, uint32_t packets,
                          int64_t bytes, struct features *ret)
{
    struct extractor_options o;
    struct extractor *x;
    extractor_options_init(&o);
    o.media.packets_max = packets;
    o.media.packet_bytes_max = bytes;
    assert_int_equal(extractor_new(&o, &x, &err), ERR_OK);
    int fd = open(clip_path(fx, name), O_RDONLY);
    assert_true(fd >= 0);
    int status = extractor_run(x, fd, NULL, ret, &err);
    (void)close(fd);
    extractor_free(x);
    return status;
}

static struct clipmaker_options long_clip(const char *container, const char *video,
                                          const char *audio)
{
    struct clipmaker_options o = small_clip();
    o.duration_ms = LONG_MS;
    o.container = container;
    o.video_codec = video;
    o.audio_codec = audio;
    return o;
}

static void print_seen(const char *what)
{
    const struct features_flags *f = &seen.flags;
    print_message("%-12s %u frames, coverage %.3f, gap %u ms, %u of %u ms seen, sound %u ms, "
                  "cosine %.4f, %.4f\n",
                  what, f->n_frames, (double)f->coverage, f->max_gap_ms, f->seen_ms,
                  f->duration_ms, f->audio_ms, feature_cosine(&whole, &seen, MODALITY_VISUAL),
                  seen.mask & MODALITY_BIT(MODALITY_ACOUSTIC)
                      ? feature_cosine(&whole, &seen, MODALITY_ACOUSTIC)
                      : 0);
}

static void assert_seen_all_over(const struct extract_fixture *fx, const char *name,
                                 uint32_t packets, int64_t bytes)
{
    assert_int_equal(extract_file(fx, name, NULL, &whole, &err), ERR_OK);
    assert_false(whole.flags.capped);
    assert_int_equal(extract_capped(fx, name, packets, bytes, &seen), ERR_OK);
    print_seen(name);
    assert_true(seen.flags.capped);
    assert_true(seen.flags.notes & NOTED(NOTE_WINDOWS));
    assert_false(seen.flags.notes & NOTED(NOTE_BEGINNING));
    assert_int_equal(seen.flags.n_frames, 8);
    assert_float_equal(seen.flags.coverage, 1.0f, 1e-6);
    assert_true(seen.flags.max_gap_ms <= seen.flags.duration_ms / 16 + 1);
    assert_int_equal(seen.flags.n_decode_errors, 0);
    assert_false(seen.flags.retimed);
    assert_false(seen.flags.partial);
    assert_in_range(seen.flags.duration_ms, whole.flags.duration_ms - 1500,
                    whole.flags.duration_ms + 100);
    assert_in_range(seen.flags.seen_ms, 1000, seen.flags.duration_ms / 2);
    assert_true(feature_cosine(&whole, &seen, MODALITY_VISUAL) >= .95);
    assert_int_equal(extract_capped(fx, name, packets, bytes, &again), ERR_OK);
    again.extract_us = seen.extract_us;
    assert_memory_equal(&seen, &again, sizeof(seen));
}

static void run_every_container_is_seen_all_over(void **state)
{
    static const struct {
        const char *name, *container, *video, *audio;
        bool fragmented;
    } clips[] = {{"a.mp4", "mp4", "libx264", "aac", false},
                 {"f.mp4", "mp4", "libx264", "aac", true},
                 {"a.mkv", "matroska", "libx264", "aac", false},
                 {"a.webm", "webm", "libvpx", "libopus", false},
                 {"a.ts", "mpegts", "libx264", "aac", false},
                 {"a.avi", "avi", "mpeg4", "libmp3lame", false},
                 {"a.flv", "flv", "libx264", "aac", false},
                 {"a.wmv", "asf", "wmv2", "wmav2", false},
                 {"a.ogv", "ogg", "libtheora", "libvorbis", false},
                 {"a.mpg", "mpeg", "mpeg2video", "mp2", false}};
    for (size_t i = 0; i < sizeof(clips) / sizeof(clips[0]); i++) {
        struct clipmaker_options o =
            long_clip(clips[i].container, clips[i].video, clips[i].audio);
        o.fragmented = clips[i].fragmented;
        /* A page has 4 kB of one stream, or a second: much of one comes before the other. */
        bool is_ogg = strcmp(clips[i].container, "ogg") == 0;
        if (is_ogg) {
            o.width = 640;
            o.height = 384;
        }
        make_clip(*state, clips[i].name, &o);
        assert_seen_all_over(*state, clips[i].name, is_ogg ? 2 * SMALL_COUNT : SMALL_COUNT,
                             SMALL_BYTES);
        assert_true(seen.mask & MODALITY_BIT(MODALITY_ACOUSTIC));
    }
}

/* Frames so large that a few fill the cap. */
static void run_large_frames_are_seen_all_over(void **state)
{
    struct clipmaker_options o = long_clip("mov", "prores_ks", "aac");
    o.duration_ms = 12000;
    o.pixel_format = "yuv422p10le";
    make_clip(*state, "prores.mov", &o);
    assert_seen_all_over(*state, "prores.mov", 40000, 600000);
}

/* Nothing leads to its later pictures. */
static void run_one_keyframe_gives_the_beginning(void **state)
{
    static const char *const containers[] = {"mp4", "mpegts", "matroska"};
    for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++) {
        struct clipmaker_options o = long_clip(containers[i], "libx264", NULL);
        o.gop = 0;
        o.duration_ms = 30000;
        make_clip(*state, "one", &o);
        assert_int_equal(extract_capped(*state, "one", SMALL_COUNT, SMALL_BYTES, &seen),
                         ERR_OK);
        assert_true(seen.flags.notes & NOTED(NOTE_BEGINNING));
        assert_false(seen.flags.notes & NOTED(NOTE_WINDOWS));
        assert_int_equal(seen.flags.n_frames, 8);
        assert_in_range(seen.flags.duration_ms, 15000, 17000);
    }
}

/* Half of the media is gone, its index is not: windows over what is there. */
static void run_half_a_file_is_seen_over_that_half(void **state)
{
    struct clipmaker_options o = long_clip("mp4", "libx264", "aac");
    o.faststart = true;
    make_clip(*state, "half.mp4", &o);
    size_t n;
    char *bytes = read_bytes(clip_path(*state, "half.mp4"), &n);
    write_bytes(clip_path(*state, "half.mp4"), bytes, n / 2);
    free(bytes);
    assert_int_equal(extract_capped(*state, "half.mp4", SMALL_COUNT, SMALL_BYTES, &seen),
                     ERR_OK);
    assert_true(seen.flags.partial && seen.flags.capped);
    assert_true(seen.flags.n_frames >= 4);
    assert_true(seen.flags.duration_ms <= 45000);
}

/* Packets of a picture that is one, before a film that is over the caps with or without it. */
static void put_still_first(const struct extract_fixture *fx, const char *container,
                            const char *name)
{
    AVFormatContext *in[2] = {NULL}, *out = NULL;
    const char *files[2] = {"still.mp4", "film.mp4"};
    int first[2] = {0, 1};
    assert_true(avformat_alloc_output_context2(&out, NULL, container, NULL) >= 0);
    for (unsigned k = 0; k < 2; k++) {
        assert_true(avformat_open_input(&in[k], clip_path(fx, files[k]), NULL, NULL) >= 0);
        for (unsigned i = 0; i < in[k]->nb_streams; i++) {
            AVStream *st = avformat_new_stream(out, NULL);
            assert_non_null(st);
            assert_true(avcodec_parameters_copy(st->codecpar, in[k]->streams[i]->codecpar) >=
                        0);
            st->codecpar->codec_tag = 0;
            st->time_base = in[k]->streams[i]->time_base;
        }
    }
    assert_true(avio_open(&out->pb, clip_path(fx, name), AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(out, NULL) >= 0);
    AVPacket *pkt = av_packet_alloc();
    assert_non_null(pkt);
    for (unsigned k = 0; k < 2; k++) {
        while (av_read_frame(in[k], pkt) >= 0) {
            const AVStream *from = in[k]->streams[pkt->stream_index];
            pkt->stream_index += first[k];
            av_packet_rescale_ts(pkt, from->time_base,
                                 out->streams[pkt->stream_index]->time_base);
            pkt->pos = -1;
            assert_true(av_write_frame(out, pkt) >= 0);
            av_packet_unref(pkt);
            if (k == 0)
                break;
        }
        avformat_close_input(&in[k]);
    }
    av_packet_free(&pkt);
    assert_true(av_write_trailer(out) >= 0);
    avio_closep(&out->pb);
    avformat_free_context(out);
}

/* The film is found by a further reading, with as much room as the first had. */
static void run_the_film_behind_a_still_is_seen_all_over(void **state)
{
    static const char *const containers[] = {"mp4", "matroska"};
    static const struct {
        uint32_t packets;
        int64_t bytes;
    } caps[] = {{SMALL_COUNT, SMALL_BYTES}, {40000, 300000}};
    struct clipmaker_options still = small_clip(), film = long_clip("mp4", "libx264", "aac");
    still.width = 320; /* the larger one is taken first */
    still.height = 192;
    still.audio_codec = NULL;
    make_clip(*state, "still.mp4", &still);
    make_clip(*state, "film.mp4", &film);
    assert_int_equal(extract_file(*state, "film.mp4", NULL, &whole, &err), ERR_OK);
    for (unsigned i = 0; i < 4; i++) {
        put_still_first(*state, containers[i / 2], "both");
        assert_int_equal(
            extract_capped(*state, "both", caps[i % 2].packets, caps[i % 2].bytes, &seen),
            ERR_OK);
        print_seen(containers[i / 2]);
        assert_true(seen.flags.notes & NOTED(NOTE_WINDOWS));
        assert_true(seen.flags.notes & NOTED(NOTE_TRACK_CHANGED));
        assert_int_equal(seen.flags.n_frames, 8);
        assert_false(seen.flags.partial);
        assert_true(feature_cosine(&whole, &seen, MODALITY_VISUAL) >= .95);
        assert_true(feature_cosine(&whole, &seen, MODALITY_ACOUSTIC) >= .9);
    }
}

/* What a container declares of its length: four bytes after each mark are overwritten. */
static void patch(const struct extract_fixture *fx, const char *name, const char *mark,
                  size_t at, const void *with, size_t n_with)
{
    size_t n;
    char *bytes = read_bytes(clip_path(fx, name), &n);
    unsigned n_found = 0;
    for (size_t i = 0; i + 4 + at + n_with <= n; i++)
        if (memcmp(bytes + i, mark, strlen(mark)) == 0) {
            memcpy(bytes + i + at, with, n_with);
            n_found++;
        }
    assert_true(n_found > 0);
    write_bytes(clip_path(fx, name), bytes, n);
    free(bytes);
}

static void run_declared_durations_decide_nothing(void **state)
{
    static const unsigned char huge[4] = {0x7f, 0xff, 0xff, 0xff}, none[4] = {0};
    struct clipmaker_options o = long_clip("mp4", "libx264", "aac");
    for (unsigned i = 0; i < 2; i++) {
        make_clip(*state, "lie.mp4", &o);
        patch(*state, "lie.mp4", "mvhd", 20, i ? none : huge, 4);
        patch(*state, "lie.mp4", "mdhd", 20, i ? none : huge, 4);
        assert_int_equal(extract_capped(*state, "lie.mp4", SMALL_COUNT, SMALL_BYTES, &seen),
                         ERR_OK);
        assert_true(seen.flags.notes & NOTED(NOTE_WINDOWS));
        assert_float_equal(seen.flags.coverage, 1.0f, 1e-6);
        assert_in_range(seen.flags.duration_ms, 59000, 60500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_every_container_is_seen_all_over),
        cmocka_unit_test(run_large_frames_are_seen_all_over),
        cmocka_unit_test(run_one_keyframe_gives_the_beginning),
        cmocka_unit_test(run_half_a_file_is_seen_over_that_half),
        cmocka_unit_test(run_declared_durations_decide_nothing),
        cmocka_unit_test(run_the_film_behind_a_still_is_seen_all_over),
    };
    return cmocka_run_group_tests_name("extract long", tests, extract_fixture_setup,
                                       extract_fixture_teardown);
}
