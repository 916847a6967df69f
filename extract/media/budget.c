#include "extract/media/budget.h"

#include <time.h>

/* 60 s of 1080p30 with one keyframe pass. */
#define FRAMES_BUDGET 6000
#define PIXELS_BUDGET 4000000000LL

static int64_t cpu_us_now(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void budget_start(struct budget *b, int64_t cpu_us)
{
    *b = (struct budget){.cpu_us = cpu_us,
                         .pixels = PIXELS_BUDGET,
                         .n_frames = FRAMES_BUDGET,
                         .start_us = cpu_us_now()};
}

void budget_take_frame(struct budget *b, int64_t pixels)
{
    b->n_frames_spent++;
    b->n_pixels_spent += pixels;
    b->work_is_spent |= b->n_frames_spent > b->n_frames || b->n_pixels_spent > b->pixels;
}

bool budget_is_spent(struct budget *b)
{
    b->cpu_is_spent |= b->cpu_us > 0 && cpu_us_now() - b->start_us >= b->cpu_us;
    return b->cpu_is_spent || b->work_is_spent;
}
