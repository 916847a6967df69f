#include "extract/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

/* ---- rlimits ---- */

static int limit(int resource, const char *name, rlim_t soft, rlim_t hard, struct err *err)
{
    struct rlimit r = {.rlim_cur = soft, .rlim_max = hard};
    if (setrlimit((__rlimit_resource_t)resource, &r) == 0)
        return ERR_OK;
    return err_fatal(err, EX_OSERR, "sandbox: setrlimit %s: %s", name, strerror(errno));
}

/* The CPU limit's hard half stays: the daemon raises the soft one before each job. */
static int limit_all(const struct sandbox_options *o, struct err *err)
{
    struct rlimit cpu;
    if (getrlimit(RLIMIT_CPU, &cpu) != 0)
        return err_fatal(err, EX_OSERR, "sandbox: getrlimit: %s", strerror(errno));
    rlim_t seconds =
        (rlim_t)o->cpu_seconds < cpu.rlim_max ? (rlim_t)o->cpu_seconds : cpu.rlim_max;
    int status = limit(RLIMIT_CPU, "CPU", seconds, cpu.rlim_max, err);
#ifndef MMF_SANITIZE_BUILD /* the sanitizers map terabytes of shadow */
    rlim_t space = (rlim_t)o->address_space_bytes;
    if (status == ERR_OK)
        status = limit(RLIMIT_AS, "AS", space, space, err);
#endif
    if (status == ERR_OK)
        status = limit(RLIMIT_FSIZE, "FSIZE", 0, 0, err);
    if (status == ERR_OK)
        status = limit(RLIMIT_CORE, "CORE", 0, 0, err);
    if (status == ERR_OK)
        status = limit(RLIMIT_NPROC, "NPROC", 0, 0, err);
    if (status == ERR_OK)
        status = limit(RLIMIT_MEMLOCK, "MEMLOCK", 0, 0, err);
    if (status == ERR_OK)
        status = limit(RLIMIT_NOFILE, "NOFILE", 16, 16, err);
    return status;
}

/* ---- Landlock ---- */

/* The kernel's interface by ABI, newer than this system's headers: what version a has. */
struct landlock_attr {
    uint64_t handled_access_fs;  /* ABI 1 */
    uint64_t handled_access_net; /* ABI 4 */
    uint64_t scoped;             /* ABI 6 */
};

#define LANDLOCK_GET_VERSION 1u

static struct landlock_attr landlock_everything(int abi)
{
    unsigned n_fs = 13; /* ABI 1: execute … make_sym */
    if (abi >= 2)
        n_fs = 14; /* refer */
    if (abi >= 3)
        n_fs = 15; /* truncate */
    if (abi >= 5)
        n_fs = 16; /* ioctl_dev */
    return (struct landlock_attr){
        .handled_access_fs = (UINT64_C(1) << n_fs) - 1,
        .handled_access_net = abi >= 4 ? 3 : 0, /* bind_tcp, connect_tcp */
        .scoped = abi >= 6 ? 3 : 0,             /* abstract sockets, signals */
    };
}

static size_t landlock_attr_bytes(int abi)
{
    if (abi >= 6)
        return sizeof(struct landlock_attr);
    return abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

/* Handles every access and allows none. Returns the ABI in force, 0 = none: seccomp stands by
 * itself, this is the second wall. */
static uint32_t deny_files(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_GET_VERSION);
    if (abi < 1)
        return 0;
    struct landlock_attr attr = landlock_everything((int)abi);
    long fd = syscall(SYS_landlock_create_ruleset, &attr, landlock_attr_bytes((int)abi), 0u);
    if (fd < 0)
        return 0;
    long rc = syscall(SYS_landlock_restrict_self, (int)fd, 0u);
    close((int)fd);
    return rc == 0 ? (uint32_t)abi : 0;
}

/* ---- seccomp ---- */

struct rule {
    int call;
    unsigned n_args;
    struct scmp_arg_cmp args[2];
};

#define CALL(name)                                                                             \
    {                                                                                          \
        .call = SCMP_SYS(name)                                                                 \
    }
#define CALL_IF(name, ...)                                                                     \
    {                                                                                          \
        .call = SCMP_SYS(name), .n_args = 1, .args = { __VA_ARGS__ }                           \
    }
#define ARG_IS(n, v) SCMP_CMP64(n, SCMP_CMP_EQ, (scmp_datum_t)(v))
#define ARG_BITS(n, m, v)                                                                      \
    SCMP_CMP64(n, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(m), (scmp_datum_t)(v))

/* Goes on. Each with what needs it. Under strace the shared files and 300 mutated clips need
 * pread64, newfstatat, sendmsg, recvmsg, fcntl, close, brk, mmap, munmap and futex, and try
 * openat (iconv's tables); the rest is for larger files and for kernels whose clock has no
 * vDSO. */
