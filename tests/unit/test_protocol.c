#include "extract/wire/layout.h"
#include "extract/wire/notes.h"
#include "extract/wire/protocol.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <cmocka.h>

static struct encoder_identity encoders[MODALITY_COUNT];
static struct features features;
static struct protocol_reply reply;
static unsigned char buf[PROTOCOL_REQUEST_BYTES_MAX];

static int set_up(void **state)
{
    (void)state;
    for (int m = 0; m < MODALITY_COUNT; m++) {
        encoders[m] = layout_identity((enum modality)m);
        features.dim[m] = encoders[m].dim;
        for (int i = 0; i < encoders[m].dim; i++)
            features.vec[m][i] = (float)(i - 40) / 7.0f;
    }
    features.mask = MODALITY_ALL;
    features.extract_us = 90000;
    features.flags = (struct features_flags){.partial = true,
                                             .retimed = true,
                                             .n_frames = 8,
                                             .n_planned = 8,
                                             .n_keyframes = 51,
                                             .coverage = 1.0f,
                                             .max_gap_ms = 120,
                                             .duration_ms = 4000,
                                             .audio_ms = 3990,
                                             .n_decode_errors = 2,
                                             .width = 1280,
                                             .height = 720,
                                             .container = "mov,mp4,m4a",
                                             .video_codec = "h264",
                                             .audio_codec = "aac"};
    return 0;
}

static size_t pack(void)
{
    struct err ok = {0};
    return protocol_pack_reply(9, 61000000, false, &ok, &features, buf);
}

/* A copy of exactly n bytes, so that a sanitizer sees a read past the end. */
static int parse_copy(size_t n_bytes)
{
    unsigned char *copy = malloc(n_bytes > 0 ? n_bytes : 1);
    struct err err = {0};
    assert_non_null(copy);
    memcpy(copy, buf, n_bytes);
    int status = protocol_parse_reply(copy, n_bytes, 9, encoders, &reply, &err);
    free(copy);
    if (status != ERR_OK) {
        assert_int_equal(status, ERR_SKIP);
        assert_string_equal(err.reason, "worker_reply");
    }
    return status;
}

static void assert_sound(void)
{
    assert_true(reply.features.mask <= MODALITY_ALL);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if ((reply.features.mask & MODALITY_BIT(m)) == 0)
            continue;
        assert_int_equal(reply.features.dim[m], encoders[m].dim);
        assert_string_equal(reply.features.encoder_id[m], encoders[m].id);
        for (int i = 0; i < encoders[m].dim; i++)
            assert_true(isfinite(reply.features.vec[m][i]));
    }
    assert_true(reply.features.flags.coverage >= 0.0f && reply.features.flags.coverage <= 1.0f);
    assert_true(reply.features.extract_us >= 0);
}

static void protocol_parse_reply_packed_features_are_the_same(void **state)
{
    (void)state;
    assert_int_equal(parse_copy(pack()), ERR_OK);
    assert_int_equal(reply.rss_bytes, 61000000);
    assert_int_equal(reply.err.status, ERR_OK);
    assert_int_equal(reply.features.mask, MODALITY_ALL);
    assert_int_equal(reply.features.extract_us, 90000);
    assert_memory_equal(reply.features.vec, features.vec, sizeof(features.vec));
    assert_memory_equal(&reply.features.flags, &features.flags, sizeof(features.flags));
    assert_sound();
}

static void protocol_parse_reply_missing_modality_stays_missing(void **state)
{
    (void)state;
    features.mask = MODALITY_BIT(MODALITY_ACOUSTIC);
    assert_int_equal(parse_copy(pack()), ERR_OK);
    features.mask = MODALITY_ALL;
    assert_int_equal(reply.features.mask, MODALITY_BIT(MODALITY_ACOUSTIC));
    assert_int_equal(reply.features.dim[MODALITY_VISUAL], 0);
    assert_string_equal(reply.features.encoder_id[MODALITY_VISUAL], "");
}

