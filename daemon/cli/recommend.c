/* metammf recommend USER: the items with the largest product of vectors, what the user has seen
 * left out. */
#include "daemon/cli/cli.h"

#include "daemon/model/candidate.h"
#include "daemon/model/evaluation.h"
#include "fusion/math/rank.h"
#include "store/models.h"
#include "store/reading.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct recommend {
    struct cli_input input; /* first */
    const char *user_id;
    int64_t k, fresh; /* places; those of them for items without interactions */
    bool seen;        /* items that the user knows are eligible */
};

enum { OPTION_SEEN = 256, OPTION_FRESH };

static const struct argp_option options[] = {
    {"number", 'k', "N", 0, "How many (10)", 0},
    {"fresh", OPTION_FRESH, "N", 0,
     "Keep N of the places for items without interactions. If fewer than N are listed anyway, "
     "the best of the others take the last places (0)",
     0},
    {"with-seen", OPTION_SEEN, NULL, 0,
     "Also items that the user has interacted with, less those that the interactions count "
     "against",
     0},
    {0}};

static error_t parse_recommend(int key, char *arg, struct argp_state *state)
{
    struct recommend *r = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case 'k':
        r->k = cli_number(state, "-k", arg, 1, 100000);
        return 0;
    case OPTION_FRESH:
        r->fresh = cli_number(state, "--fresh", arg, 0, 100000);
        return 0;
    case OPTION_SEEN:
        r->seen = true;
        return 0;
    case ARGP_KEY_ARG:
        if (r->user_id)
            argp_error(state, "one user at a time: what is \"%s\"?", arg);
        r->user_id = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "recommend to whom? Example: metammf recommend u1 -k 5");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_recommend,
    "USER",
    "Prints the items that the active model would show to a user, best first.\v"
    "The score is the product of the user's vector and the item's. Items that the user has "
    "interacted with are left out; an interaction whose kind counts for nothing, such as an "
    "impression, leaves out none. Items without any interaction take part; --fresh keeps "
    "further places for them (see also train --cold-length). A user whom the model does not "
    "know gets the mean of its users' vectors. With --json: [{item_id, score}]. Needs a "
    "trained model: metammf train.\n\n"
    "Example:\n"
    "  metammf --store /var/lib/metammfd/metammf.db recommend u1 -k 5",
    cli_common,
    NULL,
    NULL};

/* The mean of the users' vectors, as the model's metrics hold it. */
static int no_history(struct store *st, int32_t dim, float **ret_vec, struct err *err)
{
    struct store_model m = {0};
    int r = store_model_active(st, &m, err);

    if (r != ERR_OK)
        return r;
    json_t *metrics = m.metrics ? json_loads(m.metrics, 0, NULL) : NULL;
    *ret_vec = candidate_no_history(metrics, dim);
    json_decref(metrics);
    store_model_done(&m);
    return *ret_vec ? ERR_OK
                    : err_fatal(err, EX_NOINPUT,
                                "the active model knows no users: train one (metammf train)");
}

static int user_vector(const struct recommend *v, struct store *st, int32_t dim,
                       float **ret_vec, struct err *err)
{
    int32_t user_dim = 0;
    int r = store_get_user_vector(st, v->user_id, ret_vec, &user_dim, err);

    if (r == ERR_NONE) {
        fprintf(stderr,
                "metammf: the model does not know user \"%s\": this is the list for a user "
                "without a history\n",
                cli_text(v->user_id));
        return no_history(st, dim, ret_vec, err);
    }
    if (r == ERR_OK && user_dim != dim) {
        free(*ret_vec);
        *ret_vec = NULL;
        return err_fatal(err, EX_DATAERR,
                         "the vector of user %s has %d numbers, those of items have %d",
                         v->user_id, user_dim, dim);
    }
    return r;
}

/* One row of the mask: what the user has seen. Rows of the matrix and what the store says are both
 * in rid order. cold_only: every warm item as well. */
static int mask_of(const struct store_rows *items, const int64_t *seen, size_t n_seen,
                   bool cold_only, struct csr *ret_mask, struct err *err)
{
    struct csr_pair *pairs = malloc((items->n_rows + 1) * sizeof *pairs);
    size_t n = 0;

    if (!pairs)
        return err_oom(err, "a user's items");
    for (size_t row = 0, i = 0; row < items->n_rows; row++) {
        while (i < n_seen && seen[i] < items->id[row])
            i++;
        if ((i < n_seen && seen[i] == items->id[row]) || (cold_only && items->warm[row]))
            pairs[n++] = (struct csr_pair){0, (uint32_t)row};
    }
    int r = csr_from_pairs(pairs, n, 1, (uint32_t)items->n_rows, ret_mask, err);
    free(pairs);
    return r;
}

/* A list, best first. */
struct list {
    uint32_t n; /* places that are taken */
    uint32_t *rows;
    float *scores;
};

static void list_done(struct list *l)
{
    free(l->rows);
    free(l->scores);
}

