#ifndef MMF_EXTRACT_WIRE_PROTOCOL_H
#define MMF_EXTRACT_WIRE_PROTOCOL_H

/* The messages between the pool (the daemon, trusted) and a sandboxed worker (not trusted once
 * it has seen media), each one datagram of a SOCK_SEQPACKET pair. Both ends are one build on
 * one machine, so numbers are in native byte order; nothing else is taken for granted: a
 * message is read by a cursor that checks every length, and must end exactly where its last
 * field ends.
 *
 *   worker → pool   hello     sandbox in force; or a refusal to start
 *   pool → worker   request   seq, digest, text; the media as a descriptor (SCM_RIGHTS)
 *   worker → pool   reply     seq, RSS, leaves, and features or the extractor's error
 *
 * Which encoders the workers have, the process that forks them announces on the control socket,
 * once, before the first worker exists. A reply carries dimensions but no encoder ids: the pool
 * fills those from the announcement, so a worker can neither rename nor resize an encoder. A
 * message that breaks any rule gives ERR_SKIP with reason worker_reply and changes no output.
 *
 * Example: reply {seq 7, mask 5, dim {737, 0, 512}} to request 7 is refused when a visual encoder
 * of 738 dimensions was announced, when a float is NaN, or when one byte follows the last. */

#include "config/err.h"
#include "extract/wire/features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longer text is cut at a character's end: captions of real micro-videos are under 1 KiB. */
#define PROTOCOL_TITLE_BYTES_MAX       4096
#define PROTOCOL_DESCRIPTION_BYTES_MAX 32768
#define PROTOCOL_LANG_BYTES_MAX        64
#define PROTOCOL_SHA256_BYTES_MAX      64
#define PROTOCOL_TAG_BYTES_MAX         128
#define PROTOCOL_TAGS_MAX              256

#define PROTOCOL_REQUEST_BYTES_MAX (80 * 1024)
#define PROTOCOL_REPLY_BYTES_MAX   (32 * 1024)

/* Of a container or codec: FFmpeg's short names have no others. */
#define PROTOCOL_NAME_LETTERS                                                                  \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_,.-+"

/* The descriptors of a worker; everything else is closed. */
#define PROTOCOL_WORKER_FD 3 /* its socket */
#define PROTOCOL_STATM_FD  4 /* /proc/self/statm */
/* The control socket of the process that forks the workers. */
#define PROTOCOL_CONTROL_FD 3

enum protocol_filter {
    PROTOCOL_FILTER_NONE,
    PROTOCOL_FILTER_STRICT,
    PROTOCOL_FILTER_SANITIZER
};

struct protocol_hello {
    enum protocol_filter filter; /* seccomp */
    uint32_t landlock_abi;       /* 0 = the kernel has none */
};

struct protocol_request {
    uint64_t seq;
    bool has_media;
    const char *sha256;        /* that the media must have; NULL = any */
    struct features_text text; /* points into the message, tags at `tags` below */
    const char *tags[PROTOCOL_TAGS_MAX];
};

struct protocol_reply {
    uint64_t seq;
    int64_t rss_bytes;
    bool leaves;          /* it ends now: its CPU time was spent in the middle of the job */
    struct err err;       /* ERR_OK, ERR_SKIP, ERR_RETRY; text in printable ASCII */
    struct err media_err; /* ERR_SKIP when features.flags.reason is set: the same and more */
    struct features features; /* when ERR_OK */
};

/* Each writes one message into buf (of the matching _BYTES_MAX) and returns its length. */
size_t protocol_pack_hello(const struct protocol_hello *hello, void *buf);
size_t protocol_pack_refusal(const struct err *why, void *buf);
/* Cuts text to the bounds above. */
size_t protocol_pack_request(uint64_t seq, bool has_media, const char *sha256,
                             const struct features_text *text, void *buf);
/* A packed request becomes one of the text alone. */
void protocol_drop_media(void *request);
/* features when reply_err->status is ERR_OK; the rest of *reply_err is then about the media. */
size_t protocol_pack_reply(uint64_t seq, int64_t rss_bytes, bool leaves,
                           const struct err *reply_err, const struct features *features,
                           void *buf);

/* A refusal gives ERR_FATAL with EX_CONFIG and the worker's words; anything else that is no
 * hello, ERR_SKIP. */
int protocol_parse_hello(const void *data, size_t n_bytes, struct protocol_hello *ret_hello,
                         struct err *err);
/* The strings of *ret_request point into data. */
int protocol_parse_request(const void *data, size_t n_bytes,
                           struct protocol_request *ret_request, struct err *err);
/* encoders (MODALITY_COUNT): as announced. What a taken-over worker can still do after this is
 * to give wrong numbers for the items that it is given, until it is replaced. */
int protocol_parse_reply(const void *data, size_t n_bytes, uint64_t seq,
                         const struct encoder_identity *encoders,
                         struct protocol_reply *ret_reply, struct err *err);

/* An item ends with what there is at half of extract.cpu_seconds. The extractor sees to it itself a
 * little before that (1/50), because a worker that has to be interrupted must be replaced. */
static inline int64_t protocol_cpu_us(int64_t cpu_seconds)
{
    return cpu_seconds * 490000;
}

/* The control socket between the pool and the process that forks its workers: fixed structs,
 * because neither end ever sees media. */
enum protocol_control_kind {
    PROTOCOL_CONFIGURE = 1, /* pool: first message; answer READY or REFUSED */
    PROTOCOL_SPAWN,         /* pool: answer SPAWNED with two descriptors, or REFUSED */
    PROTOCOL_REAP,          /* pool: pid; answer REAPED with its wait status */
    PROTOCOL_DISCARD,       /* pool: pid of a worker that is to end now; answer REAPED */
    PROTOCOL_READY,         /* n_encoders, encoders: the announcement */
    PROTOCOL_SPAWNED,
    PROTOCOL_REAPED,
    PROTOCOL_REFUSED, /* text */
};

struct protocol_control {
    uint32_t kind;
    int32_t pid;
    /* REAPED: as of waitpid; -1 = unknown. REFUSED: of sysexits.h; 0 = unknown. */
    int32_t status;
    uint32_t require_sandbox;
    int64_t address_space_bytes, cpu_seconds, max_media_bytes; /* CONFIGURE */
    int64_t packets_max, packet_bytes_max;                     /* CONFIGURE; 0 = the defaults */
    char text[512];                                            /* REFUSED */
    uint32_t n_encoders;                                       /* READY */
    struct encoder_identity encoders[MODALITY_COUNT];          /* READY, in any order */
};

/* Takes an announcement: one encoder a modality, each of 1 to FEATURES_DIM_MAX dimensions, its id
 * of letters, digits and "-_.:+" (so that JSON, SQL and a log take it as it is). ret_encoders
 * (MODALITY_COUNT) is by modality, and written on ERR_OK only; else ERR_FATAL with EX_CONFIG. It is
 * checked although its sender has seen no media: everything later is checked against it. */
int protocol_take_encoders(const struct protocol_control *ready,
                           struct encoder_identity *ret_encoders, struct err *err);

#endif
