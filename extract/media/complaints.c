#include "extract/media/complaints.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <libavutil/log.h>

static _Thread_local const void *listened_to;
static _Thread_local uint32_t n_complaints;

static void hear(void *context, int level, const char *format, va_list arguments)
{
    if (context == NULL || context != listened_to)
        av_log_default_callback(context, level, format, arguments);
    else if (level <= AV_LOG_ERROR && !strstr(format, "EXIF")) /* about a photo, not of it */
        n_complaints++;
}

void complaints_listen(const void *context)
{
    av_log_set_callback(hear);
    listened_to = context;
    n_complaints = 0;
}

uint32_t complaints_count(void)
{
    return n_complaints;
}
