#include "config/clock.h"
#include "config/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char seen[4096];
static enum log_level seen_level;
static size_t seen_fields;
static int n_seen;

static void remember(enum log_level level, const char *text, const struct log_field *fields,
                     size_t n_fields)
{
    (void)fields;
    snprintf(seen, sizeof(seen), "%s", text);
    seen_level = level;
    seen_fields = n_fields;
    n_seen++;
    errno = EIO;
}

static int64_t at_us(void)
{
    return INT64_C(1796036644123999); /* 2026-11-30T11:04:04.123999Z */
}

static const struct clock_source clocks = {at_us, at_us};

/* So that the descriptor is the journal's, as systemd says it. */
static void name_journal(int fd)
{
    char name[64];
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", name, 1);
}

static bool to_journal;

/* What the default writer puts on standard error for one message. */
static void capture(const struct log_field *fields, size_t n_fields, const char *text,
                    char *ret_line, size_t bytes)
{
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    assert_true(saved >= 0);
    assert_int_equal(pipe(ends), 0);
    if (to_journal)
        name_journal(ends[1]);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    log_write(LOG_LEVEL_INFO, fields, n_fields, "%s", text);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(ends[1]);
    n = read(ends[0], ret_line, bytes - 1);
    assert_true(n >= 0);
    ret_line[n] = '\0';
    close(ends[0]);
}

static int reset(void **state)
{
    (void)state;
    log_set_writer(NULL);
    log_set_level(LOG_LEVEL_INFO);
    n_seen = 0;
    to_journal = false;
    setenv("JOURNAL_STREAM", "8:1", 1); /* somebody else's: inherited, and redirected since */
    clock_inject(&clocks);
    return 0;
}

static void log_write_default_writer_prints_time_and_level(void **state)
{
    const struct log_field fields[] = {{"ITEM_ID", "v1"}, {"PATH", "/a \"b\"\n"}, {"X", NULL}};
    char line[8192];

    (void)state;
    capture(fields, 3, "stored\nv1", line, sizeof(line));
    assert_string_equal(line, "2026-11-30T11:04:04.123Z info: "
                              "stored v1 ITEM_ID=v1 PATH=\"/a \\\"b\\\"\" X=\"\"\n");
}

/* The journal has the time itself, and reads the level. */
static void log_write_to_the_journal_has_systemd_s_prefix(void **state)
{
    const struct log_field field = {"ITEM_ID", "v1"};
    char line[8192];

    (void)state;
    to_journal = true;
    capture(&field, 1, "stored v1", line, sizeof(line));
    assert_string_equal(line, "<6>stored v1 ITEM_ID=v1\n");
}

static void log_write_long_text_is_one_bounded_line(void **state)
{
    char text[8000], value[8000], line[16384];
    const struct log_field field = {"V", value};

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    memset(value, '"', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    capture(&field, 1, text, line, sizeof(line));
    assert_in_range(strlen(line), 2000, 4096);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void log_write_cut_text_ends_between_characters(void **state)
{
    char text[4096];

    (void)state;
    log_set_writer(remember);
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof(text); i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        log_info("%s", text);
        assert_int_equal((strlen(seen) - shift) % 3, 0);
    }
}

/* C1 reaches neither a terminal nor the journal, whichever writer there is. */
static void log_write_has_no_control_characters(void **state)
{
    const struct log_field field = {"TITLE", "\xc2\x9d"
                                             "0;pwned\x1b[2J\x9b"};
    char line[8192];

    (void)state;
    capture(&field, 1,
            "\xc2\x9b"
            "31mred\x7f \xe9",
            line, sizeof(line));
    assert_string_equal(line,
                        "2026-11-30T11:04:04.123Z info:  31mred  ? TITLE=\" 0;pwned [2J?\"\n");
    log_set_writer(remember);
    log_info("%s", "\xc2\x9b"
                   "31mred");
    assert_string_equal(seen, " 31mred");
}

static void log_write_below_level_is_silent(void **state)
{
    (void)state;
    log_set_writer(remember);
    log_debug("no");
    assert_int_equal(n_seen, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("yes %d", 1);
    assert_int_equal(n_seen, 1);
    assert_string_equal(seen, "yes 1");
    assert_int_equal(seen_level, LOG_LEVEL_DEBUG);
    log_set_level(LOG_LEVEL_ERROR);
    log_warning("no");
    log_error("still");
    assert_int_equal(n_seen, 2);
    assert_int_equal(seen_fields, 0);
}

static void log_write_keeps_errno(void **state)
{
    (void)state;
    log_set_writer(remember);
    errno = ENOENT;
    log_error("x");
    assert_int_equal(errno, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(log_write_default_writer_prints_time_and_level, reset),
        cmocka_unit_test_setup(log_write_to_the_journal_has_systemd_s_prefix, reset),
        cmocka_unit_test_setup(log_write_long_text_is_one_bounded_line, reset),
        cmocka_unit_test_setup(log_write_cut_text_ends_between_characters, reset),
        cmocka_unit_test_setup(log_write_has_no_control_characters, reset),
        cmocka_unit_test_setup(log_write_below_level_is_silent, reset),
        cmocka_unit_test_setup(log_write_keeps_errno, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
