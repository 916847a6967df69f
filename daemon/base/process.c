#include "daemon/base/process.h"

#include "daemon/base/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void read_memory(double *ret_virtual, double *ret_resident)
{
    FILE *f = fopen("/proc/self/statm", "re");
    double page = (double)sysconf(_SC_PAGESIZE), all, resident;
    bool read = f && fscanf(f, "%lf %lf", &all, &resident) == 2;

    *ret_virtual = read ? all * page : (double)NAN;
    *ret_resident = read ? resident * page : (double)NAN;
    if (f)
        (void)fclose(f);
}

static double count_open(void)
{
    DIR *fds = opendir("/proc/self/fd");
    double n = -3; /* ".", ".." and the one that reads them */

    if (!fds)
        return (double)NAN;
    while (readdir(fds))
        n++;
    (void)closedir(fds);
    return n;
}

static double cpu_seconds(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
        return (double)NAN;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void process_metrics(FILE *out, int64_t started_us)
{
    struct rlimit fds;
    double all, resident;

    read_memory(&all, &resident);
    metrics_gauge(out, "process_resident_memory_bytes", "Resident memory of the daemon itself.",
                  resident);
    metrics_gauge(out, "process_virtual_memory_bytes", "Virtual memory of the daemon itself.",
                  all);
    metrics_head(out, "process_cpu_seconds_total", "counter",
                 "User and system CPU time of the daemon itself.");
    metrics_value(out, "process_cpu_seconds_total", cpu_seconds());
    metrics_gauge(out, "process_open_fds", "Open file descriptors.", count_open());
    metrics_gauge(out, "process_max_fds", "The most file descriptors that may be open.",
                  getrlimit(RLIMIT_NOFILE, &fds) == 0 ? (double)fds.rlim_cur : (double)NAN);
    metrics_gauge(out, "process_start_time_seconds", "Start of the process since the epoch.",
                  (double)started_us / 1e6);
}