static const struct rule allowed[] = {
    /* the media, through AVIO; /proc/self/statm by pread */
    CALL(read),
    CALL(pread64),
    CALL(lseek),
    CALL(fstat),
    CALL_IF(newfstatat,
            ARG_BITS(3, AT_EMPTY_PATH, AT_EMPTY_PATH)), /* fstat, as glibc does it */
    CALL_IF(fcntl, ARG_IS(1, F_GETFL)),                 /* is the media read-only? */
    CALL(close),
    /* malloc; never executable */
    CALL_IF(mmap, ARG_BITS(2, PROT_EXEC, 0)),
    CALL(munmap),
    CALL(mremap),
    CALL(brk),
    CALL(madvise),
    /* locks of libavutil and libc, uncontended with one thread */
    CALL(futex),
    CALL(clock_gettime),
    CALL(getrandom),
    CALL(sched_getaffinity),
    CALL(rt_sigreturn),
    CALL(exit),
    CALL(exit_group),
};

/* Answered with EACCES: what libraries try and can do without. */
static const struct rule refused[] = {
    CALL(openat),
    CALL(open),
    CALL(access),
    CALL(readlink),
    CALL(getuid),
    CALL(ioctl),
    CALL_IF(newfstatat, ARG_BITS(3, AT_EMPTY_PATH, 0)), /* stat by path */
    CALL_IF(fcntl, SCMP_CMP64(1, SCMP_CMP_NE, F_GETFL)),
};

static int add(scmp_filter_ctx ctx, uint32_t action, const struct rule *rules, size_t n_rules)
{
    for (size_t i = 0; i < n_rules; i++) {
        int rc =
            seccomp_rule_add_array(ctx, action, rules[i].call, rules[i].n_args, rules[i].args);
        if (rc != 0)
            return rc;
    }
    return 0;
}

#define ADD(ctx, action, rules) add(ctx, action, rules, sizeof(rules) / sizeof((rules)[0]))

static int add_socket(scmp_filter_ctx ctx, int fd)
{
    const struct rule rules[] = {
        CALL_IF(recvmsg, ARG_IS(0, fd)),
        CALL_IF(sendmsg, ARG_IS(0, fd)),
    };
    return ADD(ctx, SCMP_ACT_ALLOW, rules);
}

#ifdef MMF_SANITIZE_BUILD
/* What AddressSanitizer and UBSan call while they run and while they report. A worker with this
 * filter says so in its hello, and a release build of the daemon refuses it. */
static int add_sanitizer(scmp_filter_ctx ctx)
{
    static const struct rule rules[] = {
        CALL(write),           CALL(mprotect),  CALL(sigaltstack), CALL(rt_sigaction),
        CALL(rt_sigprocmask),  CALL(getpid),    CALL(gettid),      CALL(tgkill),
        CALL(sched_yield),     CALL(getrusage), CALL(prctl),       CALL(nanosleep),
        CALL(clock_nanosleep), CALL(uname),
    };
    return ADD(ctx, SCMP_ACT_ALLOW, rules);
}
#define FILTER_IN_FORCE PROTOCOL_FILTER_SANITIZER
#else
static int add_sanitizer(scmp_filter_ctx ctx)
{
    (void)ctx;
    return 0;
}
#define FILTER_IN_FORCE PROTOCOL_FILTER_STRICT
#endif

/* What no rule names kills. write does too: nothing leaves but by sendmsg on the worker's own
 * socket. So does tgkill, and abort() shows as SIGSYS. Returns 0, or -errno of the first step
 * that failed. */
static int filter_calls(int socket_fd)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (ctx == NULL)
        return -ENOMEM;
    int rc = ADD(ctx, SCMP_ACT_ALLOW, allowed);
    if (rc == 0)
        rc = ADD(ctx, SCMP_ACT_ERRNO(EACCES), refused);
    if (rc == 0)
        rc = add_socket(ctx, socket_fd);
    if (rc == 0)
        rc = add_sanitizer(ctx);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc;
}

int sandbox_enter(const struct sandbox_options *o, struct sandbox_report *ret_report,
                  struct err *err)
{
    struct sandbox_report report = {.filter = FILTER_IN_FORCE};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_fatal(err, EX_OSERR, "sandbox: prctl: %s", strerror(errno));
    int status = limit_all(o, err);
    if (status != ERR_OK)
        return status;
    report.landlock_abi = deny_files();
    int rc = filter_calls(o->socket_fd);
    if (rc != 0 && o->require_seccomp)
        return err_fatal(
            err, EX_CONFIG,
            "sandbox: seccomp: %s; enable it in the kernel, or set "
            "extract.require_sandbox = false to decode without it, at your own risk",
            strerror(-rc));
    if (rc != 0)
        report.filter = PROTOCOL_FILTER_NONE;
    *ret_report = report;
    return ERR_OK;
}
