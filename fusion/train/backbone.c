#include "fusion/train/backbone.h"

extern const struct backbone_training backbone_training_mf, backbone_training_sage,
    backbone_training_lightgcn;

static const struct backbone_training *const trainings[BACKBONE_KINDS] = {
    [BACKBONE_MF] = &backbone_training_mf,
    [BACKBONE_SAGE] = &backbone_training_sage,
    [BACKBONE_LIGHTGCN] = &backbone_training_lightgcn,
};

const struct backbone_training *backbone_training_of(enum backbone_kind kind)
{
    return trainings[kind];
}
