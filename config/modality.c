#include "config/modality.h"

#include <assert.h>
#include <string.h>

static const char *const names[MODALITY_COUNT] = {
    [MODALITY_VISUAL] = "visual",
    [MODALITY_ACOUSTIC] = "acoustic",
    [MODALITY_TEXTUAL] = "textual",
};

const char *modality_name(enum modality m)
{
    assert((unsigned)m < MODALITY_COUNT);
    return names[m];
}

int modality_parse(const char *name)
{
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if (name != NULL && strcmp(name, names[m]) == 0)
            return m;
    }
    return -1;
}
