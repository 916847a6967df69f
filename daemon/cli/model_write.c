#include "daemon/cli/model_write.h"

#include "daemon/base/progress.h"
#include "daemon/cli/bulk.h"
#include "daemon/cli/owner.h"
#include "daemon/model/models.h"
#include "daemon/service/control_client.h"
#include "daemon/service/model_files.h"

#include <jansson.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

/* ---- by the daemon ------------------------------------------------------------------------- */

static void watch(void *ctx, const struct json_t *progress)
{
    struct progress *bar = ctx;

    int64_t total = json_integer_value(json_object_get(progress, "total"));

    if (!total) /* what is fused before a flip has none */
        return;
    bar->total = total;
    progress_update(bar, json_integer_value(json_object_get(progress, "done")), NULL);
}

static int by_daemon(int fd, const struct cli_model_write *w, int64_t *ret_model_id,
                     struct err *err)
{
    static const char *const commands[] = {"model_publish", "model_import", "model_activate",
                                           "model_pin"};
    struct model_files files = {.n = 0};
    struct progress bar;
    json_t *result = NULL;
    int r = w->path ? model_files_open(w->path, w->change == CLI_MODEL_PUBLISH, &files, err)
                    : ERR_OK;

    if (r != ERR_OK)
        return r;
    const struct control_ask ask = {
        .fd = fd,
        .request = json_pack("{s:s, s:I, s:b}", "command", commands[w->change], "id",
                             (json_int_t)w->model_id, "activate", w->activate),
        .fds = files.fds,
        .n_fds = files.n,
        .progress = watch,
        .ctx = &bar};
    progress_start(&bar, stderr, w->label, 0);
    r = control_ask(&ask, &result, err);
    progress_end(&bar, bar.total);
    if (r == ERR_OK)
        *ret_model_id = json_integer_value(json_object_get(result, "model_id"));
    json_decref(result);
    model_files_close(&files);
    return r;
}

/* ---- by ourselves -------------------------------------------------------------------------- */

static bool draw(void *ctx, size_t done, size_t total)
{
    struct progress *bar = ctx;

    if (total) { /* what is fused before a flip has no total */
        bar->total = (int64_t)total;
        progress_update(bar, (int64_t)done, NULL);
    }
    return true;
}

static int change(const struct cli_model_write *w, const struct candidate_target *t,
                  int64_t *ret_model_id, struct err *err)
{
    *ret_model_id = w->model_id;
    switch (w->change) {
    case CLI_MODEL_PUBLISH:
        return models_publish(t, w->path, w->activate, ret_model_id, err);
    case CLI_MODEL_IMPORT:
        return models_import(t, w->path, w->activate, ret_model_id, err);
    case CLI_MODEL_ACTIVATE:
        return candidate_activate(t, w->model_id, err);
    case CLI_MODEL_PIN:
        return models_pin(t, w->model_id, err);
    }
    return err_fatal(err, EX_SOFTWARE, "model: change %d", (int)w->change);
}

static int by_ourselves(struct cli *cli, const struct cli_model_write *w, int64_t *ret_model_id,
                        struct err *err)
{
    const char *path = cli->settings.store.path;
    struct store *st;
    struct progress bar;

    if (access(path, F_OK) != 0) /* a writer would create it */
        return err_fatal(err, EX_NOINPUT, "store %s: no such file", path);
    int r = cli_become_owner(cli, err);
    if (r == ERR_OK)
        r = store_open(path, STORE_WRITE, &st, err);
    if (r != ERR_OK)
        return r;
    const struct candidate_target t = {.settings = &cli->settings,
                                       .reader = st,
                                       .writer = store_writer_of(st),
                                       .progress = draw,
                                       .ctx = &bar};
    progress_start(&bar, stderr, w->label, 0);
    r = change(w, &t, ret_model_id, err);
    progress_end(&bar, bar.total);
    store_close(st);
    return r;
}

int cli_model_write(struct cli *cli, const struct cli_model_write *w, int64_t *ret_model_id,
                    struct err *err)
{
    int fd, r = cli_daemon(cli, &fd, err);

    if (r == ERR_NONE)
        return by_ourselves(cli, w, ret_model_id, err);
    if (r != ERR_OK)
        return r;
    r = by_daemon(fd, w, ret_model_id, err);
    close(fd);
    return r;
}
