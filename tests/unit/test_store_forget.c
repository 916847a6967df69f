/* Forgetting a user: what goes, what stays, what does not come back, and that the bytes are gone. */
#include "store_fixture.h"

#include "store/copy.h"

#include "config/clock.h"

#include <fcntl.h>
#include <stdbool.h>

#define MINUTE INT64_C(60000000)

static int64_t now_us(void)
{
    return clock_real_us();
}

static struct store_batch_result forget_at(struct fixture *f, const char *user_id,
                                           int64_t at_us)
{
    struct store_forget x = {{"clicks", 0, 900}, user_id, at_us};
    struct store_op op = {.kind = STORE_OP_FORGET, .forget = &x};

    return fixture_write(f, &op, 1, -1);
}

static struct store_erased erase_all(struct fixture *f, size_t max_rows, int *ret_pieces)
{
    struct store_erased done = {0}, piece;
    bool more = true;
    int n = 0;

    for (; more; n++) {
        assert_ok(f, store_erase(f->st, max_rows, &piece, &more, &f->err));
        if (piece.done)
            done = piece;
    }
    if (ret_pieces)
        *ret_pieces = n;
    return done;
}

static void put_user_vector(struct fixture *f, int64_t model_id, int64_t uid)
{
    static const float vec[FIXTURE_DIM] = {1, 2, 3, 4};
    const struct store_vectors v = {.model_id = model_id,
                                    .side = STORE_SIDE_USERS,
                                    .ids = &uid,
                                    .vec = vec,
                                    .n = 1,
                                    .dim = FIXTURE_DIM};

    assert_ok(f, store_publish_vectors(f->st, &v, &f->err));
}

static int64_t uid_of(struct fixture *f, const char *user_id)
{
    char *name = (char *)(uintptr_t)user_id;
    int64_t uid = 0;

    assert_ok(f, store_find_ids(f->st, STORE_SIDE_USERS, &name, 1, &uid, &f->err));
    return uid;
}

static void bury(struct fixture *f, int64_t offset, const char *role, const char *key,
                 const char *value, const char *header, int64_t said_us)
{
    const struct store_header h = {"ce_subject", header, header ? strlen(header) : 0};
    struct store_dead_letter d = {.pos = {"clicks", 1, offset},
                                  .reason = "bad_schema",
                                  .error = "event: weight: got \"a lot\"",
                                  .stage = "parse",
                                  .item_id = "v1",
                                  .role = role,
                                  .key = key,
                                  .key_bytes = key ? strlen(key) : 0,
                                  .value = value,
                                  .value_bytes = value ? strlen(value) : 0,
                                  .headers = &h,
                                  .n_headers = header != NULL,
                                  .ts_us = 1700000000000000,
                                  .said_us = said_us,
                                  .dlq_topic = "dlq"};
    struct store_op op = {.kind = STORE_OP_DEAD_LETTER, .dead_letter = &d};

    fixture_write(f, &op, 1, -1);
}

/* ---- rows ---------------------------------------------------------------------------------- */

static void forget_takes_rows_and_leaves_those_of_others(void **state)
{
    struct fixture *f = *state;
    int64_t old = fixture_model(f, "old.safetensors");
    const struct store_pair pairs[] = {{1, 1}, {1, 2}, {2, 1}};

    fixture_interact(f, "anna", "v1", 1, 1000);
    fixture_interact(f, "bert", "v1", 2, 1000);
    fixture_interact(f, "anna", "v2", 3,
                     now_us() + 3600 * MINUTE); /* a clock that runs ahead */
    put_user_vector(f, f->model_id, uid_of(f, "anna"));
    put_user_vector(f, old, uid_of(f, "anna"));
    put_user_vector(f, old, uid_of(f, "bert"));
    assert_int_equal(uid_of(f, "anna"), 1);
    assert_ok(f, store_put_training(f->st, old, pairs, 3, &f->err));
    assert_int_equal(forget_at(f, "anna", now_us()).n_forgotten, 1);
    assert_int_equal(uid_of(f, "anna"), 0);
    struct store_erased e = erase_all(f, 1, NULL);

    assert_true(e.done);
    assert_int_equal(e.n_interactions, 2);
    assert_int_equal(e.n_vectors, 2);
    assert_int_equal(e.n_pairs, 2);
    assert_int_equal(strlen(e.hash), 16);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM user"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM user_embedding"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch WHERE uid = 1"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch WHERE edge_gone = 1"), 2);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM erasing"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    struct store_pair *left = NULL;
    size_t n = 0;
    assert_ok(f,
              store_get_training(f->st, old, &left, &n, &f->err)); /* its checksum is right */
    assert_int_equal(n, 3);
    assert_int_equal(left[0].uid + left[0].rid + left[1].uid + left[1].rid, 0);
    assert_int_equal(left[2].uid, 2);
    free(left);
}

