#ifndef MMF_TESTS_POOL_FIXTURE_H
#define MMF_TESTS_POOL_FIXTURE_H

/* What the tests of the pool look at from outside: descriptors of this process, and the processes
 * of a session, from /proc. The process that forks the workers leads a session of its own. */

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline unsigned fixture_n_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

struct fixture_proc {
    int pid, ppid, session;
    char state;
    int64_t rss_bytes;
};

static inline bool fixture_read_proc(const char *name, struct fixture_proc *ret)
{
    char path[300];
    snprintf(path, sizeof(path), "/proc/%s/stat", name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    long pages = 0;
    int n = fscanf(f,
                   "%d (%*[^)]) %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                   "%*d %*d %*d %*u %*u %ld",
                   &ret->pid, &ret->state, &ret->ppid, &ret->session, &pages);
    fclose(f);
    ret->rss_bytes = pages * sysconf(_SC_PAGESIZE);
    return n == 5;
}

struct fixture_session {
    unsigned n_alive, n_zombies;
    int64_t rss_bytes; /* of all but the leader */
};

static inline struct fixture_session fixture_session(int leader)
{
    struct fixture_session s = {0};
    DIR *d = opendir("/proc");
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct fixture_proc p;
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !fixture_read_proc(e->d_name, &p) ||
            p.session != leader)
            continue;
        if (p.state == 'Z')
            s.n_zombies++;
        else
            s.n_alive++;
        if (p.pid != leader)
            s.rss_bytes += p.rss_bytes;
    }
    if (d != NULL)
        closedir(d);
    return s;
}

/* The child of this process that leads a session: the newest pool's. -1 = none. */
static inline int fixture_leader(void)
{
    int leader = -1;
    DIR *d = opendir("/proc");
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct fixture_proc p;
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && fixture_read_proc(e->d_name, &p) &&
            p.ppid == getpid() && p.session == p.pid && p.pid > leader)
            leader = p.pid;
    }
    if (d != NULL)
        closedir(d);
    return leader;
}

static inline int64_t fixture_rss_bytes(void)
{
    struct fixture_proc p;
    return fixture_read_proc("self", &p) ? p.rss_bytes : 0;
}

/* CPU time of the workers that this leader has collected, in steps of 10 ms. */
static inline int64_t fixture_collected_cpu_us(int leader)
{
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", leader);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    int n =
        fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %lu %lu",
               &user, &system);
    fclose(f);
    return n == 2 ? (int64_t)(user + system) * (1000000 / sysconf(_SC_CLK_TCK)) : 0;
}

#endif
