#ifndef MMF_DAEMON_EVENT_MEND_H
#define MMF_DAEMON_EVENT_MEND_H

/* JSON text that a parser refuses for a few characters (RFC 8259, 7 and 8): what producers write who
 * cut strings in the middle of a character, or take Latin-1 for UTF-8. */

#include "config/err.h"

#include <stddef.h>

/* *ret_text: malloc'ed, the text with U+FFFD for what is no character. ERR_SKIP when there was nothing to
 * mend: then *ret_text and *err are left as they were. A whole number above 2^63 - 1, which the parser
 * would refuse with the whole event, gets an exponent, so that it is a fraction. ERR_RETRY without
 * memory. Sets *ret_warnings (enum item_warning). */
int mend_text(const char *text, size_t n_bytes, char **ret_text, size_t *ret_bytes,
              unsigned *ret_warnings, struct err *err);

#endif
