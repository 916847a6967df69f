#ifndef MMF_EXTRACT_MEDIA_AV1_REFS_H
#define MMF_EXTRACT_MEDIA_AV1_REFS_H

/* Which AV1 packets no other packet refers to, from their headers alone: libdav1d, as FFmpeg 5.1
 * drives it, ignores skip_frame and decodes whatever it is sent. Pure, no FFmpeg; reads only the
 * first bytes of each header, and hostile bytes at worst give a wrong answer about their own
 * clip. After the AV1 bitstream specification, sections 5.3 to 5.9. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a frame header cannot be read without, from the last sequence header. All zero at the
 * start. */
struct av1_sequence {
    bool known;                                     /* false: nothing is left out */
    uint8_t force_screen_content, force_integer_mv; /* 2 = each frame says */
    uint8_t frame_id_bits, order_hint_bits;
};

/* configuration: the track's av1C box, as containers keep it. */
void av1_configure(struct av1_sequence *seq, const uint8_t *configuration, size_t bytes);
/* Whether the packet (a temporal unit) may be left out: it holds frames and all of them leave
 * every reference slot as it is, so that what follows decodes to the same bits. False for
 * whatever is not understood. Takes a sequence header on the way. */
bool av1_is_unreferenced(struct av1_sequence *seq, const uint8_t *data, size_t bytes);
/* The frames in a packet, shown or not; at least 1. */
uint32_t av1_count_frames(const uint8_t *data, size_t bytes);

#endif
