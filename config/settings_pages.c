/* The program settings_pages: config/metammfd.conf and the section SETTINGS of metammfd.conf(5), as
 * the table of settings has them. A test compares, `ninja pages` writes.
 *
 *   settings_pages CONF MAN           exit status 1 and the first line that differs, if one does
 *   settings_pages --write CONF MAN */

#include "config/settings_table.h"
#include "config/text.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define LINE_BYTES    96 /* of a comment in metammfd.conf */
#define SETTINGS_HEAD ".SH SETTINGS\n"

static const char conf_head[] =
    "# metammfd.conf: the settings of metammfd(8) and metammf(1)\n"
    "#\n"
    "# Syntax of libconfig: name = value; with text in quotes, lists in [ ], groups in { }. "
    "Every\n"
    "# setting has a default. A line that begins with '#' and a name shows the default: take "
    "the\n"
    "# '#' away to change it. A group may be here more than once, a setting only once. An "
    "unknown\n"
    "# name, a wrong type or a value out of range is an error that gives the line. The daemon "
    "does\n"
    "# not start with it (exit status 78); on SIGHUP the old settings stay.\n"
    "#\n"
    "# Check a file with       metammfd --config FILE --check-config\n"
    "# See what it changes with metammfd --config FILE --print-config --changed\n"
    "# See what runs with       metammf settings\n";
static const char special_head[] =
    "\n"
    "# ---- for special cases "
    "------------------------------------------------------------------\n"
    "# What stands above is what a site sets first. What stands below is good as it is for "
    "most.\n";

/* What a site sets first, in this order; the rest is for special cases. */
static const char *const first[] = {
    "source",
    "log_level",
    "kafka.bootstrap_servers",
    "kafka.video_topics",
    "kafka.interaction_topics",
    "kafka.properties",
    "spool.directory",
    "media.roots",
    "store.path",
    "extract.workers",
    "training.interval_s",
    "training.quiet_hours",
    "http.address",
};

static const struct {
    const char *group, *text;
} groups[] = {
    {"kafka", "Read when source is \"kafka\". Offsets are kept in the store, in the same "
              "transaction as the rows that come from them."},
    {"events",
     "How the site writes its events, if it has other names for things than docs/events.md. "
     "Takes effect at the next restart."},
    {"spool", "Read when source is \"spool\": the same events without Kafka. Write a file "
              "elsewhere on the same file system, then rename it into the folder."},
    {"media", "Where media may be, and how large one may be."},
    {"store", "The SQLite database. It belongs on a local disk, never on NFS. Only the daemon "
              "writes to it."},
    {"extract", "The sandboxed processes that decode media."},
    {"queue", "Work between reading and storing. Reading pauses while it is full; nothing is "
              "dropped."},
    {"training",
     "How the model is trained again from the interactions in the store, beside the "
     "live service."},
    {"interactions",
     "What each kind of interaction counts, and what a null value on their topics does."},
    {"refresh", "Between two trainings: users and items with new interactions get new vectors "
                "within moments."},
    {"http", "/livez, /readyz and /metrics. Keep it on loopback: there is no authentication."},
    {"control", "How metammf talks to the daemon."},
    {"shutdown", "What happens at SIGTERM."},
};

static const char properties_example[] =
    "    # For example, TLS with a password that systemd hands over (LoadCredential=):\n"
    "    # properties = {\n"
    "    #     security_protocol = \"SASL_SSL\";\n"
    "    #     sasl_mechanism = \"SCRAM-SHA-512\";\n"
    "    #     sasl_username = \"metammfd\";\n"
    "    #     sasl_password = \"@credential:kafka-password\";\n"
    "    # };\n";

static void print_default(const struct settings *defaults, const struct settings_key *k,
                          FILE *out)
{
    if (k->type == SETTINGS_INT)
        fputs(k->fallback, out); /* without the L of a large number */
    else if (k->type == SETTINGS_NUMBERS)
        fputs("as shown", out);
    else
        settings_value_print(defaults, k, "", out);
}

/* ---- metammfd.conf ------------------------------------------------------------------------ */

struct conf {
    FILE *out;
    const struct settings *defaults;
    char group[32];        /* that is open, "" = none */
    bool is_told[64];      /* groups[i] has been introduced */
    bool is_first_of_open; /* no blank line before the next setting */
};

