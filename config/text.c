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

/* One line of valid UTF-8, in place. cut: a sequence that the buffer's end has cut off disappears. */
static void make_line(char *text, bool cut)
{
    char *out = text;
    const char *s = text;

    while (*s != '\0') {
        const unsigned char *u = (const unsigned char *)s;
        size_t n = utf8_sequence(u);

        if (n == 0 && cut && strlen(s) < 4 && u[0] >= 0xc2)
            break;
        if (n == 0 || text_control(s)) {
            *out++ = n == 0 ? '?' : ' ';
            s += n == 0 ? 1 : n;
            continue;
        }
        memmove(out, s, n);
        out += n;
        s += n;
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

    for (size_t i = 0; i < n;) {
        size_t step = text_utf8_bytes(s + i, n - i);

        if (step == 0)
            fputc('?', out);
        else if (s[i] == '\0' || text_control(s + i))
            fputc(' ', out);
        else
            fwrite(s + i, 1, step, out);
        i += step == 0 ? 1 : step;
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
