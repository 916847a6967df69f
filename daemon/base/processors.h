#ifndef MMF_DAEMON_BASE_PROCESSORS_H
#define MMF_DAEMON_BASE_PROCESSORS_H

/* How many threads "one a processor" is: those online, 1 to 64. */
unsigned processors_online(void);

#endif