static void protocol_parse_reply_item_error_keeps_reason_and_cleans_text(void **state)
{
    struct err skip = {0};
    (void)state;
    err_skip(&skip, "media_codec", "media: no stream");
    memcpy(skip.text, "a\x1b[2Jb\x80", 8);
    size_t n = protocol_pack_reply(9, 1, false, &skip, NULL, buf);
    assert_int_equal(parse_copy(n), ERR_OK);
    assert_int_equal(reply.err.status, ERR_SKIP);
    assert_string_equal(reply.err.reason, "media_codec");
    assert_string_equal(reply.err.text, "a [2Jb?");
}

static void protocol_parse_reply_pools_own_reason_is_refused(void **state)
{
    struct err skip = {0};
    (void)state;
    err_skip(&skip, "worker_crash", "I am the pool");
    assert_int_equal(parse_copy(protocol_pack_reply(9, 1, false, &skip, NULL, buf)), ERR_SKIP);
    err_skip(&skip, "", "no reason");
    assert_int_equal(parse_copy(protocol_pack_reply(9, 1, false, &skip, NULL, buf)), ERR_SKIP);
    err_fatal(&skip, EX_SOFTWARE, "stop the daemon");
    assert_int_equal(parse_copy(protocol_pack_reply(9, 1, false, &skip, NULL, buf)), ERR_SKIP);
}

static void protocol_parse_reply_other_request_is_refused(void **state)
{
    struct err ok = {0};
    (void)state;
    size_t n = protocol_pack_reply(8, 1, false, &ok, &features, buf);
    assert_int_equal(parse_copy(n), ERR_SKIP);
}

static void protocol_parse_reply_truncated_anywhere_is_refused(void **state)
{
    (void)state;
    size_t n = pack();
    memset(&reply, 0x55, sizeof(reply));
    static struct protocol_reply before;
    before = reply;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(parse_copy(i), ERR_SKIP);
    assert_memory_equal(&reply, &before, sizeof(reply)); /* outputs only on success */
    buf[n] = 0;
    assert_int_equal(parse_copy(n + 1), ERR_SKIP);
}

static void protocol_parse_reply_flipped_byte_is_refused_or_harmless(void **state)
{
    unsigned n_accepted = 0;
    (void)state;
    size_t n = pack();
    static const unsigned char masks[] = {0xff, 0x80, 0x01, 0x40};
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof(masks); k++) {
            buf[i] ^= masks[k];
            if (parse_copy(n) == ERR_OK) {
                assert_true(i >= 16); /* magic, version, kind, seq */
                assert_sound();
                n_accepted++;
            }
            buf[i] ^= masks[k];
        }
    }
    assert_true(n_accepted > n); /* the vectors' own bytes: other numbers, as finite */
}

static uint64_t draw(uint64_t n)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

/* The ends of a range, and anything between. */
static uint64_t draw_edge(uint64_t max)
{
    switch (draw(3)) {
    case 0:
        return 0;
    case 1:
        return max;
    default:
        return max == UINT64_MAX ? draw(max) : draw(max + 1);
    }
}

static void draw_name(char name[16])
{
    static const char letters[] = PROTOCOL_NAME_LETTERS;
    size_t n = draw_edge(15);
    memset(name, 0, 16);
    for (size_t i = 0; i < n; i++)
        name[i] = letters[draw(sizeof(letters) - 1)];
}

/* Whatever the types and the extractor's own bounds allow: FRAMES_MAX of encoder.h is 8, a job lasts
 * an hour at most, sizes are those of FFmpeg cut to 16 bits. */
