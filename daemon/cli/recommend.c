/* metammf recommend USER: the items with the largest product of vectors and what the user's items
 * say about others (because.h), what the user has seen left out; without a trained model by
 * first_day.h. */
#include "daemon/cli/cli.h"

#include "daemon/model/because.h"
#include "daemon/model/candidate.h"
#include "daemon/model/first_day.h"
#include "fusion/math/rank.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/touch.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct recommend {
    struct cli_input input; /* first */
    const char *user_id;
    int64_t k, fresh; /* places; those of them for items without interactions */
    bool seen;        /* items that the user knows are eligible */
    bool why;         /* name the items that speak for each */
};

enum { OPTION_SEEN = 256, OPTION_FRESH, OPTION_WHY };

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
    {"why", OPTION_WHY, NULL, 0,
     "Name up to 3 items of the user that speak most for each; --json does so anyway", 0},
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
    case OPTION_WHY:
        r->why = true;
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
    "The score is the product of the user's vector and the item's, and what the user's items "
    "say "
    "about it as its neighbours: views current_neighbour and current_signal. Items that the "
    "user has "
    "interacted with are left out; an interaction whose kind counts for nothing, such as an "
    "impression, leaves out none. Items without any interaction take part; --fresh keeps "
    "further places for them. A user whom the model does not "
    "know gets the mean of its users' vectors, and the neighbours of what they have.\n"
    "Before the first training the list is made of what goes together, what is alike by its "
    "features and what is popular, of at most 200,000 items and 20,000,000 interactions; how "
    "much popularity counts is chosen by hiding some of the site's own interactions. A user "
    "without items gets the most popular ones, then the newest. It says so on standard error.\n"
    "With --json: [{item_id, score, signals, because}]. signals has the parts of the score: "
    "vectors and neighbours, or neighbours, content and popularity before the first training "
    "(first_day is true then). because has the items that --why names.\n\n"
    "Example:\n"
    "  metammf --store /var/lib/metammfd/metammf.db recommend u1 -k 5",
    cli_common,
    NULL,
    NULL};

/* What can be listed, by rid. */
struct catalogue {
    size_t n;
    const int64_t *id;
    char *const *name;
    const uint8_t *warm;
};

/* One row of the mask: what the user has seen. Rows of the matrix and what the store says are both
 * in rid order. cold_only: every warm item as well. */
static int mask_of(const struct catalogue *items, const int64_t *seen, size_t n_seen,
                   bool cold_only, struct csr *ret_mask, struct err *err)
{
    struct csr_pair *pairs = malloc((items->n + 1) * sizeof *pairs);
    size_t n = 0;

    if (!pairs)
        return err_oom(err, "a user's items");
    for (size_t row = 0, i = 0; row < items->n; row++) {
        while (i < n_seen && seen[i] < items->id[row])
            i++;
        if ((i < n_seen && seen[i] == items->id[row]) || (cold_only && items->warm[row]))
            pairs[n++] = (struct csr_pair){0, (uint32_t)row};
    }
    int r = csr_from_pairs(pairs, n, 1, (uint32_t)items->n, ret_mask, err);
    free(pairs);
    return r;
}

/* A list, best first. */
struct list {
    uint32_t n; /* places that are taken */
    uint32_t *rows;
    float *scores;
    struct because_part *because; /* (n) */
};

static void list_done(struct list *l)
{
    free(l->rows);
    free(l->scores);
    free(l->because);
}

static int list_new(size_t k, struct list *ret, struct err *err)
{
    *ret = (struct list){.rows = calloc(k + 1, sizeof(uint32_t)),
                         .scores = calloc(k + 1, sizeof(float))};
    return ret->rows && ret->scores ? ERR_OK : err_oom(err, "recommend");
}

/* How the k best are found. */
struct ranking {
    struct gemm_matrix packed; /* by a model's vectors */
    const float *user;
    struct rank_extra extra;
    const struct first_day *day; /* NULL = by the above */
};

