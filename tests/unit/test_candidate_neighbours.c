/* A candidate's neighbours through their file into a store, and back after retention; hostile files; what its
 * signals count. */
#include "candidate_fixture.h"

#include "config/digest.h"
#include "config/infile.h"
#include "daemon/base/paths.h"

#include <math.h>
#include <sys/stat.h>
#include <sysexits.h>

/* One at a time. */
static const char *file_in(const char *dir, const char *name)
{
    static char path[PATH_MAX];

    assert_int_equal(paths_join(dir, name, path, NULL), ERR_OK);
    return path;
}

static struct store_neighbours rows_of(struct bench *b, int64_t model_id)
{
    struct store_neighbours x = {0};

    assert_ok(&b->f, store_read_neighbour_all(b->f.st, model_id, &x, &b->f.err));
    return x;
}

/* What the view says of a pair, in millionths; -1 = it is not there. */
static int64_t weight_of(struct bench *b, const char *item, const char *neighbour)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    int64_t weight = -1;

    assert_int_equal(sqlite3_open(b->f.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT CAST(round(1e6 * weight) AS INTEGER) FROM "
                                        "current_neighbour WHERE item_id = ?1 AND "
                                        "neighbour_id = ?2",
                                        -1, &stmt, NULL),
                     SQLITE_OK);
    (void)sqlite3_bind_text(stmt, 1, item, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 2, neighbour, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        weight = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    sqlite3_close(db);
    return weight;
}

static void read_gives_the_neighbours_that_were_written(void **state)
{
    struct bench *b = *state;
    struct candidate c;

    assert_ok(&b->f, candidate_look(b->f.dir, &c, &b->f.err));
    assert_true(c.neighbours.n_rows == N_ITEMS && c.neighbours.n_cols == N_ITEMS);
    assert_int_equal(c.neighbours.nnz, 4);
    assert_memory_equal(c.neighbours.start, b->starts, sizeof b->starts);
    assert_memory_equal(c.neighbours.col, b->cols, sizeof b->cols);
    assert_memory_equal(c.neighbours.value, b->values, sizeof b->values);
    assert_memory_equal(c.neighbour_scale, b->scales, sizeof b->scales);
    assert_true(candidate_neighbour_weight(c.metrics) == 4.5F);
    assert_true(candidate_neighbour_weight(NULL) == 0);
    candidate_done(&c);
}

/* A folder of a model without the signal; a file that metrics.json does not name is none of it. */
static void read_takes_a_folder_without_neighbours(void **state)
{
    struct bench *b = *state;
    struct candidate c;
    struct stat info;

    b->c.neighbours = (struct csr){0};
    b->c.neighbour_scale = NULL;
    (void)json_object_del(b->c.metrics, "signals");
    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    assert_int_equal(stat(file_in(b->f.dir, "neighbours"), &info), -1);
    FILE *f = fopen(file_in(b->f.dir, "neighbours"), "w");
    assert_non_null(f);
    fclose(f);
    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    assert_null(c.neighbours.start);
    assert_true(candidate_neighbour_weight(c.metrics) == 0);
    candidate_done(&c);
    struct store_neighbours x = rows_of(b, publish(b));
    assert_int_equal(x.n_rows, 0);
    store_neighbours_done(&x);
}

static void refuse_neighbours(struct bench *b)
{
    struct candidate c;

    assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
    assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
    assert_int_equal(b->f.err.exit_code, EX_DATAERR);
    assert_non_null(strstr(b->f.err.text, "neighbours"));
    make_neighbours(b);
}

static void read_refuses_hostile_neighbours(void **state)
{
    struct bench *b = *state;
    static const float numbers[] = {NAN, INFINITY, -INFINITY, 1e10F};

    b->cols[1] = 1; /* twice */
    refuse_neighbours(b);
    b->cols[0] = 0; /* itself */
    refuse_neighbours(b);
    b->cols[1] = N_ITEMS;
    refuse_neighbours(b);
    b->starts[0] = 1;
    refuse_neighbours(b);
    b->starts[1] = 4; /* and falls */
    refuse_neighbours(b);
    b->starts[1] = SIZE_MAX;
    refuse_neighbours(b);
    b->starts[N_ITEMS] = 3; /* and not the end */
    refuse_neighbours(b);
    b->scales[1] = -1;
    refuse_neighbours(b);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        b->values[3] = numbers[i];
        refuse_neighbours(b);
        b->scales[0] = numbers[i];
        refuse_neighbours(b);
    }
}

/* With a digest that fits. */
static void put_file(struct bench *b, const void *data, size_t bytes)
{
    char hex[DIGEST_HEX_BYTES];
    const char *path = file_in(b->f.dir, "neighbours");
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
    assert_int_equal(digest_path_hex(path, hex, NULL), ERR_OK);
    path = file_in(b->f.dir, "metrics.json");
    json_t *metrics = json_load_file(path, 0, NULL);
    assert_non_null(metrics);
    (void)json_object_set_new(json_object_get(metrics, "files"), "neighbours",
                              json_string(hex));
    assert_int_equal(json_dump_file(metrics, path, 0), 0);
    json_decref(metrics);
}

