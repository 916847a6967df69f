/* A worker as bad as a decoder that hostile media has taken over: the real zygote, worker loop
 * and sandbox (mmf_worker), with an extractor that does what the job's title says. Each act
 * returns only if the sandbox let it through or answered it with an error. */
#include "config/err.h"
#include "extract/media/extractor.h"
#include "extract/wire/layout.h"
#include "extract/wire/protocol.h"
#include "extract/worker/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#define SOCKET_FD 3

struct extractor {
    pid_t daemon_pid;
    int *n_flaky; /* shared by all workers */
};

static struct extractor the_extractor;
static unsigned char page[100000];
/* What an act that the sandbox should stop managed to do. */
static bool escaped;
static const char *announced = "";
static const char *title_under_way = "";

static void never_say_hello(void)
{
    (void)pause();
}

void extractor_options_init(struct extractor_options *o)
{
    *o = (struct extractor_options){0};
}

int extractor_new(const struct extractor_options *options, struct extractor **ret_extractor,
                  struct err *err)
{
    (void)options;
    if (strcmp(announced, "poor") == 0)
        return err_oom(err, "hostile worker");
    if (strcmp(announced, "killed") == 0) /* as by a kernel that is out of memory */
        (void)kill(getpid(), SIGKILL);
    if (strcmp(announced, "mute") == 0)
        (void)pthread_atfork(NULL, NULL, never_say_hello);
    the_extractor.daemon_pid = getppid();
    the_extractor.n_flaky =
        mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (the_extractor.n_flaky == MAP_FAILED)
        return err_oom(err, "hostile worker");
    *ret_extractor = &the_extractor;
    return ERR_OK;
}

void extractor_free(struct extractor *extractor)
{
    (void)extractor;
}

/* Before it is asked: the true one is then taken for the answer to the next question. */
static void announce_too_early(const struct encoder_identity *encoders)
{
    struct protocol_control ready = {.kind = PROTOCOL_READY, .n_encoders = MODALITY_COUNT};
    memcpy(ready.encoders, encoders, sizeof(ready.encoders));
    (void)send(PROTOCOL_CONTROL_FD, &ready, sizeof(ready), MSG_NOSIGNAL);
}

/* What it announces is wrong where its --encoder visual= says so. */
void extractor_encoders(const struct extractor *extractor,
                        struct encoder_identity *ret_encoders)
{
    (void)extractor;
    for (int m = 0; m < MODALITY_COUNT; m++)
        ret_encoders[m] = layout_identity((enum modality)m);
    struct encoder_identity *first = &ret_encoders[0];
    if (strcmp(announced, "letters") == 0)
        first->id[3] = '"';
    else if (strcmp(announced, "empty") == 0)
        first->id[0] = 0;
    else if (strcmp(announced, "endless") == 0)
        memset(first->id, 'a', sizeof(first->id));
    else if (strcmp(announced, "none") == 0)
        first->dim = 0;
    else if (strcmp(announced, "huge") == 0)
        first->dim = FEATURES_DIM_MAX + 1;
    else if (strcmp(announced, "twice") == 0)
        first->modality = MODALITY_TEXTUAL;
    else if (strcmp(announced, "nowhere") == 0)
        first->modality = (enum modality)77;
    else if (strcmp(announced, "small") == 0)
        first->dim = 5;
    else if (strcmp(announced, "moody") == 0)
        snprintf(ret_encoders[MODALITY_TEXTUAL].id, sizeof(first->id), "moody-%d",
                 (int)getpid());
    else if (strcmp(announced, "early") == 0)
        announce_too_early(ret_encoders);
}

static void say(const void *data, size_t n_bytes, int fd_along)
{
    struct iovec iov = {.iov_base = page, .iov_len = n_bytes};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (data != NULL)
        memcpy(page, data, n_bytes);
    if (fd_along >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd_along, sizeof(int));
    }
    sendmsg(SOCKET_FD, &msg, MSG_NOSIGNAL);
}

