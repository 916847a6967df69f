/* bench_forget FOLDER [N_OTHERS]: how long the writer is away while a user of 100,000 interactions is
 * forgotten, in a store of N_OTHERS (1,000,000) interactions of 50,000 other users, 2 models with vectors
 * and training pairs for all, and 10,000 dead letters: the longest piece, all of them, and the wipe;
 * of a user of 20 too. FOLDER must be empty. */

#include "config/clock.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/writing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1000, BIG = 100000, USERS = 50000, ITEMS = 20000, LETTERS = 10000, D = 64 };

static struct store *st;
static struct err err;
static int64_t offset;

static void must(int status)
{
    if (status != ERR_OK) {
        fprintf(stderr, "bench_forget: %s\n", err.text);
        exit(1);
    }
}

static void write_ops(const struct store_op *ops, size_t n)
{
    struct store_batch_result r;

    must(store_write_batch(st, ops, n, NULL, 0, &r, &err));
}

static void put_clicks(size_t n, size_t first_user, size_t n_users)
{
    static struct store_interaction x[BLOCK];
    static struct store_op ops[BLOCK];
    static char user[BLOCK][24], item[BLOCK][24];

    for (size_t i = 0; i < n; i++, offset++) {
        size_t at = i % BLOCK;

        (void)snprintf(user[at], sizeof user[at], "user-%08zu",
                       first_user + i * 7919 % n_users);
        (void)snprintf(item[at], sizeof item[at], "item-%08zu", i * 104729 % ITEMS);
        x[at] = (struct store_interaction){.pos = {"clicks", 0, offset},
                                           .user_id = user[at],
                                           .item_id = item[at],
                                           .weight = 1,
                                           .ts_us = 1700000000000000 + offset * 1000};
        ops[at] = (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x[at]};
        if (at == BLOCK - 1)
            write_ops(ops, BLOCK);
    }
}

static void put_letters(void)
{
    char value[1024];

    for (size_t i = 0; i < LETTERS; i++) {
        (void)snprintf(value, sizeof value, "{\"user_id\":\"user-%08zu\",\"pad\":\"%0900d\"}",
                       i % USERS, 0);
        struct store_dead_letter d = {.pos = {"clicks", 1, (int64_t)i},
                                      .reason = "bad_schema",
                                      .error = "e",
                                      .stage = "parse",
                                      .value = value,
                                      .value_bytes = strlen(value)};
        write_ops(&(struct store_op){.kind = STORE_OP_DEAD_LETTER, .dead_letter = &d}, 1);
    }
}

static void put_model(const char *file)
{
    struct store_model m = {.origin = STORE_MODEL_SEEDED, .backbone = "mf", .fusion = "cp"};
    struct store_dataset d;
    static float vec[BLOCK * D];

    (void)snprintf(m.file, sizeof m.file, "%s", file);
    must(store_model_add(st, &m, &err));
    must(store_read_dataset(st, &d, &err));
    for (size_t i = 0; i < BLOCK * D; i++)
        vec[i] = (float)(i + 1);
    for (size_t i = 0; i < d.n_users; i += BLOCK) {
        size_t n = d.n_users - i < BLOCK ? d.n_users - i : BLOCK;
        const struct store_vectors v = {.model_id = m.model_id,
                                        .side = STORE_SIDE_USERS,
                                        .ids = d.user_uid + i,
                                        .vec = vec,
                                        .n = n,
                                        .dim = D};
        must(store_publish_vectors(st, &v, &err));
    }
    struct store_pair *pairs = calloc(d.n_pairs + 1, sizeof *pairs);
    for (size_t i = 0; pairs && i < d.n_pairs; i++)
        pairs[i] = (struct store_pair){d.user_uid[d.pair[i][0]], d.item_rid[d.pair[i][1]]};
    must(store_put_training(st, m.model_id, pairs, d.n_pairs, &err));
    free(pairs);
    store_dataset_done(&d);
}

static double ms_since(int64_t start_us)
{
    return (double)(clock_mono_us() - start_us) / 1000;
}

static void forget(const char *user_id)
{
    unsigned char hash[DIGEST_BYTES];
    struct store_erased e;
    bool more = true, clean;
    double longest = 0;
    int n = 0;

    int64_t start_us = clock_mono_us();
    must(store_forget(st, user_id, hash, &err));
    double first = ms_since(start_us);
    while (more) {
        int64_t piece_us = clock_mono_us();
        must(store_erase(st, 2000, &e, &more, &err));
        double ms = ms_since(piece_us);
        longest = ms > longest ? ms : longest;
        n++;
    }
    double all = ms_since(start_us);
    int64_t wipe_us = clock_mono_us();
    must(store_wipe(st, &clean, &err));
    printf(
        "%-14s first %.1f ms, %d pieces, the longest %.1f ms, together %.0f ms; wipe %.0f ms\n",
        user_id, first, n, longest, all, ms_since(wipe_us));
}

int main(int argc, char **argv)
{
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000000;
    char path[4096];

    if (argc < 2)
        return 64;
    (void)snprintf(path, sizeof path, "%s/s.db", argv[1]);
    must(store_open(path, STORE_WRITE, &st, &err));
    put_clicks(n, 0, USERS);
    put_clicks(BIG, USERS, 1);
    put_letters();
    put_model("a");
    put_model("b");
    forget("user-00050000");
    forget("user-00000007");
    forget("nobody");
    store_close(st);
    return 0;
}
