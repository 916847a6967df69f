/* jansson 2.14 ignores that the buffer of a token could not grow, and ends the process over what is then
 * missing of a text with escapes (load.c, lex_scan_string). So an allocation that fails counts, and is
 * tried once more with the room that was kept for it. */

#include "daemon/base/json_memory.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { ROOM = 256 << 10 };

static _Thread_local unsigned long n_failures;
static _Atomic(void *) room; /* NULL = it is in use: taken again when there is memory */

static void keep_room(void)
{
    void *expected = NULL, *p = malloc(ROOM);

    if (p != NULL && !atomic_compare_exchange_strong(&room, &expected, p))
        free(p);
}

static void *allocate(size_t bytes)
{
    void *p = malloc(bytes);

    if (p != NULL) {
        if (atomic_load_explicit(&room, memory_order_relaxed) == NULL)
            keep_room();
        return p;
    }
    n_failures++;
    free(atomic_exchange(&room, NULL));
    return malloc(bytes);
}

/* Before any thread: jansson keeps these two in plain variables. */
__attribute__((constructor)) static void watch(void)
{
    json_set_alloc_funcs(allocate, free);
}

unsigned long json_memory_failures(void)
{
    return n_failures;
}
