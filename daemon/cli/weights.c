#include "daemon/cli/weights.h"

#include "daemon/base/json_field.h"
#include "daemon/cli/cli.h"
#include "store/models.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

int weights_read(struct store *st, int64_t model_id, struct json_t **ret_weights,
                 struct err *err)
{
    struct store_signal *signals = NULL;
    size_t n = 0;
    int r = store_read_signals(st, model_id, &signals, &n, err);

    if (r != ERR_OK)
        return r;
    json_t *weights = json_object();
    for (size_t i = 0; i < n; i++)
        if (json_object_set_new(weights, signals[i].name, json_real(signals[i].weight)) != 0)
            r = err_oom(err, "the weights of signals");
    free(signals);
    if (r == ERR_OK && !weights)
        r = err_oom(err, "the weights of signals");
    if (r == ERR_OK)
        *ret_weights = weights;
    else
        json_decref(weights);
    return r;
}

void weights_print(const struct json_t *weights)
{
    const char *name, *between = "";
    json_t *weight;

    json_object_foreach((json_t *)(uintptr_t)weights, name, weight)
    {
        printf("%s%s %.4g", between, cli_text(name), json_number_value(weight));
        between = ", ";
    }
    if (!json_object_size(weights))
        fputs("the vectors alone", stdout);
    puts("");
}

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

void weights_print_figures(const struct json_t *metrics)
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
