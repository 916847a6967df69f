/* Sound that hides: opposite phase, offsets, many channels, changing form, damage, windows, budget. */

#include "extract/media/decode.h"
#include "extract/wire/notes.h"
#include "extract_fixture.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include <libavcodec/packet.h>

#define RATE      16000
#define SECONDS   4
#define N_SAMPLES (RATE * SECONDS)

static struct features plain, f;
static struct err err;
static float pcm[SOUND_RATE_HZ * SOUND_MAX_S];

/* Tones that come and go, in -0.3 … 0.3. */
static float melody(int i)
{
    double t = (double)i / RATE;
    double hz = 220 * pow(2, (int)(t * 4) % 7 / 7.0), swell = 0.5 + 0.5 * sin(9 * t);
    return (float)(0.2 * swell * sin(2 * M_PI * hz * t) + 0.1 * sin(2 * M_PI * 3.1 * hz * t));
}

static void put(uint8_t *at, uint32_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

/* A WAV of floats without a layout: sample_of(channel, i) in each channel. */
static void write_wav(const struct extract_fixture *fx, const char *name, unsigned n_channels,
                      float (*sample_of)(unsigned channel, int i))
{
    uint32_t n_data = N_SAMPLES * n_channels * 4;
    uint8_t *bytes = calloc(1, 44 + n_data);
    assert_non_null(bytes);
    memcpy(bytes, "RIFF\0\0\0\0WAVEfmt ", 16);
    put(bytes + 4, 36 + n_data, 4);
    put(bytes + 16, 16, 4);
    put(bytes + 20, 3, 2); /* floats */
    put(bytes + 22, n_channels, 2);
    put(bytes + 24, RATE, 4);
    put(bytes + 28, RATE * n_channels * 4, 4);
    put(bytes + 32, n_channels * 4, 2);
    put(bytes + 34, 32, 2);
    memcpy(bytes + 36, "data", 4);
    put(bytes + 40, n_data, 4);
    for (int i = 0; i < N_SAMPLES; i++)
        for (unsigned c = 0; c < n_channels; c++) {
            float x = sample_of(c, i);
            memcpy(bytes + 44 + ((size_t)i * n_channels + c) * 4, &x, 4);
        }
    write_bytes(clip_path(fx, name), bytes, 44 + n_data);
    free(bytes);
}

static void hear(const struct extract_fixture *fx, unsigned n_channels,
                 float (*sample_of)(unsigned channel, int i), struct features *ret)
{
    write_wav(fx, "sound.wav", n_channels, sample_of);
    assert_int_equal(extract_file(fx, "sound.wav", "a title", ret, &err), ERR_OK);
}

static bool has_note(const struct features_flags *flags, enum note note)
{
    return flags->notes >> note & 1;
}

static float same(unsigned channel, int i)
{
    (void)channel;
    return melody(i);
}

static float opposite(unsigned channel, int i)
{
    return channel % 2 ? -melody(i) : melody(i);
}

static float weaker(unsigned channel, int i)
{
    return channel % 2 ? -0.6f * melody(i) : melody(i);
}

static float turning(unsigned channel, int i)
{
    return channel % 2 && i > N_SAMPLES / 2 ? -melody(i) : melody(i);
}

static float opposite_on_offset(unsigned channel, int i)
{
    return 0.4f + opposite(channel, i);
}

static void run_opposite_channels_are_heard(void **state)
{
    static float (*const cases[])(unsigned, int) = {opposite, weaker, turning,
                                                    opposite_on_offset};
    hear(*state, 2, same, &plain);
    assert_false(has_note(&plain.flags, NOTE_SOUND_PHASE));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (unsigned n = 2; n <= 16; n *= 2) {
            hear(*state, n, cases[i], &f);
            if (n == 2) /* of more, weaker ones may leave enough */
                assert_true(has_note(&f.flags, NOTE_SOUND_PHASE));
            assert_true(feature_cosine(&plain, &f, MODALITY_ACOUSTIC) > 0.98);
        }
}

static float level(unsigned channel, int i)
{
    (void)channel;
    (void)i;
    return 0.4f;
}

static float drift(unsigned channel, int i)
{
    (void)channel;
    return 0.5f * sinf(0.6f * (float)i / RATE);
}

static float step(unsigned channel, int i)
{
    return i < N_SAMPLES / 3 && channel == 0 ? -0.1f : 0.3f;
}

static void run_offset_is_silence(void **state)
{
    static float (*const cases[])(unsigned, int) = {level, drift, step};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hear(*state, 2, cases[i], &f);
        assert_int_equal(f.mask, MODALITY_BIT(MODALITY_TEXTUAL));
    }
}

