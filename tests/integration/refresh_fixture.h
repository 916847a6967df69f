#ifndef MMF_TESTS_REFRESH_FIXTURE_H
#define MMF_TESTS_REFRESH_FIXTURE_H

/* A store with items, interactions and an active model of any backbone, published as a trainer's
 * candidate is, and the refresh thread on it. The model's weights are random: what is compared is
 * arithmetic. Items are named i<n>, users u<n>. */

#include "daemon/refresh/refresh.h"
#include "fusion/train/trainee.h"
#include "store/models.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { REFRESH_VISUAL = 12, REFRESH_ACOUSTIC = 4 };

enum { FIXTURE_ITEMS = 30, FIXTURE_USERS = 20, FIXTURE_PAIRS = 120 };

struct candidate;
struct refresh_fixture {
    char folder[64], path[128], dir[128];
    struct settings s;
    struct store *st; /* the writer, under the lock */
    pthread_mutex_t lock;
    struct err err;
    struct refresh *refresh; /* NULL = not running */
    int64_t offset;
    int64_t model_id;
    int32_t width;   /* of the fused half of the models to train, 0 = 6 */
    bool signals;    /* factors and content beside them (signals.h) */
    bool neighbours; /* of items, with the weight 0.5 (neighbours.h) */
    int n_failures;  /* so many writes of the refresh thread fail first */
    uint64_t n_writes;
};

#define refresh_ok(f, call)                                                                    \
    do {                                                                                       \
        if ((call) != ERR_OK)                                                                  \
            fail_msg("%s: %s", #call, (f)->err.text);                                          \
    } while (0)

void fixture_open(struct refresh_fixture *f);
void fixture_close(struct refresh_fixture *f);
/* Items i<first> … with random features; pairs (user, item) in one batch. */
void fixture_items(struct refresh_fixture *f, size_t first, size_t n);
void fixture_pairs(struct refresh_fixture *f, const uint32_t (*pairs)[2], size_t n);
/* i30 comes, which a model of fixture_fill does not know, and with it, in one batch: u3 has it and i7, a
 * stranger u99 has i7, u4 has i28, which nobody had. Settled. */
void fixture_news(struct refresh_fixture *f);
void fixture_interact(struct refresh_fixture *f, const char *user, const char *item);
/* The same of any kind. */
void fixture_react(struct refresh_fixture *f, const char *user, const char *item,
                   const char *kind, double weight);
/* Opened, with so many items, users and pairs; the last two items have none. */
void fixture_fill(struct refresh_fixture *f);
void fixture_factors(struct refresh_fixture *f, double dislike, double like);
void fixture_delete(struct refresh_fixture *f, const char *item);
/* Trains on what the store holds (weights by the seed), publishes and activates. */
void fixture_train(struct refresh_fixture *f, enum fusion_kind fusion,
                   enum backbone_kind backbone, bool item_graph, uint64_t seed);
void fixture_activate(struct refresh_fixture *f, int64_t model_id);
void fixture_start(struct refresh_fixture *f);
void fixture_stop(struct refresh_fixture *f);
/* Waits until nothing is left to refresh. */
void fixture_settle(struct refresh_fixture *f);
/* The whole forward pass of the active model over everything that the store holds. */
struct fixture_whole {
    struct store_dataset data;
    struct trainee_data td;
    float *X;
    struct csr_pair *pairs;
    struct trainee *t;
    float *vectors; /* (users + items, D) as published */
    size_t D;
};
void fixture_whole(struct refresh_fixture *f, struct fixture_whole *w);
void fixture_whole_done(struct fixture_whole *w);
/* How far a stored vector (item i…, user u…) is from the whole pass, of the largest value there; -1
 * when there is no vector. */
double fixture_difference(struct refresh_fixture *f, const struct fixture_whole *w,
                          const char *name);
/* An item's row and scale against neighbours_build over everything that the store holds, with the
 * ridge of the active model. Returns how many neighbours it has. In refresh_rows.c. */
size_t fixture_check_row(struct refresh_fixture *f, const char *item);
/* What the whole pass is made of. */
void fixture_read_data(struct refresh_fixture *f, struct fixture_whole *w);
struct csr fixture_edges(struct refresh_fixture *f, const struct fixture_whole *w);
void fixture_read_active(struct refresh_fixture *f, struct model **ret_model,
                         struct candidate *ret_c);
/* One number of SQL, by a reader. */
int64_t fixture_count(struct refresh_fixture *f, const char *sql);

#endif