/* Words, as comment lines. */
static void print_comment(FILE *out, const char *indent, const char *text)
{
    size_t at = 0;

    while (*text != '\0') {
        size_t n = strcspn(text, " ");

        if (at != 0 && at + 1 + n > LINE_BYTES) {
            fputc('\n', out);
            at = 0;
        }
        at += (size_t)fprintf(out, "%s%s%.*s", at == 0 ? indent : " ", at == 0 ? "# " : "",
                              (int)n, text);
        text += n + strspn(text + n, " ");
    }
    fputc('\n', out);
}

static void close_group(struct conf *c)
{
    if (c->group[0] != '\0')
        fputs("};\n", c->out);
    c->group[0] = '\0';
}

static void open_group(struct conf *c, const char *name, size_t bytes)
{
    if (strlen(c->group) == bytes && strncmp(c->group, name, bytes) == 0)
        return;
    close_group(c);
    if (bytes == 0)
        return;
    fputc('\n', c->out);
    snprintf(c->group, sizeof(c->group), "%.*s", (int)bytes, name);
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (strcmp(groups[i].group, c->group) == 0 && !c->is_told[i]) {
            print_comment(c->out, "", groups[i].text);
            c->is_told[i] = true;
        }
    }
    fprintf(c->out, "%s = {\n", c->group);
    c->is_first_of_open = true;
}

/* Of a key of the table. */
static const char *effect_of(const struct settings_key *k)
{
    static const char *const texts[] = {
        [SETTINGS_AT_RELOAD] = "",
        [SETTINGS_AT_RESTART] = " A change needs a restart.",
        [SETTINGS_GROWS_AT_RESTART] = " More needs a restart.",
    };

    return texts[settings_key_effect((size_t)(k - settings_table))];
}

static void print_setting(struct conf *c, const struct settings_key *k)
{
    const char *dot = strchr(k->path, '.'), *indent = dot != NULL ? "    " : "";
    char range[160];

    open_group(c, k->path, dot != NULL ? (size_t)(dot - k->path) : 0);
    if (!c->is_first_of_open)
        fputc('\n', c->out);
    c->is_first_of_open = false;
    print_comment(c->out, indent, k->help);
    fprintf(c->out, "%s# Range: %s. Default: ", indent,
            settings_value_range(k, range, sizeof(range)));
    print_default(c->defaults, k, c->out);
    if (effect_of(k)[0] != '\0')
        fprintf(c->out, ".%s", effect_of(k));
    fprintf(c->out, "\n%s#%s = ", indent, dot != NULL ? dot + 1 : k->path);
    settings_value_print(c->defaults, k, k->type == SETTINGS_NUMBERS ? "    #" : indent,
                         c->out);
    fputs(";\n", c->out);
    if (k->type == SETTINGS_PROPERTIES)
        fputs(properties_example, c->out);
}

static bool is_first(const struct settings_key *k)
{
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        if (strcmp(first[i], k->path) == 0)
            return true;
    }
    return false;
}

static void print_conf(const struct settings *defaults, FILE *out)
{
    struct conf c = {.out = out, .defaults = defaults};

    fputs(conf_head, out);
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
        print_setting(&c, settings_table_find(first[i]));
    close_group(&c);
    fputs(special_head, out);
    for (size_t i = 0; i < settings_table_n; i++) {
        if (!is_first(&settings_table[i]))
            print_setting(&c, &settings_table[i]);
    }
    close_group(&c);
}

/* ---- metammfd.conf(5) --------------------------------------------------------------------- */

/* The number of a character of n bytes of UTF-8, at least 2. */
static unsigned character(const char *text, size_t n)
{
    unsigned code = (unsigned char)text[0] & (0x7FU >> n);

    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3FU);
    return code;
}

/* A '-' alone would be a hyphen, which nobody can copy into a shell. Every formatter reads ASCII. */
static void print_roff(const char *text, FILE *out)
{
    for (size_t n; *text != '\0'; text += n) {
        n = text_utf8_bytes(text, strlen(text));
        if (n > 1)
            fprintf(out, "\\[u%04X]", character(text, n));
        else
            fprintf(out, "%s%c", *text == '-' ? "\\" : "", *text);
        n = n > 0 ? n : 1;
    }
}

