/* av1_refs.h. A frame changes what later frames see only through the reference slots that
 * refresh_frame_flags names: pictures, probabilities, motion, segmentation and grain are all kept
 * there. A frame with flags 0 is seen and forgotten. Streams with a decoder model, or made of
 * still pictures, are left alone: their headers are longer and rare. */

#include "extract/media/av1_refs.h"

#define OBU_SEQUENCE_HEADER 1
#define OBU_FRAME_HEADER    3
#define OBU_FRAME           6
#define OBU_REDUNDANT       7
#define AV1C_BYTES          4 /* before its OBUs */
#define FRAME_INTER         1
#define FRAME_INTRA_ONLY    2
#define EACH_FRAME_SAYS     2

struct bits {
    const uint8_t *data;
    size_t n, at; /* bits */
    bool over;    /* read past the end */
};

static uint32_t take(struct bits *b, unsigned n)
{
    uint32_t v = 0;
    if (n > b->n - b->at) {
        b->over = true;
        return 0;
    }
    for (; n > 0; n--, b->at++)
        v = v << 1 | (b->data[b->at / 8] >> (7 - b->at % 8) & 1);
    return v;
}

/* timing_info(): true unless what follows is a decoder model. */
static bool pass_timing(struct bits *b)
{
    if (!take(b, 1))
        return true;
    (void)take(b, 32);
    (void)take(b, 32);
    if (take(b, 1)) { /* equal_picture_interval: an Exp-Golomb number */
        unsigned zeros = 0;
        while (zeros < 32 && !b->over && !take(b, 1))
            zeros++;
        (void)take(b, zeros < 32 ? zeros : 0);
    }
    return !take(b, 1);
}

static void pass_operating_points(struct bits *b)
{
    bool has_delay = take(b, 1);
    for (uint32_t n = take(b, 5) + 1; n > 0 && !b->over; n--) {
        (void)take(b, 12);
        if (take(b, 5) > 7)
            (void)take(b, 1);
        if (has_delay && take(b, 1))
            (void)take(b, 4);
    }
}

static void pass_size(struct bits *b)
{
    unsigned width_bits = take(b, 4) + 1, height_bits = take(b, 4) + 1;
    (void)take(b, width_bits);
    (void)take(b, height_bits);
}

static struct av1_sequence parse_sequence(struct bits b)
{
    struct av1_sequence s = {0};
    (void)take(&b, 3 + 1); /* seq_profile, still_picture */
    if (take(&b, 1) || !pass_timing(&b))
        return s;
    pass_operating_points(&b);
    pass_size(&b);
    if (take(&b, 1)) {
        uint32_t delta_bits = take(&b, 4) + 2;
        s.frame_id_bits = (uint8_t)(delta_bits + take(&b, 3) + 1);
    }
    (void)take(&b, 3 + 4); /* block size to dual_filter */
    bool has_order = take(&b, 1);
    if (has_order)
        (void)take(&b, 2);
    s.force_screen_content = take(&b, 1) ? EACH_FRAME_SAYS : (uint8_t)take(&b, 1);
    s.force_integer_mv = EACH_FRAME_SAYS;
    if (s.force_screen_content > 0 && !take(&b, 1))
        s.force_integer_mv = (uint8_t)take(&b, 1);
    if (has_order)
        s.order_hint_bits = (uint8_t)(take(&b, 3) + 1);
    s.known = !b.over;
    return s;
}

/* uncompressed_header() as far as refresh_frame_flags: whether they are 0. */
static bool refreshes_nothing(const struct av1_sequence *s, struct bits b)
{
    if (!s->known || take(&b, 1)) /* show_existing_frame: of a keyframe it refreshes all */
        return false;
    uint32_t type = take(&b, 2);
    if (type != FRAME_INTER && type != FRAME_INTRA_ONLY)
        return false;
    if (!take(&b, 1)) /* show_frame */
        (void)take(&b, 1);
    bool resilient = take(&b, 1);
    (void)take(&b, 1); /* disable_cdf_update */
    bool screen_content =
        s->force_screen_content == EACH_FRAME_SAYS ? take(&b, 1) : s->force_screen_content;
    if (screen_content && s->force_integer_mv == EACH_FRAME_SAYS)
        (void)take(&b, 1);
    (void)take(&b, s->frame_id_bits);
    (void)take(&b, 1); /* frame_size_override_flag */
    (void)take(&b, s->order_hint_bits);
    if (type == FRAME_INTER && !resilient)
        (void)take(&b, 3); /* primary_ref_frame */
    return take(&b, 8) == 0 && !b.over;
}

/* Cuts the next OBU off [*at, bytes): its type and payload; false at the end or at nonsense. */
static bool next_obu(const uint8_t *data, size_t bytes, size_t *at, unsigned *ret_type,
                     struct bits *ret_payload)
{
    if (*at >= bytes)
        return false;
    uint8_t head = data[(*at)++];
    bool has_extension = head >> 2 & 1, has_size = head >> 1 & 1;
    *at += has_extension;
    uint64_t size = *at <= bytes ? bytes - *at : 0;
    if (has_size) {
        size = 0;
        unsigned shift = 0;
        uint8_t byte = 0x80;
        for (; shift < 56 && (byte & 0x80); shift += 7) { /* leb128 */
            if (*at >= bytes)
                return false;
            byte = data[(*at)++];
            size |= (uint64_t)(byte & 0x7f) << shift;
        }
    }
    if (head >> 7 || *at > bytes || size > bytes - *at)
        return false;
    *ret_type = head >> 3 & 15;
    *ret_payload = (struct bits){.data = data + *at, .n = (size_t)size * 8};
    *at += (size_t)size;
    return true;
}

void av1_configure(struct av1_sequence *seq, const uint8_t *configuration, size_t bytes)
{
    if (configuration && bytes > AV1C_BYTES)
        (void)av1_is_unreferenced(seq, configuration + AV1C_BYTES, bytes - AV1C_BYTES);
}

bool av1_is_unreferenced(struct av1_sequence *seq, const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    unsigned type, n_frames = 0;
    bool none = true;
    struct bits payload;
    while (next_obu(data, bytes, &at, &type, &payload)) {
        if (type == OBU_SEQUENCE_HEADER) {
            *seq = parse_sequence(payload);
            none = false;
        } else if (type == OBU_FRAME_HEADER || type == OBU_FRAME || type == OBU_REDUNDANT) {
            none = none && refreshes_nothing(seq, payload);
            n_frames++;
        }
    }
    return none && n_frames > 0 && at == bytes;
}

uint32_t av1_count_frames(const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    unsigned type;
    uint32_t n = 0;
    struct bits payload;
    while (next_obu(data, bytes, &at, &type, &payload))
        n += type == OBU_FRAME_HEADER || type == OBU_FRAME;
    return n > 0 ? n : 1;
}
