/* A user's list without a model, against the formulas of daemon/model/first_day.h. */

#include "daemon/model/first_day.h"
#include "fusion/model/columns.h"
#include "store_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { I = 24, U = 9, PLACES = I + 1 };

/* Item k has features of a taste of three; user u has items of one taste, and one of another. Items 22 and 23 have
 * no users, the last row is known from interactions alone. */
static bool has(int u, int i)
{
    return i < 22 && ((i % 3 == u % 3 && (i + u) % 4 != 0) || i == 2 * u + 1);
}

static void put(struct fixture *f, int i)
{
    struct fixture_video b;
    char name[8];

    (void)snprintf(name, sizeof name, "i%d", i);
    struct store_video *v = fixture_video(f, &b, name, i, 0);
    for (int j = 0; j < 3; j++)
        b.visual[j] = (float)(i % 3 == j) + 0.125F * (float)((i * (j + 3)) % 7);
    b.textual[0] = (float)(i % 5);
    b.textual[1] = (float)((i * i) % 11);
    if (i % 4 == 1)
        v->feature[MODALITY_TEXTUAL].vec = NULL;
    v->embedding.vec = NULL;
    struct store_op op = {.kind = STORE_OP_VIDEO, .video = v};
    (void)fixture_write(f, &op, 1, i + 1);
}

static void plant(struct fixture *f)
{
    int64_t offset = 0;
    char user[8], item[8];

    for (int i = 0; i < I; i++)
        put(f, i);
    for (int u = 0; u < U; u++) {
        (void)snprintf(user, sizeof user, "u%d", u);
        for (int i = 0; i < I; i++) {
            (void)snprintf(item, sizeof item, "i%d", i);
            if (has(u, i))
                (void)fixture_interact(f, user, item, offset++, 1);
        }
        if (u < 4)
            (void)fixture_interact(f, user, "unknown", offset++, 1);
    }
}

/* ---- in double, from the definitions ------------------------------------------------------- */

struct naive {
    double R[U][PLACES], G[PLACES][PLACES], n[PLACES];
    double r[PLACES], value[PLACES][PLACES]; /* value[j][i] */
    double part[FIRST_DAY_PARTS][PLACES], score[PLACES];
};

static void solve(double *A, double *x, size_t n)
{
    for (size_t k = 0; k < n; k++)
        for (size_t r = k + 1; r < n; r++) {
            double by = A[r * n + k] / A[k * n + k];

            for (size_t q = k; q < n; q++)
                A[r * n + q] -= by * A[k * n + q];
            x[r] -= by * x[k];
        }
    for (size_t k = n; k-- > 0;) {
        for (size_t q = k + 1; q < n; q++)
            x[k] -= A[k * n + q] * x[q];
        x[k] /= A[k * n + k];
    }
}

/* With fewer than 100 others, S is all that share a user. */
static void neighbours_of(struct naive *o, int j, double ridge)
{
    double A[PLACES * PLACES], x[PLACES];
    int S[PLACES];
    size_t n = 0;

    for (int i = 0; i < PLACES; i++)
        if (i != j && o->G[i][j] > 0)
            S[n++] = i;
    for (size_t a = 0; a < n; a++) {
        for (size_t b = 0; b < n; b++)
            A[a * n + b] = o->G[S[a]][S[b]] + (a == b ? ridge : 0);
        x[a] = o->G[S[a]][j];
    }
    solve(A, x, n);
    o->r[j] = o->G[j][j] + ridge;
    for (size_t a = 0; a < n; a++)
        o->r[j] -= o->G[S[a]][j] * x[a];
    for (size_t a = 0; a < n; a++)
        o->value[j][S[a]] = x[a] / o->r[j];
}

static void neighbours(struct naive *o, int user)
{
    double ridge = 0, with_users = 0;

    for (int u = 0; u < U; u++) {
        double degree = 0;

        for (int i = 0; i < PLACES; i++) {
            o->R[u][i] = i < I ? has(u, i) : u < 4;
            degree += o->R[u][i];
        }
        for (int i = 0; i < PLACES; i++)
            for (int k = 0; k < PLACES; k++)
                o->G[i][k] += o->R[u][i] * o->R[u][k] / sqrt(degree);
    }
    for (int i = 0; i < PLACES; i++) {
        for (int u = 0; u < U; u++)
            o->n[i] += o->R[u][i];
        ridge += o->G[i][i];
        with_users += o->n[i] > 0;
    }
    for (int j = 0; j < PLACES; j++)
        if (o->n[j] > 0)
            neighbours_of(o, j, 10 * ridge / with_users);
    for (int i = 0; i < PLACES; i++)
        for (int j = 0; j < PLACES; j++)
            if (o->n[i] > 0)
                o->part[FIRST_DAY_NEIGHBOURS][i] +=
                    o->R[user][j] * o->value[j][i] * o->r[i] * pow(o->n[i], -0.25);
}

