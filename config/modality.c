#include "config/modality.h"

#include <assert.h>

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
