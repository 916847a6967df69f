/* metammf extract: what one clip needs, alone or in a folder; and for other verbs, a pool. */
#include "daemon/cli/extract/extract.h"

#include "daemon/pipeline/row.h"
#include "daemon/pipeline/workers.h"
#include "daemon/source/reextract.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* ---- output ------------------------------------------------------------------------------ */

static json_t *json_modalities(const struct features *f)
{
    json_t *object = json_object();

    for (int m = 0; object && m < MODALITY_COUNT; m++) {
        if (!(f->mask & MODALITY_BIT(m)))
            continue;
        json_object_set_new(object, modality_name((enum modality)m),
                            json_pack("{s:s, s:i, s:o}", "encoder_id", f->encoder_id[m], "dim",
                                      (int)f->dim[m], "vec",
                                      cli_json_floats(f->vec[m], f->dim[m])));
    }
    return object;
}

char *extract_shown(const char *path)
{
    json_t *valid = json_string(path); /* NULL for what is not UTF-8 */
    size_t bytes = strlen(path) * 4 + 1;
    char *shown = malloc(bytes), *at = shown;

    for (const char *c = path; at && *c; c++) {
        if (!valid && (unsigned char)*c > 127)
            at += snprintf(at, bytes - (size_t)(at - shown), "\\x%02x", (unsigned char)*c);
        else
            *at++ = *c;
    }
    if (at)
        *at = '\0';
    json_decref(valid);
    return shown;
}

json_t *extract_json(const char *path, const char *key, const struct pool_result *r)
{
    if (r->err.status != ERR_OK)
        return json_pack("{s:s, s:s*, s:s, s:s}", "path", path, "key", key, "reason",
                         r->err.reason, "error", r->err.text);
    return json_pack("{s:s, s:s*, s:o, s:o, s:s*}", "path", path, "key", key, "modalities",
                     json_modalities(&r->features), "flags", row_flags_json(&r->features.flags),
                     "media_error", r->media_err.status != ERR_OK ? r->media_err.text : NULL);
}

/* ---- the workers ------------------------------------------------------------------------- */

int extract_open_pool(struct cli *cli, int64_t workers, struct pool **ret_pool, struct err *err)
{
    int r;

    if (!cli->config && !cli->store && access(CLI_CONFIG, F_OK) != 0) {
        r = settings_init(&cli->settings); /* works without any settings file */
        cli->loaded = r == ERR_OK;
    } else {
        r = cli_load(cli, err);
    }
    return r == ERR_OK ? workers_open(&cli->settings, (unsigned)workers, ret_pool, err) : r;
}

int extract_open_media(const char *path, int *ret_fd, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */
    struct stat info;

    if (fd < 0)
        return err_fatal(err, EX_NOINPUT, "%s: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return err_fatal(err, EX_NOINPUT, "%s: not a regular file", path);
    }
    *ret_fd = fd;
    return ERR_OK;
}

int64_t extract_count_stale(struct cli *cli, struct store *st)
{
    struct pool *pool;
    struct err err;
    int64_t n = -1;
    int r = extract_open_pool(cli, 1, &pool, &err);

    if (r == ERR_OK) {
        r = reextract_count_stale(st, pool_encoders(pool), &n, &err);
        pool_close(pool);
    }
    if (r != ERR_OK)
        fprintf(stderr, "metammf: stale items are not counted: %s\n", err.text);
    return r == ERR_OK ? n : -1;
}
