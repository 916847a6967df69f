#include "daemon/event/rules.h"

#include "config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE(pointer)                                                                           \
    {                                                                                          \
        (const char *const[]){pointer}, 1                                                      \
    }

const struct event_rules event_rules_plain = {
    .video = {[VIDEO_ITEM_ID] = ONE("/item_id"),
              [VIDEO_MEDIA_URI] = ONE("/media_uri"),
              [VIDEO_TITLE] = ONE("/title"),
              [VIDEO_DESCRIPTION] = ONE("/description"),
              [VIDEO_TAGS] = ONE("/tags"),
              [VIDEO_LANG] = ONE("/lang"),
              [VIDEO_SHA256] = ONE("/sha256"),
              [VIDEO_PUBLISHED_AT] = ONE("/published_at")},
    .click = {[CLICK_ITEM_ID] = ONE("/item_id"),
              [CLICK_USER_ID] = ONE("/user_id"),
              [CLICK_KIND] = ONE("/kind"),
              [CLICK_WEIGHT] = ONE("/weight"),
              [CLICK_TS] = ONE("/ts")},
};

/* ---- from the settings -------------------------------------------------------------------- */

/* *ret: a copy of the text, which the rules own. */
static int keep(struct event_rules *rules, const char *text, const char **ret, struct err *err)
{
    char *copy = strdup(text);
    char **grown = realloc(rules->text.items, (rules->text.n + 1) * sizeof(*grown));

    if (grown)
        rules->text.items = grown;
    if (!copy || !grown) {
        free(copy);
        return err_oom(err, "settings events");
    }
    rules->text.items[rules->text.n++] = copy;
    *ret = copy;
    return ERR_OK;
}

/* The pointers of a word of the mapping, which begin at rules->block + *at; without any the plain ones
 * stay. word NULL: the list holds pointers alone. */
static int take_pointers(struct event_rules *rules, const struct settings_strings *list,
                         const char *word, size_t *at, struct event_pointers *to,
                         struct err *err)
{
    const char **from = rules->block + *at;
    size_t word_bytes = word ? strlen(word) : 0;
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < list->n; i++) {
        const char *text = list->items[i];

        if (word && (strncmp(text, word, word_bytes) != 0 || text[word_bytes] != '='))
            continue;
        status = keep(rules, word ? text + word_bytes + 1 : text, &rules->block[*at], err);
        *at += status == ERR_OK;
    }
    if (rules->block + *at > from)
        *to = (struct event_pointers){from, (size_t)(rules->block + *at - from)};
    return status;
}

static int take_types(struct event_rules *rules, const struct settings_strings *list,
                      struct err *err)
{
    int status = ERR_OK;

    rules->types = calloc(list->n + 1, sizeof(*rules->types));
    if (!rules->types)
        return err_oom(err, "settings events");
    for (size_t i = 0; status == ERR_OK && i < list->n; i++) {
        struct event_type_name *t = &rules->types[i];

        status = keep(rules, list->items[i], &t->name, err);
        if (status != ERR_OK)
            break;
        char *equals = strrchr(rules->text.items[rules->text.n - 1], '=');
        *equals = '\0';
        (void)item_kind_parse(equals + 1, &t->kind); /* the settings know no other */
        rules->n_types++;
    }
    return status;
}

static int take_all(struct event_rules *rules, const struct settings *s, struct err *err)
{
    size_t at = 0;
    int status = ERR_OK;

    for (int i = 0; status == ERR_OK && i < VIDEO_FIELDS; i++)
        status = take_pointers(rules, &s->events.video, settings_video_words[i], &at,
                               &rules->video[i], err);
    for (int i = 0; status == ERR_OK && i < CLICK_FIELDS; i++)
        status = take_pointers(rules, &s->events.interaction, settings_interaction_words[i],
                               &at, &rules->click[i], err);
    if (status == ERR_OK)
        status = take_pointers(rules, &s->events.type, NULL, &at, &rules->type, err);
    if (status == ERR_OK)
        status = take_pointers(rules, &s->events.deleted, NULL, &at, &rules->deleted, err);
    return status == ERR_OK ? take_types(rules, &s->events.types, err) : status;
}