static int rank(const struct ranking *by, const struct csr *mask, size_t k, struct list *ret,
                struct err *err)
{
    int r = list_new(k, ret, err);

    if (r == ERR_OK && k && !by->day) {
        r = rank_topk(&by->packed, by->user, 1, mask, 0, &by->extra, (uint32_t)k, ret->rows,
                      ret->scores, err);
        while (r == ERR_OK && ret->n < k && ret->rows[ret->n] != RANK_NONE)
            ret->n++;
    }
    for (size_t i = 0; r == ERR_OK && by->day && i < by->day->n_order && ret->n < k; i++) {
        uint32_t row = by->day->order[i];

        if (csr_has(mask, 0, row))
            continue;
        ret->rows[ret->n] = row;
        ret->scores[ret->n++] = by->day->score[row];
    }
    return r;
}

/* fresh: the best items without interactions. Those that are not in the list yet take the places of
 * its last warm items, whose worth that costs: hence only when asked for. */
static void take_fresh(const struct catalogue *items, const struct list *fresh, struct list *l)
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

static int make_list(const struct recommend *v, const struct catalogue *items,
                     const struct ranking *by, const int64_t *seen, size_t n_seen,
                     struct list *ret, struct err *err)
{
    size_t k = (size_t)v->k < items->n ? (size_t)v->k : items->n;
    size_t n_fresh = (size_t)v->fresh < k ? (size_t)v->fresh : k;
    struct csr mask = {0}, warm = {0};
    struct list fresh = {0};
    int r = mask_of(items, seen, n_seen, false, &mask, err);

    if (r == ERR_OK)
        r = rank(by, &mask, k, ret, err);
    if (r == ERR_OK && n_fresh)
        r = mask_of(items, seen, n_seen, true, &warm, err);
    if (r == ERR_OK && n_fresh)
        r = rank(by, &warm, n_fresh, &fresh, err);
    if (r == ERR_OK && n_fresh)
        take_fresh(items, &fresh, ret);
    csr_done(&mask);
    csr_done(&warm);
    list_done(&fresh);
    return r;
}

static int explain_list(const struct because *b, struct list *l, struct err *err)
{
    l->because = calloc((size_t)l->n + 1, sizeof *l->because);
    return l->because ? because_parts(b, l->rows, l->n, l->because, err)
                      : err_oom(err, "recommend");
}

/* ---- printing ----------------------------------------------------------------------------- */

static json_t *json_because(const struct catalogue *items, const struct because_part *p)
{
    json_t *array = json_array();

    for (size_t i = 0; i < p->n; i++)
        (void)json_array_append_new(array, json_string(items->name[p->from[i]]));
    return array;
}

/* The parts that a score is the sum of. */
static json_t *json_signals(const struct first_day *day, const struct list *l, uint32_t i)
{
    double neighbours = l->because[i].sum;
    uint32_t row = l->rows[i];

    return day ? json_pack("{s:f, s:f, s:f}", "neighbours",
                           (double)day->part[FIRST_DAY_NEIGHBOURS][row], "content",
                           (double)day->part[FIRST_DAY_COLUMNS][row], "popularity",
                           (double)day->part[FIRST_DAY_POPULARITY][row])
               : json_pack("{s:f, s:f}", "vectors", (double)l->scores[i] - neighbours,
                           "neighbours", neighbours);
}

static int print_json(const struct catalogue *items, const struct first_day *day,
                      const struct list *l)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < l->n; i++) {
        json_t *row =
            json_pack("{s:s, s:f, s:o, s:o}", "item_id", items->name[l->rows[i]], "score",
                      (double)l->scores[i], "signals", json_signals(day, l, i), "because",
                      json_because(items, &l->because[i]));

        if (row && day)
            (void)json_object_set_new(row, "first_day", json_true());
        (void)json_array_append_new(array, row);
    }
    return cli_print_json(array);
}

