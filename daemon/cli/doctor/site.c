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
#include <inttypes.h>
#include <stdio.h>
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

static void check_writer(struct doctor *d)
{
    long pid = store_writer_pid(d->s->store.path);
    struct err err;
    int fd, r;

    err_clear(&err);
    r = control_find(d->s, &fd, &err);
    d->daemon_up = r == ERR_OK;
    if (r == ERR_OK) {
        close(fd);
        doctor_add(d, "daemon", DOCTOR_GOOD, "", "up, answers on its control socket");
    } else if (pid != STORE_WRITER_NONE && pid != STORE_WRITER_HIDDEN && r == ERR_NONE) {
        doctor_add(d, "daemon", DOCTOR_BAD,
                   "set control.socket in its settings, or stop that process before writing",
                   "process %ld holds the store's lock but answers on no control socket", pid);
        doctor_code(d, EX_TEMPFAIL);
    } else if (r == ERR_NONE) {
        doctor_add(d, "daemon", DOCTOR_NOTE, "systemctl start metammfd, or metammf ingest",
                   pid == STORE_WRITER_NONE
                       ? "not running: nobody holds the store's lock"
                       : "not known: the store's lock cannot be looked at");
    } else if (err.exit_code == EX_NOPERM) { /* a reader's part: no fault of the site */
        char holder[64] = "nobody holds the store";
        d->daemon_up = pid != STORE_WRITER_NONE;
        if (pid == STORE_WRITER_HIDDEN)
            snprintf(holder, sizeof(holder), "not known whether it runs");
        else if (pid != STORE_WRITER_NONE)
            snprintf(holder, sizeof(holder), "up, pid %ld holds the store", pid);
        doctor_add(d, "daemon", DOCTOR_NOTE, "who operates the daemon is of that group",
                   "%s; not asked: %s", holder, err.text);
    } else {
        add_err(d, "daemon", "see the message, and try again", &err);
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
    if (access(d->s->store.path, F_OK) != 0 && errno == EACCES) {
        doctor_add(d, "store", DOCTOR_BAD,
                   "run as the daemon's user, as root, or as a member of the readers' group",
                   "%s: %s", d->s->store.path, strerror(EACCES));
        doctor_code(d, EX_NOPERM);
        return;
    }
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

/* ---- the source -------------------------------------------------------------------------- */

static void check_spool(struct doctor *d)
{
    struct stat info;
    int code = access(d->s->spool.directory, R_OK | W_OK | X_OK) == 0 ? 0 : errno;

    if (code == EACCES && stat(d->s->spool.directory, &info) == 0 && info.st_uid != geteuid())
        doctor_add(d, "spool", DOCTOR_NOTE, "run doctor as the daemon's user, or as root",
                   "%s: it is there, and not for us to look into", d->s->spool.directory);
    else if (code == 0)
        doctor_add(d, "spool", DOCTOR_GOOD, "", "%s: readable and writable",
                   d->s->spool.directory);
    else
        doctor_add(d, "spool", DOCTOR_BAD,
                   "make the folder and let the daemon's user write to it", "%s: %s",
                   d->s->spool.directory, strerror(code));
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
