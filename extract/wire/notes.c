#include "extract/wire/notes.h"

#include <assert.h>
#include <string.h>

static_assert(NOTE_COUNT <= 64, "flags.notes has a bit for each");

static const struct note_text texts[NOTE_COUNT] = {
    [NOTE_KEYS_FALSE] = {"keys_false", "",
                         "Packets were marked as keyframes whose frames are none."},
    [NOTE_KEYS_LATE] = {"keys_late", "",
                        "Keyframes after which several frames pass before one comes out."},
    [NOTE_KEY_MISSING] = {"key_missing", "partial",
                          "The picture begins in the middle of a group of pictures."},
    [NOTE_FOLLOWERS_LOST] = {"followers_lost", "partial",
                             "Frames that the motion is taken from did not come."},
    [NOTE_DAMAGED] = {"damaged", "partial", "Packets of the picture did not decode."},
    [NOTE_LINEAR] = {"linear", "",
                     "No keyframe led to frames: decoded from the beginning instead."},
    [NOTE_TRACKS_SKIPPED] = {"tracks_skipped", "",
                             "There are more tracks than one picture and one sound."},
    [NOTE_TRACK_CHANGED] = {"track_changed", "",
                            "The track to choose by its header had nothing, one picture, or "
                            "nothing that decodes: another was taken."},
    [NOTE_STILL] = {"still", "", "A single picture."},
    [NOTE_TIME_INVENTED] =
        {"time_invented", "retimed",
         "Times are missing or absurd (frames are spaced by index), or begin again "
         "(they go on)."},
    [NOTE_CUT] = {"cut", "partial", "The file ends before its container says so."},
    [NOTE_WINDOWS] = {"windows", "capped",
                      "Too long to be read whole: read in places over the whole length."},
    [NOTE_BEGINNING] = {"beginning", "capped",
                        "Too long to be read whole: only the beginning was read."},
    [NOTE_CPU] = {"cpu", "degraded",
                  "Half of extract.cpu_seconds was spent: the features are of what was there "
                  "by then."},
    [NOTE_WORK] =
        {"work", "degraded",
         "More frames, pixels, scans, sound or changes of format than a clip may have."},
    [NOTE_PICTURE_CODEC] = {"picture_codec", "partial",
                            "The picture is of a codec that is not admitted."},
    [NOTE_SOUND_CODEC] = {"sound_codec", "partial",
                          "The sound is of a codec that is not admitted."},
    [NOTE_SOUND_DAMAGED] = {"sound_damaged", "partial",
                            "Packets of the sound did not decode, or are missing."},
    [NOTE_SOUND_PHASE] = {"sound_phase", "",
                          "Channels that cancel each other: the loudest was taken."},
    [NOTE_SOUND_MIX] = {"sound_mix", "",
                        "Channels without a known layout: all were mixed alike."},
    [NOTE_ENCRYPTED] = {"encrypted", "partial",
                        "The picture or the sound is encrypted, and missing."},
};

const struct note_flag note_flags[NOTE_FLAGS] = {
    {"partial",
     "The file ends early or parts of it do not decode: the features are of the rest."},
    {"degraded", "Over the budget: fewer frames than planned, or the text alone."},
    {"capped", "Longer than is read: the features are of the part that was."},
    {"retimed", "The times are of no use (frames are spaced by index), or begin again "
                "(they go on)."},
};

const struct note_text *note_text(enum note note)
{
    assert(note < NOTE_COUNT);
    return &texts[note];
}

void features_note(struct features_flags *f, enum note note)
{
    const char *flag = note_text(note)->flag;
    f->notes |= UINT64_C(1) << note;
    f->partial |= strcmp(flag, "partial") == 0;
    f->degraded |= strcmp(flag, "degraded") == 0;
    f->capped |= strcmp(flag, "capped") == 0;
    f->retimed |= strcmp(flag, "retimed") == 0;
}

int notes_explain(FILE *out)
{
    fputs("flags\n", out);
    for (size_t i = 0; i < NOTE_FLAGS; i++)
        fprintf(out, "  %-16s %s\n", note_flags[i].name, note_flags[i].what);
    fputs("\nflags.notes         sets\n", out);
    for (size_t i = 0; i < NOTE_COUNT; i++)
        fprintf(out, "  %-16s %-9s %s\n", texts[i].name, texts[i].flag, texts[i].what);
    return ferror(out) ? -1 : 0;
}
