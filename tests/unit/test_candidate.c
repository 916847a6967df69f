/* A candidate through files into a store: round trip, damaged files, and items that change while
 * it is trained and published. */
#include "candidate_fixture.h"

#include "config/digest.h"
#include "config/infile.h"
#include "daemon/base/paths.h"
#include "daemon/model/active_model.h"
#include "fusion/model/fuse.h"
#include "store/reading.h"

#include <jansson.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sysexits.h>

static void read_gives_what_was_written(void **state)
{
    struct bench *b = *state;
    struct candidate c;

    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    assert_int_equal(c.n_items, N_ITEMS);
    assert_string_equal(c.item_id[2], "c");
    assert_string_equal(c.user_id[1], "u2");
    assert_memory_equal(c.items, b->items, sizeof b->items);
    assert_memory_equal(c.stamp, b->data.stamp, sizeof(uint64_t) * N_ITEMS);
    assert_int_equal(c.n_pairs, 2);
    assert_true(c.warm[0] && c.warm[1] && !c.warm[2]);
    float *mean = candidate_no_history(c.metrics, c.dim);
    assert_true(mean && mean[7] == 8.0F);
    free(mean);
    candidate_done(&c);
}

/* One at a time. */
static const char *file_in(const char *dir, const char *name)
{
    static char path[PATH_MAX];

    assert_int_equal(paths_join(dir, name, path, NULL), ERR_OK);
    return path;
}

/* Bytes that this process has read so far. */
static long long n_read(void)
{
    FILE *f = fopen("/proc/self/io", "re");
    long long n = -1;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "rchar: %lld", &n), 1);
    fclose(f);
    return n;
}

static void read_reads_each_file_once(void **state)
{
    struct bench *b = *state;
    long long all = 0;
    struct candidate c;
    struct stat info;

    for (size_t i = 0; i < CANDIDATE_N_FILES; i++) {
        assert_int_equal(stat(file_in(b->f.dir, candidate_files[i]), &info), 0);
        all += info.st_size;
    }
    long long before = n_read();
    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    assert_in_range(n_read() - before, all, all + 256); /* n_read reads too */
    candidate_done(&c);
}

/* The bytes of files of which something else was made, while the next file is read. */
static const void *parsed[CANDIDATE_N_FILES];
static size_t n_parsed, most_parsed;

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
    for (size_t i = 0; p && i < n_parsed; i++)
        if (parsed[i] == p)
            parsed[i] = parsed[--n_parsed];
    __real_free(p);
}

int __real_infile_read(const char *path, int64_t max_bytes, char **ret_data, size_t *ret_bytes,
                       struct err *err);
int __wrap_infile_read(const char *path, int64_t max_bytes, char **ret_data, size_t *ret_bytes,
                       struct err *err);
int __wrap_infile_read(const char *path, int64_t max_bytes, char **ret_data, size_t *ret_bytes,
                       struct err *err)
{
    most_parsed = n_parsed > most_parsed ? n_parsed : most_parsed;
    int r = __real_infile_read(path, max_bytes, ret_data, ret_bytes, err);
    const char *dot = strrchr(path, '.');

    if (r == ERR_OK && n_parsed < CANDIDATE_N_FILES && dot && dot > strrchr(path, '/') &&
        strcmp(dot, ".txt") != 0)
        parsed[n_parsed++] = *ret_data;
    return r;
}

static void look_holds_the_bytes_of_one_file_at_a_time(void **state)
{
    struct bench *b = *state;
    struct candidate c;

    n_parsed = most_parsed = 0;
    assert_ok(&b->f, candidate_look(b->f.dir, &c, &b->f.err));
    assert_int_equal(n_parsed, 0);
    assert_int_equal(most_parsed, 0);
    for (size_t i = 0; i < CANDIDATE_N_FILES; i++)
        assert_null(c.file[i].data);
    assert_memory_equal(c.items, b->items, sizeof b->items);
    assert_int_equal(c.n_pairs, 2);
    candidate_done(&c);
    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    assert_int_equal(n_parsed, 4); /* metrics, model, two arrays: they are published */
    candidate_done(&c);
    assert_int_equal(n_parsed, 0);
}

