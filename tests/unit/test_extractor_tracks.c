/* Which tracks are taken: by what they hold, in every kind of container. The clips are put together
 * from tracks of clips made here. */

#include "extract_fixture.h"

#include "extract/wire/notes.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <libavformat/avformat.h>

#define PARTS_MAX 8

static struct features f, g;
static struct err err;

/* A track of a clip to be made. */
struct part {
    const char *file;
    int packets_max; /* 0 = an empty track */
    enum AVMediaType type;
    bool hurt; /* its packets do not decode */
};

struct joiner {
    AVFormatContext *out, *in[PARTS_MAX];
    int source[PARTS_MAX]; /* the stream of in[i] */
    int left[PARTS_MAX];
};

static void open_part(const struct extract_fixture *fx, struct joiner *j, unsigned i,
                      const struct part *p)
{
    assert_true(avformat_open_input(&j->in[i], clip_path(fx, p->file), NULL, NULL) >= 0);
    assert_true(avformat_find_stream_info(j->in[i], NULL) >= 0);
    j->source[i] = av_find_best_stream(j->in[i], p->type, -1, -1, NULL, 0);
    assert_true(j->source[i] >= 0);
    AVStream *st = avformat_new_stream(j->out, NULL);
    assert_non_null(st);
    const AVStream *from = j->in[i]->streams[j->source[i]];
    assert_true(avcodec_parameters_copy(st->codecpar, from->codecpar) >= 0);
    st->codecpar->codec_tag = 0;
    st->time_base = from->time_base;
    st->avg_frame_rate = from->avg_frame_rate;
    st->disposition = AV_DISPOSITION_DEFAULT;
    j->left[i] = p->packets_max;
}

static void copy_part(struct joiner *j, unsigned i, const struct part *p)
{
    AVPacket *pkt = av_packet_alloc();
    assert_non_null(pkt);
    const AVStream *from = j->in[i]->streams[j->source[i]];
    while (j->left[i] > 0 && av_read_frame(j->in[i], pkt) >= 0) {
        if (pkt->stream_index == j->source[i]) {
            assert_true(av_packet_make_writable(pkt) >= 0);
            if (p->hurt)
                memset(pkt->data, 0xff, (size_t)pkt->size);
            pkt->stream_index = (int)i;
            av_packet_rescale_ts(pkt, from->time_base, j->out->streams[i]->time_base);
            pkt->pos = -1;
            assert_true(av_interleaved_write_frame(j->out, pkt) >= 0);
            j->left[i]--;
        }
        av_packet_unref(pkt);
    }
    av_packet_free(&pkt);
}

