#include "config/array.h"

#include <stdlib.h>

enum { LEAST = 16 };

void *array_reserve(void *items, size_t *room, size_t need, size_t size)
{
    size_t more = *room <= SIZE_MAX / 2 ? 2 * *room : SIZE_MAX, bytes;

    if (need <= *room)
        return items;
    more = more < LEAST ? LEAST : more;
    more = more < need ? need : more;
    void *moved = __builtin_mul_overflow(more, size, &bytes) ? NULL : realloc(items, bytes);
    if (moved)
        *room = more;
    return moved;
}

size_t array_find(const int64_t *ids, size_t n, int64_t id)
{
    size_t first = 0, last = n;

    while (first < last) {
        size_t middle = first + (last - first) / 2;

        if (ids[middle] < id)
            first = middle + 1;
        else
            last = middle;
    }
    return first < n && ids[first] == id ? first : n;
}
