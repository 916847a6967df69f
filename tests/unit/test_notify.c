/* notify.c over a NOTIFY_SOCKET of our own, and the log's look at standard error. */
#include "config/log.h"
#include "daemon/service/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int listener = -1;
static char dir[64], path[96];

static int setup(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/mmf-notify-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/n", dir);
    memcpy(addr.sun_path, path, strlen(path));
    listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    return listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
           setenv("NOTIFY_SOCKET", path, 1) != 0;
}

static int teardown(void **state)
{
    (void)state;
    close(listener);
    unlink(path);
    rmdir(dir);
    return unsetenv("NOTIFY_SOCKET");
}

/* The next message, "" = none. */
static const char *heard(void)
{
    static char text[512];
    ssize_t n = recv(listener, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void messages_are_those_of_sd_notify(void **state)
{
    int64_t us;
    char rest;

    (void)state;
    notify_ready();
    assert_string_equal(heard(), "READY=1");
    notify_watchdog();
    assert_string_equal(heard(), "WATCHDOG=1");
    notify_stopping();
    assert_string_equal(heard(), "STOPPING=1");
    notify_reloading();
    assert_int_equal(sscanf(heard(), "RELOADING=1\nMONOTONIC_USEC=%" SCNd64 "%c", &us, &rest),
                     1);
    assert_true(us > 0);
}

static void status_is_sent_when_it_changes(void **state)
{
    char longer[400];

    (void)state;
    notify_status("lag 1");
    assert_string_equal(heard(), "STATUS=lag 1");
    notify_status("lag 1");
    assert_string_equal(heard(), "");
    notify_status("lag 2");
    assert_string_equal(heard(), "STATUS=lag 2");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    notify_status(longer);
    assert_int_equal(strlen(heard()), strlen("STATUS=") + 255);
    notify_status(longer);
    assert_string_equal(heard(), "");
}

static void watchdog_interval_is_half_the_limit(void **state)
{
    char pid[32];

    (void)state;
    unsetenv("WATCHDOG_USEC");
    assert_int_equal(notify_watchdog_us(), 0);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    setenv("WATCHDOG_USEC", "3000000", 1);
    assert_int_equal(notify_watchdog_us(), 1500000);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    assert_int_equal(notify_watchdog_us(), 0);
    unsetenv("WATCHDOG_PID");
    unsetenv("WATCHDOG_USEC");
}

static void without_a_socket_nothing_happens(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    notify_ready();
    assert_string_equal(heard(), "");
}

static void journal_is_recognised_by_device_and_inode(void **state)
{
    struct stat info;
    char text[64];

    (void)state;
    assert_int_equal(fstat(2, &info), 0);
    unsetenv("JOURNAL_STREAM");
    assert_false(log_stderr_is_journal());
    snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino);
    setenv("JOURNAL_STREAM", text, 1);
    assert_true(log_stderr_is_journal());
    snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino + 1);
    setenv("JOURNAL_STREAM", text, 1);
    assert_false(log_stderr_is_journal());
    setenv("JOURNAL_STREAM", "rubbish", 1);
    assert_false(log_stderr_is_journal());
    unsetenv("JOURNAL_STREAM");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_are_those_of_sd_notify, setup, teardown),
        cmocka_unit_test_setup_teardown(status_is_sent_when_it_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_socket_nothing_happens, setup, teardown),
        cmocka_unit_test(watchdog_interval_is_half_the_limit),
        cmocka_unit_test(journal_is_recognised_by_device_and_inode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
