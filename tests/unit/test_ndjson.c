#include "daemon/source/ndjson.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { LINE_MAX_BYTES = 10000 };

static struct ndjson *opened(const char *text, size_t n, int *ret_fd)
{
    struct ndjson *reader;
    *ret_fd = memfd_create("lines", MFD_CLOEXEC);
    assert_true(*ret_fd >= 0);
    assert_int_equal(write(*ret_fd, text, n), n);
    assert_int_equal(lseek(*ret_fd, 0, SEEK_SET), 0);
    assert_int_equal(ndjson_open(*ret_fd, INT64_MAX, LINE_MAX_BYTES, &reader, NULL), ERR_OK);
    return reader;
}

static void expect_line(struct ndjson *reader, int64_t number, const char *text)
{
    struct ndjson_line line;
    assert_int_equal(ndjson_next(reader, &line, NULL), ERR_OK);
    assert_int_equal(line.number, number);
    assert_int_equal(line.n_bytes, strlen(text));
    assert_memory_equal(line.text, text, line.n_bytes);
    assert_false(line.too_long);
}

static void expect_end(struct ndjson *reader, int fd)
{
    struct ndjson_line line;
    assert_int_equal(ndjson_next(reader, &line, NULL), ERR_END);
    assert_int_equal(ndjson_next(reader, &line, NULL), ERR_END);
    ndjson_close(reader);
    close(fd);
}

static void next_counts_empty_lines(void **state)
{
    (void)state;
    int fd;
    static const char text[] = "a\n\nb\r\n\r\nc";
    struct ndjson *reader = opened(text, strlen(text), &fd);
    expect_line(reader, 0, "a");
    expect_line(reader, 2, "b");
    expect_line(reader, 4, "c");
    expect_end(reader, fd);
}

static void next_of_an_empty_file_ends(void **state)
{
    (void)state;
    int fd;
    struct ndjson *reader = opened("", 0, &fd);
    expect_end(reader, fd);
    reader = opened("\n\n", 2, &fd);
    expect_end(reader, fd);
}

static void next_keeps_bytes_that_are_not_text(void **state)
{
    (void)state;
    int fd;
    struct ndjson *reader = opened("\0\xff\n", 3, &fd);
    struct ndjson_line line;
    assert_int_equal(ndjson_next(reader, &line, NULL), ERR_OK);
    assert_int_equal(line.n_bytes, 2);
    assert_memory_equal(line.text, "\0\xff", 2);
    expect_end(reader, fd);
}

/* "x…x\n" of n bytes, then "end". */
static struct ndjson *with_long_line(size_t n, int *ret_fd)
{
    char *text = malloc(n + 4);
    assert_non_null(text);
    memset(text, 'x', n);
    memcpy(text + n, "\nend", 4);
    struct ndjson *reader = opened(text, n + 4, ret_fd);
    free(text);
    return reader;
}

static void next_over_long_keeps_the_head_and_goes_on(void **state)
{
    (void)state;
    static const size_t sizes[] = {LINE_MAX_BYTES + 2, LINE_MAX_BYTES + 3, 5 * LINE_MAX_BYTES,
                                   1000000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int fd;
        struct ndjson_line line;
        struct ndjson *reader = with_long_line(sizes[i], &fd);
        assert_int_equal(ndjson_next(reader, &line, NULL), ERR_OK);
        assert_true(line.too_long);
        assert_int_equal(line.number, 0);
        assert_int_equal(line.n_bytes, NDJSON_HEAD_BYTES);
        assert_int_equal(line.text[NDJSON_HEAD_BYTES - 1], 'x');
        assert_int_equal(line.full_bytes, sizes[i]);
        expect_line(reader, 1, "end");
        expect_end(reader, fd);
    }
}

static void next_just_short_enough_is_whole(void **state)
{
    (void)state;
    int fd;
    struct ndjson_line line;
    struct ndjson *reader = with_long_line(LINE_MAX_BYTES, &fd);
    assert_int_equal(ndjson_next(reader, &line, NULL), ERR_OK);
    assert_false(line.too_long);
    assert_int_equal(line.n_bytes, LINE_MAX_BYTES);
    expect_line(reader, 1, "end");
    expect_end(reader, fd);
}

static void next_over_long_at_the_end_of_the_file(void **state)
{
    (void)state;
    int fd;
    char *text = malloc(300000);
    assert_non_null(text);
    memset(text, 'x', 300000);
    struct ndjson *reader = opened(text, 300000, &fd);
    free(text);
    struct ndjson_line line;
    assert_int_equal(ndjson_next(reader, &line, NULL), ERR_OK);
    assert_true(line.too_long);
    assert_int_equal(line.full_bytes, 300000);
    expect_end(reader, fd);
}

static void next_after_a_read_error_says_retry(void **state)
{
    (void)state;
    int ends[2];
    struct ndjson *reader;
    struct ndjson_line line;
    struct err err;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(ndjson_open(ends[1], INT64_MAX, LINE_MAX_BYTES, &reader, NULL), ERR_OK);
    assert_int_equal(ndjson_next(reader, &line, &err), ERR_RETRY); /* the writing end */
    ndjson_close(reader);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_counts_empty_lines),
        cmocka_unit_test(next_of_an_empty_file_ends),
        cmocka_unit_test(next_keeps_bytes_that_are_not_text),
        cmocka_unit_test(next_over_long_keeps_the_head_and_goes_on),
        cmocka_unit_test(next_just_short_enough_is_whole),
        cmocka_unit_test(next_over_long_at_the_end_of_the_file),
        cmocka_unit_test(next_after_a_read_error_says_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
