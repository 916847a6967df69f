#include "extract_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* LeakSanitizer asks for it by name: the HEVC encoder that makes clips leaks, ours does not. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libx265\n";
}

int extract_fixture_setup(void **state)
{
    static struct extract_fixture fx;
    struct extractor_options o;
    struct err err;
    (void)snprintf(fx.dir, sizeof(fx.dir), "/tmp/mmf-extract-XXXXXX");
    if (!mkdtemp(fx.dir))
        return -1;
    extractor_options_init(&o);
    *state = &fx;
    return extractor_new(&o, &fx.extractor, &err);
}

int extract_fixture_teardown(void **state)
{
    struct extract_fixture *fx = *state;
    extractor_free(fx->extractor);
    DIR *dir = opendir(fx->dir);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            (void)unlink(clip_path(fx, e->d_name));
    if (dir)
        (void)closedir(dir);
    return rmdir(fx->dir);
}

const char *clip_path(const struct extract_fixture *fx, const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", fx->dir, name);
    return path;
}

struct clipmaker_options small_clip(void)
{
    struct clipmaker_options o;
    clipmaker_options_init(&o);
    o.width = 160;
    o.height = 96;
    o.duration_ms = 2000;
    return o;
}

void make_clip(const struct extract_fixture *fx, const char *name,
               const struct clipmaker_options *o)
{
    struct err err;
    if (clipmaker_write(clip_path(fx, name), o, &err) == ERR_OK)
        return;
    print_message("%s\n", err.text);
    if (err.exit_code == EX_UNAVAILABLE)
        skip();
    fail();
}

char *read_bytes(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long n = ftell(f);
    rewind(f);
    char *bytes = malloc((size_t)n + 1);
    assert_non_null(bytes);
    *ret_n = fread(bytes, 1, (size_t)n, f);
    bytes[*ret_n] = '\0';
    (void)fclose(f);
    return bytes;
}

void write_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

int extract_file(const struct extract_fixture *fx, const char *name, const char *title,
                 struct features *ret_features, struct err *err)
{
    int fd = open(clip_path(fx, name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct features_text text = {.title = title};
    err_clear(err);
    int status = extractor_run(fx->extractor, fd, &text, ret_features, err);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    (void)close(fd);
    if (status == ERR_OK)
        for (unsigned m = 0; m < MODALITY_COUNT; m++)
            for (unsigned i = 0; i < ret_features->dim[m]; i++)
                assert_true(isfinite(ret_features->vec[m][i]));
    return status;
}

void extract_clip(const struct extract_fixture *fx, const struct clipmaker_options *o,
                  struct features *ret_features)
{
    struct err err;
    make_clip(fx, "clip", o);
    if (extract_file(fx, "clip", NULL, ret_features, &err) != ERR_OK)
        fail_msg("%s", err.text);
}

double feature_cosine(const struct features *a, const struct features *b, enum modality m)
{
    double dot = 0;
    assert_true(a->mask & b->mask & MODALITY_BIT(m));
    for (unsigned i = 0; i < a->dim[m]; i++)
        dot += (double)a->vec[m][i] * (double)b->vec[m][i];
    return dot;
}

void assert_text_only(const struct extract_fixture *fx, const char *name, const char *reason)
{
    static struct features f;
    struct err err;
    assert_int_equal(extract_file(fx, name, NULL, &f, &err), ERR_SKIP);
    assert_string_equal(err.reason, reason);
    assert_true(strlen(err.text) > 20);
    /* A text without a word has no vector, so there is nothing to make a row of. */
    assert_int_equal(extract_file(fx, name, " \n", &f, &err), ERR_SKIP);
    assert_int_equal(extract_file(fx, name, "a title", &f, &err), ERR_OK);
    assert_int_equal(f.mask, MODALITY_BIT(MODALITY_TEXTUAL));
    assert_string_equal(f.flags.reason, reason);
    assert_true(f.flags.coverage < 1);
}
