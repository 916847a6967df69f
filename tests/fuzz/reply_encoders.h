#ifndef MMF_TESTS_REPLY_ENCODERS_H
#define MMF_TESTS_REPLY_ENCODERS_H

#include "extract/wire/features.h"

/* Small vectors of a made-up build, so that the fuzzer spends its time on structure. */
static const struct encoder_identity encoders[MODALITY_COUNT] = {
    {MODALITY_VISUAL, 3, "visual-1:000000000000"},
    {MODALITY_ACOUSTIC, 2, "acoustic-1:000000000000"},
    {MODALITY_TEXTUAL, 4, "textual-1:000000000000"},
};

#endif
