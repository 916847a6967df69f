/* Arrays in NumPy's format: the three float widths, both shapes, and hostile headers. */

#include "fusion_fixture.h"

#include "fusion/file/npy.h"

#include <fcntl.h>
#include <unistd.h>

/* A file of format version `major` with that literal as its header. */
static void make_file(int major, const char *literal, const void *data, size_t bytes)
{
    unsigned char file[1024] = "\x93NUMPY";
    size_t n = strlen(literal), start = major == 1 ? 10 : 12;

    file[6] = (unsigned char)major;
    file[8] = (unsigned char)(n & 0xff);
    file[9] = (unsigned char)(n >> 8);
    memcpy(file + start, literal, n);
    if (bytes > 0)
        memcpy(file + start + n, data, bytes);
    fixture_write("a.npy", file, start + n + bytes);
}

static void assert_refused(const char *literal, size_t bytes, const char *part)
{
    static const char data[64];
    struct npy npy;
    struct err err = {0};

    make_file(1, literal, data, bytes);
    if (npy_read(fixture_path("a.npy"), &npy, &err) == ERR_OK)
        fail_msg("taken: %s", literal);
    assert_int_equal(err.exit_code, EX_DATAERR);
    if (strstr(err.text, part) == NULL || strstr(err.text, "a.npy") == NULL)
        fail_msg("no \"%s\" in: %s", part, err.text);

    struct err again = {0};
    size_t n;
    unsigned char *file = fixture_read("a.npy", &n), *exact = fixture_copy(file, n);
    assert_int_equal(npy_read_bytes(exact, n, fixture_path("a.npy"), &npy, &again), ERR_FATAL);
    assert_string_equal(again.text, err.text);
    free(exact);
    free(file);
}

static void npy_write_then_read_gives_equal_values(void **state)
{
    const float data[] = {1, -2, 0.1f, 4, 5e-40f, 6};
    struct npy npy;

    (void)state;
    assert_int_equal(npy_write(fixture_path("w.npy"), data, 3, 2, NULL), ERR_OK);
    assert_int_equal(npy_read(fixture_path("w.npy"), &npy, NULL), ERR_OK);
    assert_int_equal(npy.n_rows, 3);
    assert_int_equal(npy.n_cols, 2);
    assert_memory_equal(npy.data, data, sizeof(data));
    npy_done(&npy);

    size_t bytes;
    unsigned char *file = fixture_read("w.npy", &bytes);
    assert_int_equal(npy_read_bytes(file, bytes, "w.npy", &npy, NULL), ERR_OK);
    free(file);
    assert_int_equal(npy.n_rows, 3);
    assert_memory_equal(npy.data, data, sizeof(data));
    npy_done(&npy);
}

static void npy_read_every_width_and_version_gives_float(void **state)
{
    const double wide[] = {0.1, -3, 1e300};
    const uint16_t half[] = {0x3c00, 0xfbff, 0x8001};
    const float single[] = {0.1f, -3, 7},
                want[3][3] = {{0.1f, -3, INFINITY}, {1, -65504, -0x1p-24f}, {0.1f, -3, 7}};
    const void *data[] = {wide, half, single};
    const char *const literals[2] = {
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }          \n",
        "{'shape': (1, 3), 'fortran_order': False, 'descr': '<f2'}\n"};
    const size_t bytes[] = {24, 6, 12};
    struct npy npy;

    (void)state;
    for (int major = 1; major <= 3; major++) {
        for (int i = 0; i < 2; i++) {
            make_file(major, literals[i], data[i], bytes[i]);
            assert_int_equal(npy_read(fixture_path("a.npy"), &npy, NULL), ERR_OK);
            assert_int_equal(npy.n_rows, i == 0 ? 3 : 1);
            assert_int_equal(npy.n_cols, i == 0 ? 1 : 3);
            assert_memory_equal(npy.data, want[i], sizeof(want[i]));
            npy_done(&npy);
        }
    }
    make_file(1, "{'descr':'<f4','fortran_order':False,'shape':(3,1)}", single, 12);
    assert_int_equal(npy_read(fixture_path("a.npy"), &npy, NULL), ERR_OK);
    assert_memory_equal(npy.data, want[2], sizeof(want[2]));
    npy_done(&npy);
}

