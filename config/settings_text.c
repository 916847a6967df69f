/* What libconfig must not see, and what it must see differently. Debian 12's libconfig 1.5
 *   - reads files named by @include, which would let a setting come from anywhere: refused
 * here;
 *   - keeps the low 32 bits of a number that has no suffix L (5000000000 becomes 705032704) and
 *     turns 0xFFFFFFFF into -1: such a number gets its L, and one beyond 64 bits is an error;
 *   - stops silently at a NUL byte: refused;
 *   - leaks a text that has no closing quote: refused.
 * Lines stay lines, so that libconfig's line numbers hold for the file. */

#include "config/settings_table.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct scan {
    const char *in;
    char *out; /* at most one byte more for each number of ten digits or more */
    size_t line;
};

static void copy(struct scan *c, size_t n)
{
    for (size_t i = 0; i < n && *c->in != '\0'; i++) {
        if (*c->in == '\n')
            c->line++;
        *c->out++ = *c->in++;
    }
}

static int copy_comment(struct scan *c, struct err *err)
{
    const char *end = strstr(c->in + 2, "*/");

    if (end == NULL)
        return err_fatal(err, EX_CONFIG, "a comment has no end; close it with */");
    copy(c, (size_t)(end - c->in) + 2);
    return ERR_OK;
}

static int copy_string(struct scan *c, struct err *err)
{
    const char *end = c->in + 1;

    while (*end != '\0' && *end != '"')
        end += *end == '\\' && end[1] != '\0' ? 2 : 1;
    if (*end == '\0')
        return err_fatal(err, EX_CONFIG, "a text has no end; close it with \"");
    copy(c, (size_t)(end - c->in) + 1);
    return ERR_OK;
}

static int copy_number(struct scan *c, struct err *err)
{
    bool is_hex = c->in[0] == '0' && (c->in[1] == 'x' || c->in[1] == 'X');
    const char *start = c->in;
    char *end;
    long long value;

    errno = 0;
    value = strtoll(start, &end, is_hex ? 16 : 10);
    if (*end == '.' || *end == 'e' || *end == 'E') { /* a real number: no setting is one */
        copy(c, (size_t)(end - start) + 1);
        return ERR_OK;
    }
    if (errno == ERANGE)
        return err_fatal(err, EX_CONFIG, "number %.40s… has more than 64 bits",
                         start); /* cut: it may be long */
    copy(c, (size_t)(end - start));
    if ((value > INT32_MAX || value < INT32_MIN) && *c->in != 'L')
        *c->out++ = 'L';
    return ERR_OK;
}

static void copy_name(struct scan *c)
{
    while (isalnum((unsigned char)*c->in) || *c->in == '_' || *c->in == '-' || *c->in == '*')
        copy(c, 1);
}

static bool is_number(const char *p)
{
    if (*p == '-' || *p == '+')
        p++;
    return isdigit((unsigned char)*p);
}

static int copy_token(struct scan *c, struct err *err)
{
    if (*c->in == '#' || (c->in[0] == '/' && c->in[1] == '/'))
        copy(c, strcspn(c->in, "\n"));
    else if (c->in[0] == '/' && c->in[1] == '*')
        return copy_comment(c, err);
    else if (*c->in == '"')
        return copy_string(c, err);
    else if (isalpha((unsigned char)*c->in) || *c->in == '*')
        copy_name(c);
    else if (*c->in == '@')
        return err_fatal(err, EX_CONFIG,
                         "@include is not supported; put all settings into one file");
    else if (is_number(c->in))
        return copy_number(c, err);
    else
        copy(c, 1);
    return ERR_OK;
}

int settings_text_prepare(const char *text, size_t bytes, char **ret_text, size_t *ret_line,
                          struct err *err)
{
    char *out = malloc(bytes + bytes / 10 + 1), *terminated = strndup(text, bytes);
    struct scan c = {.in = terminated, .out = out, .line = 1};
    int status = ERR_OK;

    *ret_line = 1;
    if (out == NULL || terminated == NULL) {
        status = err_oom(err, "settings");
    } else {
        while (*c.in != '\0' && status == ERR_OK)
            status = copy_token(&c, err);
        *c.out = '\0';
        *ret_line = c.line;
        if (status == ERR_OK && (size_t)(c.in - terminated) != bytes)
            status = err_fatal(err, EX_CONFIG, "a NUL byte: this is not a text file");
    }
    free(terminated);
    if (status != ERR_OK) {
        free(out);
        return status;
    }
    *ret_text = out;
    return ERR_OK;
}
