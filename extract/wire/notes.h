#ifndef MMF_EXTRACT_WIRE_NOTES_H
#define MMF_EXTRACT_WIRE_NOTES_H

/* What happened to one clip, in words: flags.notes. A note that means that the features are not
 * what was planned also sets one of the four flags, by the table in notes.c, so that nobody can set
 * the one and forget the other. */

#include "extract/wire/features.h"

#include <stddef.h>
#include <stdio.h>

enum note {
    NOTE_KEYS_FALSE,     /* packets were marked as keys whose frames are none */
    NOTE_KEYS_LATE,      /* keys after which several frames pass before one comes out */
    NOTE_KEY_MISSING,    /* the track begins in the middle of a group of pictures */
    NOTE_FOLLOWERS_LOST, /* frames for the motion did not come */
    NOTE_DAMAGED,        /* packets did not decode */
    NOTE_LINEAR,         /* decoded from the beginning, because no key led to frames */
    NOTE_TRACKS_SKIPPED, /* there were more tracks than one picture and one sound */
    NOTE_TRACK_CHANGED,  /* the first choice had nothing, or one picture: another was taken */
    NOTE_STILL,          /* a single picture */
    NOTE_TIME_INVENTED,  /* times were missing or absurd, or began again */
    NOTE_CUT,            /* the file ends before its container says so */
    NOTE_WINDOWS,        /* too long to be read whole: read in places over the whole length */
    NOTE_BEGINNING,      /* too long to be read whole: only the beginning was read */
    NOTE_CPU,            /* half of extract.cpu_seconds was spent: what was there by then */
    NOTE_WORK, /* more frames, pixels, scans, samples or rebuilt filters than a clip may have */
    NOTE_PICTURE_CODEC, /* a picture track of a codec that is not admitted */
    NOTE_SOUND_CODEC,   /* a sound track of a codec that is not admitted */
    NOTE_SOUND_DAMAGED, /* sound did not decode, is missing, or of a form that cannot be mixed */
    NOTE_SOUND_PHASE,   /* channels that cancel each other: the louder one was taken */
    NOTE_SOUND_MIX,     /* channels without a known layout: mixed alike */
    NOTE_ENCRYPTED,     /* the picture or the sound is encrypted */
    NOTE_COUNT
};

struct note_text {
    const char *name; /* as in flags.notes */
    const char *flag; /* the flag that it sets as well: "partial", "degraded", …; "" = none */
    const char *what; /* one sentence */
};

/* One of the four flags, and what it means. */
struct note_flag {
    const char *name, *what;
};

#define NOTE_FLAGS 4

extern const struct note_flag note_flags[NOTE_FLAGS];

/* note < NOTE_COUNT. */
const struct note_text *note_text(enum note note);
/* Sets the note and its flag. */
void features_note(struct features_flags *flags, enum note note);
/* Both tables for people; -1 when out is in error. */
int notes_explain(FILE *out);

#endif