static void npy_read_empty_array_has_no_rows(void **state)
{
    struct npy npy;

    (void)state;
    make_file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 7), }\n", NULL, 0);
    assert_int_equal(npy_read(fixture_path("a.npy"), &npy, NULL), ERR_OK);
    assert_int_equal(npy.n_rows, 0);
    assert_int_equal(npy.n_cols, 7);
    npy_done(&npy);
}

#define L(descr, order, shape)                                                                 \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"

static void npy_read_fortran_order_gives_rows(void **state)
{
    const float single[] = {1, 4, 2, 5, 3, 6}, want[] = {1, 2, 3, 4, 5, 6};
    const uint16_t half[] = {0x3c00, 0x4400, 0x4000, 0x4500, 0x4200, 0x4600};
    const double wide[] = {1, 4, 2, 5, 3, 6};
    const void *data[] = {half, single, wide};
    const char *const literals[] = {L("'<f2'", "True", "(2, 3)"), L("'<f4'", "True", "(2, 3)"),
                                    L("'<f8'", "True", "(2, 3)")};
    const size_t bytes[] = {12, 24, 48};
    struct npy npy;

    (void)state;
    for (int i = 0; i < 3; i++) {
        make_file(1, literals[i], data[i], bytes[i]);
        assert_int_equal(npy_read(fixture_path("a.npy"), &npy, NULL), ERR_OK);
        assert_int_equal(npy.n_rows, 2);
        assert_int_equal(npy.n_cols, 3);
        assert_memory_equal(npy.data, want, sizeof(want));
        npy_done(&npy);
    }
}

static void npy_read_bad_headers_are_refused(void **state)
{
    (void)state;
    assert_refused(L("'<f4'", "Truer", "(2, 2)"), 16, "header");
    assert_refused(L("'<f4'", "1", "(2, 2)"), 16, "header");
    assert_refused(L("'<f4'", "True", "(2, 2)"), 12, "do not make");
    assert_refused(L("'>f4'", "False", "(1,)"), 4, "little-endian");
    assert_refused(L("'<i4'", "False", "(1,)"), 4, "float16");
    assert_refused(L("'|O'", "False", "(1,)"), 4, "float16");
    assert_refused(L("'<f4'", "False", "(1, 1, 1)"), 4, "two dimensions");
    assert_refused(L("'<f4'", "False", "()"), 4, "two dimensions");
    assert_refused(L("'<f4'", "False", "(-1,)"), 4, "two dimensions");
    assert_refused(L("'<f4'", "False", "(99999999999999999999,)"), 4, "two dimensions");
    assert_refused(L("'<f4'", "False", "(4294967296, 4294967296)"), 4, "do not make");
    assert_refused(L("'<f4'", "False", "(2,)"), 4, "do not make the 4 bytes");
    assert_refused(L("'<f4'", "False", "(2,)"), 12, "do not make");
    assert_refused("{'descr': '<f4', 'shape': (1,)}", 4, "header");
    assert_refused("{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}", 4, "header");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, "header");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 4,
                   "header");
    assert_refused("{ ", 0, "header");
    assert_refused("{'descr': '", 0, "little-endian");
    assert_refused("", 8, "header");
}