static void hang(void)
{
    static int word;
    for (;;)
        syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void spin(void)
{
    for (volatile unsigned i = 0;; i++)
        ;
}

static void crash(void)
{
    volatile int *volatile nowhere = NULL; /* the compiler must not know that it is */
    *nowhere = 1;
}

static void do_exit(void)
{
    _exit(0);
}

static void garbage(void)
{
    say("not a reply at all", 18, -1);
    hang();
}

static void huge(void)
{
    say(NULL, sizeof(page), -1);
    hang();
}

static void flood(void)
{
    for (;;)
        say("x", 1, -1);
}

static void descriptor(void)
{
    say("x", 1, SOCKET_FD);
    hang();
}

static void shut(void)
{
    close(SOCKET_FD);
    hang();
}

static void do_socket(void)
{
    escaped = socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static void do_open(void)
{
    escaped = open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES;
}

static void do_stat(void)
{
    struct stat st;
    escaped = stat("/etc/passwd", &st) == 0 || errno != EACCES;
}

static void do_statm(void) /* what is open stays readable, and only what is open */
{
    char c;
    escaped = pread(4, &c, 1, 0) != 1 || fcntl(5, F_GETFL) >= 0;
}

static void do_create(void)
{
    escaped = syscall(SYS_open, "/tmp/hostile", O_CREAT | O_WRONLY, 0600) >= 0;
}

static void do_fork(void)
{
    escaped = fork() >= 0;
}

static void do_execve(void)
{
    char path[] = "/bin/true";
    char *argv[] = {path, NULL};
    execve(path, argv, NULL);
}

static void do_ptrace(void)
{
    escaped = ptrace(PTRACE_ATTACH, the_extractor.daemon_pid, NULL, NULL) == 0;
}

static void do_kill(void)
{
    escaped = kill(the_extractor.daemon_pid, SIGKILL) == 0;
}

static void do_prlimit(void)
{
    struct rlimit r = {RLIM_INFINITY, RLIM_INFINITY};
    escaped = setrlimit(RLIMIT_CPU, &r) == 0;
}

static void do_write(void)
{
    escaped = write(SOCKET_FD, "x", 1) == 1;
}

static void do_sendmsg(void)
{
    struct msghdr msg = {0};
    escaped = sendmsg(1, &msg, 0) >= 0;
}

static void do_executable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    escaped = p != MAP_FAILED;
}

static void do_mprotect(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    escaped = p == MAP_FAILED || mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}

static void do_signal(void)
{
    escaped = signal(SIGXCPU, SIG_IGN) != SIG_ERR;
}

static void do_dumpable(void)
{
    escaped = prctl(PR_SET_DUMPABLE, 1) == 0;
}

static void flaky(void)
{
    if ((*the_extractor.n_flaky)++ == 0)
        crash();
}

static void nothing(void)
{
}

static const struct {
    const char *title;
    void (*act)(void);
} acts[] = {
    {"ok", nothing},
    {"hang", hang},
    {"spin", spin},
    {"stubborn", spin},
    {"digest", spin},
    {"crash", crash},
    {"exit", do_exit},
    {"abort", abort},
    {"garbage", garbage},
    {"huge", huge},
    {"flood", flood},
    {"descriptor", descriptor},
    {"shut", shut},
    {"socket", do_socket},
    {"open", do_open},
    {"stat", do_stat},
    {"create", do_create},
    {"fork", do_fork},
    {"execve", do_execve},
    {"ptrace", do_ptrace},
    {"kill", do_kill},
    {"prlimit", do_prlimit},
    {"write", do_write},
    {"sendmsg", do_sendmsg},
    {"executable", do_executable},
    {"mprotect", do_mprotect},
    {"signal", do_signal},
    {"dumpable", do_dumpable},
    {"flaky", flaky},
    {"statm", do_statm},
};

static int eat_memory(struct err *err)
{
    for (;;) {
        char *p = malloc(16u << 20);
        if (p == NULL)
            return err_oom(err, "hostile worker");
        memset(p, 1, 16u << 20);
    }
}

static void fill(struct features *f)
{
    memset(f, 0, sizeof(*f));
    f->mask = MODALITY_BIT(MODALITY_TEXTUAL);
    f->dim[MODALITY_TEXTUAL] = layout_identity(MODALITY_TEXTUAL).dim;
    f->vec[MODALITY_TEXTUAL][0] = 1.0f;
    f->flags.n_decode_errors = escaped;
}

/* What a film:… does, it does with its media only. */
static const char *act_of(const char *title, bool has_media)
{
    if (strncmp(title, "film:", 5) != 0)
        return title;
    return has_media ? title + 5 : "ok";
}

/* A reply that is well formed but for what it says. */
static bool lie(const char *title, struct features *f)
{
    if (strcmp(title, "nan") == 0)
        f->vec[MODALITY_TEXTUAL][3] = NAN;
    else if (strcmp(title, "dimension") == 0)
        f->dim[MODALITY_TEXTUAL]++;
    else if (strcmp(title, "coverage") == 0)
        f->flags.coverage = 2.0f;
    else if (strcmp(title, "codec") == 0)
        memcpy(f->flags.video_codec, "h264\n<6>", 9);
    else if (strcmp(title, "duration") == 0)
        f->extract_us = -1;
    else
        return false;
    return true;
}

int extractor_run(struct extractor *extractor, int media_fd, const struct features_text *text,
                  struct features *ret_features, struct err *err)
{
    const char *title = text->title != NULL  ? text->title
                        : text->lang != NULL ? text->lang
                                             : "ok";
    (void)extractor;
    escaped = false;
    title = title_under_way = act_of(title, media_fd >= 0);
    if (strcmp(title, "memory") == 0)
        return eat_memory(err);
    if (strcmp(title, "skip") == 0)
        return err_skip(err, "media_codec", "hostile worker: no admitted codec");
    if (strcmp(title, "impostor") == 0)
        return err_skip(err, "worker_crash", "hostile worker: I am the pool");
    if (strcmp(title, "io") == 0)
        return err_retry(err, EX_IOERR, "hostile worker: the disk is gone");
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        if (strcmp(title, acts[i].title) == 0)
            acts[i].act();
    }
    fill(ret_features);
    lie(title, ret_features);
    return ERR_OK;
}

/* In the handler of SIGXCPU, which interrupts "spin" and "stubborn". */
int extractor_finish(struct extractor *extractor, struct features *ret_features,
                     struct err *err)
{
    (void)extractor;
    (void)err;
    if (strcmp(title_under_way, "stubborn") == 0)
        spin();
    fill(ret_features);
    ret_features->flags.degraded = true;
    return strcmp(title_under_way, "digest") == 0 ? ERR_NONE : ERR_OK;
}

int main(int argc, char **argv)
{
    static const char prefix[] = "--encoder=visual=";
    const char *const encoder[MODALITY_COUNT] = {NULL};
    if (argc == 3 && strncmp(argv[2], prefix, strlen(prefix)) == 0)
        announced = argv[2] + strlen(prefix);
    if (argc >= 2 && strcmp(argv[1], "--pool") == 0)
        return zygote_run(encoder);
    fprintf(stderr, "hostile_worker: only for test_pool\n");
    return EX_USAGE;
}
