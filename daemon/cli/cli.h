#ifndef MMF_DAEMON_CLI_CLI_H
#define MMF_DAEMON_CLI_CLI_H

/* What the verbs of metammf share. A verb is a function in cli_<verb>.c that parses its own
 * arguments, does its work and returns an exit code of sysexits.h; results go to standard
 * output, everything else to standard error. Third-party types appear as struct tags only. */

#include "config/err.h"
#include "config/settings.h"

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLI_CONFIG "/etc/metammfd/metammfd.conf"

struct json_t;
struct store;

struct cli {
    const char *config, *store; /* --config, --store; NULL = not given */
    bool json;
    bool loaded;
    struct settings settings; /* cli_load */
    struct err file_error;    /* cli_load_to_read: what is wrong with the file */
};

struct cli_verb {
    const char *name, *what;
    int (*run)(struct cli *cli, int argc, char **argv);
};

int cli_backup(struct cli *cli, int argc, char **argv);
int cli_demo(struct cli *cli, int argc, char **argv);
int cli_dlq(struct cli *cli, int argc, char **argv);
int cli_doctor(struct cli *cli, int argc, char **argv);
int cli_event(struct cli *cli, int argc, char **argv);
int cli_eval(struct cli *cli, int argc, char **argv);
int cli_explain(struct cli *cli, int argc, char **argv);
int cli_export(struct cli *cli, int argc, char **argv);
int cli_extract(struct cli *cli, int argc, char **argv);
int cli_forget(struct cli *cli, int argc, char **argv);
int cli_fuse(struct cli *cli, int argc, char **argv);
int cli_get(struct cli *cli, int argc, char **argv);
int cli_import(struct cli *cli, int argc, char **argv);
int cli_ingest(struct cli *cli, int argc, char **argv);
int cli_judge(struct cli *cli, int argc, char **argv);
int cli_model(struct cli *cli, int argc, char **argv);
int cli_recommend(struct cli *cli, int argc, char **argv);
int cli_reextract(struct cli *cli, int argc, char **argv);
int cli_report(struct cli *cli, int argc, char **argv);
int cli_restore(struct cli *cli, int argc, char **argv);
int cli_similar(struct cli *cli, int argc, char **argv);
int cli_settings(struct cli *cli, int argc, char **argv);
int cli_snapshot(struct cli *cli, int argc, char **argv);
int cli_status(struct cli *cli, int argc, char **argv);
int cli_top(struct cli *cli, int argc, char **argv);
int cli_train(struct cli *cli, int argc, char **argv);
int cli_verify(struct cli *cli, int argc, char **argv);

/* The options that every verb takes too: --config, --store, --json; a child of each verb's argp,
 * with the struct cli as its input (state->child_inputs[0]). */
extern const struct argp_child cli_common[];
/* Parses a verb's arguments. what input->cli must be is the first member of *input: struct cli
 * pointer. Exits 64 on a usage error and 0 after --help, as argp does. */
struct cli_input {
    struct cli *cli;
};
void cli_parse(const struct argp *argp, int argc, char **argv, struct cli_input *input);
/* For a verb's parser: hands the common options on. True when the key was ARGP_KEY_INIT. */
bool cli_parse_init(int key, struct argp_state *state);
/* A number within [min, max]; argp_error otherwise. */
int64_t cli_number(struct argp_state *state, const char *what, const char *text, int64_t min,
                   int64_t max);

/* The settings: --config's file, or defaults with --store's path, or both. */
int cli_load(struct cli *cli, struct err *err);
/* For who only reads: a fault in the file is told on standard error, and ends nothing. */
int cli_load_to_read(struct cli *cli, struct err *err);
/* STORE_READ, after cli_load_to_read. */
int cli_open_store(struct cli *cli, struct store **ret_st, struct err *err);

/* "metammf: text" on standard error; returns the exit code, never 0. */
int cli_fail(const struct err *err);
enum { CLI_TEXTS = 16 };
/* What others wrote (ids, titles, names of files, words of libraries), as text_print would print it, for
 * printf. It lasts for CLI_TEXTS - 1 further calls. In daemon/cli no such text gets to a stream otherwise. */
const char *cli_text(const char *text);
/* The same of a field of a JSON object, "" when it has no such text. */
const char *cli_field(const struct json_t *object, const char *name);
/* JSON as it is printed, malloc'ed: what is unseen (config/text.h) stands in it as \uXXXX. NULL = no memory. */
char *cli_json_text(const struct json_t *value, size_t flags);
/* Prints one JSON value and a newline, drops the reference; returns the exit code. NULL = out of
 * memory. Floats with 9 digits: every float32 reads back as it was. */
int cli_print_json(struct json_t *value);
/* The same on one line. */
int cli_print_json_line(struct json_t *value);
/* Flushes standard output; returns the exit code. */
int cli_finish(void);
/* A new array of n floats. */
struct json_t *cli_json_floats(const float *vec, size_t n);
/* malloc'ed, NULL when memory is out. */
char *cli_base64(const void *data, size_t bytes);

/* Terminal colours: "" unless `fd` is a terminal and NO_COLOR is unset. */
struct cli_paint {
    const char *good, *bad, *dim, *bold, *off;
};
struct cli_paint cli_paint(int fd);
/* "1.4 GB", "12 kB" */
void cli_bytes(int64_t bytes, char *ret_text, size_t text_bytes);
/* "40 s", "12 min", "5 h", "3 days" */
void cli_age(double seconds, char *ret_text, size_t text_bytes);
/* UTC, "2026-01-02 03:04:05", "-" for 0 */
void cli_time(int64_t us, char *ret_text, size_t text_bytes);
/* Of the object `states` of the daemon's source: "6 caught_up, 1 denied", "" when there is none. */
void cli_states(const struct json_t *states, char *ret_text, size_t text_bytes);

#endif