static void join(const struct extract_fixture *fx, const char *muxer, const struct part *parts,
                 unsigned n)
{
    struct joiner j = {0};
    const char *path = clip_path(fx, "joined");
    assert_true(avformat_alloc_output_context2(&j.out, NULL, muxer, path) >= 0);
    for (unsigned i = 0; i < n; i++)
        open_part(fx, &j, i, &parts[i]);
    AVDictionary *d = NULL;
    (void)av_dict_set(&d, "movflags", "frag_keyframe+empty_moov", 0); /* keeps empty tracks */
    path = clip_path(fx, "joined");
    assert_true(avio_open(&j.out->pb, path, AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(j.out, &d) >= 0);
    av_dict_free(&d);
    for (unsigned i = 0; i < n; i++)
        copy_part(&j, i, &parts[i]);
    assert_true(av_write_trailer(j.out) >= 0);
    for (unsigned i = 0; i < n; i++)
        avformat_close_input(&j.in[i]);
    (void)avio_closep(&j.out->pb);
    avformat_free_context(j.out);
}

/* film: the clip itself; cover: larger, so that its header wins; talk: another sound. */
static void make_sources(const struct extract_fixture *fx)
{
    struct clipmaker_options o = small_clip();
    o.no_b_frames = true;
    o.audio_codec = "mp2";
    o.container = "matroska";
    o.video_codec = "mpeg2video";
    make_clip(fx, "film", &o);
    o.scene = 7;
    o.width = 320;
    o.height = 192;
    make_clip(fx, "cover", &o);
    assert_int_equal(extract_file(fx, "film", NULL, &g, &err), ERR_OK);
}

static bool has_note(const struct features *x, enum note note)
{
    return x->flags.notes >> note & 1;
}

static const char *const muxers[] = {"mp4", "matroska", "mpegts", "avi", "mpeg", "asf"};
#define N_MUXERS (sizeof(muxers) / sizeof(muxers[0]))

static void assert_is_film(const struct extract_fixture *fx, const char *what)
{
    if (extract_file(fx, "joined", NULL, &f, &err) != ERR_OK)
        fail_msg("%s: %s", what, err.text);
    if (f.mask != g.mask)
        fail_msg("%s: mask %u", what, f.mask);
    if (feature_cosine(&f, &g, MODALITY_VISUAL) < 0.99 ||
        feature_cosine(&f, &g, MODALITY_ACOUSTIC) < 0.98)
        fail_msg("%s: %.3f %.3f", what, feature_cosine(&f, &g, MODALITY_VISUAL),
                 feature_cosine(&f, &g, MODALITY_ACOUSTIC));
}

static void run_empty_picture_track_loses(void **state)
{
    make_sources(*state);
    static const struct part parts[] = {{"cover", 0, AVMEDIA_TYPE_VIDEO, false},
                                        {"film", 999, AVMEDIA_TYPE_VIDEO, false},
                                        {"film", 999, AVMEDIA_TYPE_AUDIO, false}};
    for (size_t i = 0; i < N_MUXERS; i++) {
        join(*state, muxers[i], parts, 3);
        assert_is_film(*state, muxers[i]);
        assert_false(f.flags.partial);
    }
}

static void run_single_picture_loses(void **state)
{
    make_sources(*state);
    static const struct part parts[] = {{"cover", 1, AVMEDIA_TYPE_VIDEO, false},
                                        {"film", 999, AVMEDIA_TYPE_VIDEO, false},
                                        {"film", 999, AVMEDIA_TYPE_AUDIO, false}};
    for (size_t i = 0; i < N_MUXERS; i++) {
        join(*state, muxers[i], parts, 3);
        assert_is_film(*state, muxers[i]);
        bool by_header = strcmp(muxers[i], "mpegts") != 0; /* which tells no sizes */
        if ((by_header && !has_note(&f, NOTE_TRACK_CHANGED)) ||
            !has_note(&f, NOTE_TRACKS_SKIPPED))
            fail_msg("%s: notes %llx", muxers[i], (unsigned long long)f.flags.notes);
    }
}

/* More of them than readings: what is not taken is counted. */
static void run_the_film_among_many_single_pictures_is_found(void **state)
{
    make_sources(*state);
    static const struct part parts[] = {
        {"cover", 1, AVMEDIA_TYPE_VIDEO, false},  {"cover", 0, AVMEDIA_TYPE_VIDEO, false},
        {"cover", 1, AVMEDIA_TYPE_VIDEO, false},  {"cover", 1, AVMEDIA_TYPE_VIDEO, false},
        {"film", 999, AVMEDIA_TYPE_VIDEO, false}, {"cover", 0, AVMEDIA_TYPE_AUDIO, false},
        {"cover", 0, AVMEDIA_TYPE_AUDIO, false},  {"film", 999, AVMEDIA_TYPE_AUDIO, false}};
    for (size_t i = 0; i < N_MUXERS; i++) {
        join(*state, muxers[i], parts, 8);
        assert_is_film(*state, muxers[i]);
    }
}

static void run_empty_sound_track_loses(void **state)
{
    make_sources(*state);
    static const struct part parts[] = {{"film", 999, AVMEDIA_TYPE_VIDEO, false},
                                        {"cover", 0, AVMEDIA_TYPE_AUDIO, false},
                                        {"film", 999, AVMEDIA_TYPE_AUDIO, false}};
    for (size_t i = 0; i < N_MUXERS; i++) {
        join(*state, muxers[i], parts, 3);
        assert_is_film(*state, muxers[i]);
    }
}

/* As many packets as the film, but none decodes. */
static void run_a_track_that_does_not_decode_is_replaced(void **state)
{
    make_sources(*state);
    static const struct part parts[] = {{"cover", 999, AVMEDIA_TYPE_VIDEO, true},
                                        {"film", 999, AVMEDIA_TYPE_VIDEO, false},
                                        {"cover", 999, AVMEDIA_TYPE_AUDIO, true},
                                        {"film", 999, AVMEDIA_TYPE_AUDIO, false}};
    static const char *const containers[] = {"mp4", "matroska", "avi"};
    for (size_t i = 0; i < 3; i++) {
        join(*state, containers[i], parts, 4);
        assert_is_film(*state, containers[i]);
        assert_true(has_note(&f, NOTE_TRACK_CHANGED));
    }
}

/* One picture beside an empty track: never worse than the first choice. */
static void run_a_single_picture_is_better_than_nothing(void **state)
{
    make_sources(*state);
    static const struct part parts[] = {{"film", 1, AVMEDIA_TYPE_VIDEO, false},
                                        {"cover", 0, AVMEDIA_TYPE_VIDEO, false},
                                        {"film", 999, AVMEDIA_TYPE_AUDIO, false}};
    for (size_t i = 0; i < N_MUXERS; i++) {
        join(*state, muxers[i], parts, 3);
        assert_int_equal(extract_file(*state, "joined", NULL, &f, &err), ERR_OK);
        assert_int_equal(f.mask, g.mask);
        assert_int_equal(f.flags.n_frames, 1);
        assert_int_equal(f.flags.width, 160);
    }
}

static void run_more_tracks_are_noted(void **state)
{
    struct clipmaker_options o = small_clip();
    extract_clip(*state, &o, &f);
    assert_int_equal(f.flags.notes, 0);
    o.n_extra_sounds = 2;
    extract_clip(*state, &o, &f);
    assert_true(has_note(&f, NOTE_TRACKS_SKIPPED));
    assert_false(f.flags.partial || has_note(&f, NOTE_TRACK_CHANGED));
}

/* ---- many streams ---- */

static void put_box(char **at, unsigned bytes, const char type[4])
{
    const char head[4] = {(char)(bytes >> 24), (char)(bytes >> 16), (char)(bytes >> 8),
                          (char)bytes};
    memcpy(*at, head, 4);
    memcpy(*at + 4, type, 4);
    *at += 8;
}

/* The clip's moov gets n empty tracks more, before its own: its bytes stand before the samples'
 * or behind, so the samples are not moved. */
static void add_tracks(const struct extract_fixture *fx, unsigned n)
{
    size_t bytes;
    char *clip = read_bytes(clip_path(fx, "clip"), &bytes);
    char *type = memmem(clip, bytes, "moov", 4);
    assert_non_null(type);
    size_t at = (size_t)(type + 4 - clip), more = (size_t)n * 8;
    char *grown = malloc(bytes + more), *p = grown + at;
    assert_non_null(grown);
    memcpy(grown, clip, at);
    for (unsigned i = 0; i < n; i++)
        put_box(&p, 8, "trak");
    memcpy(p, clip + at, bytes - at);
    unsigned moov_bytes = 0;
    for (int k = 0; k < 4; k++)
        moov_bytes = moov_bytes << 8 | (unsigned char)type[k - 4];
    p = grown + at - 8;
    put_box(&p, moov_bytes + (unsigned)more, "moov");
    write_bytes(clip_path(fx, "many"), grown, bytes + more);
    free(grown);
    free(clip);
}

static void run_more_streams_than_two_are_left_out(void **state)
{
    static const unsigned counts[] = {0, 7, 100, 990};
    struct clipmaker_options o = small_clip();
    extract_clip(*state, &o, &g);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        add_tracks(*state, counts[i]);
        assert_int_equal(extract_file(*state, "many", NULL, &f, &err), ERR_OK);
        assert_int_equal(f.mask, g.mask);
        /* FFmpeg 6.1 heeds no edit list beside tracks like these: a frame more at the end. */
        assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) > 0.97);
        assert_true(feature_cosine(&f, &g, MODALITY_ACOUSTIC) > 0.999);
    }
}

