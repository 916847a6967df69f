#include "extract/media/tracks.h"

#include "extract/media/compat.h"
#include "extract/media/formats.h"
#include "extract/media/media.h"

#include <stddef.h>

#include <libavformat/avformat.h>

/* Beyond the usual distance of two packets of sound, by pictures. */
#define HOLE_MIN_US    1000000
#define HOLE_DISTANCES 4

#define FITS    ((int64_t)1 << 49)
#define DEFAULT ((int64_t)1 << 48)
/* More than a picture, and not known; a single picture has neither. */
#define MANY     ((int64_t)1 << 51)
#define UNKNOWN  ((int64_t)1 << 50)
#define ADMITTED ((int64_t)1 << 52)

static bool is_track(const AVStream *st, int type)
{
    return (int)st->codecpar->codec_type == type &&
           !(st->disposition & AV_DISPOSITION_ATTACHED_PIC);
}

static bool is_empty(const struct track_facts *facts)
{
    return facts && facts->is_known && facts->n_packets == 0;
}

int64_t tracks_score(const AVFormatContext *fmt, int index, int type,
                     const struct track_facts *facts)
{
    const AVStream *st = fmt->streams[index];
    const AVCodecParameters *par = st->codecpar;
    const struct track_facts *known = facts ? &facts[index] : NULL;
    if (!is_track(st, type) || compat_is_tile(fmt, index) || (known && known->gave_nothing))
        return 0;
    int64_t score = 1;
    if (formats_decoder(par->codec_id) && !is_empty(known))
        score += ADMITTED;
    if (!known || !known->is_known)
        score += UNKNOWN;
    else if (known->n_packets > (type == AVMEDIA_TYPE_VIDEO ? 1 : 0))
        score += MANY;
    int64_t pixels = (int64_t)par->width * par->height;
    if (pixels >= 0 && pixels <= MEDIA_PIXELS_MAX)
        score += FITS + pixels;
    if (st->disposition & AV_DISPOSITION_DEFAULT)
        score += DEFAULT;
    return score;
}

int tracks_best(const AVFormatContext *fmt, int type, const struct track_facts *facts)
{
    int best = -1;
    int64_t best_score = 0;
    for (unsigned i = 0; i < fmt->nb_streams; i++) {
        int64_t score = tracks_score(fmt, (int)i, type, facts);
        if (score > best_score) {
            best = (int)i;
            best_score = score;
        }
    }
    return best;
}

unsigned tracks_count(const AVFormatContext *fmt, int type, const struct track_facts *facts)
{
    unsigned n = 0;
    for (unsigned i = 0; i < fmt->nb_streams; i++)
        n += is_track(fmt->streams[i], type) && !is_empty(&facts[i]) &&
             !compat_is_tile(fmt, (int)i) &&
             formats_decoder(fmt->streams[i]->codecpar->codec_id);
    return n;
}

bool tracks_has_foreign(const AVFormatContext *fmt, int type, const struct track_facts *facts)
{
    for (unsigned i = 0; i < fmt->nb_streams; i++)
        if (is_track(fmt->streams[i], type) && !is_empty(&facts[i]) &&
            (compat_is_tile(fmt, (int)i) ||
             !formats_decoder(fmt->streams[i]->codecpar->codec_id)))
            return true;
    return false;
}

bool tracks_sound_has_hole(const struct media_track *picture, const struct media_track *sound)
{
    if (picture->n_packets == 0 || sound->n_packets < 2)
        return false;
    int64_t usual_us =
        (int64_t)picture->n_packets * picture->nominal_frame_us / sound->n_packets;
    int64_t most = (HOLE_MIN_US + HOLE_DISTANCES * usual_us) / picture->nominal_frame_us;
    uint32_t at = 0, n_between = 0;
    for (uint32_t i = 0; i < sound->n_packets; i++, n_between = 0) {
        for (; at < picture->n_packets &&
               picture->packets[at].av->pos < sound->packets[i].av->pos;
             at++)
            n_between++;
        if (i > 0 && !sound->packets[i].cut && n_between > most)
            return true;
    }
    return false;
}
