/* What a step does beside its kernels, for `rnncore.kernels.cores`: products, and columns turned into rows. T is the type
   of all numbers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- C = A B, a tile of C at a time, which stays in registers; B by panels, A row by row ---- */

#if defined(__AVX512F__)
#define BYTES 64
#define TILE 12
#elif defined(__AVX__)
#define BYTES 32
#define TILE 6
#else
#define BYTES 16
#define TILE 6
#endif
#define LANES ((int64_t)(BYTES / sizeof(T)))
#define PANEL (2 * LANES)
#define FEW 4
typedef T vector __attribute__((vector_size(BYTES)));
typedef T anywhere __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
#define INLINE static inline __attribute__((always_inline))

INLINE void tile(const int rows, const int wide, int64_t K, const T *A, int64_t lda, const T *panel, T *C, int64_t ldc, int64_t n)
{
    vector c[TILE][2] = {0};
#pragma GCC unroll 4
    for (int64_t k = 0; k < K; ++k) {
        const vector b0 = *(const vector *)(panel + PANEL * k);
        const vector b1 = wide > 1 ? *(const vector *)(panel + PANEL * k + LANES) : b0;
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
            const T a = A[r * lda + k];
            c[r][0] += a * b0;
            if (wide > 1) c[r][1] += a * b1;
        }
    }
    if (n == wide * LANES) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
            *(anywhere *)(C + r * ldc) = c[r][0];
            if (wide > 1) *(anywhere *)(C + r * ldc + LANES) = c[r][1];
        }
        return;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
        T last[PANEL];
        *(anywhere *)last = c[r][0];
        *(anywhere *)(last + LANES) = c[r][1];
        memcpy(C + r * ldc, last, n * sizeof(T));
    }
}

INLINE void tiles(const int wide, int64_t M, int64_t n, int64_t K, const T *A, int64_t lda, const T *panel, T *C, int64_t ldc)
{
    int64_t i = 0;
    for (; i + TILE <= M; i += TILE) tile(TILE, wide, K, A + i * lda, lda, panel, C + i * ldc, ldc, n);
    for (; i + 4 <= M; i += 4) tile(4, wide, K, A + i * lda, lda, panel, C + i * ldc, ldc, n);
    for (; i < M; ++i) tile(1, wide, K, A + i * lda, lda, panel, C + i * ldc, ldc, n);
}

/* For few columns: sums along K, of as many rows at once as there are chains of additions to be kept busy. */
INLINE void dots(const int rows, int64_t K, const T *A, int64_t lda, const T *x, T *y, int64_t ldy)
{
    vector sum[8] = {0};
    int64_t k = 0;
    for (; k + LANES <= K; k += LANES)
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) sum[r] += *(const anywhere *)(A + r * lda + k) * *(const anywhere *)(x + k);
    for (int r = 0; r < rows; ++r) {
        T s = 0;
        for (int l = 0; l < LANES; ++l) s += sum[r][l];
        for (int64_t q = k; q < K; ++q) s += A[r * lda + q] * x[q];
        y[r * ldy] = s;
    }
}

/* Set the first n columns of a panel (K, PANEL) to those of B; what is beside them comes into no number of C. */
static void fill(T *panel, int64_t K, int64_t n, const T *B, int64_t ldb, int64_t apart)
{
    if (apart == 1)
        for (int64_t k = 0; k < K; ++k) memcpy(panel + k * PANEL, B + k * ldb, n * sizeof(T));
    else
        for (int64_t k = 0; k < K; ++k)
            for (int64_t l = 0; l < n; ++l) panel[k * PANEL + l] = B[k * ldb + l * apart];
}

static T *room(int64_t size)
{
    static _Thread_local T *mine;
    static _Thread_local int64_t there;
    if (size > there) {
        free(mine);
        mine = aligned_alloc(64, (size * sizeof(T) + 63) / 64 * 64);
        if (!mine) abort();
        there = size;
    }
    return mine;
}

/* at: M, N, K; A and its leading size, B and its own, C and its own; and how far columns of B lie apart, in numbers.
   C (M, N) = A (M, K) B (K, N), where the numbers of a row of A and of C lie on end. */
void product(const int64_t *at)
{
    const int64_t M = at[0], N = at[1], K = at[2], lda = at[4], ldb = at[6], ldc = at[8], apart = at[9];
    const T *const A = (const T *)at[3], *const B = (const T *)at[5];
    T *const C = (T *)at[7], *const panel = room(K * PANEL);
    for (int64_t j = 0; N <= FEW && j < N; ++j) {
        for (int64_t k = 0; k < K; ++k) panel[k] = B[k * ldb + j * apart];
        int64_t i = 0;
        for (; i + 8 <= M; i += 8) dots(8, K, A + i * lda, lda, panel, C + i * ldc + j, ldc);
        for (; i < M; ++i) dots(1, K, A + i * lda, lda, panel, C + i * ldc + j, ldc);
    }
    for (int64_t j = 0; N > FEW && j < N; j += PANEL) {
        const int64_t n = N - j < PANEL ? N - j : PANEL;
        fill(panel, K, n, B + j * apart, ldb, apart);
        if (n > LANES) tiles(2, M, n, K, A, lda, panel, C + j, ldc);
        else tiles(1, M, n, K, A, lda, panel, C + j, ldc);
    }
}

/* ---- Y = X', a tile at a time, so that a line of either is read or written as a whole ---- */

#define SIDE 16

INLINE void turn(const int64_t m, const int64_t n, const T *X, int64_t ldx, T *Y, int64_t ldy)
{
    T square[SIDE][SIDE];
    for (int64_t r = 0; r < m; ++r) memcpy(square[r], X + r * ldx, n * sizeof(T));
    for (int64_t c = 0; c < n; ++c)
        for (int64_t r = 0; r < m; ++r) Y[c * ldy + r] = square[r][c];
}

/* at: M, N; X and its leading size, Y and its own; a column of X. Y (N, M) is X (M, N) from that column on, transposed;
   the numbers of a row of either lie on end. */
void transpose(const int64_t *at)
{
    const int64_t M = at[0], N = at[1], ldx = at[3], ldy = at[5];
    const T *const X = (const T *)at[2] + at[6];
    T *const Y = (T *)at[4];
    for (int64_t j = 0; j < N; j += SIDE)
        for (int64_t i = 0; i < M; i += SIDE) {
            const int64_t m = M - i < SIDE ? M - i : SIDE, n = N - j < SIDE ? N - j : SIDE;
            if (m == SIDE && n == SIDE) turn(SIDE, SIDE, X + i * ldx + j, ldx, Y + j * ldy + i, ldy);
            else turn(m, n, X + i * ldx + j, ldx, Y + j * ldy + i, ldy);
        }
}
