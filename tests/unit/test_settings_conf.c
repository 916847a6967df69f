/* The shipped config/metammfd.conf gives the defaults, and memory that runs out at every allocation
 * of a load in turn (the linker wraps malloc and its kin). That the file and the manual page say
 * what the table says is config/settings_pages.c's. */

#include "config/settings_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static long fail_at = -1; /* the allocation that fails, counted down; -1 = none */

static bool fails(void)
{
    return fail_at >= 0 && fail_at-- == 0;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
char *__wrap_strndup(const char *s, size_t n);

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return fails() ? NULL : __real_realloc(p, bytes);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails() ? NULL : __real_strndup(s, n);
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 65536);

    assert_non_null(f);
    assert_non_null(text);
    assert_in_range(fread(text, 1, 65535, f), 1000, 65534);
    fclose(f);
    return text;
}

/* Takes the '#' away from each line that shows a default. */
static void uncomment(char *text)
{
    for (char *line = text; line != NULL && *line != '\0';) {
        char *p = line + strspn(line, " ");

        if (p[0] == '#' && p[1] != ' ' && p[1] != '\n')
            *p = ' ';
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
}

static void assert_same_as_defaults(const char *text)
{
    struct settings s = {0}, defaults;
    struct err err = {0};
    char *printed[2] = {NULL, NULL};
    size_t bytes;

    assert_int_equal(settings_init(&defaults), ERR_OK);
    settings_load_text("metammfd.conf", text, strlen(text), &s, &err);
    assert_string_equal(err.text, "");
    for (int i = 0; i < 2; i++) {
        FILE *out = open_memstream(&printed[i], &bytes);

        assert_non_null(out);
        assert_int_equal(settings_print(i == 0 ? &s : &defaults, out), ERR_OK);
        fclose(out);
    }
    assert_string_equal(printed[0], printed[1]);
    free(printed[0]);
    free(printed[1]);
    settings_done(&s);
    settings_done(&defaults);
}

static void settings_load_shipped_file_gives_defaults(void **state)
{
    char *text = read_file(MMF_SHIPPED_CONF);

    (void)state;
    assert_same_as_defaults(text);
    uncomment(text);
    assert_same_as_defaults(text);
    free(text);
}

static void settings_load_memory_runs_out_anywhere_is_clean(void **state)
{
    static const char text[] =
        "media = { roots = [\"/a\", \"/b\"]; max_bytes = 5000000000; };\n"
        "kafka = { partitions = [1, 2]; properties = { client_id = \"x\"; }; };";
    long n_failed = 0;

    (void)state;
    for (long i = 0;; i++) {
        struct settings s = {0};
        struct err err = {0};
        int status;

        fail_at = i;
        status = settings_load_text("f", text, sizeof(text) - 1, &s, &err);
        fail_at = -1;
        if (status == ERR_OK) {
            settings_done(&s);
            break;
        }
        n_failed++;
        assert_int_equal(status, ERR_RETRY);
        assert_non_null(strstr(err.text, "out of memory"));
        assert_null(s.store.path);
    }
    print_message("%ld allocations failed in turn\n", n_failed);
    assert_true(n_failed >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_load_shipped_file_gives_defaults),
        cmocka_unit_test(settings_load_memory_runs_out_anywhere_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
