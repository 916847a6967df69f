#ifndef MMF_TESTS_PLAYED_H
#define MMF_TESTS_PLAYED_H

/* A file as a player shows it: FFmpeg decodes all of its best tracks in order, and what comes out
 * is coded again, pictures with keys where they were. */

#include "clip.h"

/* False when nothing comes out. */
bool played_file(int fd, struct file *ret_file);

#endif
