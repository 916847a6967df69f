#include "config/wake.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void wake_set_is_readable_until_cleared(void **state)
{
    int fd;
    (void)state;
    assert_int_equal(wake_open("test", &fd, NULL), ERR_OK);
    assert_false(is_readable(fd));
    wake_clear(fd); /* does not block */
    wake_set(fd);
    wake_set(fd);
    assert_true(is_readable(fd));
    wake_clear(fd);
    assert_false(is_readable(fd));
    close(fd);
}

static void wake_open_without_descriptors_is_tried_again(void **state)
{
    struct rlimit before, none;
    struct err err;
    int fd = -7;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(wake_open("queue", &fd, &err), ERR_RETRY);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(err.exit_code, EX_OSERR);
    assert_non_null(strstr(err.text, "queue: eventfd"));
    assert_int_equal(fd, -7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wake_set_is_readable_until_cleared),
        cmocka_unit_test(wake_open_without_descriptors_is_tried_again),
    };
    return cmocka_run_group_tests_name("wake", tests, NULL, NULL);
}
