#include "daemon/event/item.h"

#include "daemon/event/ticket.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct item *item_new(void)
{
    struct item *item = calloc(1, sizeof(*item));
    if (!item)
        return NULL;
    arena_init(&item->arena);
    item->media_fd = -1;
    return item;
}

void item_close_media(struct item *item)
{
    if (item->media_fd >= 0)
        close(item->media_fd);
    item->media_fd = -1;
}

void item_free(struct item *item)
{
    if (!item)
        return;
    item_close_media(item);
    ticket_release(item->ticket);
    arena_done(&item->arena);
    free(item);
}

void item_kill(struct item *item, const char *stage, const struct err *err)
{
    item->kind = ITEM_DEAD;
    item->stage = stage;
    item->err = *err;
    if (item->err.reason[0] == '\0')
        memcpy(item->err.reason, "internal", sizeof("internal"));
}

const char *const item_warning_names[ITEM_WARNINGS] = {
    "bom",      "replaced_characters", "title_cut",    "description_cut",
    "tags_cut", "tag_empty",           "zone_missing",
};

bool item_kind_parse(const char *type, enum item_kind *ret_kind)
{
    static const struct {
        const char *type;
        enum item_kind kind;
    } types[] = {{"video.published", ITEM_PUBLISHED},
                 {"video.updated", ITEM_UPDATED},
                 {"video.deleted", ITEM_DELETED},
                 {"interaction", ITEM_INTERACTION},
                 {"user.deleted", ITEM_USER_DELETED}};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(type, types[i].type) == 0) {
            *ret_kind = types[i].kind;
            return true;
        }
    }
    return false;
}

static const char *const role_names[] = {
    [ITEM_ROLE_VIDEOS] = "videos",
    [ITEM_ROLE_INTERACTIONS] = "interactions",
    [ITEM_ROLE_UNKNOWN] = NULL,
};

const char *item_role_name(enum item_role role)
{
    return role_names[role];
}

enum item_role item_role_parse(const char *name, const char *topic)
{
    for (int role = ITEM_ROLE_VIDEOS; name && role <= ITEM_ROLE_INTERACTIONS; role++)
        if (strcmp(name, role_names[role]) == 0)
            return (enum item_role)role;
    return strncmp(topic, "file:", 5) == 0 ? ITEM_ROLE_NONE : ITEM_ROLE_UNKNOWN;
}

void item_mark(const struct item *item, struct item_mark *ret_mark)
{
    ret_mark->item = *item;
    ret_mark->arena = arena_mark(&item->arena);
}

void item_rewind(struct item *item, const struct item_mark *mark)
{
    arena_rewind(&item->arena, mark->arena);
    *item = mark->item;
}

size_t item_bytes(const struct item *item)
{
    return sizeof(*item) + item->arena.used_bytes;
}

void item_list_push(struct item_list *list, struct item *item)
{
    item->next = NULL;
    if (list->tail)
        list->tail->next = item;
    else
        list->head = item;
    list->tail = item;
}

struct item *item_list_pop(struct item_list *list)
{
    struct item *item = list->head;
    if (!item)
        return NULL;
    list->head = item->next;
    if (!list->head)
        list->tail = NULL;
    item->next = NULL;
    return item;
}

void item_list_free(struct item_list *list)
{
    struct item *item;
    while ((item = item_list_pop(list)))
        item_free(item);
}
