#ifndef MMF_TESTS_CHANGE_H
#define MMF_TESTS_CHANGE_H

/* What is done to a clip's packets before the muxer, and to a file's bytes after it. `arg` is what
 * the name of the change says it is; the same random state gives the same change. */

#include "clip.h"

typedef void change_packets(struct clip *c, int arg, uint64_t *random);
typedef void change_bytes(struct file *f, int arg, uint64_t *random);

/* Key flags. */
change_packets keys_all, keys_none;
change_packets keys_every;   /* arg-th packet is marked, no other */
change_packets keys_more;    /* the true ones, and every arg-th */
change_packets keys_shifted; /* by arg packets */

/* Beginnings and losses; arg in packets or per cent. */
change_packets first_packets_lost; /* arg packets of the picture */
change_packets packets_lost;       /* arg per cent, anywhere */
change_packets key_lost;           /* every second key; the first stays */
change_packets burst_lost;         /* arg per cent in a row, in the middle */
change_packets sound_lost;         /* arg per cent in a row, in the middle */

/* Damage to payloads; the first bytes of a packet, which muxers read, stay. */
change_packets bytes_flipped;     /* in arg per cent of the packets */
change_packets beginning_flipped; /* in each of the first arg per cent */
change_packets keys_flipped;      /* in every second key */
change_packets first_key_flipped;
change_packets packets_shortened; /* arg per cent of them, to a half */
change_packets sound_flipped;     /* in arg per cent of the sound's packets */

/* Times. */
change_packets times_shifted; /* all by arg seconds */
change_packets times_pause;   /* arg seconds in the middle of the picture */
change_packets times_jitter;  /* arg per cent of a frame; no B frames */
change_packets times_coarse;  /* arg frames to one time and another frame's */
change_packets sound_late;    /* by arg ms */

/* Tracks. */
change_packets empty_picture_first, empty_sound_first;
change_packets cover_first, cover_last; /* a single picture that is not marked as a cover */
change_packets same_codec_cover_first;
change_packets more_sounds;     /* to arg tracks in all */
change_packets subtitles_first; /* arg tracks */

/* Files. */
change_bytes file_cut;        /* to arg per cent */
change_bytes file_beheaded;   /* arg per cent, whole TS packets */
change_bytes file_flipped;    /* arg bytes, anywhere */
change_bytes file_zeroed;     /* arg per cent in the middle */
change_bytes ts_times_erased; /* of all PES packets but every arg-th */
change_bytes file_twice;      /* end to end */

#endif
