/* Defaults, single settings, and what must hold between settings. Reading a file is
 * settings_file.c. */

#include "config/settings_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static int set_list(struct settings *s, const struct settings_key *k, const char *text,
                    struct err *err)
{
    char *copy = strdup(text), *rest = copy, *part;
    int status = ERR_OK;

    if (copy == NULL)
        return err_oom(err, k->path);
    settings_value_free(s, k);
    while (status == ERR_OK && (part = strsep(&rest, ",")) != NULL) {
        if (part[0] != '\0')
            status = settings_value_set(s, k, part, err);
    }
    free(copy);
    return status;
}

int settings_set(struct settings *s, const char *path, const char *value, struct err *err)
{
    const struct settings_key *k = settings_table_find(path);

    if (k == NULL)
        return err_fatal(err, EX_CONFIG, "`%.80s` is not a setting", path);
    if (k->type == SETTINGS_STRINGS || k->type == SETTINGS_PATHS || k->type == SETTINGS_INTS ||
        k->type == SETTINGS_POINTERS)
        return set_list(s, k, value, err);
    return settings_value_set(s, k, value, err);
}

int settings_option_set(struct settings *s, const struct settings_key *k, const char *text,
                        struct err *err)
{
    struct settings_key named = *k;
    char name[64];

    snprintf(name, sizeof(name), "--%s", k->option);
    named.path = name;
    return settings_value_set(s, &named, text, err);
}

int settings_options_reset(struct settings *s)
{
    const struct settings_key *k;
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && (k = settings_option(i)) != NULL; i++) {
        if (k->left_out != NULL)
            settings_value_choose(s, k);
        else /* a switch is off until it is given */
            status = settings_value_set(s, k, k->type == SETTINGS_BOOL ? "false" : k->fallback,
                                        NULL);
    }
    return status;
}

static bool is_pairs(enum settings_type type)
{
    return type == SETTINGS_PROPERTIES || type == SETTINGS_MAPPING || type == SETTINGS_NAMES;
}

int settings_init(struct settings *s)
{
    *s = (struct settings){0};
    if (settings_options_reset(s) != ERR_OK)
        return ERR_RETRY;
    for (size_t i = 0; i < settings_table_n; i++) {
        const struct settings_key *k = &settings_table[i];

        int status = k->fallback[0] == '\0' && is_pairs(k->type) ? ERR_OK /* none */
                     : k->type == SETTINGS_NUMBERS
                         ? set_list(s, k, k->fallback, NULL)
                         : settings_set(s, k->path, k->fallback, NULL);

        if (status != ERR_OK) {
            settings_done(s);
            return ERR_RETRY;
        }
    }
    return ERR_OK;
}

void settings_done(struct settings *s)
{
    for (size_t i = 0; i < settings_table_n; i++)
        settings_value_free(s, &settings_table[i]);
    free(s->path);
    *s = (struct settings){0};
}

void settings_dlq_topic(const struct settings *s, char *ret_topic, size_t bytes)
{
    const struct settings_strings *videos = &s->kafka.video_topics;

    if (s->kafka.dlq_topic != NULL && s->kafka.dlq_topic[0] != '\0')
        (void)snprintf(ret_topic, bytes, "%s", s->kafka.dlq_topic);
    else
        (void)snprintf(ret_topic, bytes, "%s.%s.dlq", videos->n > 0 ? videos->items[0] : "",
                       s->kafka.group_id);
}

static int check_topics(const struct settings *s, struct err *err)
{
    const struct settings_strings *videos = &s->kafka.video_topics;
    const struct settings_strings *interactions = &s->kafka.interaction_topics;
    char dlq[SETTINGS_DLQ_TOPIC_BYTES];

    if (videos->n + interactions->n == 0)
        return err_fatal(err, EX_CONFIG,
                         "`kafka.video_topics` and `kafka.interaction_topics` are both empty: "
                         "name a topic, or set `source = \"spool\"`");
    for (size_t i = 0; i < videos->n; i++) {
        if (settings_strings_contain(interactions, videos->items[i]))
            return err_fatal(
                err, EX_CONFIG,
                "topic \"%s\" is in `kafka.video_topics` and in "
                "`kafka.interaction_topics`: name it once, under what its events without "
                "a type are",
                videos->items[i]);
    }
    if (videos->n == 0 && s->kafka.dlq_topic[0] == '\0')
        return err_fatal(err, EX_CONFIG,
                         "`kafka.dlq_topic` is empty and there is no video topic to name it "
                         "after; set it");
    settings_dlq_topic(s, dlq, sizeof(dlq));
    if (settings_strings_contain(videos, dlq) || settings_strings_contain(interactions, dlq))
        return err_fatal(err, EX_CONFIG,
                         "`kafka.dlq_topic` \"%s\" is also read from: dead letters would come "
                         "back for ever; name another",
                         dlq);
    const char *fault = settings_topic_fault(dlq);
    if (strlen(dlq) > SETTINGS_TOPIC_MAX)
        fault = "is longer than the 249 bytes that Kafka allows";
    return fault == NULL
               ? ERR_OK
               : err_fatal(err, EX_CONFIG,
                           "`kafka.dlq_topic` is empty, and the name made of topic and "
                           "group, \"%.100s\", %s; set it",
                           dlq, fault);
}

/* A pointer that was written for the whole value: it leads nowhere, and the field is missing in
 * silence. */
static int check_row(const struct settings_strings *pointers, const char *path, struct err *err)
{
    static const char *const outside[] = {"/payload/", "/before/", "/after/"};

    for (size_t i = 0; i < 3 * pointers->n; i++) {
        const char *pointer = strchr(pointers->items[i / 3], '/'); /* behind "name=" */

        if (strncmp(pointer, outside[i % 3], strlen(outside[i % 3])) == 0)
            return err_fatal(err, EX_CONFIG,
                             "`%s` has \"%.80s\", and with `events.preset` = debezium pointers "
                             "start at the row: leave out what is before the column",
                             path, pointer);
    }
    return ERR_OK;
}

static int check_events(const struct settings *s, struct err *err)
{
    int status;

    if (s->events.preset != SETTINGS_PRESET_DEBEZIUM)
        return ERR_OK;
    if ((status = check_row(&s->events.video, "events.video", err)) != ERR_OK ||
        (status = check_row(&s->events.interaction, "events.interaction", err)) != ERR_OK ||
        (status = check_row(&s->events.type, "events.type", err)) != ERR_OK)
        return status;
    return check_row(&s->events.deleted, "events.deleted", err);
}

int settings_check(const struct settings *s, struct err *err)
{
    if (s->queue.low_percent >= s->queue.high_percent)
        return err_fatal(err, EX_CONFIG,
                         "`queue.low_percent` is %" PRId64
                         " %%: it must be below `queue.high_percent`, which is %" PRId64 " %%",
                         s->queue.low_percent, s->queue.high_percent);
    if (s->extract.packet_bytes_max > (s->extract.address_space_bytes - (64 << 20)) / 2)
        return err_fatal(err, EX_CONFIG,
                         "`extract.packet_bytes_max` is %" PRId64
                         ": twice as much and 64 MiB must fit into "
                         "`extract.address_space_bytes`, which is %" PRId64,
                         s->extract.packet_bytes_max, s->extract.address_space_bytes);
    if (s->media.roots.n == 0)
        return err_fatal(err, EX_CONFIG,
                         "`media.roots` is empty: no media could be opened; name a folder");
    int status = check_events(s, err);
    if (status != ERR_OK)
        return status;
    return s->source == SETTINGS_SOURCE_KAFKA ? check_topics(s, err) : ERR_OK;
}