static void npy_read_bad_files_are_refused(void **state)
{
    const float one = 1;
    struct npy npy;
    struct err err = {0};

    (void)state;
    assert_int_equal(npy_read(fixture_path("none.npy"), &npy, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    assert_int_equal(npy_read(fixture_folder, &npy, &err), ERR_FATAL);
    fixture_write("a.npy", "\x93NUMPZ\x01\0\x04\0xxxxxx", 16);
    assert_int_equal(npy_read(fixture_path("a.npy"), &npy, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    fixture_write("a.npy", "\x93NUMPY\x01\0\xff\xffxxxxxx", 16);
    assert_int_equal(npy_read(fixture_path("a.npy"), &npy, &err), ERR_FATAL);
    assert_non_null(strstr(err.text, "longer than the file"));
    assert_int_equal(npy_write(fixture_path("no/a.npy"), &one, 1, 1, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CANTCREAT);
}

/* Every truncation of a good file is refused and never read past. */
static void npy_read_every_truncation_is_refused(void **state)
{
    const float data[] = {1, 2, 3, 4};
    unsigned char *file;
    struct npy npy;
    size_t bytes;

    (void)state;
    assert_int_equal(npy_write(fixture_path("w.npy"), data, 2, 2, NULL), ERR_OK);
    file = fixture_read("w.npy", &bytes);
    for (size_t n = 0; n < bytes; n++) {
        struct err err = {0};

        fixture_write("a.npy", file, n);
        assert_int_equal(npy_read(fixture_path("a.npy"), &npy, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_DATAERR);
    }
    free(file);
}

/* In pieces as whole: every width, both orders, more than a block of the reader. */
static void npy_reader_read_gives_the_same_in_pieces(void **state)
{
    enum { ROWS = 120, COLS = 331 };
    static unsigned char file[128 + ROWS * COLS * 8];
    static float piece[7 * COLS];

    (void)state;
    for (int size = 2; size <= 8; size *= 2)
        for (int by_column = 0; by_column < 2; by_column++) {
            size_t n = 10, data = (size_t)ROWS * COLS * (size_t)size;
            struct npy_reader *reader;
            struct npy npy;
            int fd;

            memcpy(file, "\x93NUMPY\x01\x00", 8);
            n += (size_t)sprintf((char *)file + 10,
                                 "{'descr': '<f%d', 'fortran_order': %s, 'shape': (%d, %d)}\n",
                                 size, by_column ? "True" : "False", ROWS, COLS);
            file[8] = (unsigned char)(n - 10);
            file[9] = 0;
            for (size_t i = 0; i < data; i++)
                file[n + i] = i % (size_t)size == (size_t)size - 1
                                  ? 0x3c
                                  : (unsigned char)(i * 37 + i / 251);
            fixture_write("r.npy", file, n + data);
            assert_int_equal(npy_read(fixture_path("r.npy"), &npy, NULL), ERR_OK);
            fd = open(fixture_path("r.npy"), O_RDONLY);
            assert_true(fd >= 0);
            assert_int_equal(npy_reader_open(fd, "r.npy", &reader, NULL), ERR_OK);
            assert_int_equal(npy_reader_n_rows(reader), ROWS);
            assert_int_equal(npy_reader_n_cols(reader), COLS);
            for (size_t row = 0; row < ROWS; row += 7) {
                size_t some = ROWS - row < 7 ? ROWS - row : 7;

                assert_int_equal(npy_reader_read(reader, row, some, piece, NULL), ERR_OK);
                assert_memory_equal(piece, npy.data + row * COLS, some * COLS * sizeof(float));
            }
            npy_reader_free(reader);
            close(fd);
            npy_done(&npy);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_write_then_read_gives_equal_values),
        cmocka_unit_test(npy_read_every_width_and_version_gives_float),
        cmocka_unit_test(npy_read_empty_array_has_no_rows),
        cmocka_unit_test(npy_read_fortran_order_gives_rows),
        cmocka_unit_test(npy_read_bad_headers_are_refused),
        cmocka_unit_test(npy_read_bad_files_are_refused),
        cmocka_unit_test(npy_read_every_truncation_is_refused),
        cmocka_unit_test(npy_reader_read_gives_the_same_in_pieces),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
