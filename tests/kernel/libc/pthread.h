/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIBC_PTHREAD_H
#define KERNEL_LIBC_PTHREAD_H

typedef struct thread *pthread_t;

int pthread_create(pthread_t *thread_out, const void *attributes,
    void *(*entry)(void *), void *arg);
int pthread_join(pthread_t thread, void **result_out);

typedef struct { unsigned is_held; } pthread_mutex_t;
#define PTHREAD_MUTEX_INITIALIZER { 0 }
int pthread_mutex_lock(pthread_mutex_t *mutex);
int pthread_mutex_unlock(pthread_mutex_t *mutex);

typedef struct { unsigned nr, nr_come; } pthread_barrier_t;
int pthread_barrier_init(pthread_barrier_t *barrier, const void *attributes,
    unsigned nr);
int pthread_barrier_wait(pthread_barrier_t *barrier);
int pthread_barrier_destroy(pthread_barrier_t *barrier);

#endif
