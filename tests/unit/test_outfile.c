#include "fusion/file/outfile.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[96];
static struct err err;

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/mmf-outfile-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/out", folder);
    err_clear(&err);
    return 0;
}

static int tear_down(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static void start(struct outfile *out, const char *text)
{
    if (outfile_open(path, out, &err) != ERR_OK ||
        outfile_write(out, text, strlen(text), &err) != ERR_OK)
        fail_msg("%s", err.text);
}

static void finish(struct outfile *out)
{
    if (outfile_commit(out, &err) != ERR_OK)
        fail_msg("%s", err.text);
    outfile_abort(out);
}

static int n_entries(void)
{
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void check_content(const char *want)
{
    char text[32] = "";
    struct stat info;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640); /* the umask is 027 */
    assert_non_null(fgets(text, sizeof(text), f));
    assert_string_equal(text, want);
    fclose(f);
}

static void commit_puts_the_whole_file_in_place_of_the_old_one(void **state)
{
    struct outfile out;
    (void)state;
    start(&out, "old");
    finish(&out);
    start(&out, "new");
    check_content("old");
    finish(&out);
    check_content("new");
    assert_int_equal(n_entries(), 1);
}

static void abort_leaves_nothing(void **state)
{
    struct outfile out;
    (void)state;
    start(&out, "half");
    outfile_abort(&out);
    assert_int_equal(n_entries(), 0);
}

/* What a kill does is closing the descriptor, and no more. */
static void kill_leaves_nothing(void **state)
{
    struct outfile out;
    (void)state;
    start(&out, "half");
    if (out.temp) {
        outfile_abort(&out);
        print_message("/tmp has no files without a name\n");
        skip();
    }
    assert_int_equal(n_entries(), 0);
    assert_int_equal(close(out.fd), 0);
    assert_int_equal(n_entries(), 0);
    out.fd = -1;
    outfile_abort(&out);
}

/* A kill between the name and the rename; the same number comes again one day. */
static void commit_takes_the_name_that_a_kill_has_left(void **state)
{
    struct outfile out;
    char left[128];
    (void)state;
    start(&out, "new");
    snprintf(left, sizeof(left), "%s.%d-%d", path, (int)getpid(), out.fd);
    FILE *f = fopen(left, "w");
    assert_non_null(f);
    fclose(f);
    bool named = out.temp;
    finish(&out);
    check_content("new");
    assert_int_equal(n_entries(), named ? 2 : 1);
}

static void open_without_a_folder_says_what_to_check(void **state)
{
    struct outfile out;
    (void)state;
    strcat(path, "/out");
    assert_int_equal(outfile_open(path, &out, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CANTCREAT);
    assert_non_null(strstr(err.text, "check that its folder is there"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(commit_puts_the_whole_file_in_place_of_the_old_one),
        CASE(abort_leaves_nothing),
        CASE(kill_leaves_nothing),
        CASE(commit_takes_the_name_that_a_kill_has_left),
        CASE(open_without_a_folder_says_what_to_check),
    };
    (void)umask(027); /* as the unit has it: a site's umask counts */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