static void draw_features(struct features *f)
{
    struct features_flags *g = &f->flags;
    f->mask = (unsigned)draw_edge(MODALITY_ALL);
    f->extract_us = (int64_t)draw_edge(INT64_C(3600) * 1000000);
    g->partial = draw(2);
    g->degraded = draw(2);
    g->capped = draw(2);
    g->retimed = draw(2);
    g->n_frames = (uint16_t)draw_edge(8);
    g->n_planned = (uint16_t)draw_edge(8);
    g->n_keyframes = (uint32_t)draw_edge(UINT32_MAX);
    g->coverage = (float)draw_edge(8) / 8;
    g->max_gap_ms = (uint32_t)draw_edge(UINT32_MAX);
    g->duration_ms = (uint32_t)draw_edge(UINT32_MAX);
    g->audio_ms = (uint32_t)draw_edge(UINT32_MAX);
    g->seen_ms = (uint32_t)draw_edge(UINT32_MAX);
    g->n_decode_errors = (uint32_t)draw_edge(UINT32_MAX);
    g->notes = draw_edge((UINT64_C(1) << NOTE_COUNT) - 1);
    g->width = (uint16_t)draw_edge(UINT16_MAX);
    g->height = (uint16_t)draw_edge(UINT16_MAX);
    draw_name(g->container);
    draw_name(g->video_codec);
    draw_name(g->audio_codec);
    memset(g->reason, 0, sizeof(g->reason));
    memset(g->reason, 'm', draw_edge(sizeof(g->reason) - 1));
}

/* Of an error: whatever text_format makes of what FFmpeg, a path or a codec is called. */
static void draw_error(struct err *e)
{
    size_t n = draw_edge(ERR_TEXT_BYTES - 1);
    bool is_ours = draw(2);
    memset(e, 0, sizeof(*e));
    e->status = is_ours ? ERR_RETRY : ERR_SKIP;
    e->exit_code = is_ours ? (draw(2) ? EX_OSERR : EX_IOERR) : (int)draw_edge(1) * EX_DATAERR;
    if (!is_ours || draw(2))
        memset(e->reason, 'm', 1 + draw_edge(ERR_REASON_BYTES - 2));
    for (size_t i = 0; i < n; i++)
        e->text[i] = (char)(1 + draw(255));
}

/* A bound that an honest worker can pass would call it a breaker of the protocol, and kill it. */
static void protocol_parse_reply_of_an_honest_worker_is_accepted(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct err e = {0};
        if (draw(3) == 0)
            draw_error(&e);
        else
            draw_features(&features);
        size_t n = protocol_pack_reply(9, (int64_t)draw_edge(INT64_C(1) << 46), draw(2), &e,
                                       &features, buf);
        assert_true(n <= PROTOCOL_REPLY_BYTES_MAX);
        struct err err = {0};
        if (protocol_parse_reply(buf, n, 9, encoders, &reply, &err) != ERR_OK)
            fail_msg("%d: %s", i, err.text);
        if (e.status == ERR_OK)
            assert_memory_equal(&reply.features.flags, &features.flags, sizeof(features.flags));
        assert_string_equal(reply.err.reason, e.status == ERR_OK ? "" : e.reason);
    }
    set_up(NULL);
}

static void protocol_parse_reply_row_of_text_has_its_error(void **state)
{
    struct err e = {0};
    (void)state;
    err_skip(&e, "media_codec", "media: no stream");
    e.status = ERR_OK;
    memcpy(features.flags.reason, "media_codec", 12);
    size_t n = protocol_pack_reply(9, 1, true, &e, &features, buf);
    assert_int_equal(parse_copy(n), ERR_OK);
    assert_true(reply.leaves);
    assert_int_equal(reply.err.status, ERR_OK);
    assert_string_equal(reply.err.text, "");
    assert_int_equal(reply.media_err.status, ERR_SKIP);
    assert_string_equal(reply.media_err.reason, "media_codec");
    assert_string_equal(reply.media_err.text, "media: no stream");
    memcpy(features.flags.reason, "worker_crash", 13);
    assert_int_equal(parse_copy(protocol_pack_reply(9, 1, false, &e, &features, buf)),
                     ERR_SKIP);
    set_up(NULL);
}

static void protocol_parse_reply_wrong_vectors_are_refused(void **state)
{
    (void)state;
    features.vec[1][3] = NAN;
    assert_int_equal(parse_copy(pack()), ERR_SKIP);
    features.vec[1][3] = -INFINITY;
    assert_int_equal(parse_copy(pack()), ERR_SKIP);
    features.vec[1][3] = 0.0f;
    features.dim[1]--;
    assert_int_equal(parse_copy(pack()), ERR_SKIP);
    features.dim[1]++;
    features.mask = 8 | MODALITY_ALL;
    assert_int_equal(parse_copy(pack()), ERR_SKIP);
    features.mask = MODALITY_ALL;
    assert_int_equal(parse_copy(pack()), ERR_OK);
}

