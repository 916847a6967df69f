#ifndef MMF_DAEMON_CLI_TOP_H
#define MMF_DAEMON_CLI_TOP_H

/* How a sample of top.c looks to people. */

#include <stdbool.h>

struct json_t;

/* Takes the terminal's other screen, and gives the first one back. */
void cli_top_open(void);
void cli_top_close(void);
/* A whole screen, drawn over the one before, or the same as plain text where redraw is false and
 * standard output is a terminal; one line elsewhere. Returns the exit code. */
int cli_top_show(const struct json_t *sample, bool redraw);

#endif
