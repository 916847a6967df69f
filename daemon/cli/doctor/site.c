/* What the daemon needs of its site: the store and who may read it, and where events come from. */
#include "daemon/cli/doctor/checks.h"

#include "daemon/kafka/probe.h"
#include "daemon/model/active_model.h"
#include "daemon/service/control_client.h"
#include "store/copy.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define DOCTOR_BROKER_MS 5000

static void add_err(struct doctor *d, const char *name, const char *next, const struct err *err)
{
    doctor_add(d, name, DOCTOR_BAD, next, "%s", err->text);
    doctor_code(d, err->exit_code ? err->exit_code : EX_SOFTWARE);
}

/* ---- who writes -------------------------------------------------------------------------- */

/* The pid that holds the store's lock, 0 = nobody, -1 = unknown who. */
static long lock_holder(const char *store_path)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    char path[4200], text[32] = "";
    long pid = 0;
    int fd;

    snprintf(path, sizeof(path), "%s.lock", store_path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
        pid = -1;
        if (read(fd, text, sizeof(text) - 1) > 0 && strtol(text, NULL, 10) > 0)
            pid = strtol(text, NULL, 10);
    }
    close(fd);
    return pid;
}

static void check_writer(struct doctor *d)
{
    long pid = lock_holder(d->s->store.path);
    struct err err;
    int fd, r;

    err_clear(&err);
    r = control_find(d->s, &fd, &err);
    d->daemon_up = r == ERR_OK;
    if (r == ERR_OK) {
        close(fd);
        doctor_add(d, "daemon", DOCTOR_GOOD, "", "up, pid %ld, answers on its control socket",
                   pid);
    } else if (pid != 0 && r == ERR_NONE) {
        doctor_add(d, "daemon", DOCTOR_BAD,
                   "set control.socket in its settings, or stop that process before writing",
                   "process %ld holds the store's lock but answers on no control socket", pid);
        doctor_code(d, EX_TEMPFAIL);
    } else if (r == ERR_NONE) {
        doctor_add(d, "daemon", DOCTOR_NOTE, "systemctl start metammfd, or metammf ingest",
                   "not running: nobody holds the store's lock");
    } else {
        add_err(d, "daemon",
                err.exit_code == EX_NOPERM
                    ? "join the group of the control socket: usermod -aG metammf USER"
                    : "see the message, and try again",
                &err);
    }
}

/* ---- the store --------------------------------------------------------------------------- */

#define UNIT_FOLDER "/var/lib/metammfd" /* StateDirectory= of the unit */

static void check_folder_of_store(struct doctor *d)
{
    char folder[4200];
    char *slash;

    snprintf(folder, sizeof(folder), "%s", d->s->store.path);
    slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder ? 1 : 0] = '\0';
    if (access(folder, F_OK) == 0)
        doctor_add(d, "store", DOCTOR_NOTE, "start the daemon, or metammf ingest",
                   "%s: not there yet: the first writer makes it", d->s->store.path);
    else if (errno == ENOENT && strcmp(folder, UNIT_FOLDER) == 0)
        doctor_add(d, "store", DOCTOR_NOTE, "systemctl start metammfd",
                   "%s: not there yet: the unit makes the folder, the daemon the store",
                   d->s->store.path);
    else
        doctor_add(d, "store", DOCTOR_BAD, "make the folder, or mend store.path", "%s: %s",
                   folder, strerror(errno));
    doctor_code(d, EX_NOINPUT);
}

static void check_contents(struct doctor *d, struct store *st)
{
    int64_t n_blobs = 0;
    struct err err;

    err_clear(&err);
    if (d->fast)
        doctor_add(d, "contents", DOCTOR_NOTE, "leave out --fast", "not checked");
    else if (store_check(st, &n_blobs, &err) == ERR_OK)
        doctor_add(d, "contents", DOCTOR_GOOD, "",
                   "quick_check is clean, %" PRId64 " checksums fit", n_blobs);
    else
        add_err(d, "contents",
                "put the last backup back: metammf restore DIR; metammf backup makes them",
                &err);
}

/* What the daemon opens at its start. */
static void check_model(struct doctor *d, struct store *st)
{
    struct store_model row = {0};
    struct model *model = NULL;
    struct err err;

    err_clear(&err);
    int r = store_model_active(st, &row, &err);
    if (r == ERR_OK)
        r = active_model_load(&row, d->s, &model, &err);
    if (r == ERR_OK)
        doctor_add(d, "model", DOCTOR_GOOD, "", "model %" PRId64 ": %s read, its SHA-256 fits",
                   row.model_id, row.file);
    else if (r == ERR_NONE)
        doctor_add(d, "model", DOCTOR_NOTE, "", "none yet: the daemon makes an untrained one");
    else
        add_err(d, "model",
                "a backup has it (metammf restore); metammf model rollback; or metammf train; "
                "until then the daemon serves what is stored, and new items have no vectors",
                &err);
    if (r == ERR_OK)
        model_free(model);
    store_model_done(&row);
}

