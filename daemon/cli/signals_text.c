#include "daemon/cli/signals_text.h"

#include "daemon/base/json_field.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

static void print_figures(const char *what, const json_t *of)
{
    printf("  %s %.4f / %.4f", what, json_field_real(of, "recall_20"),
           json_field_real(of, "ndcg_20"));
}

static void print_weight(const json_t *signal)
{
    char weight[64];

    if (json_field(signal, "fade_weight"))
        (void)snprintf(weight, sizeof weight, "%.2f + %.2f/(1+n)",
                       json_field_real(signal, "weight"),
                       json_field_real(signal, "fade_weight"));
    else if (json_field(signal, "share"))
        (void)snprintf(weight, sizeof weight, "%.2f/(1+n)", json_field_real(signal, "weight"));
    else
        (void)snprintf(weight, sizeof weight, "%.2f", json_field_real(signal, "weight"));
    printf("%-16s", weight);
}

void cli_signals_text(const struct json_t *metrics)
{
    static const char *const names[] = {"trained", "factors", "content", "mapped",
                                        "neighbours"};
    const json_t *signals = json_field(metrics, "signals");
    const json_t *choice = json_field(metrics, "calibration");

    if (!signals || !choice)
        return;
    if (json_field_true(choice, "from_prior"))
        printf("signals, with the weights of the recipe, for %" PRId64
               " held-out pairs of %" PRId64 " users are too few to choose by:\n",
               json_field_int(choice, "pairs"), json_field_int(choice, "users"));
    else
        printf("signals, with the weights that %" PRId64 " held-out pairs of %" PRId64
               " users gave them (recall@20 / ndcg@20; n = interactions of the item):\n",
               json_field_int(choice, "pairs"), json_field_int(choice, "users"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *signal = json_field(signals, names[i]);

        if (!signal)
            continue;
        printf("  %-10s  ", names[i]);
        print_weight(signal);
        print_figures("alone", json_field(signal, "alone"));
        print_figures("without it", json_field(signal, "without"));
        putchar('\n');
    }
}
