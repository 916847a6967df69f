#include "daemon/model/factors.h"

#include "config/log.h"

#include <stdlib.h>
#include <string.h>

static int set_factors(struct store *st, const struct settings *s,
                       struct store_factors_result *ret_result, struct err *err)
{
    const struct settings_numbers *kinds = &s->interactions.kinds;
    struct store_factor *of = calloc(kinds->n + 1, sizeof(*of));

    if (!of)
        return err_oom(err, "the factors of kinds");
    for (size_t i = 0; i < kinds->n; i++)
        of[i] = (struct store_factor){kinds->items[i].name, kinds->items[i].value};
    int r = store_set_factors(
        st, &(struct store_factors){of, kinds->n, s->interactions.fallback}, ret_result, err);
    free(of);
    return r;
}

int factors_apply(struct store *st, const struct settings *s, struct err *err)
{
    struct store_factors_result result;
    bool had = false;
    int r = store_has_factors(st, &had, err);

    if (r != ERR_OK || (had && !s->path))
        return r;
    r = set_factors(st, s, &result, err);
    if (r == ERR_OK && result.changed && (had || result.n_pairs))
        log_notice(
            "interactions.kinds, interactions.default: in force, for what is stored too; "
            "%lld pairs of a user and an item became one that counts, or ceased to be one",
            (long long)result.n_pairs);
    return r;
}

bool factors_has(const struct settings *s, const char *kind)
{
    for (size_t i = 0; i < s->interactions.kinds.n; i++)
        if (strcmp(s->interactions.kinds.items[i].name, kind) == 0)
            return true;
    return false;
}
