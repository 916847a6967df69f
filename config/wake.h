#ifndef MMF_CONFIG_WAKE_H
#define MMF_CONFIG_WAKE_H

/* A descriptor by which any thread makes the one that sleeps in poll() look up: an eventfd. It
 * stays readable from wake_set to wake_clear, however often it is set. Setting fails only where
 * the counter is full, and clearing only where it is zero: both times the descriptor is already in
 * the state that was asked for. */

#include "config/err.h"

/* The descriptor is the caller's to close. ERR_RETRY with EX_OSERR; `who` begins the message. */
int wake_open(const char *who, int *ret_fd, struct err *err);
void wake_set(int fd);
void wake_clear(int fd);

#endif
