#ifndef MMF_DAEMON_KAFKA_CLIENT_H
#define MMF_DAEMON_KAFKA_CLIENT_H

/* What the consumer, a publisher's producer and the probe share: a librdkafka handle whose log is
 * served on the owner's thread, cleaned of secrets and written to ours; what is known of the
 * brokers; and an end that is bounded in time. Used in daemon/kafka only.
 *
 * librdkafka's opaque pointer is the struct kafka_client, so its users embed it. All of it belongs
 * to the thread that polls. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/kafka/config.h"

#include <stdbool.h>
#include <stdint.h>

struct json_t;
struct rd_kafka_s; /* rd_kafka_t */

struct kafka_client {
    struct rd_kafka_s *rk; /* NULL after kafka_client_close */
    const char *name;      /* "consumer", "dead-letter producer": for the log */
    struct kafka_secrets secrets;
    bool all_down;      /* every broker is away */
    unsigned n_brokers; /* known, and of these connected or idle, from the statistics */
    unsigned n_down;
    char last_error[256]; /* of the broker connections, cleaned; "" when all is well */
    int64_t too_large_us; /* monotonic: an answer was more than receive.message.max.bytes */
    int64_t quiet_until_us;
    /* The owner's, or NULL: librdkafka's statistics, each second. */
    void (*on_stats)(struct kafka_client *c, const struct json_t *stats);
};

/* Takes ownership of conf in every case. Sets the callbacks for log, errors and statistics. */
int kafka_client_open(struct kafka_client *c, enum kafka_role role, const char *name,
                      struct rd_kafka_conf_s *conf, struct err *err);
/* The fatal error of librdkafka, if it has raised one: ERR_FATAL EX_TEMPFAIL, so that systemd
 * restarts the daemon. ERR_OK otherwise. */
int kafka_client_check(struct kafka_client *c, struct err *err);
/* librdkafka's words, without secrets, in one line. */
void kafka_client_words(const struct kafka_client *c, const char *text, char *ret_text,
                        size_t bytes);
/* Why no broker answers, in librdkafka's words; without any, what the code means. */
const char *kafka_client_reason(const struct kafka_client *c, int code);
/* "2 of 3 brokers down", "" = fine. */
void kafka_client_describe(const struct kafka_client *c, char *ret_text, size_t bytes);
/* Closes on a helper thread and waits at most timeout_ms. Callbacks may use the owner until
 * librdkafka has ended; then free_owner (or NULL) frees it, c with it: before this returns, or,
 * when librdkafka is still busy then, on the helper thread, which is left behind with the handle.
 * The process must end by _exit beside it; offsets are in the store, so nothing is lost by that. */
void kafka_client_close(struct kafka_client *c, int timeout_ms, void (*free_owner)(void *owner),
                        void *owner);

#endif