static void forget_while_erasing_dataset_and_vectors_leave_the_user_out(void **state)
{
    struct fixture *f = *state;
    struct store_names names;

    fixture_interact(f, "anna", "v1", 1, 1000);
    fixture_interact(f, "bert", "v1", 2, 1000);
    int64_t uid = uid_of(f, "anna");
    forget_at(f, "anna", now_us());
    put_user_vector(f, f->model_id, uid); /* a refresh that had begun */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM user_embedding"), 0);
    assert_ok(f, store_read_names(f->st, STORE_SIDE_USERS, &names, &f->err));
    assert_int_equal(names.n, 1);
    assert_string_equal(names.name[0], "bert");
    store_names_done(&names);
    fixture_interact(f, "anna", "v1", 3, now_us() + MINUTE); /* is back before all has gone */
    erase_all(f, 1000, NULL);
    put_user_vector(f, f->model_id, uid);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM user_embedding"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction"), 2);
    assert_true(uid_of(f, "anna") > uid);
}

static void forget_last_uid_is_not_given_again(void **state)
{
    struct fixture *f = *state;

    fixture_interact(f, "anna", "v1", 1, 1000);
    fixture_interact(f, "bert", "v1", 2, 1000);
    forget_at(f, "bert", now_us());
    erase_all(f, 1000, NULL);
    fixture_interact(f, "carl", "v1", 3, 1000);
    assert_int_equal(uid_of(f, "carl"), 3);
}

static void forget_many_interactions_go_in_bounded_pieces(void **state)
{
    struct fixture *f = *state;
    int pieces = 0;

    for (int i = 0; i < 100; i++)
        fixture_interact(f, "anna", "v1", i, 1000);
    forget_at(f, "anna", now_us());
    fixture_reopen(f); /* a crash between two pieces */
    struct store_erased e = erase_all(f, 10, &pieces);
    assert_int_equal(e.n_interactions, 100);
    assert_true(pieces > 10);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction"), 0);
}

/* ---- what comes again ---------------------------------------------------------------------- */

static void forget_older_events_are_dropped_and_later_ones_count(void **state)
{
    struct fixture *f = *state;
    int64_t at = now_us();

    fixture_interact(f, "anna", "v1", 1, at - MINUTE);
    forget_at(f, "anna", at);
    erase_all(f, 1000, NULL);
    assert_int_equal(fixture_interact(f, "anna", "v1", 1, at - MINUTE).n_dropped, 1);
    assert_int_equal(fixture_interact(f, "anna", "v1", 2, at).n_dropped, 1);
    assert_int_equal(fixture_interact(f, "bert", "v1", 3, at - MINUTE).n_interactions, 1);
    fixture_reopen(f);
    assert_int_equal(fixture_interact(f, "anna", "v1", 1, at - MINUTE).n_dropped, 1);
    assert_int_equal(uid_of(f, "anna"), 0);
    assert_int_equal(fixture_interact(f, "anna", "v1", 4, at + 1000).n_interactions, 1);
    /* the log is read again, user.deleted as well: what came since stays */
    assert_int_equal(forget_at(f, "anna", at).n_stale, 1);
    erase_all(f, 1000, NULL);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction"), 2);
    struct store_forgotten_sums sums;
    assert_ok(f, store_forgotten_sums(f->st, &sums, &f->err));
    assert_int_equal(sums.n_users, 1);
    assert_int_equal(sums.n_dropped, 3);
    assert_int_equal(sums.n_erasing, 0);
}

