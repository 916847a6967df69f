/* The messages between pool and worker, field by field through the cursors of wire.h. The
 * assertions below prove that each message fits its buffer. A parser fills a local struct and
 * copies it out only when the whole message held. */
#include "extract/wire/protocol.h"
#include "config/text.h"
#include "extract/wire/notes.h"
#include "extract/wire/wire.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <sysexits.h>

#define MAGIC   0x58464d4du /* "MMFX" */
#define VERSION 3u

enum kind { KIND_HELLO = 1, KIND_REFUSAL, KIND_REQUEST, KIND_REPLY };

#define FRAMES_MAX   4096u
#define RSS_MAX      (INT64_C(1) << 46)
#define DURATION_MAX (INT64_C(86400) * 1000000)

/* header, seq, rss, status, flags with room to spare, then vectors */
static_assert(256 + sizeof(float) * MODALITY_COUNT * FEATURES_DIM_MAX <=
                  PROTOCOL_REPLY_BYTES_MAX,
              "a reply with every vector fits");
static_assert(256 + ERR_TEXT_BYTES + ERR_REASON_BYTES <= PROTOCOL_REPLY_BYTES_MAX,
              "a reply with an error fits");
static_assert(256 + PROTOCOL_TITLE_BYTES_MAX + PROTOCOL_DESCRIPTION_BYTES_MAX +
                      PROTOCOL_LANG_BYTES_MAX +
                      PROTOCOL_TAGS_MAX * (PROTOCOL_TAG_BYTES_MAX + 8) <=
                  PROTOCOL_REQUEST_BYTES_MAX,
              "the longest request fits");

/* ---- to the other end ---- */

static void put_header(struct wire_writer *w, enum kind kind)
{
    wire_put_u32(w, MAGIC);
    wire_put_u16(w, VERSION);
    wire_put_u16(w, (uint16_t)kind);
}

static void put_error(struct wire_writer *w, const struct err *e)
{
    wire_put_u8(w, (unsigned)e->status);
    wire_put_u32(w, (uint32_t)e->exit_code);
    wire_put_chars(w, e->reason, ERR_REASON_BYTES);
    wire_put_text(w, e->text, ERR_TEXT_BYTES - 1);
}

size_t protocol_pack_hello(const struct protocol_hello *hello, void *buf)
{
    struct wire_writer w = {.at = buf};
    put_header(&w, KIND_HELLO);
    wire_put_u8(&w, (unsigned)hello->filter);
    wire_put_u32(&w, hello->landlock_abi);
    return wire_written(&w, buf);
}

size_t protocol_pack_refusal(const struct err *why, void *buf)
{
    struct wire_writer w = {.at = buf};
    put_header(&w, KIND_REFUSAL);
    put_error(&w, why);
    return wire_written(&w, buf);
}

size_t protocol_pack_request(uint64_t seq, bool has_media, const char *sha256,
                             const struct features_text *text, void *buf)
{
    struct wire_writer w = {.at = buf};
    put_header(&w, KIND_REQUEST);
    wire_put(&w, &seq, sizeof(seq));
    wire_put_u8(&w, has_media);
    wire_put_text(&w, sha256, PROTOCOL_SHA256_BYTES_MAX);
    wire_put_text(&w, text->title, PROTOCOL_TITLE_BYTES_MAX);
    wire_put_text(&w, text->description, PROTOCOL_DESCRIPTION_BYTES_MAX);
    wire_put_text(&w, text->lang, PROTOCOL_LANG_BYTES_MAX);
    uint32_t n_tags = text->n_tags < PROTOCOL_TAGS_MAX ? text->n_tags : PROTOCOL_TAGS_MAX;
    wire_put_u32(&w, n_tags);
    for (uint32_t i = 0; i < n_tags; i++)
        wire_put_text(&w, text->tags[i], PROTOCOL_TAG_BYTES_MAX);
    return wire_written(&w, buf);
}

static unsigned flag_bits(const struct features_flags *f)
{
    return (f->partial ? 1u : 0u) | (f->degraded ? 2u : 0u) | (f->capped ? 4u : 0u) |
           (f->retimed ? 8u : 0u);
}

