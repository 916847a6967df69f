#ifndef MMF_EXTRACT_MEDIA_UNITS_H
#define MMF_EXTRACT_MEDIA_UNITS_H

/* What the packets of a picture track are, by their own bytes: the container's word is not asked.
 * Nothing is decoded. */

#include "config/err.h"

struct budget;
struct media_track;

/* Afterwards one packet is one picture: a field is joined with the opposite field that follows it
 * (camcorders put each into a packet of its own). And `key` is what the bitstream says, where it
 * says so; t->n_keys_false counts the packets that the container wrongly called keys. An encrypted
 * track is left as it is, and so is what remains when the budget is spent. ERR_RETRY when memory is out. */
int units_settle(struct media_track *t, struct budget *budget, struct err *err);

#endif
