#include "fusion/math/spd.h"

#include "fusion/math/clones.h"

#include <assert.h>
#include <string.h>

enum { LANES = 16 };

/* k rows → panels (k, width), one behind the other; columns beyond d are zero. */
static void pack_rows(const float *const *rows, size_t k, size_t d, size_t width, float *pack)
{
    const size_t n_whole = d / LANES * LANES, D = spd_padded(d);

    for (size_t s = 0; s < k; s++) {
        float *to = pack + s * width;

        for (size_t a = 0; a < n_whole; a += LANES)
            memcpy(to + a / width * k * width + a % width, rows[s] + a, LANES * sizeof(float));
        for (size_t a = n_whole; a < D; a += LANES) {
            float last[LANES] = {0};

            if (a < d)
                memcpy(last, rows[s] + a, (d - a) * sizeof(float));
            memcpy(to + a / width * k * width + a % width, last, sizeof(last));
        }
    }
}

/* Y (width, width) += AᵀA for a panel A (k, width): the upper half, and the lower one from the middle. */
static void add_square(const struct gemm_kernel *kernel, const float *A, size_t k, float *Y,
                       size_t ldy)
{
    const size_t half = kernel->width / 2;

    kernel->panels(half, 2 * half, A, A, k, Y, ldy, true);
    kernel->panels(half, half, A + half, A + half, k, Y + half * ldy + half, ldy, true);
}

