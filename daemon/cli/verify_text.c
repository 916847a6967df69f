#include "daemon/cli/verify.h"

#include "daemon/base/json_field.h"
#include "daemon/cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *const feature_words[] = {"equal", "differs", "gone",
                                            "stale", "unread",  "none"};
static const char *const vector_words[] = {"equal",  "close", "differs", "kept",
                                           "behind", "graph", "none"};

static size_t count(const json_t *items, const char *name, const char *word)
{
    const json_t *item;
    size_t i, n = 0;

    json_array_foreach(items, i, item) n += strcmp(json_field_text(item, name), word) == 0;
    return n;
}

static void print_sums(const json_t *items, const char *name, const char *const *words,
                       size_t n_words)
{
    const char *comma = "";

    printf("%-9s", name);
    for (size_t i = 0; i < n_words; i++) {
        size_t n = count(items, name, words[i]);

        if (n > 0) {
            printf("%s %zu %s", comma, n, words[i]);
            comma = ",";
        }
    }
    puts(*comma ? "" : " nothing to verify");
}

int cli_verify_text(const struct json_t *items)
{
    struct cli_paint paint = cli_paint(1);
    const json_t *item;
    size_t i;

    printf("%-9s %-9s item\n", "features", "vector");
    json_array_foreach(items, i, item)
    {
        bool bad = strcmp(json_field_text(item, "features"), "differs") == 0 ||
                   strcmp(json_field_text(item, "vector"), "differs") == 0;
        const char *detail = cli_field(item, "detail");

        printf("%s%-9s %-9s %s%s%s%s\n", bad ? paint.bad : "", cli_field(item, "features"),
               cli_field(item, "vector"), cli_field(item, "item_id"), *detail ? ": " : "",
               detail, bad ? paint.off : "");
    }
    puts("");
    print_sums(items, "features", feature_words,
               sizeof(feature_words) / sizeof(*feature_words));
    print_sums(items, "vector", vector_words, sizeof(vector_words) / sizeof(*vector_words));
    return cli_finish();
}
