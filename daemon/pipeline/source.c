#include "daemon/pipeline/source.h"

static const struct {
    const char *name, *text;
} states[SOURCE_PART_STATES] = {
    [SOURCE_PART_MADE_ANEW] = {"made_anew", "made anew or cut"},
    [SOURCE_PART_DENIED] = {"denied", "denied"},
    [SOURCE_PART_UNKNOWN] = {"unknown_topic", "unknown topic"},
    [SOURCE_PART_REBALANCE] = {"rebalance", "waiting for a rebalance"},
    [SOURCE_PART_GAP] = {"gap", "at a gap"},
    [SOURCE_PART_TOO_LARGE] = {"too_large", "at a message too large"},
    [SOURCE_PART_ASSIGNED] = {"assigned", "assigned, nothing heard yet"},
    [SOURCE_PART_READING] = {"reading", "reading"},
    [SOURCE_PART_TRANSACTION] = {"transaction", "behind an open transaction"},
    [SOURCE_PART_CAUGHT_UP] = {"caught_up", "caught up"},
};

const char *source_part_state_name(enum source_part_state state)
{
    return states[state].name;
}

const char *source_part_state_text(enum source_part_state state)
{
    return states[state].text;
}
