/* metammf extract: features of one media file or of a folder, by the sandboxed workers, nothing
 * stored. Here: the arguments, and one file. */
#include "daemon/cli/extract/extract.h"

#include "daemon/base/reasons.h"
#include "extract/wire/layout.h"
#include "extract/wire/notes.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    OPTION_TITLE = 256,
    OPTION_DESCRIPTION,
    OPTION_TAG,
    OPTION_LANG,
    OPTION_OUT,
    OPTION_NPY,
    OPTION_EXPLAIN
};

static const struct argp_option options[] = {
    {"title", OPTION_TITLE, "TEXT", 0, "The clip's title, for the textual vector", 0},
    {"description", OPTION_DESCRIPTION, "TEXT", 0, "Its description", 0},
    {"tag", OPTION_TAG, "WORD", 0, "One of its tags; may be repeated", 0},
    {"lang", OPTION_LANG, "CODE", 0, "Language of the text, e.g. en", 0},
    {"workers", 'j', "N", 0,
     "Decode N clips at a time (the settings' extract.workers; 0 there means one a core)", 0},
    {"out", OPTION_OUT, "FILE", 0, "A folder's lines into FILE; goes on if interrupted", 0},
    {"npy", OPTION_NPY, "DIR", 0, "A folder's vectors as arrays in DIR; goes on likewise", 0},
    {"explain", OPTION_EXPLAIN, NULL, 0,
     "Say what each block of each vector, each flag and each note is, and exit", 0},
    {0}};

static error_t parse_text(struct extract *e, int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case OPTION_TITLE:
        e->text.title = arg;
        return 0;
    case OPTION_DESCRIPTION:
        e->text.description = arg;
        return 0;
    case OPTION_LANG:
        e->text.lang = arg;
        return 0;
    case OPTION_TAG:
        if (e->text.n_tags == EXTRACT_TAGS_MAX)
            argp_error(state, "at most %d tags", EXTRACT_TAGS_MAX);
        else
            e->tags[e->text.n_tags++] = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_extract(int key, char *arg, struct argp_state *state)
{
    struct extract *e = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case 'j':
        e->workers = cli_number(state, "--workers", arg, 1, 256);
        return 0;
    case OPTION_OUT:
        e->out = arg;
        return 0;
    case OPTION_NPY:
        e->npy = arg;
        return 0;
    case OPTION_EXPLAIN:
        e->explain = true;
        return 0;
    case ARGP_KEY_ARG:
        if (e->path)
            argp_error(state, "one file or one folder: what is \"%s\"?", arg);
        e->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!e->path && !e->explain)
            argp_error(state,
                       "which media? Example: metammf extract clip.mp4 --title \"a cat\"");
        if (e->out && e->npy)
            argp_error(state, "either --out or --npy: --npy writes the lines too");
        return 0;
    default:
        return parse_text(e, key, arg, state);
    }
}

static const struct argp argp = {
    options,
    parse_extract,
    "MEDIA|FOLDER",
    "Extracts the features of a media file, or of every file below a folder.\v"
    "Files are decoded in the sandboxed workers that the daemon uses; nothing is stored. "
    "With --json: {\"modalities\": {\"visual\": {\"encoder_id\", \"dim\", \"vec\"}, ...}, "
    "\"flags\": {...}}. A folder gives one JSON object a line, in the order of names, with "
    "\"path\", and for a file that cannot be decoded \"reason\" and \"error\" instead. Exit "
    "code 65 when a file cannot be decoded; in a folder, when none can. With a title, a "
    "description or tags it is no failure: the result is of the text alone, flags.reason says "
    "why, and media_error in words.\n\n"
    "--out FILE writes the lines to FILE, each with a \"key\" of what it depends on: path, "
    "size and time of the clip, encoders, text. Results are kept in FILE.part as they come; "
    "a run that was interrupted, even by kill -9, goes on where it stopped, and a later run "
    "only looks at clips that are new or changed. The result is the same as without "
    "interruption. Failures are kept too, but for files that could not be opened; remove "
    "FILE to begin afresh.\n\n"
    "--npy DIR does the same in DIR/features.ndjson, then writes visual.npy, acoustic.npy "
    "and textual.npy, (clips, dim) float32 with rows of zeros where a modality is missing, "
    "mask.npy, (clips, 3), 1 where it is not, and ids.txt, line n the clip of row n, its "
    "path below the folder. Clips that failed have no row.\n\n"
    "Examples:\n"
    "  metammf extract clip.mp4 --title \"a cat on a piano\" --json\n"
    "  metammf extract ~/videos > features.ndjson\n"
    "  metammf extract ~/videos --out features.ndjson\n"
    "  metammf extract ~/videos --npy features/",
    cli_common,
    NULL,
    NULL};

/* ---- output ------------------------------------------------------------------------------ */

static void print_notes(const struct features_flags *g)
{
    const char *head = "notes";

    for (unsigned i = 0; i < NOTE_COUNT; i++) {
        if (!(g->notes >> i & 1))
            continue;
        printf("  %-9s %s\n", head, note_text((enum note)i)->what);
        head = "";
    }
}

