#ifndef MMF_TESTS_VARIANTS_H
#define MMF_TESTS_VARIANTS_H

/* The variants of the property test: what each is made of, and the plain clips that it is compared
 * with. Names are family/codec/container/what; the list is the same in every run. */

#include "change.h"
#include "clip.h"

#include "config/modality.h"

#define VARIANT_NAME_MAX 112

struct variant {
    char name[VARIANT_NAME_MAX];
    const char *family;
    const char *container, *options;  /* of the muxer */
    struct coding coding, second;     /* second.encoder != NULL: joined to the first */
    struct sound sound, second_sound; /* sound.encoder NULL = no sound; so with coding */
    change_packets *change;
    change_bytes *change_file;
    bool (*make)(const struct variant *v, struct file *ret_file); /* instead of the muxer */
    int arg;
    bool
        may_hide; /* not every codec can see it: what a whole decoding shows without complaint is right */
    bool plain; /* nothing is wrong with it: a flag would be a false alarm */
};

struct variants {
    struct variant *list; /* (n) */
    size_t n;
};

void variants_make(struct variants *ret);
void variants_free(struct variants *v);

/* The variant's file; false: clip_why. Equal seed and name give equal bytes. */
bool variant_file(const struct variant *v, uint64_t seed, struct file *ret_file);
/* What it is compared with: plain clips of the modality. Of pictures there are two, whose samples
 * are keys nearby (0) and the frames planned (1): both are right, and so is what is near to one.
 * False: the variant has no such modality, or there is no i-th. */
bool variant_reference(const struct variant *v, enum modality m, unsigned i,
                       struct variant *ret);

/* ---- for the files that list and make variants ---- */

/* A copy of the track, made once; NULL: clip_why. */
struct track *variant_track(const struct coding *c);
struct track *variant_sound_track(const struct sound *s);
void variant_cache_free(void);

/* Appends v; its name is made of family, what it shows (the encoder, or the sound's), container and
 * `what`, a format for arg. */
void variants_add(struct variants *list, const struct variant *v, const char *label,
                  const char *what, ...) __attribute__((format(printf, 4, 5)));

const char *variants_sound_for(const char *container); /* an encoder */
bool variants_in_band(const char *container);          /* it has no place for parameter sets */

/* For `make`. */
bool boxes_two_descriptions(const struct variant *v,
                            struct file *ret_file); /* MP4: two stsd entries */
bool boxes_end_to_end(const struct variant *v,
                      struct file *ret_file); /* two files, joined as bytes */

void variants_of_sound(struct variants *list); /* variants_sound.c */
void variants_of_formats(
    struct variants *list); /* variants_formats.c: codecs, pixels, stills, tricks */

#endif