static void run_too_many_streams_are_named_so(void **state)
{
    struct clipmaker_options o = small_clip();
    extract_clip(*state, &o, &g);
    add_tracks(*state, 3000);
    assert_int_equal(extract_file(*state, "many", NULL, &f, &err), ERR_SKIP);
    assert_string_equal(err.reason, "media");
    assert_non_null(strstr(err.text, "more than 1000 streams"));
    assert_null(strstr(err.text, "memory"));
}

/* Bytes that this process has read so far. */
static long long bytes_read(void)
{
    long long n = -1;
    FILE *io = fopen("/proc/self/io", "r");
    assert_non_null(io);
    assert_int_equal(fscanf(io, "rchar: %lld", &n), 1);
    (void)fclose(io);
    return n;
}

/* A second reading is for tracks that turn out to be something else. (FFmpeg itself looks for the
 * streams of MPEG-TS in its first 5 MB, and goes back.) */
static void run_a_plain_clip_is_read_once(void **state)
{
    static const struct {
        const char *container, *video, *audio;
    } clips[] = {{"mp4", "libx264", "aac"},      {"matroska", "libx264", "aac"},
                 {"mpegts", "libx264", "aac"},   {"flv", "libx264", "aac"},
                 {"avi", "mpeg4", "libmp3lame"}, {"mpeg", "mpeg2video", "mp2"}};
    for (size_t i = 0; i < sizeof(clips) / sizeof(clips[0]); i++) {
        struct clipmaker_options o = small_clip();
        size_t n;
        o.duration_ms = 10000;
        o.container = clips[i].container;
        o.video_codec = clips[i].video;
        o.audio_codec = clips[i].audio;
        make_clip(*state, "once", &o);
        free(read_bytes(clip_path(*state, "once"), &n));
        long long before = bytes_read();
        assert_int_equal(extract_file(*state, "once", NULL, &f, &err), ERR_OK);
        assert_int_equal(f.mask,
                         MODALITY_BIT(MODALITY_VISUAL) | MODALITY_BIT(MODALITY_ACOUSTIC));
        long long once = bytes_read() - before;
        print_message("%s: %lld of %zu bytes\n", clips[i].container, once, n);
        bool ts = strcmp(clips[i].container, "mpegts") == 0;
        assert_true(once < (long long)n * (ts ? 5 : 3) / 2);
    }
}