static void check_store(struct doctor *d)
{
    struct store_counts c = {0};
    struct store *st;
    struct err err;

    err_clear(&err);
    if (access(d->s->store.path, F_OK) != 0) {
        check_folder_of_store(d);
        return;
    }
    if (store_check_log(d->s->store.path, &err) != ERR_OK) {
        add_err(d, "store", "as the message says; then start the daemon", &err);
        return;
    }
    if (store_open(d->s->store.path, STORE_READ, &st, &err) != ERR_OK ||
        store_count(st, &c, &err) != ERR_OK) {
        add_err(d, "store", "see the message; group access needs the folder, -wal and -shm too",
                &err);
        return;
    }
    doctor_add(d, "store", DOCTOR_GOOD, "",
               "%s: schema known, %" PRId64 " items, %" PRId64 " dead letters",
               d->s->store.path, c.n_items, c.n_dead_letters);
    check_contents(d, st);
    check_model(d, st);
    store_close(st);
}

/* Readers of the group need r on the store, and rw on nothing; but -wal and -shm must exist and
 * carry the same group and mode as the store. */
static void check_group(struct doctor *d)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    struct stat info, first = {0};
    struct group *g;
    char path[4200];

    if (access(d->s->store.path, F_OK) != 0)
        return;
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s%s", d->s->store.path, suffixes[i]);
        if (stat(path, &info) != 0) {
            doctor_add(d, "readers", i ? DOCTOR_NOTE : DOCTOR_BAD,
                       "a reader without write access to the folder needs it: start the daemon "
                       "once",
                       "%s: %s", path, strerror(errno));
            return;
        }
        if (i == 0)
            first = info;
        if ((info.st_mode & S_IRGRP) == 0 || info.st_gid != first.st_gid) {
            doctor_add(d, "readers", DOCTOR_NOTE,
                       "chmod g+r, or give the daemon UMask=0027 as its unit does",
                       "%s: mode %04o, group %u: others of the group cannot read", path,
                       info.st_mode & 07777u, (unsigned)info.st_gid);
            return;
        }
    }
    g = getgrgid(first.st_gid);
    doctor_add(d, "readers", DOCTOR_GOOD, "", "group %s may read the store, -wal and -shm",
               g ? g->gr_name : "?");
}

/* ---- the source -------------------------------------------------------------------------- */

static void check_spool(struct doctor *d)
{
    if (access(d->s->spool.directory, R_OK | W_OK | X_OK) == 0)
        doctor_add(d, "spool", DOCTOR_GOOD, "", "%s: readable and writable",
                   d->s->spool.directory);
    else
        doctor_add(d, "spool", DOCTOR_BAD,
                   "make the folder and let the daemon's user write to it", "%s: %s",
                   d->s->spool.directory, strerror(errno));
}

static void take_finding(void *arg, const struct kafka_probe_finding *f)
{
    static const enum doctor_verdict verdicts[] = {[KAFKA_PROBE_GOOD] = DOCTOR_GOOD,
                                                   [KAFKA_PROBE_NOTE] = DOCTOR_NOTE,
                                                   [KAFKA_PROBE_BAD] = DOCTOR_BAD};
    struct doctor *d = arg;

    doctor_add(d, f->check, verdicts[f->verdict], f->next, "%s", f->text);
    if (f->verdict == KAFKA_PROBE_BAD)
        doctor_code(d, f->exit_code);
}

static void check_kafka(struct doctor *d)
{
    if (!settings_has_credentials() && settings_n_credentials(d->s) > 0)
        doctor_add(
            d, "broker", DOCTOR_NOTE,
            "metammf status shows what the daemon sees; or run doctor where the unit runs: "
            "systemd-run --pipe -p LoadCredential=NAME:FILE metammf doctor",
            "not tried: only the unit can read the credentials in kafka.properties");
    else
        kafka_probe(d->s, DOCTOR_BROKER_MS, take_finding, d);
}

void doctor_store(struct doctor *d)
{
    check_writer(d);
    check_store(d);
    check_group(d);
}

void doctor_source(struct doctor *d)
{
    if (!d->s->path)
        doctor_add(d, "source", DOCTOR_NOTE, "give --config FILE",
                   "no settings file, so no broker or spool folder to look for");
    else if (d->s->source == SETTINGS_SOURCE_SPOOL)
        check_spool(d);
    else
        check_kafka(d);
}
