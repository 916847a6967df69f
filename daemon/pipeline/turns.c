#include "daemon/pipeline/turns.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    return strcmp(x->item_id, y->item_id);
}

static struct turn *turn_new(const char *item_id)
{
    size_t id_bytes = strlen(item_id) + 1;
    struct turn *turn = calloc(1, sizeof(*turn) + id_bytes);
    if (turn)
        memcpy(turn->item_id, item_id, id_bytes);
    return turn;
}

static void turn_free(void *arg)
{
    struct turn *turn = arg;
    item_list_free(&turn->waiting);
    free(turn);
}

int turns_take(struct turns *t, struct item *item, bool *ret_has_turn, struct err *err)
{
    struct turn *turn = turn_new(item->item_id);
    struct turn **node = turn ? tsearch(turn, &t->tree, compare) : NULL;
    if (!node) {
        free(turn);
        return err_oom(err, "the turn of an item");
    }
    *ret_has_turn = *node == turn;
    if (*ret_has_turn) {
        item->turn = turn;
        t->n++;
        return ERR_OK;
    }
    free(turn);
    item_list_push(&(*node)->waiting, item);
    t->n_waiting++;
    t->waiting_bytes += item_bytes(item);
    return ERR_OK;
}

struct item *turns_give_back(struct turns *t, struct turn *turn)
{
    struct item *next = item_list_pop(&turn->waiting);
    if (next) {
        t->n_waiting--;
        t->waiting_bytes -= item_bytes(next);
        next->turn = turn;
        return next;
    }
    tdelete(turn, &t->tree, compare);
    turn_free(turn);
    t->n--;
    return NULL;
}

void turns_done(struct turns *t)
{
    tdestroy(t->tree, turn_free);
    *t = (struct turns){0};
}