static void read_refuses_neighbours_of_another_size(void **state)
{
    struct bench *b = *state;
    char *data, other[512] = {0};
    size_t bytes;
    struct candidate c;
    static const struct {
        size_t at;
        int value;
    } heads[] = {{0, 'x'}, {4, N_ITEMS - 1}, {4, N_ITEMS + 1}, {8, 3}, {8, 5}, {15, 0x80}};

    assert_int_equal(infile_read(file_in(b->f.dir, "neighbours"), 4096, &data, &bytes, NULL),
                     ERR_OK);
    assert_int_equal(bytes, 16 + 8 * (N_ITEMS + 1) + 4 * N_ITEMS + 8 * 4);
    memcpy(other, data, bytes);
    put_file(b, other, bytes);
    assert_ok(&b->f, candidate_read(b->f.dir, &c, &b->f.err));
    candidate_done(&c);
    for (size_t n = 0; n < bytes + 16; n++) {
        put_file(b, other, n);
        if (n != bytes)
            assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        memcpy(other, data, bytes);
        other[heads[i].at] = (char)heads[i].value;
        put_file(b, other, bytes);
        assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
        assert_non_null(strstr(b->f.err.text, "neighbours"));
    }
    free(data);
}

static void read_refuses_signals_that_are_no_numbers(void **state)
{
    struct bench *b = *state;
    static const char *const texts[] = {
        "3",
        "{\"x\": 1}",
        "{\"x\": {}}",
        "{\"x\": {\"scale\": \"1\"}}",
        "{\"x\": {\"scale\": 1e10}}",
        "{\"x\": {\"weight\": 1, \"fade\": null}}",
        "{\"\": {\"weight\": 1}}",
        "{\"a-name-of-more-than-31-characters\": {\"scale\": 1}}"};
    struct candidate c;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        (void)json_object_set_new(b->c.metrics, "signals",
                                  json_loads(texts[i], JSON_DECODE_ANY, NULL));
        assert_ok(&b->f, candidate_write(b->f.dir, &b->c, &b->f.err));
        assert_int_equal(candidate_read(b->f.dir, &c, &b->f.err), ERR_FATAL);
        assert_non_null(strstr(b->f.err.text, "signal"));
    }
}

/* Every entry of the file, by names, beside what the view says: seen after the flip, as long as the model is
 * active, and again after a rollback, whether retention has taken the rows or not. */
static void agree(struct bench *b, bool active)
{
    const struct candidate *c = &b->c;

    for (uint32_t i = 0; i < N_ITEMS; i++)
        for (uint32_t j = 0; j < N_ITEMS; j++) {
            size_t at = csr_find(&c->neighbours, i, j);
            int64_t want = at == SIZE_MAX || !active
                               ? -1
                               : (int64_t)roundf(1e6F * b->values[at] * b->scales[j]);
            assert_int_equal(weight_of(b, c->item_id[i], c->item_id[j]), want);
        }
}

static void current_neighbour_agrees_with_the_file_of_the_active_model(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);
    struct store_signal *signals;
    size_t n;

    int64_t first = publish(b);
    agree(b, false);
    assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
    agree(b, true);
    assert_ok(&b->f, store_read_signals(b->f.st, first, &signals, &n, &b->f.err));
    assert_int_equal(n, 3);
    assert_true(strcmp(signals[0].name, "content") == 0 && signals[0].weight == 0.1);
    assert_true(strcmp(signals[1].name, "fade") == 0 && signals[1].weight == 1.5);
    assert_true(strcmp(signals[2].name, "neighbours") == 0 && signals[2].weight == 4.5);
    free(signals);
    for (int rows_gone = 0; rows_gone < 2; rows_gone++) {
        b->values[0] = b->values[3] = 3; /* of the next models */
        replace(b);
        agree(b, true);
        make_neighbours(b);
        if (rows_gone)
            retain(b);
        struct store_neighbours x = rows_of(b, first);
        assert_int_equal(x.n_rows, rows_gone ? 0 : N_ITEMS);
        store_neighbours_done(&x);
        b->retains = rows_gone; /* it would take what is put back */
        assert_ok(&b->f, candidate_activate(&t, first, &b->f.err));
        b->retains = false;
        agree(b, true);
    }
}

/* Of what a crash left, the rest; a row that refresh has written meanwhile stays. */
static void activate_puts_missing_neighbours_back(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = target(b);

    int64_t id = publish(b);
    run_sql(b, "DELETE FROM neighbour WHERE rid = 1; DELETE FROM neighbour_scale WHERE rid = 1;"
               "UPDATE neighbour_scale SET scale = 4 WHERE rid = 3");
    assert_ok(&b->f, candidate_activate(&t, id, &b->f.err));
    assert_int_equal(weight_of(b, "a", "b"), 250000);
    assert_int_equal(weight_of(b, "a", "c"), -400000);
}

/* In another store: one item is not known there, the others have other rids, one was deleted. */
static void publish_leaves_out_what_the_store_does_not_know(void **state)
{
    struct bench *b = *state;
    struct store *own = b->f.st;
    char path[128];

    snprintf(path, sizeof path, "%s/other.db", b->f.folder);
    assert_ok(&b->f, store_open(path, STORE_WRITE, &b->f.st, &b->f.err));
    fixture_item(&b->f, "c", 3);
    fixture_item(&b->f, "a", 1);
    int64_t id = publish(b);
    struct store_neighbours x = rows_of(b, id);
    assert_int_equal(x.n_rows, 2); /* c, a */
    assert_true(x.rid[0] == 1 && x.scale[0] == 0.75 && x.start[1] == 0);
    assert_true(x.rid[1] == 2 && x.start[2] == 1 && x.rids[0] == 1 && x.values[0] == -0.1F);
    store_neighbours_done(&x);
    store_close(b->f.st);
    b->f.st = own;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(read_gives_the_neighbours_that_were_written),
        CASE(read_takes_a_folder_without_neighbours),
        CASE(read_refuses_hostile_neighbours),
        CASE(read_refuses_neighbours_of_another_size),
        CASE(read_refuses_signals_that_are_no_numbers),
        CASE(current_neighbour_agrees_with_the_file_of_the_active_model),
        CASE(activate_puts_missing_neighbours_back),
        CASE(publish_leaves_out_what_the_store_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
