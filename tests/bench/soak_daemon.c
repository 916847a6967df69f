/* metammfd with an injected wall clock that runs SPEED times as fast from now on, so that an hour
 * holds weeks of retention (soak.py). Durations stay on the real monotonic clock: the threads that
 * wait do so in the kernel.
 *
 *   soak_daemon CONFIG SPEED */

#include "config/clock.h"
#include "daemon/service/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t real_start_us, mono_start_us, speed;

static int64_t mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t real_us(void)
{
    return real_start_us + (mono_us() - mono_start_us) * speed;
}

int main(int argc, char **argv)
{
    static const struct clock_source fast = {real_us, mono_us};
    static struct service svc;
    struct err err;

    err_clear(&err);
    speed = argc == 3 ? atoll(argv[2]) : 0;
    if (speed < 1) {
        fprintf(stderr, "usage: soak_daemon CONFIG SPEED\n");
        return 64;
    }
    real_start_us = clock_real_us();
    mono_start_us = mono_us();
    clock_inject(&fast);
    if (service_init(&svc, argv[1], &err) != ERR_OK || service_start(&svc, &err) != ERR_OK) {
        fprintf(stderr, "soak_daemon: %s\n", err.text);
        return 1;
    }
    int code = service_run(&svc);
    service_stop(&svc);
    service_done(&svc);
    return code;
}
