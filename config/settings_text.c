/* What libconfig must not see, and what it must see differently. Debian 12's libconfig 1.5
 *   - reads files named by @include: refused, since a file that only root can write must not be put
 *     together from files that others can write (with any libconfig);
 *   - keeps the low 32 bits of a number that has no suffix L (5000000000 becomes 705032704) and
 *     turns 0xFFFFFFFF into -1: such a number gets its L, and one beyond 64 bits is an error;
 *   - stops silently at a NUL byte: refused;
 *   - leaks a text that has no closing quote: refused;
 *   - refuses a group that is there twice, which lets nobody add lines at the end: from the second
 *     time on its name gets a '*' and a number, which settings_file.c takes away again.
 * Lines stay lines, so that libconfig's line numbers hold for the file. */

#include "config/settings_table.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { GROUPS_MAX = 32, AGAIN_MAX = 999, AGAIN_BYTES = sizeof("*999") };

struct scan {
    const char *in;
    /* At most one byte more for each number of ten digits or more, AGAIN_BYTES for a group that is
     * there again. */
    char *out;
    size_t line, depth; /* of braces */
    struct {
        const char *name;
        size_t bytes;
    } groups[GROUPS_MAX]; /* at the top, by now */
    size_t n_groups, n_again;
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

/* With libconfig 1.7.2 and later this could go. */
static int copy_number(struct scan *c, struct err *err)
{
    bool is_hex = c->in[0] == '0' && (c->in[1] == 'x' || c->in[1] == 'X');
    const char *start = c->in;
    char *end;
    long long value;

    errno = 0;
    value = strtoll(start, &end, is_hex ? 16 : 10);
    if (!is_hex && (*end == '.' || *end == 'e' || *end == 'E')) { /* its digits have no bound */
        copy(c, (size_t)(end - start));
        copy(c, strspn(c->in, ".0123456789"));
        if (*c->in == 'e' || *c->in == 'E')
            copy(c, c->in[1] == '-' || c->in[1] == '+' ? 2 : 1);
        copy(c, strspn(c->in, "0123456789"));
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

/* Whether "= {" follows. */
static bool opens_group(const char *p)
{
    p += strspn(p, " \t\r\n");
    return (*p == '=' || *p == ':') && p[1 + strspn(p + 1, " \t\r\n")] == '{';
}

/* True when it is there already. */
static bool remember_group(struct scan *c, const char *name, size_t bytes)
{
    for (size_t i = 0; i < c->n_groups; i++) {
        if (c->groups[i].bytes == bytes && memcmp(c->groups[i].name, name, bytes) == 0)
            return true;
    }
    if (c->n_groups < GROUPS_MAX) {
        c->groups[c->n_groups].name = name;
        c->groups[c->n_groups++].bytes = bytes;
    }
    return false;
}

static int copy_name(struct scan *c, struct err *err)
{
    const char *name = c->in;

    while (isalnum((unsigned char)*c->in) || *c->in == '_' || *c->in == '-')
        copy(c, 1);
    if (*c->in == '*')
        return err_fatal(err, EX_CONFIG, "the name of a setting has no '*'");
    if (c->depth > 0 || !opens_group(c->in) || !remember_group(c, name, (size_t)(c->in - name)))
        return ERR_OK;
    if (++c->n_again > AGAIN_MAX)
        return err_fatal(err, EX_CONFIG, "too many groups; write each once");
    c->out += snprintf(c->out, AGAIN_BYTES, "*%zu", c->n_again);
    return ERR_OK;
}

static bool is_number(const char *p)
{
    if ((*p == '-' || *p == '+') && p[1] != '.')
        p++;
    return isdigit((unsigned char)*p) || (*p == '.' && isdigit((unsigned char)p[1]));
}

static void copy_sign(struct scan *c)
{
    if (*c->in == '{')
        c->depth++;
    else if (*c->in == '}' && c->depth > 0)
        c->depth--;
    copy(c, 1);
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
        return copy_name(c, err);
    else if (*c->in == '@')
        return err_fatal(err, EX_CONFIG,
                         "@include is not supported; put all settings into one file");
    else if (is_number(c->in))
        return copy_number(c, err);
    else
        copy_sign(c);
    return ERR_OK;
}

int settings_text_prepare(const char *text, size_t bytes, char **ret_text, size_t *ret_line,
                          struct err *err)
{
    char *out = malloc(bytes + bytes / 10 + AGAIN_MAX * AGAIN_BYTES + 1),
         *terminated = strndup(text, bytes);
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