static void put_flags(struct wire_writer *w, const struct features_flags *f)
{
    wire_put_u8(w, flag_bits(f));
    wire_put_u16(w, f->n_frames);
    wire_put_u16(w, f->n_planned);
    wire_put_u32(w, f->n_keyframes);
    wire_put(w, &f->coverage, sizeof(f->coverage));
    wire_put_u32(w, f->max_gap_ms);
    wire_put_u32(w, f->duration_ms);
    wire_put_u32(w, f->audio_ms);
    wire_put_u32(w, f->seen_ms);
    wire_put_u32(w, f->n_decode_errors);
    wire_put(w, &f->notes, sizeof(f->notes));
    wire_put_chars(w, f->reason, sizeof(f->reason));
    wire_put_u16(w, f->width);
    wire_put_u16(w, f->height);
    wire_put_chars(w, f->container, sizeof(f->container));
    wire_put_chars(w, f->video_codec, sizeof(f->video_codec));
    wire_put_chars(w, f->audio_codec, sizeof(f->audio_codec));
}

static void put_features(struct wire_writer *w, const struct features *f)
{
    wire_put_u8(w, f->mask);
    wire_put_i64(w, f->extract_us);
    put_flags(w, &f->flags);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        bool present = (f->mask & MODALITY_BIT(m)) != 0;
        uint16_t dim = present ? f->dim[m] : 0;
        assert(dim <= FEATURES_DIM_MAX);
        wire_put_u16(w, dim);
        wire_put(w, f->vec[m], dim * sizeof(float));
    }
}

size_t protocol_pack_reply(uint64_t seq, int64_t rss_bytes, const struct err *reply_err,
                           const struct features *features, void *buf)
{
    struct wire_writer w = {.at = buf};
    put_header(&w, KIND_REPLY);
    wire_put(&w, &seq, sizeof(seq));
    wire_put_i64(&w, rss_bytes);
    put_error(&w, reply_err);
    if (reply_err->status == ERR_OK)
        put_features(&w, features);
    return wire_written(&w, buf);
}

/* ---- from the other end ---- */

static void get_header(struct wire_reader *r, enum kind kind)
{
    uint32_t magic = wire_get_u32(r);
    uint16_t version = wire_get_u16(r);
    uint16_t got = wire_get_u16(r);
    wire_require(r, magic == MAGIC, "its magic number is wrong");
    wire_require(r, version == VERSION, "its version is not ours");
    wire_require(r, got == kind, "it is of another kind");
}

static int finish(struct wire_reader *r, const char *what, struct err *err)
{
    wire_require(r, r->at == r->end, "bytes follow its end");
    if (r->fault == NULL)
        return ERR_OK;
    return err_skip(err, "worker_reply", "%s: refused, %s", what, r->fault);
}

