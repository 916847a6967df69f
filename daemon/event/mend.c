#include "daemon/event/mend.h"

#include "config/text.h"
#include "daemon/event/item.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define MARK        "\xef\xbb\xbf" /* U+FEFF, as a byte order mark */

struct mend {
    const char *in, *end;
    const char *start; /* of what is written, which goes on at out */
    char *out;
    bool is_string; /* between two quotes */
    unsigned warnings;
    bool is_changed;
};

static void put(struct mend *m, const char *text, size_t n)
{
    memcpy(m->out, text, n);
    m->out += n;
}

static void copy(struct mend *m, size_t n)
{
    put(m, m->in, n);
    m->in += n;
}

static void replace(struct mend *m, size_t n)
{
    put(m, REPLACEMENT, 3);
    m->in += n;
    m->warnings |= ITEM_WARNING_REPLACED;
    m->is_changed = true;
}

/* The four hexadecimal digits of an escape \uXXXX at s; -1 = it is none. */
static long escaped(const char *s, const char *end)
{
    long value = 0;

    if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        if (!isxdigit((unsigned char)s[i]))
            return -1;
        value =
            16 * value + (isdigit((unsigned char)s[i]) ? s[i] - '0' : (s[i] | 0x20) - 'a' + 10);
    }
    return value;
}

/* At a backslash inside a string. */
static void escape(struct mend *m)
{
    long unit = escaped(m->in, m->end);
    bool high = unit >= 0xd800 && unit < 0xdc00;

    if (unit < 0)
        copy(m, m->end - m->in < 2 ? 1 : 2);
    else if (high) {
        long low = escaped(m->in + 6, m->end);

        if (low >= 0xdc00 && low < 0xe000)
            copy(m, 12);
        else
            replace(m, 6);
    } else if (unit == 0 || (unit >= 0xdc00 && unit < 0xe000))
        replace(m, 6);
    else
        copy(m, 6);
}

/* At the first digit of a number outside strings. */
static void number(struct mend *m)
{
    bool is_negative = m->out > m->start && m->out[-1] == '-';
    const char *most = is_negative ? "9223372036854775808" : "9223372036854775807";
    size_t n = 0, left = (size_t)(m->end - m->in);

    while (n < left && isdigit((unsigned char)m->in[n]))
        n++;
    bool is_whole = n == left || !strchr(".eE", m->in[n]);
    bool is_large = n > strlen(most) || (n == strlen(most) && strncmp(m->in, most, n) > 0);
    copy(m, n);
    if (!is_whole || !is_large) { /* what follows a point is no number of its own */
        while (m->in < m->end && (isalnum((unsigned char)*m->in) || strchr(".+-", *m->in)))
            copy(m, 1);
        return;
    }
    put(m, "e0", 2);
    m->is_changed = true;
}

static void step(struct mend *m)
{
    size_t n = text_utf8_bytes(m->in, (size_t)(m->end - m->in));

    if (m->is_string && *m->in == '\\')
        escape(m);
    else if (!m->is_string && isdigit((unsigned char)*m->in))
        number(m);
    else if (n == 0)
        replace(m, 1);
    else {
        m->is_string ^= *m->in == '"';
        copy(m, n);
    }
}

int mend_text(const char *text, size_t n_bytes, char **ret_text, size_t *ret_bytes,
              unsigned *ret_warnings, struct err *err)
{
    /* a byte becomes three at most, a digit three */
    char *out = malloc(3 * n_bytes + 1);
    struct mend m = {.in = text, .end = text + n_bytes, .start = out, .out = out};

    if (!out)
        return err_oom(err, "event: mend JSON");
    if (n_bytes >= 3 && memcmp(text, MARK, 3) == 0) {
        m.in += 3;
        m.warnings |= ITEM_WARNING_BOM;
        m.is_changed = true;
    }
    while (m.in < m.end)
        step(&m);
    if (!m.is_changed) {
        free(out);
        return ERR_SKIP;
    }
    *ret_text = out;
    *ret_bytes = (size_t)(m.out - out);
    *ret_warnings = m.warnings;
    return ERR_OK;
}
