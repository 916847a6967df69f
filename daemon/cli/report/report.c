/* metammf report --out FILE.html: see report.h. */
#include "daemon/cli/cli.h"

#include "daemon/cli/report/report.h"
#include "fusion/file/outfile.h"
#include "store/store.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

struct report {
    struct cli_input input; /* first */
    const char *out;
};

enum { OPTION_OUT = 256 };

static const struct argp_option options[] = {
    {"out", OPTION_OUT, "FILE", 0, "Write the page there; an earlier one is replaced", 0}, {0}};

static error_t parse_report(int key, char *arg, struct argp_state *state)
{
    struct report *r = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_OUT:
        r->out = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\"", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (!r->out && !r->input.cli->json)
            argp_error(state, "where to? Example: metammf report --out report.html");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_report,
    NULL,
    "Writes one self-contained page about the store: ranking quality of the models, the "
    "learning curve, rejected candidates, a map of the embeddings, what each modality "
    "contributes, how long uploads took, what was lost.\v"
    "The page needs no network and no script, can be read on a phone and in the dark, and has "
    "the numbers of each drawing beside it. The map shows at most 1000 items and the "
    "contributions 200, drawn evenly and always the same ones. With --json the numbers go to "
    "standard output, with or without --out.\n\n"
    "Example:\n"
    "  metammf --store /var/lib/metammfd/metammf.db report --out report.html",
    cli_common,
    NULL,
    NULL};

static int print_page(const json_t *report, char **ret_page, size_t *ret_bytes, struct err *err)
{
    FILE *out = open_memstream(ret_page, ret_bytes);

    if (!out)
        return err_oom(err, "the page");
    report_page(out, report);
    bool failed = ferror(out);
    return fclose(out) == 0 && !failed ? ERR_OK : err_oom(err, "the page");
}

static int write_page(const char *path, const json_t *report, struct err *err)
{
    struct outfile out;
    char *page = NULL;
    size_t bytes = 0;
    int r = print_page(report, &page, &bytes, err);

    if (r == ERR_OK && (r = outfile_open(path, &out, err)) == ERR_OK) {
        r = outfile_write(&out, page, bytes, err);
        if (r == ERR_OK)
            r = outfile_commit(&out, err);
        outfile_abort(&out);
    }
    free(page);
    return r;
}

int cli_report(struct cli *cli, int argc, char **argv)
{
    struct report r = {.input.cli = cli};
    json_t *report = NULL;
    struct store *st;
    struct err err;
    int status, code = 0;

    cli_parse(&argp, argc, argv, &r.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    status = report_gather(cli, st, &report, &err);
    store_close(st);
    if (status == ERR_OK && r.out)
        status = write_page(r.out, report, &err);
    if (status != ERR_OK)
        code = cli_fail(&err);
    else if (cli->json)
        code = cli_print_json(json_incref(report));
    json_decref(report);
    return code;
}