int event_rules_open(const struct settings *s, struct event_rules *ret_rules, struct err *err)
{
    struct event_rules rules = event_rules_plain;
    size_t n =
        s->events.video.n + s->events.interaction.n + s->events.type.n + s->events.deleted.n;

    rules.preset = s->events.preset;
    rules.tombstones_forget = s->interactions.tombstones == SETTINGS_TOMBSTONES_FORGET;
    rules.block = calloc(n + 1, sizeof(*rules.block));
    int status = rules.block ? take_all(&rules, s, err) : err_oom(err, "settings events");
    if (status == ERR_OK)
        *ret_rules = rules;
    else
        event_rules_done(&rules);
    return status;
}

void event_rules_done(struct event_rules *rules)
{
    for (size_t i = 0; i < rules->text.n; i++)
        free(rules->text.items[i]);
    free(rules->text.items);
    free(rules->block);
    free(rules->types);
    *rules = event_rules_plain;
}

/* ---- JSON Pointers ------------------------------------------------------------------------ */

/* One reference token without its escapes; where the next begins. NULL: longer than any name here. */
static const char *read_token(const char *pointer, char *token, size_t bytes)
{
    size_t n = 0;

    for (; *pointer && *pointer != '/'; pointer++) {
        char c = *pointer;

        if (c == '~')
            c = *++pointer == '1' ? '/' : '~';
        if (n + 1 >= bytes)
            return NULL;
        token[n++] = c;
    }
    token[n] = '\0';
    return pointer;
}

/* "0", "12"; nothing else is an index (RFC 6901, 4). */
static struct field element(struct field list, const char *token)
{
    size_t digits = strspn(token, "0123456789");

    if (digits < 1 || digits > 9 || token[digits] || (token[0] == '0' && digits > 1) ||
        strtoul(token, NULL, 10) >= list.n)
        return (struct field){.type = FIELD_ABSENT};
    return field_at(list, strtoul(token, NULL, 10));
}

static struct field follow(struct field at, const char *pointer)
{
    char token[1024];

    while (pointer && *pointer == '/' && at.type != FIELD_ABSENT) {
        pointer = read_token(pointer + 1, token, sizeof(token));
        if (pointer)
            at = at.type == FIELD_LIST ? element(at, token) : field_get(at, token);
    }
    return pointer ? at : (struct field){.type = FIELD_ABSENT};
}

static struct field find(const struct event_pointers *pointers, struct field root)
{
    struct field found = {.type = FIELD_ABSENT};

    for (size_t i = 0; i < pointers->n && found.type == FIELD_ABSENT; i++)
        found = follow(root, pointers->at[i]);
    return found;
}

struct field event_rules_find_key(const struct event_pointers *pointers, struct field root)
{
    struct field found = find(pointers, root);

    for (size_t i = 0; i < pointers->n && found.type == FIELD_ABSENT; i++)
        found = follow(root, strrchr(pointers->at[i], '/'));
    return found;
}

const char *event_field_label(const struct event_pointers *pointers, const char *name,
                              char *text, size_t bytes)
{
    if (pointers->n == 1 && strcmp(pointers->at[0] + 1, name) == 0)
        return name;
    (void)snprintf(text, bytes, "%s (%s%s)", name, pointers->at[0],
                   pointers->n > 1 ? ", …" : "");
    return text;
}

/* ---- all of an event ---------------------------------------------------------------------- */

/* What Debezium writes for a column that was not changed and that it has not seen. */
static bool is_unavailable(struct field f)
{
    static const char mark[] = "__debezium_unavailable_value";

    if (f.type == FIELD_LIST && f.n == 1)
        f = field_at(f, 0);
    return f.type == FIELD_TEXT && strcmp(f.text, mark) == 0;
}

struct field event_rules_get(const struct event_rules *rules,
                             const struct event_pointers *pointers, struct field row)
{
    struct field f = find(pointers, row);

    if (rules->preset == SETTINGS_PRESET_DEBEZIUM && is_unavailable(f))
        return (struct field){.type = FIELD_ABSENT};
    return f;
}

void event_fields_find(const struct event_rules *rules, struct field row,
                       struct event_fields *ret_fields)
{
    for (int i = 0; i < VIDEO_FIELDS; i++)
        ret_fields->video[i] = event_rules_get(rules, &rules->video[i], row);
    for (int i = 0; i < CLICK_FIELDS; i++)
        ret_fields->click[i] = event_rules_get(rules, &rules->click[i], row);
}
