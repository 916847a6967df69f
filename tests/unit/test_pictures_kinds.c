/* Kinds of pictures that FFmpeg's muxers do not write as cameras do: fields in packets of their own, two
 * sample descriptions, files end to end, intra refresh, palettes. Each against the plain clip. */

#include "extract_fixture.h"

#include "../property/film.h"
#include "../property/variants.h"

#include "extract/wire/notes.h"

#include <string.h>

static struct features f, g;
static struct err err;

static const struct sound sound = {.encoder = "aac"};

static void extract_variant(const struct extract_fixture *fx, const struct variant *v,
                            struct features *ret)
{
    struct file file;
    if (!variant_file(v, 1, &file)) {
        print_message("%s in %s: %s\n", v->coding.encoder, v->container, clip_why());
        skip();
    }
    write_bytes(clip_path(fx, "variant"), file.bytes, file.n_bytes);
    free(file.bytes);
    if (extract_file(fx, "variant", NULL, ret, &err) != ERR_OK)
        fail_msg("%s in %s: %s", v->coding.encoder, v->container, err.text);
}

static void expect_near(const struct variant *v)
{
    double cosine = feature_cosine(&f, &g, MODALITY_VISUAL);
    if (cosine < 0.95)
        fail_msg("%s in %s: cosine %.3f", v->coding.encoder, v->container, cosine);
}

static bool is_flagged(const struct features *x)
{
    return x->flags.partial || x->flags.degraded || x->flags.capped || x->flags.retimed ||
           x->flags.coverage < 1;
}

/* H.264 and HEVC; of HEVC each field is a picture. */
static void take_fields_are_pictures(void **state)
{
    static const struct variant kinds[] = {
        {.container = "mpegts", .coding = {.encoder = "paff"}},
        {.container = "mp4", .coding = {.encoder = "paff-apart"}},
        {.container = "mpegts", .coding = {.encoder = "paff-apart"}},
        {.container = "mpegts", .coding = {.encoder = "libx265", .field_pictures = true}},
        {.container = "mp4", .coding = {.encoder = "libx265", .field_pictures = true}},
    };
    const struct variant plain = {.container = "mp4", .coding = {.encoder = "libx264"}};
    extract_variant(*state, &plain, &f);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        extract_variant(*state, &kinds[i], &g);
        expect_near(&kinds[i]);
        assert_int_equal(g.flags.n_frames, 8);
        assert_int_equal(g.flags.n_decode_errors, 0);
        assert_false(is_flagged(&g));
    }
}

static struct variant in_two(const char *encoder, const char *container)
{
    struct variant v = {
        .container = container,
        .coding = {.encoder = encoder, .to_pct = 50},
        .second = {.encoder = encoder, .from_pct = 50, .width = 352, .height = 288}};
    return v;
}

/* Frames of each part by its own parameter sets. */
static void take_new_parameter_sets_are_followed(void **state)
{
    static const char *const encoders[] = {"libx264", "libx265"};
    for (size_t i = 0; i < sizeof(encoders) / sizeof(encoders[0]); i++) {
        const struct variant plain = {.container = "mp4", .coding = {.encoder = encoders[i]}};
        extract_variant(*state, &plain, &f);
        struct variant v = in_two(encoders[i], "mp4");
        v.sound = sound;
        v.make = boxes_two_descriptions;
        extract_variant(*state, &v, &g);
        expect_near(&v);
        assert_int_equal(g.flags.n_decode_errors, 0);
    }
    const struct variant plain = {.container = "mp4", .coding = {.encoder = "libx264"}};
    struct variant v = in_two("libx264", "flv");
    extract_variant(*state, &plain, &f);
    extract_variant(*state, &v, &g);
    expect_near(&v);
    assert_false(is_flagged(&g));
}

/* Times begin again in the second file, which is seen all the same. */
static void take_files_end_to_end_follow_each_other(void **state)
{
    static const char *const kinds[][2] = {
        {"libx264", "flv"},       {"flv", "flv"},        {"libvpx", "matroska"},
        {"mpeg2video", "mpegts"}, {"mpeg2video", "vob"}, {"mpeg1video", "mpeg"},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const struct variant plain = {.container = "matroska",
                                      .coding = {.encoder = kinds[i][0]}};
        extract_variant(*state, &plain, &f);
        struct variant v = in_two(kinds[i][0], kinds[i][1]);
        v.make = boxes_end_to_end;
        extract_variant(*state, &v, &g);
        expect_near(&v);
        assert_true(g.flags.retimed && g.flags.notes & UINT64_C(1) << NOTE_TIME_INVENTED);
        assert_int_equal(g.flags.n_frames, 8);
    }
}

/* No picture is a key, and after some of them all is there. */
static void take_intra_refresh_is_near(void **state)
{
    const struct variant plain = {.container = "mp4", .coding = {.encoder = "libx264"}};
    const struct variant v = {
        .container = "mp4",
        .coding = {.encoder = "libx264", .options = "x264-params=intra-refresh=1"}};
    extract_variant(*state, &plain, &f);
    extract_variant(*state, &v, &g);
    expect_near(&v);
}

static void take_palettes_hold_for_what_follows(void **state)
{
    static const char *const containers[] = {"avi", "mov"};
    const struct variant plain = {
        .container = "avi",
        .coding = {.encoder = "rawvideo", .pixels = "bgr24", .one_palette = true}};
    extract_variant(*state, &plain, &f);
    for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++) {
        const struct variant v = {
            .container = containers[i],
            .coding = {.encoder = "rawvideo", .pixels = "pal8", .one_palette = true}};
        extract_variant(*state, &v, &g);
        expect_near(&v);
    }
}

/* AVI has no times of sound: only where it lies between the pictures. */
static void take_sound_that_is_missing_in_avi_is_told(void **state)
{
    struct variant v = {
        .container = "avi", .coding = {.encoder = "mpeg4"}, .sound = {.encoder = "libmp3lame"}};
    extract_variant(*state, &v, &f);
    assert_false(is_flagged(&f));
    v.change = sound_lost;
    v.arg = 40;
    extract_variant(*state, &v, &g);
    assert_true(g.flags.partial && g.flags.notes & UINT64_C(1) << NOTE_SOUND_DAMAGED);
}

static int end(void **state)
{
    variant_cache_free();
    film_end();
    return extract_fixture_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_fields_are_pictures),
        cmocka_unit_test(take_new_parameter_sets_are_followed),
        cmocka_unit_test(take_files_end_to_end_follow_each_other),
        cmocka_unit_test(take_intra_refresh_is_near),
        cmocka_unit_test(take_palettes_hold_for_what_follows),
        cmocka_unit_test(take_sound_that_is_missing_in_avi_is_told),
    };
    return cmocka_run_group_tests_name("kinds of pictures", tests, extract_fixture_setup, end);
}
