/* Extraction judged by what came out: clips are made in every way that a camera, an encoder, a
 * network or a muxer may spoil them, and the vectors of each are compared with those of the plain
 * clip of the same film. Each is near (cosine ≥ .95 per modality) or flagged (partial, degraded,
 * capped, retimed, coverage below 1); damage of which FFmpeg said
 * nothing is compared with what the whole clip plays as; what is neither is a fault, and so is a crash, a file that
 * becomes no row though it has a title, and more than 11 s of CPU.
 *
 * usage: test_property [--seed N] [--count K | --all] [--family NAME] [--only NAME] [--keep DIR]
 *                      [--list] [--selftest] [--report] [-v]
 *   --count K    a sample of K variants by the seed (1000); --all: each of them
 *   --only NAME  those whose name has NAME in it; --family NAME one family
 *   --keep DIR   keeps the clips that fail, and what they are compared with
 *   --list       names alone
 *   --selftest   compares with another film: every variant must be seen as a fault or flagged
 *   --report     the tables, and exit 0 all the same
 *   -v           a line a variant, not for the faults alone
 * Exit: 0 = no fault, 1 = faults, 64 = usage, 77 = nothing could be made. */

#include "film.h"
#include "judge.h"
#include "variants.h"

#include "../integration/mutate.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <libavutil/log.h>

#define FAMILIES_MAX   40
#define REFERENCES_MAX 160

struct family {
    const char *name;
    unsigned n[VERDICT_COUNT];
    unsigned n_made, n_left_out;
    double worst[MODALITY_COUNT]; /* of what has no flag */
    double cpu_s;                 /* the most */
};

struct reference {
    char name[256];
    struct features f;
    bool there;
};

struct test {
    struct extractor *extractor;
    struct family families[FAMILIES_MAX];
    unsigned n_families;
    struct reference references[REFERENCES_MAX];
    unsigned n_references;
    uint64_t seed;
    const char *keep, *only, *family;
    unsigned count;
    bool all, list, selftest, report, verbose;
};

const char *__lsan_default_suppressions(void);
/* Encoders keep tables of their own; what is tested keeps none. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libx265\nleak:libSvtAv1\nleak:libaom\n";
}

static struct family *family_of(struct test *t, const char *name)
{
    for (unsigned i = 0; i < t->n_families; i++)
        if (!strcmp(t->families[i].name, name))
            return &t->families[i];
    if (t->n_families == FAMILIES_MAX)
        abort();
    t->families[t->n_families] = (struct family){.name = name, .worst = {1, 1, 1}};
    return &t->families[t->n_families++];
}

static void keep_file(const struct test *t, const char *name, const struct file *f)
{
    char path[512];
    if (t->keep == NULL)
        return;
    int n = snprintf(path, sizeof(path), "%s/", t->keep);
    snprintf(path + n, sizeof(path) - (size_t)n, "%s", name);
    for (char *p = path + n; *p != 0; p++)
        *p = *p == '/' || *p == ' ' ? '_' : *p;
    FILE *out = fopen(path, "wb");
    if (out == NULL || fwrite(f->bytes, 1, f->n_bytes, out) != f->n_bytes || fclose(out) != 0)
        perror(path);
}

static void name_of(const struct variant *plain, char name[256])
{
    const struct coding *c = &plain->coding;
    const struct sound *s = &plain->sound;
    if (c->encoder != NULL)
        snprintf(name, 256, "plain-%s-%s-gop%d-%ds-%s-film%u.%s", c->encoder,
                 c->pixels != NULL ? c->pixels : "", c->gop, c->seconds,
                 c->one_palette ? "palette" : "", c->film, plain->container);
    else
        snprintf(name, 256, "plain-%s-%d-%ds-film%u.%s", s->encoder, s->rate_hz, s->seconds,
                 s->film, plain->container);
}

/* The plain clip's features, extracted once. NULL: it cannot be made, or has none. */
static const struct features *reference(struct test *t, const struct variant *plain,
                                        enum modality m)
{
    char name[256];
    struct file file;
    struct outcome o;
    name_of(plain, name);
    for (unsigned i = 0; i < t->n_references; i++)
        if (!strcmp(t->references[i].name, name))
            return t->references[i].there ? &t->references[i].f : NULL;
    if (t->n_references == REFERENCES_MAX)
        abort();
    struct reference *r = &t->references[t->n_references++];
    snprintf(r->name, sizeof(r->name), "%s", name);
    if (!variant_file(plain, t->seed, &file))
        return NULL;
    judge_extract(t->extractor, &file, &o);
    r->there = o.signal == 0 && o.status == ERR_OK && (o.f.mask & MODALITY_BIT(m)) != 0;
    r->f = o.f;
    keep_file(t, name, &file);
    free(file.bytes);
    return r->there ? &r->f : NULL;
}

static void expect(struct test *t, const struct variant *v, struct expected *ret)
{
    struct variant plain;
    *ret = (struct expected){0};
    for (unsigned m = 0; m < MODALITY_COUNT; m++)
        for (unsigned i = 0; i < JUDGE_REFERENCES; i++) {
            if (!variant_reference(v, (enum modality)m, i, &plain))
                continue;
            if (t->selftest)
                plain.coding.film = plain.sound.film = 1;
            ret->of[m][i] = reference(t, &plain, (enum modality)m);
        }
}

