#include "daemon/cli/explain.h"

#include "config/modality.h"
#include "config/text.h"
#include "daemon/base/json_field.h"
#include "daemon/base/reasons.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/weights.h"
#include "extract/wire/notes.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static void print_safe(const char *before, const char *s)
{
    if (*s == '\0')
        return;
    fputs(before, stdout);
    text_print(stdout, s);
}

static void print_head(const json_t *root)
{
    const json_t *e = json_field(root, "embedding"), *m = json_field(root, "model"),
                 *s = json_field(root, "source");

    print_safe("item         ", json_field_text(root, "item_id"));
    print_safe("  ", json_field_text(root, "title"));
    printf("\nstate        %s", cli_field(root, "state"));
    if (json_is_object(e))
        printf(", %" PRId64 " numbers, model %" PRId64 ", seq %" PRId64,
               json_field_int(e, "dim"), json_field_int(e, "model_id"),
               json_field_int(e, "seq"));
    if (json_is_object(m))
        printf("\nmodel        %" PRId64 ", %s, %s fusion, %s", json_field_int(m, "id"),
               json_is_true(json_field(m, "trained")) ? "trained" : "untrained",
               cli_field(m, "fusion"), cli_field(m, "backbone"));
    else
        printf("\nmodel        none yet");
    if (*json_field_text(s, "topic"))
        printf("\nsource       %s/%" PRId64 "@%" PRId64, cli_field(s, "topic"),
               json_field_int(s, "partition"), json_field_int(s, "offset"));
    else
        printf("\nsource       known from interactions only");
    print_safe("\nmedia        ", json_field_text(root, "media_uri"));
    puts("");
}

static void print_trail(const json_t *root)
{
    const json_t *t = json_field(root, "trail");
    int64_t received = json_field_int(t, "received_us"),
            extracted = json_field_int(t, "extracted_us");
    int64_t queryable = json_field_int(t, "queryable_us");
    char when[32];

    if (received <= 0) {
        puts("trail        none: nothing was received");
        return;
    }
    cli_time(received, when, sizeof(when));
    printf("trail        received %s UTC", when);
    if (extracted > 0)
        printf(" -> extracted after %.0f ms (%.0f ms of decoding)",
               (double)(extracted - received) / 1e3,
               (double)json_field_int(t, "extract_us") / 1e3);
    if (queryable > 0)
        printf(" -> queryable after %.0f ms", (double)(queryable - received) / 1e3);
    puts("");
}

static void print_modalities(const json_t *root)
{
    const json_t *all = json_field(root, "modalities");
    bool fused = json_array_size(json_field(json_field(root, "fusion"), "layers")) > 0;

    printf("\n%-12s share   moved  lost of %-4" PRId64 " encoder\n", "modality",
           json_field_int(root, "k"));
    for (int m = 0; m < MODALITY_COUNT; m++) {
        const char *name = modality_name((enum modality)m);
        const json_t *x = json_field(all, name);

        if (!json_is_true(json_field(x, "present"))) {
            printf("%-12s     -       -  -            missing\n", name);
            continue;
        }
        if (json_is_true(json_field(x, "used")) && fused)
            printf("%-12s %4.0f %% %7.4f  %-12" PRId64, name, 100 * json_field_real(x, "share"),
                   json_field_real(x, "moved"), json_field_int(x, "neighbours_lost"));
        else
            printf("%-12s     -       -  %-12s", name, "not used");
        printf(" %s (%" PRId64 ")%s\n", cli_field(x, "encoder_id"), json_field_int(x, "dim"),
               json_is_true(json_field(x, "used")) ? "" : ", not the model's encoder");
    }
    if (strcmp(json_field_text(root, "state"), "warm") == 0)
        puts("             (of the vector without interactions; this item has some)");
}

