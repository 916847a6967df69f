#include "daemon/cli/cli.h"

#include "config/text.h"
#include "daemon/base/json_field.h"
#include "daemon/base/json_memory.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* ---- arguments --------------------------------------------------------------------------- */

enum { CLI_OPTION_STORE = 1024, CLI_OPTION_JSON };

static const struct argp_option common_options[] = {
    {NULL, 0, NULL, 0, "Common options:", 90},
    {"config", 'c', "FILE", 0, "Settings of the daemon (" CLI_CONFIG ")", 90},
    {"store", CLI_OPTION_STORE, "PATH", 0, "The SQLite file, whatever the settings say", 90},
    {"json", CLI_OPTION_JSON, NULL, 0, "JSON for programs instead of text for people", 90},
    {0}};

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct cli *cli = state->input;

    switch (key) {
    case 'c':
        cli->config = arg;
        return 0;
    case CLI_OPTION_STORE:
        cli->store = arg;
        return 0;
    case CLI_OPTION_JSON:
        cli->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp common_argp = {common_options, parse_common, NULL, NULL,
                                        NULL,           NULL,         NULL};
const struct argp_child cli_common[] = {{&common_argp, 0, NULL, 0}, {0}};

bool cli_parse_init(int key, struct argp_state *state)
{
    struct cli_input *input = state->input;

    if (key != ARGP_KEY_INIT)
        return false;
    state->child_inputs[0] = input->cli;
    return true;
}

void cli_parse(const struct argp *argp, int argc, char **argv, struct cli_input *input)
{
    error_t e = argp_parse(argp, argc, argv, 0, NULL, input);

    if (e != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(e));
        exit(EX_USAGE);
    }
}

int64_t cli_number(struct argp_state *state, const char *what, const char *text, int64_t min,
                   int64_t max)
{
    char *end;
    long long n;

    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max)
        argp_error(state, "%s \"%s\": give a number from %" PRId64 " to %" PRId64, what, text,
                   min, max);
    return n;
}

/* ---- settings and store ------------------------------------------------------------------ */

/* The store need not exist yet; its folder must. */
static int absolute(const char *path, char **ret_path, struct err *err)
{
    char *cwd, *full = NULL;

    if (path[0] == '/') {
        full = strdup(path);
    } else {
        cwd = getcwd(NULL, 0);
        if (cwd && asprintf(&full, "%s/%s", cwd, path) < 0)
            full = NULL;
        free(cwd);
    }
    if (!full)
        return err_fatal(err, EX_OSERR, "store %s: %s", path, strerror(errno));
    *ret_path = full;
    return ERR_OK;
}

/* A file with a fault in it is no reason not to look at the store. */
static int load_readable(struct cli *cli, const char *config, struct err *err)
{
    int r = settings_load_readable(config, &cli->settings, err);

    if (r == ERR_OK || !cli->settings.store.path) /* it cannot be read */
        return r;
    fprintf(stderr, "metammf: %s\nmetammf: reading on by what else the file says: store %s\n",
            cli_text(err->text), cli_text(cli->store ? cli->store : cli->settings.store.path));
    cli->file_error = *err;
    err_clear(err);
    return ERR_OK;
}

static int load(struct cli *cli, bool reads_only, struct err *err)
{
    const char *config = cli->config ? cli->config : cli->store ? NULL : CLI_CONFIG;
    char *path = NULL;
    int r;

    if (cli->loaded)
        return ERR_OK;
    if (!cli->config && config && access(config, F_OK) != 0)
        return err_fatal(err, EX_CONFIG,
                         "%s: %s: say which store: --store PATH, or --config FILE", config,
                         strerror(errno));
    if (!config)
        r = settings_init(&cli->settings) == ERR_OK ? ERR_OK : err_oom(err, "settings");
    else
        r = reads_only ? load_readable(cli, config, err)
                       : settings_load(config, &cli->settings, err);
    if (r)
        return r;
    cli->loaded = true;
    if (!cli->store)
        return ERR_OK;
    r = absolute(cli->store, &path, err);
    if (r == ERR_OK)
        r = settings_set(&cli->settings, "store.path", path, err);
    free(path);
    return r;
}

int cli_load(struct cli *cli, struct err *err)
{
    return load(cli, false, err);
}

int cli_load_to_read(struct cli *cli, struct err *err)
{
    return load(cli, true, err);
}

int cli_open_store(struct cli *cli, struct store **ret_st, struct err *err)
{
    int r = cli_load_to_read(cli, err);

    return r ? r : store_open(cli->settings.store.path, STORE_READ, ret_st, err);
}

/* ---- output ------------------------------------------------------------------------------ */

/* A file that cannot be made is input/output to the caller: the codes are a contract (metammf
 * --help), and EX_CANTCREAT is not among them. */
int cli_fail(const struct err *err)
{
    fprintf(stderr, "metammf: %s\n", err->text[0] ? err->text : "unknown failure");
    if (err->exit_code == EX_CANTCREAT)
        return EX_IOERR;
    return err->exit_code ? err->exit_code : EX_SOFTWARE;
}

static bool lost_text; /* for want of memory */

static int out_of_memory(void)
{
    fputs("metammf: out of memory: what is said is not all\n", stderr);
    return EX_OSERR;
}

int cli_finish(void)
{
    if (lost_text || json_memory_failures() > 0)
        return out_of_memory();
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    fprintf(stderr, "metammf: standard output: %s\n", strerror(errno));
    return EX_IOERR;
}

