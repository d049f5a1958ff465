/* meet.c - spin for a moment, then sleep.                                      floor 2: kernel */
#include "kernel/meet.h"

#include <omp.h>
#include <sched.h>
#include <stdbool.h>

enum { SPINS = 8000 }; /* about a tenth of a millisecond: a fair end of a region takes less */

/* Tells the processor that this thread only waits. */
static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The round is read while the mutex is held: nobody can begin the next one before this thread has seen this one. */
void sondep_meet(sondep_meeting *m)
{
    int n_threads = omp_get_num_threads(), round;
    bool is_last;

    if (n_threads == 1)
        return;
    pthread_mutex_lock(&m->mutex);
    round = atomic_load(&m->round);
    is_last = ++m->n_here == n_threads;
    if (is_last) {
        m->n_here = 0;
        atomic_store(&m->round, round + 1);
        pthread_cond_broadcast(&m->all_here);
    }
    pthread_mutex_unlock(&m->mutex);

    for (int i = 0; i < SPINS && atomic_load(&m->round) == round; i++)
        pause_briefly();
    if (atomic_load(&m->round) != round)
        return;
    pthread_mutex_lock(&m->mutex);
    while (atomic_load(&m->round) == round)
        pthread_cond_wait(&m->all_here, &m->mutex);
    pthread_mutex_unlock(&m->mutex);
}

/* As if the tasks of one round earlier had ended. */
void sondep_begin_turns(sondep_turns *t)
{
    atomic_init(&t->next, 0);
    for (int i = 0; i < SONDEP_TURNS; i++)
        atomic_init(&t->of[i], i - SONDEP_TURNS);
}

long long sondep_take_turn(sondep_turns *t)
{
    return atomic_fetch_add(&t->next, 1);
}

/* Spins for a moment, then lets others run in between. */
void sondep_await_turn(sondep_turns *t, long long task)
{
    for (int i = 0; atomic_load(&t->of[task % SONDEP_TURNS]) < task; i++) {
        if (i < SPINS)
            pause_briefly();
        else
            sched_yield();
    }
}

/* Places are used again: first the task that had this one must have ended. */
void sondep_end_turn(sondep_turns *t, long long task)
{
    if (task >= SONDEP_TURNS)
        sondep_await_turn(t, task - SONDEP_TURNS);
    atomic_store(&t->of[task % SONDEP_TURNS], task);
}
