#include "floor.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CUT = 20 };

static void *need(void *memory)
{
    if (!memory) {
        fputs("floor: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* Columns [first, last) of X standardised, then each row at length 1: ret_U (n, last - first). */
static void unit_rows(const float *X, uint32_t n, uint32_t F, uint32_t first, uint32_t last,
                      float *ret_U)
{
    uint32_t D = last - first;
    for (uint32_t j = 0; j < D; j++) {
        double sum = 0, squares = 0;
        for (uint32_t i = 0; i < n; i++) {
            double x = (double)X[(size_t)i * F + first + j];
            sum += x;
            squares += x * x;
        }
        double mean = sum / n, deviation = sqrt(squares / n - mean * mean);
        for (uint32_t i = 0; i < n; i++)
            ret_U[(size_t)i * D + j] = (float)(((double)X[(size_t)i * F + first + j] - mean) /
                                               (deviation > 1e-9 ? deviation : 1));
    }
    for (uint32_t i = 0; i < n; i++) {
        float length = cblas_snrm2((int)D, ret_U + (size_t)i * D, 1);
        cblas_sscal((int)D, length > 0 ? 1 / length : 0, ret_U + (size_t)i * D, 1);
    }
}

static float *similarities(const float *X, uint32_t n, uint32_t F, uint32_t visual)
{
    float *S = need(calloc((size_t)n * n, sizeof(*S)));
    float *U = need(malloc((size_t)n * F * sizeof(*U)));
    const uint32_t edge[] = {0, visual, F};
    for (int m = 0; m < 2; m++) {
        int D = (int)(edge[m + 1] - edge[m]);
        unit_rows(X, n, F, edge[m], edge[m + 1], U);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)n, D, 0.5F, U, D, U,
                    D, 1, S, (int)n);
    }
    free(U);
    return S;
}

/* 1 when fewer than CUT competitors come before `item`; ties by row. */
static int is_hit(const float *score, uint32_t n, const uint8_t *only, uint32_t item)
{
    uint32_t before = 0;
    for (uint32_t j = 0; j < n; j++)
        before += (!only || only[j]) &&
                  (score[j] > score[item] || (score[j] == score[item] && j < item));
    return before < CUT;
}

void floor_content(const float *X, uint32_t n_items, uint32_t F, uint32_t visual,
                   const struct csr *history, const struct csr *test, const uint8_t *is_hidden,
                   double *ret_all, double *ret_hidden)
{
    float *S = similarities(X, n_items, F, visual);
    float *score = need(malloc(n_items * sizeof(*score)));
    double all = 0, hidden = 0, n_users = 0;
    for (uint32_t u = 0; u < test->n_rows; u++) {
        double hits[2] = {0}, n = (double)csr_degree(test, u);
        if (n == 0)
            continue;
        for (uint32_t i = 0; i < n_items; i++)
            score[i] = -2;
        for (size_t e = history->start[u]; e < history->start[u + 1]; e++)
            for (uint32_t i = 0; i < n_items; i++)
                score[i] = fmaxf(score[i], S[(size_t)history->col[e] * n_items + i]);
        for (size_t e = history->start[u]; e < history->start[u + 1]; e++)
            score[history->col[e]] = -3;
        for (size_t e = test->start[u]; e < test->start[u + 1]; e++) {
            hits[0] += is_hit(score, n_items, NULL, test->col[e]);
            hits[1] += is_hit(score, n_items, is_hidden, test->col[e]);
        }
        all += hits[0] / n;
        hidden += hits[1] / n;
        n_users++;
    }
    *ret_all = n_users > 0 ? all / n_users : 0;
    *ret_hidden = n_users > 0 ? hidden / n_users : 0;
    free(S);
    free(score);
}
