/* What came out of the decoder decides: clips whose containers or bits tell something else. */

#include "extract_fixture.h"

#include "extract/media/compat.h"
#include "extract/media/encoder.h"
#include "extract/media/pictures.h"
#include "extract/media/price.h"
#include "extract/wire/notes.h"

#include <string.h>

#include <libavformat/avformat.h>
#include <libavutil/intreadwrite.h>

static struct features f, g;
static struct err err;

static bool has_note(const struct features *x, enum note n)
{
    return x->flags.notes & UINT64_C(1) << n;
}

/* Copies the picture of `from` to `to`, packet by packet as `change` says; false = leave it out. */
typedef bool (*change_fn)(AVPacket *pkt, int index);

static void remux(const struct extract_fixture *fx, const char *from, const char *to,
                  const char *container, change_fn change)
{
    AVFormatContext *in = NULL, *out = NULL;
    assert_int_equal(avformat_open_input(&in, clip_path(fx, from), NULL, NULL), 0);
    assert_true(avformat_alloc_output_context2(&out, NULL, container, clip_path(fx, to)) >= 0);
    AVStream *st = avformat_new_stream(out, NULL);
    AVPacket *pkt = av_packet_alloc();
    assert_true(st && pkt);
    assert_true(avcodec_parameters_copy(st->codecpar, in->streams[0]->codecpar) >= 0);
    st->codecpar->codec_tag = 0;
    st->time_base = in->streams[0]->time_base;
    assert_true(avio_open(&out->pb, clip_path(fx, to), AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(out, NULL) >= 0);
    for (int i = 0; av_read_frame(in, pkt) >= 0; i++) {
        if (change(pkt, i)) {
            pkt->dts = pkt->pts; /* there are no B pictures */
            av_packet_rescale_ts(pkt, in->streams[0]->time_base, st->time_base);
            pkt->pos = -1;
            assert_true(av_write_frame(out, pkt) >= 0);
        }
        av_packet_unref(pkt);
    }
    assert_true(av_write_trailer(out) >= 0);
    av_packet_free(&pkt);
    (void)avio_closep(&out->pb);
    avformat_free_context(out);
    avformat_close_input(&in);
}

static struct clipmaker_options long_clip(const char *codec)
{
    struct clipmaker_options o = small_clip();
    o.audio_codec = NULL;
    o.duration_ms = 8000;
    o.gop = 100;
    o.video_codec = codec;
    o.container = "matroska";
    o.no_b_frames = true;
    return o;
}

static bool all_are_keys(AVPacket *pkt, int index)
{
    (void)index;
    pkt->flags |= AV_PKT_FLAG_KEY;
    return true;
}

static void take_every_packet_called_a_key_is_seen_through(void **state)
{
    static const char *const codecs[] = {"libx265", "mpeg4", "mpeg2video",
                                         "flv",     "wmv2",  "libvpx"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        struct clipmaker_options o = long_clip(codecs[i]);
        extract_clip(*state, &o, &f);
        remux(*state, "clip", "keys", "matroska", all_are_keys);
        assert_int_equal(extract_file(*state, "keys", NULL, &g, &err), ERR_OK);
        assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) > 0.95);
        assert_false(g.flags.partial);
    }
}

static bool first_key_is_lost(AVPacket *pkt, int index)
{
    (void)pkt;
    return index > 0;
}

static void take_before_the_first_key_is_said_and_not_tried(void **state)
{
    static const char *const codecs[] = {"libx265", "libvpx", "mpeg4"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        struct clipmaker_options o = long_clip(codecs[i]);
        extract_clip(*state, &o, &f);
        remux(*state, "clip", "lost", "matroska", first_key_is_lost);
        assert_int_equal(extract_file(*state, "lost", NULL, &g, &err), ERR_OK);
        assert_true(g.flags.n_frames >= 3 && g.flags.coverage < 1);
        assert_true(g.flags.partial && has_note(&g, NOTE_KEY_MISSING));
        assert_int_equal(g.flags.n_decode_errors, 0);
    }
}

static bool no_key_at_all(AVPacket *pkt, int index)
{
    return index == 0 ? false : !(pkt->flags & AV_PKT_FLAG_KEY);
}

/* Decoders of HEVC and MPEG-4 make the missing references up, and say nothing. */
static void take_without_any_key_is_flagged(void **state)
{
    static const char *const codecs[] = {"libx265", "mpeg4", "flv"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        struct clipmaker_options o = long_clip(codecs[i]);
        make_clip(*state, "clip", &o);
        remux(*state, "clip", "none", "matroska", no_key_at_all);
        assert_int_equal(extract_file(*state, "none", "a title", &g, &err), ERR_OK);
        assert_true(g.flags.partial || g.flags.coverage < 1);
    }
}

static bool garbage_in_the_middle(AVPacket *pkt, int index)
{
    if (index >= 40 && index < 120 && av_packet_make_writable(pkt) >= 0)
        memset(pkt->data + 4, 0xa5, (size_t)pkt->size - 4);
    return true;
}

/* More errors in a row than a run may have: later runs are not given up for that. */
static void take_after_a_damaged_stretch_goes_on(void **state)
{
    struct clipmaker_options o = long_clip("libx264");
    o.gop = 50;
    extract_clip(*state, &o, &f);
    remux(*state, "clip", "hurt", "matroska", garbage_in_the_middle);
    assert_int_equal(extract_file(*state, "hurt", NULL, &g, &err), ERR_OK);
    assert_true(g.flags.partial && has_note(&g, NOTE_DAMAGED));
    assert_true(g.flags.n_frames >= 4);
}

