/* Whom a dead letter names. Its bytes may be anything, so nothing is parsed: every quotation mark may begin
 * a text, and what stands there up to the next one is taken as JSON writes it.
 *
 * Generous, since a letter too many that can no longer be retried is better than one that still names
 * somebody. A user is named by
 *
 *   key      all of it (not on a topic of videos, whose keys are items), a text or a whole number in it
 *   value    all of it, any text in it but that of item_id, a whole number of a member whose name holds
 *            "user" or "uid": {"user_id": 77}, {"userIds": [76, 77]}; one of LONG_NUMBER digits or more of
 *            any member but item_id, since a site may call it otherwise: {"viewer": {"id": 47110}}
 *   headers  a value, as the letter's value
 *   error    any text in it
 *
 * and an id of LONG_ID bytes or more by its bytes, wherever they stand; where the id is known by its hash
 * alone, by its words. An id that is shorter and stands in a format that is neither JSON nor text is not
 * found.
 *
 * Example: {"user_id":"\u00fc1","item_id":"v1"} names ü1, and not v1. */

#include "store/internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { ID_BYTES = 256, LONG_ID = 8, LONG_NUMBER = 5 };

struct text {
    const char *at;
    size_t n;
};

struct walk {
    naming_fn *fn;
    void *ctx;
    bool any_number; /* whatever it stands for */
};

/* ---- what stands between quotation marks --------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Four digits; -1 when they are not. */
static long hex4(struct text t, size_t i)
{
    long value = 0;

    for (size_t end = i + 4; i < end; i++) {
        int digit = i < t.n ? hex_digit(t.at[i]) : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* How many bytes; ret has room for 4. */
static size_t put_utf8(long c, char *ret)
{
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; c >>= 6)
        ret[i] = (char)(0x80 | (c & 0x3f));
    ret[0] = (char)((0xf00 >> n & 0xff) | c);
    return n;
}

/* The escape after t.at[*i] == '\\': its bytes, *i behind it; 0 = it is none. */
static size_t take_escape(struct text t, size_t *i, char *ret)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *simple = *i + 1 < t.n && t.at[*i + 1] ? strchr(from, t.at[*i + 1]) : NULL;

    if (simple) {
        *ret = to[simple - from];
        *i += 2;
        return 1;
    }
    long c = *i + 1 < t.n && t.at[*i + 1] == 'u' ? hex4(t, *i + 2) : -1;
    if (c < 0)
        return 0;
    *i += 6;
    long low =
        c >= 0xd800 && c < 0xdc00 && *i + 1 < t.n && t.at[*i] == '\\' && t.at[*i + 1] == 'u'
            ? hex4(t, *i + 2)
            : -1;
    if (low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        *i += 6;
    }
    return put_utf8(c, ret);
}

/* The text from i, behind a quotation mark, to the next one; how many bytes, 0 = too long for an id,
 * empty, or without an end. */
static size_t take_string(struct text t, size_t i, char ret[ID_BYTES + 4])
{
    size_t n = 0;

    while (i < t.n && t.at[i] != '"' && n <= ID_BYTES) {
        if (t.at[i] != '\\') {
            ret[n++] = t.at[i++];
            continue;
        }
        size_t more = take_escape(t, &i, ret + n);
        if (more == 0)
            return 0;
        n += more;
    }
    return i < t.n && n <= ID_BYTES ? n : 0;
}

/* ---- what a value belongs to --------------------------------------------------------------- */

/* The name of the member whose value begins at i, or in whose list of numbers i is; n = 0: none. */
static struct text member_of(struct text t, size_t i, bool in_list)
{
    while (i > 0 && (isspace((unsigned char)t.at[i - 1]) ||
                     (in_list && strchr("0123456789,[", t.at[i - 1]) && t.at[i - 1])))
        i--;
    if (i == 0 || t.at[--i] != ':')
        return (struct text){0};
    while (i > 0 && isspace((unsigned char)t.at[i - 1]))
        i--;
    if (i == 0 || t.at[--i] != '"')
        return (struct text){0};
    size_t end = i;
    while (i > 0 && t.at[i - 1] != '"')
        i--;
    return (struct text){t.at + i, end - i};
}

static bool is_of_user(struct text name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((i + 4 <= name.n && strncasecmp(name.at + i, "user", 4) == 0) ||
            (i + 3 <= name.n && strncasecmp(name.at + i, "uid", 3) == 0))
            return true;
    return false;
}

