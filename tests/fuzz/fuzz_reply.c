/* A worker's message from arbitrary bytes: read as a reply, a hello and (the worker's side) a
 * request. Whatever is accepted is sound, and packs to bytes that are accepted again.
 * Seeds are real messages of this build, which reply_seeds.c packs. */

#include "reply_encoders.h"

#include "extract/wire/protocol.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_text(const char *s, size_t size)
{
    size_t n = strnlen(s, size);
    if (n == size)
        abort();
    for (size_t i = 0; i < n; i++) {
        if (s[i] < 0x20 || s[i] >= 0x7f)
            abort();
    }
}

static void check_features(const struct features *f)
{
    if (f->mask > MODALITY_ALL || !(f->flags.coverage >= 0.0f && f->flags.coverage <= 1.0f) ||
        f->extract_us < 0)
        abort();
    check_text(f->flags.container, sizeof(f->flags.container));
    check_text(f->flags.video_codec, sizeof(f->flags.video_codec));
    check_text(f->flags.audio_codec, sizeof(f->flags.audio_codec));
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if ((f->mask & MODALITY_BIT(m)) == 0)
            continue;
        if (f->dim[m] != encoders[m].dim)
            abort();
        for (int i = 0; i < f->dim[m]; i++) {
            if (!isfinite(f->vec[m][i]))
                abort();
        }
    }
}

static void try_reply(const uint8_t *data, size_t bytes)
{
    static struct protocol_reply reply, again;
    static unsigned char buf[PROTOCOL_REPLY_BYTES_MAX];
    struct err err = {0};
    if (protocol_parse_reply(data, bytes, 9, encoders, &reply, &err) != ERR_OK) {
        if (err.status != ERR_SKIP || err.text[0] == 0)
            abort();
        return;
    }
    if (reply.err.status == ERR_OK)
        check_features(&reply.features);
    else if (reply.err.status != ERR_SKIP && reply.err.status != ERR_RETRY)
        abort();
    check_text(reply.err.text, sizeof(reply.err.text));
    check_text(reply.err.reason, sizeof(reply.err.reason));
    size_t n =
        protocol_pack_reply(9, reply.rss_bytes, reply.leaves, &reply.err, &reply.features, buf);
    if (protocol_parse_reply(buf, n, 9, encoders, &again, &err) != ERR_OK ||
        memcmp(&again.features, &reply.features, sizeof(reply.features)) != 0)
        abort();
}

static void try_hello(const uint8_t *data, size_t bytes)
{
    struct protocol_hello hello;
    struct err err = {0};
    if (protocol_parse_hello(data, bytes, &hello, &err) == ERR_OK) {
        if (hello.filter > PROTOCOL_FILTER_SANITIZER)
            abort();
        return;
    }
    check_text(err.text, sizeof(err.text));
}

static void try_announcement(const uint8_t *data, size_t bytes)
{
    struct protocol_control ready = {.n_encoders = MODALITY_COUNT};
    struct encoder_identity got[MODALITY_COUNT];
    struct err err = {0};
    memcpy(ready.encoders, data,
           bytes < sizeof(ready.encoders) ? bytes : sizeof(ready.encoders));
    if (protocol_take_encoders(&ready, got, &err) != ERR_OK)
        return;
    for (int m = 0; m < MODALITY_COUNT; m++) {
        check_text(got[m].id, sizeof(got[m].id));
        if (got[m].modality != (enum modality)m || got[m].dim == 0 ||
            got[m].dim > FEATURES_DIM_MAX || got[m].id[0] == 0)
            abort();
    }
}

static void try_request(const uint8_t *data, size_t bytes)
{
    static struct protocol_request request, again;
    static unsigned char buf[PROTOCOL_REQUEST_BYTES_MAX];
    struct err err = {0};
    if (protocol_parse_request(data, bytes, &request, &err) != ERR_OK)
        return;
    size_t n = protocol_pack_request(request.seq, request.has_media, request.sha256,
                                     &request.text, buf);
    if (protocol_parse_request(buf, n, &again, &err) != ERR_OK ||
        again.text.n_tags != request.text.n_tags)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    try_reply(data, bytes);
    try_hello(data, bytes);
    try_announcement(data, bytes);
    try_request(data, bytes);
    return 0;
}