static void forget_event_is_as_old_as_its_record(void **state)
{
    struct fixture *f = *state;
    int64_t at = now_us();
    struct store_interaction x = {.pos = {"clicks", 0, 5},
                                  .user_id = "anna",
                                  .item_id = "v1",
                                  .weight = 1,
                                  .ts_us = at + 3600 * MINUTE, /* a clock that runs ahead */
                                  .said_us = at - MINUTE};
    struct store_op op = {.kind = STORE_OP_INTERACTION, .interaction = &x};

    forget_at(f, "anna", at);
    assert_int_equal(fixture_write(f, &op, 1, -1).n_dropped, 1);
}

static void forget_twice_at_once_is_later_whatever_the_clock_says(void **state)
{
    struct fixture *f = *state;
    unsigned char hash[DIGEST_BYTES];
    bool erased;

    forget_at(f, "anna", now_us() + 3600 * MINUTE);
    erase_all(f, 1000, NULL);
    fixture_interact(f, "anna", "v1", 1, now_us() + 3601 * MINUTE);
    assert_ok(f, store_forget(f->st, "anna", hash, &f->err));
    assert_ok(f, store_is_erased(f->st, hash, &erased, &f->err));
    assert_false(erased);
    erase_all(f, 1000, NULL);
    assert_ok(f, store_is_erased(f->st, hash, &erased, &f->err));
    assert_true(erased);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction"), 0);
}

static void forget_rolled_back_batch_is_as_if_it_had_not_been(void **state)
{
    struct fixture *f = *state;
    int64_t at = now_us();
    struct store_forget x = {{"clicks", 0, 900}, "anna", at};
    struct store_interaction bad = {
        .pos = {"clicks", 0, 901}, .user_id = "b", .item_id = "v", .kind = "k", .weight = 1};
    struct store_op ops[] = {{.kind = STORE_OP_FORGET, .forget = &x},
                             {.kind = STORE_OP_INTERACTION, .interaction = &bad}};
    struct store_batch_result r;

    fixture_interact(f, "anna", "v1", 1, at - MINUTE);
    fixture_spoil(f, "CREATE TRIGGER no BEFORE INSERT ON interaction BEGIN "
                     "SELECT RAISE(ABORT, 'no'); END");
    fixture_reopen(f);
    assert_true(store_write_batch(f->st, ops, 2, NULL, 0, &r, &f->err) != ERR_OK);
    fixture_spoil(f, "DROP TRIGGER no");
    fixture_reopen(f);
    assert_int_equal(fixture_interact(f, "anna", "v2", 2, at - MINUTE).n_interactions, 1);
}

/* ---- dead letters -------------------------------------------------------------------------- */

static bool names(const char *role, const char *key, const char *value, const char *header,
                  const char *user_id)
{
    const struct store_header h = {"h", header, header ? strlen(header) : 0};
    const struct naming x = {.key = key,
                             .value = value,
                             .key_bytes = key ? strlen(key) : 0,
                             .value_bytes = value ? strlen(value) : 0,
                             .headers = &h,
                             .n_headers = header != NULL,
                             .key_is_item = role && strcmp(role, "videos") == 0};

    return naming_is(&x, user_id);
}

