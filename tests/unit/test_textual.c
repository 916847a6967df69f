/* The textual encoder: which texts are alike, and that no bytes hurt it. */

#include "extract/media/encoder.h"
#include "extract/wire/layout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct encoder encoder;

static int setup(void **state)
{
    (void)state;
    struct err err;
    return textual_encoder(&encoder, &err);
}

static int teardown(void **state)
{
    (void)state;
    encoder.free(encoder.state);
    return 0;
}

static bool encode(const struct features_text *text, float *vec)
{
    struct encoder_input in = {.text = text};
    struct err err;
    bool present;
    assert_int_equal(encoder.encode(encoder.state, &in, vec, &present, &err), ERR_OK);
    return present;
}

static double cosine(const char *a, const char *b)
{
    float x[FEATURES_DIM_MAX], y[FEATURES_DIM_MAX];
    assert_true(encode(&(struct features_text){.title = a}, x));
    assert_true(encode(&(struct features_text){.title = b}, y));
    double dot = 0;
    for (int i = 0; i < encoder.identity.dim; i++)
        dot += (double)x[i] * (double)y[i];
    return dot;
}

static void encode_any_text_has_unit_length(void **state)
{
    (void)state;
    float vec[FEATURES_DIM_MAX];
    assert_true(encode(&(struct features_text){.title = "A cat plays the piano"}, vec));
    double sum = 0;
    for (int i = 0; i < encoder.identity.dim; i++)
        sum += (double)vec[i] * (double)vec[i];
    assert_float_equal(sum, 1.0, 1e-5);
}

static void encode_normal_forms_are_the_same(void **state)
{
    (void)state;
    assert_float_equal(cosine("Caf\u00e9 FUN", "cafe\u0301 fun"), 1, 1e-6);
    assert_float_equal(cosine("\uff26\uff35\uff2e", "fun"), 1, 1e-6);
    assert_float_equal(cosine("stra\u00dfe", "STRASSE"), 1, 1e-6);
    assert_float_equal(cosine("\u2764\ufe0f love", "\u2764 love"), 1, 1e-6);
    assert_float_equal(cosine("\uff76\uff9e", "\u30ac"), 1, 1e-6);
}

static void encode_hashtag_is_near_its_word_but_not_it(void **state)
{
    (void)state;
    double same = cosine("#funny cats", "funny cats");
    assert_true(same > 0.6 && same < 0.999);
    assert_true(cosine("#funny", "#funny") > 0.9999);
}

static void encode_emoji_count(void **state)
{
    (void)state;
    double same = cosine("dance \U0001F525", "song \U0001F525");
    double other = cosine("dance \U0001F525", "song \U0001F436");
    assert_true(same > other + 0.2);
    /* Skin tones are the same gesture. */
    assert_float_equal(cosine("\U0001F44D\U0001F3FD", "\U0001F44D"), 1, 1e-6);
}

static void encode_scripts_without_spaces_share_parts(void **state)
{
    (void)state;
    static const char *const triples[][3] = {
        {"今天的天气真好", "明天的天气也好", "我爱吃四川火锅"},
        {"猫がピアノを弾く動画", "犬がピアノを弾く動画", "ラーメンの作り方"},
        {"ทำอาหารไทยง่ายๆ", "ทำอาหารไทยอร่อย", "แมวน่ารักมาก"},
        {"وصفة الكعكة السهلة", "وصفة الكعكة اللذيذة", "مباراة كرة القدم"},
        {"рецепт борща", "рецепты борщей", "футбольный матч"},
    };
    for (size_t i = 0; i < sizeof(triples) / sizeof(triples[0]); i++)
        assert_true(cosine(triples[i][0], triples[i][1]) >
                    cosine(triples[i][0], triples[i][2]) + 0.2);
}

static void encode_nothing_to_say_is_missing(void **state)
{
    (void)state;
    float vec[FEATURES_DIM_MAX];
    static const char *const empty[] = {"", "   ", "...!?", "\xff\xfe\x80", "\u200d\ufe0f",
                                        "#"};
    assert_false(encode(NULL, vec));
    assert_false(encode(&(struct features_text){0}, vec));
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
        assert_false(encode(&(struct features_text){.title = empty[i]}, vec));
}

