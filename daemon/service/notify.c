#include "daemon/service/notify.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

static char last_status[256];

static void send_state(const char *state)
{
    int r = sd_notify(0, state);

    if (r < 0)
        log_debug("notify service manager: %s", strerror(-r));
}

void notify_ready(void)
{
    send_state("READY=1");
}

void notify_reloading(void)
{
    char state[64];

    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_us());
    send_state(state);
}

void notify_stopping(void)
{
    send_state("STOPPING=1");
}

void notify_status(const char *text)
{
    char state[sizeof(last_status) + 8], status[sizeof(last_status)];

    text_format(status, sizeof(status), "%s", text);
    if (strcmp(status, last_status) == 0)
        return;
    memcpy(last_status, status, sizeof(status));
    snprintf(state, sizeof(state), "STATUS=%s", last_status);
    send_state(state);
}

void notify_watchdog(void)
{
    send_state("WATCHDOG=1");
}

int64_t notify_watchdog_us(void)
{
    uint64_t limit_us = 0;

    return sd_watchdog_enabled(0, &limit_us) > 0 ? (int64_t)(limit_us / 2) : 0;
}
