/* Files of interactions: what is read, and what is refused with which words. */
#include "daemon/base/interaction_file.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int file_of(const char *text, size_t bytes)
{
    int fd = memfd_create("interactions", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), (ssize_t)bytes);
    return fd;
}

/* All rows as "user|item|kind|weight|ts;", or the error's text. */
static void read_all(const char *text, size_t bytes, const char *name, const char *columns,
                     char separator, char *ret, size_t ret_bytes)
{
    struct interaction_file f;
    struct interaction_row row;
    struct err err;
    int fd = file_of(text, bytes);
    int r = interaction_file_open(fd, name, columns, separator, &f, &err);
    size_t n = 0;

    ret[0] = '\0';
    for (bool opened = r == ERR_OK; r == ERR_OK;) {
        r = interaction_file_next(&f, &row, &err);
        if (r == ERR_OK)
            n += (size_t)snprintf(ret + n, ret_bytes - n, "%s|%s|%s|%g|%lld;", row.user,
                                  row.item, row.kind ? row.kind : "", row.weight,
                                  row.ts_us == INT64_MIN ? -1 : (long long)row.ts_us);
        else if (opened)
            interaction_file_close(&f);
    }
    if (r != ERR_END)
        snprintf(ret, ret_bytes, "%s", err.text);
    close(fd);
}

static const struct reading {
    const char *name, *columns, *text, *rows;
    char separator;
} readings[] = {
    {"c.tsv", NULL, "u1\ta\nu2\tb\t1700000000\n", "u1|a||1|-1;u2|b||1|1700000000000000;", 0},
    {"c.tsv", NULL, "u1\ta\r\nu2\tb", "u1|a||1|-1;u2|b||1|-1;", 0},
    {"c.tsv", NULL, "\xef\xbb\xbfu1\ta\n", "u1|a||1|-1;", 0},
    {"c.tsv", NULL, "u1\ta\n\n\r\nu2\tb\n\n", "u1|a||1|-1;u2|b||1|-1;", 0},
    {"c.tsv", NULL, "u1\ta\t1700000000.25\n", "u1|a||1|1700000000250000;", 0},
    {"c.tsv", NULL, "u1\ta\t1700000000250\n", "u1|a||1|1700000000250000;", 0},
    {"c.tsv", NULL, "u1\ta\t1700000000250000\n", "u1|a||1|1700000000250000;", 0},
    {"c.tsv", NULL, "u1\ta\t\n", "u1|a||1|-1;", 0},
    {"c.csv", NULL, "\"u1\",\"a\"\"b\"\n\"u,2\",b\r\n", "u1|a\"b||1|-1;u,2|b||1|-1;", 0},
    {"C.CSV", NULL, "u1,a\n", "u1|a||1|-1;", 0},
    {"c.csv", NULL, "\" u1\",a\n", " u1|a||1|-1;", 0},
    {"c.csv", NULL, "user_id,item_id\nu1,a\n", "u1|a||1|-1;", 0},
    {"c.csv", NULL, "\xef\xbb\xbf\"user_id\",\"item_id\"\nu1,a\n", "u1|a||1|-1;", 0},
    {"c.csv", NULL, "Timestamp,Rating,Video ID,userId,kind,note\n1,-2.5,a,u1,like,\"x\n y\"\n",
     "u1|a|like|-2.5|1000000;", 0},
    {"c.csv", "user_id,item_id,rating", "u1,a,4\n", "u1|a||4|-1;", 0},
    {"c.csv", "item,-,user", "a,4,u1\n", "u1|a||1|-1;", 0},
    {"c.csv", "user,item", "user_id,item_id\nu1,a\n", "u1|a||1|-1;", 0},
    {"c.csv", "user,item", "user,a\n", "user|a||1|-1;", 0},
    {"c.txt", NULL, "u1;a\n", "u1|a||1|-1;", ';'},
    {"c.tsv", NULL, "", "", 0},
};

static void rows_are_read_as_they_are_meant(void **state)
{
    char got[1024];

    (void)state;
    for (size_t i = 0; i < sizeof readings / sizeof readings[0]; i++) {
        const struct reading *x = &readings[i];

        read_all(x->text, strlen(x->text), x->name, x->columns, x->separator, got, sizeof got);
        assert_string_equal(got, x->rows);
    }
}

