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

/* Tasks that are handed out in order, and end in order where they must. A task may wait for an earlier one, never for a
 * later one; all that are taken must end their turn. */
enum { SONDEP_TURNS = 256 };
typedef struct sondep_turns {
    atomic_llong next;             /* task to be taken */
    atomic_llong of[SONDEP_TURNS]; /* the last task that ended, of those whose number leaves the same rest */
} sondep_turns;

void sondep_begin_turns(sondep_turns *t);
long long sondep_take_turn(sondep_turns *t);             /* the next task's number, from 0 up */
void sondep_await_turn(sondep_turns *t, long long task); /* returns when that task has ended */
void sondep_end_turn(sondep_turns *t, long long task);   /* what was written before is seen by who awaits it */

/* Multiply-adds that one thread does alone: they take some ten microseconds, and waking the others costs as much. */
enum { SONDEP_ALONE = 1 << 18 };

#endif
