/* What FFmpeg 5.1, 6.1 and 7.1 tell or give in different ways comes out the same. Run on each by
 * tests/distros.sh. */

#include "extract_fixture.h"

#include "extract/media/encoder.h"
#include "extract/wire/protocol.h"

#include <math.h>
#include <string.h>

#include <libavcodec/codec_desc.h>
#include <libavformat/avformat.h>

#define HEARD MODALITY_BIT(MODALITY_ACOUSTIC)

static struct features f, g;
static struct err err;

#define AMR_MODE        7 /* 12.2 kbit/s */
#define AMR_FRAME_BYTES 32
#define AMR_FRAME_MS    20

/* n_packets of n_frames each. A decoder of AMR finds sound in any bits. */
static void make_amr(const char *path, int n_packets, int n_frames)
{
    AVFormatContext *fmt = NULL;
    assert_true(avformat_alloc_output_context2(&fmt, NULL, "matroska", path) >= 0);
    AVStream *st = avformat_new_stream(fmt, NULL);
    AVPacket *pkt = av_packet_alloc();
    assert_true(st && pkt);
    st->codecpar->codec_type = AVMEDIA_TYPE_AUDIO;
    st->codecpar->codec_id = AV_CODEC_ID_AMR_NB;
    st->codecpar->sample_rate = 8000;
    st->codecpar->frame_size = 160;
    st->codecpar->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    st->time_base = (AVRational){1, 8000};
    assert_true(avio_open(&fmt->pb, path, AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(fmt, NULL) >= 0);
    srand(7);
    for (int i = 0; i < n_packets; i++) {
        assert_int_equal(av_new_packet(pkt, n_frames * AMR_FRAME_BYTES), 0);
        for (int k = 0; k < pkt->size; k++)
            pkt->data[k] = k % AMR_FRAME_BYTES ? (uint8_t)rand() : AMR_MODE << 3 | 4;
        pkt->pts = pkt->dts = (int64_t)i * n_frames * 160;
        pkt->duration = n_frames * 160;
        assert_true(av_write_frame(fmt, pkt) >= 0);
        av_packet_unref(pkt);
    }
    assert_true(av_write_trailer(fmt) >= 0);
    av_packet_free(&pkt);
    (void)avio_closep(&fmt->pb);
    avformat_free_context(fmt);
}

static void run_amr_frames_that_share_a_packet_are_all_heard(void **state)
{
    static const int n_frames[] = {1, 5, 10};
    for (size_t i = 0; i < sizeof(n_frames) / sizeof(n_frames[0]); i++) {
        struct features *ret = i == 0 ? &f : &g;
        make_amr(clip_path(*state, "clip"), 100 / n_frames[i], n_frames[i]);
        assert_int_equal(extract_file(*state, "clip", NULL, ret, &err), ERR_OK);
        assert_int_equal(ret->mask, HEARD);
        assert_int_equal(ret->flags.n_decode_errors, 0);
        assert_int_equal(ret->flags.audio_ms, 100 * AMR_FRAME_MS);
        assert_float_equal(feature_cosine(&f, ret, MODALITY_ACOUSTIC), 1, 1e-6);
    }
}

/* FFmpeg 5.1 calls every frame of qtrle a key, later ones none. */
static void run_a_decoder_that_says_nothing_is_not_doubted(void **state)
{
    struct clipmaker_options o = small_clip();
    o.video_codec = "qtrle";
    o.audio_codec = NULL;
    o.pixel_format = "rgb24";
    o.container = "mov";
    o.gop = 8;
    extract_clip(*state, &o, &f);
    assert_int_equal(f.flags.notes, 0);
    assert_false(f.flags.partial);
    assert_int_equal(f.flags.n_decode_errors, 0);
}

/* The sound's edit list cuts the encoder's priming off, which is as good as nothing in a long clip and
 * a fifth of a short one. */
static void run_fragments_lose_the_priming_too(void **state)
{
    struct clipmaker_options o = small_clip();
    o.video_codec = NULL;
    o.duration_ms = 250;
    extract_clip(*state, &o, &f);
    o.fragmented = true;
    extract_clip(*state, &o, &g);
    assert_int_equal(g.mask, HEARD);
    assert_in_range(g.flags.audio_ms, 250,
                    f.flags.audio_ms + 24); /* its end may be filled up */
    assert_float_equal(feature_cosine(&f, &g, MODALITY_ACOUSTIC), 1, 1e-3);
}

/* Motion is among the numbers: the next picture of each second sample came as well. */
static void run_open_gop_loses_no_picture(void **state)
{
    struct clipmaker_options o = small_clip();
    o.audio_codec = NULL;
    o.gop = 15;
    o.duration_ms = 6000;
    extract_clip(*state, &o, &f);
    o.open_gop = true;
    extract_clip(*state, &o, &g);
    assert_int_equal(g.flags.n_frames, g.flags.n_planned);
    assert_int_equal(g.flags.n_decode_errors, 0);
    assert_true(feature_cosine(&f, &g, MODALITY_VISUAL) > 0.996); /* 0.993 without them */
}

/* They cross to the daemon, which takes a worker with other letters for an attacker. */
static void names_of_formats_have_the_letters_of_the_protocol(void **state)
{
    const AVCodecDescriptor *codec = NULL;
    const AVInputFormat *format;
    void *at = NULL;
    (void)state;
    while ((codec = avcodec_descriptor_next(codec)))
        if (codec->name[strspn(codec->name, PROTOCOL_NAME_LETTERS)] != 0)
            fail_msg("codec %s", codec->name);
    while ((format = av_demuxer_iterate(&at)))
        if (format->name[strspn(format->name, PROTOCOL_NAME_LETTERS)] != 0)
            fail_msg("container %s", format->name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_amr_frames_that_share_a_packet_are_all_heard),
        cmocka_unit_test(run_a_decoder_that_says_nothing_is_not_doubted),
        cmocka_unit_test(run_fragments_lose_the_priming_too),
        cmocka_unit_test(run_open_gop_loses_no_picture),
        cmocka_unit_test(names_of_formats_have_the_letters_of_the_protocol),
    };
    return cmocka_run_group_tests_name("extractor_versions", tests, extract_fixture_setup,
                                       extract_fixture_teardown);
}
