/* Who may do what: who writes the store, who reads it, who operates the daemon. By owners and modes, not by
 * trying: root may do everything and would find nothing. */
#include "daemon/cli/doctor/checks.h"

#include "config/account.h"
#include "daemon/base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* ---- writing ----------------------------------------------------------------------------- */

/* The folder's owner is whom the daemon runs as. */
struct owner {
    uid_t uid;
    char name[ACCOUNT_BYTES];
    char bad[PATH_MAX]; /* the first that is another's, or that he may not write */
    struct stat info;   /* its */
    unsigned n_good;
};

static bool may_write(const struct stat *info, uid_t uid)
{
    return uid == 0 || (info->st_uid == uid && (info->st_mode & S_IWUSR) != 0);
}

static void look_at(struct owner *o, const char *path)
{
    struct stat info;

    if (lstat(path, &info) != 0 || S_ISLNK(info.st_mode))
        return;
    if (may_write(&info, o->uid)) {
        o->n_good++;
    } else if (o->bad[0] == '\0') {
        (void)snprintf(o->bad, sizeof(o->bad), "%s", path);
        o->info = info;
    }
}

/* The models and the folders of trainings, which the daemon replaces and removes. */
static void look_into(struct owner *o, const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    char path[PATH_MAX];

    look_at(o, folder);
    while (dir && (entry = readdir(dir))) {
        bool is_ours = strstr(entry->d_name, ".safetensors") != NULL ||
                       strncmp(entry->d_name, "trained-", 8) == 0 ||
                       strncmp(entry->d_name, ".metammf-", 9) == 0;
        if (is_ours && paths_join(folder, entry->d_name, path, NULL) == ERR_OK)
            look_at(o, path);
    }
    if (dir)
        (void)closedir(dir);
}

static void look_at_all(struct owner *o, const struct settings *s)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", s->store.path, suffixes[i]);
        look_at(o, path);
    }
    if (paths_model_dir(s, path, NULL) == ERR_OK)
        look_into(o, path);
}

static void check_writing(struct doctor *d)
{
    struct owner o = {.uid = 0};
    char folder[PATH_MAX], who[ACCOUNT_BYTES];
    struct stat info;

    (void)snprintf(folder, sizeof(folder), "%s", d->s->store.path);
    if (stat(dirname(folder), &info) != 0)
        return; /* check "store" has said so */
    o.uid = info.st_uid;
    (void)account_user(o.uid, o.name);
    look_at_all(&o, d->s);
    if (access(d->s->store.path, F_OK) != 0 && errno == EACCES) {
        doctor_add(d, "writing", DOCTOR_NOTE, "run doctor as the daemon's user, or as root",
                   "%s, who owns the folder, writes it; what is in it is not for us to see",
                   o.name);
    } else if ((info.st_mode & S_IWUSR) == 0 && o.uid != 0) {
        doctor_add(d, "writing", DOCTOR_BAD, "chmod u+rwx", "%s: its owner, %s, may not write",
                   folder, o.name);
        doctor_code(d, EX_NOPERM);
    } else if (o.bad[0] != '\0') {
        doctor_add(d, "writing", DOCTOR_BAD,
                   "chown it to the owner of the folder, and let him read and write it",
                   "%.400s: mode %04o of %s: the daemon, which runs as %s, cannot write it",
                   o.bad, o.info.st_mode & 07777u, account_user(o.info.st_uid, who), o.name);
        doctor_code(d, EX_NOPERM);
    } else {
        doctor_add(d, "writing", DOCTOR_GOOD, "",
                   "%s, who owns the folder, may write it and %u files and folders there",
                   o.name, o.n_good);
    }
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Readers of the group need r on the store, and rw on nothing; but -wal and -shm must exist and
 * carry the same group and mode as the store. */
static void check_group(struct doctor *d)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    struct stat info, first = {0};
    char group[ACCOUNT_BYTES];
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
    doctor_add(d, "readers", DOCTOR_GOOD, "", "group %s may read the store, -wal and -shm",
               account_group(first.st_gid, group));
}

/* ---- operating ---------------------------------------------------------------------------- */

/* The group that may ask the daemon for work: the socket's, or the one that its folder lets in. */
static bool operators(const char *socket_path, gid_t *ret_gid)
{
    char path[PATH_MAX];
    struct stat socket, folder;

    (void)snprintf(path, sizeof(path), "%s", socket_path);
    if (stat(dirname(path), &folder) != 0)
        return false;
    *ret_gid = folder.st_gid;
    if (stat(socket_path, &socket) == 0)
        *ret_gid = socket.st_gid;
    return (folder.st_mode & S_IXOTH) != 0 || (folder.st_mode & S_IXGRP) != 0;
}

static void check_operators(struct doctor *d)
{
    const char *path = d->s->control.socket;
    char group[ACCOUNT_BYTES];
    struct stat store;
    gid_t gid;

    if (!path || path[0] == '\0' || !operators(path, &gid))
        return;
    (void)account_group(gid, group);
    if (stat(d->s->store.path, &store) == 0 && store.st_gid == gid && gid != 0)
        doctor_add(d, "operators", DOCTOR_NOTE,
                   "give the socket's folder a group of its own: chgrp and chmod 2750, as "
                   "systemd/metammfd.tmpfiles has it",
                   "group %s reads the store and operates the daemon, too", group);
    else
        doctor_add(d, "operators", DOCTOR_GOOD, "", "group %s may operate the daemon by %s",
                   group, path);
}

void doctor_roles(struct doctor *d)
{
    check_writing(d);
    check_group(d);
    check_operators(d);
}