static void naming_forms_that_name_a_user(void **state)
{
    (void)state;
    assert_true(names(NULL, "anna", NULL, NULL, "anna"));
    assert_true(names("interactions", "{\"id\":77}", NULL, NULL, "77"));
    assert_true(names("interactions", "77", NULL, NULL, "77"));
    assert_true(names(NULL, NULL, "anna", NULL, "anna"));
    assert_true(names(NULL, NULL, "{\"user_id\":\"anna\"", NULL, "anna"));
    assert_true(names(NULL, NULL, "{oops \" {\"user_id\":\"anna\", \"x", NULL, "anna"));
    assert_true(names(NULL, NULL, "{\"user_id\":\"\\u00fc1\\/\"}", NULL, "ü1/"));
    assert_true(names(NULL, NULL, "{\"a\":\"\\ud83d\\ude00\"}", NULL, "😀"));
    assert_true(names(NULL, NULL, "{\"userId\" : 77}", NULL, "77"));
    assert_true(names(NULL, NULL, "{\"UID\":[76, 77]}", NULL, "77"));
    assert_true(names(NULL, NULL, "{\"viewer\":{\"id\":47110}}", NULL, "47110"));
    assert_true(names(NULL, NULL, "{}", "anna", "anna"));
    assert_true(names(NULL, NULL, "4711;anna-4711;v1", NULL, "anna-4711"));
}

static void naming_forms_that_do_not(void **state)
{
    (void)state;
    assert_false(names("videos", "77", "{\"item_id\":\"77\"}", NULL, "77"));
    assert_false(names(NULL, NULL, "{\"user_id\":\"annabel\"}", NULL, "anna"));
    assert_false(names(NULL, NULL, "{\"weight\":77,\"duration\":1.77}", NULL, "77"));
    assert_false(names(NULL, NULL, "{\"user_id\":770}", NULL, "77"));
    assert_false(names(NULL, NULL, "{\"item_id\":47110}", NULL, "47110"));
    assert_false(names(NULL, NULL, "{\"weight\":471103}", NULL, "47110"));
    assert_false(names(NULL, NULL, "{\"user_id\":\"anna", NULL, "anna"));
    assert_false(names(NULL, NULL, "\\u12", NULL, "anna"));
    assert_false(names(NULL, NULL, "\"\\u12\"\\", NULL, "anna"));
    assert_false(names(NULL, NULL, NULL, NULL, "anna"));
}

static void forget_dead_letters_keep_reason_and_position_alone(void **state)
{
    struct fixture *f = *state;
    int64_t n_blobs;

    bury(f, 1, "interactions", "anna", "{\"user_id\":\"anna\",\"weight\":\"a lot\"}", NULL, 0);
    bury(f, 2, "interactions", "bert", "{\"user_id\":\"bert\",\"weight\":\"a lot\"}", NULL, 0);
    bury(f, 3, "videos", "v1", "{\"item_id\":\"v1\"}", "anna", 0);
    forget_at(f, "anna", now_us());
    assert_int_equal(erase_all(f, 1000, NULL).n_letters, 4); /* two, and two in the outbox */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter WHERE key IS NULL AND "
                                      "value = x'' AND headers IS NULL AND item_id IS NULL AND "
                                      "error LIKE 'erased%' AND reason = 'bad_schema' AND "
                                      "offset IN (1, 3)"),
                     2);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dlq_outbox WHERE key IS NULL AND "
                                      "value = x'' AND headers IS NULL"),
                     2);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter WHERE item_id = 'v1' "
                                      "AND offset = 2"),
                     1);
    assert_ok(f, store_check(f->st, &n_blobs, &f->err)); /* checksums */
}

static void forget_letter_that_comes_again_names_nobody(void **state)
{
    struct fixture *f = *state;
    int64_t at = now_us();

    forget_at(f, "anna", at);
    bury(f, 1, "interactions", "anna", "{\"user_id\":\"anna\"", NULL, at - MINUTE);
    bury(f, 2, "interactions", "anna", "{\"user_id\":\"anna\"", NULL, at + MINUTE);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter WHERE value = x''"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter WHERE key IS NULL"), 1);
    forget_at(f, "anna-4711", at);
    bury(f, 3, "interactions", NULL, "v1;anna-4711;watch", NULL, at - MINUTE);
    bury(f, 4, "interactions", NULL, "v1;anna-47110;watch", NULL, at - MINUTE);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter WHERE value = x''"), 2);
}