/* Standardised here, the rest by columns.h, which has a test of its own. */
static void content(struct fixture *f, struct naive *o, int user)
{
    struct store_dataset d;
    struct columns columns;
    float X[PLACES * 5] = {0}, c[PLACES * 5], mine[5] = {0};

    assert_ok(f, store_read_dataset(f->st, &d, &f->err));
    assert_int_equal(d.n_items, PLACES);
    for (int m = 0, first = 0; m < MODALITY_COUNT; first += d.dim[m++])
        for (int j = 0; j < d.dim[m]; j++) {
            double sum = 0, squares = 0, n = 0;

            for (int i = 0; i < PLACES; i++)
                if (d.mask[i] & MODALITY_BIT(m)) {
                    double x = (double)d.feature[m][i * d.dim[m] + j];

                    sum += x;
                    squares += x * x;
                    n++;
                }
            for (int i = 0; i < PLACES; i++)
                if (d.mask[i] & MODALITY_BIT(m))
                    X[i * 5 + first + j] =
                        (float)(((double)d.feature[m][i * d.dim[m] + j] - sum / n) /
                                sqrt(squares / n - sum * sum / n / n));
        }
    assert_ok(f, columns_fit(X, d.mask, PLACES, d.dim, 64, &columns, &f->err));
    assert_in_range(columns.C, 2, 5);
    assert_ok(f, columns_rows(&columns, X, d.mask, PLACES, c, &f->err));
    for (int i = 0; i < PLACES; i++)
        for (size_t k = 0; k < columns.C; k++)
            mine[k] += (float)o->R[user][i] * c[(size_t)i * columns.C + k];
    columns_unit(mine, columns.C);
    for (int i = 0; i < PLACES; i++)
        for (size_t k = 0; k < columns.C; k++)
            o->part[FIRST_DAY_COLUMNS][i] +=
                (double)mine[k] * (double)c[(size_t)i * columns.C + k];
    columns_done(&columns);
    store_dataset_done(&d);
}

