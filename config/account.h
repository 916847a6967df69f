#ifndef MMF_CONFIG_ACCOUNT_H
#define MMF_CONFIG_ACCOUNT_H

/* What users and groups are called, for messages. Any thread. */

#include <sys/types.h>

#define ACCOUNT_BYTES 80

/* "metammf (uid 999)", "uid 64211" for one without a name; returns ret_text. */
const char *account_user(uid_t uid, char ret_text[ACCOUNT_BYTES]);
/* "metammf-admin", "64211" for one without a name; returns ret_text. */
const char *account_group(gid_t gid, char ret_text[ACCOUNT_BYTES]);

#endif