static void protocol_parse_hello_whole_one_is_accepted(void **state)
{
    struct protocol_hello hello = {.filter = PROTOCOL_FILTER_STRICT, .landlock_abi = 4}, got;
    struct err err = {0};
    (void)state;
    size_t n = protocol_pack_hello(&hello, buf);
    assert_int_equal(protocol_parse_hello(buf, n, &got, &err), ERR_OK);
    assert_int_equal(got.filter, PROTOCOL_FILTER_STRICT);
    assert_int_equal(got.landlock_abi, 4);
    for (size_t i = 0; i < n; i++)
        assert_int_not_equal(protocol_parse_hello(buf, i, &got, &err), ERR_OK);
}

static struct protocol_control announcement(void)
{
    struct protocol_control ready = {.kind = PROTOCOL_READY, .n_encoders = MODALITY_COUNT};
    memcpy(ready.encoders, encoders, sizeof(encoders));
    return ready;
}

static void protocol_take_encoders_any_order_is_by_modality(void **state)
{
    struct protocol_control ready = announcement();
    struct encoder_identity got[MODALITY_COUNT];
    (void)state;
    ready.encoders[0] = encoders[2];
    ready.encoders[2] = encoders[0];
    assert_int_equal(protocol_take_encoders(&ready, got, NULL), ERR_OK);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        assert_int_equal(got[m].modality, m);
        assert_int_equal(got[m].dim, encoders[m].dim);
        assert_string_equal(got[m].id, encoders[m].id);
    }
}

