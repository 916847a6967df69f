#ifndef MMF_CONFIG_ARRAY_H
#define MMF_CONFIG_ARRAY_H

/* Arrays that grow, and ascending ids in which one is looked for. */

#include <stddef.h>
#include <stdint.h>

/* The malloc'ed array with room for `need` >= 1 elements of `size` bytes: `items` itself while
 * *room suffices, else a larger one in its place, and *room with it; at least twice the room, so
 * that n additions cost n. NULL = no memory, or more bytes than a size_t counts: `items` and
 * *room are as they were.
 *
 *     struct part *more = array_reserve(p->parts, &p->room, p->n + 1, sizeof *more);
 *     if (!more)
 *         return err_oom(err, "…");
 *     p->parts = more;
 *     p->parts[p->n++] = part; */
void *array_reserve(void *items, size_t *room, size_t need, size_t size);

/* Where an id is among n ascending ones; n = it is not there. */
size_t array_find(const int64_t *ids, size_t n, int64_t id);

#endif
