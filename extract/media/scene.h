#ifndef MMF_EXTRACT_MEDIA_SCENE_H
#define MMF_EXTRACT_MEDIA_SCENE_H

/* Synthetic scenes for the clip maker: a textured background that pans, shapes that wander, and
 * a chord with a rhythm. Simulated content; each (scene, seed, time) gives the same picture and
 * sound. The scene decides palette, texture, shapes and tones; the seed where things are. */

#include "config/err.h"

#include <stdint.h>

struct scene;

int scene_new(unsigned scene, uint64_t seed, int width, int height, struct scene **ret_scene,
              struct err *err);
void scene_free(struct scene *s); /* takes NULL */
/* Draws yuv420p, limited range. */
void scene_draw(const struct scene *s, int64_t at_us, uint8_t *const planes[],
                const int strides[]);
/* One sample, -1 … 1. */
float scene_sound(unsigned scene, uint64_t seed, int64_t sample, int rate_hz, int gain_db);

#endif
