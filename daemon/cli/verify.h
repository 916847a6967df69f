#ifndef MMF_DAEMON_CLI_VERIFY_H
#define MMF_DAEMON_CLI_VERIFY_H

struct json_t;

/* The items of `metammf verify --json` for people, with the sums; returns the exit code. */
int cli_verify_text(const struct json_t *items);

#endif
