#ifndef MMF_DAEMON_BASE_JSON_MEMORY_H
#define MMF_DAEMON_BASE_JSON_MEMORY_H

/* jansson says of some allocations that fail that the text is wrong, of others nothing, and an object is without a
 * field then: an event would be a dead letter for want of memory, and an answer would look whole. So its allocations
 * are watched. */

/* How many have failed on this thread. Who compares asks before and after. */
unsigned long json_memory_failures(void);

#endif
