/* The low-level SHA-256 of libcrypto, not EVP: it neither allocates nor loads a provider, so that it
 * cannot fail, works under the worker's system call filter, and costs a BLOB no malloc. If OpenSSL
 * drops these calls, EVP takes their place, with one context a thread made before the filter. */
#define OPENSSL_API_COMPAT 0x10100000L

#include "config/digest.h"

#include "config/infile.h"

#include <errno.h>
#include <openssl/sha.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define READ_BYTES 16384

_Static_assert(DIGEST_BYTES == SHA256_DIGEST_LENGTH, "SHA-256 has 32 bytes");

static void digest(const void *data, size_t bytes, unsigned char ret[DIGEST_BYTES])
{
    SHA256_CTX ctx;

    SHA256_Init(&ctx);
    if (bytes != 0)
        SHA256_Update(&ctx, data, bytes);
    SHA256_Final(ret, &ctx);
}

void digest_print(const unsigned char *bytes, size_t n, char *ret_hex)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        ret_hex[2 * i] = digits[bytes[i] >> 4];
        ret_hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_hex[2 * n] = '\0';
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool digest_parse(const char *hex, unsigned char ret[DIGEST_BYTES])
{
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        int high = digit(hex[2 * i]), low = high < 0 ? -1 : digit(hex[2 * i + 1]);

        if (low < 0)
            return false;
        ret[i] = (unsigned char)(high << 4 | low);
    }
    return hex[2 * DIGEST_BYTES] == '\0';
}

int64_t digest_checksum(const void *data, size_t bytes)
{
    unsigned char sum[DIGEST_BYTES];
    uint64_t value = 0;

    digest(data, bytes, sum);
    for (size_t i = 0; i < sizeof(value); i++)
        value = value << 8 | sum[i];
    return (int64_t)value;
}

void digest_keyed(const void *key, size_t key_bytes, const void *data, size_t bytes,
                  unsigned char ret[DIGEST_BYTES])
{
    unsigned char inner[SHA256_CBLOCK] = {0}, outer[SHA256_CBLOCK];
    SHA256_CTX ctx;

    if (key_bytes > sizeof(inner))
        digest(key, key_bytes, inner);
    else if (key_bytes != 0)
        memcpy(inner, key, key_bytes);
    for (size_t i = 0; i < sizeof(inner); i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, inner, sizeof(inner));
    if (bytes != 0)
        SHA256_Update(&ctx, data, bytes);
    SHA256_Final(ret, &ctx);
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, outer, sizeof(outer));
    SHA256_Update(&ctx, ret, DIGEST_BYTES);
    SHA256_Final(ret, &ctx);
}

void digest_hex(const void *data, size_t bytes, char ret_hex[DIGEST_HEX_BYTES])
{
    unsigned char sum[DIGEST_BYTES];

    digest(data, bytes, sum);
    digest_print(sum, sizeof(sum), ret_hex);
}

int digest_fd_blocks(int fd, int64_t bytes, digest_block_fn *block, void *ctx,
                     char ret_hex[DIGEST_HEX_BYTES], struct err *err)
{
    unsigned char buffer[READ_BYTES], sum[DIGEST_BYTES];
    SHA256_CTX sha;
    off_t at = 0;

    SHA256_Init(&sha);
    while (at < bytes) {
        int64_t left = bytes - at;
        size_t wanted = left < READ_BYTES ? (size_t)left : sizeof(buffer);
        ssize_t n = pread(fd, buffer, wanted, at);

        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_retry(err, EX_IOERR, "read for SHA-256 at byte %lld: %s", (long long)at,
                             strerror(errno));
        SHA256_Update(&sha, buffer, (size_t)n);
        at += n;
        if (block && !block(ctx, buffer, (size_t)n))
            return err_retry(err, EX_TEMPFAIL, "stopped before all of the file was read");
    }
    SHA256_Final(sum, &sha);
    digest_print(sum, sizeof(sum), ret_hex);
    return ERR_OK;
}

int digest_fd_hex(int fd, char ret_hex[DIGEST_HEX_BYTES], struct err *err)
{
    return digest_fd_blocks(fd, INT64_MAX, NULL, NULL, ret_hex, err);
}

int digest_path_hex(const char *path, char ret_hex[DIGEST_HEX_BYTES], struct err *err)
{
    int64_t bytes;
    int fd, status = infile_open(path, &fd, &bytes, err);

    if (status != ERR_OK)
        return status;
    status = digest_fd_hex(fd, ret_hex, err);
    (void)close(fd);
    return status == ERR_OK ? ERR_OK : err_wrap(err, "%s", path);
}
