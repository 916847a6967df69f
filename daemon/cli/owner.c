#include "daemon/cli/owner.h"

#include "config/account.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#define ENTRY_BYTES 16384

static bool folder_of(const char *path, struct stat *ret_info)
{
    char folder[PATH_MAX];

    (void)snprintf(folder, sizeof(folder), "%s", path);
    return stat(dirname(folder), ret_info) == 0;
}

/* Of the store's folder, links followed as the store itself follows them. False when there is none: whoever
 * opens the store says so. */
static bool owner_of(const char *store_path, struct stat *ret_info)
{
    char *real = realpath(store_path, NULL);
    bool found = folder_of(real ? real : store_path, ret_info);

    free(real);
    return found;
}

/* Who may put a link in the store's place does not choose which file of another user root writes to. */
int cli_check_link(const struct cli *cli, struct err *err)
{
    struct stat named, real;

    if (geteuid() != 0 || !folder_of(cli->settings.store.path, &named) || named.st_uid == 0 ||
        !owner_of(cli->settings.store.path, &real) || named.st_uid == real.st_uid)
        return ERR_OK;
    return err_fatal(err, EX_NOPERM,
                     "store %s: it is a link of uid %u into a folder of uid %u: give the path "
                     "that it leads to",
                     cli->settings.store.path, (unsigned)named.st_uid, (unsigned)real.st_uid);
}

/* Groups as at a login of the user. One who has no entry has the folder's group and no other. */
static int set_groups(const struct stat *folder)
{
    char buffer[ENTRY_BYTES];
    struct passwd entry, *user = NULL;
    gid_t gid = folder->st_gid;

    (void)getpwuid_r(folder->st_uid, &entry, buffer, sizeof(buffer), &user);
    if (user)
        gid = user->pw_gid;
    if ((user ? initgroups(user->pw_name, gid) : setgroups(0, NULL)) != 0)
        return -1;
    return setresgid(gid, gid, gid);
}

/* Of root's rights the one to read stays, and in this process only: no program that it executes has it. */
static int keep_reading(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2] = {{0}}, kept[2] = {{0}};
    const uint32_t reading = UINT32_C(1) << CAP_DAC_READ_SEARCH;

    if (syscall(SYS_capget, &head, now) != 0)
        return -1;
    kept[0].permitted = kept[0].effective = now[0].permitted & reading;
    return (int)syscall(SYS_capset, &head, kept);
}

int cli_become_owner(const struct cli *cli, struct err *err)
{
    char name[ACCOUNT_BYTES];
    struct stat folder;
    int status = cli_check_link(cli, err);

    if (status != ERR_OK || geteuid() != 0 || !owner_of(cli->settings.store.path, &folder) ||
        folder.st_uid == 0)
        return status;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || set_groups(&folder) != 0 ||
        setresuid(folder.st_uid, folder.st_uid, folder.st_uid) != 0 || keep_reading() != 0)
        return err_fatal(
            err, EX_NOPERM,
            "store %s: its folder belongs to %s, and root cannot become that user: "
            "%s: run this as the owner",
            cli->settings.store.path, account_user(folder.st_uid, name), strerror(errno));
    (void)umask(0027); /* as the unit has it */
    return ERR_OK;
}
