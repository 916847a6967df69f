#include "daemon/media/media_open.h"

#include "daemon/media/media_file.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* One row a scheme. `open` may take as long as its medium does, and must end by itself. */
static const struct row {
    const char *scheme; /* "" = none: a path */
    int (*open)(const struct media_roots *roots, const char *uri, int *ret_fd, struct err *err);
} rows[] = {
    {"file", media_file_open},
    {"", media_file_open},
};

/* Bytes of the scheme, its colon not included, 0 = none (RFC 3986: a letter, then letters, digits,
 * +-.). */
static size_t scheme_bytes(const char *uri)
{
    size_t n = 0;
    if (!isalpha((unsigned char)uri[0]))
        return 0;
    while (isalnum((unsigned char)uri[n]) || (uri[n] && strchr("+-.", uri[n])))
        n++;
    return uri[n] == ':' ? n : 0;
}

struct media_roots media_roots_of(const struct settings *s, const char *relative)
{
    return (struct media_roots){.paths = (const char *const *)s->media.roots.items,
                                .n = s->media.roots.n,
                                .relative = relative};
}

int media_open(const struct media_roots *roots, const char *uri, int *ret_fd, struct err *err)
{
    size_t n = scheme_bytes(uri);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strlen(rows[i].scheme) == n && strncasecmp(rows[i].scheme, uri, n) == 0)
            return rows[i].open(roots, uri, ret_fd, err);
    }
    return err_skip(err, "scheme", "media %s: the scheme is not supported: use file:", uri);
}
