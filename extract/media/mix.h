#ifndef MMF_EXTRACT_MEDIA_MIX_H
#define MMF_EXTRACT_MEDIA_MIX_H

/* Many channels to one. Where libswresample knows the layout in every version, it mixes; else we
 * do it here. Whether channels cancel each other in the mix is measured before it is made. */

#include <stdbool.h>
#include <stdint.h>

#define MIX_CHANNELS_MAX 64 /* further ones are not heard */

struct AVChannelLayout;
struct AVFrame;

struct mix {
    unsigned n_channels;            /* that are heard */
    float weight[MIX_CHANNELS_MAX]; /* of each in the mix */
    bool plain;                     /* libswresample mixes such a layout, by these weights */
    bool blind; /* several channels of which it is not known where they sound: mixed alike */
};

/* Moments of each channel, and of the mix behind them, over one stretch of sound. */
struct phase {
    int64_t n; /* samples of a channel */
    double origin[MIX_CHANNELS_MAX + 1], sum[MIX_CHANNELS_MAX + 1], sum2[MIX_CHANNELS_MAX + 1];
};

void mix_of_layout(const struct AVChannelLayout *layout, struct mix *ret);
/* n samples of the frame from `first` on, as one channel. */
void mix_samples(const struct mix *m, const struct AVFrame *f, int first, int n, float *ret);

void phase_begin(struct phase *p);
void phase_take(struct phase *p, const struct mix *m, const struct AVFrame *f);
/* Power of one channel, or of the mix (channel = m->n_channels), without its offset. */
double phase_power(const struct phase *p, unsigned channel);
/* The mix has far less power than channels that have nothing to do with each other would give. */
bool phase_cancels(const struct phase *p, const struct mix *m);

#endif