static void spoil(const char *path, long at, int how)
{
    FILE *f = fopen(path, "r+");

    assert_non_null(f);
    if (how == 0) {
        assert_int_equal(ftruncate(fileno(f), at), 0);
    } else {
        fseek(f, at, SEEK_SET);
        int c = fgetc(f);
        fseek(f, at, SEEK_SET);
        fputc(c ^ 0x40, f);
    }
    fclose(f);
}

static void read_refuses_damaged_files(void **state)
{
    struct bench *b = *state;
    static const char *const names[] = {
        "model.safetensors", "items.npy", "items.txt", "pairs",
        "users.npy",         "users.txt", "stamps",    "neighbours"};
    struct candidate c;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int how = 0; how < 2; how++) {
            assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
            spoil(file_in(b->f.dir, names[i]), 3, how);
            assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
            assert_int_equal(b->f.err.exit_code, EX_DATAERR);
            assert_non_null(strstr(b->f.err.text, names[i]));
        }
    }
    assert_int_equal(unlink(file_in(b->f.dir, "metrics.json")), 0);
    assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_NOINPUT);
}

/* Whoever reads a folder holds models_lock: a FIFO in it must not hold everybody up. */
static void read_refuses_a_fifo_at_once(void **state)
{
    struct bench *b = *state;
    static const char *const names[] = {"metrics.json", "model.safetensors", "items.npy",
                                        "items.txt"};
    struct candidate c;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
        const char *path = file_in(b->f.dir, names[i]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
        assert_int_equal(b->f.err.exit_code, EX_DATAERR);
        assert_non_null(strstr(b->f.err.text, names[i]));
        assert_int_equal(unlink(path), 0);
    }
}

static void read_refuses_rows_out_of_range(void **state)
{
    struct bench *b = *state;
    struct candidate c;

    b->pairs[1][1] = N_ITEMS;
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
    assert_non_null(strstr(b->f.err.text, "pairs"));
}

/* What was checked is what is kept and served, whatever becomes of the folder meanwhile. */
static void publish_and_promote_need_no_file(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    char want[CANDIDATE_N_FILES][DIGEST_HEX_BYTES], got[DIGEST_HEX_BYTES];
    struct active_model none = {0}, one, other;
    struct candidate c;

    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    const struct model *model = c.model;
    for (size_t i = 0; i < CANDIDATE_N_FILES; i++) {
        const char *path = file_in(b->f.dir, candidate_files[i]);
        assert_int_equal(digest_path_hex(path, want[i], NULL), ERR_OK);
        assert_int_equal(unlink(path), 0);
    }
    assert_ok(&b->f, candidate_publish(&c, &t, &b->f.err));
    for (size_t i = 0; i < CANDIDATE_N_FILES; i++) {
        const char *path = file_in(c.dir, candidate_files[i]);
        assert_int_equal(digest_path_hex(path, got, NULL), ERR_OK);
        assert_string_equal(got, want[i]);
    }
    assert_int_equal(unlink(file_in(c.dir, candidate_files[0])), 0);
    assert_ok(&b->f, candidate_promote(&c, &t, &b->f.err));
    candidate_done(&c);
    assert_ok(&b->f, active_model_newer(&none, b->f.st, &b->f.s, &one, &b->f.err));
    assert_ptr_equal(one.model, model);
    assert_ok(&b->f, active_model_newer(&none, b->f.st, &b->f.s, &other, &b->f.err));
    assert_ptr_equal(other.model, model);
    active_model_done(&other);
    active_model_done(&one);
    assert_int_equal(active_model_newer(&none, b->f.st, &b->f.s, &one, &b->f.err), ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_NOINPUT);
}

