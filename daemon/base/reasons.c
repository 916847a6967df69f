#include "daemon/base/reasons.h"

#include <string.h>

#define OF_MEDIA true
#define OF_EVENT false

const struct reason reasons[] = {
    {"bad_json", "The value is not one JSON object; the error has line and column.", OF_EVENT},
    {"bad_schema",
     "A field is missing, of another type or too long, or type and fields "
     "contradict each other; the error names the field.",
     OF_EVENT},
    {"too_big", "The event has more than 1 MiB.", OF_EVENT},
    {"scheme", "media_uri is neither a path nor file:.", OF_EVENT},
    {"media_path", "media_uri is no path that can be resolved.", OF_EVENT},
    {"media_denied", "The media lies outside media.roots, or may not be read.", OF_EVENT},
    {"media_missing", "There is no such file.", OF_EVENT},
    {"media_not_file", "It is a folder, a device or the like.", OF_EVENT},
    {"media_too_big",
     "More bytes than media.max_bytes, or frames over 4096 by 4096 pixels or over the "
     "memory limit.",
     OF_MEDIA},
    {"media",
     "The file cannot be opened: empty, no admitted container, its header broken or "
     "missing.",
     OF_MEDIA},
    {"media_sha256", "Its SHA-256 is not the event's.", OF_EVENT},
    {"media_encrypted", "Its packets are encrypted.", OF_MEDIA},
    {"media_codec", "No stream has an admitted codec.", OF_MEDIA},
    {"media_no_frames", "There are streams, but nothing in them decodes.", OF_MEDIA},
    {"media_budget",
     "Half of extract.cpu_seconds, or as many frames and pixels as an item may cost, "
     "were spent before anything came out.",
     OF_MEDIA},
    {"no_media", "An update or a re-extraction of an item that has neither media nor text.",
     OF_EVENT},
    {"no_item", "A re-extraction of an item that is not in the store.", OF_EVENT},
    {"worker_deadline", "A worker ran longer than extract.deadline_ms, twice.", OF_MEDIA},
    {"worker_cpu",
     "It used more CPU time than extract.cpu_seconds, and did not end at half of it.",
     OF_MEDIA},
    {"worker_memory",
     "It had no address space left (extract.address_space_bytes), or the "
     "kernel killed it for want of memory, twice.",
     OF_MEDIA},
    {"worker_crash", "It ended by a signal or a forbidden system call, twice.", OF_MEDIA},
    {"worker_reply", "It broke the protocol, twice. The file may be an attack.", OF_MEDIA},
    {"internal", "Something that should not be; the log has more.", OF_EVENT},
};
const size_t n_reasons = sizeof(reasons) / sizeof(reasons[0]);

const char *reason_what(const char *name)
{
    for (size_t i = 0; i < n_reasons; i++)
        if (strcmp(reasons[i].name, name) == 0)
            return reasons[i].what;
    return "";
}
