#include "daemon/base/ids.h"

#include <string.h>

bool id_has_control(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0))
            return true;
    return false;
}

bool id_is_usable(const char *text)
{
    size_t n_bytes = strlen(text);

    return n_bytes >= 1 && n_bytes <= ID_BYTES_MAX && !id_has_control(text);
}
