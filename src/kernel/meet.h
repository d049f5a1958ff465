/* kernel/meet.h - where the threads of a parallel region wait for each other.  floor 2: kernel
 *
 * OpenMP's own barrier spins for milliseconds before it sleeps. If another process has taken a processor from one of our
 * threads, the others then hold theirs for nothing; a thread that sleeps instead leaves its processor to the one that is
 * waited for. So every region ends with a meeting: a short spin, then sleep.
 */
#ifndef SONDEP_KERNEL_MEET_H
#define SONDEP_KERNEL_MEET_H

#include <pthread.h>
#include <stdatomic.h>

typedef struct sondep_meeting {
    pthread_mutex_t mutex;
    pthread_cond_t all_here;
    int n_here;
    atomic_int round; /* meetings held so far */
} sondep_meeting;

#define SONDEP_MEETING                                            \
    {                                                             \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 \
    }

/* Returns when all threads of the innermost parallel region have called it; may be called again after that. */
void sondep_meet(sondep_meeting *m);

/* Multiply-adds that one thread does alone: they take some ten microseconds, and waking the others costs as much. */
enum { SONDEP_ALONE = 1 << 18 };

#endif
