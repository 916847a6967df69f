/* Settings from arbitrary bytes: either an error with a text, or settings that print as a file
 * which loads again to the same settings. */

#include "config/settings.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets the texts on its parser's stack at a syntax error. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

static char *print(const struct settings *s, size_t *ret_bytes)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_bytes);

    if (out == NULL || settings_print(s, out) != ERR_OK || fclose(out) != 0)
        abort();
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct settings first = {0}, second = {0};
    size_t first_bytes, second_bytes;
    char *first_text, *second_text;
    struct err err = {0};

    if (settings_load_text("fuzz.conf", (const char *)data, bytes, &first, &err) != ERR_OK) {
        if (err.text[0] == '\0' || first.store.path != NULL)
            abort();
        return 0;
    }
    first_text = print(&first, &first_bytes);
    if (settings_load_text("printed.conf", first_text, first_bytes, &second, &err) != ERR_OK)
        abort();
    second_text = print(&second, &second_bytes);
    if (first_bytes != second_bytes || memcmp(first_text, second_text, first_bytes) != 0)
        abort();
    free(first_text);
    free(second_text);
    settings_done(&first);
    settings_done(&second);
    return 0;
}
