/* av1_refs.h against libdav1d: what is left out changes no other frame. */

#include "extract/media/av1_refs.h"

#include "config/digest.h"
#include "extract/media/budget.h"
#include "extract/media/media.h"
#include "extract_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>

#define PACKETS_MAX 256
#define FRAME_BYTES (96 * 64 * 4)

static struct media *media;
static int64_t whole[PACKETS_MAX],
    part[PACKETS_MAX]; /* checksum of each packet's frame, 0 = none */

static void take_frames(AVCodecContext *ctx, AVFrame *frame, int64_t *sums)
{
    static uint8_t pixels[FRAME_BYTES];
    while (avcodec_receive_frame(ctx, frame) == 0) {
        int n = av_image_copy_to_buffer(pixels, sizeof(pixels),
                                        (const uint8_t *const *)frame->data, frame->linesize,
                                        frame->format, frame->width, frame->height, 1);
        assert_true(n > 0 && frame->pts >= 0 && frame->pts < PACKETS_MAX);
        sums[frame->pts] = digest_checksum(pixels, (size_t)n);
        av_frame_unref(frame);
    }
}

/* Decodes the track; returns how many packets were left out. */
static unsigned decode(bool leave_out, int64_t *sums)
{
    const struct media_track *t = &media->video;
    AVCodecContext *ctx = avcodec_alloc_context3(t->codec);
    AVFrame *frame = av_frame_alloc();
    struct av1_sequence seq = {0};
    unsigned n_out = 0;
    assert_true(ctx && frame && avcodec_parameters_to_context(ctx, t->par) >= 0);
    ctx->thread_count = 1;
    assert_int_equal(avcodec_open2(ctx, t->codec, NULL), 0);
    av1_configure(&seq, t->par->extradata, (size_t)t->par->extradata_size);
    memset(sums, 0, PACKETS_MAX * sizeof(*sums));
    for (uint32_t i = 0; i < t->n_packets; i++) {
        AVPacket *pkt = t->packets[i].av;
        pkt->pts = i;
        pkt->dts = AV_NOPTS_VALUE;
        /* libsvtav1 names no duration, and MP4's edit list ends where the last picture begins: it is
         * hidden, and FFmpeg 7.1 would not give it out. */
        pkt->flags &= ~AV_PKT_FLAG_DISCARD;
        if (av1_is_unreferenced(&seq, pkt->data, (size_t)pkt->size) && leave_out) {
            n_out++;
            continue;
        }
        assert_true(avcodec_send_packet(ctx, pkt) >= 0);
        take_frames(ctx, frame, sums);
    }
    assert_true(avcodec_send_packet(ctx, NULL) >= 0);
    take_frames(ctx, frame, sums);
    avcodec_free_context(&ctx);
    av_frame_free(&frame);
    return n_out;
}

static void check_encoder(void **state, const char *codec, const char *container,
                          unsigned least_out)
{
    struct clipmaker_options o;
    struct err err;
    clipmaker_options_init(&o);
    o.width = 96;
    o.height = 64;
    o.gop = 0;
    o.audio_codec = NULL;
    o.video_codec = codec;
    o.container = container;
    if (clipmaker_write(clip_path(*state, "clip"), &o, &err) != ERR_OK) {
        print_message("skipped: %s\n", err.text);
        return;
    }
    int fd = open(clip_path(*state, "clip"), O_RDONLY | O_CLOEXEC);
    struct media_options mo;
    struct budget budget;
    media_options_init(&mo);
    budget_start(&budget, 0);
    assert_int_equal(media_demux(fd, &mo, &budget, &media, &err), ERR_OK);
    uint32_t n = media->video.n_packets;
    assert_in_range(n, 16, PACKETS_MAX);
    assert_int_equal(decode(false, whole), 0);
    unsigned n_out = decode(true, part), n_seen = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(part[i] == 0 || part[i] == whole[i]);
        n_seen += part[i] != 0;
    }
    assert_int_equal(n_seen + n_out, n);
    print_message("%s in %s: %u of %u packets left out\n", codec, container, n_out, n);
    assert_true(n_out >= least_out);
    media_free(media);
    (void)close(fd);
}

static void is_unreferenced_left_out_changes_no_other_frame(void **state)
{
    check_encoder(state, "libsvtav1", "mp4", 20);
    check_encoder(state, "libsvtav1", "matroska", 20);
    check_encoder(state, "libaom-av1", "webm", 0);
}

static void is_unreferenced_what_is_not_av1_is_kept(void **state)
{
    uint8_t bytes[64];
    (void)state;
    srand(7);
    for (unsigned round = 0; round < 200000; round++) {
        struct av1_sequence seq = {.known = round & 1};
        size_t n = (size_t)rand() % sizeof(bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)rand();
        (void)av1_is_unreferenced(&seq, bytes, n); /* reads nothing outside: ASan */
        av1_configure(&seq, bytes, n);
        assert_true(seq.order_hint_bits <= 8 && seq.frame_id_bits <= 25);
    }
    struct av1_sequence seq = {0};
    static const uint8_t inter[] = {0x32, 0x04, 0x30, 0, 0, 0}; /* a frame, no sequence known */
    assert_false(av1_is_unreferenced(&seq, inter, sizeof(inter)));
    assert_false(av1_is_unreferenced(&seq, inter, 0));
    assert_false(av1_is_unreferenced(&seq, inter, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_unreferenced_left_out_changes_no_other_frame),
        cmocka_unit_test(is_unreferenced_what_is_not_av1_is_kept),
    };
    return cmocka_run_group_tests_name("av1_refs", tests, extract_fixture_setup,
                                       extract_fixture_teardown);
}