/* A try was under way when the letter was erased: what it says of the failure may name somebody. */
static void forget_erased_letter_is_not_renewed(void **state)
{
    struct fixture *f = *state;
    struct store_dead_letter again = {.pos = {"clicks", 1, 1},
                                      .reason = "bad_json",
                                      .error = "expected near 'anna-4711'",
                                      .stage = "parse",
                                      .item_id = "anna-4711",
                                      .value = "anna-4711;v1",
                                      .value_bytes = 12,
                                      .said_us = now_us()};
    struct store_op op = {.kind = STORE_OP_DEAD_LETTER, .letter_id = 1, .dead_letter = &again};

    bury(f, 1, "interactions", NULL, "anna-4711;v1", NULL, again.said_us);
    forget_at(f, "anna-4711", now_us());
    erase_all(f, 1000, NULL);
    fixture_write(f, &op, 1, -1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter WHERE value = x'' AND "
                                      "item_id IS NULL AND error LIKE 'erased%'"),
                     1);
}

/* ---- the bytes ----------------------------------------------------------------------------- */

/* The bytes of the store and of its log of writes. */
static size_t read_bytes(struct fixture *f, char *ret, size_t room)
{
    static const char *const suffixes[] = {"", "-wal"};
    char name[128];
    size_t n = 0;

    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, "%s%s", f->path, suffixes[i]);
        FILE *in = fopen(name, "re");
        n += in ? fread(ret + n, 1, room - n, in) : 0;
        if (in)
            (void)fclose(in);
    }
    assert_true(n < room);
    return n;
}

static char bytes[128 << 20];

