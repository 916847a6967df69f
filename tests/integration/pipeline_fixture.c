#include "pipeline_fixture.h"

#include "extract/media/clipmaker.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000 };

struct fixture fixture;

static void must(int status, const struct err *err)
{
    if (status != ERR_OK)
        fail_msg("%s", err->text);
}

const char *fixture_path(const struct fixture *f, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", f->folder, name);
    return path;
}

static void make_clip(const struct fixture *f, unsigned n)
{
    struct err err;
    char name[32];
    struct clipmaker_options o;
    clipmaker_options_init(&o);
    o.seed = n + 1;
    o.scene = n;
    o.width = 160;
    o.height = 90;
    o.duration_ms = 1500;
    snprintf(name, sizeof(name), "media/clip%u.mp4", n);
    must(clipmaker_write(fixture_path(f, name), &o, &err), &err);
}

static void set(struct fixture *f, const char *key, const char *value)
{
    struct err err;
    must(settings_set(&f->settings, key, value, &err), &err);
}

int fixture_set_up(void **state)
{
    struct fixture *f = &fixture;
    (void)state;
    strcpy(f->folder, "/tmp/mmf-pipeline-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(mkdir(fixture_path(f, "media"), 0700), 0);
    assert_int_equal(mkdir(fixture_path(f, "spool"), 0700), 0);
    for (unsigned i = 0; i < FIXTURE_CLIPS; i++)
        make_clip(f, i);
    assert_int_equal(settings_init(&f->settings), ERR_OK);
    set(f, "media.roots", fixture_path(f, "media"));
    set(f, "spool.directory", fixture_path(f, "spool"));
    set(f, "extract.workers", "2");
    set(f, "extract.worker_path", EXTRACT_WORKER);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int fixture_tear_down(void **state)
{
    (void)state;
    nftw(fixture.folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    settings_done(&fixture.settings);
    return 0;
}

void fixture_use_store(struct fixture *f, const char *name)
{
    const char *folder = fixture_path(f, name);
    char path[PATH_MAX];
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(path, sizeof(path), "%.4000s/store.db", folder);
    set(f, "store.path", path);
}

void fixture_write(const struct fixture *f, const char *name, const char *text)
{
    FILE *file = fopen(fixture_path(f, name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

struct pipeline *fixture_start(const struct fixture *f)
{
    struct err err;
    struct pipeline *p;
    must(pipeline_open(&f->settings, NULL, &p, &err), &err);
    return p;
}

struct source *fixture_feed(struct pipeline *p, const char *path, const char *media_root)
{
    struct err err;
    struct source *src;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    must(file_source_open(fd, media_root, p, NULL, NULL, &src, &err), &err);
    close(fd);
    pipeline_attach(p, src);
    must(src->ops->start(src, &err), &err);
    return src;
}

void fixture_stop_source(struct pipeline *p, struct source *src)
{
    src->ops->stop(src);
    pipeline_attach(p, NULL);
    src->ops->close(src);
}

static void wait_finished(struct source *src)
{
    struct source_status status;
    for (int waited_ms = 0; waited_ms < WAIT_MS; waited_ms += 5) {
        src->ops->status(src, &status);
        if (status.failed)
            fail_msg("%s", status.err.text);
        if (status.finished)
            return;
        poll(NULL, 0, 5);
    }
    fail_msg("the source has not finished after %d ms", WAIT_MS);
}

void fixture_ingest(const struct fixture *f, const char *name, const char *text)
{
    struct err err;
    fixture_write(f, name, text);
    struct pipeline *p = fixture_start(f);
    struct source *src = fixture_feed(p, fixture_path(f, name), NULL);
    wait_finished(src);
    must(pipeline_drain(p, WAIT_MS, &err), &err);
    fixture_stop_source(p, src);
    pipeline_close(p);
}

void fixture_wait_gone(const char *path)
{
    for (int waited_ms = 0; access(path, F_OK) == 0; waited_ms += 5) {
        if (waited_ms > WAIT_MS)
            fail_msg("%s is still there", path);
        poll(NULL, 0, 5);
    }
}

struct store *fixture_reader(const struct fixture *f)
{
    struct err err;
    struct store *st;
    must(store_open(f->settings.store.path, STORE_READ, &st, &err), &err);
    return st;
}

void text_begin(struct text *t)
{
    t->out = open_memstream(&t->bytes, &t->size);
    assert_non_null(t->out);
}

const char *text_end(struct text *t)
{
    fclose(t->out);
    return t->bytes;
}
