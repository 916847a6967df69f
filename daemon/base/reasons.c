#include "daemon/base/reasons.h"

const struct reason reasons[] = {
    {"bad_json", "The value is not one JSON object; the error has line and column."},
    {"bad_schema", "A field is missing, of another type or too long, or type and fields "
                   "contradict each other; the error names the field."},
    {"too_big", "The event has more than 1 MiB."},
    {"scheme", "media_uri is neither a path nor file:."},
    {"media_path", "media_uri is no path that can be resolved."},
    {"media_denied", "The media lies outside media.roots, or may not be read."},
    {"media_missing", "There is no such file."},
    {"media_not_file", "It is a folder, a device or the like."},
    {"media_too_big",
     "More bytes than media.max_bytes, or frames over 4096 by 4096 pixels or over the "
     "memory limit."},
    {"media", "The file cannot be opened: empty, no admitted container, its header broken or "
              "missing."},
    {"media_sha256", "Its SHA-256 is not the event's."},
    {"media_encrypted", "Its packets are encrypted."},
    {"media_codec", "No stream has an admitted codec."},
    {"media_no_frames", "There are streams, but nothing in them decodes."},
    {"no_media", "An update or a re-extraction of an item that has neither media nor text."},
    {"no_item", "A re-extraction of an item that is not in the store."},
    {"worker_deadline", "A worker ran longer than extract.deadline_ms, twice."},
    {"worker_cpu", "It used more CPU time than extract.cpu_seconds, twice."},
    {"worker_memory", "It had no address space left (extract.address_space_bytes), or the "
                      "kernel killed it for want of memory, twice."},
    {"worker_crash", "It ended by a signal or a forbidden system call, twice."},
    {"worker_reply", "It broke the protocol, twice. The file may be an attack."},
    {"internal", "Something that should not be; the log has more."},
};
const size_t n_reasons = sizeof(reasons) / sizeof(reasons[0]);
