/* The shared clips, every one, and the shared broken files: each of the first is extracted, each
 * of the second ends in features or in a reason; three runs give equal bytes; the sampling keeps
 * its guarantee. With --table, prints a line a file, from which the table of formats in
 * docs/extraction.md is made. Skipped (77) where the shared data is absent. */

#include "extract/media/extractor.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct extractor *extractor;
static bool must_extract, print_table;
static unsigned n_files, n_rows, n_refused, n_gaps, n_faults;

static int extract(const char *path, struct features *f, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_retry(err, 66, "open %s", path);
    int status = extractor_run(extractor, fd, NULL, f, err);
    (void)close(fd);
    return status;
}

static void fault(const char *path, const char *what)
{
    n_faults++;
    (void)printf("FAULT %s: %s\n", path, what);
}

/* |sample − target| ≤ τ, to a millisecond, unless a flag says otherwise; coverage below 1 is one:
 * a hole in the clip has no frame to give. */
static bool keeps_guarantee(const struct features_flags *g)
{
    bool flagged = g->partial || g->degraded || g->capped || g->retimed || g->coverage < 1.0f;
    return flagged || g->n_planned == 0 ||
           g->max_gap_ms <= g->duration_ms / (2u * g->n_planned) + 2;
}

static void check_features(const char *path, const struct features *f)
{
    static struct features again;
    struct err err;
    for (int round = 0; round < 2; round++) {
        int status = extract(path, &again, &err);
        again.extract_us = f->extract_us;
        if (status != ERR_OK || memcmp(f, &again, sizeof(*f)) != 0)
            fault(path, "a second run differs");
    }
    bool has_picture = f->flags.video_codec[0];
    bool seen = f->mask & MODALITY_BIT(MODALITY_VISUAL);
    if (must_extract && (f->mask == 0 || has_picture != seen))
        fault(path, "not everything in it was extracted");
    n_gaps += f->flags.max_gap_ms > 0 && f->flags.coverage < 1.0f;
    if (!keeps_guarantee(&f->flags))
        fault(path, "a target without a frame within tau, and no flag");
    if (must_extract && seen && f->flags.coverage < 0.8f)
        fault(path, "targets without a frame");
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    static struct features f;
    struct err err = {0};
    if (type != FTW_F)
        return 0;
    n_files++;
    int status = extract(path, &f, &err);
    if (status == ERR_OK) {
        n_rows++;
        check_features(path, &f);
        if (print_table)
            (void)printf("%-11s %-12s %-8s %5ux%-5u frames %u keys %u audio %u ms%s %s\n",
                         f.flags.container, f.flags.video_codec, f.flags.audio_codec,
                         f.flags.width, f.flags.height, f.flags.n_frames, f.flags.n_keyframes,
                         f.flags.audio_ms, f.flags.partial ? " partial" : "",
                         strrchr(path, '/') + 1);
        return 0;
    }
    n_refused++;
    if (must_extract || status != ERR_SKIP || !err.reason[0])
        fault(path, err.text);
    if (print_table)
        (void)printf("%s: %s: %s\n", strrchr(path, '/') + 1, err.reason, err.text);
    return 0;
}

static bool walk(const char *root, const char *folder, bool good)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", root, folder);
    n_files = n_rows = n_refused = n_gaps = 0;
    must_extract = good;
    if (access(path, R_OK) < 0 || nftw(path, visit, 16, FTW_PHYS) < 0)
        return false;
    (void)printf("%s: %u files, %u rows (%u with coverage below 1), %u refused\n", folder,
                 n_files, n_rows, n_gaps, n_refused);
    return true;
}

int main(int argc, char **argv)
{
    struct extractor_options options;
    struct err err;
    const char *root = getenv("MMF_SHARED_DATA");
    print_table = argc > 1 && !strcmp(argv[1], "--table");
    extractor_options_init(&options);
    if (extractor_new(&options, &extractor, &err) != ERR_OK) {
        (void)printf("%s\n", err.text);
        return 1;
    }
    root = root ? root : MMF_SHARED_DATA_DEFAULT;
    bool found = walk(root, "videos", true) && walk(root, "corrupt", false);
    extractor_free(extractor);
    if (!found) {
        (void)printf("skipped: no shared data at %s\n", root);
        return 77;
    }
    return n_faults ? 1 : 0;
}
