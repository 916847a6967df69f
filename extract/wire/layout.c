/* layout.h. A change of anything below, or of what a descriptor computes, changes the ids:
 * raise the encoder's version when the code changes and no number here does. */

#include "extract/wire/layout.h"

#include "config/digest.h"

#include <stdio.h>
#include <string.h>

static const struct layout_block visual_blocks[] = {
    {"colour_layout.mean", 41, 0.50f,
     "mean over frames of the 8x8 grid's DCT: 21 Y, 10 Cb, 10 Cr coefficients in zigzag order",
     "MPEG-7 ColorLayout, ISO/IEC 15938-3; Kasutani and Yamada, ICIP 2001"},
    {"colour_layout.dev", 41, 0.10f, "their standard deviation over frames",
     "Deldjoo et al., RecSys 2016 (aggregation over key frames)"},
    {"edges.mean", 80, 0.45f,
     "mean share of vertical, horizontal, 45, 135 degree and undirected edges in 4x4 cells",
     "MPEG-7 EdgeHistogram, ISO/IEC 15938-3; Won, Park and Park, ETRI Journal 2002"},
    {"edges.dev", 80, 0.10f, "their standard deviation over frames", "as above"},
    {"gradients.mean", 384, 0.60f,
     "mean gradient energy: 3 scales (112, 56, 28) x 4x4 cells x 8 orientations",
     "after Dalal and Triggs, CVPR 2005, and Oliva and Torralba, IJCV 2001"},
    {"gradients.dev", 48, 0.10f, "deviation over frames of each scale's cell energy",
     "as above"},
    {"hue.mean", 64, 0.35f, "mean share of 8 greys, then 14 hues x 2 saturations x 2 values",
     "after MPEG-7 ScalableColor, ISO/IEC 15938-3"},
    {"motion.mean", 16, 0.10f,
     "mean change between neighbouring frames in 4x4 cells, per root of time",
     "after MPEG-7 MotionActivity; Jeannin and Divakaran, IEEE CSVT 2001"},
    {"light", 12, 0.15f,
     "luma mean, luma deviation, dark share, bright share, saturation, colourfulness, warmth, "
     "sharpness, and the deviation over frames of the first, second, fifth and seventh",
     "Hasler and Suesstrunk 2003 (colourfulness); Deldjoo et al., RecSys 2016 (lighting)"},
    {"shots", 6, 0.10f,
     "mean, deviation and largest change between successive samples, share of cuts, motion's "
     "mean and deviation",
     "Deldjoo et al., J. Data Semantics 2016 (shot rhythm, motion)"},
};

static const struct layout_block acoustic_blocks[] = {
    {"logmel.mean", 64, 0.60f, "mean of 64 log-mel bands, 125 to 7,500 Hz, level removed",
     "Hershey et al., ICASSP 2017 (VGGish front end)"},
    {"logmel.dev", 64, 0.45f, "their standard deviation over time", "as above"},
    {"mfcc.mean", 20, 0.45f, "mean of cepstral coefficients 1 to 20",
     "Davis and Mermelstein, IEEE ASSP 1980"},
    {"mfcc.dev", 20, 0.25f, "their standard deviation over time", "as above"},
    {"spectrum", 8, 0.20f,
     "flux, centroid, roll-off (85 %), zero crossings: mean, then deviation of each",
     "Tzanetakis and Cook, IEEE SAP 2002"},
    {"delta.short", 32, 0.25f, "90th percentile of the rise over 30 ms in 32 bands",
     "after Seyerlehner, Widmer and Pohle, DAFx 2010 (block-level delta spectral pattern)"},
    {"delta.long", 32, 0.25f, "the same over 250 ms", "as above"},
};

static const struct layout_block textual_blocks[] = {
    {"words", 256, 0.80f,
     "signed hash of words, hashtags, emoji and ideographs (single and in pairs)",
     "Weinberger et al., ICML 2009"},
    {"ngrams", 256, 0.60f,
     "signed hash of the 3 and 4 letter sequences of each word, its ends marked",
     "Bojanowski et al., TACL 2017 (subwords); Weinberger et al., ICML 2009"},
};

/* Everything that changes the output and is not in the tables. The versions name the code. */
static const struct {
    const char *name;
    unsigned version;
    const char *parameters;
    const struct layout_block *blocks;
    size_t n_blocks;
} layouts[MODALITY_COUNT] = {
    [MODALITY_VISUAL] =
        {"mpeg7-gradient", 1,
         "frames=8 canvas=224 scale=area matrix=601 range=full follower=400ms,2 "
         "budget=4e9px,6000 root unit",
         visual_blocks, sizeof(visual_blocks) / sizeof(visual_blocks[0])},
    [MODALITY_ACOUSTIC] = {"logmel-block", 1,
                           "rate=16000 seconds=60 window=400 hop=160 fft=512 mel=64 "
                           "low=125 high=7500 floor=60dB silence=-70dB",
                           acoustic_blocks,
                           sizeof(acoustic_blocks) / sizeof(acoustic_blocks[0])},
    [MODALITY_TEXTUAL] = {"hashed-ngram", 1, "nfkc-casefold bytes=16384 tokens=4096 n=3,4",
                          textual_blocks, sizeof(textual_blocks) / sizeof(textual_blocks[0])},
};

const struct layout_block *layout_blocks(enum modality m, size_t *ret_n_blocks)
{
    *ret_n_blocks = layouts[m].n_blocks;
    return layouts[m].blocks;
}

uint16_t layout_offset(enum modality m, size_t i)
{
    unsigned offset = 0;
    for (size_t k = 0; k < i && k < layouts[m].n_blocks; k++)
        offset += layouts[m].blocks[k].dim;
    return (uint16_t)offset;
}

struct encoder_identity layout_identity(enum modality m)
{
    struct encoder_identity identity = {.modality = m};
    char text[4096], hex[DIGEST_HEX_BYTES];
    int used = snprintf(text, sizeof(text), "%s", layouts[m].parameters);
    for (size_t i = 0; i < layouts[m].n_blocks && used > 0 && used < (int)sizeof(text); i++) {
        const struct layout_block *b = &layouts[m].blocks[i];
        used += snprintf(text + used, sizeof(text) - (size_t)used, "|%s:%u:%.4f", b->name,
                         b->dim, (double)b->weight);
    }
    digest_hex(text, strlen(text), hex);
    (void)snprintf(identity.id, sizeof(identity.id), "%s-%u:%.12s", layouts[m].name,
                   layouts[m].version, hex);
    identity.dim = layout_offset(m, layouts[m].n_blocks);
    return identity;
}

int layout_explain(FILE *out)
{
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        struct encoder_identity e = layout_identity((enum modality)m);
        if (fprintf(out, "%s %s (%u): %s\n", modality_name((enum modality)m), e.id, e.dim,
                    layouts[m].parameters) < 0)
            return -1;
        for (size_t i = 0; i < layouts[m].n_blocks; i++) {
            const struct layout_block *b = &layouts[m].blocks[i];
            unsigned from = layout_offset((enum modality)m, i);
            if (fprintf(out, "  [%4u, %4u) %-20s weight %.2f  %s\n%*sfrom %s\n", from,
                        from + b->dim, b->name, (double)b->weight, b->what, 47, "",
                        b->source) < 0)
                return -1;
        }
    }
    return 0;
}
