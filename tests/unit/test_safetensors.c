/* Reading and writing safetensors: what the format allows, and what it does not. */

#include "fusion_fixture.h"

#include <inttypes.h>

/* A file from a header text and data. */
static void make_file(const char *name, const char *header, const void *data, size_t bytes)
{
    size_t n = strlen(header);
    unsigned char *file = malloc(8 + n + bytes);
    uint64_t length = n;

    assert_non_null(file);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, n);
    if (bytes > 0)
        memcpy(file + 8 + n, data, bytes);
    fixture_write(name, file, 8 + n + bytes);
    free(file);
}

static void assert_refused(const char *header, size_t data_bytes, const char *part)
{
    static const char data[64];
    struct safetensors st;
    struct err err = {0};

    make_file("bad.safetensors", header, data, data_bytes);
    if (safetensors_open(fixture_path("bad.safetensors"), &st, &err) == ERR_OK)
        fail_msg("taken: %s", header);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, "bad.safetensors"));
    if (strstr(err.text, part) == NULL)
        fail_msg("no \"%s\" in: %s", part, err.text);
}

static void safetensors_write_then_read_gives_equal_values(void **state)
{
    const float a[] = {1.5f, -2.25f, 3e-30f, 4, 5, 6}, b[] = {7};
    const struct safetensors_source sources[] = {
        {"layer \"1\"\\\n\xc3\xa9", 2, {2, 3}, a}, {"b", 1, {1}, b}, {"empty", 1, {0}, b}};
    const struct safetensors_pair metadata[] = {{"k", "v\"\t"}, {"", "x"}};
    const struct safetensors_tensor *t;
    struct safetensors st;
    float data[6];

    (void)state;
    assert_int_equal(safetensors_write(fixture_path("w"), sources, 3, metadata, 2, NULL),
                     ERR_OK);
    assert_int_equal(safetensors_open(fixture_path("w"), &st, NULL), ERR_OK);
    assert_int_equal(st.n_tensors, 3);
    assert_int_equal(st.data_offset % 64, 0);
    t = &st.tensors[0];
    assert_string_equal(t->name, sources[0].name);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(safetensors_read(&st, t, data, NULL), ERR_OK);
    assert_memory_equal(data, a, sizeof(a));
    assert_int_equal(st.n_metadata, 2);
    assert_string_equal(st.metadata[0].key, "k");
    assert_string_equal(st.metadata[0].value, "v\"\t");
    assert_string_equal(st.metadata[1].key, "");
    assert_string_equal(st.metadata[1].value, "x");
    safetensors_close(&st);
}

static void safetensors_read_other_dtypes_gives_float(void **state)
{
    static const char *const headers[] = {
        "{\"x\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}",
        "{\"x\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]}}",
        "{\"x\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}"};
    const double wide[] = {0.1, -3.0};
    const uint16_t half[] = {0x3c00, 0xc001, 0x0001, 0x7bff}, brain[] = {0x3f80, 0xc2f7};
    const void *data[] = {wide, half, brain};
    const size_t bytes[] = {16, 8, 4};
    const float want[3][4] = {
        {0.1f, -3.0f}, {1.0f, -2.001953125f, 0x1p-24f, 65504.0f}, {1.0f, -123.5f}};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct safetensors st;
        float have[4] = {0};

        make_file("d", headers[i], data[i], bytes[i]);
        assert_int_equal(safetensors_open(fixture_path("d"), &st, NULL), ERR_OK);
        assert_int_equal(safetensors_read(&st, &st.tensors[0], have, NULL), ERR_OK);
        assert_memory_equal(have, want[i], sizeof(have));
        safetensors_close(&st);
    }
}

static void safetensors_open_spaces_and_escapes_are_read(void **state)
{
    struct safetensors st;
    const float one = 1.0f;

    (void)state;
    make_file("s",
              "{ \"__metadata__\" : { \"a\" : \"\\u00e9\\ud83d\\ude00\\/\" } ,\n\t\"x\" : { "
              "\"shape\" : [ ] , \"data_offsets\" : [ 0 , 4 ] , \"dtype\" : \"F32\" } }   ",
              &one, 4);
    assert_int_equal(safetensors_open(fixture_path("s"), &st, NULL), ERR_OK);
    assert_string_equal(st.metadata[0].key, "a");
    assert_string_equal(st.metadata[0].value, "\xc3\xa9\xf0\x9f\x98\x80/");
    assert_int_equal(st.tensors[0].n_elements, 1);
    safetensors_close(&st);
    make_file("s", "{}", NULL, 0);
    assert_int_equal(safetensors_open(fixture_path("s"), &st, NULL), ERR_OK);
    assert_int_equal(st.n_tensors, 0);
    safetensors_close(&st);
}

#define T(dtype, shape, range)                                                                 \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" range "}"