static const struct refusal {
    const char *name, *columns, *text, *words; /* what the error must hold */
} refusals[] = {
    /* what looks like a rating is never a time */
    {"c.tsv", NULL, "u1\ta\t4.5\n", "c.tsv:1: the third column has no name, and \"4.5\""},
    {"c.tsv", NULL, "u1\ta\t4.5\n", "--columns user_id,item_id,weight"},
    {"c.tsv", NULL, "u1\ta\t99999999\n", "not a time"},
    {"c.tsv", NULL, "u1\ta\tlike\n", "not a time"},
    {"c.tsv", NULL, "u1\ta\tnan\n", "not a time"},
    {"c.tsv", NULL, "u1\ta\t0x7fffffffff\n", "not a time"},
    {"c.tsv", NULL, "u1\ta\t5\t1700000000\n", "4 columns and no header"},
    /* blanks, quotation marks */
    {"c.csv", NULL, "u1, v1\n", "c.csv:1: the item \" v1\" begins or ends with a blank"},
    {"c.tsv", NULL, "u1 \tv1\n", "begins or ends with a blank"},
    {"c.tsv", NULL, "u1\t\xc2\xa0v1\n", "begins or ends with a blank"},
    {"c.tsv", NULL, "\"u1\"\t\"v1\"\n", "begins with a quotation mark"},
    {"c.csv", NULL, "u1,a\nu\"2,b\n", "c.csv:2: a quotation mark inside a field"},
    {"c.csv", NULL, "\"u1\"x,b\n", "text after a closing quotation mark"},
    {"c.csv", NULL, "u1,a\n\"u1,b\nu2,c\n", "c.csv:2: a quotation mark is never closed"},
    /* headers */
    {"c.csv", NULL, "user_id,movie\nu1,a\n", "a header that names no item"},
    {"c.csv", NULL, "who,item_id\nu1,a\n", "a header that names no user"},
    {"c.csv", NULL, "user,user_id,item\nu,v,w\n", "one column twice"},
    {"c.csv", NULL, "user_id,item_id,rating\nu1,a\n",
     "c.csv:2: 2 fields parted by commas where 3"},
    {"c.csv", NULL, "user_id,item_id,rating\nu1,a,x\n", "the weight \"x\" is not a number"},
    {"c.csv", NULL, "user_id,item_id,rating\nu1,a,1e7\n", "from -1e6 to 1e6"},
    {"c.csv", NULL, "user_id,item_id,ts\nu1,a,-1\n",
     "the time \"-1\" is neither a number of seconds"},
    {"c.csv", NULL, "user_id,item_id,kind\nu1,a,a b\n", "the kind \"a b\" is not a word"},
    {"c.csv", "user_id", "u1,a\n", "no user_id or no item_id"},
    {"c.csv", "user_id,user,item", "u1,a,b\n", "one name twice"},
    {"c.csv", "user_id,item,stars", "u1,a,b\n", "--columns: stars"},
    /* bytes */
    {"c.tsv", NULL, "\xff\xfeu\t1\n", "this is UTF-16: save the file as UTF-8"},
    {"c.tsv", NULL, "u1\t\xff\n", "not an id in UTF-8"},
    {"c.tsv", NULL, "u1\ta\x1b[2J\n", "control characters"},
    {"c.tsv", NULL, "u1\ta\xc2\x9b\n", "control characters"},
    {"c.tsv", NULL, "u1\ta\rb\n", "control characters"},
    {"c.tsv", NULL, "u1\t\n", "is empty"},
    {"c.tsv", NULL, "u1,a\n", "expected a user and an item, parted by tabs"},
};

static void what_could_be_misread_is_refused(void **state)
{
    char got[1024];

    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *x = &refusals[i];

        read_all(x->text, strlen(x->text), x->name, x->columns, 0, got, sizeof got);
        if (!strstr(got, x->words))
            fail_msg("case %zu: \"%s\" is not in \"%s\"", i, x->words, got);
    }
    read_all("u1\ta\0b\n", 7, "c.tsv", NULL, 0, got, sizeof got);
    assert_non_null(strstr(got, "zero byte"));
}

static void a_record_without_end_is_refused(void **state)
{
    size_t n = 2 * TABLE_RECORD_BYTES;
    char *text = malloc(n), got[1024];

    (void)state;
    assert_non_null(text);
    memset(text, 'x', n);
    read_all(text, n, "c.tsv", NULL, 0, got, sizeof got);
    assert_non_null(strstr(got, "c.tsv:1: more than 65536 bytes in one record"));
    text[0] = '"';
    read_all(text, n, "c.csv", NULL, 0, got, sizeof got);
    assert_non_null(strstr(got, "is a quotation mark never closed"));
    memset(text, ',', n);
    read_all(text, n, "c.csv", NULL, 0, got, sizeof got);
    assert_non_null(strstr(got, "more than 64 fields"));
    free(text);
}

/* Blocks end anywhere: in a record, between CR and LF, between two quotation marks. */
static void records_cross_blocks(void **state)
{
    enum { ROWS = 40000 };
    char *text = malloc(ROWS * 24);
    struct interaction_file f;
    struct interaction_row row;
    size_t n = 0;

    (void)state;
    assert_non_null(text);
    for (int i = 0; i < ROWS; i++)
        n += (size_t)sprintf(text + n, "u%d,\"i\"\"%d\"\r\n", i, i);
    int fd = file_of(text, n);
    assert_int_equal(interaction_file_open(fd, "c.csv", NULL, 0, &f, NULL), ERR_OK);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < ROWS; i++) {
            char item[24];

            snprintf(item, sizeof item, "i\"%d", i);
            assert_int_equal(interaction_file_next(&f, &row, NULL), ERR_OK);
            assert_string_equal(row.item, item);
            assert_int_equal(row.record, i);
        }
        assert_int_equal(interaction_file_next(&f, &row, NULL), ERR_END);
        assert_int_equal(interaction_file_rewind(&f, NULL), ERR_OK);
    }
    interaction_file_close(&f);
    close(fd);
    free(text);
}

/* Names of columns nobody reads are told, and what is left out is counted. */
static void what_is_left_out_is_told(void **state)
{
    static const char text[] = "\nuser_id,title,item_id,genre\nu1,x,a,y\n\n";
    struct interaction_file f;
    struct interaction_row row;
    int fd = file_of(text, strlen(text));

    (void)state;
    assert_int_equal(interaction_file_open(fd, "c.csv", NULL, 0, &f, NULL), ERR_OK);
    assert_int_equal(interaction_file_next(&f, &row, NULL), ERR_OK);
    assert_int_equal(row.record, 2);
    assert_int_equal(interaction_file_next(&f, &row, NULL), ERR_END);
    assert_string_equal(f.unread, "title, genre");
    assert_int_equal(f.n_header, 1);
    assert_int_equal(f.n_blank, 2);
    interaction_file_close(&f);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read_as_they_are_meant),
        cmocka_unit_test(what_could_be_misread_is_refused),
        cmocka_unit_test(a_record_without_end_is_refused),
        cmocka_unit_test(records_cross_blocks),
        cmocka_unit_test(what_is_left_out_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
