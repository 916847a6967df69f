#ifndef MMF_CONFIG_TEXT_H
#define MMF_CONFIG_TEXT_H

/* A line of text in a buffer that may be too short for it, made of what others wrote: paths, ids,
 * what a library or the kernel says. It goes into JSON, which takes valid UTF-8 only, and to
 * terminals, which obey control characters. */

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

/* The one rule for control characters: C0 and DEL are a byte, C1 (U+0080 to U+009F) two. How many bytes
 * long the one at s is, 0 = there is none. No id may hold one. */
size_t text_control(const char *s);
/* The one rule for what nobody is shown: control characters; line and paragraph separators, which end a
 * line; and those that turn the direction of what follows (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066
 * to U+2069), so that it reads as something else. Otherwise as text_control. */
size_t text_unseen(const char *s);

/* As snprintf, which cuts in the middle of a character; this cuts between two. The result is valid
 * UTF-8 in one line: what is unseen becomes a space, bytes that are no UTF-8 become '?', spaces at
 * the end go. bytes >= 1; no argument may lie in `to`. */
void text_format(char *to, size_t bytes, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void text_vformat(char *to, size_t bytes, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* Bytes of the character at s, of at most n: 1 to 4, 0 when it is no valid UTF-8 (RFC 3629). */
size_t text_utf8_bytes(const char *s, size_t n);
/* So many of the first n bytes that they are at most max and end between two characters, where they are
 * UTF-8. */
size_t text_cut(const char *s, size_t n, size_t max);
/* Bytes of the character at s, of at most n >= 1, and at least 1. *ret_shown: what stands for it, by the rule
 * of text_format: ' ', '?', or '\0' = itself. Every filter asks this. */
size_t text_step(const char *s, size_t n, char *ret_shown);
/* What others wrote, on its way to a terminal. */
void text_print(FILE *out, const char *text);
void text_print_bytes(FILE *out, const void *data, size_t n);

#endif
