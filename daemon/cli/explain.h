#ifndef MMF_DAEMON_CLI_EXPLAIN_H
#define MMF_DAEMON_CLI_EXPLAIN_H

struct json_t;

/* Prints the object of `metammf explain --json` for people; returns the exit code. NULL = out of
 * memory. */
int cli_explain_text(const struct json_t *root);

#endif
