/* How many threads a kernel uses: one number per compiled module, set from Python. */

#ifndef FASTNN_PARALLEL_H
#define FASTNN_PARALLEL_H

static int max_threads = 1;

/* Below about 20 microseconds of work, waking a team costs more than it saves. */
static inline int threads_for(double nanoseconds)
{
    return nanoseconds < 20e3 ? 1 : max_threads;
}

#endif
