/* metammfd: reads upload events, extracts, fuses, stores. The command line of the daemon; the
 * process itself is service.c, the way of an item is pipeline.h. */
#include "config/err.h"
#include "config/log.h"
#include "config/settings.h"
#include "config/text.h"
#include "config/version.h"
#include "daemon/kafka/config.h"
#include "daemon/service/journal.h"
#include "daemon/service/service.h"

#include <argp.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define METAMMFD_CONFIG "/etc/metammfd/metammfd.conf"

struct options {
    const char *config;
    bool check, print, changed;
};

static void print_version(FILE *out, struct argp_state *state)
{
    (void)state;
    fprintf(out, "metammfd %s\n", version_text);
}

void (*argp_program_version_hook)(FILE *, struct argp_state *) = print_version;

enum { OPTION_CHECK = 256, OPTION_PRINT, OPTION_CHANGED };

static const struct argp_option argp_options[] = {
    {"config", 'c', "FILE", 0, "Read the settings from FILE (" METAMMFD_CONFIG ")", 0},
    {"check-config", OPTION_CHECK, NULL, 0, "Check the settings and exit: 0 good, 78 bad", 0},
    {"print-config", OPTION_PRINT, NULL, 0,
     "Print the settings as the file has them, defaults included, secrets as ***, and exit", 0},
    {"changed", OPTION_CHANGED, NULL, 0,
     "With --print-config: only the settings that differ from the defaults", 0},
    {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'c':
        o->config = arg;
        return 0;
    case OPTION_CHECK:
        o->check = true;
        return 0;
    case OPTION_PRINT:
        o->print = true;
        return 0;
    case OPTION_CHANGED:
        o->changed = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\": settings belong in the file", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (o->changed && !o->print)
            argp_error(state, "--changed goes with --print-config");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    argp_options,
    parse_option,
    NULL,
    "Reads upload events of a video site, extracts and fuses features in sandboxed workers, "
    "and keeps embeddings in SQLite.\v"
    "Signals: SIGTERM and SIGINT finish what is in flight and stop; SIGHUP reads the settings "
    "again.\n"
    "Exit codes: 0 stopped by a signal, 64 usage, 65 a damaged store, 66 a file is "
    "missing, 70 a bug, 71 short of memory or processes, 74 files cannot be read or "
    "written, 75 try again, 77 files of another user, 78 settings or store refused, others as "
    "in sysexits.h. After 64, 65, 66, 77 and 78 the unit stays down.\n\n"
    "Examples:\n"
    "  metammfd --config ./metammfd.conf --check-config && metammfd --config ./metammfd.conf\n"
    "  metammfd --print-config --changed",
    NULL,
    NULL,
    NULL};

static int complain(const struct err *err)
{
    log_error("%s", err->text);
    return err->exit_code ? err->exit_code : EX_SOFTWARE;
}

static int print_verdict(const char *config, size_t n_unread)
{
    text_print(stdout, config);
    puts(": good");
    if (n_unread > 0)
        printf(
            "%zu credential%s not read: only the unit has $CREDENTIALS_DIRECTORY. Whether the "
            "file is there shows when the unit starts.\n",
            n_unread, n_unread == 1 ? " was" : "s were");
    return fflush(stdout) == 0 ? 0 : EX_IOERR;
}

static int print_settings(const struct settings *s, bool changed)
{
    int status = changed ? settings_print_changed(s, stdout) : settings_print(s, stdout);

    return status == ERR_OK ? 0 : EX_IOERR;
}

/* --check-config, --print-config; printing needs no credential, which only the unit has. */
static int look_only(const struct options *o)
{
    struct settings s = {0};
    size_t n_unread = 0;
    struct err err;
    int code = 0;

    err_clear(&err);
    if (settings_load(o->config, &s, &err) != ERR_OK ||
        (!o->print && s.source == SETTINGS_SOURCE_KAFKA &&
         kafka_config_check(&s, &n_unread, &err) != ERR_OK)) {
        fprintf(stderr, "%s\n", err.text);
        code = err.exit_code;
    } else if (o->print) {
        code = print_settings(&s, o->changed);
    } else {
        code = print_verdict(o->config, n_unread);
    }
    settings_done(&s);
    return code;
}

static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;

    while (tasks && readdir(tasks))
        n++;
    if (tasks)
        closedir(tasks);
    return n;
}

/* A librdkafka that would not close in time was left behind with its threads: exit handlers must
 * not run under them. Nothing is lost, offsets are in the store. The sanitizers start threads of
 * their own when they like, and report at exit. */
static void end_at_once_beside_threads(int n_before, int code)
{
#ifndef MMF_SANITIZE_BUILD
    if (count_threads() > n_before)
        _exit(code);
#else
    (void)n_before;
    (void)code;
#endif
}

static int serve(const char *config)
{
    int n_threads = count_threads(); /* a library may have begun some before main */
    struct service svc;
    struct err err;
    int code;

    err_clear(&err);
    if (service_init(&svc, config, &err) != ERR_OK || service_start(&svc, &err) != ERR_OK) {
        code = complain(&err);
    } else {
        code = service_run(&svc);
        service_stop(&svc);
    }
    end_at_once_beside_threads(n_threads, code);
    service_done(&svc);
    return code;
}

int main(int argc, char **argv)
{
    struct options o = {.config = METAMMFD_CONFIG};

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EX_USAGE;
    if (o.check || o.print)
        return look_only(&o);
    journal_install();
    return serve(o.config);
}
