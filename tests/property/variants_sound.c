/* variants.h: what may be odd about sound. */

#include "variants.h"

#include <stddef.h>
#include <string.h>

struct row {
    const char *what, *encoder, *container, *options;
    enum sound_shape shape;
    int rate_hz, channels;
};

static const struct row codecs[] = {
    {"plain", "aac", "mp4", NULL, 0, 0, 0},
    {"plain", "aac", "mpegts", NULL, 0, 0, 0},
    {"latm", "aac", "mpegts", "mpegts_flags=latm", 0, 0, 0},
    {"plain", "aac", "adts", NULL, 0, 0, 0},
    {"plain", "aac", "flv", NULL, 0, 0, 0},
    {"plain", "libmp3lame", "mp3", NULL, 0, 0, 0},
    {"plain", "libmp3lame", "mp4", NULL, 0, 0, 0},
    {"plain", "libmp3lame", "flv", NULL, 0, 0, 0},
    {"plain", "mp2", "mpegts", NULL, 0, 0, 0},
    {"plain", "libopus", "ogg", NULL, 0, 0, 0},
    {"plain", "libopus", "webm", NULL, 0, 0, 0},
    {"plain", "libopus", "mp4", NULL, 0, 0, 0},
    {"plain", "libopus", "mpegts", NULL, 0, 0, 0},
    {"plain", "libvorbis", "ogg", NULL, 0, 0, 0},
    {"plain", "ac3", "mpegts", NULL, 0, 48000, 2},
    {"plain", "ac3", "mp4", NULL, 0, 48000, 2},
    {"plain", "eac3", "mp4", NULL, 0, 48000, 2},
    {"plain", "eac3", "mpegts", NULL, 0, 48000, 2},
    {"plain", "flac", "flac", NULL, 0, 0, 0},
    {"plain", "flac", "ogg", NULL, 0, 0, 0},
    {"plain", "flac", "mp4", NULL, 0, 0, 0},
    {"plain", "alac", "mov", NULL, 0, 0, 0},
    {"plain", "wmav1", "asf", NULL, 0, 0, 0},
    {"plain", "wmav2", "asf", NULL, 0, 0, 0},
    {"plain", "dca", "mpegts", NULL, 0, 48000, 2},
    {"plain", "dca", "matroska", NULL, 0, 48000, 2},
    {"plain", "truehd", "matroska", NULL, 0, 48000, 2},
    {"plain", "truehd", "mp4", NULL, 0, 48000, 2},
    {"plain", "mlp", "matroska", NULL, 0, 48000, 2},
    {"plain", "adpcm_ms", "wav", NULL, 0, 0, 0},
    {"plain", "adpcm_ima_wav", "wav", NULL, 0, 0, 0},
    {"plain", "adpcm_ima_qt", "mov", NULL, 0, 0, 0},
    {"plain", "adpcm_swf", "flv", NULL, 0, 0, 0},
    {"plain", "adpcm_yamaha", "avi", NULL, 0, 0, 0},
    {"plain", "g722", "wav", NULL, 0, 16000, 0},
    {"plain", "g726", "wav", NULL, 0, 8000, 0},
    {"plain", "libspeex", "ogg", NULL, 0, 16000, 0},
    {"plain", "tta", "matroska", NULL, 0, 0, 0},
    {"plain", "wavpack", "matroska", NULL, 0, 0, 0},
    {"plain", "nellymoser", "flv", NULL, 0, 8000, 0},
    {"plain", "pcm_s16le", "wav", NULL, 0, 0, 0},
    {"plain", "pcm_s16le", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_s16le", "avi", NULL, 0, 0, 0},
    {"plain", "pcm_s16be", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_s24le", "wav", NULL, 0, 0, 0},
    {"plain", "pcm_s24be", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_s32le", "wav", NULL, 0, 0, 0},
    {"plain", "pcm_s32be", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_f32le", "wav", NULL, 0, 0, 0},
    {"plain", "pcm_f32be", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_f64le", "wav", NULL, 0, 0, 0},
    {"plain", "pcm_f64be", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_s8", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_u8", "wav", NULL, 0, 0, 0},
    {"plain", "pcm_u8", "avi", NULL, 0, 0, 0},
    {"plain", "pcm_alaw", "wav", NULL, 0, 0, 0},
    {"plain", "pcm_mulaw", "mov", NULL, 0, 0, 0},
    {"plain", "pcm_alaw", "flv", NULL, 0, 8000, 0},
    {"plain", "pcm_bluray", "mpegts", NULL, 0, 48000, 2},
    {"plain", "pcm_dvd", "vob", NULL, 0, 48000, 2},
    {"plain", "s302m", "mpegts", NULL, 0, 48000, 2},
    {"plain", "pcm_s64le", "wav", NULL, 0, 0, 0},
    {"plain", "sonic", "matroska", NULL, 0, 0, 2},
    {"plain", "aptx", "matroska", NULL, 0, 0, 2},
};

static const struct row shapes[] = {
    {"stereo", "aac", "mp4", NULL, SOUND_MONO, 0, 2},
    {"antiphase", "aac", "mp4", NULL, SOUND_ANTIPHASE, 0, 2},
    {"antiphase", "libopus", "webm", NULL, SOUND_ANTIPHASE, 0, 2},
    {"antiphase", "pcm_s16le", "wav", NULL, SOUND_ANTIPHASE, 0, 2},
    {"antiphase", "flac", "flac", NULL, SOUND_ANTIPHASE, 0, 2},
    {"antiphase", "libmp3lame", "avi", NULL, SOUND_ANTIPHASE, 0, 2},
    {"antiphase", "pcm_s16le", "wav", NULL, SOUND_ANTIPHASE, 0, 4},
    {"antiphase", "aac", "mp4", NULL, SOUND_ANTIPHASE, 0, 6},
    {"nearly antiphase", "aac", "mp4", NULL, SOUND_NEARLY_ANTIPHASE, 0, 2},
    {"nearly antiphase", "pcm_s16le", "wav", NULL, SOUND_NEARLY_ANTIPHASE, 0, 2},
    {"left alone", "aac", "mp4", NULL, SOUND_LEFT, 0, 2},
    {"left alone", "libopus", "webm", NULL, SOUND_LEFT, 0, 2},
    {"left alone", "aac", "mp4", NULL, SOUND_LEFT, 0, 6},
    {"last alone", "pcm_s16le", "wav", NULL, SOUND_LAST, 0, 2},
    {"last alone", "flac", "flac", NULL, SOUND_LAST, 0, 6},
    {"offset", "pcm_s16le", "wav", NULL, SOUND_DC, 0, 0},
    {"offset", "flac", "flac", NULL, SOUND_DC, 0, 2},
    {"offset", "aac", "mp4", NULL, SOUND_DC, 0, 0},
    {"much offset", "pcm_s16le", "wav", NULL, SOUND_DC_MUCH, 0, 0},
    {"much offset", "flac", "matroska", NULL, SOUND_DC_MUCH, 0, 2},
    {"8 kHz", "aac", "mp4", NULL, SOUND_MONO, 8000, 0},
    {"8 kHz", "pcm_s16le", "wav", NULL, SOUND_MONO, 8000, 0},
    {"16 kHz", "pcm_s16le", "wav", NULL, SOUND_MONO, 16000, 0},
    {"22 kHz", "libmp3lame", "mp3", NULL, SOUND_MONO, 22050, 0},
    {"96 kHz", "flac", "flac", NULL, SOUND_MONO, 96000, 0},
    {"192 kHz", "pcm_s16le", "wav", NULL, SOUND_MONO, 192000, 0},
    {"44,055 Hz", "pcm_s16le", "wav", NULL, SOUND_MONO, 44055, 0},
};

static void add_row(struct variants *list, const struct row *r, const char *family, bool plain)
{
    struct variant v = {.family = family,
                        .container = r->container,
                        .options = r->options,
                        .plain = plain,
                        .sound = {.encoder = r->encoder,
                                  .shape = r->shape,
                                  .rate_hz = r->rate_hz,
                                  .channels = r->channels,
                                  .in_band = variants_in_band(r->container)}};
    if (r->channels > 2)
        variants_add(list, &v, r->encoder, "%s, %d channels", r->what, r->channels);
    else
        variants_add(list, &v, r->encoder, "%s", r->what);
}

static void add_channels(struct variants *list)
{
    static const int counts[] = {3,  4,  5,  6,  7,  8,  9,  10, 12,
                                 15, 16, 17, 20, 24, 32, 48, 63, 64};
    static const struct {
        const char *encoder, *container;
        int most;
    } rows[] = {{"pcm_s16le", "wav", 64},   {"pcm_s16le", "matroska", 64},
                {"pcm_s16le", "mov", 64},   {"flac", "flac", 8},
                {"aac", "mp4", 16},         {"libopus", "webm", 64},
                {"libvorbis", "ogg", 64},   {"alac", "mov", 8},
                {"ac3", "mp4", 6},          {"pcm_f32le", "matroska", 64},
                {"wavpack", "matroska", 64}};
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            struct variant v = {.family = "channels",
                                .container = rows[r].container,
                                .sound = {.encoder = rows[r].encoder, .channels = counts[i]}};
            if (counts[i] > rows[r].most)
                break;
            variants_add(list, &v, rows[r].encoder, "%d", counts[i]);
            v.sound.shape = SOUND_LAST;
            if (counts[i] > 8)
                variants_add(list, &v, rows[r].encoder, "%d, last alone", counts[i]);
        }
}

/* Rate or channels change in the middle; where the container has no word for it, in the packets. */
static void add_changes(struct variants *list)
{
    static const struct {
        const char *what, *encoder, *container;
        int rate_hz, channels, at_pct;
    } rows[] = {{"48 kHz from 40 %", "libmp3lame", "mp3", 48000, 1, 40},
                {"22 kHz from 60 %", "libmp3lame", "avi", 22050, 1, 60},
                {"stereo from 50 %", "libmp3lame", "mpegts", 44100, 2, 50},
                {"stereo from 50 %", "libmp3lame", "matroska", 44100, 2, 50},
                {"32 kHz from 40 %", "mp2", "mpegts", 32000, 2, 40},
                {"48 kHz from 40 %", "ac3", "mpegts", 48000, 2, 40},
                {"48 kHz from 40 %", "ac3", "matroska", 48000, 2, 40},
                {"5.1 from 40 %", "ac3", "mp4", 44100, 6, 40},
                {"48 kHz from 40 %", "aac", "mpegts", 48000, 1, 40},
                {"stereo from 40 %", "aac", "flv", 44100, 2, 40},
                {"22 kHz from 40 %", "aac", "flv", 22050, 1, 40},
                {"stereo from 40 %", "aac", "mpegts", 44100, 2, 40},
                {"48 kHz from 40 %", "dca", "mpegts", 48000, 2, 40},
                {"stereo from 40 %", "libopus", "ogg", 48000, 2, 40},
                {"stereo from 40 %", "libopus", "webm", 48000, 2, 40},
                {"48 kHz from 40 %", "flac", "matroska", 48000, 1, 40},
                {"stereo from 40 %", "flac", "ogg", 44100, 2, 40}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct variant v = {.family = "sound change",
                            .container = rows[i].container,
                            .sound = {.encoder = rows[i].encoder, .to_pct = rows[i].at_pct}};
        v.second_sound = v.sound;
        v.second_sound.from_pct = rows[i].at_pct;
        v.second_sound.to_pct = 0;
        v.second_sound.rate_hz = rows[i].rate_hz;
        v.second_sound.channels = rows[i].channels;
        /* An ADTS header is the muxer's, and says what the first packet's track says. */
        if (!strcmp(rows[i].encoder, "aac") && !strcmp(rows[i].container, "mpegts"))
            v.make = boxes_end_to_end;
        variants_add(list, &v, rows[i].encoder, "%s", rows[i].what);
    }
}

void variants_of_sound(struct variants *list)
{
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)
        add_row(list, &codecs[i], "sound codec", true);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        add_row(list, &shapes[i], "sound shape", false);
    add_channels(list);
    add_changes(list);
}
