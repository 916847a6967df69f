/* A backup while models come and go: what is copied belongs together, whatever happens between the store's
 * copy and the models'. */

#include "candidate_fixture.h"

#include "daemon/model/backup.h"
#include "daemon/model/candidate.h"

#include <sys/stat.h>
#include <sysexits.h>

struct scene {
    struct bench *b;
    int n_copies;
    int flips;    /* of the first copies: another model is made active after each */
    bool removes; /* and the folder of the one before goes, as retention would have it */
    char dir[128], part[160];
};

static void activate_another(struct bench *b, int seed)
{
    struct candidate_target t = target(b);

    make_model(b, (uint64_t)(20 + seed));
    b->items[0] = (float)(20 + seed);
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    assert_ok(&b->f, candidate_activate(&t, publish(b), &b->f.err));
}

static void remove_active_folder(struct bench *b)
{
    struct store_model row = {0};
    char dir[PATH_MAX], command[PATH_MAX + 16];

    assert_ok(&b->f, store_model_active(b->f.st, &row, &b->f.err));
    assert_ok(&b->f, candidate_folder(&b->f.s, &row, dir, &b->f.err));
    store_model_done(&row);
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void on_copied(void *ctx)
{
    struct scene *s = ctx;

    if (s->n_copies++ >= s->flips)
        return;
    if (s->removes)
        remove_active_folder(s->b);
    activate_another(s->b, s->n_copies);
}

static struct scene begin(struct bench *b, int flips, bool removes)
{
    struct scene s = {.b = b, .flips = flips, .removes = removes};

    activate_another(b, 0);
    (void)snprintf(s.dir, sizeof s.dir, "%s/backup", b->f.folder);
    (void)snprintf(s.part, sizeof s.part, "%s.part", s.dir);
    return s;
}

static int take(struct scene *s, json_t **ret_manifest)
{
    struct backup_options o = {
        .settings = &s->b->f.s, .dir = s->dir, .copied = on_copied, .ctx = s};

    return backup_take(&o, ret_manifest, &s->b->f.err);
}

static int64_t active_id(struct store *st)
{
    struct store_model row = {0};

    assert_int_equal(store_model_active(st, &row, NULL), ERR_OK);
    store_model_done(&row);
    return row.model_id;
}

/* Back in another folder: the active model is there and can be made active again from its files. */
static void assert_restores(struct scene *s, int64_t model_id)
{
    struct restore_options o = {.dir = s->dir};
    struct store_model row = {0};
    struct candidate c = {0};
    struct settings there;
    struct store *st;
    json_t *report;
    char path[160];

    (void)snprintf(path, sizeof path, "%s/new/store.db", s->b->f.folder);
    assert_int_equal(settings_init(&there), ERR_OK);
    assert_int_equal(settings_set(&there, "store.path", path, NULL), ERR_OK);
    o.settings = &there;
    assert_ok(&s->b->f, restore_put(&o, &report, &s->b->f.err));
    json_decref(report);
    assert_ok(&s->b->f, store_open(path, STORE_READ, &st, &s->b->f.err));
    assert_int_equal(active_id(st), model_id);
    assert_ok(&s->b->f, store_model_active(st, &row, &s->b->f.err));
    assert_ok(&s->b->f, candidate_of_model(&there, &row, &c, &s->b->f.err));
    candidate_done(&c);
    store_model_done(&row);
    store_close(st);
    settings_done(&there);
}

static void backup_of_a_quiet_store_copies_it_once(void **state)
{
    struct scene s = begin(*state, 0, false);
    json_t *manifest;

    assert_ok(&s.b->f, take(&s, &manifest));
    json_decref(manifest);
    assert_int_equal(s.n_copies, 1);
    assert_int_equal(access(s.part, F_OK), -1);
    assert_restores(&s, active_id(s.b->f.st));
}

/* The model before is retired, and its files stay: the copy of before is whole. */
static void backup_while_a_model_flips_is_of_before(void **state)
{
    struct scene s = begin(*state, 1, false);
    int64_t before = active_id(s.b->f.st);
    json_t *manifest;

    assert_ok(&s.b->f, take(&s, &manifest));
    json_decref(manifest);
    assert_int_equal(s.n_copies, 1);
    assert_int_not_equal(active_id(s.b->f.st), before);
    assert_restores(&s, before);
}

static void backup_while_a_model_goes_copies_again(void **state)
{
    struct scene s = begin(*state, 2, true);
    json_t *manifest;

    assert_ok(&s.b->f, take(&s, &manifest));
    assert_int_equal(json_array_size(json_object_get(manifest, "missing")),
                     2); /* gone for good */
    json_decref(manifest);
    assert_int_equal(s.n_copies, 3);
    assert_restores(&s, active_id(s.b->f.st));
}

static void backup_while_models_never_settle_leaves_nothing(void **state)
{
    struct scene s = begin(*state, INT_MAX, true);
    json_t *manifest = NULL;

    assert_int_equal(take(&s, &manifest), ERR_RETRY);
    assert_int_equal(s.b->f.err.exit_code, EX_TEMPFAIL);
    assert_non_null(strstr(s.b->f.err.text, "try again"));
    assert_null(manifest);
    assert_int_equal(access(s.dir, F_OK), -1);
    assert_int_equal(access(s.part, F_OK), -1);
}

/* A user is forgotten between the two: the folder is written anew, and is whole. */
static void backup_while_a_user_is_forgotten(void **state)
{
    struct scene s = begin(*state, 0, false);
    struct candidate_target t = target(s.b);
    struct forget_result x = {0};
    json_t *manifest;

    assert_ok(&s.b->f, forget_user(&t, "u1", NULL, NULL, &x, &s.b->f.err));
    assert_ok(&s.b->f, take(&s, &manifest));
    assert_int_equal(json_array_size(json_object_get(manifest, "missing")), 0);
    json_decref(manifest);
    assert_restores(&s, active_id(s.b->f.st));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(backup_of_a_quiet_store_copies_it_once),
        CASE(backup_while_a_model_flips_is_of_before),
        CASE(backup_while_a_model_goes_copies_again),
        CASE(backup_while_models_never_settle_leaves_nothing),
        CASE(backup_while_a_user_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