static bool is_word(const char *s)
{
    return s[0] != 0 && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

/* Of a media: those that begin with worker_ are the pool's own. */
static bool is_media_reason(const char *s)
{
    return is_word(s) && strncmp(s, "worker_", 7) != 0;
}

/* FFmpeg's short names: "mov,mp4,m4a,3gp", "h264", "pcm_s16le", "ADPCM-IMA". */
static bool is_short_name(const char *s)
{
    return s[strspn(
               s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_,.-+")] == 0;
}

static void get_error(struct wire_reader *r, struct err *ret)
{
    unsigned status = wire_get_u8(r);
    uint32_t exit_code = wire_get_u32(r);
    char reason[ERR_REASON_BYTES];
    wire_get_chars(r, reason, sizeof(reason));
    const char *text = wire_get_text(r, ERR_TEXT_BYTES - 1);
    wire_require(r, status <= ERR_FATAL, "its status is none");
    wire_require(r, reason[0] == 0 || is_word(reason), "its reason is no word");
    wire_require(r, exit_code == 0 || (exit_code >= EX__BASE && exit_code <= EX__MAX),
                 "its exit code is none");
    wire_require(r, text != NULL, "its error has no text");
    if (r->fault != NULL)
        return;
    ret->status = (enum err_status)status;
    ret->exit_code = (int)exit_code;
    memcpy(ret->reason, reason, sizeof(reason));
    text_format(ret->text, sizeof(ret->text), "%s", text);
}

static int parse_refusal(const void *data, size_t n_bytes, struct err *err)
{
    struct wire_reader r = wire_reader(data, n_bytes);
    struct err why = {0};
    get_header(&r, KIND_REFUSAL);
    get_error(&r, &why);
    if (finish(&r, "worker's first message", err) != ERR_OK)
        return ERR_SKIP;
    return err_fatal(err, EX_CONFIG, "worker: %s", why.text);
}

int protocol_parse_hello(const void *data, size_t n_bytes, struct protocol_hello *ret_hello,
                         struct err *err)
{
    struct protocol_hello hello = {0};
    struct err refusal = {0};
    if (parse_refusal(data, n_bytes, &refusal) == ERR_FATAL) {
        if (err != NULL)
            *err = refusal;
        return ERR_FATAL;
    }
    struct wire_reader r = wire_reader(data, n_bytes);
    get_header(&r, KIND_HELLO);
    unsigned filter = wire_get_u8(&r);
    hello.landlock_abi = wire_get_u32(&r);
    wire_require(&r, filter <= PROTOCOL_FILTER_SANITIZER, "its filter is none");
    int status = finish(&r, "worker's hello", err);
    if (status != ERR_OK)
        return status;
    hello.filter = (enum protocol_filter)filter;
    *ret_hello = hello;
    return ERR_OK;
}

int protocol_parse_request(const void *data, size_t n_bytes,
                           struct protocol_request *ret_request, struct err *err)
{
    struct protocol_request q = {0};
    struct wire_reader r = wire_reader(data, n_bytes);
    get_header(&r, KIND_REQUEST);
    wire_get(&r, &q.seq, sizeof(q.seq));
    unsigned has_media = wire_get_u8(&r);
    wire_require(&r, has_media <= 1, "a flag is neither 0 nor 1");
    q.has_media = has_media == 1;
    q.sha256 = wire_get_text(&r, PROTOCOL_SHA256_BYTES_MAX);
    q.text.title = wire_get_text(&r, PROTOCOL_TITLE_BYTES_MAX);
    q.text.description = wire_get_text(&r, PROTOCOL_DESCRIPTION_BYTES_MAX);
    q.text.lang = wire_get_text(&r, PROTOCOL_LANG_BYTES_MAX);
    uint32_t n_tags = wire_get_u32(&r);
    wire_require(&r, n_tags <= PROTOCOL_TAGS_MAX, "it has too many tags");
    for (uint32_t i = 0; i < n_tags && r.fault == NULL; i++) {
        q.tags[i] = wire_get_text(&r, PROTOCOL_TAG_BYTES_MAX);
        wire_require(&r, q.tags[i] != NULL, "a tag is absent");
    }
    int status = finish(&r, "request to a worker", err);
    if (status != ERR_OK)
        return status;
    q.text.n_tags = n_tags;
    *ret_request = q;
    ret_request->text.tags = ret_request->tags;
    return ERR_OK;
}

static void get_flags(struct wire_reader *r, struct features_flags *f)
{
    unsigned bits = wire_get_u8(r);
    wire_require(r, bits < 16, "it has unknown flags");
    f->partial = (bits & 1u) != 0;
    f->degraded = (bits & 2u) != 0;
    f->capped = (bits & 4u) != 0;
    f->retimed = (bits & 8u) != 0;
    f->n_frames = wire_get_u16(r);
    f->n_planned = wire_get_u16(r);
    f->n_keyframes = wire_get_u32(r);
    wire_get(r, &f->coverage, sizeof(f->coverage));
    f->max_gap_ms = wire_get_u32(r);
    f->duration_ms = wire_get_u32(r);
    f->audio_ms = wire_get_u32(r);
    f->seen_ms = wire_get_u32(r);
    f->n_decode_errors = wire_get_u32(r);
    wire_get(r, &f->notes, sizeof(f->notes));
    wire_get_chars(r, f->reason, sizeof(f->reason));
    f->width = wire_get_u16(r);
    f->height = wire_get_u16(r);
    wire_get_chars(r, f->container, sizeof(f->container));
    wire_get_chars(r, f->video_codec, sizeof(f->video_codec));
    wire_get_chars(r, f->audio_codec, sizeof(f->audio_codec));
    wire_require(r, f->n_frames <= FRAMES_MAX && f->n_planned <= FRAMES_MAX, "too many frames");
    wire_require(r, f->notes >> NOTE_COUNT == 0, "it has unknown notes");
    wire_require(r, f->reason[0] == 0 || is_media_reason(f->reason), "its reason is no word");
    wire_require(r, f->coverage >= 0.0f && f->coverage <= 1.0f, "its coverage is no share");
    wire_require(r,
                 is_short_name(f->container) && is_short_name(f->video_codec) &&
                     is_short_name(f->audio_codec),
                 "a format's name has odd letters");
}

static void get_vector(struct wire_reader *r, enum modality m,
                       const struct encoder_identity *encoder, struct features *f)
{
    uint16_t dim = wire_get_u16(r);
    bool present = (f->mask & MODALITY_BIT(m)) != 0;
    wire_require(r, dim == (present ? encoder->dim : 0) && dim <= FEATURES_DIM_MAX,
                 "a vector's length is not the encoder's");
    if (!present || r->fault != NULL)
        return;
    wire_get(r, f->vec[m], dim * sizeof(float));
    for (uint16_t i = 0; i < dim; i++)
        wire_require(r, isfinite(f->vec[m][i]), "a number is not finite");
    f->dim[m] = dim;
    memcpy(f->encoder_id[m], encoder->id, FEATURES_ENCODER_ID_MAX);
}

static void get_features(struct wire_reader *r, const struct encoder_identity *encoders,
                         struct features *f)
{
    f->mask = wire_get_u8(r);
    wire_require(r, f->mask <= MODALITY_ALL, "its mask has unknown bits");
    f->extract_us = wire_get_i64(r);
    wire_require(r, f->extract_us >= 0 && f->extract_us <= DURATION_MAX,
                 "its duration is absurd");
    get_flags(r, &f->flags);
    for (int m = 0; m < MODALITY_COUNT && r->fault == NULL; m++)
        get_vector(r, (enum modality)m, &encoders[m], f);
}

/* What an extractor may say of an item; the words that begin with worker_ are the pool's
 * own. */
static void check_error(struct wire_reader *r, const struct err *e)
{
    wire_require(r, e->status == ERR_SKIP || e->status == ERR_RETRY,
                 "its status is no outcome of an item");
    wire_require(r, e->status != ERR_SKIP || e->reason[0] != 0, "its reason is missing");
    wire_require(r, strncmp(e->reason, "worker_", 7) != 0, "its reason is the pool's");
}

int protocol_parse_reply(const void *data, size_t n_bytes, uint64_t seq,
                         const struct encoder_identity *encoders,
                         struct protocol_reply *ret_reply, struct err *err)
{
    struct protocol_reply reply = {0};
    struct wire_reader r = wire_reader(data, n_bytes);
    get_header(&r, KIND_REPLY);
    wire_get(&r, &reply.seq, sizeof(reply.seq));
    wire_require(&r, reply.seq == seq, "it answers another request");
    reply.rss_bytes = wire_get_i64(&r);
    wire_require(&r, reply.rss_bytes >= 0 && reply.rss_bytes <= RSS_MAX,
                 "its memory is absurd");
    get_error(&r, &reply.err);
    if (reply.err.status != ERR_OK)
        check_error(&r, &reply.err);
    else
        get_features(&r, encoders, &reply.features);
    if (reply.err.status == ERR_OK)
        err_clear(&reply.err);
    int status = finish(&r, "worker's reply", err);
    if (status != ERR_OK)
        return status;
    *ret_reply = reply;
    return ERR_OK;
}

/* ---- the announcement ---- */

/* NULL = it is sound. */
static const char *encoder_fault(const struct encoder_identity *e)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_.:+";
    if ((unsigned)e->modality >= MODALITY_COUNT)
        return "its modality is none";
    if (e->dim == 0 || e->dim > FEATURES_DIM_MAX)
        return "its dimension is out of bounds";
    if (e->id[0] == 0 || memchr(e->id, 0, sizeof(e->id)) == NULL)
        return "its id has no letters or no end";
    return e->id[strspn(e->id, letters)] == 0 ? NULL : "its id has odd letters";
}

int protocol_take_encoders(const struct protocol_control *ready,
                           struct encoder_identity *ret_encoders, struct err *err)
{
    struct encoder_identity encoders[MODALITY_COUNT] = {0};
    const char *fault = ready->n_encoders == MODALITY_COUNT ? NULL : "not one a modality";
    for (unsigned i = 0; fault == NULL && i < MODALITY_COUNT; i++) {
        const struct encoder_identity *e = &ready->encoders[i];
        fault = encoder_fault(e);
        if (fault == NULL && encoders[e->modality].dim > 0)
            fault = "a modality has two";
        if (fault == NULL)
            encoders[e->modality] = *e;
    }
    if (fault != NULL)
        return err_fatal(err, EX_CONFIG, "the encoders that it announces: refused, %s", fault);
    memcpy(ret_encoders, encoders, sizeof(encoders));
    return ERR_OK;
}