static float on_level(unsigned channel, int i)
{
    return 0.01f * melody(i) + level(channel, i);
}

static float on_drift(unsigned channel, int i)
{
    return 0.01f * melody(i) + drift(channel, i);
}

static float on_one_level(unsigned channel, int i)
{
    return 0.01f * melody(i) + (channel == 0 ? 0.4f : 0);
}

static void run_offset_takes_nothing_from_the_sound(void **state)
{
    static float (*const cases[])(unsigned, int) = {on_level, on_drift, on_one_level};
    hear(*state, 2, same, &plain);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hear(*state, 2, cases[i], &f);
        assert_true(feature_cosine(&plain, &f, MODALITY_ACOUSTIC) > 0.97);
    }
}

static void run_any_number_of_channels_is_heard(void **state)
{
    static const unsigned cases[] = {1, 3, 7, 9, 12, 15, 16, 24, 36, 64, 65, 200};
    hear(*state, 1, same, &plain);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hear(*state, cases[i], same, &f);
        assert_false(f.flags.partial);
        assert_int_equal(has_note(&f.flags, NOTE_SOUND_MIX), cases[i] > 8);
        assert_true(feature_cosine(&plain, &f, MODALITY_ACOUSTIC) > 0.99);
    }
}

static float broken(unsigned channel, int i)
{
    return i % 1000 == 7 ? NAN : i % 1000 == 8 ? 1e30f : opposite(channel, i);
}

static void run_broken_floats_stay_finite(void **state)
{
    hear(*state, 2, broken, &f);
    hear(*state, 12, broken, &f);
    assert_true(f.mask & MODALITY_BIT(MODALITY_ACOUSTIC));
}

static void make_adts(const struct extract_fixture *fx)
{
    struct clipmaker_options o = small_clip();
    o.container = "adts";
    o.video_codec = NULL;
    o.duration_ms = 4000;
    make_clip(fx, "clip.aac", &o);
}

static void run_rate_that_flips_ends_by_work(void **state)
{
    size_t n, n_frames = 0;
    make_adts(*state);
    char *bytes = read_bytes(clip_path(*state, "clip.aac"), &n);
    for (size_t at = 0; at + 7 <= n; n_frames++) { /* the index of the rate, frame by frame */
        bytes[at + 2] = (char)((bytes[at + 2] & ~0x3c) | (n_frames % 2 ? 3 : 4) << 2);
        at += (size_t)((bytes[at + 3] & 3) << 11 | (uint8_t)bytes[at + 4] << 3 |
                       (uint8_t)bytes[at + 5] >> 5);
    }
    assert_true(n_frames > 100);
    write_bytes(clip_path(*state, "flips.aac"), bytes, n);
    free(bytes);
    assert_int_equal(extract_file(*state, "flips.aac", "a title", &f, &err), ERR_OK);
    assert_true(has_note(&f.flags, NOTE_WORK) && f.flags.degraded);
    assert_in_range(f.flags.audio_ms, 500, 2000);
}