static void print_cosine(double c)
{
    if (isnan(c))
        printf("      –");
    else if (c < -1.5)
        printf(" absent");
    else
        printf(" %6.3f", c);
}

static void note(struct test *t, const struct variant *v, const struct judgement *j,
                 const struct outcome *o)
{
    struct family *f = family_of(t, v->family);
    f->n[j->verdict]++;
    f->n_made++;
    f->cpu_s = o->cpu_s > f->cpu_s ? o->cpu_s : f->cpu_s;
    bool silent = j->verdict == VERDICT_RIGHT || j->verdict == VERDICT_UNFLAGGED;
    for (unsigned m = 0; m < MODALITY_COUNT && silent; m++)
        if (!isnan(j->cosine[m]) && j->cosine[m] < f->worst[m])
            f->worst[m] = j->cosine[m];
    if (!t->verbose && !verdict_is_fault(j->verdict))
        return;
    printf("%-14s %-64s", verdict_name(j->verdict), v->name);
    print_cosine(j->cosine[MODALITY_VISUAL]);
    print_cosine(j->cosine[MODALITY_ACOUSTIC]);
    printf("  %5.2f s  %s\n", o->cpu_s, j->flags);
}

/* Damage that the codec has no means to see is what the clip shows now. */
static void hear_the_player(struct test *t, const struct file *file, const struct outcome *o,
                            struct expected *expected, struct judgement *j)
{
    struct outcome played;
    size_t n = strlen(j->flags);
    if (o->n_complaints > 0) {
        snprintf(j->flags + n, sizeof(j->flags) - n, "; FFmpeg complained %u times",
                 o->n_complaints);
        return;
    }
    if (!judge_as_played(t->extractor, file, &played))
        return;
    for (unsigned m = 0; m < MODALITY_COUNT; m++)
        for (unsigned i = 0; i < JUDGE_REFERENCES; i++)
            if (expected->of[m][i] != NULL && (played.f.mask & MODALITY_BIT(m)))
                expected->of[m][i] = &played.f;
    struct judgement again = judge(o, expected, false);
    if (!(again.cosine[MODALITY_VISUAL] >= JUDGE_PLAYED) ||
        again.cosine[MODALITY_ACOUSTIC] < JUDGE_COSINE) {
        snprintf(j->flags + n, sizeof(j->flags) - n, "; %.3f of what it plays as",
                 again.cosine[MODALITY_VISUAL]);
        return;
    }
    *j = again;
    j->verdict = VERDICT_AS_PLAYED;
}

static void try_variant(struct test *t, const struct variant *v)
{
    struct file file;
    struct outcome o;
    struct expected expected;
    expect(t, v, &expected);
    if (!variant_file(v, t->seed, &file)) {
        family_of(t, v->family)->n_left_out++;
        if (t->verbose)
            printf("%-14s %-64s  %s\n", "left out", v->name, clip_why());
        return;
    }
    judge_extract(t->extractor, &file, &o);
    struct judgement j = judge(&o, &expected, v->plain && !t->selftest);
    if (j.verdict == VERDICT_UNFLAGGED && v->may_hide && !t->selftest)
        hear_the_player(t, &file, &o, &expected, &j);
    note(t, v, &j, &o);
    if (verdict_is_fault(j.verdict) && !t->selftest) {
        char name[VARIANT_NAME_MAX + 8];
        snprintf(name, sizeof(name), "%s.%s", v->name, v->container);
        keep_file(t, name, &file);
    }
    free(file.bytes);
}

static void print_row(const struct family *f)
{
    const unsigned *n = f->n;
    printf("| %s | %u | %u | %u | %u | %u | %u | %u | %u | ", f->name, f->n_made,
           n[VERDICT_RIGHT], n[VERDICT_RIGHT_FLAGGED], n[VERDICT_AS_PLAYED], n[VERDICT_FLAGGED],
           n[VERDICT_UNFLAGGED], n[VERDICT_FALSE_ALARM],
           n[VERDICT_REFUSED] + n[VERDICT_LOST] + n[VERDICT_SLOW]);
    for (unsigned m = 0; m < 2; m++) {
        double c = f->worst[m == 0 ? MODALITY_VISUAL : MODALITY_ACOUSTIC];
        if (c < -1.5)
            printf("absent | ");
        else
            printf("%.3f | ", c);
    }
    printf("%.2f | %u |\n", f->cpu_s, f->n_left_out);
}

