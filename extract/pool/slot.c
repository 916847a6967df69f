#include "extract/pool/slot.h"

#include "config/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define HELLO_US         INT64_C(5000000) /* from fork to hello: 1 ms */
#define EXIT_US          INT64_C(100000)  /* from a closed socket to the process's end */
#define BACKOFF_US       INT64_C(10000)   /* the second respawn in a row; doubles */
#define BACKOFF_JOB_US   INT64_C(20000) /* ceiling after deaths in jobs: respawned in 100 ms */
#define BACKOFF_HELLO_US INT64_C(5000000) /* ceiling after deaths before the hello */
#define STUCK_US         INT64_C(5000000) /* a killed worker still there: its job goes back */
#define TRIES            2                /* workers that one job may cost */
#define FAILED_STARTS    3                /* then a waiting job goes back to the caller */

int slot_init(struct slot *s, struct err *err)
{
    *s = (struct slot){.state = SLOT_DOWN, .worker = {.pidfd = -1, .sock = -1}};
    s->job.media_fd = -1;
    s->job.request = malloc(PROTOCOL_REQUEST_BYTES_MAX);
    return s->job.request != NULL ? ERR_OK : err_oom(err, "worker pool: a request's buffer");
}

/* ---- the job ---- */

static void close_media(struct slot_job *j)
{
    if (j->media_fd >= 0)
        close(j->media_fd);
    j->media_fd = -1;
}

static void job_finish(struct slot *s, int64_t now_us)
{
    s->job.finished = true;
    s->job.finished_us = now_us;
    close_media(&s->job);
}

/* What a worker said of the text alone is the outcome if there is something in it; else the item is
 * lost with its media. */
static void judge_text(struct slot_job *j)
{
    bool has_row =
        j->err.status == ERR_OK && (j->features.mask & MODALITY_BIT(MODALITY_TEXTUAL)) != 0;
    if (has_row) {
        memcpy(j->features.flags.reason, j->media_err.reason, ERR_REASON_BYTES);
        j->features.flags.degraded = true;
    } else if (j->err.status != ERR_RETRY) {
        j->err = j->media_err;
    }
}

/* job->err says why. The next worker gets the text alone; where there is none, that is the end. */
static void give_up_media(struct slot *s, int64_t now_us)
{
    struct slot_job *j = &s->job;
    if (j->media_fd < 0 || !j->has_text) {
        if (j->lost_media)
            j->err = j->media_err;
        job_finish(s, now_us);
        return;
    }
    j->media_err = j->err;
    err_clear(&j->err);
    j->lost_media = true;
    j->n_deaths = 0;
    j->cpu_us = 0;
    close_media(j);
    protocol_drop_media(j->request);
}

void slot_take(struct slot *s, struct pool_result *ret_result)
{
    assert(s->job.finished);
    ret_result->id = s->job.id;
    ret_result->err = s->job.err;
    ret_result->wait_us = s->job.finished_us - s->job.submitted_us;
    ret_result->media_err = s->job.media_err;
    if (s->job.err.status == ERR_OK)
        ret_result->features = s->job.features;
    s->job.held = s->job.finished = false;
}

/* ---- the clock of a worker ---- */

