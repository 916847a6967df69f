#include "daemon/base/ids.h"

#include "config/text.h"

#include <string.h>

bool id_has_control(const char *text)
{
    for (const char *c = text; *c; c++)
        if (text_control(c))
            return true;
    return false;
}

bool id_is_usable(const char *text)
{
    size_t n_bytes = strlen(text);

    return n_bytes >= 1 && n_bytes <= ID_BYTES_MAX && !id_has_control(text);
}

bool id_is_word(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789-_.") == strlen(text);
}
