#include "fusion/model/backbone.h"

#include <string.h>

extern const struct backbone backbone_mf, backbone_sage, backbone_lightgcn;

static const struct backbone *const backbones[BACKBONE_KINDS] = {
    [BACKBONE_MF] = &backbone_mf,
    [BACKBONE_SAGE] = &backbone_sage,
    [BACKBONE_LIGHTGCN] = &backbone_lightgcn,
};

const struct backbone *backbone_of(enum backbone_kind kind)
{
    return backbones[kind];
}

const char *backbone_kind_name(enum backbone_kind kind)
{
    return backbones[kind]->name;
}

int backbone_kind_parse(const char *name)
{
    for (int k = 0; k < BACKBONE_KINDS; k++)
        if (strcmp(backbones[k]->name, name) == 0)
            return k;
    return -1;
}
