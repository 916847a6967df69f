#ifndef MMF_CONFIG_VERSION_H
#define MMF_CONFIG_VERSION_H

/* What this build calls itself, such as "0.1.0" or, when it is no release,
 * "0.1.0+git20261130120000.5e69b68"; config/version.cmake writes it at each build. */
extern const char version_text[];

#endif