static int print_text(const char *path, const struct pool_result *r)
{
    const struct features *f = &r->features;
    const struct features_flags *g = &f->flags;

    printf("%s: %.1f s, %ux%u, %s %s %s, described in %.1f ms\n", cli_text(path),
           g->duration_ms / 1e3, g->width, g->height,
           cli_text(g->container[0] ? g->container : "-"),
           cli_text(g->video_codec[0] ? g->video_codec : "no picture"),
           cli_text(g->audio_codec[0] ? g->audio_codec : "no sound"),
           (double)f->extract_us / 1e3);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if (f->mask & MODALITY_BIT(m))
            printf("  %-9s %4u numbers, %s\n", modality_name((enum modality)m), f->dim[m],
                   f->encoder_id[m]);
        else
            printf("  %-9s missing\n", modality_name((enum modality)m));
    }
    printf("  %u of %u frames, coverage %.2f, largest gap %u ms, %u keyframes%s%s%s%s\n",
           g->n_frames, g->n_planned, (double)g->coverage, g->max_gap_ms, g->n_keyframes,
           g->partial ? ", partial" : "", g->degraded ? ", degraded" : "",
           g->capped ? ", capped" : "", g->retimed ? ", retimed" : "");
    print_notes(g);
    if (r->media_err.status != ERR_OK)
        printf("  %s: %s\n  The result is of the text alone.\n", r->media_err.reason,
               cli_text(r->media_err.text));
    return cli_finish();
}

/* ---- one clip ----------------------------------------------------------------------------- */

static int extract_one(struct extract *e, struct err *err)
{
    struct pool_result result;
    struct pool *pool = NULL;
    int fd = -1, code, r = extract_open_media(e->path, &fd, err);

    if (r)
        return r;
    r = extract_open_pool(e->input.cli, 1, &pool, err);
    if (r) {
        close(fd);
        return r;
    }
    const struct pool_job job = {.id = 0, .media_fd = fd, .text = e->text};
    r = pool_submit(pool, &job, err);
    while (r == ERR_OK && !pool_wait(pool, -1, 1000, &result))
        ;
    pool_close(pool);
    close(fd);
    if (r == ERR_OK && result.err.status != ERR_OK)
        return err_fatal(err, result.err.status == ERR_SKIP ? EX_DATAERR : EX_TEMPFAIL,
                         "%s: %s (%s)", e->path, result.err.text,
                         result.err.reason[0] ? result.err.reason : "try again");
    if (r)
        return r;
    if (e->input.cli->json) {
        char *shown = extract_shown(e->path);

        code = cli_print_json_line(shown ? extract_json(shown, NULL, &result) : NULL);
        free(shown);
    } else {
        code = print_text(e->path, &result);
    }
    return code == 0 ? ERR_OK : err_fatal(err, code, "%s: result not printed", e->path);
}

/* ---- what the numbers are ----------------------------------------------------------------- */

/* {flag: what}. */
static json_t *json_flags(void)
{
    json_t *all = json_object();

    for (size_t i = 0; all && i < NOTE_FLAGS; i++)
        (void)json_object_set_new(all, note_flags[i].name, json_string(note_flags[i].what));
    return all;
}

/* {note: {flag, what}}, flag "" = it sets none. */
static json_t *json_notes(void)
{
    json_t *all = json_object();

    for (unsigned i = 0; all && i < NOTE_COUNT; i++) {
        const struct note_text *t = note_text((enum note)i);
        (void)json_object_set_new(all, t->name,
                                  json_pack("{s:s, s:s}", "flag", t->flag, "what", t->what));
    }
    return all;
}

/* What layout_explain and notes_explain print, {modality: {encoder_id, dim, blocks: […]}, flags,
 * notes}; NULL without memory. */
static json_t *json_layout(void)
{
    json_t *all = json_pack("{s:o, s:o}", "flags", json_flags(), "notes", json_notes());

    for (enum modality m = 0; all && m < MODALITY_COUNT; m++) {
        const struct encoder_identity e = layout_identity(m);
        json_t *blocks = json_array();
        size_t n;
        const struct layout_block *b = layout_blocks(m, &n);

        for (size_t i = 0; i < n; i++)
            (void)json_array_append_new(
                blocks,
                json_pack("{s:s, s:i, s:i, s:f, s:s, s:s}", "name", b[i].name, "offset",
                          (int)layout_offset(m, i), "dim", (int)b[i].dim, "weight",
                          (double)b[i].weight, "what", b[i].what, "source", b[i].source));
        (void)json_object_set_new(all, modality_name(m),
                                  json_pack("{s:s, s:i, s:o}", "encoder_id", e.id, "dim",
                                            (int)e.dim, "blocks", blocks));
    }
    return all;
}

static int explain(const struct cli *cli)
{
    if (cli->json)
        return cli_print_json(json_layout());
    return layout_explain(stdout) == 0 && putchar('\n') == '\n' && notes_explain(stdout) == 0
               ? cli_finish()
               : EX_IOERR;
}

int cli_extract(struct cli *cli, int argc, char **argv)
{
    struct extract e = {.input.cli = cli};
    struct stat info;
    struct err err;
    int r;

    e.text.tags = e.tags;
    cli_parse(&argp, argc, argv, &e.input);
    err_clear(&err);
    if (e.explain)
        return explain(cli);
    if (stat(e.path, &info) != 0)
        r = err_fatal(&err, EX_NOINPUT, "%s: %s", e.path, strerror(errno));
    else if (S_ISDIR(info.st_mode))
        r = extract_folder(&e, &err);
    else if (e.out || e.npy)
        r = err_fatal(&err, EX_USAGE, "%s: --out and --npy are for folders", e.path);
    else
        r = extract_one(&e, &err);
    return r == ERR_OK ? cli_finish() : cli_fail(&err);
}