const char *cli_text(const char *text)
{
    static char *shown[CLI_TEXTS];
    static size_t n;
    size_t left = strlen(text), step;
    char *to = malloc(left + 1), **slot = &shown[n++ % CLI_TEXTS];

    free(*slot);
    *slot = to;
    if (!to) {
        lost_text = true;
        return "?";
    }
    for (; left > 0; text += step, left -= step) {
        char instead;

        step = text_step(text, left, &instead);
        if (instead)
            *to++ = instead;
        else
            to = (char *)memcpy(to, text, step) + step;
    }
    *to = '\0';
    return *slot;
}

const char *cli_field(const struct json_t *object, const char *name)
{
    return cli_text(json_field_text(object, name));
}

/* All of them are below U+10000; jansson has escaped C0 in strings, and outside of them there are blanks. */
static unsigned code_point(const unsigned char *u, size_t bytes)
{
    return bytes == 1   ? u[0]
           : bytes == 2 ? (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu)
                        : (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
}

char *cli_json_text(const struct json_t *value, size_t flags)
{
    char *plain = json_dumps(value, flags | JSON_ENCODE_ANY), *text = NULL;
    size_t bytes = 0, step;
    FILE *out = plain ? open_memstream(&text, &bytes) : NULL;

    for (const char *c = plain; out && *c; c += step) {
        step = (unsigned char)*c < 0x20 ? 0 : text_unseen(c);
        if (step > 0) {
            fprintf(out, "\\u%04x", code_point((const unsigned char *)c, step));
            continue;
        }
        step = 1 + strcspn(c + 1, "\x7f\xc2\xd8\xe2"); /* first bytes of what may be unseen */
        fwrite(c, 1, step, out);
    }
    free(plain);
    bool failed = !out || ferror(out) != 0;
    if (out && fclose(out) == 0 && !failed)
        return text;
    lost_text = true;
    free(text);
    return NULL;
}

static int print_json(json_t *value, size_t flags)
{
    char *text = value ? cli_json_text(value, flags | JSON_REAL_PRECISION(9)) : NULL;
    bool good;

    json_decref(value);
    if (!text)
        return out_of_memory();
    good = puts(text) != EOF;
    free(text);
    if (!good) {
        fprintf(stderr, "metammf: standard output: %s\n", strerror(errno));
        return EX_IOERR;
    }
    return cli_finish();
}

int cli_print_json(struct json_t *value)
{
    return print_json(value, JSON_INDENT(2));
}

int cli_print_json_line(struct json_t *value)
{
    return print_json(value, JSON_COMPACT);
}

struct json_t *cli_json_floats(const float *vec, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; array && i < n; i++) {
        if (json_array_append_new(array, json_real((double)vec[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

char *cli_base64(const void *data, size_t bytes)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    char *out = malloc(bytes / 3 * 4 + 5), *o = out;

    for (size_t i = 0; out && i < bytes; i += 3) {
        size_t n = bytes - i < 3 ? bytes - i : 3;
        unsigned three = (unsigned)in[i] << 16 | (n > 1 ? (unsigned)in[i + 1] << 8 : 0) |
                         (n > 2 ? (unsigned)in[i + 2] : 0);

        *o++ = digits[three >> 18];
        *o++ = digits[three >> 12 & 63];
        *o++ = n > 1 ? digits[three >> 6 & 63] : '=';
        *o++ = n > 2 ? digits[three & 63] : '=';
    }
    lost_text |= out == NULL;
    if (o)
        *o = '\0';
    return out;
}

struct cli_paint cli_paint(int fd)
{
    if (!isatty(fd) || getenv("NO_COLOR"))
        return (struct cli_paint){"", "", "", "", ""};
    return (struct cli_paint){"\033[32m", "\033[31m", "\033[2m", "\033[1m", "\033[0m"};
}

void cli_bytes(int64_t bytes, char *ret_text, size_t text_bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double n = (double)bytes;
    size_t u = 0;

    while (n >= 1000 && u + 1 < sizeof(units) / sizeof(units[0])) {
        n /= 1000;
        u++;
    }
    snprintf(ret_text, text_bytes, u && n < 10 ? "%.1f %s" : "%.0f %s", n, units[u]);
}

void cli_age(double seconds, char *ret_text, size_t text_bytes)
{
    if (seconds < 0) /* the clock was set back */
        seconds = 0;
    if (seconds < 120)
        snprintf(ret_text, text_bytes, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(ret_text, text_bytes, "%.0f min", seconds / 60);
    else if (seconds < 172800)
        snprintf(ret_text, text_bytes, "%.0f h", seconds / 3600);
    else
        snprintf(ret_text, text_bytes, "%.0f days", seconds / 86400);
}

void cli_time(int64_t us, char *ret_text, size_t text_bytes)
{
    time_t t = (time_t)(us / 1000000);
    struct tm tm;

    if (us <= 0 || !gmtime_r(&t, &tm) ||
        strftime(ret_text, text_bytes, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(ret_text, text_bytes, "-");
}

void cli_states(const struct json_t *states, char *ret_text, size_t text_bytes)
{
    const char *state;
    json_t *n;
    size_t at = 0;

    ret_text[0] = '\0';
    json_object_foreach((json_t *)(uintptr_t)states, state, n)
    {
        if (json_integer_value(n) != 0 && at < text_bytes)
            at += (size_t)snprintf(ret_text + at, text_bytes - at,
                                   "%s%" JSON_INTEGER_FORMAT " %s", at > 0 ? ", " : "",
                                   json_integer_value(n), state);
    }
}