/* Of the worker's whole life, by the kernel's own clock and not by its word; -1 = it is gone. */
static int64_t cpu_us_of(const struct slot *s)
{
    struct timespec used;
    if (clock_gettime(s->cpu_clock, &used) != 0)
        return -1;
    return (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

/* When a job's worker gets SIGXCPU: the extractor itself ends it a little earlier (protocol.h). */
static int64_t signal_us(const struct pool_options *o)
{
    return o->cpu_seconds * 500000;
}

static int64_t kill_us(const struct pool_options *o)
{
    return o->cpu_seconds * 1000000;
}

/* The kernel's own limit, for a daemon that does not come to look: it counts the process's whole life
 * in seconds, and by ticks, which on a busy machine are a sixth off. */
static bool allow_cpu(struct slot *s, const struct pool_options *o)
{
    struct rlimit limit;
    s->cpu_begin_us = cpu_us_of(s);
    if (s->cpu_begin_us < 0 || prlimit(s->worker.pid, RLIMIT_CPU, NULL, &limit) != 0)
        return false;
    limit.rlim_cur = (rlim_t)(s->cpu_begin_us / 1000000 + 1 + o->cpu_seconds);
    if (limit.rlim_cur > limit.rlim_max)
        limit.rlim_cur = limit.rlim_max;
    return prlimit(s->worker.pid, RLIMIT_CPU, &limit, NULL) == 0;
}

/* A worker has one thread: it cannot spend more than passes until then. */
static void look_later(struct slot *s, int64_t left_us, int64_t now_us)
{
    int64_t look_us = now_us + left_us + 1000;
    s->due_us = look_us < s->deadline_us ? look_us : s->deadline_us;
}

/* ---- the end of a worker ---- */

/* SIGKILL; false when the process is already gone, which is as good. */
static bool kill_worker(const struct slot *s)
{
    return pidfd_send_signal(s->worker.pidfd, SIGKILL, NULL, 0) == 0;
}

static void close_socket(struct slot *s)
{
    if (s->worker.sock >= 0)
        close(s->worker.sock);
    s->worker.sock = -1;
}

/* What a job costs is counted over its workers. */
static void charge(struct slot *s)
{
    int64_t us = cpu_us_of(s);
    if (s->state == SLOT_BUSY && us > s->cpu_begin_us)
        s->job.cpu_us += us - s->cpu_begin_us;
}

static void die(struct slot *s, struct slot_context *c, enum slot_cause cause, int64_t now_us)
{
    charge(s);
    if (cause == SLOT_CAUSE_DEADLINE)
        c->counters.n_killed_deadline++;
    else if (cause == SLOT_CAUSE_RECYCLE)
        c->counters.n_recycled++;
    else
        c->counters.n_died++;
    if (cause != SLOT_CAUSE_END)
        kill_worker(s);
    close_socket(s);
    s->state = SLOT_DYING;
    s->cause = cause;
    s->dying_since_us = now_us;
    s->due_us = now_us + EXIT_US;
}

static const char *times(const struct slot_job *job)
{
    return job->n_deaths > 1 ? " twice" : "";
}

static void describe_signal(struct slot_job *job, int signo)
{
    const char *name = sigabbrev_np(signo);
    const char *hint =
        signo == SIGSYS ? " (a system call that the sandbox forbids, or abort)" : "";
    err_skip(&job->err, "worker_crash",
             "extraction: the media crashed its sandboxed worker%s with SIG%s%s; keep the "
             "file for a report, the daemon is not affected",
             times(job), name != NULL ? name : "?", hint);
}

static void describe_cpu(struct slot_job *job, const struct pool_options *o)
{
    err_skip(&job->err, "worker_cpu",
             "extraction: the media's worker used more than %lld s of CPU, would not end at "
             "half of that, and was killed; keep the file for a report",
             (long long)o->cpu_seconds);
}

/* What a job is told whose last worker ended with this wait status (-1: unknown). */
static void describe_end(struct slot_job *job, const struct pool_options *o, int status)
{
    int signo = status >= 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signo == SIGXCPU)
        describe_cpu(job, o);
    else if (signo == SIGKILL)
        err_skip(&job->err, "worker_memory",
                 "extraction: the system killed the media's sandboxed worker%s, most likely "
                 "for memory; lower extract.workers or give the service more",
                 times(job));
    else if (signo != 0)
        describe_signal(job, signo);
    else if (status >= 0 && WIFEXITED(status))
        err_skip(&job->err, "worker_crash",
                 "extraction: the media's sandboxed worker exited%s with status %d instead "
                 "of answering",
                 times(job), WEXITSTATUS(status));
    else
        err_skip(&job->err, "worker_crash",
                 "extraction: the media's sandboxed worker vanished%s", times(job));
}

/* A job is tried on two workers at most; the text is about the last loss. */
static void describe_death(struct slot_job *job, enum slot_cause cause,
                           const struct pool_options *o, int status)
{
    char fault[ERR_TEXT_BYTES];
    switch (cause) {
    case SLOT_CAUSE_DEADLINE:
        err_skip(&job->err, "worker_deadline",
                 "extraction: the media took longer than %lld ms%s and its worker was "
                 "killed; raise extract.deadline_ms if such media is legitimate",
                 (long long)o->deadline_ms, times(job));
        break;
    case SLOT_CAUSE_CPU:
        describe_cpu(job, o);
        break;
    case SLOT_CAUSE_MEMORY:
        err_skip(&job->err, "worker_memory",
                 "extraction: the media needs more than %lld bytes of address space; raise "
                 "extract.address_space_bytes if such media is legitimate",
                 (long long)o->address_space_bytes);
        break;
    case SLOT_CAUSE_REPLY:
        memcpy(fault, job->err.text, sizeof(fault));
        err_skip(&job->err, "worker_reply",
                 "extraction: the media's sandboxed worker broke the protocol%s (%s) and was "
                 "killed; keep the file for a report, the daemon is not affected",
                 times(job), fault);
        break;
    case SLOT_CAUSE_END:
    case SLOT_CAUSE_RECYCLE:
        describe_end(job, o, status);
        break;
    }
}

/* The job's worker is lost. CPU time is counted over all of them: a second try is worth it only where
 * at least half of it is left, and what ended by it would do so again. */
static void lose(struct slot *s, struct slot_context *c, int status, int64_t now_us)
{
    struct slot_job *j = &s->job;
    bool is_spent = s->cause == SLOT_CAUSE_CPU || j->cpu_us > signal_us(&c->options) / 2;
    if (++j->n_deaths < TRIES && !is_spent)
        return;
    describe_death(j, s->cause, &c->options, status);
    give_up_media(s, now_us);
}

static int64_t backoff_us(unsigned n_failures, int64_t ceiling_us)
{
    if (n_failures <= 1)
        return 0;
    unsigned doublings = n_failures - 2 < 16 ? n_failures - 2 : 16;
    int64_t us = BACKOFF_US << doublings;
    return us < ceiling_us ? us : ceiling_us;
}

static void schedule(struct slot *s, int64_t now_us)
{
    int64_t ceiling_us = s->err.status == ERR_OK ? BACKOFF_JOB_US : BACKOFF_HELLO_US;
    s->state = SLOT_DOWN;
    s->due_us = now_us + backoff_us(s->n_failures, ceiling_us);
}

/* A worker that did not come up: s->err says why. */
static void start_failed(struct slot *s, struct slot_context *c, int64_t now_us)
{
    s->n_failures++;
    c->n_failed_starts++;
    c->start_err = s->err;
    if (s->job.held && !s->job.finished && ++s->job.n_failed_starts >= FAILED_STARTS) {
        err_retry(&s->job.err, EX_OSERR, "extraction: no worker can be started: %s",
                  s->err.text);
        job_finish(s, now_us);
    }
    schedule(s, now_us);
}

/* The pidfd is readable: the process is gone. */
static void bury(struct slot *s, struct slot_context *c, int64_t now_us)
{
    int status = nursery_reap(&c->nursery, &s->worker);
    close(s->worker.pidfd);
    s->worker.pidfd = -1;
    if (s->n_jobs < 0) {
        if (s->err.status == ERR_OK)
            err_retry(&s->err, EX_OSERR, "a worker ended before its hello (wait status %d)",
                      status);
        start_failed(s, c, now_us);
        return;
    }
    if (s->cause != SLOT_CAUSE_RECYCLE) {
        s->n_failures++;
        if (s->job.held && !s->job.finished)
            lose(s, c, status, now_us);
    }
    schedule(s, now_us);
}

/* ---- the start of a worker ---- */

static void spawn(struct slot *s, struct slot_context *c, int64_t now_us)
{
    err_clear(&s->err);
    s->sandboxed = false;
    if (nursery_spawn(&c->nursery, &s->worker, &s->err) != ERR_OK) {
        start_failed(s, c, now_us);
        return;
    }
    c->counters.n_spawned++;
    s->n_jobs = -1; /* until the hello */
    s->state = SLOT_STARTING;
    s->due_us = now_us + HELLO_US;
}

static int check_filter(const struct slot_context *c, const struct protocol_hello *hello,
                        struct err *err)
{
#ifndef MMF_SANITIZE_BUILD
    if (hello->filter == PROTOCOL_FILTER_SANITIZER)
        return err_fatal(
            err, EX_CONFIG,
            "worker: it is a sanitizer build with a wide filter; install a release "
            "build of metammf-extract");
#endif
    if (hello->filter == PROTOCOL_FILTER_NONE && c->options.require_sandbox)
        return err_fatal(err, EX_CONFIG,
                         "worker: no seccomp filter is in force; set extract.require_sandbox = "
                         "false to decode without it, at your own risk");
    return ERR_OK;
}

static int greet(struct slot *s, struct slot_context *c, size_t n_bytes)
{
    struct protocol_hello hello;
    int status = protocol_parse_hello(c->message, n_bytes, &hello, &s->err);
    if (status == ERR_OK)
        status = check_filter(c, &hello, &s->err);
    if (status == ERR_OK && clock_getcpuclockid(s->worker.pid, &s->cpu_clock) != 0)
        status = err_retry(&s->err, EX_OSERR, "a worker ended after its hello");
    if (status != ERR_OK)
        return status;
    s->sandboxed = hello.filter != PROTOCOL_FILTER_NONE;
    s->landlock_abi = hello.landlock_abi;
    s->state = SLOT_IDLE;
    s->n_jobs = 0;
    err_clear(&c->start_err);
    c->n_failed_starts = 0;
    return ERR_OK;
}

/* ---- work ---- */

/* 0 or an errno. */
static int send_request(const struct slot *s)
{
    struct iovec iov = {.iov_base = s->job.request, .iov_len = s->job.request_bytes};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    memset(&control, 0, sizeof(control));
    if (s->job.media_fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &s->job.media_fd, sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(s->worker.sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    return n == (ssize_t)iov.iov_len ? 0 : EMSGSIZE;
}

/* Gives the held job to the idle worker. Where the system has no memory for the message the job goes
 * back as ours to try again: neither the worker nor the media is at fault. */
static void begin(struct slot *s, struct slot_context *c, int64_t now_us)
{
    s->state = SLOT_BUSY;
    s->busy_since_us = now_us;
    s->deadline_us = now_us + c->options.deadline_ms * 1000;
    s->is_signalled = false;
    look_later(s, signal_us(&c->options) - s->job.cpu_us, now_us);
    int code = allow_cpu(s, &c->options) ? send_request(s) : ESRCH;
    if (err_is_shortage(code)) {
        err_retry(&s->job.err, EX_OSERR, "extraction: hand the media to its worker: %s",
                  strerror(code));
        job_finish(s, now_us);
        s->state = SLOT_IDLE;
    } else if (code != 0) {
        die(s, c, SLOT_CAUSE_END, now_us);
    }
}

int slot_submit(struct slot *s, struct slot_context *c, const struct pool_job *job,
                struct err *err)
{
    assert(s->state == SLOT_IDLE && !s->job.held);
    int media_fd = -1;
    if (job->media_fd >= 0) {
        media_fd = fcntl(job->media_fd, F_DUPFD_CLOEXEC, 0);
        if (media_fd < 0)
            return err_retry(err, EX_OSERR, "worker pool: duplicate the media's descriptor: %s",
                             strerror(errno));
    }
    int64_t now_us = clock_mono_us();
    struct slot_job *j = &s->job;
    j->held = true;
    j->finished = j->lost_media = false;
    j->has_text = job->text.title || job->text.description || job->text.n_tags > 0;
    j->n_deaths = j->n_failed_starts = 0;
    j->cpu_us = 0;
    j->id = job->id;
    j->seq = c->next_seq++;
    j->media_fd = media_fd;
    j->submitted_us = now_us;
    err_clear(&j->err);
    err_clear(&j->media_err);
    j->request_bytes =
        protocol_pack_request(j->seq, media_fd >= 0, job->sha256, &job->text, j->request);
    c->counters.n_jobs++;
    begin(s, c, now_us);
    return ERR_OK;
}

static bool must_recycle(const struct slot *s, const struct slot_context *c)
{
    const struct pool_options *o = &c->options;
    return (o->recycle_jobs > 0 && s->n_jobs >= o->recycle_jobs) ||
           (o->recycle_rss_bytes > 0 && c->reply.rss_bytes >= o->recycle_rss_bytes);
}

/* A worker that leaves without a row had not come to the text yet. */
static void take_reply(struct slot *s, const struct protocol_reply *reply, int64_t now_us)
{
    struct slot_job *j = &s->job;
    j->err = reply->err;
    if (reply->err.status == ERR_OK)
        j->features = reply->features;
    if (j->lost_media)
        judge_text(j);
    else
        j->media_err = reply->media_err;
    if (reply->leaves && j->err.status == ERR_SKIP && !j->lost_media)
        give_up_media(s, now_us);
    else
        job_finish(s, now_us);
}

static void conclude(struct slot *s, struct slot_context *c, size_t n_bytes, int64_t now_us)
{
    struct protocol_reply *reply = &c->reply;
    if (protocol_parse_reply(c->message, n_bytes, s->job.seq, c->nursery.encoders, reply,
                             &s->job.err) != ERR_OK) {
        die(s, c, SLOT_CAUSE_REPLY, now_us);
        return;
    }
    if (reply->err.status == ERR_RETRY && reply->err.exit_code == EX_OSERR) {
        die(s, c, SLOT_CAUSE_MEMORY, now_us);
        return;
    }
    take_reply(s, reply, now_us);
    s->n_jobs++;
    s->n_failures = 0;
    s->state = SLOT_IDLE;
    if (reply->leaves || must_recycle(s, c))
        die(s, c, SLOT_CAUSE_RECYCLE, now_us);
}

/* One message; descriptors that a worker sends are dropped by the kernel, for want of a control
 * buffer, and give it away (MSG_CTRUNC). */
static void receive(struct slot *s, struct slot_context *c, int64_t now_us)
{
    struct iovec iov = {.iov_base = c->message, .iov_len = PROTOCOL_REPLY_BYTES_MAX};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = recvmsg(s->worker.sock, &msg, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        die(s, c, SLOT_CAUSE_END, now_us);
        return;
    }
    bool whole = (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
    if (whole && s->state == SLOT_BUSY) {
        conclude(s, c, (size_t)n, now_us);
    } else if (!whole || s->state != SLOT_STARTING || greet(s, c, (size_t)n) != ERR_OK) {
        if (s->job.held && !s->job.finished)
            err_skip(&s->job.err, "worker_reply", "its message is too long or brings files");
        die(s, c, SLOT_CAUSE_REPLY, now_us);
    }
}

/* ---- the loop's side ---- */

struct pollfd slot_events(const struct slot *s)
{
    struct pollfd p = {.fd = -1, .events = POLLIN};
    if (s->state == SLOT_DYING)
        p.fd = s->worker.pidfd;
    else if (s->state != SLOT_DOWN)
        p.fd = s->worker.sock;
    return p;
}

int64_t slot_due_us(const struct slot *s)
{
    bool rests =
        s->state == SLOT_IDLE || (s->state == SLOT_DOWN && s->is_leaving && !s->job.held);
    return rests ? INT64_MAX : s->due_us;
}

/* Still there EXIT_US after its end was due. SIGKILL waits for a read that cannot be
 * interrupted (a network file system that hangs): then the job goes back as ours to try again,
 * and the slot stays out of service until the kernel lets go. */
static void outlive(struct slot *s, int64_t now_us)
{
    if (kill_worker(s) && s->cause == SLOT_CAUSE_END) {
        err_skip(&s->job.err, "worker_reply", "it closed its socket and went on");
        s->cause = SLOT_CAUSE_REPLY;
    }
    if (s->job.held && !s->job.finished && now_us - s->dying_since_us >= STUCK_US) {
        err_retry(
            &s->job.err, EX_IOERR,
            "extraction: the worker hangs in the kernel and cannot be killed; look at the "
            "file system that holds the media");
        job_finish(s, now_us);
    }
    s->due_us = now_us + EXIT_US;
}

/* What the job has cost is counted over its workers. */
static void look_at_clocks(struct slot *s, struct slot_context *c, int64_t now_us)
{
    int64_t spent_us = s->job.cpu_us + cpu_us_of(s) - s->cpu_begin_us;
    int64_t left_us = kill_us(&c->options) - spent_us;
    if (now_us >= s->deadline_us) {
        die(s, c, SLOT_CAUSE_DEADLINE, now_us);
    } else if (left_us <= 0) {
        die(s, c, SLOT_CAUSE_CPU, now_us);
    } else if (spent_us >= signal_us(&c->options)) {
        if (!s->is_signalled)
            (void)pidfd_send_signal(s->worker.pidfd, SIGXCPU, NULL, 0);
        s->is_signalled = true;
        look_later(s, left_us, now_us);
    } else {
        look_later(s, signal_us(&c->options) - spent_us, now_us);
    }
}

static void serve_due(struct slot *s, struct slot_context *c, int64_t now_us)
{
    switch (s->state) {
    case SLOT_DOWN:
        if (!s->is_leaving || s->job.held)
            spawn(s, c, now_us);
        break;
    case SLOT_STARTING:
        err_retry(&s->err, EX_OSERR, "a worker sent no hello in time");
        die(s, c, SLOT_CAUSE_REPLY, now_us);
        break;
    case SLOT_BUSY:
        look_at_clocks(s, c, now_us);
        break;
    case SLOT_DYING:
        outlive(s, now_us);
        break;
    case SLOT_IDLE:
        break;
    }
}

void slot_tick(struct slot *s, struct slot_context *c, short revents, int64_t now_us)
{
    if (revents != 0 && s->state == SLOT_DYING)
        bury(s, c, now_us);
    else if (revents != 0 && s->state != SLOT_DOWN)
        receive(s, c, now_us);
    if (slot_due_us(s) <= now_us)
        serve_due(s, c, now_us);
    if (s->state == SLOT_IDLE && s->job.held && !s->job.finished)
        begin(s, c, now_us);
}

bool slot_leave(struct slot *s, struct slot_context *c, int64_t now_us)
{
    if (s->state == SLOT_IDLE && !s->job.held)
        die(s, c, SLOT_CAUSE_RECYCLE, now_us);
    return s->state == SLOT_DOWN && !s->job.held;
}

void slot_kill(struct slot *s)
{
    if (s->worker.pidfd >= 0)
        kill_worker(s);
    close_socket(s);
}

void slot_done(struct slot *s, struct slot_context *c)
{
    if (s->worker.pidfd >= 0) {
        struct pollfd p = {.fd = s->worker.pidfd, .events = POLLIN};
        if (poll(&p, 1, 1000) == 1)
            nursery_reap(&c->nursery, &s->worker);
        close(s->worker.pidfd);
    }
    if (s->job.media_fd >= 0)
        close(s->job.media_fd);
    s->job.media_fd = -1;
    free(s->job.request);
    s->job.request = NULL;
}
