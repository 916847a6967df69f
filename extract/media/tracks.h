#ifndef MMF_EXTRACT_MEDIA_TRACKS_H
#define MMF_EXTRACT_MEDIA_TRACKS_H

/* Which stream of a type to take. By its header first (admitted, of a size that fits, marked as the
 * default, the largest), and then by what reading it brought: a stream without packets, or with a
 * single picture, loses against any other that is admitted. Cover art is metadata, never taken. */

#include <stdbool.h>
#include <stdint.h>

struct AVFormatContext;
struct media_track;

/* What is known of a stream that was read. */
struct track_facts {
    uint32_t n_packets;
    bool is_known;
    bool gave_nothing; /* none of its packets decoded */
};

/* facts (fmt->nb_streams); NULL = by headers alone. type: an AVMediaType. */
int64_t tracks_score(const struct AVFormatContext *fmt, int index, int type,
                     const struct track_facts *facts); /* 0 = it does not serve at all */
int tracks_best(const struct AVFormatContext *fmt, int type,
                const struct track_facts *facts); /* -1 = there is none */
/* Admitted streams of a type with packets, or not yet read; cover art apart. */
unsigned tracks_count(const struct AVFormatContext *fmt, int type,
                      const struct track_facts *facts);
/* Sound is missing in the middle, as told by the file's order alone (AVI stores no times): more pictures
 * lie between two packets of it than its usual share and a second. False when in doubt: at the ends,
 * where positions are not known, and where packets were not read. */
bool tracks_sound_has_hole(const struct media_track *picture, const struct media_track *sound);
/* There is a stream of a codec that is not admitted, or a picture in tiles (HEIC), and it is not
 * known to be empty. */
bool tracks_has_foreign(const struct AVFormatContext *fmt, int type,
                        const struct track_facts *facts);

#endif
