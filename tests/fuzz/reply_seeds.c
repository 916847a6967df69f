/* Writes the seeds of fuzz.reply into a folder: one message of each kind, as this build packs it, so that
 * a change of the protocol cannot leave them behind.
 *
 *   reply_seeds FOLDER */

#include "reply_encoders.h"

#include "extract/wire/notes.h"
#include "extract/wire/protocol.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#define SEQ 9

static const char *folder;
static unsigned char message[PROTOCOL_REQUEST_BYTES_MAX];
static struct features features;

static void write_seed(const char *name, const void *data, size_t bytes)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0) {
        perror(path);
        exit(EX_CANTCREAT);
    }
}

static void fill(unsigned mask)
{
    memset(&features, 0, sizeof(features));
    features.mask = mask;
    features.extract_us = 90000;
    for (int m = 0; m < MODALITY_COUNT; m++) {
        features.dim[m] = encoders[m].dim;
        for (int i = 0; i < encoders[m].dim; i++)
            features.vec[m][i] = (float)(i + 1) / 7.0f;
    }
    features.flags = (struct features_flags){.n_frames = 8,
                                             .n_planned = 8,
                                             .n_keyframes = 51,
                                             .coverage = 1.0f,
                                             .duration_ms = 4000,
                                             .seen_ms = 4000,
                                             .audio_ms = 3990,
                                             .width = 1280,
                                             .height = 720,
                                             .container = "mov",
                                             .video_codec = "h264",
                                             .audio_codec = "aac"};
}

static void write_reply(const char *name, bool leaves, const struct err *e)
{
    write_seed(name, message,
               protocol_pack_reply(SEQ, 61000000, leaves, e, &features, message));
}

static void write_rows(void)
{
    struct err ok = {0};
    fill(MODALITY_ALL);
    features_note(&features.flags, NOTE_DAMAGED);
    write_reply("reply_all", false, &ok);
    features_note(&features.flags, NOTE_CPU);
    write_reply("reply_leaves", true, &ok);
    features.vec[0][1] = NAN;
    write_reply("reply_nan", false, &ok);
    fill(MODALITY_BIT(MODALITY_ACOUSTIC));
    write_reply("reply_acoustic", false, &ok);
    fill(0);
    write_reply("reply_none", false, &ok);
    fill(MODALITY_BIT(MODALITY_TEXTUAL));
    (void)err_skip(&ok, "media_codec", "media: codec ffv1 is not admitted");
    memcpy(features.flags.reason, ok.reason, sizeof(ok.reason));
    ok.status = ERR_OK;
    write_reply("reply_text", false, &ok);
}

static void write_rest(void)
{
    const char *tags[] = {"sea", "boat"};
    const struct features_text text = {.title = "Harbour", .tags = tags, .n_tags = 2};
    const struct protocol_hello hello = {.filter = PROTOCOL_FILTER_STRICT, .landlock_abi = 4};
    struct err e = {0};
    (void)err_skip(&e, "media", "media: the file is empty");
    write_reply("reply_skip", false, &e);
    (void)err_oom(&e, "plan");
    write_reply("reply_oom", false, &e);
    (void)err_fatal(&e, EX_CONFIG, "sandbox: seccomp: Function not implemented");
    write_seed("refusal", message, protocol_pack_refusal(&e, message));
    write_seed("hello", message, protocol_pack_hello(&hello, message));
    write_seed("request", message, protocol_pack_request(SEQ, true, "e3b0", &text, message));
    write_seed("announcement", encoders, sizeof(encoders));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: reply_seeds FOLDER\n");
        return EX_USAGE;
    }
    folder = argv[1];
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        perror(folder);
        return EX_CANTCREAT;
    }
    write_rows();
    write_rest();
    return EX_OK;
}