void spd_add_rows(const struct gemm_kernel *kernel, const float *const *rows, size_t n,
                  size_t d, float *pack, float *M)
{
    const size_t width = kernel->width, D = spd_padded(d), n_panels = D / width;

    assert(SPD_ALIGN % width == 0 && width % LANES == 0);
    for (size_t first = 0; first < n; first += SPD_DEPTH) {
        size_t k = n - first < SPD_DEPTH ? n - first : SPD_DEPTH;

        pack_rows(rows + first, k, d, width, pack);
        for (size_t p = 0; p < n_panels; p++) {
            add_square(kernel, pack + p * k * width, k, M + p * width * (D + 1), D);
            for (size_t q = p + 1; q < n_panels; q++)
                kernel->panels(width, width, pack + p * k * width, pack + q * k * width, k,
                               M + p * width * D + q * width, D, true);
        }
    }
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
#define LOW(a, b)  __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)

/* Up to `width` scaled rows → one panel (d, width), a row a column, four by four: an element at a time
 * takes thrice as long. The last row fills up the last four. */
static void pack_columns(const float *const *rows, size_t n, size_t d, const float *scale,
                         size_t width, float *ret_panel)
{
    for (size_t s = 0; s < n; s += 4) {
        const float *r[4];
        size_t a = 0;

        for (size_t i = 0; i < 4; i++)
            r[i] = rows[s + i < n ? s + i : n - 1];
        for (; a + 4 <= d; a += 4) {
            float *to = ret_panel + a * width + s;
            const four by = *(const four *)(scale + a);
            four w0 = by * *(const four *)(r[0] + a), w1 = by * *(const four *)(r[1] + a);
            four w2 = by * *(const four *)(r[2] + a), w3 = by * *(const four *)(r[3] + a);
            four low02 = LOW(w0, w2), low13 = LOW(w1, w3);
            four high02 = HIGH(w0, w2);
            four high13 = HIGH(w1, w3);

            *(four *)to = LOW(low02, low13);
            *(four *)(to + width) = HIGH(low02, low13);
            *(four *)(to + 2 * width) = LOW(high02, high13);
            *(four *)(to + 3 * width) = HIGH(high02, high13);
        }
        for (; a < d; a++)
            for (size_t i = 0; i < 4; i++)
                ret_panel[a * width + s + i] = scale[a] * r[i][a];
    }
}

void spd_products(const struct gemm_kernel *kernel, const float *const *rows, size_t n,
                  size_t d, const float *scale, float *pack, float *K)
{
    const size_t width = kernel->width, N = spd_padded(n), n_panels = (n + width - 1) / width;

    for (size_t p = 0; p < n_panels; p++) {
        size_t from = p * width, n_here = n - from < width ? n - from : width;

        pack_columns(rows + from, n_here, d, scale, width, pack + from * d);
    }
    for (size_t p = 0; p < n_panels; p++) {
        size_t left = n - p * width, n_rows = left < width ? (left + 3) / 4 * 4 : width;

        for (size_t q = p; q < n_panels; q++) {
            size_t n_cols = n - q * width < width ? n - q * width : width;

            kernel->panels(n_rows, n_cols, pack + p * width * d, pack + q * width * d, d,
                           K + p * width * N + q * width, N, false);
        }
    }
}

/* The SPD_STEP rows U at k0 leave the rows below: M_ij -= Σ_k u_ki u_kj, i, j >= k0 + SPD_STEP. */
static void subtract_rows(const struct gemm_kernel *kernel, float *M, size_t n, size_t ld,
                          size_t k0, float *pack)
{
    const size_t width = kernel->width, next = k0 + SPD_STEP, first = next / width;
    const size_t n_panels = (n + width - 1) / width, size = SPD_STEP * width;
    float *negative = pack + SPD_STEP * ld;

    for (size_t p = first; p < n_panels; p++) {
        for (size_t s = 0; s < SPD_STEP; s++) {
            const float *u = M + (k0 + s) * ld + p * width;
            float *to = pack + p * size + s * width, *minus = negative + p * size + s * width;

            for (size_t c = 0; c < width; c++) {
                to[c] = u[c];
                minus[c] = -u[c];
            }
        }
    }
    for (size_t p = first; p < n_panels; p++) {
        size_t skip = p == first ? next - p * width : 0, row = p * width + skip;
        size_t n_rows = n - row < width - skip ? n - row : width - skip;

        for (size_t q = p; q < n_panels; q++) {
            size_t off = q == p ? skip : 0;

            kernel->panels(n_rows, width - off, negative + p * size + skip,
                           pack + q * size + off, SPD_STEP, M + row * ld + q * width + off, ld,
                           true);
        }
    }
}

bool spd_factor(const struct gemm_kernel *kernel, float *M, size_t n, size_t ld, float *pack,
                float *ret_inverse)
{
    assert(n % SPD_STEP == 0 && ld % SPD_ALIGN == 0 && n <= ld);
    for (size_t k0 = 0; k0 < n; k0 += SPD_STEP) {
        if (!kernel->factor(M + k0 * ld + k0, ld, n - k0, ret_inverse + k0))
            return false;
        if (k0 + SPD_STEP < n)
            subtract_rows(kernel, M, n, ld, k0, pack);
    }
    return true;
}

/* Uᵀ z = b: a row of U at a time, as soon as its z is known, from the block of its diagonal on; what
 * that does to the z before it is not looked at. */
CLONES
static void solve_forward(const float *U, size_t n, size_t ld, const float *inverse, float *b)
{
    for (size_t k0 = 0; k0 < n; k0 += SPD_STEP) {
        float z[SPD_STEP];

        for (size_t k = 0; k < SPD_STEP; k++) {
            const float *u = U + (k0 + k) * ld;

            z[k] = b[k0 + k] * inverse[k0 + k];
            for (size_t j = k0; j < n; j += SPD_STEP) {
                for (size_t lane = 0; lane < SPD_STEP; lane++)
                    b[j + lane] -= u[j + lane] * z[k];
            }
        }
        memcpy(b + k0, z, sizeof(z));
    }
}

/* U x = z, a block of rows at a time from below: first what the known x take away, the sum of a row
 * in SPD_STEP parts; then the block's own, a column of U at a time. */
CLONES
static void solve_backward(const float *U, size_t n, size_t ld, const float *inverse, float *b)
{
    for (size_t k0 = n; k0 >= SPD_STEP;) {
        k0 -= SPD_STEP;
        for (size_t k = k0; k0 + SPD_STEP < n && k < k0 + SPD_STEP; k++) {
            const float *u = U + k * ld;
            float part[SPD_STEP] = {0};

            for (size_t j = k0 + SPD_STEP; j < n; j += SPD_STEP) {
                for (size_t lane = 0; lane < SPD_STEP; lane++)
                    part[lane] += u[j + lane] * b[j + lane];
            }
            for (size_t half = SPD_STEP / 2; half > 0; half /= 2) {
                for (size_t lane = 0; lane < half; lane++)
                    part[lane] += part[lane + half];
            }
            b[k] -= part[0];
        }
        for (size_t k = k0 + SPD_STEP; k-- > k0;) {
            b[k] *= inverse[k];
            for (size_t i = k0; i < k; i++)
                b[i] -= U[i * ld + k] * b[k];
        }
    }
}

void spd_solve(const float *U, size_t n, size_t ld, const float *inverse, float *b)
{
    solve_forward(U, n, ld, inverse, b);
    solve_backward(U, n, ld, inverse, b);
}
