#ifndef MMF_TESTS_MODEL_FIXTURE_H
#define MMF_TESTS_MODEL_FIXTURE_H

/* A store in a folder of its own, items with one visual feature, and models that fit these. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config/settings.h"
#include "fusion/model/model.h"
#include "store/writing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURE_DIM     4
#define FIXTURE_ENCODER "import:x:4"

struct fixture {
    char folder[64], path[96], dir[96]; /* the store; a candidate, not yet made */
    struct settings s;
    struct store *st;
    struct err err;
    int64_t offset; /* of the next event */
};

#define assert_ok(f, call)                                                                     \
    do {                                                                                       \
        if ((call) != ERR_OK)                                                                  \
            fail_msg("%s: %s", #call, (f)->err.text);                                          \
    } while (0)

static inline void fixture_open(struct fixture *f)
{
    *f = (struct fixture){.folder = "/tmp/mmf-model-XXXXXX"};
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/store.db", f->folder);
    snprintf(f->dir, sizeof f->dir, "%s/candidate", f->folder);
    assert_int_equal(settings_init(&f->s), ERR_OK);
    assert_int_equal(settings_set(&f->s, "store.path", f->path, NULL), ERR_OK);
    assert_int_equal(store_open(f->path, STORE_WRITE, &f->st, NULL), ERR_OK);
}

static inline int fixture_close(struct fixture *f)
{
    char command[96];

    store_close(f->st);
    settings_done(&f->s);
    snprintf(command, sizeof command, "rm -r %s", f->folder);
    return system(command);
}

static inline void fixture_write(struct fixture *f, struct store_op op)
{
    struct store_batch_result r;

    assert_ok(f, store_write_batch(f->st, &op, 1, NULL, 0, &r, &f->err));
}

static inline void fixture_item(struct fixture *f, const char *id, float x)
{
    float vec[FIXTURE_DIM] = {x, 1, -x, 2};
    struct store_video v = {.pos = {"t", 0, f->offset++},
                            .item_id = id,
                            .feature[MODALITY_VISUAL] = {vec, FIXTURE_DIM, FIXTURE_ENCODER}};

    fixture_write(f, (struct store_op){.kind = STORE_OP_VIDEO, .video = &v});
}

static inline void fixture_interact(struct fixture *f, const char *user, const char *item)
{
    struct store_interaction x = {.pos = {"i", 0, f->offset++},
                                  .user_id = user,
                                  .item_id = item,
                                  .weight = 1,
                                  .ts_us = 1};

    fixture_write(f, (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x});
}

static inline void fixture_model(struct fixture *f, uint64_t seed, struct model **ret_model)
{
    struct model_shape shape = {.fusion = FUSION_STATIC,
                                .backbone = BACKBONE_MF,
                                .modality_dim = {FIXTURE_DIM, 0, 0},
                                .encoder_id = {FIXTURE_ENCODER},
                                .L = 1,
                                .width = {0, FIXTURE_DIM},
                                .id_dim = FIXTURE_DIM,
                                .fused_length = 1,
                                .trained = true,
                                .has_statistics = true};

    assert_ok(f, model_seed(&shape, seed, ret_model, &f->err));
}

#endif