/* "watch 1.0, dislike \-1.0" */
static void print_numbers(const struct settings *defaults, const struct settings_key *k,
                          FILE *out)
{
    const struct settings_numbers *numbers = (const void *)((const char *)defaults + k->offset);

    for (size_t i = 0; i < numbers->n; i++) {
        fprintf(out, "%s%s %s", i == 0 ? "" : ", ", numbers->items[i].name,
                numbers->items[i].value < 0 ? "\\" : "");
        settings_real_print(numbers->items[i].value, out);
    }
}

static void print_entries(const struct settings *defaults, FILE *out)
{
    for (size_t i = 0; i < settings_table_n; i++) {
        const struct settings_key *k = &settings_table[i];
        char range[160];

        fprintf(out, ".TP\n.B %s\n", k->path);
        print_roff(k->help, out);
        fputs("\n.br\nRange: ", out);
        print_roff(settings_value_range(k, range, sizeof(range)), out);
        fputs(". Default: ", out);
        if (k->type == SETTINGS_NUMBERS)
            print_numbers(defaults, k, out);
        else
            print_default(defaults, k, out);
        fprintf(out, ".%s\n", effect_of(k));
    }
}

/* The page as it is, but for one section. False when it has none. */
static bool print_man(const struct settings *defaults, const char *page, FILE *out)
{
    const char *head = strstr(page, SETTINGS_HEAD), *rest;

    if (head == NULL)
        return false;
    head += strlen(SETTINGS_HEAD);
    rest = strstr(head, "\n.SH ");
    fwrite(page, 1, (size_t)(head - page), out);
    print_entries(defaults, out);
    fputs(rest != NULL ? rest + 1 : "", out);
    return true;
}

/* ---- files -------------------------------------------------------------------------------- */

static char *read_file(const char *path)
{
    enum { BYTES = 1 << 20 };
    FILE *in = fopen(path, "r");
    char *text = calloc(1, BYTES + 1);

    if (in == NULL || text == NULL || fread(text, 1, BYTES, in) == 0) {
        perror(path);
        exit(EX_NOINPUT);
    }
    fclose(in);
    return text;
}

static int write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    if (out != NULL && fputs(text, out) >= 0 && fclose(out) == 0)
        return 0;
    perror(path);
    return EX_CANTCREAT;
}

static int compare(const char *path, const char *is, const char *should)
{
    for (size_t line = 1;; line++) {
        size_t n = strcspn(is, "\n"), m = strcspn(should, "\n");

        if (n != m || strncmp(is, should, n) != 0 || is[n] != should[m]) {
            fprintf(stderr,
                    "%s:%zu: not as settings_table.c has it; `ninja pages` writes it\n"
                    "  is     `%.*s`\n  should `%.*s`\n",
                    path, line, (int)n, is, (int)m, should);
            return 1;
        }
        if (is[n] == '\0')
            return 0;
        is += n + 1;
        should += m + 1;
    }
}

static int make(const char *path, bool is_man, bool writes, const struct settings *defaults)
{
    char *is = read_file(path), *should = NULL;
    size_t bytes;
    FILE *out = open_memstream(&should, &bytes);
    bool ok = out != NULL;

    if (ok && is_man)
        ok = print_man(defaults, is, out);
    else if (ok)
        print_conf(defaults, out);
    if (out == NULL || fclose(out) != 0 || !ok) {
        fprintf(stderr, "%s: no section SETTINGS, or no memory\n", path);
        return EX_DATAERR;
    }
    int code = !writes              ? compare(path, is, should)
               : strcmp(is, should) ? write_file(path, should)
                                    : 0;
    free(is);
    free(should);
    return code;
}

int main(int argc, char **argv)
{
    bool writes = argc == 4 && strcmp(argv[1], "--write") == 0;
    struct settings defaults;

    if (argc != 3 && !writes) {
        fprintf(stderr, "usage: settings_pages [--write] CONF MAN\n");
        return EX_USAGE;
    }
    if (settings_init(&defaults) != ERR_OK)
        return EX_OSERR;
    int conf = make(argv[argc - 2], false, writes, &defaults);
    int man = make(argv[argc - 1], true, writes, &defaults);
    settings_done(&defaults);
    return conf != 0 ? conf : man;
}
