#ifndef MMF_DAEMON_CLI_EXTRACT_EXTRACT_H
#define MMF_DAEMON_CLI_EXTRACT_EXTRACT_H

/* metammf extract, from below upwards: item.c (what one clip needs), out.c (results kept in files,
 * so that an interrupted run goes on where it stopped), npy.c (arrays made of these), folder.c
 * (every file below a folder through the pool), extract.c (arguments, one clip). */

#include "daemon/cli/cli.h"
#include "extract/pool/pool.h"

#include <limits.h>

#define EXTRACT_TAGS_MAX  64
#define EXTRACT_KEY_BYTES 17     /* with the NUL */
#define EXTRACT_UNREAD    "open" /* reason of a file that could not be opened */

struct extract {
    struct cli_input input; /* first */
    const char *path;
    struct features_text text;
    const char *tags[EXTRACT_TAGS_MAX];
    int64_t workers;
    const char *out, *npy; /* --out, --npy; NULL = standard output */
    bool explain;
};

/* One file of a folder. */
struct extract_file {
    char *path;
    char *shown;                 /* extract_shown */
    char key[EXTRACT_KEY_BYTES]; /* of all that its line depends on; "" = not asked for */
};

struct extract_files {
    struct extract_file *items; /* (n) in order of names */
    size_t n, room;
};

struct json_t;
struct store;
struct extract_out;

/* path in UTF-8: in one that is not, each byte above 127 is written \xNN. malloc'ed, NULL when
 * memory is out. */
char *extract_shown(const char *path);
/* One object: path, key unless NULL, then modalities and flags (and media_error, when these are of
 * the text alone), or reason and error. */
struct json_t *extract_json(const char *path, const char *key, const struct pool_result *r);
int extract_open_pool(struct cli *cli, int64_t workers, struct pool **ret_pool,
                      struct err *err);
/* A regular file, ERR_FATAL EX_NOINPUT otherwise; a FIFO does not hang. */
int extract_open_media(const char *path, int *ret_fd, struct err *err);
/* How many items have features of other encoders than the workers'. Starts one to ask it; -1, and
 * a line on standard error, when that fails. */
int64_t extract_count_stale(struct cli *cli, struct store *st);
int extract_folder(struct extract *e, struct err *err);

/* Files of results. e and files are borrowed. ERR_RETRY EX_TEMPFAIL when another run has them
 * open. */
int extract_out_open(const struct extract *e, const struct extract_files *files,
                     struct extract_out **ret_out, struct err *err);
/* Whether file i has its line already; how many have; how many of these are failures. */
bool extract_out_has(const struct extract_out *out, size_t i);
size_t extract_out_n(const struct extract_out *out);
size_t extract_out_n_failed(const struct extract_out *out);
/* Keeps the line (without its end) of file i, at once. */
int extract_out_add(struct extract_out *out, size_t i, const char *line, bool failed,
                    struct err *err);
/* The line of file i, which it must have, without its end; malloc'ed. */
int extract_out_line(const struct extract_out *out, size_t i, char **ret_line, struct err *err);
bool extract_out_failed(const struct extract_out *out, size_t i);
/* Every file has its line: writes them in order, whole or not at all. */
int extract_out_write(const struct extract_out *out, struct err *err);
/* Everything is written: the journal goes. */
int extract_out_end(struct extract_out *out, struct err *err);
void extract_out_close(struct extract_out *out); /* takes NULL */

/* The arrays of --npy, of files that all have their line. encoders (MODALITY_COUNT): their columns. */
int extract_npy_write(const struct extract *e, const struct encoder_identity *encoders,
                      const struct extract_files *files, const struct extract_out *out,
                      struct err *err);

#endif
