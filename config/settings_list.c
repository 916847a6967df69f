/* Lists of texts, of which a setting may be one. */

#include "config/settings_table.h"

#include <stdlib.h>
#include <string.h>

bool settings_strings_contain(const struct settings_strings *list, const char *value)
{
    for (size_t i = 0; i < list->n; i++) {
        if (strcmp(list->items[i], value) == 0)
            return true;
    }
    return false;
}

int settings_strings_append(struct settings_strings *list, const char *value, struct err *err)
{
    char *copy = strdup(value);
    char **items;

    if (copy == NULL)
        return err_oom(err, "settings");
    items = realloc(list->items, (list->n + 1) * sizeof(*items));
    if (items == NULL) {
        free(copy);
        return err_oom(err, "settings");
    }
    items[list->n] = copy;
    list->items = items;
    list->n++;
    return ERR_OK;
}

void settings_strings_free(struct settings_strings *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct settings_strings){0};
}