static bool store_holds(struct fixture *f, const char *text)
{
    size_t n = read_bytes(f, bytes, sizeof bytes);

    return memmem(bytes, n, text, strlen(text)) != NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Of all that the bytes name, those that are among (n) sorted ids. */
static int count_named(struct fixture *f, char (*ids)[24], size_t n)
{
    size_t n_bytes = read_bytes(f, bytes, sizeof bytes - 24);
    int found = 0;

    memset(bytes + n_bytes, 0, 24);
    for (const char *at = bytes;
         (at = memmem(at, n_bytes - (size_t)(at - bytes), "person-", 7)) != NULL; at++) {
        char id[24] = "";
        memcpy(id, at, strlen(ids[0]));
        found += bsearch(id, ids, n, sizeof *ids, by_name) != NULL;
    }
    return found;
}

static void make_users(struct fixture *f, char ids[][24], size_t n)
{
    enum { BATCH = 500 };
    struct store_interaction x[BATCH];
    struct store_op ops[BATCH];
    uint64_t random = 1;

    for (size_t i = 0; i < n; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        (void)snprintf(ids[i], 24, "person-%012llx", (unsigned long long)(random >> 16));
        x[i % BATCH] = (struct store_interaction){.pos = {"clicks", 0, (int64_t)i},
                                                  .user_id = ids[i],
                                                  .item_id = "v1",
                                                  .weight = 1,
                                                  .ts_us = 1000};
        ops[i % BATCH] =
            (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x[i % BATCH]};
        if (i % BATCH == BATCH - 1)
            fixture_write(f, ops, BATCH, -1);
    }
}

static void forget_many(struct fixture *f, char (*ids)[24], size_t n)
{
    struct store_forget *x = calloc(n, sizeof *x);
    struct store_op *ops = calloc(n, sizeof *ops);

    assert_true(x && ops);
    for (size_t i = 0; i < n; i++) {
        x[i] = (struct store_forget){.user_id = ids[i], .at_us = now_us()};
        ops[i] = (struct store_op){.kind = STORE_OP_FORGET, .forget = &x[i]};
    }
    assert_int_equal(fixture_write(f, ops, n, -1).n_forgotten, n);
    free(x);
    free(ops);
}

/* So many that pages of the index have been split around some of them: without writing it anew, a few
 * of these are left. */
static void wipe_no_byte_of_an_id_is_left(void **state)
{
#if defined(__SANITIZE_THREAD__) /* there is one thread here, a hundred times slower */
    enum { USERS = 3000, GONE = 100, LETTERS = 50 };
#elif defined(MMF_SANITIZE_BUILD) /* several times slower, and for other faults */
    enum { USERS = 20000, GONE = 500, LETTERS = 50 };
#else
    enum { USERS = 60000, GONE = 6000, LETTERS = 50 };
#endif
    struct fixture *f = *state;
    char(*ids)[24] = calloc(USERS, sizeof *ids);
    bool clean = false;

    assert_non_null(ids);
    assert_ok(f, store_exec(f->st, "PRAGMA synchronous=OFF", "hurry", &f->err));
    make_users(f, ids, USERS);
    for (int i = 0; i < LETTERS; i++) {
        char value[64];
        (void)snprintf(value, sizeof value, "{\"user_id\":\"%s\"", ids[i]);
        bury(f, i, "interactions", ids[i], value, ids[i], 0);
    }
    forget_many(f, ids, GONE);
    erase_all(f, 1000, NULL);
    qsort(ids, GONE, sizeof *ids, by_name);
    print_message("%d copies of ids before the wipe\n", count_named(f, ids, GONE));
    assert_ok(f, store_wipe(f->st, &clean, &f->err));
    assert_true(clean);
    assert_int_equal(count_named(f, ids, GONE), 0);
    assert_true(count_named(f, ids + GONE, 1) > 0);
    free(ids);
}

static void wipe_says_when_a_reader_holds_it_up(void **state)
{
    struct fixture *f = *state;
    struct store *reader = NULL;
    bool clean = true;
    struct store_names n;

    fixture_interact(f, "person-anna", "v1", 1, 1000);
    assert_ok(f, store_open(f->path, STORE_READ, &reader, &f->err));
    assert_ok(f, store_read_begin(reader, &f->err));
    assert_ok(f, store_read_names(reader, STORE_SIDE_USERS, &n, &f->err));
    store_names_done(&n);
    forget_at(f, "person-anna", now_us());
    erase_all(f, 1000, NULL);
    assert_ok(f, store_wipe(f->st, &clean, &f->err));
    assert_false(clean);
    store_read_end(reader);
    store_close(reader);
    assert_ok(f, store_wipe(f->st, &clean, &f->err));
    assert_true(clean);
    assert_false(store_holds(f, "person-anna"));
    assert_ok(f, store_wipe(f->st, &clean, &f->err));
    assert_true(clean);
}

/* ---- lists --------------------------------------------------------------------------------- */

static void list_of_a_newer_copy_is_applied_to_an_older_one(void **state)
{
    struct fixture *f = *state;
    struct store_forgotten *rows = NULL;
    char snap[128], name[17], other[17];
    struct store *old = NULL;
    struct store_batch_result r;
    int64_t n_known = 0, at = now_us();
    size_t n = 0;

    fixture_interact(f, "anna", "v1", 1, at - MINUTE);
    fixture_interact(f, "bert", "v1", 2, at - MINUTE);
    (void)snprintf(snap, sizeof snap, "%s/snap", f->dir);
    assert_ok(f, store_snapshot(f->st, snap, &f->err));
    forget_at(f, "anna", at);
    forget_at(f, "carl", at); /* whom the older copy does not know */
    erase_all(f, 1000, NULL);
    assert_ok(f, store_forgotten_list(f->st, &rows, &n, &f->err));
    assert_int_equal(n, 2);
    assert_ok(f, store_forget_key_name(f->st, name, &f->err));

    assert_ok(f, store_open(snap, STORE_WRITE, &old, &f->err));
    assert_ok(f, store_forget_key_name(old, other, &f->err));
    assert_string_equal(name, other);
    assert_ok(f, store_forget_listed(old, rows, n, &n_known, &f->err));
    assert_int_equal(n_known, 1);
    assert_int_equal(fixture_query_of(old, "SELECT count(*) FROM forgotten"), 2);
    assert_int_equal(fixture_query_of(old, "SELECT count(*) FROM erasing"), 1);
    struct store_interaction x = {.pos = {"clicks", 0, 9},
                                  .user_id = "carl",
                                  .item_id = "v1",
                                  .weight = 1,
                                  .ts_us = at - MINUTE};
    struct store_op op = {.kind = STORE_OP_INTERACTION, .interaction = &x};
    assert_ok(f, store_write_batch(old, &op, 1, NULL, 0, &r, &f->err));
    assert_int_equal(r.n_dropped, 1);
    assert_ok(f, store_forget_listed(old, rows, n, &n_known, &f->err)); /* again: nothing */
    assert_int_equal(n_known, 0);
    free(rows);
    store_close(old);
}

static void find_forgotten_goes_by_the_time(void **state)
{
    struct fixture *f = *state;
    char *const names[] = {(char *)"anna", NULL, (char *)"bert"};
    unsigned char gone[3];
    int64_t at = now_us(), n = 0;
    bool any;

    struct store_read_mark mark = {at - 1, -1};

    forget_at(f, "anna", at);
    assert_ok(f, store_find_forgotten(f->st, names, 3, &mark, gone, &any, &f->err));
    assert_true(any && gone[0] && !gone[1] && !gone[2]);
    mark.us = at + 1;
    assert_ok(f, store_find_forgotten(f->st, names, 3, &mark, gone, &any, &f->err));
    assert_false(any || gone[0]);
    assert_ok(f, store_forgettings(f->st, &n, &f->err));
    assert_int_equal(n, 1);
    assert_ok(f, store_forgotten_filed(f->st, 0, &f->err)); /* counted before anna came */
    assert_int_equal(fixture_query(f, "SELECT in_files FROM forgotten"), 1);
    assert_ok(f, store_forgotten_filed(f->st, 1, &f->err));
    assert_int_equal(fixture_query(f, "SELECT in_files FROM forgotten"), 0);
}

/* The record of a forgetting lay in the log while the store was read; or the clock went back meanwhile. */
static void find_forgotten_that_came_later_whatever_its_time(void **state)
{
    struct fixture *f = *state;
    char *const names[] = {(char *)"anna", (char *)"bert"};
    struct store_read_mark before, between;
    unsigned char gone[2];
    bool any;

    assert_ok(f, store_read_mark(f->st, &before, &f->err));
    forget_at(f, "anna", before.us - 1000000);
    assert_ok(f, store_find_forgotten(f->st, names, 2, &before, gone, &any, &f->err));
    assert_true(any && gone[0] && !gone[1]);
    assert_ok(f, store_read_mark(f->st, &between, &f->err));
    assert_ok(f, store_find_forgotten(f->st, names, 2, &between, gone, &any, &f->err));
    assert_false(any || gone[0] || gone[1]);
    forget_at(f, "bert", before.us - 2000000);
    assert_ok(f, store_find_forgotten(f->st, names, 2, &between, gone, &any, &f->err));
    assert_true(any && !gone[0] && gone[1]);
    forget_at(f, "anna", before.us - 999999); /* once more */
    assert_ok(f, store_find_forgotten(f->st, names, 2, &between, gone, &any, &f->err));
    assert_true(any && gone[0] && gone[1]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(forget_takes_rows_and_leaves_those_of_others),
        CASE(forget_while_erasing_dataset_and_vectors_leave_the_user_out),
        CASE(forget_last_uid_is_not_given_again),
        CASE(forget_many_interactions_go_in_bounded_pieces),
        CASE(forget_older_events_are_dropped_and_later_ones_count),
        CASE(forget_event_is_as_old_as_its_record),
        CASE(forget_twice_at_once_is_later_whatever_the_clock_says),
        CASE(forget_rolled_back_batch_is_as_if_it_had_not_been),
        cmocka_unit_test(naming_forms_that_name_a_user),
        cmocka_unit_test(naming_forms_that_do_not),
        CASE(forget_dead_letters_keep_reason_and_position_alone),
        CASE(forget_letter_that_comes_again_names_nobody),
        CASE(forget_erased_letter_is_not_renewed),
        CASE(wipe_no_byte_of_an_id_is_left),
        CASE(wipe_says_when_a_reader_holds_it_up),
        CASE(list_of_a_newer_copy_is_applied_to_an_older_one),
        CASE(find_forgotten_goes_by_the_time),
        CASE(find_forgotten_that_came_later_whatever_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