/* A table of Markdown, as docs/measured/property.md has it; returns the number of faults. */
static unsigned print_table(const struct test *t)
{
    struct family sum = {.name = "**all**", .worst = {1, 1, 1}};
    unsigned n_faults = 0;
    printf(
        "\n| Family | Variants | Right | Right, flagged | As played | Further, flagged | "
        "**Unflagged** | "
        "False alarm | Refused, lost, slow | Worst without a flag: picture | Sound | Most CPU, "
        "s | Left out |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < t->n_families; i++) {
        const struct family *f = &t->families[i];
        print_row(f);
        for (unsigned v = 0; v < VERDICT_COUNT; v++) {
            sum.n[v] += f->n[v];
            n_faults += verdict_is_fault((enum verdict)v) ? f->n[v] : 0;
        }
        sum.n_made += f->n_made;
        sum.n_left_out += f->n_left_out;
        sum.cpu_s = f->cpu_s > sum.cpu_s ? f->cpu_s : sum.cpu_s;
        for (unsigned m = 0; m < MODALITY_COUNT; m++)
            sum.worst[m] = f->worst[m] < sum.worst[m] ? f->worst[m] : sum.worst[m];
    }
    print_row(&sum);
    printf("\n%u variants, %u faults (%u unflagged); seed %llu\n", sum.n_made, n_faults,
           sum.n[VERDICT_UNFLAGGED], (unsigned long long)t->seed);
    return n_faults;
}

/* ---- which ---- */

static bool is_asked_for(const struct test *t, const struct variant *v)
{
    return (t->only == NULL || strstr(v->name, t->only) != NULL) &&
           (t->family == NULL || strcmp(v->family, t->family) == 0);
}

/* Keeps `count` of them by the seed, in the list's order: codings in a row are made once. */
static void take_sample(const struct test *t, bool *chosen, size_t n)
{
    uint64_t random = t->seed;
    size_t left = 0, want = t->count;
    for (size_t i = 0; i < n; i++)
        left += chosen[i];
    for (size_t i = 0; i < n; i++) {
        if (!chosen[i])
            continue;
        chosen[i] = mutate_random(&random) % left < want;
        want -= chosen[i];
        left--;
    }
}

static size_t run(struct test *t, const struct variants *v)
{
    bool *chosen = calloc(v->n, sizeof(*chosen));
    size_t n = 0;
    if (chosen == NULL)
        abort();
    for (size_t i = 0; i < v->n; i++)
        chosen[i] = is_asked_for(t, &v->list[i]);
    if (!t->all && t->only == NULL && t->family == NULL)
        take_sample(t, chosen, v->n);
    for (size_t i = 0; i < v->n; i++) {
        if (!chosen[i])
            continue;
        n++;
        if (t->list)
            printf("%s\n", v->list[i].name);
        else
            try_variant(t, &v->list[i]);
        fflush(stdout);
    }
    free(chosen);
    return n;
}

static int read_options(struct test *t, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"count", required_argument, NULL, 'c'},
        {"all", no_argument, NULL, 'a'},        {"family", required_argument, NULL, 'f'},
        {"only", required_argument, NULL, 'o'}, {"keep", required_argument, NULL, 'k'},
        {"list", no_argument, NULL, 'l'},       {"selftest", no_argument, NULL, 't'},
        {"report", no_argument, NULL, 'r'},     {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "v", options, NULL)) >= 0;)
        switch (c) {
        case 's':
            t->seed = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            t->count = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            t->family = optarg;
            break;
        case 'o':
            t->only = optarg;
            break;
        case 'k':
            t->keep = optarg;
            break;
        case 'a':
            t->all = true;
            break;
        case 'l':
            t->list = true;
            break;
        case 't':
            t->selftest = true;
            break;
        case 'r':
            t->report = true;
            break;
        case 'v':
            t->verbose = true;
            break;
        default:
            return EX_USAGE;
        }
    return optind == argc ? 0 : EX_USAGE;
}

/* With another film's vectors, whatever was right must be a fault now. */
static int selftest(const struct test *t)
{
    unsigned n_right = 0, n_caught = 0;
    for (unsigned i = 0; i < t->n_families; i++) {
        n_right += t->families[i].n[VERDICT_RIGHT] + t->families[i].n[VERDICT_RIGHT_FLAGGED];
        n_caught += t->families[i].n[VERDICT_UNFLAGGED];
    }
    printf("self-test: another film: %u faults seen, %u taken for right\n", n_caught, n_right);
    return n_right == 0 && n_caught > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct test t = {.seed = 1, .count = 1000};
    struct variants v;
    struct extractor_options options;
    struct err err;
    if (read_options(&t, argc, argv) != 0) {
        fprintf(stderr, "usage: test_property [--seed N] [--count K | --all] [--family NAME] "
                        "[--only NAME] [--keep DIR] [--list] [--selftest] [--report] [-v]\n");
        return EX_USAGE;
    }
    extractor_options_init(&options);
    if (extractor_new(&options, &t.extractor, &err) != ERR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return err.exit_code;
    }
    av_log_set_level(AV_LOG_QUIET);
    variants_make(&v);
    size_t n = run(&t, &v);
    unsigned n_faults = t.list ? 0 : print_table(&t);
    int code = n == 0 ? EX_USAGE : t.selftest ? selftest(&t) : n_faults > 0 && !t.report;
    variants_free(&v);
    variant_cache_free();
    film_end();
    extractor_free(t.extractor);
    return code;
}
