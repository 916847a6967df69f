#include "extract/media/encoder.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define BUILTIN "builtin"

static const struct row {
    enum modality modality;
    const char *name;
    int (*make)(struct encoder *ret_encoder, struct err *err);
} rows[] = {
    {MODALITY_VISUAL, BUILTIN, visual_encoder},
    {MODALITY_ACOUSTIC, BUILTIN, acoustic_encoder},
    {MODALITY_TEXTUAL, BUILTIN, textual_encoder},
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

/* "builtin, clip": what the modality could have had. */
static void list_names(enum modality m, char *ret_names, size_t bytes)
{
    size_t used = 0;
    ret_names[0] = 0;
    for (size_t i = 0; i < N_ROWS && used < bytes; i++) {
        if (rows[i].modality == m)
            used += (size_t)snprintf(ret_names + used, bytes - used, "%s%s",
                                     used > 0 ? ", " : "", rows[i].name);
    }
}

int encoder_new(enum modality m, const char *name, struct encoder *ret_encoder, struct err *err)
{
    char names[256];
    if (name == NULL)
        name = BUILTIN;
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].modality == m && strcmp(rows[i].name, name) == 0)
            return rows[i].make(ret_encoder, err);
    }
    list_names(m, names, sizeof(names));
    return err_fatal(err, EX_CONFIG, "no %s encoder \"%s\"; there are: %s", modality_name(m),
                     name, names);
}