/* The bytes with `mark` from `from` on become `with`, of the same length. */
static void rename_boxes(char *bytes, size_t from, size_t n, const char *mark, const char *with)
{
    for (size_t i = from; i + 4 <= n; i++)
        if (memcmp(bytes + i, mark, 4) == 0)
            memcpy(bytes + i, with, 4);
}

/* The picture is encrypted and the sound is not: both clips are the same byte by byte up to the
 * end of the media, but for the encryption. */
static void run_an_encrypted_picture_is_told(void **state)
{
    static const char *const boxes[] = {"sinf", "senc", "saiz", "saio"};
    struct clipmaker_options o = small_clip();
    size_t n_plain, n, at = 0;
    make_clip(*state, "plain.mp4", &o);
    o.encrypted = true;
    make_clip(*state, "drm.mp4", &o);
    char *plain = read_bytes(clip_path(*state, "plain.mp4"), &n_plain);
    char *bytes = read_bytes(clip_path(*state, "drm.mp4"), &n);
    char *moov = memmem(plain, n_plain, "moov", 4), *sound = memmem(bytes, n, "enca", 4);
    assert_non_null(moov);
    assert_non_null(sound);
    at = (size_t)(moov - plain);
    assert_memory_equal(bytes + at, "moov", 4);
    memcpy(bytes, plain, at - 4);
    rename_boxes(bytes, (size_t)(sound - bytes), n, "enca", "mp4a");
    for (size_t i = 0; i < sizeof(boxes) / sizeof(boxes[0]); i++)
        rename_boxes(bytes, (size_t)(sound - bytes), n, boxes[i], "free");
    write_bytes(clip_path(*state, "half.mp4"), bytes, n);
    free(plain);
    free(bytes);
    assert_int_equal(extract_file(*state, "half.mp4", NULL, &f, &err), ERR_OK);
    assert_int_equal(f.mask, MODALITY_BIT(MODALITY_ACOUSTIC));
    assert_true(f.flags.partial);
    assert_true(f.flags.notes >> NOTE_ENCRYPTED & 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_a_plain_clip_is_read_once),
        cmocka_unit_test(run_an_encrypted_picture_is_told),
        cmocka_unit_test(run_empty_picture_track_loses),
        cmocka_unit_test(run_single_picture_loses),
        cmocka_unit_test(run_the_film_among_many_single_pictures_is_found),
        cmocka_unit_test(run_empty_sound_track_loses),
        cmocka_unit_test(run_a_track_that_does_not_decode_is_replaced),
        cmocka_unit_test(run_a_single_picture_is_better_than_nothing),
        cmocka_unit_test(run_more_tracks_are_noted),
        cmocka_unit_test(run_more_streams_than_two_are_left_out),
        cmocka_unit_test(run_too_many_streams_are_named_so),
    };
    av_log_set_level(AV_LOG_QUIET);
    return cmocka_run_group_tests(tests, extract_fixture_setup, extract_fixture_teardown);
}
