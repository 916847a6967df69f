#include "daemon/base/reasons.h"

#include <string.h>

#define OF_MEDIA true
#define OF_EVENT false

const struct reason reasons[] = {
    {"bad_json", OF_EVENT, "The value is not one JSON object; the error has line and column."},
    {"bad_schema", OF_EVENT,
     "A field is missing, of another type or too long, or type and fields "
     "contradict each other; the error names the field."},
    {"too_big", OF_EVENT, "The event has more than 1 MiB."},
    {"scheme", OF_EVENT, "media_uri is neither a path nor file:."},
    {"media_path", OF_EVENT, "media_uri is no path that can be resolved."},
    {"media_denied", OF_EVENT, "The media lies outside media.roots, or may not be read."},
    {"media_missing", OF_EVENT, "There is no such file."},
    {"media_not_file", OF_EVENT, "It is a folder, a device or the like."},
    {"media_too_big", OF_MEDIA,
     "More bytes than media.max_bytes, or frames over 4096 by 4096 pixels or over the "
     "memory limit."},
    {"media", OF_MEDIA,
     "The file cannot be opened: empty, no admitted container, its header broken or "
     "missing."},
    {"media_sha256", OF_EVENT, "Its SHA-256 is not the event's."},
    {"media_encrypted", OF_MEDIA, "Its packets are encrypted."},
    {"media_codec", OF_MEDIA, "No stream has an admitted codec."},
    {"media_no_frames", OF_MEDIA, "There are streams, but nothing in them decodes."},
    {"media_budget", OF_MEDIA,
     "Half of extract.cpu_seconds, or as many frames and pixels as an item may cost, "
     "were spent before anything came out."},
    {"no_media", OF_EVENT,
     "An update or a re-extraction of an item that has neither media nor text."},
    {"no_item", OF_EVENT, "A re-extraction of an item that is not in the store."},
    {"worker_deadline", OF_MEDIA, "A worker ran longer than extract.deadline_ms, twice."},
    {"worker_cpu", OF_MEDIA,
     "It used more CPU time than extract.cpu_seconds, and did not end at half of it."},
    {"worker_memory", OF_MEDIA,
     "It had no address space left (extract.address_space_bytes), or the "
     "kernel killed it for want of memory, twice."},
    {"worker_crash", OF_MEDIA, "It ended by a signal or a forbidden system call, twice."},
    {"worker_reply", OF_MEDIA, "It broke the protocol, twice. The file may be an attack."},
    {"internal", OF_EVENT, "Something that should not be; the log has more."},
};
const size_t n_reasons = sizeof(reasons) / sizeof(reasons[0]);

const char *reason_what(const char *name)
{
    for (size_t i = 0; i < n_reasons; i++)
        if (strcmp(reasons[i].name, name) == 0)
            return reasons[i].what;
    return "";
}
