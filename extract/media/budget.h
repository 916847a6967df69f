#ifndef MMF_EXTRACT_MEDIA_BUDGET_H
#define MMF_EXTRACT_MEDIA_BUDGET_H

/* What one item may cost, by what is spent and not by what the file promises: CPU time of this
 * process, and frames and pixels that really came out of a decoder. Asked between packets and in
 * the read callback; whoever finds it spent stops with what there is. Thread: one. */

#include <stdbool.h>
#include <stdint.h>

struct budget {
    int64_t cpu_us;    /* 0 = no limit */
    int64_t pixels;    /* of the frames received from picture decoders */
    uint32_t n_frames; /* of them */
    int64_t start_us, n_pixels_spent;
    uint32_t n_frames_spent;
    bool cpu_is_spent, work_is_spent; /* once true, they stay so */
};

/* Begins now. cpu_us: of this process, from here on; 0 = no limit. */
void budget_start(struct budget *b, int64_t cpu_us);
/* A frame came out of a picture decoder. */
void budget_take_frame(struct budget *b, int64_t pixels);
/* Reads the clock (20 ns by the vDSO … 300 ns by the system call). */
bool budget_is_spent(struct budget *b);

#endif
