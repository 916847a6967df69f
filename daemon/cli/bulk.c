#include "daemon/cli/bulk.h"

#include "config/log.h"
#include "daemon/base/json_field.h"
#include "daemon/base/progress.h"
#include "daemon/cli/owner.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/control_client.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

int cli_daemon(struct cli *cli, int *ret_fd, struct err *err)
{
    int r = cli_load(cli, err);

    return r ? r : control_find(&cli->settings, ret_fd, err);
}

bool cli_watch(void *ctx, const struct ingest_progress *now)
{
    struct progress *p = ctx;

    p->total = now->total;
    progress_update(p, now->done, now->wait);
    return true;
}

void cli_watch_json(void *ctx, const struct json_t *progress)
{
    const struct ingest_progress now = {.done = json_field_int(progress, "done"),
                                        .total = json_field_int(progress, "total"),
                                        .wait = json_field_text(progress, "wait")};

    cli_watch(ctx, &now);
}

int cli_ask_bulk(int fd, struct json_t *request, int file, const char *label,
                 struct ingest_result *ret_result, struct err *err)
{
    struct progress bar;
    const struct control_ask ask = {.fd = fd,
                                    .request = request,
                                    .fds = &file,
                                    .n_fds = file >= 0,
                                    .progress = cli_watch_json,
                                    .ctx = &bar};
    json_t *result = NULL;
    int r;

    progress_start(&bar, stderr, label, 0);
    r = control_ask(&ask, &result, err);
    progress_end(&bar, bar.total);
    if (r == ERR_OK)
        *ret_result = (struct ingest_result){
            .n_events = json_field_int(result, "events"),
            .n_already = json_field_int(result, "already"),
            .n_stored = json_field_int(result, "stored"),
            .n_dead_letters = json_field_int(result, "dead_letters"),
            .n_superseded = json_field_int(result, "superseded"),
            .seconds = json_field_real(result, "seconds"),
        };
    json_decref(result);
    return r;
}

int cli_open_pipeline(struct cli *cli, struct pipeline **ret_p, struct err *err)
{
    int r = cli_load(cli, err);

    log_set_level(LOG_LEVEL_ERROR); /* each dead letter is a warning; the summary counts them */
    if (r == ERR_OK)
        r = cli_become_owner(cli, err);
    return r ? r : pipeline_open(&cli->settings, NULL, ret_p, err);
}

int cli_print_bulk(const struct cli *cli, const char *what, const struct ingest_result *r)
{
    if (cli->json)
        return cli_print_json(
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "events", (json_int_t)r->n_events,
                      "already", (json_int_t)r->n_already, "stored", (json_int_t)r->n_stored,
                      "dead_letters", (json_int_t)r->n_dead_letters, "superseded",
                      (json_int_t)r->n_superseded, "seconds", r->seconds));
    printf("%s: %" PRId64 " events, %" PRId64 " stored, %" PRId64 " dead letters",
           cli_text(what), r->n_events, r->n_stored, r->n_dead_letters);
    if (r->n_already)
        printf(", %" PRId64 " were there already", r->n_already);
    if (r->n_superseded)
        printf(", %" PRId64 " superseded by newer events, or erased, and left alone",
               r->n_superseded);
    printf(", in %.1f s\n", r->seconds);
    if (r->n_dead_letters)
        puts("See: metammf dlq list");
    return cli_finish();
}
