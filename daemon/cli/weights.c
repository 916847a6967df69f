#include "daemon/cli/weights.h"

#include "daemon/cli/cli.h"
#include "store/models.h"

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
