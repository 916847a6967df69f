#include "config/text.h"

#include <stdbool.h>
#include <string.h>

/* Length of the valid UTF-8 sequence at s (1 … 4), 0 when there is none. Overlong forms,
 * surrogates and code points above U+10FFFF are not valid (RFC 3629). */
static size_t utf8_sequence(const unsigned char *s)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        n = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        n = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        n = 4;
    else
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

size_t text_utf8_bytes(const char *s, size_t n)
{
    unsigned char head[4] = {0};

    memcpy(head, s, n < sizeof(head) ? n : sizeof(head));
    return n > 0 ? utf8_sequence(head) : 0;
}

size_t text_cut(const char *s, size_t n, size_t max)
{
    if (n <= max)
        return n;
    for (n = max; n > 0 && max - n < 3 && ((unsigned char)s[n] & 0xc0) == 0x80;)
        n--;
    return n;
}

size_t text_control(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] < 0x20 || u[0] == 0x7f)
        return u[0] != '\0';
    return u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0 ? 2 : 0;
}

size_t text_unseen(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] == 0xd8)
        return u[1] == 0x9c ? 2 : 0; /* U+061C */
    if (u[0] != 0xe2)
        return text_control(s);
    if (u[1] == 0x80) /* U+200E, U+200F; U+2028 to U+202E */
        return u[2] == 0x8e || u[2] == 0x8f || (u[2] >= 0xa8 && u[2] <= 0xae) ? 3 : 0;
    return u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9 ? 3 : 0; /* U+2066 to U+2069 */
}

size_t text_step(const char *s, size_t n, char *ret_shown)
{
    size_t bytes = text_utf8_bytes(s, n);

    *ret_shown = bytes == 0 ? '?' : s[0] == '\0' || text_unseen(s) ? ' ' : '\0';
    return bytes > 0 ? bytes : 1;
}

/* One line of valid UTF-8, in place. cut: a sequence that the buffer's end has cut off disappears. */
static void make_line(char *text, bool cut)
{
    char *out = text;
    const char *s = text;

    for (size_t left = strlen(s), n; left > 0; s += n, left -= n) {
        char shown;

        n = text_step(s, left, &shown);
        if (shown == '?' && cut && left < 4 && (unsigned char)s[0] >= 0xc2)
            break;
        if (shown != '\0') {
            *out++ = shown;
        } else {
            memmove(out, s, n);
            out += n;
        }
    }
    while (out > text && out[-1] == ' ')
        out--;
    *out = '\0';
}

void text_vformat(char *to, size_t bytes, const char *fmt, va_list ap)
{
    int n = vsnprintf(to, bytes, fmt, ap);

    if (n < 0)
        to[0] = '\0';
    make_line(to, n >= (int)bytes);
}

void text_print_bytes(FILE *out, const void *data, size_t n)
{
    const char *s = data;

    for (size_t i = 0, step; i < n; i += step) {
        char shown;

        step = text_step(s + i, n - i, &shown);
        if (shown != '\0')
            fputc(shown, out);
        else
            fwrite(s + i, 1, step, out);
    }
}

void text_print(FILE *out, const char *text)
{
    text_print_bytes(out, text, strlen(text));
}

void text_format(char *to, size_t bytes, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    text_vformat(to, bytes, fmt, ap);
    va_end(ap);
}