static void publish_is_seen_after_the_flip_only(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_embedding e;
    struct store_pair *pairs;
    size_t n;

    int64_t model_id = publish(b);
    assert_int_equal(store_get_embedding(b->f.st, "a", &e, &b->f.err), ERR_NONE);
    assert_ok(&b->f, candidate_activate(&t, model_id, &b->f.err));
    assert_ok(&b->f, store_get_embedding(b->f.st, "a", &e, &b->f.err));
    assert_string_equal(e.state, "warm");
    assert_memory_equal(e.vec, b->items, 2 * DIM * sizeof(float));
    store_embedding_done(&e);
    assert_ok(&b->f, store_get_training(b->f.st, model_id, &pairs, &n, &b->f.err));
    assert_int_equal(n, 2);
    free(pairs);
}

/* c had no vector in the files; b changed after they were made: both are fused. */
static void activate_fuses_what_came_or_changed_meanwhile(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_embedding e;
    float X[DIM] = {7, 1, -7, 2}, want[2 * DIM];
    uint8_t mask = MODALITY_BIT(MODALITY_VISUAL);

    b->changes = "b";
    int64_t model_id = publish(b);
    fixture_item(&b->f, "late", 9);
    assert_ok(&b->f, candidate_activate(&t, model_id, &b->f.err));
    assert_ok(&b->f, fuse_items(b->c.model, X, &mask, 1, want, &b->f.err));
    assert_ok(&b->f, store_get_embedding(b->f.st, "b", &e, &b->f.err));
    assert_string_equal(e.state, "cold");
    assert_memory_equal(e.vec, want, sizeof want);
    store_embedding_done(&e);
    assert_ok(&b->f, store_get_embedding(b->f.st, "c", &e, &b->f.err));
    store_embedding_done(&e);
    assert_ok(&b->f, store_get_embedding(b->f.st, "late", &e, &b->f.err));
    store_embedding_done(&e);
}

/* A publication that was cut off half way: promoting it puts the rest there. */
static void activate_completes_what_a_crash_left(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_embedding e;
    float *user = NULL;
    int32_t dim = 0;

    int64_t model_id = publish(b);
    run_sql(b, "DELETE FROM embedding WHERE rid = 1; DELETE FROM user_embedding");
    assert_ok(&b->f, candidate_activate(&t, model_id, &b->f.err));
    assert_ok(&b->f, store_get_embedding(b->f.st, "a", &e, &b->f.err));
    assert_memory_equal(e.vec, b->items, 2 * DIM * sizeof(float));
    store_embedding_done(&e);
    assert_ok(&b->f, store_get_user_vector(b->f.st, "u2", &user, &dim, &b->f.err));
    assert_memory_equal(user, b->users + 2 * DIM, 2 * DIM * sizeof(float));
    free(user);
}

/* Back to the first model: with its vectors there, and after retention took them. */
static void activate_goes_back(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_embedding e;

    int64_t first = publish(b);
    assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
    replace(b);
    retain(b);
    int64_t n = -1;
    assert_ok(&b->f, store_count_vectors(b->f.st, first, STORE_SIDE_USERS, &n, &b->f.err));
    assert_int_equal(n, 0);
    b->retains = true; /* it would take what is put back */
    assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
    b->retains = false;
    assert_ok(&b->f, store_get_embedding(b->f.st, "a", &e, &b->f.err));
    assert_true(e.vec[0] == 1.0F && strcmp(e.state, "warm") == 0);
    store_embedding_done(&e);
    assert_ok(&b->f, store_count_vectors(b->f.st, first, STORE_SIDE_USERS, &n, &b->f.err));
    assert_int_equal(n, N_USERS);
    assert_int_equal(candidate_activate(&t, 99, &b->f.err), ERR_FATAL);
}