static int rank(const struct gemm_matrix *packed, const float *user, const struct csr *mask,
                size_t k, struct list *ret, struct err *err)
{
    *ret = (struct list){.rows = calloc(k + 1, sizeof(uint32_t)),
                         .scores = calloc(k + 1, sizeof(float))};
    int r = ret->rows && ret->scores ? ERR_OK : err_oom(err, "recommend");

    if (r == ERR_OK && k)
        r = rank_topk(packed, user, 1, mask, 0, NULL, (uint32_t)k, ret->rows, ret->scores, err);
    while (r == ERR_OK && ret->n < k && ret->rows[ret->n] != RANK_NONE)
        ret->n++;
    return r;
}

/* fresh: the best items without interactions. Those that are not in the list yet take the places of
 * its last warm items, whose worth that costs: hence only when asked for. */
static void take_fresh(const struct store_rows *items, const struct list *fresh, struct list *l)
{
    uint32_t n_cold = 0, n_kept = 0;

    for (uint32_t i = 0; i < l->n; i++)
        n_cold += !items->warm[l->rows[i]];
    if (n_cold >= fresh->n)
        return;
    uint32_t n_new = fresh->n - n_cold, n_warm = l->n - n_cold;
    uint32_t warm_left = n_warm > n_new ? n_warm - n_new : 0;
    for (uint32_t i = 0; i < l->n; i++) {
        bool warm = items->warm[l->rows[i]];

        if (warm && warm_left == 0)
            continue;
        warm_left -= warm;
        l->rows[n_kept] = l->rows[i];
        l->scores[n_kept++] = l->scores[i];
    }
    for (uint32_t i = n_cold; i < fresh->n && n_kept < l->n; i++, n_kept++) {
        l->rows[n_kept] = fresh->rows[i];
        l->scores[n_kept] = fresh->scores[i];
    }
}

static int print_list(const struct cli *cli, const struct store_rows *items,
                      const struct list *l)
{
    json_t *array = cli->json ? json_array() : NULL;

    for (uint32_t i = 0; i < l->n; i++) {
        const char *id = items->name[l->rows[i]];

        if (cli->json)
            (void)json_array_append_new(
                array, json_pack("{s:s, s:f}", "item_id", id, "score", (double)l->scores[i]));
        else
            printf("%8.4f  %s\n", (double)l->scores[i], cli_text(id));
    }
    return cli->json ? cli_print_json(array) : cli_finish();
}

static int active_items(struct store *st, struct store_rows *ret_items, struct err *err)
{
    struct store_model m = {0};
    int r = store_model_active(st, &m, err);

    if (r == ERR_OK)
        r = store_read_vectors(st, m.model_id, STORE_SIDE_ITEMS, ret_items, err);
    store_model_done(&m);
    if (r == ERR_NONE || (r == ERR_OK && !ret_items->n_rows))
        return err_fatal(err, EX_NOINPUT, "no embeddings yet: see metammf train --help");
    return r;
}

static int make_list(const struct recommend *v, const struct store_rows *items,
                     const float *user, const int64_t *seen, size_t n_seen, struct list *ret,
                     struct err *err)
{
    size_t k = (size_t)v->k < items->n_rows ? (size_t)v->k : items->n_rows;
    size_t n_fresh = (size_t)v->fresh < k ? (size_t)v->fresh : k;
    struct gemm_matrix packed = {0};
    struct csr mask = {0}, warm = {0};
    struct list fresh = {0};
    int r = rank_pack(items->vec, items->n_rows, (size_t)items->dim, &packed, err);

    if (r == ERR_OK)
        r = mask_of(items, seen, n_seen, false, &mask, err);
    if (r == ERR_OK)
        r = rank(&packed, user, &mask, k, ret, err);
    if (r == ERR_OK && n_fresh)
        r = mask_of(items, seen, n_seen, true, &warm, err);
    if (r == ERR_OK && n_fresh)
        r = rank(&packed, user, &warm, n_fresh, &fresh, err);
    if (r == ERR_OK && n_fresh)
        take_fresh(items, &fresh, ret);
    gemm_done(&packed);
    csr_done(&mask);
    csr_done(&warm);
    list_done(&fresh);
    return r;
}

static int run(const struct recommend *v, struct store *st, int *ret_code, struct err *err)
{
    struct store_rows items = {0};
    struct list list = {0};
    int64_t *seen = NULL;
    size_t n_seen = 0;
    float *user = NULL;
    int r = active_items(st, &items, err);

    if (r == ERR_OK)
        r = user_vector(v, st, items.dim, &user, err);
    if (r == ERR_OK)
        r = v->seen ? store_user_against(st, v->user_id, &seen, &n_seen, err)
                    : store_user_seen(st, v->user_id, &seen, &n_seen, err);
    if (r == ERR_OK)
        r = make_list(v, &items, user, seen, n_seen, &list, err);
    if (r == ERR_OK)
        *ret_code = print_list(v->input.cli, &items, &list);
    free(user);
    free(seen);
    list_done(&list);
    store_rows_done(&items);
    return r;
}

int cli_recommend(struct cli *cli, int argc, char **argv)
{
    struct recommend v = {.input.cli = cli, .k = 10};
    struct store *st;
    struct err err;
    int code = 0;

    cli_parse(&argp, argc, argv, &v.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    int r = run(&v, st, &code, &err);
    store_close(st);
    return r == ERR_OK ? code : cli_fail(&err);
}
