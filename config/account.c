#include "config/account.h"

#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>

/* A group with more members than fit is called by its number. */
#define ENTRY_BYTES 16384

const char *account_user(uid_t uid, char ret_text[ACCOUNT_BYTES])
{
    char buffer[ENTRY_BYTES];
    struct passwd entry, *found = NULL;

    if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL)
        (void)snprintf(ret_text, ACCOUNT_BYTES, "%.50s (uid %u)", found->pw_name,
                       (unsigned)uid);
    else
        (void)snprintf(ret_text, ACCOUNT_BYTES, "uid %u", (unsigned)uid);
    return ret_text;
}

const char *account_group(gid_t gid, char ret_text[ACCOUNT_BYTES])
{
    char buffer[ENTRY_BYTES];
    struct group entry, *found = NULL;

    if (getgrgid_r(gid, &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL)
        (void)snprintf(ret_text, ACCOUNT_BYTES, "%.50s", found->gr_name);
    else
        (void)snprintf(ret_text, ACCOUNT_BYTES, "%u", (unsigned)gid);
    return ret_text;
}