/* Opens a file and calls `change` on its sound before it is decoded into pcm. */
static uint32_t decode_changed(const struct extract_fixture *fx, const char *name,
                               uint32_t n_max,
                               void (*change)(struct media_track *t, struct budget *b))
{
    struct media_options o;
    struct budget budget;
    struct media *media = NULL;
    struct decode_report report = {0};
    uint32_t n = 0;
    media_options_init(&o);
    budget_start(&budget, 0);
    memset(&f, 0, sizeof(f));
    int fd = open(clip_path(fx, name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(media_demux(fd, &o, &budget, &media, &err), ERR_OK);
    change(&media->audio, &budget);
    assert_int_equal(
        decode_sound(&media->audio, pcm, n_max, &budget, &f.flags, &n, &report, &err), ERR_OK);
    media_free(media);
    (void)close(fd);
    return n;
}

static void spoil_beginning(struct media_track *t, struct budget *b)
{
    (void)b;
    assert_true(t->n_packets > 120);
    for (uint32_t i = 0; i < 80; i++) {
        assert_int_equal(av_packet_make_writable(t->packets[i].av), 0);
        memset(t->packets[i].av->data, 0xff, (size_t)t->packets[i].av->size);
    }
}

static void run_damage_costs_only_itself(void **state)
{
    make_adts(*state);
    uint32_t n = decode_changed(*state, "clip.aac", SOUND_RATE_HZ * 60, spoil_beginning);
    assert_true(has_note(&f.flags, NOTE_SOUND_DAMAGED) && f.flags.partial);
    assert_in_range(n, SOUND_RATE_HZ, SOUND_RATE_HZ * 4);
}

static void lose_middle(struct media_track *t, struct budget *b)
{
    (void)b;
    uint32_t from = t->n_packets / 3, n = t->n_packets / 4;
    for (uint32_t i = from; i < from + n; i++)
        av_packet_free(&t->packets[i].av);
    memmove(&t->packets[from], &t->packets[from + n],
            (t->n_packets - from - n) * sizeof(*t->packets));
    t->n_packets -= n;
}

static void skip_middle(struct media_track *t, struct budget *b)
{
    uint32_t from = t->n_packets / 3;
    lose_middle(t, b);
    t->packets[from].cut = true;
}

/* A beginning that is late is no loss. */
static void start_late(struct media_track *t, struct budget *b)
{
    (void)b;
    for (uint32_t i = 0; i < t->n_packets; i++)
        t->packets[i].pts_us += 5000000;
}

static void run_hole_in_the_times_is_told(void **state)
{
    struct clipmaker_options o = small_clip();
    o.duration_ms = 4000;
    make_clip(*state, "clip.mp4", &o);
    (void)decode_changed(*state, "clip.mp4", SOUND_RATE_HZ * 60, start_late);
    assert_false(f.flags.partial);
    (void)decode_changed(*state, "clip.mp4", SOUND_RATE_HZ * 60, skip_middle);
    assert_false(f.flags.partial);
    (void)decode_changed(*state, "clip.mp4", SOUND_RATE_HZ * 60, lose_middle);
    assert_true(has_note(&f.flags, NOTE_SOUND_DAMAGED) && f.flags.partial);
}

/* Four seconds become a minute. */
static void repeat(struct media_track *t, struct budget *b)
{
    (void)b;
    uint32_t n = t->n_packets;
    t->packets = realloc(t->packets, 15 * n * sizeof(*t->packets));
    assert_non_null(t->packets);
    for (uint32_t i = n; i < 15 * n; i++) {
        t->packets[i] = t->packets[i % n];
        t->packets[i].av = av_packet_clone(t->packets[i % n].av);
        assert_non_null(t->packets[i].av);
    }
    t->n_packets = 15 * n;
}

static void run_samples_of_all_channels_are_work(void **state)
{
    write_wav(*state, "wide.wav", 200, same);
    uint32_t n = decode_changed(*state, "wide.wav", SOUND_RATE_HZ * 60, repeat);
    assert_true(has_note(&f.flags, NOTE_WORK) && f.flags.degraded);
    assert_false(f.flags.partial);
    assert_in_range(n, SOUND_RATE_HZ * 50, SOUND_RATE_HZ * 60 - 1);
}

static float beyond(unsigned channel, int i)
{
    (void)channel;
    return i % 4000 < 40 ? 9.0f * (float)(i % 2 * 2 - 1) : i % 2 ? 5.0f : melody(i);
}

static void run_levels_far_over_full_scale_are_damage(void **state)
{
    hear(*state, 2, beyond, &f);
    assert_true(has_note(&f.flags, NOTE_SOUND_DAMAGED) && f.flags.partial);
}

static void spoil_all(struct media_track *t, struct budget *b)
{
    (void)b;
    for (uint32_t i = 0; i < t->n_packets; i++) {
        assert_int_equal(av_packet_make_writable(t->packets[i].av), 0);
        memset(t->packets[i].av->data, 0xff, (size_t)t->packets[i].av->size);
    }
}

static void run_sound_without_samples_is_told(void **state)
{
    make_adts(*state);
    assert_int_equal(decode_changed(*state, "clip.aac", SOUND_RATE_HZ * 60, spoil_all), 0);
    assert_true(has_note(&f.flags, NOTE_SOUND_DAMAGED));
}

static void spend(struct media_track *t, struct budget *b)
{
    (void)t;
    b->cpu_is_spent = true;
}

static void spend_pictures(struct media_track *t, struct budget *b)
{
    (void)t;
    b->work_is_spent = true;
}

static void run_spent_time_ends_the_sound(void **state)
{
    write_wav(*state, "sound.wav", 2, same);
    assert_int_equal(decode_changed(*state, "sound.wav", SOUND_RATE_HZ * 60, spend), 0);
    assert_true(has_note(&f.flags, NOTE_CPU) && f.flags.degraded);
    assert_false(has_note(&f.flags, NOTE_SOUND_DAMAGED));
    assert_int_equal(decode_changed(*state, "sound.wav", SOUND_RATE_HZ * 60, spend_pictures),
                     N_SAMPLES);
    assert_false(f.flags.degraded);
}

/* A quarter of the amplitude in each quarter of the clip. */
static float stairs(unsigned channel, int i)
{
    (void)channel;
    return (float)(1 + 4 * i / N_SAMPLES) * 0.2f * (i % 16 < 8 ? 1.0f : -1.0f);
}

static void cut_quarters(struct media_track *t, struct budget *b)
{
    (void)b;
    for (uint32_t k = 0; k < 4; k++)
        t->packets[k * t->n_packets / 4].cut = true;
}

static void run_windows_share_the_minute(void **state)
{
    write_wav(*state, "stairs.wav", 1, stairs);
    uint32_t n = decode_changed(*state, "stairs.wav", RATE, cut_quarters);
    assert_int_equal(n, RATE);
    for (unsigned k = 0; k < 4; k++) {
        double power = 0;
        for (unsigned i = 0; i < RATE / 4; i++)
            power += (double)pcm[k * RATE / 4 + i] * (double)pcm[k * RATE / 4 + i];
        double rms = sqrt(power / (RATE / 4.0));
        assert_true(fabs(rms - 0.2 * (k + 1)) < 0.03);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_opposite_channels_are_heard),
        cmocka_unit_test(run_offset_is_silence),
        cmocka_unit_test(run_offset_takes_nothing_from_the_sound),
        cmocka_unit_test(run_any_number_of_channels_is_heard),
        cmocka_unit_test(run_broken_floats_stay_finite),
        cmocka_unit_test(run_rate_that_flips_ends_by_work),
        cmocka_unit_test(run_damage_costs_only_itself),
        cmocka_unit_test(run_hole_in_the_times_is_told),
        cmocka_unit_test(run_samples_of_all_channels_are_work),
        cmocka_unit_test(run_levels_far_over_full_scale_are_damage),
        cmocka_unit_test(run_sound_without_samples_is_told),
        cmocka_unit_test(run_spent_time_ends_the_sound),
        cmocka_unit_test(run_windows_share_the_minute),
    };
    return cmocka_run_group_tests_name("sound", tests, extract_fixture_setup,
                                       extract_fixture_teardown);
}