static void encode_invalid_bytes_end_a_word(void **state)
{
    (void)state;
    assert_float_equal(cosine("cat\xff\xc0 dog", "cat dog"), 1, 1e-6);
    assert_float_equal(cosine("cat\xe2\x82", "cat"), 1, 1e-6);
    assert_float_equal(cosine("cat\xed\xa0\x80", "cat"), 1, 1e-6); /* a surrogate */
}

static void encode_random_bytes_stay_finite_and_equal(void **state)
{
    (void)state;
    srand(11);
    static char noise[40001];
    float a[FEATURES_DIM_MAX], b[FEATURES_DIM_MAX];
    for (int round = 0; round < 60; round++) {
        size_t n = (size_t)rand() % (sizeof(noise) - 1);
        for (size_t i = 0; i < n; i++)
            noise[i] = (char)(1 + rand() % 255);
        noise[n] = '\0';
        struct features_text text = {.title = noise, .description = noise};
        bool present = encode(&text, a);
        assert_int_equal(encode(&text, b), present);
        for (int i = 0; present && i < encoder.identity.dim; i++)
            assert_true(isfinite(a[i]));
        if (present)
            assert_memory_equal(a, b, encoder.identity.dim * sizeof(float));
    }
}

static void encode_expanding_characters_are_bounded(void **state)
{
    (void)state;
    static char text[60001]; /* U+FDFA becomes 18 code points */
    for (size_t i = 0; i + 3 < sizeof(text); i += 3)
        memcpy(text + i, "\xef\xb7\xba", 3);
    float vec[FEATURES_DIM_MAX];
    assert_true(encode(&(struct features_text){.title = text}, vec));
}

static void encode_what_is_beyond_the_bound_changes_nothing(void **state)
{
    (void)state;
    static char longer[20000], shorter[16385];
    for (size_t i = 0; i < sizeof(longer) - 1; i++)
        longer[i] = i % 7 == 6 ? ' ' : (char)('a' + i * i % 26);
    memcpy(shorter, longer, 16384);
    assert_float_equal(cosine(longer, shorter), 1, 1e-6);
}

static void encode_tags_are_hashtags(void **state)
{
    (void)state;
    const char *tags[] = {"funny", "cats"};
    float a[FEATURES_DIM_MAX], b[FEATURES_DIM_MAX];
    assert_true(encode(&(struct features_text){.tags = tags, .n_tags = 2}, a));
    assert_true(encode(&(struct features_text){.title = "#funny #cats"}, b));
    assert_memory_equal(a, b, encoder.identity.dim * sizeof(float));
}

static void layout_blocks_weights_and_dims_add_up(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        size_t n;
        struct encoder_identity e = layout_identity((enum modality)m);
        const struct layout_block *blocks = layout_blocks((enum modality)m, &n);
        double squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += (double)blocks[i].weight * (double)blocks[i].weight;
        assert_true(n > 0 && e.dim == layout_offset((enum modality)m, n));
        assert_true(e.modality == (enum modality)m && e.dim <= FEATURES_DIM_MAX);
        assert_float_equal(squares, 1.0, 0.05);
        assert_non_null(strchr(e.id, ':'));
    }
}

static void layout_explain_names_every_block(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(layout_explain(out), 0);
    fclose(out);
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        size_t n;
        const struct layout_block *blocks = layout_blocks((enum modality)m, &n);
        for (size_t i = 0; i < n; i++)
            assert_non_null(strstr(text, blocks[i].name));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_any_text_has_unit_length),
        cmocka_unit_test(encode_normal_forms_are_the_same),
        cmocka_unit_test(encode_hashtag_is_near_its_word_but_not_it),
        cmocka_unit_test(encode_emoji_count),
        cmocka_unit_test(encode_scripts_without_spaces_share_parts),
        cmocka_unit_test(encode_nothing_to_say_is_missing),
        cmocka_unit_test(encode_invalid_bytes_end_a_word),
        cmocka_unit_test(encode_random_bytes_stay_finite_and_equal),
        cmocka_unit_test(encode_expanding_characters_are_bounded),
        cmocka_unit_test(encode_what_is_beyond_the_bound_changes_nothing),
        cmocka_unit_test(encode_tags_are_hashtags),
        cmocka_unit_test(layout_blocks_weights_and_dims_add_up),
        cmocka_unit_test(layout_explain_names_every_block),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
