#ifndef MMF_TESTS_SLOW_MEDIA_H
#define MMF_TESTS_SLOW_MEDIA_H

/* media_open for tests (link with --wrap=media_open): media whose name begins with "slow" is opened
 * when the test says so, after SLOW_MEDIA_S at the latest. */

#include <stdbool.h>

#define SLOW_MEDIA_S 20

void slow_media_reset(void);
/* Until so many hang. */
void slow_media_wait(unsigned n);
void slow_media_release(void);
/* Whether one waited in vain. */
bool slow_media_gave_up(void);

#endif
