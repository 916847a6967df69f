/* Users who are forgotten, and models: nothing that was trained before brings them back. */
#include "candidate_fixture.h"

#include "config/clock.h"
#include "daemon/base/paths.h"
#include "fusion/model/fuse.h"

#include <sys/stat.h>
#include <time.h>

static bool has_vector(struct bench *b, const char *user_id)
{
    float *vec = NULL;
    int32_t dim = 0;
    int r = store_get_user_vector(b->f.st, user_id, &vec, &dim, &b->f.err);

    free(vec);
    assert_true(r == ERR_OK || r == ERR_NONE);
    return r == ERR_OK;
}

static size_t count_pairs(struct bench *b, int64_t model_id, const char *user_id)
{
    struct store_pair *pairs = NULL;
    char *name = (char *)(uintptr_t)user_id;
    int64_t uid = 0;
    size_t n = 0, found = 0;

    assert_ok(&b->f, store_find_ids(b->f.st, STORE_SIDE_USERS, &name, 1, &uid, &b->f.err));
    assert_ok(&b->f, store_get_training(b->f.st, model_id, &pairs, &n, &b->f.err));
    for (size_t i = 0; i < n; i++)
        found += pairs[i].uid == uid || pairs[i].uid == 1; /* u1 was 1 */
    free(pairs);
    return found;
}

static void folder_of(struct bench *b, int64_t model_id, char ret_dir[PATH_MAX])
{
    struct store_model row = {0};

    assert_ok(&b->f, store_model_get(b->f.st, model_id, &row, &b->f.err));
    assert_ok(&b->f, candidate_folder(&b->f.s, &row, ret_dir, &b->f.err));
    store_model_done(&row);
}

/* Whether a line of users.txt is this name; the folder is whole either way. */
static bool folder_names(struct bench *b, int64_t model_id, const char *user_id)
{
    struct candidate c;
    char dir[PATH_MAX];
    bool found = false;

    folder_of(b, model_id, dir);
    assert_ok(&b->f, candidate_read(dir, &c, &b->f.err));
    assert_int_equal(c.n_users, N_USERS);
    for (size_t i = 0; i < c.n_users; i++)
        found |= strcmp(c.user_id[i], user_id) == 0;
    assert_int_equal(c.n_pairs, found ? 2 : 1);
    assert_true(found || fuse_is_zero(c.users, c.dim));
    candidate_done(&c);
    return found;
}

static void publish_leaves_out_who_was_forgotten_since(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);

    forget_and_come_back(b, "u1");
    int64_t model_id = publish(b);
    assert_false(folder_names(b, model_id, "u1"));
    assert_ok(&b->f, candidate_activate(&t, model_id, &b->f.err));
    assert_false(has_vector(b, "u1"));
    assert_true(has_vector(b, "u2"));
    assert_int_equal(count_pairs(b, model_id, "u1"), 0);
}

static int64_t a_day_ago(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (now.tv_sec - 86400) * INT64_C(1000000);
}

/* The training read the store, then the clock went back; as when the record of a forgetting lay in the log. */
static void publish_leaves_out_who_was_forgotten_by_an_older_time(void **state)
{
    static const struct clock_source back = {a_day_ago, a_day_ago};
    struct bench *b = *state;
    struct candidate_target t = target(b);

    json_object_set_new(b->c.metrics, "read_us", json_integer(clock_real_us()));
    json_object_set_new(b->c.metrics, "read_forgettings", json_integer(0));
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    clock_inject(&back);
    forget_and_come_back(b, "u1");
    clock_inject(NULL);
    int64_t model_id = publish(b);
    assert_false(folder_names(b, model_id, "u1"));
    assert_ok(&b->f, candidate_activate(&t, model_id, &b->f.err));
    assert_false(has_vector(b, "u1"));
    assert_true(has_vector(b, "u2"));
}

/* Whichever write of a publication it comes before. */
static void publish_leaves_out_who_is_forgotten_meanwhile(void **state)
{
    struct bench *b = *state;

    for (int at = 1; at <= 4; at++) {
        tear_down(state);
        set_up(state);
        b->forgets = "u1";
        b->forgets_at = at;
        int64_t model_id = publish(b);
        b->forgets = NULL;
        assert_true(b->n_writes >= at || at == 4);
        assert_ok(&b->f, store_model_activate(b->f.st, model_id, &b->f.err));
        assert_false(b->n_writes >= at && has_vector(b, "u1"));
        assert_true(has_vector(b, "u2"));
        assert_true(b->n_writes < at || count_pairs(b, model_id, "u1") == 0);
    }
}

static void forget_in_files_then_a_rollback_brings_nothing_back(void **state)
{
    struct bench *b = *state;
    int64_t n_folders = 0;
    char dir[PATH_MAX], path[PATH_MAX];
    struct stat info;

    for (int in_files = 0; in_files < 2; in_files++) { /* the rows alone are enough for this */
        tear_down(state);
        set_up(state);
        struct candidate_target t = target(b);
        int64_t first = publish(b);
        assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
        folder_of(b, first, dir);
        assert_ok(&b->f, paths_join(dir, "holdout.tsv", path, &b->f.err));
        FILE *out = fopen(path, "we");
        assert_non_null(out);
        fputs("u1\tb\nu2\ta\n", out);
        assert_int_equal(fclose(out), 0);
        forget_and_come_back(b, "u1");
        if (in_files) {
            assert_ok(&b->f, forget_in_files(&t, &n_folders, &b->f.err));
            assert_int_equal(n_folders, 1);
            assert_false(folder_names(b, first, "u1"));
            assert_int_equal(stat(path, &info), 0);
            assert_int_equal(info.st_size, 5);
            assert_ok(&b->f, forget_in_files(&t, &n_folders, &b->f.err));
            assert_int_equal(n_folders, 0);
        }
        replace(b);
        retain(b);
        assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
        assert_false(has_vector(b, "u1"));
        assert_true(has_vector(b, "u2"));
        assert_int_equal(count_pairs(b, first, "u1"), 0);
    }
}

/* Who came back before a model was trained is in it by right. */
static void forget_in_files_leaves_later_models_alone(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    int64_t n_folders = 0;

    forget_and_come_back(b, "u1");
    json_object_set_new(b->c.metrics, "read_us", json_integer(clock_real_us() + 1));
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    int64_t model_id = publish(b);
    assert_true(folder_names(b, model_id, "u1"));
    assert_ok(&b->f, forget_in_files(&t, &n_folders, &b->f.err));
    assert_int_equal(n_folders, 0);
    assert_ok(&b->f, candidate_activate(&t, model_id, &b->f.err));
    assert_true(has_vector(b, "u1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(publish_leaves_out_who_was_forgotten_since),
        CASE(publish_leaves_out_who_was_forgotten_by_an_older_time),
        CASE(publish_leaves_out_who_is_forgotten_meanwhile),
        CASE(forget_in_files_then_a_rollback_brings_nothing_back),
        CASE(forget_in_files_leaves_later_models_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