static int print_text(const struct catalogue *items, const struct list *l, bool why)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct because_part *p = &l->because[i];

        printf("%8.4f  %s", (double)l->scores[i], cli_text(items->name[l->rows[i]]));
        for (size_t j = 0; why && j < p->n; j++)
            printf("%s %s", j ? "," : "  because of", cli_text(items->name[p->from[j]]));
        puts("");
    }
    return cli_finish();
}

static int print_list(const struct recommend *v, const struct catalogue *items,
                      const struct first_day *day, const struct list *l)
{
    if (!l->n)
        fprintf(stderr, "metammf: no item is left for %s, who has %s\n", cli_text(v->user_id),
                v->seen ? "interactions against all" : "seen all (--with-seen)");
    return v->input.cli->json ? print_json(items, day, l) : print_text(items, l, v->why);
}

/* ---- by a model --------------------------------------------------------------------------- */

/* ERR_NONE: the model knows no users at all. */
static int user_vector(const struct recommend *v, struct store *st, const struct store_model *m,
                       int32_t dim, float **ret_vec, bool *ret_known, struct err *err)
{
    int32_t user_dim = 0;
    int r = store_get_user_vector(st, v->user_id, ret_vec, &user_dim, err);

    *ret_known = r == ERR_OK;
    if (r == ERR_NONE) {
        json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;

        *ret_vec = candidate_no_history(metrics, dim);
        json_decref(metrics);
        return *ret_vec ? ERR_OK : ERR_NONE;
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

/* The items that the user has an edge with now. */
static int history(const struct recommend *v, struct store *st, struct store_ids *ids,
                   struct err *err)
{
    char *name[] = {strdup(v->user_id)};
    int64_t uid = 0;
    int r = name[0] ? store_find_ids(st, STORE_SIDE_USERS, name, 1, &uid, err)
                    : err_oom(err, "recommend");

    free(name[0]);
    return r == ERR_OK && uid ? store_read_neighbours(st, STORE_SIDE_USERS, uid, ids, err) : r;
}

static int seen_by(const struct recommend *v, struct store *st, int64_t **ret_seen,
                   size_t *ret_n, struct err *err)
{
    return v->seen ? store_user_against(st, v->user_id, ret_seen, ret_n, err)
                   : store_user_seen(st, v->user_id, ret_seen, ret_n, err);
}

static void say_unknown(const struct recommend *v, const struct because *b)
{
    if (b->rows.nnz)
        fprintf(stderr,
                "metammf: the model does not know user \"%s\": this is the list by the mean of "
                "its users, and by the neighbours of %zu items\n",
                cli_text(v->user_id), b->history.nnz);
    else
        fprintf(stderr,
                "metammf: the model does not know user \"%s\": this is the list for a user "
                "without a history\n",
                cli_text(v->user_id));
}

static int list_by_model(const struct recommend *v, struct store *st,
                         const struct store_model *m, const struct store_rows *rows,
                         const float *user, bool known, int *ret_code, struct err *err)
{
    struct catalogue items = {rows->n_rows, rows->id, rows->name, rows->warm};
    struct ranking by = {.user = user};
    struct because because = {0};
    struct store_ids mine = {0};
    struct list list = {0};
    int64_t *seen = NULL;
    size_t n_seen = 0;
    int r = history(v, st, &mine, err);

    if (r == ERR_OK)
        r = because_read(st, m->model_id, mine.ids, mine.n, rows, &because, err);
    if (r == ERR_OK)
        r = seen_by(v, st, &seen, &n_seen, err);
    if (r == ERR_OK)
        r = rank_pack(rows->vec, rows->n_rows, (size_t)rows->dim, &by.packed, err);
    by.extra = because_extra(&because);
    if (r == ERR_OK && !known)
        say_unknown(v, &because);
    if (r == ERR_OK)
        r = make_list(v, &items, &by, seen, n_seen, &list, err);
    if (r == ERR_OK)
        r = explain_list(&because, &list, err);
    if (r == ERR_OK)
        *ret_code = print_list(v, &items, NULL, &list);
    gemm_done(&by.packed);
    because_done(&because);
    free(mine.ids);
    free(seen);
    list_done(&list);
    return r;
}

/* ERR_NONE: the model has vectors of items only. */
static int by_model(const struct recommend *v, struct store *st, const struct store_model *m,
                    int *ret_code, struct err *err)
{
    struct store_rows items = {0};
    float *user = NULL;
    bool known;
    int r = store_read_vectors(st, m->model_id, STORE_SIDE_ITEMS, &items, err);

    if (r == ERR_OK && !items.n_rows)
        r = err_fatal(err, EX_NOINPUT,
                      "model %lld has no vectors of items: nothing was imported or ingested "
                      "(metammf import items, metammf ingest), or metammf model promote %lld "
                      "makes them",
                      (long long)m->model_id, (long long)m->model_id);
    if (r == ERR_OK)
        r = user_vector(v, st, m, items.dim, &user, &known, err);
    if (r == ERR_OK)
        r = list_by_model(v, st, m, &items, user, known, ret_code, err);
    free(user);
    store_rows_done(&items);
    return r;
}

/* ---- before there is one ------------------------------------------------------------------ */

static int list_of_day(const struct recommend *v, struct store *st, const struct first_day *day,
                       const uint8_t *warm, int *ret_code, struct err *err)
{
    struct catalogue items = {day->d.n_items, day->d.item_rid, day->d.item_id, warm};
    struct ranking by = {.day = day};
    struct list list = {0};
    int64_t *seen = NULL;
    size_t n_seen = 0;
    int r = seen_by(v, st, &seen, &n_seen, err);

    if (r == ERR_OK)
        r = make_list(v, &items, &by, seen, n_seen, &list, err);
    if (r == ERR_OK)
        r = explain_list(&day->because, &list, err);
    if (r == ERR_OK)
        *ret_code = print_list(v, &items, day, &list);
    free(seen);
    list_done(&list);
    return r;
}

/* What the weight of popularity is by. */
static void say_day(const struct first_day *day)
{
    const struct first_day_weights *w = &day->weights;

    fputs("metammf: no trained model knows users yet (metammf train): this is the list ",
          stderr);
    if (!day->personal)
        fputs("for a user without items, the most popular first\n", stderr);
    else if (!w->n_pairs)
        fprintf(
            stderr,
            "by neighbours, content and popularity (weight %g, as for any site: it is chosen "
            "only with %d to %d interactions, and %d users of two items)\n",
            (double)w->popularity, 2 * FIRST_DAY_USERS_MIN, FIRST_DAY_PAIRS,
            FIRST_DAY_USERS_MIN);
    else
        fprintf(
            stderr,
            "by neighbours, content and popularity (weight %g, %s %u held-out interactions of "
            "%u users)\n",
            (double)w->popularity,
            w->chosen ? "chosen by" : "as for any site: no other is clearly better by",
            w->n_pairs, w->n_users);
}

static int by_first_day(const struct recommend *v, struct store *st, int *ret_code,
                        struct err *err)
{
    struct first_day day = {0};
    uint8_t *warm = NULL;
    int r = first_day_make(st, v->user_id, &day, err);

    if (r != ERR_OK)
        return r;
    say_day(&day);
    warm = calloc(day.d.n_items + 1, 1);
    r = warm ? ERR_OK : err_oom(err, "recommend");
    for (size_t i = 0; r == ERR_OK && i < day.d.n_items; i++)
        warm[i] = day.n_users[i] > 0;
    if (r == ERR_OK)
        r = list_of_day(v, st, &day, warm, ret_code, err);
    free(warm);
    first_day_done(&day);
    return r;
}

static int run(const struct recommend *v, struct store *st, int *ret_code, struct err *err)
{
    struct store_model m = {0};
    int r = store_model_active(st, &m, err);

    if (r == ERR_OK)
        r = m.origin == STORE_MODEL_SEEDED ? ERR_NONE : by_model(v, st, &m, ret_code, err);
    store_model_done(&m);
    return r == ERR_NONE ? by_first_day(v, st, ret_code, err) : r;
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
