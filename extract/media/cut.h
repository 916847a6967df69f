#ifndef MMF_EXTRACT_MEDIA_CUT_H
#define MMF_EXTRACT_MEDIA_CUT_H

/* Does a file end before its container says so? From the descriptor, its size, and the few bytes
 * that say how long each part is: what FFmpeg's demuxers take for an ordinary end. */

#include <stdbool.h>
#include <stdint.h>

/* container: FFmpeg's short name of the demuxer ("mov", "matroska"). Reads at most a few hundred
 * thousand bytes, of a still picture all. false = it does not, or it cannot be told: a recording
 * that declares no length may end anywhere, and what follows a whole file does no harm. */
bool cut_is_short(int fd, int64_t size_bytes, const char *container);

#define FLV_HEADER_BYTES 13 /* with the size of the tag before the first, which is 0 */
/* Where in the file the header of the next FLV begins, behind the tags of the one whose header is at
 * `at`; 0 = there is none. FFmpeg's demuxer ends there. */
int64_t cut_next_flv(int fd, int64_t at);

#endif
