#ifndef MMF_DAEMON_SOURCE_SPOOL_H
#define MMF_DAEMON_SOURCE_SPOOL_H

/* A folder of event files as a source (pipeline/source.h): a rename says that a file is whole. */

#include "daemon/pipeline/source.h"

int spool_open(const struct settings *s, struct pipeline *p, struct source **ret_src,
               struct err *err);

#endif