static void print_fusion(const json_t *root)
{
    const json_t *fusion = json_field(root, "fusion"), *layer, *s;
    size_t i;

    if (json_array_size(json_field(fusion, "layers")) == 0) {
        puts("\ngenerated    nothing to show: no model, or no feature that it can use");
        return;
    }
    printf("\ngenerated    layer  common  generated  share of both\n");
    json_array_foreach(json_field(fusion, "layers"), i, layer)
    {
        double c = json_field_real(layer, "common"), g = json_field_real(layer, "generated");

        printf("             %5zu %7.3f  %9.3f  %11.1f %%\n", i + 1, c, g,
               c + g > 0 ? 100 * g / (c + g) : 0.0);
    }
    printf("s           ");
    json_array_foreach(json_field(fusion, "s"), i, s) printf(" %.4f", json_number_value(s));
    if (json_array_size(json_field(fusion, "s")) == 0)
        printf(" none: the fusion of this model is not generated");
    puts("");
}

/* "" = a note of another version. */
static const char *what_of(const char *note)
{
    for (unsigned i = 0; i < NOTE_COUNT; i++)
        if (strcmp(note_text((enum note)i)->name, note) == 0)
            return note_text((enum note)i)->what;
    return "";
}

static void print_notes(const json_t *flags)
{
    const char *reason = json_field_text(flags, "reason"), *head = "notes        ";
    const json_t *note;
    size_t i;

    json_array_foreach(json_field(flags, "notes"), i, note)
    {
        const char *name = json_string_value(note);

        if (!name)
            continue;
        print_safe(head, name);
        printf("  %s\n", what_of(name));
        head = "             ";
    }
    if (*reason == '\0')
        return;
    print_safe("reason       ", reason);
    printf("  %s\n             The row is of the text alone.\n", reason_what(reason));
}

static void print_because(const json_t *root)
{
    const json_t *because = json_field(root, "because"), *row;
    double content = json_field_real(because, "content");
    double mapped = json_field_real(because, "mapped");
    size_t i;

    fputs("\nsignals      ", stdout);
    weights_print(json_field(because, "signals"));
    if (content > 0)
        printf("             content counts %.4g for an item of %" PRId64 " users\n", content,
               json_field_int(because, "users"));
    if (mapped > 0)
        printf("             the factors that its features suggest count %.4g\n", mapped);
    if (json_array_size(json_field(because, "recommends")) == 0)
        return;
    fputs("because      of it are recommended\n", stdout);
    json_array_foreach(json_field(because, "recommends"), i, row)
    {
        printf("             %.4f", json_field_real(row, "weight"));
        print_safe("  ", json_field_text(row, "item_id"));
        puts("");
    }
}

static void print_rest(const json_t *root)
{
    const json_t *flags = json_field(root, "flags"), *row;
    size_t i;

    printf("\nneighbours  ");
    if (json_array_size(json_field(root, "neighbours")) == 0)
        puts(" none");
    json_array_foreach(json_field(root, "neighbours"), i, row)
    {
        printf("%s %.4f", i == 0 ? "" : "            ", json_field_real(row, "score"));
        print_safe("  ", json_field_text(row, "item_id"));
        puts("");
    }
    print_because(root);
    if (!json_is_object(flags))
        return;
    printf("flags        %.1f s, %" PRId64 "x%" PRId64 ", %" PRId64 " of %" PRId64
           " frames, coverage %.2f",
           json_field_real(flags, "duration_ms") / 1000, json_field_int(flags, "width"),
           json_field_int(flags, "height"), json_field_int(flags, "n_frames"),
           json_field_int(flags, "n_planned"), json_field_real(flags, "coverage"));
    for (i = 0; i < NOTE_FLAGS; i++)
        if (json_is_true(json_field(flags, note_flags[i].name)))
            printf(", %s", note_flags[i].name);
    puts("");
    print_notes(flags);
}

int cli_explain_text(const struct json_t *root)
{
    if (!root) {
        fputs("metammf: out of memory\n", stderr);
        return EX_OSERR;
    }
    print_head(root);
    print_trail(root);
    print_modalities(root);
    print_fusion(root);
    print_rest(root);
    return cli_finish();
}
