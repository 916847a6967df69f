#ifndef MMF_EXTRACT_MEDIA_COMPLAINTS_H
#define MMF_EXTRACT_MEDIA_COMPLAINTS_H

/* What a decoder says in its log alone: many give out a frame made of damaged bits, or of
 * references that are missing, and tell it neither by a status nor by a flag of the frame. */

#include <stdint.h>

/* Counts from 0 what the context says at the level of errors; NULL = nobody listens. One context a
 * thread. What others say goes where it went before. */
void complaints_listen(const void *context);
uint32_t complaints_count(void);

#endif
