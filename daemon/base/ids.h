#ifndef MMF_DAEMON_BASE_IDS_H
#define MMF_DAEMON_BASE_IDS_H

/* What may name an item or a user, wherever the name comes from: an event, a file, a key. */

#include <stdbool.h>

#define ID_BYTES_MAX 256

/* C0, DEL and C1: an id with these would lie in every log and terminal. */
bool id_has_control(const char *text);
/* 1 to ID_BYTES_MAX bytes without control characters; that text is UTF-8 is the caller's. */
bool id_is_usable(const char *text);
/* A kind, a language: letters, digits, "-", "_" and "." only; an empty one too. */
bool id_is_word(const char *text);

#endif
