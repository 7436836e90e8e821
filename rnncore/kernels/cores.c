/* Steps of a recurrence on all cores of the processor, for `rnncore.kernels.cores`.

   A stage is a function of the address of a row of 64-bit integers, its arguments; a step is some stages, one after
   another. Every part, which a core takes, has rows of its own, and all parts wait for one another after a stage. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__x86_64__) || defined(__i386__)
#define RELAX __builtin_ia32_pause()
#elif defined(__aarch64__)
#define RELAX __asm__ volatile("yield")
#else
#define RELAX (void)0
#endif

/* ---- Threads, which wait for their next turn awake for a while, and then asleep ---- */

#define MOST 256
#define AWAKE 16384
typedef void job(int64_t part, void *with);
static struct { _Alignas(64) _Atomic int64_t turn, done; _Atomic int asleep; } thread[MOST];
static struct { job *run; void *with; int64_t threads; _Atomic int64_t arrived; } all = {.threads = 1};
static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER, bed = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t morning = PTHREAD_COND_INITIALIZER;

static void await(_Atomic int64_t *what, int64_t least)
{
    for (int64_t n = 0; atomic_load_explicit(what, memory_order_acquire) < least; ++n)
        if (n < AWAKE) RELAX; else sched_yield();
}

static void *work(void *which)
{
    const int64_t k = (intptr_t)which;
    for (int64_t turn = atomic_load(&thread[k].done) + 1;; ++turn) {
        for (int n = 0; n < AWAKE && atomic_load_explicit(&thread[k].turn, memory_order_acquire) < turn; ++n) RELAX;
        if (atomic_load(&thread[k].turn) < turn) {
            pthread_mutex_lock(&bed);
            atomic_store(&thread[k].asleep, 1);
            while (atomic_load(&thread[k].turn) < turn) pthread_cond_wait(&morning, &bed);
            atomic_store(&thread[k].asleep, 0);
            pthread_mutex_unlock(&bed);
        }
        all.run(k, all.with);
        atomic_store_explicit(&thread[k].done, turn, memory_order_release);
    }
    return NULL;
}

static void after_fork(void)
{
    all.threads = 1;
    pthread_mutex_init(&busy, NULL);
    pthread_mutex_init(&bed, NULL);
    pthread_cond_init(&morning, NULL);
}

/* Start threads until there are `wanted`, the caller's among them, and return how many there are. */
static int64_t start(int64_t wanted)
{
    static int told;
    if (!told) told = !pthread_atfork(NULL, NULL, after_fork);
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    for (; all.threads < wanted && all.threads < MOST; ++all.threads) {
        const int64_t k = all.threads;
        pthread_t made;
        thread[k].turn = thread[k].done = 0;
        thread[k].asleep = 0;
        if (pthread_create(&made, NULL, work, (void *)(intptr_t)k)) break;
        pthread_detach(made);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return all.threads;
}

int64_t threads(int64_t wanted)
{
    pthread_mutex_lock(&busy);
    const int64_t there = start(wanted);
    pthread_mutex_unlock(&busy);
    return there;
}

static void together(job *run, void *with, int64_t parts)
{
    if (parts == 1) { run(0, with); return; }
    pthread_mutex_lock(&busy);
    if (start(parts) < parts) {
        fprintf(stderr, "rnncore: cannot start %d threads, which the library of products asks for\n", (int)parts);
        abort();
    }
    all.run = run;
    all.with = with;
    atomic_store(&all.arrived, 0);
    for (int64_t k = 1; k < parts; ++k) {
        atomic_store(&thread[k].turn, atomic_load(&thread[k].turn) + 1);
        if (atomic_load(&thread[k].asleep)) {
            pthread_mutex_lock(&bed);
            pthread_cond_broadcast(&morning);
            pthread_mutex_unlock(&bed);
        }
    }
    run(0, with);
    for (int64_t k = 1; k < parts; ++k) await(&thread[k].done, thread[k].turn);
    pthread_mutex_unlock(&busy);
}

/* What OpenBLAS calls in place of its own threads. */
typedef void blas_job(int, void *, int);
struct blas { blas_job *run; char *data; size_t size; int extra; };
/* Which of its own places a job works at: the last ones, since OpenBLAS's own threads, which an LU uses, have the first. */
static int last_place;
void places(int64_t count) { last_place = (int)count - 1; }
static void one_blas(int64_t part, void *with)
{
    const struct blas *b = with;
    b->run(last_place - (int)part, b->data + b->size * part, b->extra);
}
void blas_jobs(int sync, blas_job *run, int count, size_t size, void *data, int extra)
{
    (void)sync;
    struct blas b = {run, data, size, extra};
    if (count > 1) { together(one_blas, &b, count); return; }
    pthread_mutex_lock(&busy);
    one_blas(0, &b);
    pthread_mutex_unlock(&busy);
}

/* ---- Steps ---- */

/* at: stages, and then for every part and stage its function, the address of its first row and the bytes between. */
struct steps { const int64_t *at; int64_t first, count, by, parts; };
static void part_of_steps(int64_t part, void *with)
{
    const struct steps s = *(struct steps *)with;
    const int64_t stages = s.at[0], *mine = s.at + 1 + 3 * stages * part;
    int64_t arrived = 0;
    for (int64_t t = s.first, n = 0; n < s.count; t += s.by, ++n)
        for (int64_t k = 0; k < stages; ++k) {
            ((void (*)(const int64_t *))mine[3 * k])((const int64_t *)(mine[3 * k + 1] + t * mine[3 * k + 2]));
            if (s.parts == 1) continue;
            atomic_fetch_add(&all.arrived, 1);
            await(&all.arrived, arrived += s.parts);
        }
}
void steps(const int64_t *at, int64_t first, int64_t count, int64_t by, int64_t parts)
{
    struct steps s = {at, first, count, by, parts};
    together(part_of_steps, &s, parts);
}
