#include "judge.h"

#include "played.h"

#include "extract/wire/notes.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libavutil/log.h>

#define CPU_LIMIT_S 40 /* a loop ends here */
#define MISSING     (-2.0)

static int media_of(const struct file *file)
{
    int fd = memfd_create("media", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < file->n_bytes;) {
        ssize_t n = write(fd, file->bytes + at, file->n_bytes - at);
        if (n <= 0)
            abort();
        at += (size_t)n;
    }
    if (fd < 0)
        abort();
    return fd;
}

static atomic_uint n_complaints;

static void count_complaint(void *of, int level, const char *format, va_list args)
{
    (void)of, (void)format, (void)args;
    if (level <= AV_LOG_ERROR)
        atomic_fetch_add(&n_complaints, 1);
}

static void run(struct extractor *x, int fd, struct outcome *ret)
{
    const struct features_text text = {.title = "a clip"};
    const struct rlimit cpu = {CPU_LIMIT_S, CPU_LIMIT_S};
    setrlimit(RLIMIT_CPU, &cpu);
    av_log_set_callback(count_complaint);
    ret->status = extractor_run(x, fd, &text, &ret->f, &ret->err);
    ret->n_complaints = atomic_load(&n_complaints);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

typedef void act(struct extractor *x, int fd, struct outcome *ret);

static void in_a_process(struct extractor *x, const struct file *file, act *what,
                         struct outcome *ret)
{
    struct outcome *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = media_of(file), how = 0;
    struct rusage used;
    if (shared == MAP_FAILED)
        abort();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        what(x, fd, shared);
        _exit(0);
    }
    if (wait4(pid, &how, 0, &used) != pid)
        abort();
    *ret = *shared;
    ret->signal = WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how) != 0 ? -1 : 0;
    ret->cpu_s = seconds(used.ru_utime) + seconds(used.ru_stime);
    munmap(shared, sizeof(*shared));
    close(fd);
}

void judge_extract(struct extractor *x, const struct file *file, struct outcome *ret)
{
    in_a_process(x, file, run, ret);
}

static void play(struct extractor *x, int fd, struct outcome *ret)
{
    struct file file;
    ret->status = ERR_SKIP;
    if (!played_file(fd, &file))
        return;
    run(x, media_of(&file), ret);
}

bool judge_as_played(struct extractor *x, const struct file *file, struct outcome *ret)
{
    in_a_process(x, file, play, ret);
    return ret->signal == 0 && ret->status == ERR_OK;
}

/* The contract's: every departure sets at least one of these, or nothing came of the media at all. */
static bool is_flagged(const struct features_flags *f)
{
    return f->partial || f->degraded || f->capped || f->retimed || f->reason[0] != 0 ||
           (f->n_planned > 0 && f->coverage < 1.0f);
}

static size_t add(char *text, size_t at, size_t n, const char *what, const char *after)
{
    if (at >= n)
        return at;
    return at + (size_t)snprintf(text + at, n - at, "%s%s", what, after);
}

static void print_flags(const struct outcome *o, char *text, size_t n)
{
    const struct features_flags *f = &o->f.flags;
    const struct {
        bool set;
        const char *name;
    } flags[] = {{f->partial, "partial"},
                 {f->degraded, "degraded"},
                 {f->capped, "capped"},
                 {f->retimed, "retimed"}};
    size_t at = 0;
    text[0] = 0;
    if (o->signal != 0 || o->status != ERR_OK) {
        snprintf(text, n, "%s, signal %d", o->err.reason, o->signal);
        return;
    }
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (flags[i].set)
            at = add(text, at, n, flags[i].name, ", ");
    if (f->reason[0] != 0)
        at = add(text, at, n, f->reason, ", ");
    for (unsigned i = 0; i < NOTE_COUNT; i++)
        if (f->notes >> i & 1)
            at = add(text, at, n, note_text((enum note)i)->name, i + 1 < NOTE_COUNT ? " " : "");
    if (at < n)
        snprintf(text + at, n - at, "%s%u/%u frames, coverage %.2f, %u errors",
                 f->notes != 0 ? ", " : "", f->n_frames, f->n_planned, (double)f->coverage,
                 f->n_decode_errors);
}

static double cosine(const struct features *a, const struct features *b, unsigned m)
{
    double dot = 0, aa = 0, bb = 0;
    for (unsigned i = 0; i < a->dim[m]; i++) {
        dot += (double)a->vec[m][i] * (double)b->vec[m][i];
        aa += (double)a->vec[m][i] * (double)a->vec[m][i];
        bb += (double)b->vec[m][i] * (double)b->vec[m][i];
    }
    return aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : 0;
}

/* The nearest of what is right; NAN = there is nothing to compare with. */
static double nearest(const struct outcome *o, const struct expected *expected, unsigned m)
{
    double best = (double)NAN;
    for (unsigned i = 0; i < JUDGE_REFERENCES && o->status == ERR_OK; i++) {
        const struct features *e = expected->of[m][i];
        if (e == NULL)
            continue;
        double c = o->f.mask & MODALITY_BIT(m) ? cosine(&o->f, e, m) : MISSING;
        best = isnan(best) || c > best ? c : best;
    }
    return best;
}

static const char *const names[] = {"right",   "right, flagged", "as played",
                                    "flagged", "UNFLAGGED",      "FALSE ALARM",
                                    "REFUSED", "LOST",           "SLOW"};

const char *verdict_name(enum verdict v)
{
    return names[v];
}

bool verdict_is_fault(enum verdict v)
{
    return v >= VERDICT_UNFLAGGED;
}

struct judgement judge(const struct outcome *o, const struct expected *expected, bool plain)
{
    struct judgement j = {.verdict = VERDICT_LOST};
    bool near = true;
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        j.cosine[m] = nearest(o, expected, m);
        near = near && !(j.cosine[m] < JUDGE_COSINE);
    }
    print_flags(o, j.flags, sizeof(j.flags));
    if (o->signal != 0)
        return j;
    bool flagged = is_flagged(&o->f.flags);
    if (o->cpu_s > JUDGE_CPU_SECONDS)
        j.verdict = VERDICT_SLOW;
    else if (o->status != ERR_OK)
        j.verdict = VERDICT_REFUSED;
    else if (!near)
        j.verdict = flagged ? VERDICT_FLAGGED : VERDICT_UNFLAGGED;
    else if (flagged)
        j.verdict = plain ? VERDICT_FALSE_ALARM : VERDICT_RIGHT_FLAGGED;
    else
        j.verdict = VERDICT_RIGHT;
    return j;
}