/* Who judges or refreshes a model must know what it was trained on, rolled back or not. */
static void activate_puts_training_pairs_back(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_pair *want, *got;
    size_t n_want, n;

    int64_t first = publish(b);
    assert_ok(&b->f, store_get_training(b->f.st, first, &want, &n_want, &b->f.err));
    assert_int_equal(n_want, 2);
    assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
    for (int vectors_gone = 0; vectors_gone < 2; vectors_gone++) {
        replace(b);
        if (vectors_gone)
            retain(b);
        else
            run_sql(b, "DELETE FROM model_training");
        assert_int_equal(store_get_training(b->f.st, first, &got, &n, &b->f.err), ERR_NONE);
        b->retains = vectors_gone; /* it would take what is put back */
        assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
        b->retains = false;
        assert_ok(&b->f, store_get_training(b->f.st, first, &got, &n, &b->f.err));
        assert_int_equal(n, n_want);
        assert_memory_equal(got, want, n * sizeof *got);
        free(got);
    }
    free(want);
}

/* A pin that came while a model was published stands against a flip that nobody asked for. */
static void activate_unless_pinned_leaves_a_pinned_model(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_model active;

    int64_t first = publish(b);
    assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
    make_model(b, 2);
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    int64_t second = publish(b);
    assert_ok(&b->f, store_pin_model(b->f.st, first, &b->f.err));
    t.unless_pinned = true;
    assert_int_equal(candidate_activate(&t, second, &b->f.err), ERR_RETRY);
    assert_non_null(strstr(b->f.err.text, "pinned"));
    assert_ok(&b->f, store_model_active(b->f.st, &active, &b->f.err));
    assert_int_equal(active.model_id, first);
    store_model_done(&active);
    t.unless_pinned = false;
    assert_ok(&b->f, candidate_activate(&t, second, &b->f.err));
}

/* The others of its folder may be gone. It itself may not, though another thread still has the model
 * in memory: the next start would find none. */
static void activate_needs_the_file_of_the_model(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct active_model none = {0}, used;
    struct store_model row = {0};
    char dir[PATH_MAX];

    int64_t first = publish(b);
    assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
    assert_ok(&b->f, active_model_newer(&none, b->f.st, &b->f.s, &used, &b->f.err));
    assert_ok(&b->f, store_model_get(b->f.st, first, &row, &b->f.err));
    assert_ok(&b->f, candidate_folder(&b->f.s, &row, dir, &b->f.err));
    store_model_done(&row);
    make_model(b, 2);
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    int64_t second = publish(b);
    assert_ok(&b->f, candidate_activate(&t, second, &b->f.err));
    assert_int_equal(unlink(file_in(dir, "items.npy")), 0);
    assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
    assert_ok(&b->f, candidate_activate(&t, second, &b->f.err));
    assert_int_equal(unlink(file_in(dir, "model.safetensors")), 0);
    assert_int_equal(candidate_activate(&t, first, &b->f.err), ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_NOINPUT);
    active_model_done(&used);
}

/* What a retraining leaves of a model that the gate refused: a row alone. */
static void activate_of_a_refused_model_says_so(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_model row = {
        .origin = STORE_MODEL_TRAINED, .backbone = "mf", .fusion = "cp", .sha256 = "0"};

    assert_ok(&b->f, store_model_add(b->f.st, &row, &b->f.err));
    assert_ok(&b->f, store_model_set_state(b->f.st, row.model_id, "rejected", NULL, &b->f.err));
    assert_int_equal(candidate_activate(&t, row.model_id, &b->f.err), ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_NOINPUT);
    assert_non_null(strstr(b->f.err.text, "refused"));
    store_model_done(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(read_gives_what_was_written),
        CASE(read_reads_each_file_once),
        CASE(look_holds_the_bytes_of_one_file_at_a_time),
        CASE(read_refuses_damaged_files),
        CASE(read_refuses_a_fifo_at_once),
        CASE(read_refuses_rows_out_of_range),
        CASE(publish_and_promote_need_no_file),
        CASE(publish_is_seen_after_the_flip_only),
        CASE(activate_fuses_what_came_or_changed_meanwhile),
        CASE(activate_completes_what_a_crash_left),
        CASE(activate_goes_back),
        CASE(activate_puts_training_pairs_back),
        CASE(activate_needs_the_file_of_the_model),
        CASE(activate_of_a_refused_model_says_so),
        CASE(activate_unless_pinned_leaves_a_pinned_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
