#include "config/infile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static void infile_open_regular_file_gives_its_size(void **state)
{
    char path[] = "/tmp/mmf-infile-XXXXXX", text[3];
    int made = mkstemp(path), fd = -1;
    int64_t bytes = 0;
    struct err err = {0};

    (void)state;
    assert_true(made >= 0);
    assert_int_equal(write(made, "abc", 3), 3);
    close(made);
    assert_int_equal(infile_open(path, &fd, &bytes, &err), ERR_OK);
    assert_int_equal(bytes, 3);
    assert_int_equal(read(fd, text, 3), 3);
    assert_memory_equal(text, "abc", 3);
    close(fd);
    assert_int_equal(unlink(path), 0);
}

static void infile_read_gives_the_whole_file(void **state)
{
    char path[] = "/tmp/mmf-infile-XXXXXX", *data = NULL;
    int made = mkstemp(path);
    struct err err = {0};
    size_t bytes = 7;

    (void)state;
    assert_true(made >= 0);
    assert_int_equal(infile_read(path, 3, &data, &bytes, &err), ERR_OK);
    assert_true(bytes == 0 && data[0] == '\0');
    free(data);
    assert_int_equal(write(made, "a\0c", 3), 3);
    close(made);
    assert_int_equal(infile_read(path, 3, &data, &bytes, &err), ERR_OK);
    assert_int_equal(bytes, 3);
    assert_memory_equal(data, "a\0c", 4);
    free(data);
    data = NULL;
    assert_int_equal(infile_read(path, 2, &data, &bytes, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(infile_read(path, 3, &data, &bytes, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_NOINPUT);
    assert_null(data);
}

static void refuse(const char *path, int exit_code, const char *why)
{
    int fd = -2;
    int64_t bytes = -2;
    struct err err = {0};

    assert_int_equal(infile_open(path, &fd, &bytes, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, exit_code);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, why));
    assert_true(fd == -2 && bytes == -2);
}

/* Opened for reading as usual, the FIFO would hold the test up for ever. */
static void infile_open_what_is_no_file_is_refused_at_once(void **state)
{
    char folder[] = "/tmp/mmf-infile-XXXXXX", fifo[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    refuse(fifo, EX_DATAERR, "not a regular file");
    refuse(folder, EX_DATAERR, "not a regular file");
    refuse("/dev/zero", EX_DATAERR, "not a regular file");
    assert_int_equal(unlink(fifo), 0);
    refuse(fifo, EX_NOINPUT, "No such file");
    assert_int_equal(rmdir(folder), 0);
}

static void infile_open_without_descriptors_is_to_be_tried_again(void **state)
{
    struct rlimit before, none;
    struct err err = {0};
    int fd;
    int64_t bytes;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = infile_open("/dev/null", &fd, &bytes, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, ERR_RETRY);
    assert_int_equal(err.exit_code, EX_OSERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(infile_open_regular_file_gives_its_size),
        cmocka_unit_test(infile_read_gives_the_whole_file),
        cmocka_unit_test(infile_open_what_is_no_file_is_refused_at_once),
        cmocka_unit_test(infile_open_without_descriptors_is_to_be_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
