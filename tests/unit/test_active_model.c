#include "daemon/model/active_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static const struct encoder_identity encoders[MODALITY_COUNT] = {
    {MODALITY_VISUAL, 7, "seeing-1"},
    {MODALITY_ACOUSTIC, 2, "hearing-1"},
    {MODALITY_TEXTUAL, 5, "reading-3:aa"},
};

struct bench {
    char folder[64], path[128];
    struct settings s;
    struct store *st;
    struct active_model model;
};

static int set_up(void **state)
{
    static struct bench b;
    b = (struct bench){0};
    strcpy(b.folder, "/tmp/mmf-model-XXXXXX");
    assert_non_null(mkdtemp(b.folder));
    snprintf(b.path, sizeof(b.path), "%s/store.db", b.folder);
    assert_int_equal(settings_init(&b.s), ERR_OK);
    assert_int_equal(settings_set(&b.s, "store.path", b.path, NULL), ERR_OK);
    assert_int_equal(store_open(b.path, STORE_WRITE, &b.st, NULL), ERR_OK);
    assert_int_equal(active_model_open(b.st, &b.s, encoders, &b.model, NULL), ERR_OK);
    *state = &b;
    return 0;
}

static void remove_file(const struct bench *b, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", b->folder, name);
    remove(path);
}

static struct store_model active_row(const struct bench *b)
{
    struct store_model row = {0};
    assert_int_equal(store_model_active(b->st, &row, NULL), ERR_OK);
    return row;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm",
                                        "store.db.lock"};
    struct store_model row = active_row(b);
    remove_file(b, row.file);
    store_model_done(&row);
    active_model_done(&b->model);
    store_close(b->st);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove_file(b, names[i]);
    settings_done(&b->s);
    return rmdir(b->folder);
}

static void open_of_a_new_store_seeds_an_untrained_model(void **state)
{
    struct bench *b = *state;
    const struct model_shape *shape = model_shape(b->model.model);
    assert_false(shape->trained);
    assert_int_equal(shape->fusion, FUSION_CP);
    assert_int_equal(shape->D, 64);
    int32_t F = 0;
    for (int m = 0; m < MODALITY_COUNT; m++) {
        assert_int_equal(shape->modality_dim[m], encoders[m].dim);
        assert_string_equal(shape->encoder_id[m], encoders[m].id);
        F += encoders[m].dim;
    }
    assert_int_equal(shape->F, F);
    struct store_model row = active_row(b);
    assert_int_equal(row.origin, STORE_MODEL_SEEDED);
    assert_int_equal(row.model_id, b->model.model_id);
    store_model_done(&row);
}

static void open_again_loads_the_same_model(void **state)
{
    struct bench *b = *state;
    struct active_model again;
    assert_int_equal(active_model_open(b->st, &b->s, encoders, &again, NULL), ERR_OK);
    assert_int_equal(again.model_id, b->model.model_id);
    assert_ptr_equal(again.model, b->model.model); /* shared */
    active_model_done(&again);
    struct active_model newer;
    assert_int_equal(active_model_newer(&b->model, b->st, &b->s, &newer, NULL), ERR_NONE);
}

/* The file of the active model; nobody has it in memory, who would not read it again. */
static void let_go(struct bench *b, char ret_path[512])
{
    struct store_model row = active_row(b);
    snprintf(ret_path, 512, "%s/%s", b->folder, row.file);
    store_model_done(&row);
    active_model_done(&b->model);
}

static void flip_last_bit(const char *path)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, -1, SEEK_END);
    int last = fgetc(file);
    fseek(file, -1, SEEK_END);
    fputc(last ^ 1, file);
    fclose(file);
}

/* Of the same encoders: its bytes are the same, so nothing is lost. */
static void open_seeds_a_lost_untrained_model_again(void **state)
{
    struct bench *b = *state;
    int64_t model_id = b->model.model_id;
    char path[512];
    let_go(b, path);
    flip_last_bit(path);
    assert_int_equal(active_model_open(b->st, &b->s, encoders, &b->model, NULL), ERR_OK);
    assert_int_equal(b->model.model_id, model_id);
    assert_non_null(b->model.model);
    let_go(b, path);
    remove(path);
    assert_int_equal(active_model_open(b->st, &b->s, encoders, &b->model, NULL), ERR_OK);
    assert_int_equal(b->model.model_id, model_id);
    assert_non_null(b->model.model);
}

/* Of other encoders than today's: nobody can make it again. */
static void open_of_a_changed_file_gives_no_model(void **state)
{
    static const struct encoder_identity others[MODALITY_COUNT] = {
        {MODALITY_VISUAL, 6, "seeing-2"},
        {MODALITY_ACOUSTIC, 2, "hearing-1"},
        {MODALITY_TEXTUAL, 5, "reading-3:aa"},
    };
    struct bench *b = *state;
    struct err err;
    char path[512];
    let_go(b, path);
    flip_last_bit(path);

    struct active_model again = {0}, newer;
    assert_int_equal(active_model_newer(&again, b->st, &b->s, &newer, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, "sha256"));
    assert_int_equal(active_model_newer(&again, b->st, &b->s, &newer, &err), ERR_NONE);
    assert_int_equal(active_model_open(b->st, &b->s, others, &again, &err), ERR_OK);
    assert_null(again.model);
    assert_int_equal(again.model_id, 0);
    assert_int_not_equal(again.refused_id, 0);
    assert_non_null(strstr(err.text, "train a new one"));

    remove(path);
    again = (struct active_model){0};
    assert_int_equal(active_model_open(b->st, &b->s, others, &again, &err), ERR_OK);
    assert_null(again.model);
    assert_int_equal(err.exit_code, EX_NOINPUT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(open_of_a_new_store_seeds_an_untrained_model),
        CASE(open_again_loads_the_same_model),
        CASE(open_seeds_a_lost_untrained_model_again),
        CASE(open_of_a_changed_file_gives_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
