#include "daemon/pipeline/workers.h"

#include "daemon/base/health.h"
#include "daemon/base/paths.h"

/* A start that hangs ends after 10 s; the thread is well meanwhile. */
static void tick(void)
{
    health_tick(HEALTH_EXTRACT);
}

int workers_open(const struct settings *s, unsigned n, struct pool **ret_pool, struct err *err)
{
    char path[PATH_MAX];
    int status = paths_worker(s, path, err);

    if (status != ERR_OK)
        return status;
    const struct pool_options options = {.worker_path = path,
                                         .n_workers = n ? n : (unsigned)s->extract.workers,
                                         .deadline_ms = s->extract.deadline_ms,
                                         .cpu_seconds = s->extract.cpu_seconds,
                                         .recycle_jobs = s->extract.recycle_jobs,
                                         .recycle_rss_bytes = s->extract.recycle_rss_bytes,
                                         .address_space_bytes = s->extract.address_space_bytes,
                                         .max_media_bytes = s->media.max_bytes,
                                         .packets_max = s->extract.packets_max,
                                         .packet_bytes_max = s->extract.packet_bytes_max,
                                         .require_sandbox = s->extract.require_sandbox,
                                         .waiting = tick};
    return pool_open(&options, ret_pool, err);
}