static void assert_refused(const struct protocol_control *ready, const char *words)
{
    struct encoder_identity got[MODALITY_COUNT], before[MODALITY_COUNT];
    struct err err = {0};
    memset(got, 0x55, sizeof(got));
    memcpy(before, got, sizeof(got));
    assert_int_equal(protocol_take_encoders(ready, got, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_non_null(strstr(err.text, words));
    assert_memory_equal(got, before, sizeof(got));
}

static void protocol_take_encoders_unsound_is_refused(void **state)
{
    struct protocol_control ready = announcement();
    (void)state;
    ready.n_encoders = 2;
    assert_refused(&ready, "not one a modality");
    ready.n_encoders = UINT32_MAX;
    assert_refused(&ready, "not one a modality");
    ready = announcement();
    ready.encoders[1].modality = MODALITY_VISUAL;
    assert_refused(&ready, "has two");
    ready = announcement();
    ready.encoders[1].modality = (enum modality)MODALITY_COUNT;
    assert_refused(&ready, "its modality is none");
    ready = announcement();
    ready.encoders[1].dim = 0;
    assert_refused(&ready, "dimension");
    ready.encoders[1].dim = FEATURES_DIM_MAX + 1;
    assert_refused(&ready, "dimension");
    ready = announcement();
    memset(ready.encoders[2].id, 'a', sizeof(ready.encoders[2].id));
    assert_refused(&ready, "no end");
    memset(ready.encoders[2].id, 0, sizeof(ready.encoders[2].id));
    assert_refused(&ready, "no letters");
    for (const char *bad = "\"\\\n /%'\x80"; *bad; bad++) {
        ready = announcement();
        ready.encoders[2].id[1] = *bad;
        assert_refused(&ready, "odd letters");
    }
}

static void protocol_parse_hello_refusal_gives_the_workers_words(void **state)
{
    struct protocol_hello got;
    struct err why = {0}, err = {0};
    (void)state;
    err_fatal(&why, EX_CONFIG, "sandbox: seccomp: Function not implemented");
    size_t n = protocol_pack_refusal(&why, buf);
    assert_int_equal(protocol_parse_hello(buf, n, &got, &err), ERR_FATAL);
    assert_non_null(strstr(err.text, "Function not implemented"));
}

static void protocol_parse_request_packed_text_is_the_same(void **state)
{
    const char *tags[] = {"sea", "boat"};
    struct features_text text = {
        .title = "Harbour", .description = "", .tags = tags, .n_tags = 2};
    struct protocol_request got;
    struct err err = {0};
    (void)state;
    size_t n = protocol_pack_request(11, true, "e3b0", &text, buf);
    assert_int_equal(protocol_parse_request(buf, n, &got, &err), ERR_OK);
    assert_int_equal(got.seq, 11);
    assert_true(got.has_media);
    assert_string_equal(got.sha256, "e3b0");
    assert_string_equal(got.text.title, "Harbour");
    assert_string_equal(got.text.description, "");
    assert_null(got.text.lang);
    assert_int_equal(got.text.n_tags, 2);
    assert_string_equal(got.text.tags[1], "boat");
    for (size_t i = 0; i < n; i++)
        assert_int_equal(protocol_parse_request(buf, i, &got, &err), ERR_SKIP);
}

static void protocol_pack_request_long_text_is_cut_between_characters(void **state)
{
    static char title[3 * PROTOCOL_TITLE_BYTES_MAX], description[3 << 20];
    const char *tags[PROTOCOL_TAGS_MAX + 50];
    struct features_text text = {.title = title,
                                 .description = description,
                                 .tags = tags,
                                 .n_tags = PROTOCOL_TAGS_MAX + 50,
                                 .lang = title};
    struct protocol_request got;
    struct err err = {0};
    (void)state;
    for (size_t i = 0; i + 3 < sizeof(title); i += 3)
        memcpy(title + i, "\xe6\xb5\xb7", 3); /* one character of three bytes */
    memset(description, 'd', sizeof(description) - 1);
    for (size_t i = 0; i < PROTOCOL_TAGS_MAX + 50; i++)
        tags[i] = description;
    size_t n = protocol_pack_request(1, false, NULL, &text, buf);
    assert_true(n <= PROTOCOL_REQUEST_BYTES_MAX);
    assert_int_equal(protocol_parse_request(buf, n, &got, &err), ERR_OK);
    assert_null(got.sha256);
    assert_int_equal(strlen(got.text.title), PROTOCOL_TITLE_BYTES_MAX / 3 * 3);
    assert_int_equal(strlen(got.text.description), PROTOCOL_DESCRIPTION_BYTES_MAX);
    assert_int_equal(strlen(got.text.lang), PROTOCOL_LANG_BYTES_MAX / 3 * 3);
    assert_int_equal(got.text.n_tags, PROTOCOL_TAGS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protocol_parse_reply_packed_features_are_the_same),
        cmocka_unit_test(protocol_parse_reply_missing_modality_stays_missing),
        cmocka_unit_test(protocol_parse_reply_item_error_keeps_reason_and_cleans_text),
        cmocka_unit_test(protocol_parse_reply_pools_own_reason_is_refused),
        cmocka_unit_test(protocol_parse_reply_other_request_is_refused),
        cmocka_unit_test(protocol_parse_reply_truncated_anywhere_is_refused),
        cmocka_unit_test(protocol_parse_reply_flipped_byte_is_refused_or_harmless),
        cmocka_unit_test(protocol_parse_reply_of_an_honest_worker_is_accepted),
        cmocka_unit_test(protocol_parse_reply_row_of_text_has_its_error),
        cmocka_unit_test(protocol_parse_reply_wrong_vectors_are_refused),
        cmocka_unit_test(protocol_parse_hello_whole_one_is_accepted),
        cmocka_unit_test(protocol_take_encoders_any_order_is_by_modality),
        cmocka_unit_test(protocol_take_encoders_unsound_is_refused),
        cmocka_unit_test(protocol_parse_hello_refusal_gives_the_workers_words),
        cmocka_unit_test(protocol_parse_request_packed_text_is_the_same),
        cmocka_unit_test(protocol_pack_request_long_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests_name("protocol", tests, set_up, NULL);
}
