/* metammf-extract: the daemon's decoder, and the demo's clip maker, so that neither the daemon
 * nor the command line links FFmpeg.
 *
 *   metammf-extract --pool [--encoder MODALITY=NAME ...]
 *                                                   for the daemon only (zygote.h)
 *   metammf-extract --make-clips DIR N [--seed S]   N small clips with sound; NDJSON on stdout
 *   metammf-extract --version
 *
 * Example: `metammf-extract --make-clips /tmp/clips 2` prints
 * {"file": "clip-000.mp4", "title": "Harbour boats at dusk, take 1 #harbour #sea", "scene": 0} */
#include "config/modality.h"
#include "config/version.h"
#include "extract/media/clipmaker.h"
#include "extract/worker/zygote.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#define CLIPS_MAX 10000

enum { KEY_POOL = 1000, KEY_ENCODER, KEY_MAKE_CLIPS, KEY_SEED };

struct arguments {
    bool pool;
    const char *encoder[MODALITY_COUNT]; /* names; NULL = not given */
    const char *clips_dir;
    uint64_t n_clips, seed;
    unsigned n_words;
};

struct scene {
    const char *subject, *hashtags;
};

/* Clips of one scene look, sound and read alike; the demo's `similar` shows it. */
static const struct scene scenes[] = {
    {"Harbour boats at dusk", "#harbour #sea"},
    {"Street drummers in the old town", "#street #drums"},
    {"Grandma's noodle soup, step by step", "#cooking #noodles"},
    {"My cat against the vacuum cleaner", "#cat #funny"},
};
#define N_SCENES (sizeof(scenes) / sizeof(scenes[0]))

static bool parse_number(const char *s, uint64_t max, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno != 0 || end == s || *end != 0 || s[0] == '-' || v > max)
        return false;
    *ret = v;
    return true;
}

/* "visual=builtin". Whether there is an encoder of that name, the zygote says. */
static void parse_encoder(struct arguments *a, const char *arg, struct argp_state *state)
{
    const char *equals = strchr(arg, '=');
    for (int m = 0; equals != NULL && m < MODALITY_COUNT; m++) {
        const char *name = modality_name((enum modality)m);
        size_t n = strlen(name);
        if (n == (size_t)(equals - arg) && strncmp(arg, name, n) == 0) {
            a->encoder[m] = equals + 1;
            return;
        }
    }
    argp_error(state, "--encoder %s: expected visual=NAME, acoustic=NAME or textual=NAME", arg);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case KEY_POOL:
        a->pool = true;
        return 0;
    case KEY_ENCODER:
        parse_encoder(a, arg, state);
        return 0;
    case KEY_MAKE_CLIPS:
        a->clips_dir = arg;
        return 0;
    case KEY_SEED:
        if (!parse_number(arg, UINT64_MAX, &a->seed))
            argp_error(state, "--seed %s: not a whole number", arg);
        return 0;
    case ARGP_KEY_ARG:
        if (a->clips_dir == NULL || a->n_words++ > 0)
            argp_error(state, "%s: one word too many", arg);
        if (!parse_number(arg, CLIPS_MAX, &a->n_clips) || a->n_clips == 0)
            argp_error(state, "--make-clips: %s is not a number from 1 to %d", arg, CLIPS_MAX);
        return 0;
    case ARGP_KEY_END:
        if (a->pool == (a->clips_dir != NULL))
            argp_error(state, "either --pool or --make-clips DIR N");
        if (a->clips_dir != NULL && a->n_clips == 0)
            argp_error(state, "--make-clips %s: how many?", a->clips_dir);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int write_clip(const struct arguments *a, unsigned i)
{
    struct clipmaker_options o;
    struct err err = {0};
    char path[PATH_MAX];
    unsigned n_scenes = a->n_clips < N_SCENES ? (unsigned)a->n_clips : (unsigned)N_SCENES;
    clipmaker_options_init(&o);
    o.seed = a->seed + i;
    o.scene = i % n_scenes;
    int n = snprintf(path, sizeof(path), "%s/clip-%03u.mp4", a->clips_dir, i);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        fprintf(stderr, "metammf-extract: %s: the path is too long\n", a->clips_dir);
        return EX_USAGE;
    }
    if (clipmaker_write(path, &o, &err) != ERR_OK) {
        fprintf(stderr, "metammf-extract: %s\n", err.text);
        return err.exit_code != 0 ? err.exit_code : EX_CANTCREAT;
    }
    const struct scene *s = &scenes[o.scene];
    printf("{\"file\": \"clip-%03u.mp4\", \"title\": \"%s, take %u %s\", \"scene\": %u}\n", i,
           s->subject, i / n_scenes + 1, s->hashtags, o.scene);
    return EX_OK;
}

static void print_version(FILE *out, struct argp_state *state)
{
    (void)state;
    fprintf(out, "metammf-extract %s\n", version_text);
}

static int make_clips(const struct arguments *a)
{
    if (mkdir(a->clips_dir, 0755) != 0 && errno != EEXIST) {
        fprintf(stderr, "metammf-extract: mkdir %s: %s\n", a->clips_dir, strerror(errno));
        return EX_CANTCREAT;
    }
    clipmaker_quiet();
    for (unsigned i = 0; i < a->n_clips; i++) {
        int status = write_clip(a, i);
        if (status != EX_OK)
            return status;
        if (fflush(stdout) != 0) {
            fprintf(stderr, "metammf-extract: standard output: %s\n", strerror(errno));
            return EX_IOERR;
        }
    }
    return EX_OK;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"pool", KEY_POOL, NULL, 0, "Fork sandboxed workers; only the daemon can ask for it",
         0},
        {"encoder", KEY_ENCODER, "MODALITY=NAME", 0,
         "With --pool: what describes a modality (visual=builtin)", 0},
        {"make-clips", KEY_MAKE_CLIPS, "DIR", 0,
         "Write N small clips with sound into DIR and their captions as NDJSON", 0},
        {"seed", KEY_SEED, "S", 0, "Same seed, same clips (default 1)", 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .args_doc = "--pool\n--make-clips DIR N",
        .doc = "Decodes media for metammfd in sandboxed processes.\v"
               "Exit status as in sysexits.h: 64 usage, 73 cannot write, 78 configuration."};
    struct arguments arguments = {.seed = 1};
    argp_program_version_hook = print_version;
    argp_err_exit_status = EX_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    return arguments.pool ? zygote_run(arguments.encoder) : make_clips(&arguments);
}
