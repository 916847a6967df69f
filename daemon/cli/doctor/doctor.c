/* metammf doctor: prints what checks.c found. */
#include "daemon/cli/cli.h"

#include "daemon/cli/doctor/checks.h"

#include <jansson.h>
#include <stdlib.h>
#include <sysexits.h>

struct doctor_arguments {
    struct cli_input input; /* first */
    bool fast;
};

enum { OPTION_FAST = 256 };

static const struct argp_option options[] = {
    {"fast", OPTION_FAST, NULL, 0, "Leave out the check that reads the whole store", 0}, {0}};

static error_t parse_doctor(int key, char *arg, struct argp_state *state)
{
    struct doctor_arguments *a = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key == OPTION_FAST) {
        a->fast = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG)
        argp_error(state, "unexpected argument \"%s\"", arg);
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    options,
    parse_doctor,
    NULL,
    "Checks everything that the daemon needs, and says what to do about what is missing.\v"
    "Run it as the daemon's user to see what the daemon sees. Exit code 0: nothing is wrong; "
    "otherwise the code of the first fault, e.g. 69 when no broker answers. With --json: "
    "{\"ok\": true, \"checks\": [{\"check\", \"verdict\", \"detail\", \"next\"}]}; a verdict "
    "is good, note or bad.\n\n"
    "Example:\n"
    "  sudo -u metammf metammf --config /etc/metammfd/metammfd.conf doctor",
    cli_common,
    NULL,
    NULL};

static const char *const verdicts[] = {"good", "note", "bad"};

static int print_json(const struct doctor *d, int code)
{
    json_t *checks = json_array();

    for (size_t i = 0; checks && i < d->n_checks; i++) {
        const struct doctor_check *c = &d->checks[i];

        json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "check", c->name,
                                                "verdict", verdicts[c->verdict], "detail",
                                                c->detail, "next", c->next));
    }
    int printed = cli_print_json(json_pack("{s:b, s:o}", "ok", code == 0, "checks", checks));
    return printed ? printed : code;
}

static int print_text(const struct doctor *d, int code)
{
    struct cli_paint paint = cli_paint(1);
    const char *const marks[] = {"✓", "–", "✗"};
    const char *const colours[] = {paint.good, paint.dim, paint.bad};

    for (size_t i = 0; i < d->n_checks; i++) {
        const struct doctor_check *c = &d->checks[i];

        printf("%s%s%s %-9s %s\n", colours[c->verdict], marks[c->verdict], paint.off, c->name,
               cli_text(c->detail));
        if (c->next[0])
            printf("            → %s\n", cli_text(c->next));
    }
    int printed = cli_finish();
    return printed ? printed : code;
}

int cli_doctor(struct cli *cli, int argc, char **argv)
{
    struct doctor_arguments a = {.input.cli = cli};
    struct doctor *d;
    struct err err;
    int code = 0;

    cli_parse(&argp, argc, argv, &a.input);
    err_clear(&err);
    d = calloc(1, sizeof(*d));
    if (!d) {
        err_oom(&err, "doctor");
        return cli_fail(&err);
    }
    d->fast = a.fast;
    d->s = &cli->settings;
    if (cli_load(cli, &err) == ERR_OK) {
        doctor_add(d, "settings", DOCTOR_GOOD, "", "%s",
                   cli->settings.path ? cli->settings.path : "built-in defaults");
        doctor_store(d);
        doctor_roles(d);
        doctor_host(d);
        doctor_source(d);
    } else {
        doctor_add(d, "settings", DOCTOR_BAD,
                   "mend the file; metammfd --check-config checks it", "%s", err.text);
        doctor_code(d, err.exit_code ? err.exit_code : EX_CONFIG);
    }
    for (size_t i = 0; i < d->n_checks && code == 0; i++)
        if (d->checks[i].verdict == DOCTOR_BAD)
            code = d->checks[i].exit_code;
    code = cli->json ? print_json(d, code) : print_text(d, code);
    free(d);
    return code;
}
