#ifndef MMF_EXTRACT_WORKER_ZYGOTE_H
#define MMF_EXTRACT_WORKER_ZYGOTE_H

/* The process that forks workers: `metammf-extract --pool`, started by the pool with a control
 * socket on PROTOCOL_CONTROL_FD (nursery.h is its other end). It makes the encoders and announces
 * them, then forks. Returns the exit status when the socket ends; dies with the daemon.
 * encoder (MODALITY_COUNT): names, as in extractor.h. */
int zygote_run(const char *const *encoder);

#endif
