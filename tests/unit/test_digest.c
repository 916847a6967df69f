#include "config/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* FIPS 180-4's examples. */
#define ABC       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define EMPTY     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void digest_hex_known_messages_match(void **state)
{
    char hex[DIGEST_HEX_BYTES];

    (void)state;
    digest_hex("abc", 3, hex);
    assert_string_equal(hex, ABC);
    digest_hex(NULL, 0, hex);
    assert_string_equal(hex, EMPTY);
}

static void digest_parse_takes_what_print_gives(void **state)
{
    unsigned char bytes[DIGEST_BYTES], again[DIGEST_BYTES];
    char hex[DIGEST_HEX_BYTES];

    (void)state;
    assert_true(digest_parse(ABC, bytes));
    digest_print(bytes, sizeof(bytes), hex);
    assert_string_equal(hex, ABC);
    digest_print(bytes, 8, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea");
    assert_false(digest_parse(hex, again));
    assert_false(digest_parse(ABC "0", again));
    assert_false(digest_parse("", again));
    assert_false(digest_parse(
        "ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", again));
}

static void digest_checksum_is_first_eight_bytes_big_endian(void **state)
{
    (void)state;
    assert_int_equal((uint64_t)digest_checksum("abc", 3), 0xba7816bf8f01cfea);
    assert_int_equal((uint64_t)digest_checksum(NULL, 0), 0xe3b0c44298fc1c14);
}

/* RFC 4231, test cases 2 and 6. */
static void digest_keyed_known_messages_match(void **state)
{
    static const unsigned char two[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e},
                               six[] = {0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f};
    static const char text[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    unsigned char key[131], sum[DIGEST_BYTES];

    (void)state;
    digest_keyed("Jefe", 4, "what do ya want for nothing?", 28, sum);
    assert_memory_equal(sum, two, sizeof two);
    memset(key, 0xaa, sizeof key);
    digest_keyed(key, sizeof key, text, sizeof text - 1, sum);
    assert_memory_equal(sum, six, sizeof six);
}

static void digest_fd_hex_large_file_matches_and_keeps_position(void **state)
{
    char path[] = "/tmp/mmf-digest-XXXXXX", hex[DIGEST_HEX_BYTES];
    int fd = mkstemp(path);
    char *text = malloc(1000000);
    struct err err = {0};

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_non_null(text);
    memset(text, 'a', 1000000);
    assert_int_equal(write(fd, text, 1000000), 1000000);
    assert_int_equal(lseek(fd, 17, SEEK_SET), 17);
    assert_int_equal(digest_fd_hex(fd, hex, &err), ERR_OK);
    assert_string_equal(hex, MILLION_A);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 17);
    free(text);
    close(fd);
}

static void digest_fd_hex_unreadable_descriptor_is_retry(void **state)
{
    char hex[DIGEST_HEX_BYTES] = "untouched";
    struct err err = {0};

    (void)state;
    assert_int_equal(digest_fd_hex(-1, hex, &err), ERR_RETRY);
    assert_string_equal(hex, "untouched");
    assert_non_null(strstr(err.text, "Bad file descriptor"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_hex_known_messages_match),
        cmocka_unit_test(digest_parse_takes_what_print_gives),
        cmocka_unit_test(digest_checksum_is_first_eight_bytes_big_endian),
        cmocka_unit_test(digest_keyed_known_messages_match),
        cmocka_unit_test(digest_fd_hex_large_file_matches_and_keeps_position),
        cmocka_unit_test(digest_fd_hex_unreadable_descriptor_is_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