static bool is_of_item(struct text name)
{
    return name.n == strlen("item_id") && memcmp(name.at, "item_id", name.n) == 0;
}

/* ---- the walk ------------------------------------------------------------------------------ */

static bool walk_string(const struct walk *w, struct text t, size_t i)
{
    char id[ID_BYTES + 4];
    size_t n = take_string(t, i + 1, id);

    return n > 0 && !is_of_item(member_of(t, i, false)) && w->fn(w->ctx, id, n);
}

/* A run of digits by itself; *i goes to its last one. */
static bool walk_number(const struct walk *w, struct text t, size_t *i)
{
    static const char before[] = ":,[ \t\r\n", after[] = ",]} \t\r\n";
    size_t first = *i, n = 0;

    while (first + n < t.n && isdigit((unsigned char)t.at[first + n]))
        n++;
    *i = first + n - 1;
    bool alone = (first == 0 || (t.at[first - 1] && strchr(before, t.at[first - 1]))) &&
                 (first + n == t.n || (t.at[first + n] && strchr(after, t.at[first + n])));
    if (!alone || n > ID_BYTES)
        return false;
    struct text member = member_of(t, first, true);
    return (w->any_number || is_of_user(member) || (n >= LONG_NUMBER && !is_of_item(member))) &&
           w->fn(w->ctx, t.at + first, n);
}

static bool walk_text(const struct walk *w, struct text t)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.at[i] == '"' ? walk_string(w, t, i)
                           : isdigit((unsigned char)t.at[i]) && walk_number(w, t, &i))
            return true;
    return false;
}

static bool walk_whole(const struct walk *w, struct text t)
{
    return t.n > 0 && t.n <= ID_BYTES && w->fn(w->ctx, t.at, t.n);
}

/* What is not JSON: words of LONG_ID bytes or more. */
static bool walk_words(const struct walk *w, struct text t)
{
    static const char between[] = " \t\r\n,;|\"'=&<>(){}[]";

    for (size_t i = 0, n; i < t.n; i += n + 1) {
        for (n = 0; i + n < t.n && !(t.at[i + n] && strchr(between, t.at[i + n]));)
            n++;
        if (n >= LONG_ID && n <= ID_BYTES && w->fn(w->ctx, t.at + i, n))
            return true;
    }
    return false;
}

static struct text text_of(const void *data, size_t bytes)
{
    return (struct text){data, data ? bytes : 0};
}

bool naming_walk(const struct naming *x, naming_fn *fn, void *ctx)
{
    const struct walk w = {fn, ctx, false}, of_key = {fn, ctx, true};
    struct text key = text_of(x->key, x->key_bytes), value = text_of(x->value, x->value_bytes);

    if (!x->key_is_item && (walk_whole(&w, key) || walk_text(&of_key, key)))
        return true;
    if (walk_whole(&w, value) || walk_text(&w, value) || walk_words(&w, value))
        return true;
    for (size_t i = 0; i < x->n_headers; i++) {
        struct text h = text_of(x->headers[i].value, x->headers[i].value_bytes);
        if (walk_whole(&w, h) || walk_text(&w, h))
            return true;
    }
    return walk_text(&w, text_of(x->error, x->error ? strlen(x->error) : 0));
}

/* ---- one user ------------------------------------------------------------------------------ */

static bool is_id(void *ctx, const char *text, size_t bytes)
{
    const struct text *id = ctx;

    return id->n == bytes && memcmp(id->at, text, bytes) == 0;
}

static bool holds(struct text t, struct text id)
{
    return id.n >= LONG_ID && t.n >= id.n && memmem(t.at, t.n, id.at, id.n) != NULL;
}

bool naming_is(const struct naming *x, const char *user_id)
{
    struct text id = {user_id, strlen(user_id)};

    if (holds(text_of(x->key, x->key_bytes), id) ||
        holds(text_of(x->value, x->value_bytes), id) ||
        holds(text_of(x->error, x->error ? strlen(x->error) : 0), id))
        return true;
    for (size_t i = 0; i < x->n_headers; i++)
        if (holds(text_of(x->headers[i].value, x->headers[i].value_bytes), id))
            return true;
    return naming_walk(x, is_id, &id);
}