static void naive(struct fixture *f, int user, struct naive *o)
{
    static const double weight[FIRST_DAY_PARTS] = {1, (double)FIRST_DAY_CONTENT,
                                                   (double)FIRST_DAY_POPULAR};

    memset(o, 0, sizeof *o);
    neighbours(o, user);
    content(f, o, user);
    for (int i = 0; i < PLACES; i++)
        o->part[FIRST_DAY_POPULARITY][i] = log(1 + o->n[i]);
    for (int p = 0; p < FIRST_DAY_PARTS; p++) {
        double squares = 0, n = 0;

        for (int i = 0; i < I; i++) {
            squares += o->part[p][i] * o->part[p][i];
            n += o->part[p][i] > 0 || o->part[p][i] < 0;
        }
        for (int i = 0; i < PLACES; i++)
            o->score[i] += o->part[p][i] *= weight[p] / sqrt(squares / n);
    }
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void make_adds_three_parts_by_the_definitions(void **state)
{
    struct fixture *f = *state;
    struct naive *o = malloc(sizeof *o);
    char name[8];

    assert_non_null(o);
    plant(f);
    for (int u = 0; u < U; u += 4) {
        struct first_day day;

        (void)snprintf(name, sizeof name, "u%d", u);
        naive(f, u, o);
        assert_ok(f, first_day_make(f->st, name, &day, &f->err));
        assert_true(day.personal);
        assert_int_equal(day.n_order, I);
        for (int i = 0; i < I; i++) {
            for (int p = 0; p < FIRST_DAY_PARTS; p++)
                assert_true(fabs((double)day.part[p][i] - o->part[p][i]) < 1e-4);
            assert_true(fabs((double)day.score[i] - o->score[i]) < 3e-4);
            assert_int_equal(day.n_users[i], (int)o->n[i]);
        }
        for (size_t k = 1; k < day.n_order; k++)
            assert_true(day.score[day.order[k - 1]] >= day.score[day.order[k]]);
        first_day_done(&day);
    }
    free(o);
}

static void make_names_the_items_that_speak_for_one(void **state)
{
    struct fixture *f = *state;
    struct naive *o = malloc(sizeof *o);
    struct first_day day;
    struct because_part part[PLACES];
    uint32_t rows[PLACES];

    assert_non_null(o);
    plant(f);
    naive(f, 0, o);
    assert_ok(f, first_day_make(f->st, "u0", &day, &f->err));
    for (uint32_t i = 0; i < PLACES; i++)
        rows[i] = i;
    assert_ok(f, because_parts(&day.because, rows, PLACES, part, &f->err));
    for (int i = 0; i < I; i++) {
        assert_true(fabs(part[i].sum - o->part[FIRST_DAY_NEIGHBOURS][i]) < 1e-4);
        for (size_t k = 0; k < part[i].n; k++) {
            assert_true(part[i].from[k] < I && has(0, (int)part[i].from[k]));
            assert_true(part[i].part[k] > 0 && (!k || part[i].part[k - 1] >= part[i].part[k]));
        }
        assert_true(part[i].n == BECAUSE_MAX || o->n[i] <= BECAUSE_MAX || has(0, i));
    }
    first_day_done(&day);
    free(o);
}

static void make_without_items_is_popular_then_newest(void **state)
{
    static const char *const nobody[] = {"stranger", "only_impressions"};
    struct fixture *f = *state;

    plant(f);
    for (int u = 0; u < 2; u++) {
        struct first_day day;

        assert_ok(f, first_day_make(f->st, nobody[u], &day, &f->err));
        assert_false(day.personal);
        assert_int_equal(day.n_order, I);
        for (size_t k = 1; k < day.n_order; k++) {
            uint32_t a = day.order[k - 1], b = day.order[k];

            assert_true(day.n_users[a] > day.n_users[b] ||
                        (day.n_users[a] == day.n_users[b] && a > b));
        }
        first_day_done(&day);
    }
}

static void make_without_features_goes_by_the_rest(void **state)
{
    struct fixture *f = *state;
    struct first_day day;

    plant(f);
    fixture_spoil(f, "DELETE FROM feature");
    assert_ok(f, first_day_make(f->st, "u0", &day, &f->err));
    assert_int_equal(day.n_order, I);
    for (int i = 0; i < I; i++)
        assert_true(day.part[FIRST_DAY_COLUMNS][i] <= 0 && day.part[FIRST_DAY_COLUMNS][i] >= 0);
    assert_true(day.score[day.order[0]] > 0);
    first_day_done(&day);
}

static void make_refuses_a_store_without_published_items(void **state)
{
    struct fixture *f = *state;
    struct first_day day;

    assert_int_equal(first_day_make(f->st, "u0", &day, &f->err), ERR_FATAL);
    (void)fixture_interact(f, "u0", "unknown", 0, 1);
    assert_int_equal(first_day_make(f->st, "u0", &day, &f->err), ERR_FATAL);
    assert_int_equal(f->err.exit_code, EX_NOINPUT);
}

static void make_refuses_too_large_a_store(void **state)
{
    struct fixture *f = *state;
    struct first_day day;

    put(f, 0);
    fixture_spoil(
        f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200000) "
           "INSERT INTO item(item_id, state) SELECT 'x' || i, 'no_features' FROM n");
    assert_int_equal(first_day_make(f->st, "u0", &day, &f->err), ERR_FATAL);
    assert_int_equal(f->err.exit_code, EX_NOINPUT);
    assert_non_null(strstr(f->err.text, "metammf train"));
    fixture_spoil(f, "DELETE FROM item WHERE item_id = 'x1'");
    assert_ok(f, first_day_make(f->st, "u0", &day, &f->err));
    first_day_done(&day);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(make_adds_three_parts_by_the_definitions),
        CASE(make_names_the_items_that_speak_for_one),
        CASE(make_without_items_is_popular_then_newest),
        CASE(make_without_features_goes_by_the_rest),
        CASE(make_refuses_a_store_without_published_items),
        CASE(make_refuses_too_large_a_store),
    };
#undef CASE

    return cmocka_run_group_tests(tests, NULL, NULL);
}