static void safetensors_open_bad_tensors_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"x\":" T("I64", "[1]", "[0,8]") "}", 8, "I64");
    assert_refused("{\"x\":" T("F32", "[2]", "[0,4]") "}", 4, "tensor x");
    assert_refused("{\"x\":" T("F32", "[2]", "[0,8]") "}", 4, "bytes 0 to 8 of 4");
    assert_refused("{\"x\":" T("F32", "[1]", "[4,0]") "}", 4, "tensor x");
    assert_refused("{\"x\":" T("F32", "[1]", "[4,8]") "}", 8, "gap");
    assert_refused("{\"x\":" T("F32", "[1]", "[0,4]") "}", 8, "has 8");
    assert_refused("{\"x\":" T("F32", "[1]", "[0,4]") ",\"y\":" T("F32", "[1]", "[0,4]") "}", 4,
                   "overlap");
    assert_refused("{\"x\":" T("F32", "[2]", "[0,8]") ",\"y\":" T("F32", "[2]", "[4,12]") "}",
                   12, "overlap");
    assert_refused("{\"x\":" T("F32", "[1]", "[0,4]") ",\"x\":" T("F32", "[1]", "[4,8]") "}", 8,
                   "twice");
    assert_refused(
        "{\"x\":" T("F32", "[1]", "[0,4]") ",\"\\u0078\":" T("F32", "[1]", "[4,8]") "}", 8,
        "twice");
    assert_refused("{\"x\":" T("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "overflows");
    assert_refused("{\"x\":" T("F32", "[1,1,1,1,1]", "[0,4]") "}", 4, "too long");
    assert_refused("{\"x\":" T("F32", "[18446744073709551616]", "[0,4]") "}", 4, "64 bits");
    assert_refused("{\"x\":" T("F32", "[-1]", "[0,4]") "}", 4, "number");
    assert_refused("{\"x\":" T("F32", "[1.0]", "[0,4]") "}", 4, "end");
    assert_refused("{\"x\":" T("F32", "[01]", "[0,4]") "}", 4, "leading zero");
    assert_refused("{\"\":" T("F32", "[1]", "[0,4]") "}", 4, "empty");
}

static void safetensors_open_bad_text_is_refused(void **state)
{
    (void)state;
    assert_refused("", 0, "'{'");
    assert_refused(" {}", 0, "'{'");
    assert_refused("{} x", 0, "after the end");
    assert_refused("{", 0, "string");
    assert_refused("{\"x", 0, "does not end");
    assert_refused("{\"x\\", 0, "does not end");
    assert_refused("{\"x\"", 0, "':'");
    assert_refused("{\"x\":{}}", 0, "string");
    assert_refused("{\"x\":[]}", 0, "description");
    assert_refused("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "twice");
    assert_refused("{\"x\":{\"dtype\":\"F32\",\"size\":1}}", 0, "unknown field");
    assert_refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0, "data_offsets");
    assert_refused("{\"x\":" T("F32", "[0]", "[0]") "}", 0, "two numbers");
    assert_refused("{\"\\q\":{}}", 0, "escape");
    assert_refused("{\"\\u0000\":{}}", 0, "escape");
    assert_refused("{\"\\ud800\":{}}", 0, "escape");
    assert_refused("{\"a\nb\":{}}", 0, "control");
    assert_refused("{\"__metadata__\":{\"a\":1}}", 0, "string");
    assert_refused("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "twice");
    assert_refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice");
    assert_refused("{\"__metadata__\":{},}", 0, "string");
}

static void safetensors_open_bad_lengths_are_refused(void **state)
{
    static const uint64_t lengths[] = {1, SAFETENSORS_HEADER_MAX + 1, UINT64_MAX,
                                       UINT64_MAX - 7};
    struct safetensors st;
    struct err err = {0};

    (void)state;
    for (int i = 0; i < 4; i++) {
        fixture_write("l", &lengths[i], 8);
        assert_int_equal(safetensors_open(fixture_path("l"), &st, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_DATAERR);
    }
    fixture_write("l", lengths, 7);
    assert_int_equal(safetensors_open(fixture_path("l"), &st, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_int_equal(safetensors_open(fixture_path("none"), &st, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    assert_int_equal(safetensors_open(fixture_folder, &st, &err), ERR_FATAL);
}

static void safetensors_read_file_cut_after_open_is_an_error(void **state)
{
    const float a[4] = {0};
    const struct safetensors_source source = {"a", 1, {4}, a};
    struct safetensors st;
    struct err err = {0};
    float data[4];

    (void)state;
    assert_int_equal(safetensors_write(fixture_path("c"), &source, 1, NULL, 0, NULL), ERR_OK);
    assert_int_equal(safetensors_open(fixture_path("c"), &st, NULL), ERR_OK);
    assert_int_equal(truncate(fixture_path("c"), (off_t)st.data_offset + 3), 0);
    assert_int_equal(safetensors_read(&st, &st.tensors[0], data, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, "cut short"));
    safetensors_close(&st);
}

static void safetensors_write_missing_folder_leaves_nothing(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(safetensors_write(fixture_path("no/such"), NULL, 0, NULL, 0, &err),
                     ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CANTCREAT);
    assert_non_null(strstr(err.text, "no/such"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_write_then_read_gives_equal_values),
        cmocka_unit_test(safetensors_read_other_dtypes_gives_float),
        cmocka_unit_test(safetensors_open_spaces_and_escapes_are_read),
        cmocka_unit_test(safetensors_open_bad_tensors_are_refused),
        cmocka_unit_test(safetensors_open_bad_text_is_refused),
        cmocka_unit_test(safetensors_open_bad_lengths_are_refused),
        cmocka_unit_test(safetensors_read_file_cut_after_open_is_an_error),
        cmocka_unit_test(safetensors_write_missing_folder_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
