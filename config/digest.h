#ifndef MMF_CONFIG_DIGEST_H
#define MMF_CONFIG_DIGEST_H

/* SHA-256 (FIPS 180-4, by libcrypto) and the 64-bit checksum of a BLOB: the first eight bytes
 * of its SHA-256, big-endian, as a signed 64-bit integer, which is what SQLite stores. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES     32
#define DIGEST_HEX_BYTES 65 /* with the NUL */

int64_t digest_checksum(const void *data, size_t bytes);
/* HMAC-SHA-256 (RFC 2104). */
void digest_keyed(const void *key, size_t key_bytes, const void *data, size_t bytes,
                  unsigned char ret[DIGEST_BYTES]);
void digest_hex(const void *data, size_t bytes, char ret_hex[DIGEST_HEX_BYTES]);
/* n bytes as 2n digits, and a NUL. */
void digest_print(const unsigned char *bytes, size_t n, char *ret_hex);
/* Back from its 64 digits; false when the text is anything else. */
bool digest_parse(const char *hex, unsigned char ret[DIGEST_BYTES]);
/* Of a whole file, from offset 0, leaving fd's position alone; ERR_RETRY on a read error. */
int digest_fd_hex(int fd, char ret_hex[DIGEST_HEX_BYTES], struct err *err);
/* The same of its first `bytes`, or fewer where it ends. Each block goes through `block` too, unless
 * that is NULL; false stops (ERR_RETRY, EX_TEMPFAIL). */
typedef bool digest_block_fn(void *ctx, const void *data, size_t bytes);
int digest_fd_blocks(int fd, int64_t bytes, digest_block_fn *block, void *ctx,
                     char ret_hex[DIGEST_HEX_BYTES], struct err *err);
/* Of a regular file, opened by infile_open; errors name the path. */
int digest_path_hex(const char *path, char ret_hex[DIGEST_HEX_BYTES], struct err *err);

#endif
