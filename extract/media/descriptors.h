#ifndef MMF_EXTRACT_MEDIA_DESCRIPTORS_H
#define MMF_EXTRACT_MEDIA_DESCRIPTORS_H

/* What one picture looks like, without weights. Sizes as in layout.c. */

#include "extract/media/encoder.h"

#include <stdint.h>

#define COLOUR_LAYOUT_DIM 41
#define EDGES_DIM         80
#define GRADIENTS_DIM     384
#define GRADIENT_CELLS    48
#define HUE_DIM           64
#define MOTION_DIM        16
#define LIGHT_DIM         8

/* Luma halved three times by means of 2×2. */
struct pyramid {
    uint8_t half[112 * 112], quarter[56 * 56], eighth[28 * 28];
};

void pyramid_build(const struct canvas *c, struct pyramid *ret_pyramid);
/* 8×8 means → DCT → the first coefficients in zigzag order; 0 is mid-grey. */
void describe_colour_layout(const struct canvas *c, float ret[COLOUR_LAYOUT_DIM]);
/* 4×4 cells × (vertical, horizontal, 45°, 135°, undirected): shares of the cell's blocks. */
void describe_edges(const struct pyramid *p, float ret[EDGES_DIM]);
/* 3 scales × 4×4 cells × 8 orientations; each scale sums to 1, or is zero without structure.
 * ret_cells: the same summed over orientations. */
void describe_gradients(const struct pyramid *p, float ret[GRADIENTS_DIM],
                        float ret_cells[GRADIENT_CELLS]);
/* Shares of 8 greys, then 14 hues × 2 saturations × 2 values. */
void describe_hue(const struct canvas *c, const struct pyramid *p, float ret[HUE_DIM]);
/* Luma mean, luma deviation, dark share, bright share, saturation, colourfulness, warmth,
 * sharpness; each about 0 … 1. */
void describe_light(const struct canvas *c, const struct pyramid *p, float ret[LIGHT_DIM]);
/* Mean |change| from a to b in 4×4 cells, 0 … 1. */
void describe_change(const struct pyramid *a, const struct pyramid *b, float ret[MOTION_DIM]);

#endif