static bool middle_keys_are_hurt(AVPacket *pkt, int index)
{
    if (index > 0 && index % 50 == 0 && av_packet_make_writable(pkt) >= 0)
        memset(pkt->data + pkt->size / 4, 0xff, (size_t)pkt->size - (size_t)pkt->size / 4);
    return true;
}

/* Keys that decode with errors serve only where no other frame is near, and that is said. */
static void take_goes_round_a_damaged_key_in_the_middle(void **state)
{
    static const char *const codecs[] = {"libx264", "mpeg4", "mpeg2video", "flv"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        struct clipmaker_options o = long_clip(codecs[i]);
        o.gop = 25;
        extract_clip(*state, &o, &f);
        remux(*state, "clip", "hurt", "matroska", middle_keys_are_hurt);
        assert_int_equal(extract_file(*state, "hurt", NULL, &g, &err), ERR_OK);
        assert_true(g.flags.partial && has_note(&g, NOTE_DAMAGED));
        assert_true(g.flags.n_decode_errors > 0);
        assert_true(g.flags.n_frames >= f.flags.n_frames && g.flags.coverage == 1);
        assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) > 0.95);
    }
}

/* What there is at any moment is in order, and stays so. */
static void settle_keeps_what_came_in_order_of_time(void **state)
{
    (void)state;
    static struct encoder_frame frames[FRAMES_MAX];
    for (unsigned came = 0; came < 1u << 4; came++) {
        static const int64_t at_us[] = {3000000, 1000000, 5000000, 6900000};
        struct pictures p = {
            .plan = {.n_targets = 4, .duration_us = 8000000, .tau_us = 1000000},
            .slots.frames = frames};
        unsigned n = 0;
        for (unsigned t = 0; t < 4; t++) {
            p.plan.targets_us[t] = (2 * t + 1) * 1000000;
            p.slots.got[t] = (struct plan_got){.any = came >> t & 1, .pts_us = at_us[t]};
            frames[t].pts_us = at_us[t];
            n += came >> t & 1;
        }
        for (int again = 0; again < 2; again++) {
            p.settled = false; /* as after an interruption */
            pictures_settle(&p);
            assert_int_equal(p.n_frames, n);
            for (unsigned i = 1; i < n; i++)
                assert_true(frames[i].pts_us > frames[i - 1].pts_us);
        }
        assert_true(p.coverage == (float)n / 4 && (p.max_gap_ms <= 1000) == (n == 4));
    }
    struct pictures none = {.n_frames = 0};
    pictures_settle(&none); /* before anything was planned */
    assert_int_equal(none.n_frames, 0);
}

static void take_fields_of_hevc_are_pictures_of_their_own(void **state)
{
    struct clipmaker_options o = long_clip("libx265");
    extract_clip(*state, &o, &f);
    o.fields = true;
    extract_clip(*state, &o, &g);
    assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) > 0.95);
    assert_false(g.flags.partial);
    assert_int_equal(g.flags.notes, f.flags.notes);
    assert_int_equal(g.flags.n_decode_errors, 0);
    assert_int_equal(g.flags.n_frames, f.flags.n_frames);
}

/* AVI tells when a picture is decoded, not when it is shown. */
static void take_b_pictures_in_avi_are_shown_in_order(void **state)
{
    static const char *const codecs[] = {"libx264", "mpeg2video"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        struct clipmaker_options o = long_clip(codecs[i]);
        o.no_b_frames = false;
        o.gop = 12;
        extract_clip(*state, &o, &f);
        o.container = "avi";
        extract_clip(*state, &o, &g);
        assert_false(g.flags.partial || g.flags.retimed);
        assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) > 0.99);
    }
}

static void take_one_picture_is_a_still(void **state)
{
    struct clipmaker_options o = small_clip();
    o.audio_codec = NULL;
    o.duration_ms = 40;
    o.container = "matroska";
    extract_clip(*state, &o, &f);
    assert_int_equal(f.flags.n_frames, 1);
    assert_true(has_note(&f, NOTE_STILL));
    assert_false(f.flags.partial);
}

static void price_counts_what_is_not_shown(void **state)
{
    (void)state;
    static const uint8_t superframe[] = {1, 2, 2, 3, 3, 3, 0xc2, 1, 2, 3, 0xc2};
    assert_int_equal(price_vp9_frames(superframe, sizeof(superframe)), 3);
    assert_int_equal(price_vp9_frames(superframe, 6), 1);
    assert_int_equal(price_vp9_frames(superframe, 0), 1);
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xda, 1, 0xff, 0, 0xff, 0xda, 0xff, 0xd9};
    assert_int_equal(price_jpeg_scans(jpeg, sizeof(jpeg)), 2);
    assert_int_equal(price_jpeg_scans(jpeg, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_every_packet_called_a_key_is_seen_through),
        cmocka_unit_test(take_before_the_first_key_is_said_and_not_tried),
        cmocka_unit_test(take_without_any_key_is_flagged),
        cmocka_unit_test(take_after_a_damaged_stretch_goes_on),
        cmocka_unit_test(take_goes_round_a_damaged_key_in_the_middle),
        cmocka_unit_test(settle_keeps_what_came_in_order_of_time),
        cmocka_unit_test(take_fields_of_hevc_are_pictures_of_their_own),
        cmocka_unit_test(take_b_pictures_in_avi_are_shown_in_order),
        cmocka_unit_test(take_one_picture_is_a_still),
        cmocka_unit_test(price_counts_what_is_not_shown),
    };
    return cmocka_run_group_tests_name("pictures", tests, extract_fixture_setup,
                                       extract_fixture_teardown);
}
